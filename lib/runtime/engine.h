/* SPDX-License-Identifier: MIT
 *
 * What runs a model: the buffers of a batch, the key/value pages, and a few chains recorded once, when they are
 * first needed, and replayed:
 *
 *   prefill     many rows through all blocks, for the caches alone
 *   decode      a row of each of some sessions through all blocks, the head and the sampler
 *   decode_top  the same when one of them is told candidates
 *   score       many rows through all blocks, the head and the log-probabilities
 *   embed       many rows through all blocks and the final norm
 *
 * An engine belongs to a model on a context; sessions are slots in it. What a session needs (context, batch)
 * is reserved when it is created; when that outgrows what is there, the buffers are made anew and the chains
 * recorded again.
 *
 * Each may be there twice: without adapters, and with them for when some session of a pass has one (adapters.h). Rows
 * without one have the same bits in both.
 *
 * A step is a pass of each kind at the most, prefill and decode, for different sessions; it runs in pieces (run.h): between
 * two of them it may wait for as long as it likes, and the buffers of its passes are its own until they are finished or
 * dropped.
 *
 * Thread-safety: one thread at a time; the scheduler's turn sees to it.
 */
#ifndef LG_RUNTIME_ENGINE_H
#define LG_RUNTIME_ENGINE_H

#include "runtime/adapters.h"
#include "runtime/prefix.h"

enum {
    LG_MAX_SLOTS = 64,             // sessions of one model at the same time
    LG_MAX_SCORE_BYTES = 64 << 20, // of the logits that one score pass leaves on the device
};

/** A chain with the buffers of its activations. */
struct lg_pass {
    struct lg_chain chain;
    struct lg_buffer *acts; // all activations, but for:
    struct lg_buffer *top;  // views.top, which the host reads; NULL for passes without candidates
    struct lg_acts views;
    uint32_t max_rows;       // T
    uint32_t fine_rows;      // of the pass that fine_ns is of
    uint64_t slice_ns;       // what a slice of the chain's program takes; 0: not measured yet
    struct lg_program *fine; // the same dispatches, each a slice of its own and measured; made when first needed
    uint64_t longest_ns;     // the longest of them
    uint64_t *fine_ns;       // what each takes; 0: not measured yet
};

struct lg_passes {
    struct lg_pass prefill, decode, decode_top, score, embed;
};

enum lg_run_kind { LG_RUN_PREFILL, LG_RUN_DECODE, LG_N_RUN_KINDS };

struct lg_session;

/** A session's rows of a pass that is being run. */
struct lg_member {
    struct lg_session *owner; // NULL: nobody's, as when a pass is measured
    uint32_t slot;
    const int32_t *tokens;  // when it is added
    uint32_t n, pos;        // tokens at positions pos and on; in a decode pass those behind the first are drafts
    bool replay;            // a decode pass computed the token before: for the caches alone, nothing is sampled
    bool top;               // candidates are wanted
    uint32_t row;           // of the batch, the first
    bool drafted;           // nothing is sampled for good before the host has looked
    uint32_t epoch, inputs; // of the owner when it began
    uint32_t most;          // tokens that are sampled before its sampler ends
    bool left;              // what comes of it is not wanted any more, or there is nothing more to come
};

enum { LG_MAX_FLYING = 2 };

/** The pass of a kind that is being run. */
struct lg_run {
    struct lg_pass *pass; // NULL: none is
    enum lg_run_kind kind;
    bool fine;     // pass->fine is what runs
    bool finished; // all of it was done
    uint32_t next; // slice
    uint32_t rows;
    uint32_t repeat; // how often the whole is submitted at once
    uint32_t most;   // passes that may follow one another, each for the rows that the one before it has left on the device
    uint32_t n_begun, n_done;         // of these; what is between was submitted and not waited for
    uint64_t tickets[LG_MAX_FLYING];  // of pass i at i % LG_MAX_FLYING
    uint64_t seen_ns;                 // when the last one was found to be over
    uint32_t n_members;
    struct lg_member members[LG_MAX_SLOTS];
};

