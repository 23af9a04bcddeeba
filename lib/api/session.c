/* SPDX-License-Identifier: MIT */
#include "api/handles.h"

#include <math.h>
#include <string.h>

#include "util/checked.h"

enum { DEFAULT_CTX = 4096, DEFAULT_BATCH = 256, MAX_BATCH = 4096, MAX_TOKENS_PER_SUBMIT = 64 };

int llmgpu_session_params_init(llmgpu_session_params *params, uint32_t version)
{
    if (!params || version != LLMGPU_SESSION_PARAMS_VERSION)
        return LLMGPU_E_INVALID;
    *params = (llmgpu_session_params){
        .version = version,
        .n_batch = DEFAULT_BATCH,
        .tokens_per_submit = 1,
        .sampler = {.top_p = 1, .repeat_penalty = 1, .penalty_last_n = 64},
    };
    return 0;
}

static int check(struct lg_env *env, bool ok, const char *what, double value, const char *range)
{
    return ok ? 0 : lg_fail(env, LLMGPU_E_INVALID, "%s of %g is not in %s", what, value, range);
}

static int check_sampler(struct lg_env *env, const llmgpu_sampler_params *p)
{
    LG_TRY(check(env, p->temperature >= 0 && p->temperature <= 100, "a temperature", p->temperature,
                 "0 .. 100"));
    LG_TRY(check(env, p->top_p > 0 && p->top_p <= 1, "a top-p", p->top_p, "(0, 1]"));
    LG_TRY(check(env, p->min_p >= 0 && p->min_p <= 1, "a min-p", p->min_p, "0 .. 1"));
    LG_TRY(check(env, p->repeat_penalty > 0 && p->repeat_penalty <= 100, "a repeat penalty",
                 p->repeat_penalty, "(0, 100]"));
    LG_TRY(check(env, fabsf(p->frequency_penalty) <= 100, "a frequency penalty", p->frequency_penalty,
                 "-100 .. 100"));
    LG_TRY(check(env, fabsf(p->presence_penalty) <= 100, "a presence penalty", p->presence_penalty,
                 "-100 .. 100"));
    return check(env, p->penalty_last_n <= LG_HISTORY, "a penalty window", p->penalty_last_n, "0 .. 256");
}

/** Public parameters, checked, with the model's defaults in place of zeros. */
static int make_params(llmgpu_model *model, const llmgpu_session_params *from, struct lg_session_params *to)
{
    struct lg_env *env = &model->ctx->env;
    const struct lg_hparams *hp = &model->model->hp;
    const llmgpu_sampler_params *p = &from->sampler;
    uint32_t n_ctx = from->n_ctx ? from->n_ctx : lg_min_u32(hp->n_ctx_train, DEFAULT_CTX);
    LG_TRY(check(env, n_ctx <= 1u << 24, "a context", n_ctx, "1 .. 2^24 tokens"));
    if (hp->rope == LG_ROPE_NONE && n_ctx > hp->n_ctx_train)
        return lg_fail(env, LLMGPU_E_INVALID, "a context of %u tokens: the model has %u learned positions",
                       n_ctx, hp->n_ctx_train);
    LG_TRY(
        check(env, from->n_batch >= 1 && from->n_batch <= MAX_BATCH, "a batch", from->n_batch, "1 .. 4096"));
    LG_TRY(check(env, from->tokens_per_submit >= 1 && from->tokens_per_submit <= MAX_TOKENS_PER_SUBMIT,
                 "tokens per submit", from->tokens_per_submit, "1 .. 64"));
    LG_TRY(check_sampler(env, p));
    *to = (struct lg_session_params){
        .n_ctx = n_ctx,
        .n_batch = lg_min_u32(from->n_batch, n_ctx),
        .tokens_per_submit = from->tokens_per_submit,
        .ignore_end = from->ignore_end != 0,
        .sampler =
            {
                .temperature = p->temperature,
                .top_p = p->top_p,
                .min_p = p->min_p,
                .repeat_penalty = p->repeat_penalty,
                .frequency_penalty = p->frequency_penalty,
                .presence_penalty = p->presence_penalty,
                .top_k = p->top_k,
                .penalty_last_n = p->penalty_last_n,
                .seed_lo = (uint32_t)p->seed,
                .seed_hi = (uint32_t)(p->seed >> 32),
            },
    };
    return 0;
}

static int create(llmgpu_model *model, const llmgpu_session_params *params, llmgpu_session **out)
{
    struct lg_env *env = &model->ctx->env;
    if (model->model->vocab_only)
        return lg_fail(env, LLMGPU_E_INVALID, "the model was loaded without weights");
    struct lg_session_params p;
    LG_TRY(make_params(model, params, &p));
    llmgpu_session *s = lg_alloc(env, sizeof(*s));
    if (!s)
        return lg_fail_nomem(env, "a session", sizeof(*s));
    s->model = model;
    lg_env_child(&s->env, env);
    model->engine_env.error[0] = '\0';
    int rc = lg_session_init(&s->session, &s->env, &model->engine, &p);
    if (rc < 0) {
        if (*model->engine_env.error) // otherwise the device's, which is there already
            memcpy(env->error, model->engine_env.error, sizeof(env->error));
        lg_free(env, s);
        return rc;
    }
    *out = s;
    return 0;
}

