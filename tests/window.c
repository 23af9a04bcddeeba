/* SPDX-License-Identifier: MIT
 *
 * Contexts that are full, on the device that the first argument names: what goes on is what a new session says after the head
 * and the tokens that stayed, however long it goes on, and the other ways to end.
 */
#include "llmgpu/llmgpu.h"
#include "model_build.h"

enum { N_CTX = 64, N_PROMPT = 20, N_KEEP = 5, N_LONG = 8 * N_CTX };

static int32_t kv_type; // second argument
static struct model_build build;
static struct fixture {
    llmgpu_context *ctx;
    llmgpu_model *model;
} f;

static void open_all(const char *device, const char *arch)
{
    char error[512];
    llmgpu_context_params p;
    llmgpu_context_params_init(&p, sizeof(p));
    p.device = device;
    p.check = 1;
    p.kv_type = kv_type;
    p.error = error;
    p.error_size = sizeof(error);
    int rc = llmgpu_context_create(&f.ctx, &p);
    if (rc == LLMGPU_E_NO_DEVICE) {
        fprintf(stderr, "%s\n", error);
        exit(TEST_SKIP);
    }
    REQUIRE_INT(rc, ==, 0);
    struct model_shape shape = model_tiny(arch);
    model_fit_kv(&shape, kv_type);
    model_init(&build, &shape);
    model_write(&build);
    REQUIRE_INT(llmgpu_model_load_memory(&f.model, f.ctx, build.file.data, build.file.size, NULL), ==, 0);
}

static void close_all(void)
{
    llmgpu_model_free(f.model);
    llmgpu_context_free(f.ctx);
}

static llmgpu_session *begin(int when_full, uint32_t n_keep, uint32_t tokens_per_submit)
{
    llmgpu_session *s;
    llmgpu_session_params p;
    llmgpu_session_params_init(&p, sizeof(p));
    p.n_ctx = N_CTX;
    p.ignore_end = 1;
    p.when_full = when_full;
    p.n_keep = n_keep;
    p.tokens_per_submit = tokens_per_submit;
    REQUIRE_INT(llmgpu_session_create(&s, f.model, &p), ==, 0);
    return s;
}

static int next(llmgpu_session *s, int32_t *token)
{
    int rc;
    while ((rc = llmgpu_session_next(s, token)) == LLMGPU_AGAIN)
        REQUIRE_INT(llmgpu_session_wait(s, UINT64_MAX), ==, 0);
    return rc;
}

static void feed_prompt(llmgpu_session *s)
{
    int32_t prompt[N_PROMPT];
    for (int i = 0; i < N_PROMPT; i++)
        prompt[i] = 3 + 7 * i % 40;
    REQUIRE_INT(llmgpu_session_feed(s, prompt, N_PROMPT), ==, 0);
}

/** The conversation as it is now. */
static size_t read_tokens(llmgpu_session *s, int32_t *tokens)
{
    size_t n;
    REQUIRE_INT(llmgpu_session_get_tokens(s, tokens, N_CTX + 1, &n), ==, 0);
    return n;
}

