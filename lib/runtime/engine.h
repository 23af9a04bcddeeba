/* SPDX-License-Identifier: MIT
 *
 * What runs a model: the buffers of a batch, the key/value pages, and three chains recorded once and
 * replayed:
 *
 *   prefill  many rows through all blocks, for the caches alone
 *   decode   one row through all blocks, the head and the sampler
 *   score    many rows through all blocks, the head and the log-probabilities
 *
 * An engine belongs to a model on a context; sessions are slots in it. What a session needs (context, batch)
 * is reserved when it is created; when that outgrows what is there, the buffers are made anew and the chains
 * recorded again.
 *
 * Thread-safety: one thread at a time; the context's lock sees to it.
 */
#ifndef LG_RUNTIME_ENGINE_H
#define LG_RUNTIME_ENGINE_H

#include "graph/graph.h"

enum {
    LG_PAGE_SIZE = 32,             // tokens of a key/value page
    LG_MAX_SLOTS = 64,             // sessions of one model at the same time
    LG_MAX_SCORE_BYTES = 64 << 20, // of the logits that one score pass leaves on the device
};

/** A chain with the buffers of its activations. */
struct lg_pass {
    struct lg_chain chain;
    struct lg_buffer *acts; // all activations
    struct lg_acts views;
    uint32_t max_rows; // T
    uint32_t
        slices_per_submit; // how much is submitted at once when it has to stay short; 0: not measured yet
};

struct lg_engine {
    struct lg_env *env;
    const struct lg_model *model;
    struct lg_device *dev;
    struct lg_tuning tune;
    struct lg_batch batch;
    uint32_t n_pages;                      // of the pool
    uint64_t slots;                        // bit i: slot i is taken
    uint64_t *page_taken;                  // bit set over the pool
    uint32_t *tables;                      // host's copy of batch.pages: [LG_MAX_SLOTS][max_pages]
    struct lg_pass prefill, decode, score; // built when first needed
};

/** Engine of a model; builds nothing yet. `env` and `model` must outlive it. */
void lg_engine_init(struct lg_engine *engine, struct lg_env *env, const struct lg_model *model);
/** A zeroed engine is allowed. */
void lg_engine_finish(struct lg_engine *engine);

/**
 * Takes a slot with room for n_ctx tokens and passes of n_batch rows.
 *
 * @return the slot; LLMGPU_E_NOMEM; LLMGPU_E_UNSUPPORTED when a cache would exceed the device's limits
 */
int lg_engine_take_slot(struct lg_engine *engine, uint32_t n_ctx, uint32_t n_batch);
/** Gives it and its pages back. */
void lg_engine_drop_slot(struct lg_engine *engine, uint32_t slot);

/** Sampler, history and ring of a slot, on the host's side of shared memory; valid until the next take_slot.
 */
struct lg_sampler *lg_engine_sampler(struct lg_engine *engine, uint32_t slot);
uint32_t *lg_engine_history(struct lg_engine *engine, uint32_t slot);
const uint32_t *lg_engine_ring(struct lg_engine *engine, uint32_t slot);

/** Most rows of any pass: each activation has to fit one view of the device. At least 1. */
uint32_t lg_engine_rows_limit(const struct lg_engine *engine);

/** Most rows of one score pass. */
uint32_t lg_engine_score_rows(const struct lg_engine *engine);

/** Stops a pass between slices; asked by the passes below. */
struct lg_stop {
    const _Atomic int *cancelled; // nonzero: stop
};

/**
 * Computes the keys and values of n tokens at positions pos and on; n <= batch.max_rows.
 * LLMGPU_E_CANCELLED leaves the caches as if the call had not been made, for all that counts.
 */
int lg_engine_prefill(struct lg_engine *engine, uint32_t slot, const int32_t *tokens, uint32_t n,
                      uint32_t pos, const struct lg_stop *stop);
/**
 * Computes `token` at `pos` and samples the next one, `repeat` times in one submission, each sample being the
 * next token. The sampler says how many came and whether the answer has ended.
 */
int lg_engine_decode(struct lg_engine *engine, uint32_t slot, int32_t token, uint32_t pos, uint32_t repeat);
/**
 * Computes n tokens at positions pos and on, n <= lg_engine_score_rows().
 *
 * @param targets   n_targets ids (<= n): the log-probability of targets[i] after token i goes to log_probs[i]
 * @param log_probs n_targets floats; NULL: not wanted
 * @param logits    [n, n_vocab], or NULL
 */
int lg_engine_score(struct lg_engine *engine, uint32_t slot, const int32_t *tokens, uint32_t n, uint32_t pos,
                    const int32_t *targets, uint32_t n_targets, float *log_probs, float *logits,
                    const struct lg_stop *stop);

#endif
