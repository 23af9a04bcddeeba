/* SPDX-License-Identifier: MIT
 *
 * Adapters through the public API, on the device that the first argument names: what a session with one
 * computes, alone and among others, when it changes in the middle, and who keeps whom alive.
 */
#include <pthread.h>
#include <unistd.h>

#define LLMGPU_EXPERIMENTAL
#include "llmgpu/llmgpu.h"
#include "lora_build.h"

enum { N_ADAPTERS = 3, N_PROMPT = 9, N_ANSWER = 12, N_CTX = 64, N_VOCAB_MAX = 512 };

static struct model_build build, adapter_build;
static const int32_t prompt[N_PROMPT] = {40, 7, 99, 7, 200, 13, 41, 150, 2};

/** Adapters of the model: the second one is smaller, the third one larger than the first. */
static const struct lora_shape shapes[N_ADAPTERS] = {
    {.rank = 8, .alpha = 16},
    {.rank = 4, .alpha = 8, .a_type = LG_TYPE_F16, .b_type = LG_TYPE_F16, .only = "attn"},
    {.rank = 16, .alpha = 8},
};

struct fixture {
    llmgpu_context *ctx;
    llmgpu_model *model;
    char paths[N_ADAPTERS][64];
    uint32_t n_vocab;
};

/* ---- files -----------------------------------------------------------------------------------------------
 */

static void write_file(char path[64], const struct build *file)
{
    snprintf(path, 64, "/tmp/llmgpu-lora-XXXXXX");
    int fd = mkstemp(path);
    REQUIRE(fd >= 0 && write(fd, file->data, file->size) == (ssize_t)file->size);
    close(fd);
}

static void write_adapter(char path[64], const struct lora_shape *shape, uint64_t seed)
{
    lora_write(&adapter_build, &build, shape, seed);
    write_file(path, &adapter_build.file);
}

static llmgpu_model *load_model(llmgpu_context *ctx, const char *arch, bool vocab_only)
{
    struct model_shape shape = model_tiny(arch);
    llmgpu_model *model;
    llmgpu_model_params p;
    char path[64];
    model_init(&build, &shape);
    model_write(&build);
    write_file(path, &build.file);
    llmgpu_model_params_init(&p, sizeof(p));
    p.vocab_only = vocab_only;
    REQUIRE_INT(llmgpu_model_load(&model, ctx, path, &p), ==, 0);
    unlink(path);
    return model;
}

static llmgpu_context *open_context(const char *device, bool check)
{
    llmgpu_context *ctx;
    llmgpu_context_params p;
    char error[512];
    llmgpu_context_params_init(&p, sizeof(p));
    p.device = device;
    p.check = check;
    p.n_threads = 2;
    p.error = error;
    p.error_size = sizeof(error);
    int rc = llmgpu_context_create(&ctx, &p);
    if (rc == LLMGPU_E_NO_DEVICE) {
        fprintf(stderr, "%s\n", error);
        exit(TEST_SKIP);
    }
    REQUIRE_INT(rc, ==, 0);
    return ctx;
}

static void open_fixture(struct fixture *f, const char *device, bool check)
{
    llmgpu_model_info info;
    f->ctx = open_context(device, check);
    f->model = load_model(f->ctx, "llama", false);
    for (int i = 0; i < N_ADAPTERS; i++)
        write_adapter(f->paths[i], &shapes[i], (uint64_t)i + 11);
    REQUIRE_INT(llmgpu_model_get_info(f->model, &info, sizeof(info)), ==, 0);
    f->n_vocab = info.n_vocab;
    REQUIRE_INT(f->n_vocab, <=, N_VOCAB_MAX);
}

static llmgpu_context_stats stats_of(const struct fixture *f)
{
    llmgpu_context_stats stats;
    REQUIRE_INT(llmgpu_context_get_stats(f->ctx, &stats, sizeof(stats)), ==, 0);
    return stats;
}

static void close_fixture(struct fixture *f)
{
    llmgpu_model_free(f->model);
    REQUIRE_INT(stats_of(f).device_bytes, ==, 0);
    REQUIRE_INT(stats_of(f).check_messages, ==, 0);
    llmgpu_context_free(f->ctx);
    for (int i = 0; i < N_ADAPTERS; i++)
        unlink(f->paths[i]);
}

