/* SPDX-License-Identifier: MIT
 *
 * The pool of keys and values on the device that the first argument names: a beginning that sessions share is computed once,
 * a full pool moves pages to the host and back, no page is lost, and answers are those of sessions that have all to
 * themselves.
 */
#define LLMGPU_EXPERIMENTAL
#include "api/handles.h"
#include "llmgpu/llmgpu.h"
#include "model_build.h"

enum { N_CTX = 256, N_PERSONA = 100, N_OWN = 9, N_ANSWER = 7, PAGE = LG_PAGE_SIZE, MAX_SESSIONS = 12, N_TURNS = 4 };

static int32_t kv_type; // second argument
static struct model_build build;
static struct test_rng rng = {5};

struct fixture {
    llmgpu_context *ctx;
    llmgpu_model *model;
};

static void open_all(struct fixture *f, const char *device, uint64_t max_kv_memory)
{
    char error[512];
    llmgpu_context_params p;
    llmgpu_context_params_init(&p, sizeof(p));
    p.device = device;
    p.check = 1;
    p.kv_type = kv_type;
    p.max_kv_memory = max_kv_memory;
    p.error = error;
    p.error_size = sizeof(error);
    int rc = llmgpu_context_create(&f->ctx, &p);
    if (rc == LLMGPU_E_NO_DEVICE) {
        fprintf(stderr, "%s\n", error);
        exit(TEST_SKIP);
    }
    REQUIRE_INT(rc, ==, 0);
    struct model_shape shape = model_tiny("llama");
    model_fit_kv(&shape, kv_type);
    shape.n_ctx = N_CTX;
    model_init(&build, &shape);
    model_write(&build);
    REQUIRE_INT(llmgpu_model_load_memory(&f->model, f->ctx, build.file.data, build.file.size, NULL), ==, 0);
}

static llmgpu_context_stats stats_of(const struct fixture *f)
{
    llmgpu_context_stats stats;
    REQUIRE_INT(llmgpu_context_get_stats(f->ctx, &stats, sizeof(stats)), ==, 0);
    return stats;
}

static void check_pages(const struct fixture *f)
{
    int rc = lg_engine_check_pages(&f->model->engine);
    if (rc < 0)
        fprintf(stderr, "%s\n", f->ctx->dev_env.error);
    REQUIRE_INT(rc, ==, 0);
}

static void close_all(struct fixture *f)
{
    check_pages(f);
    REQUIRE_INT(stats_of(f).check_messages, ==, 0);
    llmgpu_model_free(f->model);
    llmgpu_context_free(f->ctx);
}

static llmgpu_session *begin(const struct fixture *f, uint64_t seed)
{
    llmgpu_session *s;
    llmgpu_session_params p;
    llmgpu_sampler_params sampler;
    llmgpu_session_params_init(&p, sizeof(p));
    p.n_ctx = N_CTX;
    p.n_batch = 48; // chunks end in the middle of pages
    p.ignore_end = 1;
    REQUIRE_INT(llmgpu_session_create(&s, f->model, &p), ==, 0);
    llmgpu_sampler_params_init(&sampler, sizeof(sampler));
    sampler.temperature = 1;
    sampler.seed = seed;
    REQUIRE_INT(llmgpu_session_set_sampler(s, &sampler), ==, 0);
    return s;
}

static void fill(int32_t *tokens, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        tokens[i] = (int32_t)test_randu(&rng, 3, 200);
}

static void take(const struct fixture *f, llmgpu_session *s, int32_t *answer)
{
    for (int n = 0; n < N_ANSWER;) {
        int rc = llmgpu_session_next(s, &answer[n]);
        if (rc < 0)
            fprintf(stderr, "%s\n", llmgpu_session_error(s));
        REQUIRE(rc == LLMGPU_TOKEN || rc == LLMGPU_AGAIN);
        if (rc == LLMGPU_TOKEN)
            n++;
        else
            REQUIRE_INT(llmgpu_context_step(f->ctx, UINT32_MAX), >=, 0);
    }
}

/* ---- a shared beginning */

static void test_persona(const char *device)
{
    enum { N = 10 };
    struct fixture f;
    int32_t prompts[N][N_PERSONA + N_OWN], expected[N][N_ANSWER], found[N][N_ANSWER];
    llmgpu_session *sessions[N];
    fill(prompts[0], N_PERSONA);
    for (int i = 0; i < N; i++) {
        memcpy(prompts[i], prompts[0], N_PERSONA * sizeof(int32_t));
        fill(prompts[i] + N_PERSONA, N_OWN);
    }
    for (int i = 0; i < N; i++) {
        open_all(&f, device, 0);
        sessions[0] = begin(&f, (uint64_t)i);
        REQUIRE_INT(llmgpu_session_feed(sessions[0], prompts[i], N_PERSONA + N_OWN), ==, 0);
        take(&f, sessions[0], expected[i]);
        llmgpu_session_free(sessions[0]);
        close_all(&f);
    }
    open_all(&f, device, 0);
    for (int i = 0; i < N; i++) {
        sessions[i] = begin(&f, (uint64_t)i);
        REQUIRE_INT(llmgpu_session_feed(sessions[i], prompts[i], N_PERSONA + N_OWN), ==, 0);
    }
    REQUIRE_INT(llmgpu_context_step(f.ctx, UINT32_MAX), >=, 0);
    uint32_t shared = N_PERSONA / PAGE * PAGE, rest = N_PERSONA + N_OWN - 1 - shared;
    REQUIRE_INT(stats_of(&f).prompt_tokens, ==, shared + N * rest);
    REQUIRE_INT(stats_of(&f).shared_tokens, ==, (N - 1) * shared);
    for (int i = 0; i < N; i++) {
        take(&f, sessions[i], found[i]);
        REQUIRE(memcmp(found[i], expected[i], sizeof(found[i])) == 0);
        llmgpu_session_stats s;
        REQUIRE_INT(llmgpu_session_get_stats(sessions[i], &s, sizeof(s)), ==, 0);
        REQUIRE_INT(s.n_shared, ==, shared);
    }
    check_pages(&f);
    // It is still known when all who had it are gone; what is written over is not.
    for (int i = 0; i < N; i++)
        llmgpu_session_free(sessions[i]);
    uint64_t before = stats_of(&f).prompt_tokens;
    sessions[0] = begin(&f, 3);
    REQUIRE_INT(llmgpu_session_feed(sessions[0], prompts[3], N_PERSONA + N_OWN), ==, 0);
    take(&f, sessions[0], found[0]);
    REQUIRE(memcmp(found[0], expected[3], sizeof(found[0])) == 0);
    REQUIRE_INT(stats_of(&f).prompt_tokens - before, ==, rest);
    REQUIRE_INT(llmgpu_session_rewind(sessions[0], PAGE + 1), ==, 0);
    prompts[3][PAGE + 1] ^= 1;
    REQUIRE_INT(llmgpu_session_feed(sessions[0], prompts[3] + PAGE + 1, N_PERSONA), ==, 0);
    before = stats_of(&f).prompt_tokens;
    take(&f, sessions[0], found[0]);
    REQUIRE_INT(stats_of(&f).prompt_tokens - before, ==, N_PERSONA);
    llmgpu_session_free(sessions[0]);
    close_all(&f);
}

