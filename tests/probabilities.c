/* SPDX-License-Identifier: MIT
 *
 * Candidates, scores and embeddings through the public API, on the device that the first argument names: each
 * is held against what follows from the logits, or from the weights of a small model.
 */
#include "model_build.h"
#include "tavern.h"

enum { N_CTX = 128, N_ANSWER = 24, N_TOP = 5 };

/** Of log-probabilities that passes of different kinds have computed. */
#define CLOSE 4e-3

static struct tavern t;

/** The tokens of a conversation. */
struct text {
    int32_t tokens[N_CTX + 1];
    size_t n;
};

static struct text text_of(const llmgpu_session *s)
{
    struct text text;
    REQUIRE_INT(llmgpu_session_get_tokens(s, text.tokens, N_CTX + 1, &text.n), ==, 0);
    return text;
}

/** What a session has told of its answer. */
struct told {
    int32_t tokens[N_ANSWER];
    llmgpu_candidate chosen[N_ANSWER], top[N_ANSWER][N_TOP];
    struct text text; // question and answer
};

/** Penalties on, so that the logits are not those of the model when a token is drawn. */
static llmgpu_session *asking_session(uint32_t n_candidates)
{
    llmgpu_session_params p = tavern_params(N_CTX);
    llmgpu_sampler_params sampler;
    p.n_candidates = n_candidates;
    p.tokens_per_submit = 4; // which they do not use
    llmgpu_session *s = tavern_session(&t, &p);
    REQUIRE_INT(llmgpu_sampler_params_init(&sampler, sizeof(sampler)), ==, 0);
    sampler.temperature = 1.6f;
    sampler.repeat_penalty = 1.5f;
    sampler.presence_penalty = 0.5f;
    sampler.seed = 3;
    REQUIRE_INT(llmgpu_session_set_sampler(s, &sampler), ==, 0);
    tavern_feed(s, tavern_persona);
    tavern_feed(s, tavern_question);
    return s;
}

static int next_by_wait(llmgpu_session *s, int32_t *token)
{
    return tavern_next(s, token);
}

static int next_by_step(llmgpu_session *s, int32_t *token)
{
    int rc;
    while ((rc = llmgpu_session_next(s, token)) == LLMGPU_AGAIN)
        REQUIRE_INT(llmgpu_context_step(t.ctx, 300), >, 0);
    return rc;
}

static struct told ask(int (*next)(llmgpu_session *s, int32_t *token))
{
    struct told told;
    llmgpu_session *s = asking_session(N_TOP);
    for (int i = 0; i < N_ANSWER; i++) {
        size_t n;
        REQUIRE_INT(next(s, &told.tokens[i]), ==, LLMGPU_TOKEN);
        REQUIRE_INT(llmgpu_session_get_candidates(s, &told.chosen[i], told.top[i], N_TOP, &n), ==, 0);
        REQUIRE_INT(n, ==, N_TOP);
    }
    told.text = text_of(s);
    llmgpu_session_free(s);
    return told;
}

static double *log_softmax(const float *logits, uint32_t n)
{
    double sum = 0, *out = malloc(n * sizeof(*out));
    REQUIRE(out);
    for (uint32_t i = 0; i < n; i++)
        sum += exp((double)logits[i]);
    for (uint32_t i = 0; i < n; i++)
        out[i] = (double)logits[i] - log(sum);
    return out;
}

/** Whether the list is that of the most probable tokens, as exactly as the log-probabilities are known. */
static void require_top(const llmgpu_candidate *top, uint32_t n, const double *log_probs, uint32_t n_vocab,
                        double close)
{
    uint32_t n_above = 0;
    for (uint32_t i = 0; i < n; i++) {
        REQUIRE(top[i].token >= 0 && (uint32_t)top[i].token < n_vocab);
        REQUIRE(fabs((double)top[i].log_prob - log_probs[top[i].token]) <= close);
        REQUIRE(i == 0 || top[i].log_prob <= top[i - 1].log_prob);
        for (uint32_t k = 0; k < i; k++)
            REQUIRE(top[k].token != top[i].token);
    }
    for (uint32_t i = 0; i < n_vocab; i++)
        n_above += log_probs[i] > (double)top[n - 1].log_prob + close;
    REQUIRE_INT(n_above, <, n);
}

