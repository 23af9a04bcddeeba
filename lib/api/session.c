/* SPDX-License-Identifier: MIT */
#include "api/handles.h"

#include <math.h>
#include <string.h>

#include "api/params.h"
#include "runtime/state.h"
#include "util/checked.h"
#include "util/clock.h"

enum {
    DEFAULT_CTX = 4096,
    DEFAULT_BATCH = 256,
    MAX_BATCH = 4096,
    MAX_TOKENS_PER_SUBMIT = 64,
    MAX_PRIORITY = 8,
    MAX_BIAS = 1000,
};

#define PARAMS_LEAST LG_SIZE_TO(llmgpu_session_params, max_memory)
#define SAMPLER_LEAST LG_SIZE_TO(llmgpu_sampler_params, seed)

static const llmgpu_session_params defaults = {
    .size = sizeof(llmgpu_session_params),
    .n_batch = DEFAULT_BATCH,
    .tokens_per_submit = 1,
};

static const llmgpu_sampler_params greedy = {
    .size = sizeof(llmgpu_sampler_params),
    .top_p = 1,
    .repeat_penalty = 1,
    .penalty_last_n = 64,
};

int llmgpu_session_params_init(llmgpu_session_params *params, size_t size)
{
    return lg_api_params_init(params, size, &defaults, sizeof(defaults), PARAMS_LEAST);
}

int llmgpu_sampler_params_init(llmgpu_sampler_params *params, size_t size)
{
    return lg_api_params_init(params, size, &greedy, sizeof(greedy), SAMPLER_LEAST);
}

/* ---- parameters */

static int check(struct lg_env *env, bool ok, const char *what, double value, const char *range)
{
    return ok ? 0 : lg_fail(env, LLMGPU_E_INVALID, "%s of %g is not in %s", what, value, range);
}

int lg_api_sampler(struct lg_env *env, const llmgpu_sampler_params *from, struct lg_sampler *to)
{
    llmgpu_sampler_params p = greedy;
    if (from)
        LG_TRY(lg_api_params_in(env, &p, sizeof(p), SAMPLER_LEAST, from));
    LG_TRY(lg_api_check_reserved(env, p.reserved));
    *to = (struct lg_sampler){
        .temperature = p.temperature,
        .top_p = p.top_p,
        .min_p = p.min_p,
        .repeat_penalty = p.repeat_penalty,
        .frequency_penalty = p.frequency_penalty,
        .presence_penalty = p.presence_penalty,
        .top_k = p.top_k,
        .penalty_last_n = p.penalty_last_n,
        .seed_lo = (uint32_t)p.seed,
        .seed_hi = (uint32_t)(p.seed >> 32),
    };
    return lg_sampler_check(env, to);
}

/** The narrower of two limits; 0 is none. */
static uint32_t narrower(uint32_t a, uint32_t b)
{
    return a && b ? lg_min_u32(a, b) : a + b;
}