/* ---- what sessions do -------------------------------------------------------------------------------------
 */

static llmgpu_lora *load(const struct fixture *f, int i)
{
    llmgpu_lora *lora;
    int rc = llmgpu_lora_load(&lora, f->model, f->paths[i]);
    if (rc < 0)
        fprintf(stderr, "%s\n", llmgpu_context_error(f->ctx));
    REQUIRE_INT(rc, ==, 0);
    return lora;
}

static llmgpu_session *open_session(const struct fixture *f, llmgpu_lora *lora, float scale)
{
    llmgpu_session *s;
    llmgpu_session_params p;
    llmgpu_session_params_init(&p, sizeof(p));
    p.n_ctx = N_CTX;
    p.n_batch = 4;
    p.ignore_end = 1;
    REQUIRE_INT(llmgpu_session_create(&s, f->model, &p), ==, 0);
    REQUIRE_INT(llmgpu_session_set_lora(s, lora, scale), ==, 0);
    return s;
}

static void take(llmgpu_session *s, int32_t *out, int n)
{
    for (int i = 0; i < n; i++) {
        int rc;
        while ((rc = llmgpu_session_next(s, &out[i])) == LLMGPU_AGAIN)
            REQUIRE_INT(llmgpu_session_wait(s, UINT64_MAX), ==, 0);
        if (rc < 0)
            fprintf(stderr, "%s\n", llmgpu_session_error(s));
        REQUIRE_INT(rc, ==, LLMGPU_TOKEN);
    }
}

/** The answer to the prompt, from the beginning. */
static void answer(llmgpu_session *s, int32_t out[N_ANSWER])
{
    REQUIRE_INT(llmgpu_session_reset(s), ==, 0);
    REQUIRE_INT(llmgpu_session_feed(s, prompt, N_PROMPT), ==, 0);
    take(s, out, N_ANSWER);
}

static void require_same(const int32_t *a, const int32_t *b, int n)
{
    for (int i = 0; i < n; i++)
        REQUIRE_INT(a[i], ==, b[i]);
}

/** Answers with each adapter alone; the last is without any. */
static void answer_alone(const struct fixture *f, int32_t out[N_ADAPTERS + 1][N_ANSWER])
{
    for (int i = 0; i <= N_ADAPTERS; i++) {
        llmgpu_lora *lora = i < N_ADAPTERS ? load(f, i) : NULL;
        llmgpu_session *s = open_session(f, lora, 1);
        answer(s, out[i]);
        llmgpu_session_free(s);
        llmgpu_lora_free(lora);
        for (int k = 0; k < i; k++)
            REQUIRE(memcmp(out[k], out[i], sizeof(out[i])) != 0);
    }
}

/* ---- tests
 * --------------------------------------------------------------------------------------------------- */

/** A scale of 0 is no adapter, a larger one does more, and what is taken away is gone. */
static void test_scales(struct fixture *f)
{
    static float plain[N_PROMPT * N_VOCAB_MAX], found[N_PROMPT * N_VOCAB_MAX];
    size_t size = N_PROMPT * f->n_vocab * sizeof(float);
    llmgpu_lora *lora = load(f, 0);
    llmgpu_session *s = open_session(f, NULL, 0);
    REQUIRE_INT(llmgpu_session_score(s, prompt, N_PROMPT, NULL, plain), ==, 0);
    REQUIRE_INT(llmgpu_session_set_lora(s, lora, 0), ==, 0);
    REQUIRE_INT(llmgpu_session_score(s, prompt, N_PROMPT, NULL, found), ==, 0);
    REQUIRE(memcmp(plain, found, size) == 0);
    REQUIRE_INT(llmgpu_session_set_lora(s, lora, 1e-30f), ==, 0); // added, but too little to change anything
    REQUIRE_INT(llmgpu_session_score(s, prompt, N_PROMPT, NULL, found), ==, 0);
    REQUIRE(memcmp(plain, found, size) == 0);
    float last = 0;
    for (float scale = 0.25f; scale <= 1; scale *= 2) {
        float most = 0;
        REQUIRE_INT(llmgpu_session_set_lora(s, lora, scale), ==, 0);
        REQUIRE_INT(llmgpu_session_score(s, prompt, N_PROMPT, NULL, found), ==, 0);
        for (size_t i = 0; i < size / sizeof(float); i++)
            most = fmaxf(most, fabsf(found[i] - plain[i]));
        REQUIRE(most > 0.01f && most > last);
        last = most;
    }
    REQUIRE_INT(llmgpu_session_set_lora(s, NULL, 1), ==, 0);
    REQUIRE_INT(llmgpu_session_score(s, prompt, N_PROMPT, NULL, found), ==, 0);
    REQUIRE(memcmp(plain, found, size) == 0);
    llmgpu_session_free(s);
    llmgpu_lora_free(lora);
}

