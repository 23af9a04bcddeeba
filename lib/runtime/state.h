/* SPDX-License-Identifier: MIT
 *
 * Saved states of sessions as bytes. The layout, little-endian like everything here:
 *
 *     struct lg_state_head
 *     int32   tokens[n_tokens]           those behind the first n_prefix of the conversation
 *     uint32  runs[n_runs]               how these tokens are computed, in turns: so many of them by passes
 * over a prompt, so many one by one, ...; together n_tokens, only the first may be 0 padding with zeros to a
 * multiple of 8 float32 keys[n_computed][n_cols], values[n_computed][n_cols]   of each layer uint64  checksum
 * XXH3-64 of all before it
 *
 * A state is not trusted: it may come from a player, a download or a damaged disk. Each count is held against
 * the size with checked arithmetic before anything is read, nothing is allocated, and every value is checked.
 */
#ifndef LG_RUNTIME_STATE_H
#define LG_RUNTIME_STATE_H

#include <stdbool.h>

#include "push.h"
#include "util/env.h"

enum {
    LG_STATE_VERSION = 1,
    LG_STATE_FULL = 1,  // flags: keys and values follow
    LG_STATE_ENDED = 2, // the answer is over until more is fed
};

#define LG_STATE_MAGIC "LGSTATE" // with its NUL

struct lg_state_head {
    char magic[8];
    uint32_t version;
    uint32_t flags;
    uint64_t size;        // bytes from the magic to the checksum, which is included
    uint64_t model;       // lg_model_fingerprint()
    uint64_t prefix_hash; // XXH3-64 of the first n_prefix tokens; 0 without any
    uint64_t seed;
    uint32_t n_prompt, n_generated; // counters of the session
    uint32_t n_prefix, n_tokens, n_runs;
    uint32_t n_computed;       // of the tokens, those whose keys and values are here; 0 unless full, as are:
    uint32_t n_layers, n_cols; // of keys and values
    uint32_t kv_type;          // enum lg_type; LG_TYPE_F32
    float temperature, top_p, min_p, repeat_penalty, frequency_penalty, presence_penalty;
    uint32_t top_k, penalty_last_n;
    uint32_t unused; // 0
};

/** What a state must agree with to be of this model. */
struct lg_state_model {
    uint64_t fingerprint;
    uint32_t n_vocab, n_layers, n_cols;
};

/** What a state says. */
struct lg_state {
    bool full, ended;
    struct lg_sampler sampler; // parameters; counters and end tokens are zero
    uint64_t prefix_hash;
    uint32_t n_prompt, n_generated;
    uint32_t n_prefix, n_tokens, n_runs, n_computed;
    const void *tokens; // int32 each; of a parsed state unaligned, inside its bytes
    const void *runs;   // uint32 each; the same
    const uint8_t *kv;  // of a parsed state: keys and values; NULL unless full
};

/** Where a state is written, and where its keys and values come from. */
struct lg_state_target {
    int (*put)(void *user, const void *data, size_t size); // the next bytes
    /** Keys, or values, of n tokens of a layer, `first` counted from behind the prefix: [n, n_cols]. */
    int (*read_kv)(void *user, uint32_t layer, bool values, uint32_t first, uint32_t n, float *out);
    void *user;
};

/** The hash of a prefix; 0 of none. */
uint64_t lg_state_hash(const int32_t *tokens, uint32_t n);

/** Bytes that a state takes. LLMGPU_E_NOMEM when they cannot be counted. */
int lg_state_size(struct lg_env *env, const struct lg_state_model *model, const struct lg_state *state,
                  uint64_t *size);
/** Writes it in pieces. A failure of the target's is returned. */
int lg_state_write(struct lg_env *env, const struct lg_state_model *model, const struct lg_state *state,
                   const struct lg_state_target *target);

/**
 * Reads a state; the result points into `data`.
 *
 * @return 0; LLMGPU_E_FORMAT when it is damaged; LLMGPU_E_UNSUPPORTED for a newer version; LLMGPU_E_INVALID
 * for another model's
 */
int lg_state_parse(struct lg_env *env, const struct lg_state_model *model, const void *data, size_t size,
                   struct lg_state *out);

/** Where the keys (values: true) of a layer begin in a parsed full state: [n_computed, n_cols]. */
const uint8_t *lg_state_kv(const struct lg_state_model *model, const struct lg_state *state, uint32_t layer,
                           bool values);

/** How many tokens at the end are an answer that is not over: those that were sampled one behind the other. */
uint32_t lg_state_answer(const struct lg_state *state);

/** LLMGPU_E_INVALID for a parameter out of the range that include/llmgpu/session.h names. */
int lg_sampler_check(struct lg_env *env, const struct lg_sampler *sampler);

#endif