/** Public parameters, checked, with the model's defaults in place of zeros. */
int lg_api_session_params(struct lg_env *env, const llmgpu_context *ctx, const struct lg_model *model,
                          const llmgpu_session_params *from, struct lg_session_params *to)
{
    llmgpu_session_params p = defaults;
    if (from)
        LG_TRY(lg_api_params_in(env, &p, sizeof(p), PARAMS_LEAST, from));
    LG_TRY(lg_api_check_reserved(env, p.reserved));
    const struct lg_hparams *hp = &model->hp;
    uint32_t n_ctx = p.n_ctx ? p.n_ctx : lg_min_u32(hp->n_ctx_train, DEFAULT_CTX);
    LG_TRY(check(env, n_ctx <= 1u << 24, "a context", n_ctx, "1 .. 2^24 tokens"));
    if (hp->rope == LG_ROPE_NONE && n_ctx > hp->n_ctx_train)
        return lg_fail(env, LLMGPU_E_INVALID, "a context of %u tokens: the model has %u learned positions",
                       n_ctx, hp->n_ctx_train);
    LG_TRY(check(env, p.n_batch >= 1 && p.n_batch <= MAX_BATCH, "a batch", p.n_batch, "1 .. 4096"));
    LG_TRY(check(env, p.tokens_per_submit >= 1 && p.tokens_per_submit <= MAX_TOKENS_PER_SUBMIT,
                 "tokens per submit", p.tokens_per_submit, "1 .. 64"));
    LG_TRY(check(env, p.priority >= -MAX_PRIORITY && p.priority <= MAX_PRIORITY, "a priority", p.priority, "-8 .. 8"));
    LG_TRY(check(env, p.when_full >= LLMGPU_WHEN_FULL_ERROR && p.when_full <= LLMGPU_WHEN_FULL_SLIDE,
                 "what happens when the context is full,", p.when_full, "0 .. 3"));
    LG_TRY(check(env, p.n_keep <= n_ctx / 2, "a head to keep", p.n_keep, "0 .. half of the context"));
    LG_TRY(lg_api_check_reserved(env, p.reserved_2));
    LG_TRY(check(env, p.n_candidates <= LG_MAX_CANDIDATES, "a number of candidates", p.n_candidates, "0 .. 32"));
    const llmgpu_context_params *all = &ctx->params;
    *to = (struct lg_session_params){
        .n_ctx = n_ctx,
        .n_batch = lg_min_u32(p.n_batch, n_ctx),
        .tokens_per_submit = p.n_candidates ? 1 : p.tokens_per_submit,
        .ignore_end = p.ignore_end != 0,
        .n_candidates = lg_min_u32(p.n_candidates, hp->n_vocab),
        .limits =
            {
                .prompt_tokens = narrower(p.max_prompt_tokens, all->max_prompt_tokens),
                .generated_tokens = narrower(p.max_generated_tokens, all->max_generated_tokens),
                .time_ms = narrower(p.max_time_ms, all->max_time_ms),
            },
        .max_memory = p.max_memory,
        .priority = p.priority,
        .when_full = (enum llmgpu_when_full)p.when_full,
        .n_keep = p.n_keep,
    };
    return lg_api_sampler(env, NULL, &to->sampler);
}

/* ---- creating, freeing */

/** Needs the turn. */
static int check_limits(struct lg_env *env, const llmgpu_model *model, const struct lg_session_params *p)
{
    const llmgpu_context *ctx = model->ctx;
    uint32_t max_sessions = ctx->params.max_sessions;
    if (max_sessions && ctx->sched.n_sessions >= max_sessions)
        return lg_fail(env, LLMGPU_E_LIMIT, "limit max_sessions: %u are open", ctx->sched.n_sessions);
    uint64_t bytes = lg_engine_cache_bytes(&model->engine, p->n_ctx);
    if (p->max_memory && bytes > p->max_memory)
        return lg_fail(env, LLMGPU_E_LIMIT, "limit max_memory: a cache of %llu bytes for %u tokens is more than %llu",
                       (unsigned long long)bytes, p->n_ctx, (unsigned long long)p->max_memory);
    return 0;
}

static int init_recursive(pthread_mutex_t *lock)
{
    pthread_mutexattr_t attr;
    if (pthread_mutexattr_init(&attr) != 0)
        return LLMGPU_E_NOMEM;
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
    int error = pthread_mutex_init(lock, &attr);
    pthread_mutexattr_destroy(&attr);
    return error ? LLMGPU_E_NOMEM : 0;
}

/** A handle without its session. */
static int allocate(struct lg_env *env, llmgpu_model *model, llmgpu_session **out)
{
    llmgpu_session *s = lg_alloc(env, sizeof(*s));
    if (!s || init_recursive(&s->lock) < 0) {
        lg_free(env, s);
        return lg_fail_nomem(env, "a session", sizeof(*s));
    }
    lg_env_child(&s->env, env);
    s->refs = 1;
    s->model = model;
    lg_api_answer_reset(s);
    *out = s;
    return 0;
}

/** Ends the making of a session. */
static int finish_create(struct lg_env *env, llmgpu_session *s, int rc, llmgpu_session **out)
{
    if (rc < 0) {
        memcpy(env->error, s->env.error, sizeof(env->error));
        lg_api_lora_unref(s->lora);
        pthread_mutex_destroy(&s->lock);
        lg_free(env, s);
        return rc;
    }
    lg_api_model_ref(s->model);
    *out = s;
    return 0;
}

