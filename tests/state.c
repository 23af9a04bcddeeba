/* SPDX-License-Identifier: MIT
 *
 * The format of saved states: what is written is read again, every damaged byte is seen, and behind a
 * checksum that was made to fit each lie is refused with the expected code and sentence, without asking for
 * memory.
 */
#include "heap.h"
#include "state_build.h"

static void require_state(const struct lg_state *got, const struct lg_state *want)
{
    REQUIRE(got->full == want->full && got->ended == want->ended);
    REQUIRE(memcmp(&got->sampler, &want->sampler, sizeof(got->sampler)) == 0);
    REQUIRE(got->n_prompt == want->n_prompt && got->n_generated == want->n_generated);
    REQUIRE(got->n_prefix == want->n_prefix && got->prefix_hash == want->prefix_hash);
    REQUIRE(got->n_tokens == want->n_tokens && got->n_runs == want->n_runs &&
            got->n_computed == want->n_computed);
    REQUIRE(!want->n_tokens || memcmp(got->tokens, want->tokens, want->n_tokens * sizeof(int32_t)) == 0);
    REQUIRE(!want->n_runs || memcmp(got->runs, want->runs, want->n_runs * sizeof(uint32_t)) == 0);
    REQUIRE((got->kv != NULL) == want->full);
}

static void require_kv(const struct lg_state *s)
{
    for (uint32_t i = 0; i < 2 * state_model.n_layers; i++) {
        const uint8_t *kv = lg_state_kv(&state_model, s, i / 2, i % 2);
        for (uint32_t k = 0; k < s->n_computed * state_model.n_cols; k++) {
            float got;
            memcpy(&got, kv + k * sizeof(got), sizeof(got));
            REQUIRE(got == state_kv(i / 2, i % 2, k / state_model.n_cols, k % state_model.n_cols));
        }
    }
}

/** Also from an odd address. */
static void test_round_trip(void)
{
    struct test_heap heap;
    struct lg_env env;
    test_heap_env(&env, &heap, 0);
    for (int kind = 0; kind < 4; kind++) {
        struct lg_state want = state_sample(kind & 1, kind & 2), got;
        struct state_bytes b = state_write(&want);
        uint64_t size;
        REQUIRE_INT(lg_state_size(&env, &state_model, &want, &size), ==, 0);
        REQUIRE_INT(size, ==, b.size);
        if (!want.full)
            REQUIRE_INT(size, <, 8 * want.n_tokens + 1024);
        uint8_t *odd = malloc(b.size + 1);
        REQUIRE(odd);
        memcpy(odd + 1, b.data, b.size);
        for (int i = 0; i < 2; i++) {
            REQUIRE_INT(lg_state_parse(&env, &state_model, i ? odd + 1 : b.data, b.size, &got), ==, 0);
            require_state(&got, &want);
            if (want.full)
                require_kv(&got);
        }
        free(odd);
        free(b.data);
    }
    REQUIRE_INT(heap.n, ==, 0); // the parser asks for nothing
}

/** A state of no tokens at all, of a session that was reset. */
static void test_empty(void)
{
    struct lg_env env;
    lg_env_init(&env);
    for (int full = 0; full < 2; full++) {
        struct lg_state want = {.full = full, .sampler = {.top_p = 1, .repeat_penalty = 1}}, got;
        struct state_bytes b = state_write(&want);
        REQUIRE_INT(b.size, ==, sizeof(struct lg_state_head) + sizeof(uint64_t));
        REQUIRE_INT(lg_state_parse(&env, &state_model, b.data, b.size, &got), ==, 0);
        require_state(&got, &want);
        free(b.data);
    }
}