int llmgpu_session_create(llmgpu_session **out, llmgpu_model *model, const llmgpu_session_params *params)
{
    if (!out)
        return LLMGPU_E_INVALID;
    *out = NULL;
    llmgpu_session_params defaults;
    llmgpu_session_params_init(&defaults, LLMGPU_SESSION_PARAMS_VERSION);
    if (!model || (params && params->version != LLMGPU_SESSION_PARAMS_VERSION))
        return LLMGPU_E_INVALID;
    pthread_mutex_lock(&model->ctx->lock);
    int rc = create(model, params ? params : &defaults, out);
    pthread_mutex_unlock(&model->ctx->lock);
    return rc;
}

void llmgpu_session_free(llmgpu_session *s)
{
    if (!s)
        return;
    llmgpu_context *ctx = s->model->ctx;
    pthread_mutex_lock(&ctx->lock);
    lg_session_finish(&s->session);
    lg_free(&ctx->env, s);
    pthread_mutex_unlock(&ctx->lock);
}

const char *llmgpu_session_error(const llmgpu_session *s)
{
    return s ? s->env.error : "";
}

static int check_tokens(llmgpu_session *s, const int32_t *tokens, size_t n)
{
    uint32_t n_vocab = s->model->model->hp.n_vocab;
    for (size_t i = 0; i < n; i++)
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= n_vocab)
            return lg_fail(&s->env, LLMGPU_E_INVALID, "token %zu is %d, not in 0 .. %u", i, tokens[i],
                           n_vocab - 1);
    return 0;
}

/** Ends a call on a session: an engine's sentence becomes the session's. */
static int leave(llmgpu_session *s, int rc)
{
    struct lg_env *from[] = {&s->model->engine_env, &s->model->ctx->env};
    for (size_t i = 0; i < 2; i++) {
        if (rc < 0 && !*s->env.error && *from[i]->error)
            memcpy(s->env.error, from[i]->error, sizeof(s->env.error));
    }
    pthread_mutex_unlock(&s->model->ctx->lock);
    return rc;
}

/** Begins a call on a session: errors from here on are this call's. */
static void enter(llmgpu_session *s)
{
    pthread_mutex_lock(&s->model->ctx->lock);
    s->env.error[0] = s->model->engine_env.error[0] = s->model->ctx->env.error[0] = '\0';
}

int llmgpu_session_feed(llmgpu_session *s, const int32_t *tokens, size_t n)
{
    if (!s || (!tokens && n))
        return LLMGPU_E_INVALID;
    enter(s);
    int rc = check_tokens(s, tokens, n);
    return leave(s, rc < 0 ? rc : lg_session_feed(&s->session, tokens, n));
}

int llmgpu_session_next(llmgpu_session *s, int32_t *token)
{
    if (!s || !token)
        return LLMGPU_E_INVALID;
    enter(s);
    return leave(s, lg_session_next(&s->session, token));
}

int llmgpu_session_set_remaining(llmgpu_session *s, uint32_t n)
{
    if (!s)
        return LLMGPU_E_INVALID;
    s->session.remaining = n;
    return 0;
}

int llmgpu_session_reset(llmgpu_session *s)
{
    if (!s)
        return LLMGPU_E_INVALID;
    enter(s);
    lg_session_reset(&s->session);
    return leave(s, 0);
}

void llmgpu_session_cancel(llmgpu_session *s)
{
    if (s)
        lg_session_cancel(&s->session);
}

int llmgpu_session_score(llmgpu_session *s, const int32_t *tokens, size_t n, float *log_probs, float *logits)
{
    if (!s || !tokens || n == 0)
        return LLMGPU_E_INVALID;
    enter(s);
    int rc = check_tokens(s, tokens, n);
    return leave(s, rc < 0 ? rc : lg_session_score(&s->session, tokens, n, log_probs, logits));
}

int llmgpu_session_get_stats(const llmgpu_session *s, llmgpu_session_stats *out)
{
    if (!s || !out)
        return LLMGPU_E_INVALID;
    const struct lg_session *in = &s->session;
    *out = (llmgpu_session_stats){
        .n_ctx = in->params.n_ctx,
        .n_tokens = in->n_past + in->has_pending,
        .n_prompt = (uint32_t)in->n_prompt,
        .n_generated = (uint32_t)in->n_generated,
        .prompt_ns = in->prompt_ns,
        .decode_ns = in->decode_ns,
        .prompt_submits = in->prompt_submits,
        .decode_submits = in->decode_submits,
    };
    return 0;
}