/** Of the model's own distribution, also for tokens that are not among the first. */
static void test_candidates(void)
{
    struct told told = ask(next_by_wait);
    llmgpu_session_params p = tavern_params(N_CTX);
    llmgpu_session *scoring = tavern_session(&t, &p);
    uint32_t V = t.info.n_vocab, n_outside = 0;
    size_t n = told.text.n, first = n - N_ANSWER;
    float *logits = malloc(n * V * sizeof(*logits));
    REQUIRE(logits);
    REQUIRE_INT(llmgpu_session_score(scoring, told.text.tokens, n, NULL, logits), ==, 0);
    for (size_t i = 0; i < N_ANSWER; i++) {
        double *log_probs = log_softmax(logits + (first + i - 1) * V, V);
        const llmgpu_candidate *chosen = &told.chosen[i];
        REQUIRE_INT(chosen->token, ==, told.tokens[i]);
        REQUIRE(fabs((double)chosen->log_prob - log_probs[chosen->token]) < CLOSE);
        require_top(told.top[i], N_TOP, log_probs, V, CLOSE);
        uint32_t at = 0;
        while (at < N_TOP && told.top[i][at].token != chosen->token)
            at++;
        n_outside += at == N_TOP;
        if (at < N_TOP)
            REQUIRE(told.top[i][at].log_prob == chosen->log_prob);
        free(log_probs);
    }
    REQUIRE_INT(n_outside, >, 0);
    free(logits);
    llmgpu_session_free(scoring);
}

static void require_same(const struct told *a, const struct told *b)
{
    REQUIRE(memcmp(a->tokens, b->tokens, sizeof(a->tokens)) == 0);
    REQUIRE(memcmp(a->chosen, b->chosen, sizeof(a->chosen)) == 0);
    REQUIRE(memcmp(a->top, b->top, sizeof(a->top)) == 0);
}

/** However the work is done; and what is said does not depend on whether it is told. */
static void test_candidates_everywhere(void)
{
    struct told waited = ask(next_by_wait), stepped = ask(next_by_step);
    require_same(&waited, &stepped);
    REQUIRE_INT(llmgpu_context_start(t.ctx), ==, 0);
    struct told background = ask(next_by_wait);
    REQUIRE_INT(llmgpu_context_stop(t.ctx), ==, 0);
    require_same(&waited, &background);

    int32_t tokens[N_ANSWER];
    llmgpu_session *silent = asking_session(0);
    tavern_take(silent, tokens, N_ANSWER);
    REQUIRE(memcmp(tokens, waited.tokens, sizeof(tokens)) == 0);
    size_t n;
    REQUIRE_INT(llmgpu_session_get_candidates(silent, NULL, NULL, 0, &n), ==, LLMGPU_E_INVALID);
    llmgpu_session_free(silent);
}

