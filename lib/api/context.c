/* SPDX-License-Identifier: MIT */
#include "api/handles.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/params.h"
#include "runtime/bandwidth.h"
#include "util/checked.h"
#include "util/clock.h"

#define PARAMS_LEAST LG_SIZE_TO(llmgpu_context_params, error_size)

static const llmgpu_context_params defaults = {.size = sizeof(llmgpu_context_params)};

int llmgpu_context_params_init(llmgpu_context_params *params, size_t size)
{
    return lg_api_params_init(params, size, &defaults, sizeof(defaults), PARAMS_LEAST);
}

/* ---- what the host gave: memory, a log */

static void forward_log(void *user, int level, const char *text)
{
    const llmgpu_context *ctx = user;
    ctx->params.log(ctx->params.log_user, level, text);
}

static void *forward_alloc(void *user, size_t size)
{
    const llmgpu_context *ctx = user;
    return ctx->params.alloc(ctx->params.alloc_user, size);
}

static void *forward_resize(void *user, void *ptr, size_t size)
{
    const llmgpu_context *ctx = user;
    return ctx->params.resize(ctx->params.alloc_user, ptr, size);
}

static void forward_release(void *user, void *ptr)
{
    const llmgpu_context *ctx = user;
    ctx->params.release(ctx->params.alloc_user, ptr);
}

static void init_env(llmgpu_context *ctx)
{
    lg_env_init(&ctx->env);
    ctx->env.user = ctx;
    if (ctx->params.log)
        ctx->env.log = forward_log;
    if (ctx->params.alloc) {
        ctx->env.alloc = forward_alloc;
        ctx->env.resize = forward_resize;
        ctx->env.release = forward_release;
    }
    lg_env_child(&ctx->dev_env, &ctx->env);
}

/* ---- creating, freeing */

static int copy_string(struct lg_env *env, const char *from, const char **to)
{
    *to = from ? lg_strndup(env, from, strlen(from)) : NULL;
    return from && !*to ? lg_fail_nomem(env, "a string", strlen(from) + 1) : 0;
}

int lg_api_device_open(llmgpu_context *ctx, const llmgpu_vulkan_device *vulkan, struct lg_device **out)
{
    struct lg_device_options options = ctx->options;
    struct lg_vk_host host;
    if (vulkan) {
        LG_TRY(lg_api_vulkan_in(&ctx->dev_env, &host, vulkan));
        options.host = &host;
    }
    LG_TRY(lg_device_open(&ctx->dev_env, &options, out));
    (*out)->memory_limit = ctx->params.max_memory;
    return 0;
}

static int open_device(llmgpu_context *ctx)
{
    struct lg_device_options *options = &ctx->options;
    const llmgpu_context_params *params = &ctx->params;
    options->n_threads = params->n_threads;
    options->check = params->check != 0;
    options->priority = params->priority;
    options->precision = params->precision;
    options->tune = params->tune;
    ctx->hosted = params->vulkan != NULL;
    LG_TRY(copy_string(&ctx->dev_env, params->device, &options->name));
    LG_TRY(copy_string(&ctx->dev_env, params->cache_dir, &options->cache_dir));
    LG_TRY(lg_api_device_open(ctx, params->vulkan, &ctx->dev));
    ctx->sched.dev = ctx->dev;
    ctx->in_place = ctx->dev->info.imports_host;
    return 0;
}

static int check_params(struct lg_env *env, const llmgpu_context_params *p)
{
    int given = (p->alloc != NULL) + (p->resize != NULL) + (p->release != NULL);
    if (given != 0 && given != 3)
        return lg_fail(env, LLMGPU_E_INVALID, "alloc, resize and release are given all three or not at all");
    if (p->priority < LLMGPU_PRIORITY_DEFAULT || p->priority > LLMGPU_PRIORITY_REALTIME)
        return lg_fail(env, LLMGPU_E_INVALID, "there is no priority %d", p->priority);
    if (p->precision < LLMGPU_PRECISION_AUTO || p->precision > LLMGPU_PRECISION_FLOAT32)
        return lg_fail(env, LLMGPU_E_INVALID, "there is no precision %d", p->precision);
    if (p->tune < LLMGPU_TUNE_AUTO || p->tune > LLMGPU_TUNE_ALWAYS)
        return lg_fail(env, LLMGPU_E_INVALID, "there is no tune %d", p->tune);
    if (p->kv_type < LLMGPU_KV_F32 || p->kv_type > LLMGPU_KV_Q4_0)
        return lg_fail(env, LLMGPU_E_INVALID, "there is no kv_type %d", p->kv_type);
    LG_TRY(lg_api_check_reserved(env, p->reserved));
    return 0;
}

