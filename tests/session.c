/* SPDX-License-Identifier: MIT
 *
 * Sessions through the public API, on the device that the first argument names: what a token costs, that results do not
 * depend on how the work is cut, and the states a conversation can be in.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "llmgpu/llmgpu.h"
#include "test.h"

/* Every allocation of the process is counted while `counting` is set; sanitizers have an allocator of their own. */
static atomic_int counting;
static atomic_uint n_mallocs;
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define COUNTS_MALLOC 1
void *__libc_malloc(size_t size);
void *malloc(size_t size)
{
    n_mallocs += atomic_load_explicit(&counting, memory_order_relaxed) != 0;
    return __libc_malloc(size);
}
#else
#define COUNTS_MALLOC 0
#endif

enum { N_ANSWER = 24 };

static const char prompt[] = "<|im_start|>system\nYour name is Brenna. You are the blacksmith of Oakford. You are "
                             "grumpy.<|im_end|>\n<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n";

struct fixture {
    llmgpu_context *ctx;
    llmgpu_model *model;
    int32_t ids[128];
    size_t n;
    bool on_cpu;
};


static llmgpu_session_params default_params(void)
{
    llmgpu_session_params p;
    REQUIRE_INT(llmgpu_session_params_init(&p, sizeof(p)), ==, 0);
    p.n_ctx = 128;
    p.ignore_end = 1;
    return p;
}

static llmgpu_sampler_params drawing(uint64_t seed)
{
    llmgpu_sampler_params p;
    REQUIRE_INT(llmgpu_sampler_params_init(&p, sizeof(p)), ==, 0);
    p.temperature = 1.2f;
    p.top_k = 50;
    p.top_p = 0.95f;
    p.min_p = 0.01f;
    p.repeat_penalty = 1.1f;
    p.seed = seed;
    return p;
}

enum { GREEDY = 0, DRAWN = 7 }; // seeds; with the first nothing is drawn

static llmgpu_session *open_session(struct fixture *f, const llmgpu_session_params *p, uint64_t seed)
{
    llmgpu_session *s;
    int rc = llmgpu_session_create(&s, f->model, p);
    if (rc < 0)
        fprintf(stderr, "%s\n", llmgpu_context_error(f->ctx));
    REQUIRE_INT(rc, ==, 0);
    llmgpu_sampler_params sampler = drawing(seed);
    REQUIRE_INT(llmgpu_session_set_sampler(s, seed == GREEDY ? NULL : &sampler), ==, 0);
    return s;
}

/** The next token, once it is there. */
static int next(llmgpu_session *s, int32_t *token)
{
    int rc;
    while ((rc = llmgpu_session_next(s, token)) == LLMGPU_AGAIN)
        REQUIRE_INT(llmgpu_session_wait(s, UINT64_MAX), ==, 0);
    return rc;
}

static void take(llmgpu_session *s, int32_t *out, int n)
{
    for (int i = 0; i < n; i++)
        REQUIRE_INT(next(s, &out[i]), ==, 1);
}

static void require_same(const int32_t *a, const int32_t *b, int n)
{
    for (int i = 0; i < n; i++)
        REQUIRE_INT(a[i], ==, b[i]);
}

/** The answer that all others are held against. */
static void answer(struct fixture *f, llmgpu_session_params p, uint64_t seed, int32_t *out)
{
    llmgpu_session *s = open_session(f, &p, seed);
    REQUIRE_INT(llmgpu_session_feed(s, f->ids, f->n), ==, 0);
    take(s, out, N_ANSWER);
    llmgpu_session_free(s);
}

/** Ways to a token or a piece of text that is there soon. */
static int take_waiting(struct fixture *f, llmgpu_session *s)
{
    (void)f;
    int32_t token;
    return next(s, &token);
}