static void test_candidate_states(void)
{
    llmgpu_session *s = asking_session(32), *fork;
    llmgpu_candidate chosen, top[32];
    int32_t tokens[3];
    size_t n;
    REQUIRE_INT(llmgpu_session_get_candidates(s, &chosen, top, 32, &n), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(n, ==, 0);
    tavern_take(s, tokens, 3);
    REQUIRE_INT(llmgpu_session_get_candidates(s, &chosen, top, 32, &n), ==, 0);
    REQUIRE(n == 32 && chosen.token == tokens[2]);
    REQUIRE_INT(llmgpu_session_get_candidates(s, NULL, top, 2, &n), ==, 0);
    REQUIRE_INT(n, ==, 2);
    REQUIRE_INT(llmgpu_session_get_candidates(s, &chosen, NULL, 0, &n), ==, 0);
    REQUIRE_INT(n, ==, 0);
    tavern_feed(s, tavern_more);
    REQUIRE_INT(llmgpu_session_get_candidates(s, &chosen, NULL, 0, &n), ==, 0); // still the last one given
    REQUIRE_INT(llmgpu_session_fork(&fork, s), ==, 0);
    REQUIRE_INT(llmgpu_session_get_candidates(fork, &chosen, NULL, 0, &n), ==, LLMGPU_E_INVALID);
    tavern_take(fork, tokens, 1);
    REQUIRE_INT(llmgpu_session_get_candidates(fork, &chosen, top, 32, &n), ==, 0);
    REQUIRE(n == 32 && chosen.token == tokens[0]);
    REQUIRE_INT(llmgpu_session_reset(s), ==, 0);
    REQUIRE_INT(llmgpu_session_get_candidates(s, &chosen, NULL, 0, &n), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_session_get_candidates(NULL, &chosen, NULL, 0, &n), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_session_get_candidates(s, &chosen, NULL, 4, &n), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_session_get_candidates(s, &chosen, NULL, 0, NULL), ==, LLMGPU_E_INVALID);
    llmgpu_session_free(s);
    llmgpu_session_free(fork);

    llmgpu_session_params p = tavern_params(N_CTX);
    p.n_candidates = 33;
    REQUIRE_INT(llmgpu_session_create(&s, t.model, &p), ==, LLMGPU_E_INVALID);
    REQUIRE(strstr(llmgpu_context_error(t.ctx), "candidates"));
}

static struct text a_text(void)
{
    llmgpu_session_params p = tavern_params(N_CTX);
    llmgpu_session *s = tavern_session(&t, &p);
    tavern_feed(s, tavern_persona);
    tavern_feed(s, tavern_question);
    struct text text = text_of(s);
    llmgpu_session_free(s);
    return text;
}

/** In one pass and in many. */
static void test_score_top(void)
{
    struct text text = a_text();
    uint32_t V = t.info.n_vocab;
    float *logits = malloc(text.n * V * sizeof(*logits));
    llmgpu_candidate(*top)[32] = malloc(text.n * sizeof(*top)), *one = malloc(text.n * sizeof(*one));
    float log_probs[2][N_CTX];
    REQUIRE(logits && top && one);
    for (uint32_t n_batch = 5; n_batch <= N_CTX; n_batch += N_CTX - 5) {
        llmgpu_session_params p = tavern_params(N_CTX);
        p.n_batch = n_batch;
        llmgpu_session *s = tavern_session(&t, &p);
        REQUIRE_INT(llmgpu_session_score(s, text.tokens, text.n, log_probs[0], logits), ==, 0);
        REQUIRE_INT(llmgpu_session_score_top(s, text.tokens, text.n, log_probs[1], 32, &top[0][0]), ==, 0);
        REQUIRE(memcmp(log_probs[0], log_probs[1], (text.n - 1) * sizeof(float)) == 0);
        REQUIRE_INT(llmgpu_session_score_top(s, text.tokens, text.n, NULL, 1, one), ==, 0);
        for (size_t i = 0; i < text.n; i++) {
            double *expected = log_softmax(logits + i * V, V);
            require_top(top[i], 32, expected, V, 1e-4);
            for (uint32_t k = 0; k + 1 < 32; k++) // of equal logits the lower token first
                REQUIRE(logits[i * V + (size_t)top[i][k].token] >
                            logits[i * V + (size_t)top[i][k + 1].token] ||
                        top[i][k].token < top[i][k + 1].token);
            REQUIRE(memcmp(&one[i], &top[i][0], sizeof(one[i])) == 0);
            free(expected);
        }
        REQUIRE_INT(tavern_stats(s).n_tokens, ==, 0);
        REQUIRE_INT(llmgpu_session_score_top(s, text.tokens, text.n, NULL, 0, one), ==, LLMGPU_E_INVALID);
        REQUIRE_INT(llmgpu_session_score_top(s, text.tokens, text.n, NULL, 33, one), ==, LLMGPU_E_INVALID);
        REQUIRE(strstr(llmgpu_session_error(s), "33"));
        REQUIRE_INT(llmgpu_session_score_top(s, text.tokens, text.n, NULL, 1, NULL), ==, LLMGPU_E_INVALID);
        REQUIRE_INT(llmgpu_session_score_top(s, text.tokens, 0, NULL, 1, one), ==, LLMGPU_E_INVALID);
        llmgpu_session_free(s);
    }
    free(logits);
    free(top);
    free(one);
}

/* ---- embeddings
 * -------------------------------------------------------------------------------------------------- */

static void embed(llmgpu_session *s, const struct text *text, int pooling, int normalize, float *out)
{
    REQUIRE_INT(llmgpu_session_embed(s, text->tokens, text->n, pooling, normalize, out), ==, 0);
}

static void require_length_1(const float *x, uint32_t n, const float *direction)
{
    double sum = 0, dot = 0, other = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum += (double)x[i] * (double)x[i];
        dot += (double)x[i] * (double)direction[i];
        other += (double)direction[i] * (double)direction[i];
    }
    REQUIRE(fabs(sum - 1) < 1e-6);
    REQUIRE(fabs(dot - sqrt(other)) < 1e-5 * sqrt(other));
}