static void destroy(llmgpu_context *ctx)
{
    void (*release)(void *, void *) = ctx->params.release;
    void *user = ctx->params.alloc_user;
    lg_device_close(ctx->dev);
    lg_free(&ctx->env, (void *)ctx->options.name);
    lg_free(&ctx->env, (void *)ctx->options.cache_dir);
    lg_scheduler_finish(&ctx->sched);
    pthread_mutex_destroy(&ctx->lock);
    release ? release(user, ctx) : free(ctx);
}

/** A context without a device, from the host's memory. */
static int allocate(llmgpu_context **out, const llmgpu_context_params *p)
{
    llmgpu_context *ctx = p->alloc ? p->alloc(p->alloc_user, sizeof(*ctx)) : malloc(sizeof(*ctx));
    if (!ctx)
        return LLMGPU_E_NOMEM;
    memset(ctx, 0, sizeof(*ctx));
    ctx->params = *p;
    ctx->refs = 1;
    init_env(ctx);
    int rc = pthread_mutex_init(&ctx->lock, NULL) == 0 ? 0 : LLMGPU_E_NOMEM;
    if (rc == 0 && (rc = lg_scheduler_init(&ctx->sched, &ctx->dev_env, NULL)) < 0)
        pthread_mutex_destroy(&ctx->lock);
    if (rc < 0) {
        p->alloc ? p->release(p->alloc_user, ctx) : free(ctx);
        return rc;
    }
    *out = ctx;
    return 0;
}

static int create(llmgpu_context **out, const llmgpu_context_params *params, struct lg_env *env)
{
    llmgpu_context_params p = defaults;
    if (params)
        LG_TRY(lg_api_params_in(env, &p, sizeof(p), PARAMS_LEAST, params));
    LG_TRY(check_params(env, &p));
    llmgpu_context *ctx;
    if (allocate(&ctx, &p) < 0)
        return lg_fail_nomem(env, "a context", sizeof(*ctx));
    int rc = open_device(ctx);
    // What the caller's pointers point to need not live longer than this call.
    ctx->params.device = ctx->params.cache_dir = NULL;
    ctx->params.vulkan = NULL;
    ctx->params.error = NULL;
    if (rc < 0) {
        memcpy(env->error, ctx->dev_env.error, sizeof(env->error));
        destroy(ctx);
        return rc;
    }
    *out = ctx;
    return 0;
}

int llmgpu_context_create(llmgpu_context **out, const llmgpu_context_params *params)
{
    if (!out)
        return LLMGPU_E_INVALID;
    *out = NULL;
    struct lg_env env;
    lg_env_init(&env);
    int rc = create(out, params, &env);
    bool has_error = params && params->size >= PARAMS_LEAST;
    if (has_error && params->error && params->error_size)
        snprintf(params->error, params->error_size, "%s", rc < 0 ? env.error : "");
    return rc;
}

void lg_api_context_ref(llmgpu_context *ctx)
{
    atomic_fetch_add(&ctx->refs, 1);
}

void lg_api_context_unref(llmgpu_context *ctx)
{
    if (atomic_fetch_sub(&ctx->refs, 1) == 1)
        destroy(ctx);
}

void llmgpu_context_free(llmgpu_context *ctx)
{
    if (!ctx)
        return;
    // From a callback of its own thread it cannot be stopped; then the context stays, rather than to crash.
    if (lg_scheduler_stop(&ctx->sched) == 0)
        lg_api_context_unref(ctx);
}

/* ---- failures */