/** A page of the pool. Free without tables that it is in; it may be known to hold something all the same. */
struct lg_page {
    uint32_t refs;  // tables that it is in
    uint64_t freed; // the engine's count when it was last given back
};

/** Key/value pages of all pools of a context. */
struct lg_pool_counts {
    _Atomic uint64_t pages, used, bytes; // in all; in tables; that all of them take
};

struct lg_engine {
    struct lg_env *env;
    const struct lg_model *model;
    struct lg_device *dev;
    struct lg_tuning tune;
    bool tuned; // by measuring, where that is done; from then on it stays as it is
    struct lg_batch batch;   // of decode passes
    struct lg_batch prompts; // the same but for rows of their own, of all others
    uint32_t n_pages;                      // of the pool
    uint32_t prefill_rows;                 // most rows of a pass but of decode passes
    uint64_t slots;                        // bit i: slot i is taken
    uint32_t page_limit;                   // of the pool; 0: none
    uint32_t kv_type;                      // LG_KV_*: of the caches
    struct lg_page *pool;                  // [n_pages]
    uint64_t n_freed;
    struct lg_pool_counts *counts; // where its pages are counted too; NULL: nowhere
    uint32_t n_counted, n_used;    // of them in all, and in tables
    struct lg_prefix_index prefix;         // what full pages hold
    uint64_t prefix_seed;
    uint32_t slot_pages[LG_MAX_SLOTS];     // that a slot's context has
    uint32_t *tables;                      // host's copy of batch.pages: [LG_MAX_SLOTS][max_pages]
    struct lg_bank bank;
    struct lg_passes plain, adapted; // the second adds what adapters do
    struct lg_run runs[LG_N_RUN_KINDS];
    uint32_t step_rows; // of a prefill that runs under a budget: so few that one dispatch fits into it
    uint32_t least_rows;  // fewer were tried and made no dispatch shorter
    uint64_t halved_from; // the longest dispatch before the rows were halved; 0: they were not just now
    uint64_t submit_ns;   // what a submission takes beside its dispatches
};

/** Engine of a model; builds nothing yet. `env` and `model` must outlive it. */
void lg_engine_init(struct lg_engine *engine, struct lg_env *env, const struct lg_model *model);
/** In what keys and values are kept (LG_KV_*), before there are any. LLMGPU_E_UNSUPPORTED for a type that the model's heads
 * do not fit. */
int lg_engine_keep_in(struct lg_engine *engine, uint32_t kv_type);
/** Bytes that the pool may take; 0: any number. After lg_engine_keep_in(). */
void lg_engine_limit(struct lg_engine *engine, uint64_t bytes);
/** A zeroed engine is allowed. */
void lg_engine_finish(struct lg_engine *engine);
/** Takes everything off the device but remembers which adapters have seats. Twice does no harm. */
void lg_engine_drop(struct lg_engine *engine);
/** Begins again after that, on the device where the model's weights are now, with the adapters in their seats. */
int lg_engine_revive(struct lg_engine *engine);

/** Makes the pool n_pages large, tables max_pages long and passes prefill_rows high; on failure all is as before, but for
 * passes, which may be gone. A pass that runs is dropped. */
int lg_engine_grow(struct lg_engine *engine, uint32_t n_pages, uint32_t max_pages, uint32_t prefill_rows);

/** The rotations of positions 0 .. n_pos - 1 on the model's device; nothing for models without them. */
int lg_rope_create(struct lg_env *env, const struct lg_model *model, uint32_t n_pos, struct lg_buffer **out);
/** What passes of a phase read their rows from. */
const struct lg_batch *lg_engine_batch(const struct lg_engine *engine, enum lg_phase phase);

/** Rows of the decode passes of so many sessions. */
uint32_t lg_engine_decode_rows(const struct lg_engine *engine, uint32_t n_sessions);

/** Most rows of any pass: each activation has to fit one view of the device. At least 1. */
uint32_t lg_engine_rows_limit(const struct lg_engine *engine);

/** Makes room for masks, which is not there before a session has one. A pass that runs may be dropped. */
int lg_engine_make_masks(struct lg_engine *engine);