/** Sessions with different adapters and without, token by token in turns: each as alone. */
static void test_together(struct fixture *f, int32_t alone[][N_ANSWER])
{
    llmgpu_lora *loras[N_ADAPTERS + 1] = {NULL};
    llmgpu_session *sessions[N_ADAPTERS + 1];
    int32_t found[N_ADAPTERS + 1][N_ANSWER];
    for (int i = 0; i <= N_ADAPTERS; i++) {
        if (i < N_ADAPTERS)
            loras[i] = load(f, i);
        sessions[i] = open_session(f, loras[i], 1);
        llmgpu_lora_free(loras[i]); // the session keeps it
        REQUIRE_INT(llmgpu_session_feed(sessions[i], prompt, N_PROMPT), ==, 0);
    }
    for (int k = 0; k < N_ANSWER; k++)
        for (int i = 0; i <= N_ADAPTERS; i++)
            take(sessions[i], &found[i][k], 1);
    for (int i = 0; i <= N_ADAPTERS; i++) {
        require_same(found[i], alone[i], N_ANSWER);
        llmgpu_session_free(sessions[i]);
    }
}

/** Prompts cut anywhere, batches of any size and several tokens at once change nothing. */
static void test_cuts(struct fixture *f, int32_t alone[][N_ANSWER])
{
    llmgpu_lora *lora = load(f, 0);
    for (uint32_t batch = 1; batch <= 8; batch *= 2) {
        llmgpu_session_params p;
        llmgpu_session *s;
        int32_t found[N_ANSWER];
        llmgpu_session_params_init(&p, sizeof(p));
        p.n_ctx = N_CTX;
        p.n_batch = batch;
        p.tokens_per_submit = batch;
        p.ignore_end = 1;
        REQUIRE_INT(llmgpu_session_create(&s, f->model, &p), ==, 0);
        REQUIRE_INT(llmgpu_session_set_lora(s, lora, 1), ==, 0);
        for (uint32_t i = 0; i < N_PROMPT; i += 3) {
            REQUIRE_INT(llmgpu_session_feed(s, prompt + i, 3), ==, 0);
            REQUIRE_INT(llmgpu_session_prefill(s), ==, 0);
        }
        take(s, found, N_ANSWER);
        require_same(found, alone[0], N_ANSWER);
        llmgpu_session_free(s);
    }
    llmgpu_lora_free(lora);
}

/**
 * Another adapter in the middle of an answer: what is computed stays, what was sampled ahead does not. The
 * expected answer has what is computed before the change fed, not decoded, which gives the same tokens.
 */