static int take_stepping(struct fixture *f, llmgpu_session *s)
{
    int32_t token;
    int rc;
    while ((rc = llmgpu_session_next(s, &token)) == LLMGPU_AGAIN)
        REQUIRE_INT(llmgpu_context_step(f->ctx, 2000), >=, 0);
    return rc;
}

static int take_text(struct fixture *f, llmgpu_session *s)
{
    const char *text;
    size_t len;
    int rc;
    (void)f;
    while ((rc = llmgpu_session_next_text(s, &text, &len)) == LLMGPU_AGAIN)
        REQUIRE_INT(llmgpu_session_wait(s, UINT64_MAX), ==, 0);
    return rc;
}

static const struct {
    int (*take)(struct fixture *f, llmgpu_session *s);
    bool background, one_submit; // a token
} takes[] = {
    {take_waiting, false, true}, {take_stepping, false, false}, {take_text, false, false},
    {take_waiting, true, false}, {take_stepping, true, false},  {take_text, true, false},
};

/** A token is one submission, and in no way that it can come does it allocate anything. */
static void test_costs(struct fixture *f, size_t way)
{
    enum { WARM = 30, N = 20 };
    llmgpu_session_params p = default_params();
    llmgpu_session *s = open_session(f, &p, DRAWN);
    llmgpu_context_stats before, after;
    if (takes[way].background)
        REQUIRE_INT(llmgpu_context_start(f->ctx), ==, 0);
    REQUIRE_INT(llmgpu_session_feed(s, f->ids, f->n), ==, 0);
    for (int i = 0; i < WARM; i++) // and the longest text by then
        REQUIRE_INT(takes[way].take(f, s), ==, LLMGPU_TOKEN);
    llmgpu_context_get_stats(f->ctx, &before, sizeof(before));
    n_mallocs = 0;
    counting = f->on_cpu; // a Vulkan driver's own allocations are its own
    for (int i = 0; i < N; i++)
        REQUIRE_INT(takes[way].take(f, s), ==, LLMGPU_TOKEN);
    counting = 0;
    llmgpu_context_get_stats(f->ctx, &after, sizeof(after));
    if (takes[way].one_submit)
        REQUIRE_INT(after.submits - before.submits, ==, N);
    REQUIRE_INT(after.heap_allocs - before.heap_allocs, ==, 0);
    REQUIRE_INT(after.dispatches - before.dispatches, >, N * 4 * 5); // five to a layer at the least
    if (COUNTS_MALLOC)
        REQUIRE_INT(n_mallocs, ==, 0);
    if (takes[way].background)
        REQUIRE_INT(llmgpu_context_stop(f->ctx), ==, 0);
    llmgpu_session_free(s);
}

/** The same seed gives the same tokens, however the prompt is cut into calls and passes, and tokens into submissions. */
static void test_cuts(struct fixture *f)
{
    int32_t expected[N_ANSWER], found[N_ANSWER], other[N_ANSWER];
    answer(f, default_params(), DRAWN, expected);
    answer(f, default_params(), DRAWN, found);
    require_same(found, expected, N_ANSWER);

    static const uint32_t batches[] = {1, 3, 8, 1000};
    for (size_t i = 0; i < sizeof(batches) / sizeof(batches[0]); i++) {
        llmgpu_session_params p = default_params();
        p.n_batch = batches[i];
        answer(f, p, DRAWN, found);
        require_same(found, expected, N_ANSWER);
    }

    llmgpu_session_params p = default_params();
    llmgpu_session *s = open_session(f, &p, DRAWN);
    for (size_t at = 0, n = 1; at < f->n; at += n, n = n % 5 + 1) {
        n = n < f->n - at ? n : f->n - at;
        REQUIRE_INT(llmgpu_session_feed(s, f->ids + at, n), ==, 0);
    }
    take(s, found, N_ANSWER);
    require_same(found, expected, N_ANSWER);
    llmgpu_session_free(s);

    answer(f, p, DRAWN + 1, other);
    REQUIRE(memcmp(other, expected, sizeof(other)) != 0);
}