/** Sampler, history, biases, mask (where there is room for them) and ring of a slot, on the host's side of shared memory; valid until the engine grows. */
struct lg_sampler *lg_engine_sampler(struct lg_engine *engine, uint32_t slot);
uint32_t *lg_engine_history(struct lg_engine *engine, uint32_t slot);
struct lg_bias *lg_engine_biases(struct lg_engine *engine, uint32_t slot);
uint32_t *lg_engine_mask(struct lg_engine *engine, uint32_t slot);
const uint32_t *lg_engine_ring(struct lg_engine *engine, uint32_t slot);

/* ---- adapters */

/** A slot's record of its adapter, which its passes are to have; valid until the engine grows. */
struct lg_slot_lora *lg_engine_lora(const struct lg_engine *engine, uint32_t slot);
/** The passes for a slot, with adapters or without as its record says, and the adapters that they are built with. */
struct lg_passes *lg_engine_passes(struct lg_engine *engine, uint32_t slot);
const struct lg_adapters *lg_engine_adapters(const struct lg_engine *engine, uint32_t slot);

/**
 * Puts an adapter on the device, where it stays until its seat is given back; it must outlive that. A pass that runs may
 * be dropped.
 *
 * @return the seat, as lg_bank_add()
 */
int lg_engine_seat_lora(struct lg_engine *engine, const struct lg_lora *lora);
/** Gives a seat back that no session has any more. */
void lg_engine_unseat_lora(struct lg_engine *engine, uint32_t seat);

/* ---- slots and pages (pages.c) */

/**
 * Takes a slot for a context of n_ctx tokens and passes of n_batch rows. It has no pages yet; the pool is made large enough
 * for all that slots may come to need, as far as its limit allows.
 *
 * @return the slot; LLMGPU_E_NOMEM; LLMGPU_E_LIMIT for a context larger than the pool may be; LLMGPU_E_UNSUPPORTED when a
 * cache would exceed the device's limits
 */
int lg_engine_take_slot(struct lg_engine *engine, uint32_t n_ctx, uint32_t n_batch);
/** The same beginning with the first n_tokens of another slot, whose pages it shares until one of the two writes
 * to them. `n_forked`: of these tokens, how many it begins with; fewer where the pool is full. */
int lg_engine_fork_slot(struct lg_engine *engine, uint32_t from, uint32_t n_tokens, uint32_t n_ctx, uint32_t n_batch,
                        uint32_t *n_forked);
/** Gives it and its pages back. */
void lg_engine_drop_slot(struct lg_engine *engine, uint32_t slot);
/**
 * Makes pages of positions [first, first + n) the slot's own, keeping what is before `first`.
 *
 * @return 0; how many pages are missing, the pool being full; a failure
 */
int lg_engine_own_pages(struct lg_engine *engine, uint32_t slot, uint32_t first, uint32_t n);
/** Makes a page the slot's page number `index`, and gives back the one that was; LG_NO_PAGE: none. */
void lg_engine_set_page(struct lg_engine *engine, uint32_t slot, uint32_t index, uint32_t page);
/** The slot's page number `index`; LG_NO_PAGE. */
uint32_t lg_engine_page(const struct lg_engine *engine, uint32_t slot, uint32_t index);
/** Has the kernels see changes of a slot's table. */
void lg_engine_publish(struct lg_engine *engine, uint32_t slot);
/** LLMGPU_E_INTERNAL, with a sentence, when tables and pages do not agree; for tests and the debug mode. */
int lg_engine_check_pages(const struct lg_engine *engine);
/** How many of the first n_tokens are on pages that other slots use too. */
uint32_t lg_engine_shared_tokens(const struct lg_engine *engine, uint32_t slot, uint32_t n_tokens);
/** Bytes of a row of a cache. */
uint64_t lg_engine_row_bytes(const struct lg_engine *engine);
/** Bytes that the caches of n_ctx tokens take. */
uint64_t lg_engine_cache_bytes(const struct lg_engine *engine, uint32_t n_ctx);

/** Most rows of a pass that leaves logits on the device. At least 1. */
uint32_t lg_engine_score_rows(const struct lg_engine *engine);

#endif
