/* SPDX-License-Identifier: MIT
 *
 * Speculative decoding on the device that the first argument names: with drafts from the conversation itself or from another
 * model, tokens are the same as without, alone and among others, and drafts count.
 */
#include "llmgpu/llmgpu.h"
#include "model_build.h"

enum { N_CTX = 64, N_PROMPT = 12, N_ANSWER = 40, N_SESSIONS = 6 };

static struct fixture {
    llmgpu_context *ctx;
    llmgpu_model *model, *other;
} f;

static void open_all(const char *device)
{
    static struct model_build build;
    char error[512];
    llmgpu_context_params p;
    llmgpu_context_params_init(&p, sizeof(p));
    p.device = device;
    p.check = 1;
    p.error = error;
    p.error_size = sizeof(error);
    int rc = llmgpu_context_create(&f.ctx, &p);
    if (rc == LLMGPU_E_NO_DEVICE) {
        fprintf(stderr, "%s\n", error);
        exit(TEST_SKIP);
    }
    REQUIRE_INT(rc, ==, 0);
    struct model_shape shape = model_tiny("llama");
    model_init(&build, &shape);
    model_write(&build);
    REQUIRE_INT(llmgpu_model_load_memory(&f.model, f.ctx, build.file.data, build.file.size, NULL), ==, 0);
    static struct model_build small;
    shape.n_layers = 1; // the first of the two: often of the same opinion
    model_init(&small, &shape);
    model_write(&small);
    REQUIRE_INT(llmgpu_model_load_memory(&f.other, f.ctx, small.file.data, small.file.size, NULL), ==, 0);
}

struct kind {
    const char *name;
    float temperature, repeat_penalty;
    uint32_t last_n;
};

static const struct kind kinds[] = {
    {"greedy", 0, 1, 64}, {"sampled", 0.3f, 1, 64}, {"penalised", 0.3f, 1.2f, 64}, {"all penalised", 0, 1.2f, 256},
};

static llmgpu_session *begin(llmgpu_model *model, const struct kind *k, uint64_t seed, uint32_t tokens_per_submit)
{
    llmgpu_session *s;
    llmgpu_session_params p;
    llmgpu_sampler_params sampler;
    llmgpu_session_params_init(&p, sizeof(p));
    p.n_ctx = N_CTX;
    p.ignore_end = 1;
    p.tokens_per_submit = tokens_per_submit;
    REQUIRE_INT(llmgpu_session_create(&s, model, &p), ==, 0);
    llmgpu_sampler_params_init(&sampler, sizeof(sampler));
    sampler.temperature = k->temperature;
    sampler.repeat_penalty = k->repeat_penalty;
    sampler.penalty_last_n = k->last_n;
    sampler.seed = seed;
    REQUIRE_INT(llmgpu_session_set_sampler(s, &sampler), ==, 0);
    return s;
}

static void feed(llmgpu_session *s, uint64_t seed)
{
    int32_t prompt[N_PROMPT];
    for (int i = 0; i < N_PROMPT; i++)
        prompt[i] = 3 + (7 * i + (int)seed * 11) % 40 % (5 + i % 4);
    REQUIRE_INT(llmgpu_session_feed(s, prompt, N_PROMPT), ==, 0);
    REQUIRE_INT(llmgpu_session_set_remaining(s, N_ANSWER), ==, 0);
}

static void answer(llmgpu_session *s, int32_t *out)
{
    int rc, n = 0;
    while ((rc = llmgpu_session_next(s, &out[n])) != LLMGPU_DONE) {
        REQUIRE(rc == LLMGPU_TOKEN || rc == LLMGPU_AGAIN);
        n += rc == LLMGPU_TOKEN;
        if (rc == LLMGPU_AGAIN)
            REQUIRE_INT(llmgpu_session_wait(s, UINT64_MAX), ==, 0);
    }
    REQUIRE_INT(n, ==, N_ANSWER);
}

static llmgpu_session_stats stats_of(llmgpu_session *s)
{
    llmgpu_session_stats stats;
    REQUIRE_INT(llmgpu_session_get_stats(s, &stats, sizeof(stats)), ==, 0);
    return stats;
}