static void test_many_per_submit(struct fixture *f)
{
    int32_t expected[N_ANSWER], found[N_ANSWER];
    answer(f, default_params(), DRAWN, expected);
    llmgpu_session_params p = default_params();
    p.tokens_per_submit = 10;
    llmgpu_session *s = open_session(f, &p, DRAWN);
    REQUIRE_INT(llmgpu_session_feed(s, f->ids, f->n), ==, 0);
    take(s, found, N_ANSWER);
    require_same(found, expected, N_ANSWER);
    llmgpu_session_stats stats;
    llmgpu_session_get_stats(s, &stats, sizeof(stats));
    REQUIRE_INT(stats.decode_submits, ==, 3);
    llmgpu_session_free(s);

    // New input takes unread tokens back: as if they had never been sampled.
    int32_t more[4] = {5, 6, 7, 8}, a[6], b[6];
    llmgpu_session_params single = default_params();
    llmgpu_session *s1 = open_session(f, &single, DRAWN), *s10 = open_session(f, &p, DRAWN);
    llmgpu_session *both[] = {s1, s10};
    for (int i = 0; i < 2; i++) {
        REQUIRE_INT(llmgpu_session_feed(both[i], f->ids, f->n), ==, 0);
        take(both[i], i ? b : a, 3);
        REQUIRE_INT(llmgpu_session_feed(both[i], more, 4), ==, 0);
        take(both[i], (i ? b : a), 6);
    }
    require_same(a, b, 6);
    llmgpu_session_free(s1);
    llmgpu_session_free(s10);
}

/** Sessions between each other's tokens, and a larger one that makes the engine move everything. */
static void test_together(struct fixture *f)
{
    int32_t expected[N_ANSWER], a[N_ANSWER], b[N_ANSWER];
    answer(f, default_params(), DRAWN, expected);
    llmgpu_session_params p = default_params(), large = default_params();
    llmgpu_session *s1 = open_session(f, &p, DRAWN), *s2 = open_session(f, &p, DRAWN);
    REQUIRE_INT(llmgpu_session_feed(s1, f->ids, f->n), ==, 0);
    REQUIRE_INT(llmgpu_session_feed(s2, f->ids, f->n), ==, 0);
    for (int i = 0; i < N_ANSWER / 2; i++) {
        take(s1, &a[i], 1);
        take(s2, &b[i], 1);
    }
    large.n_ctx = 512;
    large.n_batch = 300;
    llmgpu_session *s3 = open_session(f, &large, DRAWN);
    for (int i = N_ANSWER / 2; i < N_ANSWER; i++) {
        take(s2, &b[i], 1);
        take(s1, &a[i], 1);
    }
    require_same(a, expected, N_ANSWER);
    require_same(b, expected, N_ANSWER);
    REQUIRE_INT(llmgpu_session_feed(s3, f->ids, f->n), ==, 0);
    take(s3, a, N_ANSWER);
    require_same(a, expected, N_ANSWER);
    llmgpu_session_free(s1);
    llmgpu_session_free(s2);
    llmgpu_session_free(s3);
}

