/* SPDX-License-Identifier: MIT
 *
 * A saved state. The first byte says what is put right before it is parsed (the size, the model, the
 * checksum), so that what lies behind these is reached. Whatever the bytes are: it is refused with a
 * sentence, or all that it says lies within it, and written again it is the same bytes. Nothing is allocated.
 */
#include "fuzz.h"
#include "heap.h"
#include "state_build.h"

static void put_right(uint8_t what, uint8_t *data, size_t size)
{
    uint64_t size64 = size;
    if (size < sizeof(struct lg_state_head))
        return;
    if (what & 1)
        memcpy(data + offsetof(struct lg_state_head, size), &size64, sizeof(size64));
    if (what & 2)
        memcpy(data + offsetof(struct lg_state_head, model), &state_model.fingerprint, sizeof(uint64_t));
    if (what & 4)
        state_seal(data, size);
}

/** Bytes written, held against those that were read. */
struct compare {
    const struct lg_state *state;
    const uint8_t *data;
    size_t size, at;
};

static int compare_put(void *user, const void *data, size_t size)
{
    struct compare *c = user;
    REQUIRE_INT(size, <=, c->size - c->at);
    REQUIRE(memcmp(c->data + c->at, data, size) == 0);
    c->at += size;
    return 0;
}

static int compare_kv(void *user, uint32_t layer, bool values, uint32_t first, uint32_t n, float *out)
{
    const struct compare *c = user;
    size_t row = state_model.n_cols * sizeof(*out);
    memcpy(out, lg_state_kv(&state_model, c->state, layer, values) + first * row, n * row);
    return 0;
}

static void use(struct lg_env *env, const struct lg_state *s, const uint8_t *data, size_t size)
{
    struct compare c = {.state = s, .data = data, .size = size};
    struct lg_state_target target = {.put = compare_put, .read_kv = compare_kv, .user = &c};
    uint64_t counted;
    REQUIRE_INT(lg_state_size(env, &state_model, s, &counted), ==, 0);
    REQUIRE_INT(counted, ==, size);
    REQUIRE_INT(lg_state_write(env, &state_model, s, &target), ==, 0);
    REQUIRE_INT(c.at, ==, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct test_heap heap;
    struct lg_env env;
    struct lg_state state;
    if (size < 1)
        return 0;
    uint8_t *copy = malloc(size > 1 ? size - 1 : 1);
    REQUIRE(copy);
    memcpy(copy, data + 1, size - 1);
    put_right(data[0], copy, size - 1);
    test_heap_env(&env, &heap, 0);
    int rc = lg_state_parse(&env, &state_model, copy, size - 1, &state);
    REQUIRE_INT(heap.n, ==, 0);
    REQUIRE(rc == 0 || rc == LLMGPU_E_FORMAT || rc == LLMGPU_E_UNSUPPORTED || rc == LLMGPU_E_INVALID);
    if (rc == 0)
        use(&env, &state, copy, size - 1);
    else
        REQUIRE(*env.error);
    REQUIRE_INT(heap.live, ==, 0);
    free(copy);
    return 0;
}