int lg_api_report(llmgpu_context *ctx, const struct lg_env *env, int rc)
{
    pthread_mutex_lock(&ctx->lock);
    if (rc < 0)
        memcpy(ctx->env.error, env->error, sizeof(env->error));
    else
        ctx->env.error[0] = '\0';
    pthread_mutex_unlock(&ctx->lock);
    return rc;
}

const char *llmgpu_context_error(const llmgpu_context *ctx)
{
    return ctx ? ctx->env.error : "";
}

/** A request to stop may come from a signal handler, which cannot wake anybody. */
#define LOOK_NS UINT64_C(20000000)

/** Waits for the turn, which may be long in coming: who waits may be told meanwhile that it need not. */
static int wait_for_turn(llmgpu_context *ctx, struct lg_env *env, const _Atomic int *cancelled)
{
    int rc;
    while ((rc = lg_turn_take(&ctx->sched.turn, lg_now_ns() + LOOK_NS)) == LLMGPU_E_TIMEOUT) {
        if (cancelled && atomic_load(cancelled))
            return LLMGPU_E_CANCELLED;
        LG_TRY(lg_poll(env));
    }
    return rc == 0 ? 0 : lg_fail(env, LLMGPU_E_BUSY, "called from within a callback");
}

static int enter(llmgpu_context *ctx, struct lg_env *env, const _Atomic int *cancelled)
{
    env->error[0] = '\0';
    LG_TRY(wait_for_turn(ctx, env, cancelled));
    ctx->dev_env.error[0] = '\0';
    if (ctx->dev->lost) {
        lg_scheduler_give(&ctx->sched);
        return lg_fail(env, LLMGPU_E_DEVICE_LOST, "device '%s' is lost until the context is recovered",
                       ctx->dev->info.id);
    }
    return 0;
}

int lg_api_enter(llmgpu_context *ctx, struct lg_env *env)
{
    return enter(ctx, env, NULL);
}

int lg_api_enter_session(llmgpu_session *session)
{
    int rc;
    do {
        rc = enter(session->model->ctx, &session->env, &session->session.cancelled);
    } while (rc == LLMGPU_E_CANCELLED && lg_session_take_cancel(&session->session) == 0);
    return rc;
}

int lg_api_leave(llmgpu_context *ctx, struct lg_env *env, int rc)
{
    if (rc < 0 && !*env->error)
        memcpy(env->error, ctx->dev_env.error, sizeof(env->error));
    lg_scheduler_give(&ctx->sched);
    return rc;
}

/* ---- running */

static const char *why_not_stepped(int rc)
{
    switch (rc) {
    case LLMGPU_E_BUSY: return "called from within a callback";
    case LLMGPU_E_CANCELLED: return "cancelled";
    default: return "the device is lost until the context is recovered";
    }
}

int llmgpu_context_step(llmgpu_context *ctx, uint32_t budget_us)
{
    if (!ctx)
        return LLMGPU_E_INVALID;
    if (budget_us == 0)
        return 0;
    uint64_t used, budget_ns = budget_us == UINT32_MAX ? UINT64_MAX : budget_us * UINT64_C(1000);
    lg_api_context_ref(ctx); // which a callback may free
    int rc = lg_scheduler_step(&ctx->sched, budget_ns, &used);
    if (rc < 0) {
        struct lg_env env;
        lg_env_child(&env, &ctx->env);
        lg_api_report(ctx, &env, lg_fail(&env, rc, "%s", why_not_stepped(rc)));
    }
    lg_api_context_unref(ctx);
    if (rc < 0)
        return rc;
    uint64_t us = (used + 999) / 1000;
    return us > INT32_MAX ? INT32_MAX : (int)us;
}

int llmgpu_context_start(llmgpu_context *ctx)
{
    return ctx ? lg_scheduler_start(&ctx->sched) : LLMGPU_E_INVALID;
}

int llmgpu_context_stop(llmgpu_context *ctx)
{
    return ctx ? lg_scheduler_stop(&ctx->sched) : LLMGPU_E_INVALID;
}

void llmgpu_context_cancel(llmgpu_context *ctx)
{
    if (!ctx)
        return;
    atomic_fetch_add(&ctx->cancel_load, 1);
    lg_scheduler_cancel(&ctx->sched);
}

/* ---- facts */