static void test_states(struct fixture *f)
{
    llmgpu_session_params p = default_params();
    p.ignore_end = 0;
    p.n_ctx = 64;
    llmgpu_session *s = open_session(f, &p, GREEDY);
    int32_t token, tokens[64];
    REQUIRE_INT(next(s, &token), ==, LLMGPU_E_INVALID);
    REQUIRE(strstr(llmgpu_session_error(s), "fed"));

    // An answer ends once, with its end token; then more can be fed.
    REQUIRE_INT(llmgpu_session_feed(s, f->ids, f->n), ==, 0);
    int n = 0, rc;
    while ((rc = next(s, &token)) == 1)
        n++;
    REQUIRE_INT(rc, ==, 0);
    REQUIRE_INT(n, >, 3);
    REQUIRE(llmgpu_model_is_end(f->model, token));
    REQUIRE_INT(next(s, &token), ==, 0);
    REQUIRE_INT(llmgpu_session_feed(s, f->ids, 2), ==, 0);
    REQUIRE_INT(next(s, &token), ==, 1);

    // A limit is a limit.
    REQUIRE_INT(llmgpu_session_reset(s), ==, 0);
    REQUIRE_INT(llmgpu_session_feed(s, f->ids, f->n), ==, 0);
    REQUIRE_INT(llmgpu_session_set_remaining(s, 2), ==, 0);
    take(s, tokens, 2);
    REQUIRE_INT(next(s, &token), ==, 0);
    llmgpu_session_free(s);

    // The context is full with the last token that fits.
    p.ignore_end = 1;
    s = open_session(f, &p, GREEDY);
    REQUIRE_INT(llmgpu_session_feed(s, f->ids, f->n), ==, 0);
    int room = 64 - (int)f->n;
    REQUIRE_INT(room, >, 0);
    take(s, tokens, room + 1); // the last one is sampled after the last position
    REQUIRE_INT(next(s, &token), ==, LLMGPU_E_CONTEXT_FULL);
    REQUIRE_INT(llmgpu_session_feed(s, f->ids, 1), ==, LLMGPU_E_CONTEXT_FULL);
    REQUIRE(strstr(llmgpu_session_error(s), "64"));
    REQUIRE_INT(llmgpu_session_reset(s), ==, 0);
    REQUIRE_INT(llmgpu_session_feed(s, f->ids, f->n), ==, 0);
    int32_t bad = -1;
    REQUIRE_INT(llmgpu_session_feed(s, &bad, 1), ==, LLMGPU_E_INVALID);
    llmgpu_session_free(s);
}

/** Scores are the same in one pass and in many; a probability distribution sums to one. */
static void test_score(struct fixture *f)
{
    llmgpu_model_info info;
    REQUIRE_INT(llmgpu_model_get_info(f->model, &info, sizeof(info)), ==, 0);
    size_t V = info.n_vocab;
    float *logits[2], log_probs[2][128];
    for (int i = 0; i < 2; i++) {
        llmgpu_session_params p = default_params();
        p.n_batch = i ? 5 : 128;
        llmgpu_session *s = open_session(f, &p, GREEDY);
        logits[i] = malloc(f->n * V * sizeof(float));
        REQUIRE_INT(llmgpu_session_score(s, f->ids, f->n, log_probs[i], logits[i]), ==, 0);
        llmgpu_session_free(s);
    }
    REQUIRE(memcmp(logits[0], logits[1], f->n * V * sizeof(float)) == 0);
    REQUIRE(memcmp(log_probs[0], log_probs[1], (f->n - 1) * sizeof(float)) == 0);
    for (size_t i = 0; i + 1 < f->n; i++) {
        double sum = 0;
        for (size_t v = 0; v < V; v++)
            sum += exp((double)logits[0][i * V + v]);
        double expected = (double)logits[0][i * V + (size_t)f->ids[i + 1]] - log(sum);
        REQUIRE(fabs(expected - (double)log_probs[0][i]) < 1e-4);
    }
    free(logits[0]);
    free(logits[1]);
}

static void *cancel_soon(void *session)
{
    usleep(20000);
    llmgpu_session_cancel(session);
    return NULL;
}

