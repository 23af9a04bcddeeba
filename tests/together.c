/* SPDX-License-Identifier: MIT
 *
 * Many sessions of one context on the device that the first argument names: each gets what it gets alone, token by token
 * and to the last bit of its candidates, whatever the others are doing, and they share passes. Adapters of several ranks come
 * and go with them, at several scales.
 */
#define LLMGPU_EXPERIMENTAL
#include <unistd.h>

#include "llmgpu/llmgpu.h"
#include "lora_build.h"

enum { N_SESSIONS = 30, N_CTX = 64, MAX_PROMPT = 36, MAX_ANSWER = 24, N_TOP = 3, N_ADAPTERS = 3, MAX_BIASES = 40 };

static int32_t kv_type; // second argument
static struct model_build build, adapter_build;
static struct test_rng rng = {11};

static struct fixture {
    llmgpu_context *ctx;
    llmgpu_model *model;
    char adapters[N_ADAPTERS][64]; // paths
} f;

/** A conversation, and what it brings. */
struct talk {
    int32_t prompt[MAX_PROMPT];
    uint32_t n_prompt, n_answer, n_given;
    llmgpu_session_params params;
    llmgpu_sampler_params sampler;
    const char *adapter; // NULL: none
    float scale;
    uint32_t n_biases;
    llmgpu_logit_bias biases[MAX_BIASES];
    bool masked;
    int32_t answer[MAX_ANSWER];
    llmgpu_candidate top[MAX_ANSWER][N_TOP];
};

/* ---- a context, a model, adapters */

static void write_file(char path[64], const struct build *file)
{
    snprintf(path, 64, "/tmp/llmgpu-together-XXXXXX");
    int fd = mkstemp(path);
    REQUIRE(fd >= 0 && write(fd, file->data, file->size) == (ssize_t)file->size);
    close(fd);
}

static void open_all(const char *device, const char *arch, enum lg_type type)
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
    shape.type = type;
    model_init(&build, &shape);
    model_write(&build);
    REQUIRE_INT(llmgpu_model_load_memory(&f.model, f.ctx, build.file.data, build.file.size, NULL), ==, 0);
    for (int i = 0; i < N_ADAPTERS; i++) {
        struct lora_shape lora = {.rank = 4u << i, .alpha = 8};
        lora_write(&adapter_build, &build, &lora, 100 + (uint64_t)i);
        write_file(f.adapters[i], &adapter_build.file);
    }
}

static void close_all(void)
{
    llmgpu_context_stats stats;
    REQUIRE_INT(llmgpu_context_get_stats(f.ctx, &stats, sizeof(stats)), ==, 0);
    REQUIRE_INT(stats.check_messages, ==, 0);
    for (int i = 0; i < N_ADAPTERS; i++)
        unlink(f.adapters[i]);
    llmgpu_model_free(f.model);
    llmgpu_context_free(f.ctx);
}

/* ---- conversations */

static void make_talk(struct talk *t, bool adapters)
{
    *t = (struct talk){.n_prompt = test_randu(&rng, 1, MAX_PROMPT), .n_answer = test_randu(&rng, 1, MAX_ANSWER)};
    for (uint32_t i = 0; i < t->n_prompt; i++)
        t->prompt[i] = (int32_t)test_randu(&rng, 3, 200);
    llmgpu_session_params_init(&t->params, sizeof(t->params));
    t->params.n_ctx = N_CTX;
    t->params.n_batch = test_randu(&rng, 1, 40);
    t->params.ignore_end = test_randu(&rng, 0, 3) > 0;
    t->params.tokens_per_submit = test_randu(&rng, 0, 2) ? 1 : test_randu(&rng, 2, 6);
    t->params.n_candidates = test_randu(&rng, 0, 2) ? 0 : N_TOP;
    llmgpu_sampler_params_init(&t->sampler, sizeof(t->sampler));
    t->sampler.temperature = test_randu(&rng, 0, 2) ? test_randf(&rng, 0.5f, 3) : 0;
    t->sampler.top_k = test_randu(&rng, 0, 1) * 20;
    t->sampler.repeat_penalty = test_randu(&rng, 0, 1) ? 1.3f : 1;
    t->sampler.seed = test_rand(&rng);
    t->n_biases = test_randu(&rng, 0, 1) * test_randu(&rng, 1, MAX_BIASES);
    for (uint32_t i = 0; i < t->n_biases; i++)
        t->biases[i] = (llmgpu_logit_bias){(int32_t)i * 5, i % 4 ? test_randf(&rng, -3, 3) : -INFINITY};
    t->masked = test_randu(&rng, 0, 2) == 0;
    if (adapters && test_randu(&rng, 0, 1))
        t->adapter = f.adapters[test_randu(&rng, 0, N_ADAPTERS - 1)];
    t->scale = test_randf(&rng, -1, 1);
}

/** Most tokens, others each time. */
static int mask_some(void *user, const int32_t *tokens, size_t n_tokens, uint32_t *mask, size_t n_words)
{
    (void)user;
    for (size_t i = 0; i < n_words; i++)
        mask[i] = (uint32_t)(tokens[n_tokens - 1] + 3) * 2654435761u * (uint32_t)(i + n_tokens) | 1;
    return 0;
}

