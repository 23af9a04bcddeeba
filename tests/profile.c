/* SPDX-License-Identifier: MIT
 *
 * Profiles, on the device that the first argument names: what is counted of a dispatch, that the rows add up
 * to a pass, and that the conversation is none the wiser.
 */
#include "api.h"
#include "graph/work.h"
#include "heap.h"
#include "runtime/profile.h"

enum { N_CTX = 256, N_ANSWER = 16, N_PASSES = 3 };

/* ---- what a dispatch has to do */

enum { D = 8, H = 4, N_KV = 2, C = H * D, KV = N_KV * D, MAX_ROWS = 16, CACHE_TOKENS = 64 };

/** Buffers that are only told apart. */
static struct lg_buffer dims, rows, pages, k, v, acts, weights;
static struct lg_buffer *k_cache[] = {&k}, *v_cache[] = {&v};
static const struct lg_batch batch = {
    .dims = &dims, .rows = &rows, .pages = &pages, .k_cache = k_cache, .v_cache = v_cache};

static struct lg_work work_of(const struct lg_dispatch *op, uint32_t n_rows, uint32_t pos)
{
    const struct lg_work_frame frame = {
        .batch = &batch,
        .acts = &acts,
        .max_rows = MAX_ROWS,
        .n_layers = 1,
        .cache_tokens = CACHE_TOKENS,
        .dims = {[LG_DIM_ROWS] = n_rows},
        .pos = pos,
    };
    return lg_work_of(&frame, op, LG_DIM_ROWS);
}

static struct lg_view part(struct lg_buffer *buf, uint64_t size)
{
    return (struct lg_view){.buf = buf, .size = size};
}

static struct lg_view act(uint64_t cols)
{
    return part(&acts, MAX_ROWS * cols * 4);
}

static void check(struct lg_work work, uint64_t bytes, uint64_t flops)
{
    REQUIRE_INT(work.bytes, ==, bytes);
    REQUIRE_INT(work.flops, ==, flops);
}

static void set_push(struct lg_dispatch *op, const void *push, size_t size)
{
    memcpy(op->push, push, size);
    op->push_size = (uint8_t)size;
}

static void test_work(void)
{
    struct lg_dispatch op = {.kernel = LG_K_MATVEC_Q8_0,
                             .views = {part(&weights, 24 * 34), act(32), act(24)}};
    struct lg_matmul_push matmul = {.n_cols = 32, .n_rows = 24, .row_bytes = 34};
    set_push(&op, &matmul, sizeof(matmul));
    check(work_of(&op, 1, 0), 24 * 34 + (32 + 24) * 4, 2 * 32 * 24);
    check(work_of(&op, 3, 7), 24 * 34 + 3 * (32 + 24) * 4, 3 * 2 * 32 * 24); // the weights once
    check(work_of(&op, 0, 7), 0, 0);

    op = (struct lg_dispatch){.kernel = LG_K_MATMUL_F16,
                              .views = {part(&dims, 32), part(&weights, 24 * 64), act(32), act(24)}};
    set_push(&op, &matmul, sizeof(matmul));
    check(work_of(&op, 16, 0), 24 * 64 + 16 * (32 + 24) * 4, 16 * 2 * 32 * 24);

    op = (struct lg_dispatch){.kernel = LG_K_EMBED_F32,
                              .views = {part(&rows, 256), part(&weights, 1 << 20), act(C)}};
    struct lg_embed_push embed = {.n_cols = C, .row_bytes = C * 4};
    set_push(&op, &embed, sizeof(embed));
    check(work_of(&op, 2, 0), 2 * 2 * C * 4, 0);

    op = (struct lg_dispatch){.kernel = LG_K_ADD, .views = {act(C), act(C)}};
    set_push(&op, &(struct lg_add_push){.n_cols = C}, sizeof(struct lg_add_push));
    check(work_of(&op, 2, 0), 2 * 3 * C * 4, 2 * C); // it reads and writes x

    const uint64_t cache = CACHE_TOKENS * KV * 2; // of halves
    op = (struct lg_dispatch){
        .kernel = LG_K_ATTENTION,
        .views = {part(&rows, 256), part(&pages, 512), act(C), part(&k, cache), part(&v, cache), act(C)}};
    struct lg_attention_push attention = {.n_heads = H, .n_kv = N_KV, .head_dim = D};
    set_push(&op, &attention, sizeof(attention));
    check(work_of(&op, 1, 0), 2 * C * 4 + 2 * KV * 2, 4 * C);
    check(work_of(&op, 3, 10), 3 * 2 * C * 4 + 13 * 2 * KV * 2, 4 * C * (11 + 12 + 13));

    op = (struct lg_dispatch){.kernel = LG_K_ATTENTION_SPLIT,
                              .views = {part(&rows, 256), part(&pages, 512), act(C), part(&k, cache),
                                        part(&v, cache), act(C), act(1000), part(&weights, 64)}};
    set_push(&op, &attention, sizeof(attention));
    check(work_of(&op, 1, 9), 2 * C * 4 + 10 * 2 * KV * 2, 4 * C * 10); // not what its parts tell each other

    op = (struct lg_dispatch){
        .kernel = LG_K_KV_WRITE,
        .views = {part(&rows, 256), part(&pages, 512), act(KV), act(KV), part(&k, cache), part(&v, cache)}};
    check(work_of(&op, 3, 10), 3 * 2 * KV * 4 + 3 * 2 * KV * 2, 0);
}