/** Needs the turn. */
static int create(struct lg_env *env, llmgpu_model *model, const llmgpu_session_params *params, llmgpu_session **out)
{
    if (model->model->vocab_only)
        return lg_fail(env, LLMGPU_E_INVALID, "the model was loaded without weights");
    struct lg_session_params p;
    LG_TRY(lg_api_session_params(env, model->ctx, model->model, params, &p));
    LG_TRY(check_limits(env, model, &p));
    llmgpu_session *s = NULL;
    LG_TRY(allocate(env, model, &s));
    int rc = lg_session_init(&s->session, &s->env, &model->ctx->sched, &model->engine, &p);
    return finish_create(env, s, rc, out);
}

int llmgpu_session_create(llmgpu_session **out, llmgpu_model *model, const llmgpu_session_params *params)
{
    if (!out)
        return LLMGPU_E_INVALID;
    *out = NULL;
    if (!model)
        return LLMGPU_E_INVALID;
    struct lg_env env;
    lg_env_child(&env, &model->ctx->env);
    int rc = lg_api_enter(model->ctx, &env);
    if (rc == 0)
        rc = lg_api_leave(model->ctx, &env, create(&env, model, params, out));
    return lg_api_report(model->ctx, &env, rc);
}

/** Needs the turn. */
static int make_fork(struct lg_env *env, llmgpu_session *original, llmgpu_session **out)
{
    LG_TRY(check_limits(env, original->model, &original->session.params));
    llmgpu_session *s = NULL;
    LG_TRY(allocate(env, original->model, &s));
    pthread_mutex_lock(&original->lock);
    s->answer = original->answer;
    pthread_mutex_unlock(&original->lock);
    s->answer.text = NULL;
    s->answer.cap = 0;
    lg_api_lora_ref(original->lora);
    s->lora = original->lora;
    return finish_create(env, s, lg_session_fork(&s->session, &s->env, &original->session), out);
}

int llmgpu_session_fork(llmgpu_session **out, llmgpu_session *original)
{
    if (!out)
        return LLMGPU_E_INVALID;
    *out = NULL;
    if (!original)
        return LLMGPU_E_INVALID;
    llmgpu_context *ctx = original->model->ctx;
    struct lg_env env;
    lg_env_child(&env, &ctx->env);
    int rc = lg_api_enter(ctx, &env);
    if (rc == 0)
        rc = lg_api_leave(ctx, &env, make_fork(&env, original, out));
    return lg_api_report(ctx, &env, rc);
}

/** Needs the turn. */
static void finish(llmgpu_session *s)
{
    lg_session_finish(&s->session);
    lg_api_answer_finish(s);
    pthread_mutex_destroy(&s->lock);
    lg_free(&s->model->ctx->env, s);
}

static void finish_later(struct lg_later *later)
{
    llmgpu_session *s = (llmgpu_session *)((char *)later - offsetof(llmgpu_session, later));
    llmgpu_model *model = s->model;
    llmgpu_lora *lora = s->lora;
    finish(s);
    lg_api_lora_unref(lora);
    lg_api_model_unref(model);
}

static void destroy(llmgpu_session *s)
{
    llmgpu_model *model = s->model;
    llmgpu_lora *lora = s->lora;
    s->later.run = finish_later;
    if (!lg_scheduler_now_or_later(&model->ctx->sched, &s->later))
        return;
    finish(s);
    lg_scheduler_give(&model->ctx->sched);
    lg_api_lora_unref(lora);
    lg_api_model_unref(model);
}

void lg_api_session_ref(llmgpu_session *s)
{
    atomic_fetch_add(&s->refs, 1);
}

void lg_api_session_unref(llmgpu_session *s)
{
    if (atomic_fetch_sub(&s->refs, 1) == 1)
        destroy(s);
}

void llmgpu_session_free(llmgpu_session *s)
{
    if (s)
        lg_api_session_unref(s);
}

const char *llmgpu_session_error(const llmgpu_session *s)
{
    return s ? s->env.error : "";
}

/* ---- what goes in */

/** Begins a call: errors from here on are this call's. */
static void clear(llmgpu_session *s)
{
    s->env.error[0] = '\0';
}

int lg_api_check_tokens(llmgpu_session *s, const int32_t *tokens, size_t n)
{
    uint32_t n_vocab = s->model->model->hp.n_vocab;
    if (n > s->session.params.n_ctx)
        return 0; // they are refused without a look at them
    for (size_t i = 0; i < n; i++)
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= n_vocab)
            return lg_fail(&s->env, LLMGPU_E_INVALID, "token %zu is %d, not in 0 .. %u", i, tokens[i],
                           n_vocab - 1);
    return 0;
}