/** Pooled by hand. */
static void test_pooling(void)
{
    struct text text = a_text();
    uint32_t C = t.info.n_embd;
    float *rows = malloc(text.n * C * sizeof(*rows)), *again = malloc(text.n * C * sizeof(*again));
    float *one = malloc(C * sizeof(*one)), *unit = malloc(C * sizeof(*unit));
    REQUIRE(rows && again && one && unit);
    llmgpu_session_params p = tavern_params(N_CTX), parts = tavern_params(N_CTX);
    parts.n_batch = 5;
    llmgpu_session *s = tavern_session(&t, &p);
    embed(s, &text, LLMGPU_POOLING_NONE, 0, rows);

    embed(s, &text, LLMGPU_POOLING_CLS, 0, one);
    REQUIRE(memcmp(one, rows, C * sizeof(*one)) == 0);
    embed(s, &text, LLMGPU_POOLING_LAST, 0, one);
    REQUIRE(memcmp(one, rows + (text.n - 1) * C, C * sizeof(*one)) == 0);
    embed(s, &text, LLMGPU_POOLING_LAST, 1, unit);
    require_length_1(unit, C, one);

    embed(s, &text, LLMGPU_POOLING_MEAN, 0, one);
    for (uint32_t c = 0; c < C; c++) {
        double mean = 0;
        for (size_t i = 0; i < text.n; i++)
            mean += (double)rows[i * C + c] / (double)text.n;
        REQUIRE(fabs(mean - (double)one[c]) <= 1e-6 + 1e-6 * fabs(mean));
    }
    embed(s, &text, LLMGPU_POOLING_MEAN, 1, unit);
    require_length_1(unit, C, one);
    embed(s, &text, LLMGPU_POOLING_NONE, 1, again);
    for (size_t i = 0; i < text.n; i++)
        require_length_1(again + i * C, C, rows + i * C);
    REQUIRE_INT(tavern_stats(s).n_tokens, ==, 0);
    llmgpu_session_free(s);

    // The same in many passes.
    s = tavern_session(&t, &parts);
    embed(s, &text, LLMGPU_POOLING_NONE, 0, again);
    REQUIRE(memcmp(again, rows, text.n * C * sizeof(*rows)) == 0);
    embed(s, &text, LLMGPU_POOLING_MEAN, 0, unit);
    REQUIRE(memcmp(unit, one, C * sizeof(*one)) == 0);
    embed(s, &text, LLMGPU_POOLING_CLS, 0, unit);
    REQUIRE(memcmp(unit, rows, C * sizeof(*unit)) == 0);
    embed(s, &text, LLMGPU_POOLING_LAST, 0, unit);
    REQUIRE(memcmp(unit, rows + (text.n - 1) * C, C * sizeof(*unit)) == 0);
    llmgpu_session_free(s);
    free(rows);
    free(again);
    free(one);
    free(unit);
}