int llmgpu_context_get_device(const llmgpu_context *ctx, llmgpu_device_info *out, size_t size)
{
    llmgpu_device_info info;
    if (!ctx)
        return LLMGPU_E_INVALID;
    struct lg_scheduler *sched = (struct lg_scheduler *)&ctx->sched;
    pthread_mutex_lock(&sched->lock);
    lg_api_device_info(&sched->dev->info, &info);
    pthread_mutex_unlock(&sched->lock);
    return lg_api_info_out(out, size, &info, sizeof(info), LG_SIZE_TO(llmgpu_device_info, memory));
}

llmgpu_latency lg_api_latency(const struct lg_latency *l)
{
    return (llmgpu_latency){
        .n = l->n,
        .p50_us = lg_latency_percentile(l, 50),
        .p95_us = lg_latency_percentile(l, 95),
        .p99_us = lg_latency_percentile(l, 99),
        .max_us = l->max,
    };
}

/** What sessions want now. Needs the lock. */
static void count_sessions(const struct lg_scheduler *sched, llmgpu_context_stats *stats)
{
    for (const struct lg_session *s = sched->sessions; s; s = s->next) {
        bool prompt = lg_session_wants_prefill(s), answer = !prompt && lg_session_wants_decode(s, 1);
        stats->n_prefilling += prompt;
        stats->n_decoding += answer;
        stats->n_idle += !prompt && !answer;
    }
    stats->n_running = sched->n_running;
}

int llmgpu_context_get_stats(const llmgpu_context *ctx, llmgpu_context_stats *out, size_t size)
{
    if (!ctx)
        return LLMGPU_E_INVALID;
    struct lg_scheduler *sched = (struct lg_scheduler *)&ctx->sched;
    pthread_mutex_lock((pthread_mutex_t *)&ctx->lock);
    uint32_t n_models = ctx->n_models;
    pthread_mutex_unlock((pthread_mutex_t *)&ctx->lock);
    pthread_mutex_lock(&sched->lock);
    const struct lg_device_stats *s = &sched->dev->stats;
    llmgpu_context_stats stats = {
        .submits = s->submits,
        .dispatches = s->dispatches,
        .barriers = s->barriers,
        .device_bytes = s->memory_used,
        .device_peak = s->memory_peak,
        .heap_allocs = ctx->env.stats->n_allocs,
        .check_messages = __atomic_load_n(&sched->dev->check_messages, __ATOMIC_RELAXED),
        .steps = sched->n_steps,
        .step_overrun_max_us = sched->overrun_ns / 1000,
        .slice_us = (lg_max_u64(sched->slice_ns, sched->fill_slice_ns) + 999) / 1000,
        .n_models = n_models,
        .n_sessions = sched->n_sessions,
        .lost = sched->dev->lost != 0,
        .busy_us = sched->busy_ns / 1000,
        .passes = sched->n_passes,
        .longest_wait = sched->longest_wait,
        .prompt_tokens = sched->n_prefilled,
        .shared_tokens = sched->n_adopted,
        .pages_out = sched->n_moved_out,
        .pages_in = sched->n_moved_in,
        .kv_pages = sched->pools.pages,
        .kv_pages_used = sched->pools.used,
        .kv_bytes = sched->pools.bytes,
        .shared_hits = sched->n_hits,
        .first_token = lg_api_latency(&sched->first),
        .between_tokens = lg_api_latency(&sched->between),
    };
    count_sessions(sched, &stats);
    pthread_mutex_unlock(&sched->lock);
    return lg_api_info_out(out, size, &stats, sizeof(stats), LG_SIZE_TO(llmgpu_context_stats, reserved));
}

int llmgpu_context_measure_bandwidth(llmgpu_context *ctx, double *bytes_per_second)
{
    if (!ctx || !bytes_per_second)
        return LLMGPU_E_INVALID;
    struct lg_env env;
    lg_env_child(&env, &ctx->env);
    int rc = lg_api_enter(ctx, &env);
    if (rc == 0)
        rc = lg_api_leave(ctx, &env, lg_bandwidth_measure(&ctx->dev_env, ctx->dev, bytes_per_second));
    return lg_api_report(ctx, &env, rc);
}