static void test_cancel(struct fixture *f)
{
    llmgpu_session_params p = default_params();
    p.n_ctx = 512;
    llmgpu_session *s = open_session(f, &p, GREEDY);
    int32_t ids[512], token;
    for (int i = 0; i < 512; i++)
        ids[i] = f->ids[(size_t)i % f->n];

    llmgpu_session_cancel(s); // before the call
    REQUIRE_INT(llmgpu_session_feed(s, ids, 4), ==, LLMGPU_E_CANCELLED);
    REQUIRE_INT(llmgpu_session_feed(s, ids, 4), ==, 0);

    pthread_t thread;
    REQUIRE_INT(pthread_create(&thread, NULL, cancel_soon, s), ==, 0);
    int rc = 0;
    for (int i = 0; i < 10000 && rc >= 0; i++) {
        rc = llmgpu_session_reset(s);
        if (rc == 0)
            rc = llmgpu_session_feed(s, ids, 500);
        if (rc == 0)
            rc = llmgpu_session_prefill(s);
    }
    pthread_join(thread, NULL);
    REQUIRE_INT(rc, ==, LLMGPU_E_CANCELLED);

    // The session goes on as if nothing had been.
    int32_t expected[N_ANSWER], found[N_ANSWER];
    answer(f, default_params(), GREEDY, expected);
    REQUIRE_INT(llmgpu_session_reset(s), ==, 0);
    REQUIRE_INT(llmgpu_session_feed(s, f->ids, f->n), ==, 0);
    take(s, found, N_ANSWER);
    require_same(found, expected, N_ANSWER);
    REQUIRE_INT(next(s, &token), ==, 1);
    llmgpu_session_free(s);
}

static void open_fixture(struct fixture *f, const char *device, bool check)
{
    char error[512], path[1024];
    llmgpu_context_params p;
    REQUIRE_INT(llmgpu_context_params_init(&p, sizeof(p)), ==, 0);
    p.device = device;
    p.check = check;
    p.error = error;
    p.error_size = sizeof(error);
    int rc = llmgpu_context_create(&f->ctx, &p);
    if (rc == LLMGPU_E_NO_DEVICE) {
        fprintf(stderr, "%s\n", error);
        exit(TEST_SKIP);
    }
    REQUIRE_INT(rc, ==, 0);
    f->on_cpu = strcmp(device, "cpu") == 0;
    REQUIRE(getenv("LLMGPU_BUNDLED"));
    snprintf(path, sizeof(path), "%s/tavern-3.7m-q8_0.gguf", getenv("LLMGPU_BUNDLED"));
    REQUIRE_INT(llmgpu_model_load(&f->model, f->ctx, path, NULL), ==, 0);
    REQUIRE_INT(llmgpu_tokenize(f->model, prompt, strlen(prompt), LLMGPU_TOKENIZE_PARSE_SPECIAL, f->ids, 128, &f->n),
                ==, 0);
}

static void close_fixture(struct fixture *f)
{
    llmgpu_context_stats stats;
    llmgpu_context_get_stats(f->ctx, &stats, sizeof(stats));
    REQUIRE_INT(stats.check_messages, ==, 0);
    llmgpu_model_free(f->model);
    llmgpu_context_get_stats(f->ctx, &stats, sizeof(stats));
    REQUIRE_INT(stats.device_bytes, ==, 0);
    llmgpu_context_free(f->ctx);
}

int main(int argc, char **argv)
{
    const char *device = argc > 1 ? argv[1] : "cpu";
    struct fixture f = {0};
    open_fixture(&f, device, false);
    for (size_t i = 0; i < sizeof(takes) / sizeof(takes[0]); i++)
        test_costs(&f, i);
    test_cuts(&f);
    test_many_per_submit(&f);
    test_together(&f);
    test_states(&f);
    test_score(&f);
    test_cancel(&f);
    close_fixture(&f);

    // The same passes in debug mode: isolated and in reverse on the CPU, validated on Vulkan.
    int32_t expected[N_ANSWER], found[N_ANSWER];
    open_fixture(&f, device, false);
    answer(&f, default_params(), DRAWN, expected);
    close_fixture(&f);
    open_fixture(&f, device, true);
    answer(&f, default_params(), DRAWN, found);
    require_same(found, expected, N_ANSWER);
    test_score(&f);
    close_fixture(&f);
    return 0;
}