/** The logits are the hidden states times the output matrix, which is in the file as it is. */
static void test_hidden_states(void)
{
    static struct model_build m;
    enum { C = 32, N = 9 };
    struct model_shape shape = {.arch = "llama",
                                .n_layers = 2,
                                .n_embd = C,
                                .n_heads = 2,
                                .n_kv = 1,
                                .n_ff = 48,
                                .n_ctx = 64,
                                .untied = true,
                                .type = LG_TYPE_F32};
    const int32_t tokens[N] = {3, 1, 4, 1, 5, 9, 2, 6, 5};
    model_init(&m, &shape);
    model_write(&m);
    struct lg_env env;
    struct lg_gguf *gguf;
    lg_env_init(&env);
    REQUIRE_INT(lg_gguf_parse(&env, "tiny", m.file.data, m.file.size, &gguf), ==, 0);
    const struct lg_gguf_tensor *output = lg_gguf_find_tensor(gguf, "output.weight");
    REQUIRE(output);

    llmgpu_model *model;
    llmgpu_session_params p = tavern_params(32);
    llmgpu_session *s;
    llmgpu_model_info info;
    REQUIRE_INT(llmgpu_model_load_memory(&model, t.ctx, m.file.data, m.file.size, NULL), ==, 0);
    REQUIRE_INT(llmgpu_model_get_info(model, &info, sizeof(info)), ==, 0);
    REQUIRE_INT(llmgpu_session_create(&s, model, &p), ==, 0);
    float rows[N][C], *logits = malloc(N * info.n_vocab * sizeof(*logits));
    REQUIRE(logits);
    REQUIRE_INT(llmgpu_session_embed(s, tokens, N, LLMGPU_POOLING_NONE, 0, rows[0]), ==, 0);
    REQUIRE_INT(llmgpu_session_score(s, tokens, N, NULL, logits), ==, 0);
    for (uint32_t i = 0; i < N; i++) {
        for (uint32_t v = 0; v < info.n_vocab; v++) {
            double sum = 0, scale = 0;
            for (uint32_t c = 0; c < C; c++) {
                float w;
                memcpy(&w, output->data + ((size_t)v * C + c) * sizeof(w), sizeof(w));
                sum += (double)rows[i][c] * (double)w;
                scale += fabs((double)rows[i][c] * (double)w);
            }
            REQUIRE(fabs(sum - (double)logits[i * info.n_vocab + v]) <= 1e-5 * scale + 1e-6);
        }
    }
    free(logits);
    lg_gguf_close(gguf);
    llmgpu_session_free(s);
    llmgpu_model_free(model);
}

static void test_embed_misuse(void)
{
    llmgpu_session_params p = tavern_params(16);
    llmgpu_session *s = tavern_session(&t, &p);
    struct text text = a_text();
    float *out = malloc(text.n * t.info.n_embd * sizeof(*out));
    REQUIRE(out);
    REQUIRE_INT(llmgpu_session_embed(s, text.tokens, 4, -1, 0, out), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_session_embed(s, text.tokens, 4, 4, 0, out), ==, LLMGPU_E_INVALID);
    REQUIRE(strstr(llmgpu_session_error(s), "pooling 4"));
    REQUIRE_INT(llmgpu_session_embed(s, text.tokens, 0, 0, 0, out), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_session_embed(s, text.tokens, 4, 0, 0, NULL), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_session_embed(NULL, text.tokens, 4, 0, 0, out), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_session_embed(s, text.tokens, 17, 0, 0, out), ==, LLMGPU_E_CONTEXT_FULL);
    text.tokens[2] = -1;
    REQUIRE_INT(llmgpu_session_embed(s, text.tokens, 4, 0, 0, out), ==, LLMGPU_E_INVALID);
    text.tokens[2] = 7;
    llmgpu_session_cancel(s);
    REQUIRE_INT(llmgpu_session_embed(s, text.tokens, 4, 0, 0, out), ==, LLMGPU_E_CANCELLED);
    REQUIRE_INT(llmgpu_session_embed(s, text.tokens, 4, 0, 0, out), ==, 0);

    // Each allocation fails once.
    uint64_t n_failed = 0;
    int rc;
    for (uint64_t after = 1;
         (t.heap.fail_at = t.heap.n + after, rc = llmgpu_session_embed(s, text.tokens, 4, 0, 0, out)) < 0;
         after++, n_failed++) {
        t.heap.fail_at = 0;
        REQUIRE_INT(rc, ==, LLMGPU_E_NOMEM);
        REQUIRE(*llmgpu_session_error(s));
    }
    t.heap.fail_at = 0;
    REQUIRE_INT(n_failed, >=, 2);
    free(out);
    llmgpu_session_free(s);
}

int main(int argc, char **argv)
{
    const char *device = argc > 1 ? argv[1] : "cpu";
    tavern_open(&t, device, false);
    test_candidates();
    test_candidates_everywhere();
    test_candidate_states();
    test_score_top();
    test_pooling();
    test_hidden_states();
    test_embed_misuse();
    tavern_close(&t);

    // The same passes in debug mode: isolated and in reverse on the CPU, validated on Vulkan.
    tavern_open(&t, device, true);
    test_candidates();
    test_score_top();
    test_pooling();
    tavern_close(&t);
    return 0;
}