/** Each bit of each byte, each length, and bytes behind the end. */
static void test_damage(void)
{
    struct lg_env env;
    lg_env_init(&env);
    for (int kind = 0; kind < 4; kind++) {
        struct lg_state want = state_sample(kind & 1, kind & 2), got;
        struct state_bytes b = state_write(&want);
        for (size_t i = 0; i < b.size; i++) {
            for (int bit = 0; bit < 8; bit++) {
                b.data[i] ^= (uint8_t)(1 << bit);
                int rc = lg_state_parse(&env, &state_model, b.data, b.size, &got);
                bool newer = i >= 8 && i < 12 && rc == LLMGPU_E_UNSUPPORTED; // its version
                REQUIRE(rc == LLMGPU_E_FORMAT || newer);
                b.data[i] ^= (uint8_t)(1 << bit);
            }
        }
        for (size_t size = 0; size < b.size; size++) {
            uint8_t *part = malloc(size ? size : 1);
            REQUIRE(part);
            memcpy(part, b.data, size);
            REQUIRE_INT(lg_state_parse(&env, &state_model, part, size, &got), ==, LLMGPU_E_FORMAT);
            if (size >= sizeof(struct lg_state_head)) // also where the checksum is made to fit
                state_seal(part, size);
            REQUIRE_INT(lg_state_parse(&env, &state_model, part, size, &got), ==, LLMGPU_E_FORMAT);
            free(part);
        }
        REQUIRE_INT(state_put(&b, "\0\0\0\0\0\0\0", 8), ==, 0);
        REQUIRE_INT(lg_state_parse(&env, &state_model, b.data, b.size, &got), ==, LLMGPU_E_FORMAT);
        state_seal(b.data, b.size);
        REQUIRE_INT(lg_state_parse(&env, &state_model, b.data, b.size, &got), ==, LLMGPU_E_FORMAT);
        REQUIRE(strstr(env.error, "bytes"));
        free(b.data);
    }
}

/* ---- lies
 * -------------------------------------------------------------------------------------------------------- */

enum kind { COMPACT, FULL, DELTA };

/** A member of the head and what is put there, the checksum being made to fit. */
struct lie {
    enum kind kind;
    size_t at;      // offset
    size_t size;    // bytes: 4 or 8
    uint64_t value; // bits
    int code;
    const char *sentence; // a part of it
};

#define HEAD(member) offsetof(struct lg_state_head, member), sizeof(((struct lg_state_head *)0)->member)
#define TOKEN(i) sizeof(struct lg_state_head) + 4 * (i), 4
#define RUN(i) sizeof(struct lg_state_head) + 4 * STATE_TOKENS + 4 * (i), 4
#define NAN_BITS 0x7fc00000
#define INF_BITS 0x7f800000