static void test_swap(struct fixture *f)
{
    enum { EACH = 4 };
    llmgpu_lora *loras[] = {load(f, 0), load(f, 1), NULL};
    int32_t found[3 * EACH], expected[3 * EACH], all[N_PROMPT + 3 * EACH];
    llmgpu_session_params p;
    llmgpu_session *s;
    llmgpu_session_params_init(&p, sizeof(p));
    p.n_ctx = N_CTX;
    p.tokens_per_submit = 3; // ahead of what is taken
    p.ignore_end = 1;
    REQUIRE_INT(llmgpu_session_create(&s, f->model, &p), ==, 0);
    REQUIRE_INT(llmgpu_session_feed(s, prompt, N_PROMPT), ==, 0);
    for (int i = 0; i < 3; i++) {
        REQUIRE_INT(llmgpu_session_set_lora(s, loras[i], 1), ==, 0);
        take(s, found + i * EACH, EACH);
    }
    memcpy(all, prompt, sizeof(prompt));
    memcpy(all + N_PROMPT, found, sizeof(found));
    for (int i = 0; i < 3; i++) {
        REQUIRE_INT(llmgpu_session_reset(s), ==, 0);
        int done = 0;
        for (int k = 0; k < i; k++) {
            int n = N_PROMPT + (k + 1) * EACH; // the last of them is computed with the next adapter
            REQUIRE_INT(llmgpu_session_set_lora(s, loras[k], 1), ==, 0);
            REQUIRE_INT(llmgpu_session_feed(s, all + done, (size_t)(n - done)), ==, 0);
            REQUIRE_INT(llmgpu_session_prefill(s), ==, 0);
            done = n;
        }
        REQUIRE_INT(llmgpu_session_set_lora(s, loras[i], 1), ==, 0);
        REQUIRE_INT(llmgpu_session_feed(s, prompt, done ? 0 : N_PROMPT), ==, 0);
        take(s, expected + i * EACH, EACH);
    }
    require_same(found, expected, 3 * EACH);
    llmgpu_session_free(s);
    llmgpu_lora_free(loras[0]);
    llmgpu_lora_free(loras[1]);
}

/** A fork has the adapter too, and goes on with it when all others have let go of it. */
static void test_fork(struct fixture *f, int32_t alone[][N_ANSWER])
{
    int32_t found[N_ANSWER];
    llmgpu_lora *lora = load(f, 0);
    llmgpu_session *s = open_session(f, lora, 1), *fork;
    REQUIRE_INT(llmgpu_session_feed(s, prompt, N_PROMPT), ==, 0);
    take(s, found, 5);
    REQUIRE_INT(llmgpu_session_fork(&fork, s), ==, 0);
    llmgpu_lora_free(lora);
    llmgpu_session_free(s);
    take(fork, found + 5, N_ANSWER - 5);
    require_same(found, alone[0], N_ANSWER);
    llmgpu_session_free(fork);
}

/** Scoring in a fork takes pages that are not there yet: the engine grows between two looks at the slot's
 * adapter. */
static void test_fork_grows(struct fixture *shared)
{
    struct fixture own = *shared, *f = &own; // whose engine has no page too many
    static float expected[N_PROMPT * N_VOCAB_MAX], found[N_PROMPT * N_VOCAB_MAX];
    int32_t tokens[40];
    own.model = load_model(f->ctx, "llama", false);
    llmgpu_lora *lora = load(f, 0);
    llmgpu_session *s = open_session(f, lora, 1), *fork;
    REQUIRE_INT(llmgpu_session_score(s, prompt, N_PROMPT, NULL, expected), ==, 0);
    for (int i = 0; i < 40; i++) // a page and more
        tokens[i] = prompt[i % N_PROMPT];
    REQUIRE_INT(llmgpu_session_feed(s, tokens, 40), ==, 0);
    REQUIRE_INT(llmgpu_session_prefill(s), ==, 0);
    REQUIRE_INT(llmgpu_session_fork(&fork, s), ==, 0);
    uint64_t before = stats_of(f).device_bytes;
    REQUIRE_INT(llmgpu_session_score(fork, prompt, N_PROMPT, NULL, found), ==, 0);
    REQUIRE_INT(stats_of(f).device_bytes, !=, before);
    REQUIRE(memcmp(found, expected, N_PROMPT * f->n_vocab * sizeof(float)) == 0);
    llmgpu_session_free(fork);
    llmgpu_session_free(s);
    llmgpu_lora_free(lora);
    llmgpu_model_free(own.model);
}

/** Everything is freed before the session that uses it. */
static void test_lifetime(struct fixture *f, const char *device, int32_t alone[][N_ANSWER])
{
    struct fixture other = *f;
    int32_t found[N_ANSWER];
    other.ctx = open_context(device, false);
    other.model = load_model(other.ctx, "llama", false);
    llmgpu_lora *lora = load(&other, 0), *unused = load(&other, 2);
    llmgpu_session *s = open_session(&other, lora, 1);
    llmgpu_context_free(other.ctx);
    llmgpu_model_free(other.model);
    llmgpu_lora_free(lora);
    answer(s, found);
    require_same(found, alone[0], N_ANSWER);
    llmgpu_session_free(s);
    llmgpu_lora_info info;
    REQUIRE_INT(llmgpu_lora_get_info(unused, &info, sizeof(info)), ==, 0);
    REQUIRE_INT(info.rank, ==, 16);
    llmgpu_lora_free(unused);
}

