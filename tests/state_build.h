/* SPDX-License-Identifier: MIT
 *
 * Saved states made in memory, and what can be wrong with them: the bytes are changed and the checksum is put
 * right again.
 */
#ifndef LG_TESTS_STATE_BUILD_H
#define LG_TESTS_STATE_BUILD_H

#include <xxhash.h>

#include "runtime/state.h"
#include "test.h"

/** The model that the states are of. */
static const struct lg_state_model state_model = {
    .fingerprint = 0x123456789abcdef0, .n_vocab = 300, .n_layers = 3, .n_cols = 6};

enum { STATE_TOKENS = 11, STATE_COMPUTED = 9, STATE_PREFIX = 5 };

static const int32_t state_tokens[STATE_TOKENS] = {1, 299, 0, 42, 7, 7, 7, 100, 3, 2, 1};
static const uint32_t state_runs[] = {4, 3, 3, 1};

/** Bytes written, up to `fail_at`. */
struct state_bytes {
    uint8_t *data;
    size_t size;
    size_t fail_at; // what would pass it is refused; 0: nothing is
};

static inline int state_put(void *user, const void *data, size_t size)
{
    struct state_bytes *b = user;
    if (b->fail_at && b->size + size > b->fail_at)
        return LLMGPU_E_IO;
    b->data = realloc(b->data, b->size + size);
    REQUIRE(b->data);
    memcpy(b->data + b->size, data, size);
    b->size += size;
    return 0;
}

/** What the keys and values are. */
static inline float state_kv(uint32_t layer, bool values, uint32_t pos, uint32_t col)
{
    return (float)(layer * 1000 + values * 500 + pos * 10 + col) + 0.5f;
}

static inline int state_read_kv(void *user, uint32_t layer, bool values, uint32_t first, uint32_t n,
                                float *out)
{
    (void)user;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t col = 0; col < state_model.n_cols; col++)
            out[i * state_model.n_cols + col] = state_kv(layer, values, first + i, col);
    return 0;
}

static inline struct lg_state state_sample(bool full, bool delta)
{
    return (struct lg_state){
        .full = full,
        .ended = delta,
        .sampler = {.temperature = 0.75f,
                    .top_p = 0.9f,
                    .min_p = 0.05f,
                    .repeat_penalty = 1.25f,
                    .frequency_penalty = -1,
                    .presence_penalty = 2,
                    .top_k = 40,
                    .penalty_last_n = 64,
                    .seed_lo = 5,
                    .seed_hi = 6},
        .n_prompt = 9,
        .n_generated = 7,
        .prefix_hash = delta ? lg_state_hash(state_tokens, STATE_PREFIX) : 0,
        .n_prefix = delta ? STATE_PREFIX : 0,
        .n_tokens = STATE_TOKENS,
        .n_runs = sizeof(state_runs) / sizeof(state_runs[0]),
        .n_computed = full ? STATE_COMPUTED : 0,
        .tokens = state_tokens,
        .runs = state_runs,
    };
}

/** The bytes of a state; to be freed. */
static inline struct state_bytes state_write(const struct lg_state *state)
{
    struct lg_env env;
    struct state_bytes b = {0};
    struct lg_state_target target = {.put = state_put, .read_kv = state_read_kv, .user = &b};
    lg_env_init(&env);
    REQUIRE_INT(lg_state_write(&env, &state_model, state, &target), ==, 0);
    return b;
}

/** Makes the last 8 bytes the checksum of those before them. */
static inline void state_seal(uint8_t *data, size_t size)
{
    if (size < sizeof(uint64_t))
        return;
    uint64_t checksum = XXH3_64bits(data, size - sizeof(checksum));
    memcpy(data + size - sizeof(checksum), &checksum, sizeof(checksum));
}

#endif