static const struct lie lies[] = {
    {COMPACT, HEAD(version), 0, LLMGPU_E_FORMAT, "version"},
    {COMPACT, HEAD(version), LG_STATE_VERSION + 1, LLMGPU_E_UNSUPPORTED, "format 2"},
    {COMPACT, HEAD(version), UINT32_MAX, LLMGPU_E_UNSUPPORTED, "format"},
    {COMPACT, HEAD(size), 0, LLMGPU_E_FORMAT, "bytes"},
    {COMPACT, HEAD(size), UINT64_MAX, LLMGPU_E_FORMAT, "bytes"},
    {COMPACT, HEAD(model), 1, LLMGPU_E_INVALID, "another model"},
    {COMPACT, HEAD(flags), 4, LLMGPU_E_FORMAT, "flags"},
    {COMPACT, HEAD(flags), 1u << 31, LLMGPU_E_FORMAT, "flags"},
    {COMPACT, HEAD(unused), 1, LLMGPU_E_FORMAT, "flags"},
    {COMPACT, HEAD(flags), LG_STATE_FULL, LLMGPU_E_FORMAT, "shapes"},
    {FULL, HEAD(flags), 0, LLMGPU_E_FORMAT, "should not have"},
    {COMPACT, HEAD(n_computed), 1, LLMGPU_E_FORMAT, "should not have"},
    {COMPACT, HEAD(kv_type), 1, LLMGPU_E_FORMAT, "should not have"},
    {FULL, HEAD(kv_type), 1, LLMGPU_E_UNSUPPORTED, "type 1"},
    {FULL, HEAD(n_layers), 2, LLMGPU_E_FORMAT, "shapes"},
    {FULL, HEAD(n_layers), UINT32_MAX, LLMGPU_E_FORMAT, "shapes"},
    {FULL, HEAD(n_cols), 7, LLMGPU_E_FORMAT, "shapes"},
    {FULL, HEAD(n_cols), UINT32_MAX, LLMGPU_E_FORMAT, "shapes"},
    {FULL, HEAD(n_computed), 8, LLMGPU_E_FORMAT, "counts"},
    {FULL, HEAD(n_computed), STATE_TOKENS - 1, LLMGPU_E_FORMAT, "counts"},
    {FULL, HEAD(n_computed), STATE_TOKENS, LLMGPU_E_FORMAT, "too many tokens"},
    {FULL, HEAD(n_computed), UINT32_MAX, LLMGPU_E_FORMAT, "too many tokens"},
    {COMPACT, HEAD(n_tokens), 0, LLMGPU_E_FORMAT, "counts"},
    {COMPACT, HEAD(n_tokens), STATE_TOKENS + 2, LLMGPU_E_FORMAT, "counts"},
    {COMPACT, HEAD(n_tokens), UINT32_MAX, LLMGPU_E_FORMAT, "counts"},
    {COMPACT, HEAD(n_tokens), STATE_TOKENS + 1, LLMGPU_E_FORMAT, "runs"}, // the padding's place
    {FULL, HEAD(n_tokens), UINT32_MAX, LLMGPU_E_FORMAT, "counts"},
    {COMPACT, HEAD(n_runs), 2, LLMGPU_E_FORMAT, "counts"},
    {COMPACT, HEAD(n_runs), 3, LLMGPU_E_FORMAT, "counts"},
    {COMPACT, HEAD(n_runs), 5, LLMGPU_E_FORMAT, "runs"}, // the padding's place
    {COMPACT, HEAD(n_runs), UINT32_MAX, LLMGPU_E_FORMAT, "counts"},
    {COMPACT, HEAD(n_prefix), UINT32_MAX, LLMGPU_E_FORMAT, "prefix"},
    {DELTA, HEAD(n_prefix), 0, LLMGPU_E_FORMAT, "prefix"},
    {COMPACT, HEAD(prefix_hash), 1, LLMGPU_E_FORMAT, "prefix"},
    {COMPACT, TOKEN(0), 300, LLMGPU_E_FORMAT, "token 0 is 300"},
    {COMPACT, TOKEN(10), UINT32_MAX, LLMGPU_E_FORMAT, "token 10 is -1"},
    {FULL, TOKEN(3), 0x80000000, LLMGPU_E_FORMAT, "token 3 is -2147483648"},
    {COMPACT, RUN(0), 5, LLMGPU_E_FORMAT, "runs"},
    {COMPACT, RUN(0), 3, LLMGPU_E_FORMAT, "runs"},
    {COMPACT, RUN(1), UINT32_MAX, LLMGPU_E_FORMAT, "runs"},
    {COMPACT, RUN(3), 0, LLMGPU_E_FORMAT, "runs"},
    {COMPACT, RUN(4), 1, LLMGPU_E_FORMAT, "padding"},
    {COMPACT, HEAD(temperature), NAN_BITS, LLMGPU_E_FORMAT, "sampler"},
    {COMPACT, HEAD(temperature), INF_BITS, LLMGPU_E_FORMAT, "sampler"},
    {COMPACT, HEAD(temperature), 0xbf800000, LLMGPU_E_FORMAT, "sampler"}, // -1
    {COMPACT, HEAD(top_p), NAN_BITS, LLMGPU_E_FORMAT, "sampler"},
    {COMPACT, HEAD(top_p), 0, LLMGPU_E_FORMAT, "sampler"},
    {COMPACT, HEAD(top_p), 0x3f800001, LLMGPU_E_FORMAT, "sampler"}, // 1 and a bit
    {COMPACT, HEAD(min_p), NAN_BITS, LLMGPU_E_FORMAT, "sampler"},
    {COMPACT, HEAD(min_p), 0x40000000, LLMGPU_E_FORMAT, "sampler"}, // 2
    {COMPACT, HEAD(repeat_penalty), NAN_BITS, LLMGPU_E_FORMAT, "sampler"},
    {COMPACT, HEAD(repeat_penalty), 0, LLMGPU_E_FORMAT, "sampler"},
    {COMPACT, HEAD(repeat_penalty), INF_BITS, LLMGPU_E_FORMAT, "sampler"},
    {COMPACT, HEAD(frequency_penalty), NAN_BITS, LLMGPU_E_FORMAT, "sampler"},
    {COMPACT, HEAD(frequency_penalty), INF_BITS, LLMGPU_E_FORMAT, "sampler"},
    {COMPACT, HEAD(presence_penalty), NAN_BITS, LLMGPU_E_FORMAT, "sampler"},
    {COMPACT, HEAD(presence_penalty), 0xff800000, LLMGPU_E_FORMAT, "sampler"}, // -infinity
    {COMPACT, HEAD(penalty_last_n), 257, LLMGPU_E_FORMAT, "sampler"},
    {COMPACT, HEAD(penalty_last_n), UINT32_MAX, LLMGPU_E_FORMAT, "sampler"},
};