/** What an adapter takes it gives back. */
static void test_memory(struct fixture *f)
{
    llmgpu_lora_info info;
    uint64_t before = stats_of(f).device_bytes;
    for (int i = 0; i < 100; i++) {
        llmgpu_lora *lora = load(f, i % N_ADAPTERS);
        uint64_t now = stats_of(f).device_bytes;
        REQUIRE_INT(llmgpu_lora_get_info(lora, &info, sizeof(info)), ==, 0);
        REQUIRE(now - before >= info.device_bytes && now - before < info.device_bytes + 4096);
        llmgpu_lora_free(lora);
        REQUIRE_INT(stats_of(f).device_bytes, ==, before);
    }
}

static void test_info(struct fixture *f)
{
    llmgpu_lora_info info;
    struct {
        llmgpu_lora_info known;
        char more[64];
    } longer;
    llmgpu_lora *lora = load(f, 1);
    REQUIRE_INT(llmgpu_lora_get_info(lora, &info, sizeof(info)), ==, 0);
    REQUIRE_STR(info.name, "a test's adapter");
    REQUIRE_INT(info.rank, ==, 4);
    REQUIRE(info.alpha == 8);
    REQUIRE_INT(info.n_targets, ==, 8); // four matrices in each of two layers
    REQUIRE_INT(info.device_bytes, >=, 2 * 2 * 4 * (32 + 32 + 32 + 16 + 32 + 16 + 32 + 32));
    memset(&longer, 1, sizeof(longer));
    REQUIRE_INT(llmgpu_lora_get_info(lora, &longer.known, sizeof(longer)), ==, 0);
    REQUIRE(memcmp(&longer.known, &info, sizeof(info)) == 0 && longer.more[0] == 0 && longer.more[63] == 0);
    REQUIRE_INT(llmgpu_lora_get_info(lora, &info, sizeof(info) - 1), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_lora_get_info(lora, NULL, sizeof(info)), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_lora_get_info(NULL, &info, sizeof(info)), ==, LLMGPU_E_INVALID);
    llmgpu_lora_free(lora);
}

static void refuse(const struct fixture *f, llmgpu_model *model, const char *path, int code, const char *says)
{
    llmgpu_lora *lora = (llmgpu_lora *)&build;
    int rc = llmgpu_lora_load(&lora, model, path);
    if (rc != code || !strstr(llmgpu_context_error(f->ctx), says))
        fprintf(stderr, "%d '%s', not %d '%s'\n", rc, llmgpu_context_error(f->ctx), code, says);
    REQUIRE_INT(rc, ==, code);
    REQUIRE(!lora && strstr(llmgpu_context_error(f->ctx), says));
}

