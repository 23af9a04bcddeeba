/* SPDX-License-Identifier: MIT */
#include "api/handles.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/bandwidth.h"

int llmgpu_context_params_init(llmgpu_context_params *params, uint32_t version)
{
    if (!params || version != LLMGPU_CONTEXT_PARAMS_VERSION)
        return LLMGPU_E_INVALID;
    *params = (llmgpu_context_params){.version = version};
    return 0;
}

static void forward_log(void *user, int level, const char *text)
{
    llmgpu_context *ctx = user;
    ctx->log(ctx->log_user, level, text);
}

static int open_device(llmgpu_context *ctx, const llmgpu_context_params *params)
{
    struct lg_device_options options = {
        .name = params->device,
        .n_threads = params->n_threads,
        .cache_dir = params->cache_dir,
        .check = params->check != 0,
    };
    return lg_device_open(&ctx->env, &options, &ctx->dev);
}

int llmgpu_context_create(llmgpu_context **out, const llmgpu_context_params *params)
{
    llmgpu_context_params defaults;
    if (!out)
        return LLMGPU_E_INVALID;
    *out = NULL;
    if (!params) {
        llmgpu_context_params_init(&defaults, LLMGPU_CONTEXT_PARAMS_VERSION);
        params = &defaults;
    }
    if (params->version != LLMGPU_CONTEXT_PARAMS_VERSION)
        return LLMGPU_E_INVALID;
    llmgpu_context *ctx = calloc(1, sizeof(*ctx));
    if (!ctx)
        return LLMGPU_E_NOMEM;
    lg_env_init(&ctx->env);
    if (params->log) {
        ctx->log = params->log;
        ctx->log_user = params->log_user;
        ctx->env.log = forward_log;
        ctx->env.user = ctx;
    }
    pthread_mutex_init(&ctx->lock, NULL);
    int rc = open_device(ctx, params);
    if (rc < 0) {
        if (params->error && params->error_size)
            snprintf(params->error, params->error_size, "%s", ctx->env.error);
        llmgpu_context_free(ctx);
        return rc;
    }
    *out = ctx;
    return 0;
}

void llmgpu_context_free(llmgpu_context *ctx)
{
    if (!ctx)
        return;
    lg_device_close(ctx->dev);
    pthread_mutex_destroy(&ctx->lock);
    free(ctx);
}

const char *llmgpu_context_error(const llmgpu_context *ctx)
{
    return ctx ? ctx->env.error : "";
}

int llmgpu_context_device(const llmgpu_context *ctx, llmgpu_device_info *out)
{
    if (!ctx || !out)
        return LLMGPU_E_INVALID;
    lg_api_device_info(&ctx->dev->info, out);
    return 0;
}

int llmgpu_context_get_stats(const llmgpu_context *ctx, llmgpu_context_stats *out)
{
    if (!ctx || !out)
        return LLMGPU_E_INVALID;
    const struct lg_device_stats *s = &ctx->dev->stats;
    *out = (llmgpu_context_stats){
        .submits = s->submits,
        .dispatches = s->dispatches,
        .barriers = s->barriers,
        .device_bytes = s->memory_used,
        .device_peak = s->memory_peak,
        .heap_allocs = ctx->env.stats->n_allocs,
        .check_messages = ctx->dev->check_messages,
    };
    return 0;
}

int llmgpu_context_measure_bandwidth(llmgpu_context *ctx, double *bytes_per_second)
{
    if (!ctx || !bytes_per_second)
        return LLMGPU_E_INVALID;
    pthread_mutex_lock(&ctx->lock);
    int rc = lg_bandwidth_measure(&ctx->env, ctx->dev, bytes_per_second);
    pthread_mutex_unlock(&ctx->lock);
    return rc;
}