int lg_api_feed(llmgpu_session *s, const int32_t *tokens, size_t n)
{
    LG_TRY(lg_session_feed(&s->session, tokens, n));
    lg_api_answer_begin(s);
    return 0;
}

int llmgpu_session_feed(llmgpu_session *s, const int32_t *tokens, size_t n)
{
    if (!s || (!tokens && n))
        return LLMGPU_E_INVALID;
    clear(s);
    LG_TRY(lg_api_check_tokens(s, tokens, n));
    return lg_api_feed(s, tokens, n);
}

int llmgpu_session_feed_text(llmgpu_session *s, const char *text, size_t len, uint32_t flags)
{
    if (!s || (!text && len))
        return LLMGPU_E_INVALID;
    clear(s);
    int32_t *tokens = NULL;
    size_t n;
    LG_TRY(lg_api_encode(s->model, &s->env, text, len, flags, &tokens, &n));
    int rc = lg_api_feed(s, tokens, n);
    lg_free(&s->env, tokens);
    return rc;
}

/* ---- settings */

int llmgpu_session_set_sampler(llmgpu_session *s, const llmgpu_sampler_params *params)
{
    if (!s)
        return LLMGPU_E_INVALID;
    clear(s);
    struct lg_sampler sampler;
    LG_TRY(lg_api_sampler(&s->env, params, &sampler));
    return lg_session_set_sampler(&s->session, &sampler);
}

/** Biases of public ones, checked. */
static int make_biases(struct lg_env *env, uint32_t n_vocab, const llmgpu_logit_bias *from, size_t n, struct lg_bias *to)
{
    uint32_t banned = 0;
    for (size_t i = 0; i < n; i++) {
        float bias = from[i].bias;
        if (from[i].token < 0 || (uint32_t)from[i].token >= n_vocab)
            return lg_fail(env, LLMGPU_E_INVALID, "a bias of token %d, which is not in 0 .. %u", from[i].token, n_vocab - 1);
        LG_TRY(check(env, bias == -INFINITY || fabsf(bias) <= MAX_BIAS, "a bias", bias, "-1000 .. 1000"));
        for (size_t k = 0; k < i; k++)
            if (from[k].token == from[i].token)
                return lg_fail(env, LLMGPU_E_INVALID, "two biases of token %d", from[i].token);
        to[i] = (struct lg_bias){(uint32_t)from[i].token, bias};
        banned += bias == -INFINITY;
    }
    return banned == n_vocab ? lg_fail(env, LLMGPU_E_INVALID, "the biases leave no token") : 0;
}

int llmgpu_session_set_logit_bias(llmgpu_session *s, const llmgpu_logit_bias *biases, size_t n)
{
    if (!s || (!biases && n))
        return LLMGPU_E_INVALID;
    clear(s);
    struct lg_bias list[LG_MAX_BIAS];
    if (n > LG_MAX_BIAS)
        return lg_fail(&s->env, LLMGPU_E_LIMIT, "a session has at most %d biases", LG_MAX_BIAS);
    LG_TRY(make_biases(&s->env, s->model->model->hp.n_vocab, biases, n, list));
    return lg_session_set_biases(&s->session, list, (uint32_t)n);
}

int llmgpu_session_set_mask(llmgpu_session *s, llmgpu_mask_fn mask, void *user)
{
    if (!s)
        return LLMGPU_E_INVALID;
    clear(s);
    LG_TRY(lg_api_enter(s->model->ctx, &s->env));
    return lg_api_leave(s->model->ctx, &s->env, lg_session_set_mask(&s->session, mask, user));
}

int llmgpu_session_set_remaining(llmgpu_session *s, uint32_t n)
{
    if (!s)
        return LLMGPU_E_INVALID;
    return lg_api_answer_limit(s, n, false);
}

int llmgpu_session_set_priority(llmgpu_session *s, int32_t priority)
{
    if (!s || priority < -MAX_PRIORITY || priority > MAX_PRIORITY)
        return LLMGPU_E_INVALID;
    return lg_session_set_priority(&s->session, priority);
}