static void test_misuse(struct fixture *f)
{
    static const float scales[] = {NAN, INFINITY, -INFINITY, 100.5f, -1e30f};
    llmgpu_lora *lora = load(f, 0);
    llmgpu_session *s = open_session(f, lora, 1);
    char gpt2[64], large[64], missing[] = "/nowhere/adapter.gguf";
    REQUIRE_INT(llmgpu_lora_load(NULL, f->model, f->paths[0]), ==, LLMGPU_E_INVALID);
    llmgpu_lora *none = lora;
    REQUIRE_INT(llmgpu_lora_load(&none, NULL, f->paths[0]), ==, LLMGPU_E_INVALID);
    REQUIRE(!none);
    refuse(f, f->model, NULL, LLMGPU_E_INVALID, "no path");
    refuse(f, f->model, missing, LLMGPU_E_IO, missing);
    llmgpu_lora_free(NULL);
    REQUIRE_INT(llmgpu_session_set_lora(NULL, lora, 1), ==, LLMGPU_E_INVALID);
    for (size_t i = 0; i < sizeof(scales) / sizeof(scales[0]); i++) {
        REQUIRE_INT(llmgpu_session_set_lora(s, lora, scales[i]), ==, LLMGPU_E_INVALID);
        REQUIRE(strstr(llmgpu_session_error(s), "not in -100 .. 100"));
    }
    REQUIRE_INT(llmgpu_session_set_lora(s, NULL, NAN), ==, 0); // no adapter has no scale

    // Another model's, though it may be a copy; another architecture's; another shape's; one without weights.
    llmgpu_model *twin = load_model(f->ctx, "llama", false), *other = load_model(f->ctx, "gpt2", false);
    llmgpu_model *words = load_model(f->ctx, "llama", true);
    REQUIRE_INT(llmgpu_lora_load(&none, twin, f->paths[0]), ==, 0);
    REQUIRE_INT(llmgpu_session_set_lora(s, none, 1), ==, LLMGPU_E_INVALID);
    REQUIRE(strstr(llmgpu_session_error(s), "another model's"));
    llmgpu_lora_free(none);
    refuse(f, other, f->paths[0], LLMGPU_E_UNSUPPORTED, "'general.architecture' is 'llama', not 'gpt2'");
    refuse(f, words, f->paths[0], LLMGPU_E_INVALID, "without weights");
    struct model_shape shape = model_tiny("llama");
    shape.n_ff = 96;
    model_init(&build, &shape);
    write_adapter(large, &shapes[0], 3);
    refuse(f, f->model, large, LLMGPU_E_UNSUPPORTED,
           "'blk.0.ffn_gate.weight.lora_b' is [96, 8], not [64, rank]");
    model_init(&build, &(struct model_shape){.arch = "gpt2",
                                             .n_layers = 1,
                                             .n_embd = 32,
                                             .n_heads = 4,
                                             .n_kv = 4,
                                             .n_ff = 64,
                                             .n_ctx = 64,
                                             .vector_type = LG_TYPE_F32});
    write_adapter(gpt2, &shapes[0], 3);
    refuse(f, f->model, gpt2, LLMGPU_E_UNSUPPORTED, "'gpt2', not 'llama'");
    unlink(large);
    unlink(gpt2);
    llmgpu_model_free(twin);
    llmgpu_model_free(other);
    llmgpu_model_free(words);
    llmgpu_session_free(s);
    llmgpu_lora_free(lora);
}

/** Under a budget, with adapters that come and go between steps, so that passes are made anew in the middle.
 */
static void test_steps(struct fixture *f, int32_t alone[][N_ANSWER])
{
    llmgpu_lora *lora = load(f, 1), *other = NULL;
    llmgpu_session *s = open_session(f, lora, 1);
    int32_t found[N_ANSWER];
    int n = 0, n_steps = 0, rc = LLMGPU_AGAIN;
    REQUIRE_INT(llmgpu_session_feed(s, prompt, N_PROMPT), ==, 0);
    while (n < N_ANSWER && (rc = llmgpu_session_next(s, &found[n])) > 0) {
        if (rc == LLMGPU_TOKEN) {
            n++;
            continue;
        }
        if (n_steps++ % 16 == 5) {
            llmgpu_lora_free(other);
            other = load(f, n_steps % 32 < 16 ? 2 : 0);
        }
        REQUIRE_INT(llmgpu_context_step(f->ctx, 1), >, 0);
    }
    REQUIRE_INT(n, ==, N_ANSWER);
    REQUIRE_INT(n_steps, >, 100); // dispatch by dispatch
    require_same(found, alone[1], N_ANSWER);
    llmgpu_lora_free(other);
    llmgpu_session_free(s);
    llmgpu_lora_free(lora);
}

/** Another adapter while a pass is half done: it begins again, with the other from the first layer on. */
static void test_swap_in_pass(struct fixture *f, int32_t alone[][N_ANSWER])
{
    llmgpu_lora *loras[] = {load(f, 0), load(f, 1)};
    llmgpu_session *s = open_session(f, loras[0], 1);
    llmgpu_session_stats stats;
    int32_t found[N_ANSWER];
    REQUIRE_INT(llmgpu_session_feed(s, prompt, N_PROMPT), ==, 0);
    for (int i = 0; i < 12; i++)
        REQUIRE_INT(llmgpu_context_step(f->ctx, 1), >, 0);
    REQUIRE_INT(llmgpu_session_get_stats(s, &stats, sizeof(stats)), ==, 0);
    REQUIRE_INT(stats.prompt_submits, >=, 8);
    REQUIRE_INT(stats.n_computed, ==, 0);
    REQUIRE_INT(llmgpu_session_set_lora(s, loras[1], 1), ==, 0);
    take(s, found, N_ANSWER);
    require_same(found, alone[1], N_ANSWER);
    llmgpu_session_free(s);
    llmgpu_lora_free(loras[0]);
    llmgpu_lora_free(loras[1]);
}