/* ---- profiles of a model */

static llmgpu_profile_info info_of(const llmgpu_profile *p)
{
    llmgpu_profile_info info;
    REQUIRE_INT(llmgpu_profile_get_info(p, &info, sizeof(info)), ==, 0);
    return info;
}

/** The rows added up; they descend. */
static llmgpu_profile_row sum_of(const llmgpu_profile *p)
{
    llmgpu_profile_row sum = {0}, row;
    uint64_t last = UINT64_MAX;
    llmgpu_profile_info info = info_of(p);
    for (uint32_t i = 0; i < info.n_rows; i++) {
        REQUIRE_INT(llmgpu_profile_get_row(p, i, &row, sizeof(row)), ==, 0);
        REQUIRE(*row.kernel && *row.label && row.calls > 0 && row.ns <= last);
        last = row.ns;
        sum.calls += row.calls;
        sum.ns += row.ns;
        sum.bytes += row.bytes;
        sum.flops += row.flops;
    }
    REQUIRE_INT(llmgpu_profile_get_row(p, info.n_rows, &row, sizeof(row)), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(sum.calls, ==, info.n_dispatches);
    REQUIRE_INT(sum.ns, ==, info.kernels_ns);
    return sum;
}

static llmgpu_profile *profile(llmgpu_session *s, int phase, uint32_t n_tokens)
{
    llmgpu_profile *p;
    int rc = llmgpu_profile_create(&p, s, phase, n_tokens, N_PASSES);
    if (rc == LLMGPU_E_UNSUPPORTED)
        exit(TEST_SKIP);
    if (rc < 0)
        fprintf(stderr, "%s\n", llmgpu_session_error(s));
    REQUIRE_INT(rc, ==, 0);
    return p;
}

static void test_adds_up(struct api *a)
{
    llmgpu_model_info model;
    REQUIRE_INT(llmgpu_model_get_info(a->model, &model, sizeof(model)), ==, 0);
    llmgpu_session *s = api_session(a, N_CTX, GREEDY);
    uint64_t bytes[2], flops[2];
    for (int deep = 0; deep < 2; deep++) {
        llmgpu_profile *p = profile(s, LLMGPU_PROFILE_DECODE, 1);
        llmgpu_profile_info info = info_of(p);
        llmgpu_profile_row sum = sum_of(p);
        REQUIRE_INT(info.n_tokens, ==, 1);
        REQUIRE(info.n_barriers > 0 && info.n_barriers < info.n_dispatches);
        // Medians of parts and of the whole: with others at work on the machine they agree only roughly.
        REQUIRE(sum.ns > info.pass_ns / 10 && sum.ns < 3 * info.pass_ns);
        // Each weight is read once; what comes beside it, in so small a model, is less.
        REQUIRE(sum.bytes >= model.bytes_per_token && sum.bytes < 2 * model.bytes_per_token);
        bytes[deep] = sum.bytes;
        flops[deep] = sum.flops;
        llmgpu_profile_free(p);
        REQUIRE_INT(llmgpu_session_feed(s, a->ids, 65), ==, 0);
        REQUIRE_INT(llmgpu_session_prefill(s), ==, 0);
    }
    // 64 tokens more to attend to: a key and a value of each head, read once, and used by one head or more.
    REQUIRE_INT(bytes[1], >, bytes[0]);
    REQUIRE_INT(flops[1], >=, flops[0]);
    llmgpu_session_free(s);
}

static void test_prefill(struct api *a)
{
    llmgpu_session *s = api_session(a, N_CTX, GREEDY);
    llmgpu_profile *one = profile(s, LLMGPU_PROFILE_PREFILL, 1),
                   *many = profile(s, LLMGPU_PROFILE_PREFILL, 64);
    llmgpu_profile_row sum_one = sum_of(one), sum_many = sum_of(many);
    REQUIRE_INT(info_of(many).n_tokens, ==, 64);
    REQUIRE_INT(sum_many.calls, ==, sum_one.calls);
    REQUIRE(sum_many.ns > sum_one.ns);
    REQUIRE(sum_many.bytes > sum_one.bytes && sum_many.bytes < 64 * sum_one.bytes);
    REQUIRE(sum_many.flops >= 64 * sum_one.flops);
    llmgpu_profile_free(one);
    llmgpu_session_free(s);
    REQUIRE_INT(info_of(many).n_tokens, ==, 64); // it outlives its session
    llmgpu_profile_free(many);
}

/** What is said is the same with profiles in between, also where penalties look at what was said. */
static void test_conversation(struct api *a, uint64_t seed)
{
    int32_t expected[N_ANSWER], found[N_ANSWER];
    llmgpu_session *s = api_session(a, N_CTX, seed);
    REQUIRE_INT(llmgpu_session_feed(s, a->ids, a->n), ==, 0);
    api_take(s, expected, N_ANSWER);
    REQUIRE_INT(llmgpu_session_reset(s), ==, 0);
    REQUIRE_INT(llmgpu_session_feed(s, a->ids, a->n), ==, 0);
    for (int i = 0; i < N_ANSWER; i++) {
        llmgpu_profile_free(
            profile(s, i % 2 ? LLMGPU_PROFILE_DECODE : LLMGPU_PROFILE_PREFILL, i % 2 ? 1 : 40));
        api_take(s, &found[i], 1);
    }
    REQUIRE(memcmp(expected, found, sizeof(expected)) == 0);
    llmgpu_session_free(s);
}

static void test_refused(struct api *a)
{
    llmgpu_session_params params = api_params(32);
    params.n_batch = 16;
    llmgpu_session *s = api_session_with(a, &params, GREEDY);
    const struct {
        int phase;
        uint32_t n_tokens, n_passes;
        int rc;
    } bad[] = {
        {2, 1, 1, LLMGPU_E_INVALID},
        {-1, 1, 1, LLMGPU_E_INVALID},
        {LLMGPU_PROFILE_PREFILL, 0, 1, LLMGPU_E_INVALID},
        {LLMGPU_PROFILE_PREFILL, 17, 1, LLMGPU_E_INVALID},
        {LLMGPU_PROFILE_DECODE, 0, 1, LLMGPU_E_INVALID},
        {LLMGPU_PROFILE_DECODE, 2, 1, LLMGPU_E_INVALID},
        {LLMGPU_PROFILE_DECODE, 1, 0, LLMGPU_E_INVALID},
        {LLMGPU_PROFILE_DECODE, 1, 1001, LLMGPU_E_INVALID},
        {LLMGPU_PROFILE_PREFILL, 13, 1, LLMGPU_E_CONTEXT_FULL}, // behind the 20 that are computed
    };
    REQUIRE_INT(llmgpu_session_feed(s, a->ids, 21), ==, 0);
    REQUIRE_INT(llmgpu_session_prefill(s), ==, 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        llmgpu_profile *p = (llmgpu_profile *)s;
        REQUIRE_INT(llmgpu_profile_create(&p, s, bad[i].phase, bad[i].n_tokens, bad[i].n_passes), ==,
                    bad[i].rc);
        REQUIRE(!p && *llmgpu_session_error(s));
    }
    llmgpu_profile_free(profile(s, LLMGPU_PROFILE_PREFILL, 12));

    llmgpu_profile *p;
    llmgpu_session_cancel(s);
    REQUIRE_INT(llmgpu_profile_create(&p, s, LLMGPU_PROFILE_DECODE, 1, 1), ==, LLMGPU_E_CANCELLED);
    REQUIRE(!p);
    llmgpu_profile_free(profile(s, LLMGPU_PROFILE_DECODE, 1));
    llmgpu_session_free(s);
}

/** Each allocation fails once: that is told, and nothing is left. */
static void test_no_memory(const char *device)
{
    static struct test_heap heap;
    struct api a;
    llmgpu_context_params params;
    REQUIRE_INT(llmgpu_context_params_init(&params, sizeof(params)), ==, 0);
    params.alloc = test_heap_alloc;
    params.resize = test_heap_resize;
    params.release = test_heap_release;
    params.alloc_user = &heap;
    api_open_tiny(&a, device, &params);
    llmgpu_session *s = api_session(&a, 64, GREEDY);
    for (int phase = LLMGPU_PROFILE_PREFILL; phase <= LLMGPU_PROFILE_DECODE; phase++) {
        llmgpu_profile *p = profile(s, phase, 1); // records the pass, which stays
        llmgpu_profile_free(p);
        size_t live = heap.live;
        int rc = LLMGPU_E_NOMEM, n = 0;
        for (; rc < 0; n++) {
            heap.fail_at = heap.n + (uint64_t)n + 1;
            rc = llmgpu_profile_create(&p, s, phase, 1, 2);
            heap.fail_at = 0;
            REQUIRE(rc == 0 || (rc == LLMGPU_E_NOMEM && !p && *llmgpu_session_error(s)));
            llmgpu_profile_free(p);
            REQUIRE_INT(heap.live, ==, live);
        }
        REQUIRE_INT(n, >, 8);
    }
    llmgpu_session_free(s);
    api_close(&a);
    REQUIRE_INT(heap.live, ==, 0);
}

static void test_dispatch(struct api *a)
{
    double ns = 0;
    REQUIRE_INT(llmgpu_context_measure_dispatch(a->ctx, &ns), ==, 0);
    fprintf(stderr, "%s: a dispatch and its barrier take %.0f ns\n", a->device, ns);
    REQUIRE(ns > 1 && ns < 1e6);
}

int main(int argc, char **argv)
{
    struct api a;
    REQUIRE(argc == 2);
    test_work();
    api_open(&a, argv[1], NULL);
    test_adds_up(&a);
    test_prefill(&a);
    test_conversation(&a, GREEDY);
    test_conversation(&a, DRAWN);
    test_refused(&a);
    test_dispatch(&a);
    api_close(&a);
    test_no_memory(argv[1]);
    return 0;
}