int llmgpu_session_set_speculation(llmgpu_session *s, int kind, uint32_t n_draft, llmgpu_session *draft)
{
    if (!s || kind < LLMGPU_SPECULATION_NONE || kind > LLMGPU_SPECULATION_DRAFT || s == draft)
        return LLMGPU_E_INVALID;
    if ((draft != NULL) != (kind == LLMGPU_SPECULATION_DRAFT))
        return lg_fail(&s->env, LLMGPU_E_INVALID, "a draft session is for drafting, which asks for one");
    if (kind != LLMGPU_SPECULATION_NONE && (n_draft < 1 || n_draft > LG_MAX_DRAFT))
        return lg_fail(&s->env, LLMGPU_E_INVALID, "a number of drafts that is not in 1 .. 16");
    if (draft && (draft->model->ctx != s->model->ctx ||
                  lg_vocab_size(draft->model->model->vocab) != lg_vocab_size(s->model->model->vocab)))
        return lg_fail(&s->env, LLMGPU_E_INVALID, "the draft session is of another context or vocabulary");
    return lg_session_set_speculation(&s->session, (enum llmgpu_speculation)kind, n_draft,
                                      draft ? &draft->session : NULL);
}

int llmgpu_session_set_deadline(llmgpu_session *s, uint32_t ms)
{
    return s ? lg_session_set_deadline(&s->session, ms) : LLMGPU_E_INVALID;
}

int llmgpu_session_set_notify(llmgpu_session *s, void (*notify)(void *user), void *user)
{
    return s ? lg_session_set_notify(&s->session, notify, user) : LLMGPU_E_INVALID;
}

int llmgpu_session_fd(llmgpu_session *s)
{
    if (!s)
        return LLMGPU_E_INVALID;
    clear(s);
    return lg_session_fd(&s->session);
}

void llmgpu_session_cancel(llmgpu_session *s)
{
    if (s)
        lg_session_cancel(&s->session);
}

/* ---- state */

int llmgpu_session_reset(llmgpu_session *s)
{
    if (!s)
        return LLMGPU_E_INVALID;
    clear(s);
    lg_session_reset(&s->session);
    lg_api_answer_begin(s);
    return 0;
}

int llmgpu_session_rewind(llmgpu_session *s, uint32_t n)
{
    if (!s)
        return LLMGPU_E_INVALID;
    clear(s);
    LG_TRY(lg_session_rewind(&s->session, n));
    lg_api_answer_begin(s);
    return 0;
}

int llmgpu_session_get_tokens(const llmgpu_session *s, int32_t *tokens, size_t capacity, size_t *n_tokens)
{
    if (!s || !n_tokens || (!tokens && capacity))
        return LLMGPU_E_INVALID;
    pthread_mutex_t *lock = &s->session.sched->lock;
    pthread_mutex_lock(lock);
    size_t n = s->session.n_visible;
    if (n && n <= capacity)
        memcpy(tokens, s->session.tokens, n * sizeof(*tokens));
    pthread_mutex_unlock(lock);
    *n_tokens = n;
    return n <= capacity ? 0 : LLMGPU_E_RANGE;
}

int llmgpu_session_get_stats(const llmgpu_session *s, llmgpu_session_stats *out, size_t size)
{
    if (!s)
        return LLMGPU_E_INVALID;
    struct lg_session *in = (struct lg_session *)&s->session;
    bool idle = lg_turn_take(&in->sched->turn, 0) == 0; // pages change hands with the turn; while it is taken, the last answer stands
    pthread_mutex_lock(&in->sched->lock);
    if (idle && in->has_slot)
        in->n_shared = lg_engine_shared_tokens(in->engine, in->slot, lg_min_u32(in->n_past, in->n_visible));
    llmgpu_session_stats stats = {
        .n_ctx = in->params.n_ctx,
        .n_tokens = in->n_visible,
        .n_computed = lg_min_u32(in->n_past, in->n_visible),
        .n_prompt = in->n_prompt,
        .n_generated = in->n_generated - (in->n_tokens - in->n_visible),
        .n_shared = in->n_shared,
        .prompt_ns = in->prompt_ns,
        .decode_ns = in->decode_ns,
        .prompt_submits = in->prompt_submits,
        .decode_submits = in->decode_submits,
        .n_adopted = in->n_adopted,
        .n_forgotten = in->n_forgotten,
        .n_drafted = in->n_drafted,
        .n_accepted = in->n_accepted,
    };
    pthread_mutex_unlock(&in->sched->lock);
    if (idle)
        lg_scheduler_give(in->sched);
    return lg_api_info_out(out, size, &stats, sizeof(stats), LG_SIZE_TO(llmgpu_session_stats, decode_submits));
}