/** Each token is what a session says that was never told of what is forgotten. */
static void test_goes_on(int when_full, uint32_t n_keep)
{
    int32_t window[N_CTX + 1], before[N_CTX + 1], token, expected;
    llmgpu_session *s = begin(when_full, n_keep, 1);
    uint32_t n_forgotten = 0, n_slides = 0;
    size_t n_before = 0;
    feed_prompt(s);
    for (int i = 0; i < N_LONG; i++) {
        size_t n = read_tokens(s, window);
        llmgpu_session_stats stats;
        REQUIRE_INT(llmgpu_session_get_stats(s, &stats, sizeof(stats)), ==, 0);
        if (stats.n_forgotten > n_forgotten) {
            uint32_t gone = stats.n_forgotten - n_forgotten;
            REQUIRE_INT(n + gone, ==, n_before + 1);
            REQUIRE(memcmp(window, before, n_keep * sizeof(*window)) == 0);
            REQUIRE(memcmp(window + n_keep, before + n_keep + gone, (n - 1 - n_keep) * sizeof(*window)) == 0);
            REQUIRE_INT(n, <, N_CTX);
            n_slides++;
            llmgpu_session *fresh = begin(LLMGPU_WHEN_FULL_ERROR, 0, 1);
            REQUIRE_INT(llmgpu_session_feed(fresh, window, n), ==, 0);
            REQUIRE_INT(next(fresh, &expected), ==, LLMGPU_TOKEN);
            llmgpu_session_free(fresh);
        } else
            expected = -1;
        n_forgotten = stats.n_forgotten;
        memcpy(before, window, n * sizeof(*window));
        n_before = n;
        REQUIRE_INT(next(s, &token), ==, LLMGPU_TOKEN);
        REQUIRE(expected < 0 || token == expected);
    }
    REQUIRE_INT(n_slides, >=, 2 * (N_LONG - N_CTX) / N_CTX);
    llmgpu_session_free(s);
}

/** Several tokens a submission are the same tokens. */
static void test_submits(void)
{
    int32_t token, other;
    llmgpu_session *s = begin(LLMGPU_WHEN_FULL_SLIDE, N_KEEP, 1), *t = begin(LLMGPU_WHEN_FULL_SLIDE, N_KEEP, 7);
    feed_prompt(s);
    feed_prompt(t);
    for (int i = 0; i < 3 * N_CTX; i++) {
        REQUIRE_INT(next(s, &token), ==, LLMGPU_TOKEN);
        REQUIRE_INT(next(t, &other), ==, LLMGPU_TOKEN);
        REQUIRE_INT(token, ==, other);
    }
    llmgpu_session_free(s);
    llmgpu_session_free(t);
}

static void test_ends(void)
{
    int32_t token, ids[N_CTX + 1] = {0};
    static const int codes[] = {LLMGPU_E_CONTEXT_FULL, LLMGPU_DONE};
    for (int when_full = LLMGPU_WHEN_FULL_ERROR; when_full <= LLMGPU_WHEN_FULL_STOP; when_full++) {
        llmgpu_session *s = begin(when_full, 0, 1);
        feed_prompt(s);
        for (int i = N_PROMPT; i < N_CTX + 1; i++)
            REQUIRE_INT(next(s, &token), ==, LLMGPU_TOKEN);
        REQUIRE_INT(next(s, &token), ==, codes[when_full]);
        REQUIRE_INT(llmgpu_session_feed(s, ids, 1), ==, LLMGPU_E_CONTEXT_FULL);
        llmgpu_session_free(s);
    }
    // What is fed makes room for itself, as far as it can.
    llmgpu_session *s = begin(LLMGPU_WHEN_FULL_SLIDE, N_KEEP, 1);
    for (int i = 0; i < 20; i++)
        feed_prompt(s);
    REQUIRE_INT(next(s, &token), ==, LLMGPU_TOKEN);
    REQUIRE_INT(llmgpu_session_feed(s, ids, N_CTX - N_KEEP + 1), ==, LLMGPU_E_CONTEXT_FULL);
    REQUIRE_INT(llmgpu_session_feed(s, ids, N_CTX - N_KEEP), ==, 0);
    REQUIRE_INT(next(s, &token), ==, LLMGPU_TOKEN);
    REQUIRE_INT(next(s, &token), ==, LLMGPU_TOKEN);
    llmgpu_session_free(s);
}

int main(int argc, char **argv)
{
    static const char *const archs[] = {"llama", "gpt2"};
    kv_type = argc > 2 ? atoi(argv[2]) : LLMGPU_KV_F32;
    for (int i = 0; i < 2; i++) {
        open_all(argc > 1 ? argv[1] : "cpu", archs[i]);
        test_goes_on(LLMGPU_WHEN_FULL_SLIDE, N_KEEP);
        test_goes_on(LLMGPU_WHEN_FULL_RING, 0);
        test_submits();
        test_ends();
        close_all();
    }
    return 0;
}