/* ---- a pool that is too small */

/** Conversations of some turns each, in a context with so much memory for all of them; what was answered. */
static void converse(const char *device, uint64_t max_kv_memory, uint32_t n, const int32_t (*turns)[N_TURNS][N_OWN * 4],
                     int32_t (*answers)[N_TURNS][N_ANSWER])
{
    struct fixture f;
    llmgpu_session *sessions[MAX_SESSIONS];
    open_all(&f, device, max_kv_memory);
    for (uint32_t i = 0; i < n; i++)
        sessions[i] = begin(&f, i);
    for (int turn = 0; turn < N_TURNS; turn++) {
        for (uint32_t i = 0; i < n; i++)
            REQUIRE_INT(llmgpu_session_feed(sessions[i], turns[i][turn], N_OWN * 4), ==, 0);
        for (uint32_t i = 0; i < n; i++) {
            take(&f, sessions[i], answers[i][turn]);
            check_pages(&f);
        }
    }
    llmgpu_context_stats stats = stats_of(&f);
    printf("%u sessions in %llu bytes: %llu pages out, %llu in\n", n, (unsigned long long)max_kv_memory,
           (unsigned long long)stats.pages_out, (unsigned long long)stats.pages_in);
    REQUIRE((stats.pages_out > 0) == (max_kv_memory > 0));
    REQUIRE((stats.pages_in > 0) == (max_kv_memory > 0));
    for (uint32_t i = 0; i < n; i++)
        llmgpu_session_free(sessions[i]);
    close_all(&f);
}

static void test_full(const char *device)
{
    static int32_t turns[MAX_SESSIONS][N_TURNS][N_OWN * 4], roomy[MAX_SESSIONS][N_TURNS][N_ANSWER],
        tight[MAX_SESSIONS][N_TURNS][N_ANSWER];
    struct fixture f;
    fill(turns[0][0], sizeof(turns) / sizeof(int32_t));
    open_all(&f, device, 0);
    uint64_t one = lg_engine_cache_bytes(&f.model->engine, N_CTX);
    close_all(&f);
    converse(device, 0, MAX_SESSIONS, (const void *)turns, roomy);
    static const double contexts[] = {1, 1.5, 4};
    for (size_t i = 0; i < sizeof(contexts) / sizeof(contexts[0]); i++) {
        memset(tight, 0, sizeof(tight));
        converse(device, (uint64_t)(contexts[i] * (double)one), MAX_SESSIONS, (const void *)turns, tight);
        REQUIRE(memcmp(roomy, tight, sizeof(roomy)) == 0);
    }
    // A context that can never have all its pages is refused.
    open_all(&f, device, one - 1);
    llmgpu_session *s;
    llmgpu_session_params p;
    llmgpu_session_params_init(&p, sizeof(p));
    p.n_ctx = N_CTX;
    REQUIRE_INT(llmgpu_session_create(&s, f.model, &p), ==, LLMGPU_E_LIMIT);
    REQUIRE(strstr(llmgpu_model_error(f.model), "max_kv_memory"));
    close_all(&f);
}

/** A pool that grows is not there twice. */
static void test_growth(const char *device)
{
    enum { BEFORE = 3000, AFTER = 4000, SMALL = 4 << 20 }; // pages; bytes of all that is not pages
    struct fixture f;
    open_all(&f, device, 0);
    struct lg_engine *e = &f.model->engine;
    REQUIRE_INT(lg_engine_grow(e, BEFORE, 8, 64), ==, 0);
    REQUIRE_INT(lg_engine_grow(e, AFTER, 8, 64), ==, 0);
    uint64_t all = lg_engine_cache_bytes(e, AFTER * PAGE), one = all / (2 * e->model->hp.n_layers);
    REQUIRE_INT(e->dev->stats.memory_used, >=, all);
    REQUIRE_INT(e->dev->stats.memory_peak, <=, e->dev->stats.memory_used + one + SMALL);
    close_all(&f);
}

int main(int argc, char **argv)
{
    const char *device = argc > 1 ? argv[1] : "cpu";
    kv_type = argc > 2 ? atoi(argv[2]) : LLMGPU_KV_F32;
    test_persona(device);
    test_full(device);
    test_growth(device);
    return 0;
}