static void test_lies(void)
{
    struct test_heap heap;
    struct lg_env env;
    test_heap_env(&env, &heap, 0);
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        const struct lie *lie = &lies[i];
        struct lg_state state = state_sample(lie->kind == FULL, lie->kind == DELTA), got;
        struct state_bytes b = state_write(&state);
        memcpy(b.data + lie->at, &lie->value, lie->size);
        state_seal(b.data, b.size);
        *env.error = '\0';
        int rc = lg_state_parse(&env, &state_model, b.data, b.size, &got);
        if (rc != lie->code || !strstr(env.error, lie->sentence)) {
            fprintf(stderr, "lie %zu: %d, '%s'\n", i, rc, env.error);
            exit(1);
        }
        free(b.data);
    }
    REQUIRE_INT(heap.n, ==, 0);
}

/** Counts whose products pass 64 bits, of a model as odd. */
static void test_overflow(void)
{
    struct lg_env env;
    lg_env_init(&env);
    struct lg_state_model vast = {
        .fingerprint = 1, .n_vocab = 9, .n_layers = UINT32_MAX, .n_cols = UINT32_MAX};
    struct lg_state state = {.full = true, .sampler = {.top_p = 1, .repeat_penalty = 1}}, got;
    struct state_bytes b = {0};
    struct lg_state_target target = {.put = state_put, .read_kv = state_read_kv, .user = &b};
    REQUIRE_INT(lg_state_write(&env, &vast, &state, &target), ==, 0);
    REQUIRE_INT(lg_state_parse(&env, &vast, b.data, b.size, &got), ==, 0);
    struct lg_state_head h;
    memcpy(&h, b.data, sizeof(h));
    h.n_tokens = (1u << 31) + 1;
    h.n_computed = 1u << 31; // its product with the others is 0 in 64 bits
    memcpy(b.data, &h, sizeof(h));
    state_seal(b.data, b.size);
    REQUIRE_INT(lg_state_parse(&env, &vast, b.data, b.size, &got), ==, LLMGPU_E_FORMAT);
    REQUIRE(strstr(env.error, "counts"));
    uint64_t size;
    state.n_tokens = 1u << 31;
    state.n_computed = 1u << 30;
    REQUIRE_INT(lg_state_size(&env, &vast, &state, &size), ==, LLMGPU_E_NOMEM);
    free(b.data);
}

/** Whoever takes the bytes may fail at any of them, and so may the only allocation. */
static void test_failing_target(void)
{
    struct test_heap heap;
    struct lg_env env;
    struct lg_state state = state_sample(true, false);
    struct state_bytes whole = state_write(&state);
    for (size_t fail_at = 1; fail_at < whole.size; fail_at += 7) {
        struct state_bytes b = {.fail_at = fail_at};
        struct lg_state_target target = {.put = state_put, .read_kv = state_read_kv, .user = &b};
        test_heap_env(&env, &heap, 0);
        REQUIRE_INT(lg_state_write(&env, &state_model, &state, &target), ==, LLMGPU_E_IO);
        REQUIRE_INT(heap.live, ==, 0);
        free(b.data);
    }
    struct state_bytes b = {0};
    struct lg_state_target target = {.put = state_put, .read_kv = state_read_kv, .user = &b};
    test_heap_env(&env, &heap, 1);
    REQUIRE_INT(lg_state_write(&env, &state_model, &state, &target), ==, LLMGPU_E_NOMEM);
    REQUIRE(*env.error);
    free(b.data);
    free(whole.data);
}

int main(void)
{
    test_round_trip();
    test_empty();
    test_damage();
    test_lies();
    test_overflow();
    test_failing_target();
    return 0;
}