/** One session after another, with each way to draft. */
static void test_alone(const struct kind *k)
{
    uint64_t drafted[3] = {0}, accepted[3] = {0};
    for (uint64_t seed = 0; seed < N_SESSIONS; seed++) {
        int32_t expected[N_ANSWER], found[N_ANSWER];
        llmgpu_session *s = begin(f.model, k, seed, 1);
        feed(s, seed);
        answer(s, expected);
        for (int way = 0; way < 3; way++) {
            llmgpu_session *t = begin(f.model, k, seed, 1), *d = NULL;
            if (way)
                d = begin(way == 1 ? f.model : f.other, k, seed, way == 1 ? 1 : 3);
            REQUIRE_INT(llmgpu_session_set_speculation(
                            t, d ? LLMGPU_SPECULATION_DRAFT : LLMGPU_SPECULATION_LOOKUP, 1 + (uint32_t)seed, d), ==, 0);
            feed(t, seed);
            answer(t, found);
            REQUIRE(memcmp(found, expected, sizeof(found)) == 0);
            drafted[way] += stats_of(t).n_drafted;
            accepted[way] += stats_of(t).n_accepted;
            llmgpu_session_free(d); // in either order
            llmgpu_session_free(t);
        }
        llmgpu_session_free(s);
    }
    for (int way = 0; way < 3; way++)
        printf("%s, %s: %u of %u drafts accepted\n", k->name, way == 0 ? "lookup" : way == 1 ? "the same model" : "another",
               (unsigned)accepted[way], (unsigned)drafted[way]);
    bool off = k->repeat_penalty != 1 && k->last_n == 256;
    REQUIRE((drafted[1] == 0) == off);
    REQUIRE_INT(accepted[1], ==, drafted[1]); // it is of the same opinion
    REQUIRE(off || k->temperature > 0 || accepted[0] > 0);
}

/** Together, some with drafts and some without, in steps of any size. */
static void test_together(uint32_t budget_us)
{
    int32_t expected[N_SESSIONS][N_ANSWER], found[N_SESSIONS][N_ANSWER];
    llmgpu_session *s[N_SESSIONS], *d[N_SESSIONS] = {0};
    int n[N_SESSIONS] = {0}, left = N_SESSIONS;
    for (int i = 0; i < N_SESSIONS; i++) {
        s[i] = begin(f.model, &kinds[i % 2], (uint64_t)i, 1);
        feed(s[i], (uint64_t)i);
        answer(s[i], expected[i]);
        llmgpu_session_free(s[i]);
    }
    for (int i = 0; i < N_SESSIONS; i++) {
        s[i] = begin(f.model, &kinds[i % 2], (uint64_t)i, 1);
        if (i % 3 == 1)
            REQUIRE_INT(llmgpu_session_set_speculation(s[i], LLMGPU_SPECULATION_LOOKUP, 16, NULL), ==, 0);
        if (i % 3 == 2) {
            d[i] = begin(f.other, &kinds[i % 2], (uint64_t)i, 4);
            REQUIRE_INT(llmgpu_session_set_speculation(s[i], LLMGPU_SPECULATION_DRAFT, 4, d[i]), ==, 0);
        }
        feed(s[i], (uint64_t)i);
    }
    while (left > 0) {
        REQUIRE_INT(llmgpu_context_step(f.ctx, budget_us), >=, 0);
        for (int i = 0; i < N_SESSIONS; i++) {
            while (n[i] < N_ANSWER && llmgpu_session_next(s[i], &found[i][n[i]]) == LLMGPU_TOKEN)
                left -= ++n[i] == N_ANSWER;
        }
    }
    REQUIRE(memcmp(found, expected, sizeof(found)) == 0);
    for (int i = 0; i < N_SESSIONS; i++) {
        llmgpu_session_free(s[i]);
        llmgpu_session_free(d[i]);
    }
}

static void test_refused(void)
{
    llmgpu_session *s = begin(f.model, kinds, 0, 1), *t = begin(f.model, kinds, 0, 1), *d = begin(f.other, kinds, 0, 1);
    REQUIRE_INT(llmgpu_session_set_speculation(s, LLMGPU_SPECULATION_LOOKUP, 0, NULL), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_session_set_speculation(s, LLMGPU_SPECULATION_LOOKUP, 17, NULL), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_session_set_speculation(s, LLMGPU_SPECULATION_LOOKUP, 2, d), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_session_set_speculation(s, LLMGPU_SPECULATION_DRAFT, 2, NULL), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_session_set_speculation(s, LLMGPU_SPECULATION_DRAFT, 2, s), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_session_set_speculation(s, 3, 2, NULL), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_session_set_speculation(s, -1, 2, NULL), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_session_set_speculation(s, LLMGPU_SPECULATION_DRAFT, 2, d), ==, 0);
    REQUIRE_INT(llmgpu_session_set_speculation(t, LLMGPU_SPECULATION_DRAFT, 2, d), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_session_set_speculation(s, LLMGPU_SPECULATION_NONE, 0, NULL), ==, 0);
    REQUIRE_INT(llmgpu_session_set_speculation(t, LLMGPU_SPECULATION_DRAFT, 2, d), ==, 0);
    llmgpu_session_free(s);
    llmgpu_session_free(t);
    llmgpu_session_free(d);
}

int main(int argc, char **argv)
{
    open_all(argc > 1 ? argv[1] : "cpu");
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        test_alone(&kinds[i]);
    test_together(UINT32_MAX);
    test_together(500);
    test_refused();
    llmgpu_model_free(f.other);
    llmgpu_model_free(f.model);
    llmgpu_context_free(f.ctx);
    return 0;
}