/** A conversation on a thread of its own. */
struct talker {
    const struct fixture *f;
    int adapter;
    const int32_t *expected;
    int rounds;
};

static void *talk(void *user)
{
    struct talker *t = user;
    for (int i = 0; i < t->rounds; i++) {
        llmgpu_lora *lora = load(t->f, t->adapter);
        llmgpu_session *s = open_session(t->f, lora, 1);
        int32_t found[N_ANSWER];
        answer(s, found);
        require_same(found, t->expected, N_ANSWER);
        if (i % 2)
            llmgpu_lora_free(lora);
        llmgpu_session_free(s);
        if (i % 2 == 0)
            llmgpu_lora_free(lora);
    }
    return NULL;
}

/** Threads load, use and free adapters of one model while a thread of the library does the work. */
static void test_threads(struct fixture *f, int32_t alone[][N_ANSWER], int rounds)
{
    struct talker talkers[N_ADAPTERS];
    pthread_t threads[N_ADAPTERS];
    REQUIRE_INT(llmgpu_context_start(f->ctx), ==, 0);
    for (int i = 0; i < N_ADAPTERS; i++) {
        talkers[i] = (struct talker){f, i, alone[i], rounds};
        REQUIRE(pthread_create(&threads[i], NULL, talk, &talkers[i]) == 0);
    }
    for (int i = 0; i < N_ADAPTERS; i++)
        REQUIRE(pthread_join(threads[i], NULL) == 0);
    REQUIRE_INT(llmgpu_context_stop(f->ctx), ==, 0);
}

/** A device opened anew has the adapters too. */
static void test_recover(struct fixture *f, int32_t alone[][N_ANSWER])
{
    llmgpu_lora *loras[] = {load(f, 0), load(f, 1), load(f, 2)};
    llmgpu_lora_free(loras[0]); // a gap before the others
    llmgpu_session *s = open_session(f, loras[1], 1);
    int32_t found[N_ANSWER];
    REQUIRE_INT(llmgpu_session_feed(s, prompt, N_PROMPT), ==, 0);
    take(s, found, 5);
    REQUIRE_INT(llmgpu_context_recover(f->ctx, NULL), ==, 0);
    take(s, found + 5, N_ANSWER - 5);
    require_same(found, alone[1], N_ANSWER);
    REQUIRE_INT(llmgpu_session_set_lora(s, loras[2], 1), ==, 0);
    answer(s, found);
    require_same(found, alone[2], N_ANSWER);
    llmgpu_session_free(s);
    llmgpu_lora_free(loras[1]);
    llmgpu_lora_free(loras[2]);
}

int main(int argc, char **argv)
{
    const char *device = argc > 1 ? argv[1] : "cpu";
    static int32_t alone[N_ADAPTERS + 1][N_ANSWER], again[N_ADAPTERS + 1][N_ANSWER];
    struct fixture f;
    open_fixture(&f, device, false);
    answer_alone(&f, alone);
    test_scales(&f);
    test_together(&f, alone);
    test_cuts(&f, alone);
    test_swap(&f);
    test_fork(&f, alone);
    test_fork_grows(&f);
    test_memory(&f);
    test_info(&f);
    test_steps(&f, alone);
    test_swap_in_pass(&f, alone);
    test_threads(&f, alone, strcmp(device, "cpu") == 0 ? 20 : 3);
    test_recover(&f, alone);
    test_misuse(&f);
    test_lifetime(&f, device, alone);
    close_fixture(&f);

    // The same passes in debug mode: isolated and in reverse on the CPU, validated on Vulkan.
    open_fixture(&f, device, true);
    answer_alone(&f, again);
    require_same(again[0], alone[0], (N_ADAPTERS + 1) * N_ANSWER);
    test_together(&f, alone);
    close_fixture(&f);
    return 0;
}