static llmgpu_session *begin(const struct talk *t)
{
    llmgpu_session *s;
    REQUIRE_INT(llmgpu_session_create(&s, f.model, &t->params), ==, 0);
    REQUIRE_INT(llmgpu_session_set_sampler(s, &t->sampler), ==, 0);
    REQUIRE_INT(llmgpu_session_set_logit_bias(s, t->biases, t->n_biases), ==, 0);
    if (t->masked)
        REQUIRE_INT(llmgpu_session_set_mask(s, mask_some, NULL), ==, 0);
    if (t->adapter) {
        llmgpu_lora *lora;
        REQUIRE_INT(llmgpu_lora_load(&lora, f.model, t->adapter), ==, 0);
        REQUIRE_INT(llmgpu_session_set_lora(s, lora, t->scale), ==, 0);
        llmgpu_lora_free(lora); // which it keeps, and takes away when it goes
    }
    REQUIRE_INT(llmgpu_session_set_remaining(s, t->n_answer), ==, 0);
    REQUIRE_INT(llmgpu_session_feed(s, t->prompt, t->n_prompt), ==, 0);
    return s;
}

/** What there is of an answer; false when it is over. */
static bool take(llmgpu_session *s, struct talk *t)
{
    for (;;) {
        int32_t token;
        int rc = llmgpu_session_next(s, &token);
        if (rc != LLMGPU_TOKEN) {
            REQUIRE(rc == LLMGPU_AGAIN || rc == LLMGPU_DONE);
            return rc == LLMGPU_AGAIN;
        }
        size_t n;
        llmgpu_candidate chosen;
        if (t->params.n_candidates)
            REQUIRE_INT(llmgpu_session_get_candidates(s, &chosen, t->top[t->n_given], N_TOP, &n), ==, 0);
        REQUIRE_INT(t->n_given, <, MAX_ANSWER);
        t->answer[t->n_given++] = token;
    }
}

static void alone(struct talk *t)
{
    llmgpu_session *s = begin(t);
    while (take(s, t))
        REQUIRE_INT(llmgpu_session_wait(s, UINT64_MAX), ==, 0);
    llmgpu_session_free(s);
}

static void require_same(const struct talk *a, const struct talk *b)
{
    REQUIRE_INT(a->n_given, ==, b->n_given);
    REQUIRE(memcmp(a->answer, b->answer, sizeof(a->answer)) == 0);
    REQUIRE(memcmp(a->top, b->top, sizeof(a->top)) == 0);
}

/** Sessions that begin now and then, n_open at a time, until all have had their answers. */
static void among_others(struct talk *talks, const struct talk *expected, uint32_t n, uint32_t n_open, uint32_t budget_us)
{
    llmgpu_session *open[N_SESSIONS] = {0};
    uint32_t of[N_SESSIONS] = {0}, next = 0, left = n;
    while (left > 0) {
        for (uint32_t i = 0; i < n_open && next < n; i++) {
            if (open[i] || test_randu(&rng, 0, 2) == 0)
                continue;
            talks[next].n_given = 0;
            open[i] = begin(&talks[next]);
            of[i] = next++;
        }
        REQUIRE_INT(llmgpu_context_step(f.ctx, budget_us), >=, 0);
        for (uint32_t i = 0; i < n_open; i++) {
            if (!open[i] || take(open[i], &talks[of[i]]))
                continue;
            require_same(&talks[of[i]], &expected[of[i]]);
            llmgpu_session_free(open[i]);
            open[i] = NULL;
            left--;
        }
    }
}

static void test_same(const char *device, const char *arch, enum lg_type type)
{
    static struct talk expected[N_SESSIONS], talks[N_SESSIONS];
    open_all(device, arch, type);
    for (int i = 0; i < N_SESSIONS; i++) {
        make_talk(&expected[i], true);
        talks[i] = expected[i];
        alone(&expected[i]);
    }
    among_others(talks, expected, N_SESSIONS, N_SESSIONS, UINT32_MAX);
    among_others(talks, expected, N_SESSIONS, 5, 2000);
    close_all();
}

/** As many as there are share each pass, so that they cost as many submissions as one of them. */
static void test_passes(const char *device)
{
    enum { N = 9, N_TOKENS = 8 };
    llmgpu_session *sessions[N];
    llmgpu_context_stats before, after;
    struct talk t;
    open_all(device, "llama", LG_TYPE_F32);
    make_talk(&t, false);
    t.params.tokens_per_submit = 1;
    t.params.ignore_end = 1;
    t.n_answer = N_TOKENS;
    t.n_prompt = 1;
    for (int i = 0; i < N; i++)
        sessions[i] = begin(&t);
    REQUIRE_INT(llmgpu_context_step(f.ctx, UINT32_MAX), >=, 0); // records what is needed
    llmgpu_context_get_stats(f.ctx, &before, sizeof(before));
    for (int i = 1; i < N_TOKENS; i++) {
        int32_t token;
        for (int k = 0; k < N; k++)
            REQUIRE_INT(llmgpu_session_next(sessions[k], &token), ==, LLMGPU_TOKEN);
        REQUIRE_INT(llmgpu_context_step(f.ctx, UINT32_MAX), >=, 0);
    }
    llmgpu_context_get_stats(f.ctx, &after, sizeof(after));
    // A pass of more than one row goes in pieces the first time, until it is known how long they take.
    REQUIRE_INT(after.submits - before.submits, <=, (N_TOKENS - 1) * (build.n_tensors + 1));
    REQUIRE_INT(after.submits - before.submits, <, (N_TOKENS - 1) * N);
    for (int k = 0; k < N; k++)
        llmgpu_session_free(sessions[k]);
    close_all();
}

int main(int argc, char **argv)
{
    const char *device = argc > 1 ? argv[1] : "cpu";
    kv_type = argc > 2 ? atoi(argv[2]) : LLMGPU_KV_F32;
    test_passes(device);
    test_same(device, "llama", LG_TYPE_Q8_0);
    if (strcmp(device, "cpu") != 0)
        return 0; // the rest is the same there, and would take a minute
    test_same(device, "qwen2", LG_TYPE_F16);
    test_same(device, "gpt2", LG_TYPE_F32);
    return 0;
}
