/* SPDX-License-Identifier: MIT
 *
 * Opening a context's device anew. What is on the device comes back from where it came from: weights from their files,
 * keys and values from the sessions' tokens.
 */
#include "api/handles.h"

#include <string.h>

/** Takes everything off the device. Sessions keep their tokens. */
static void drop_all(llmgpu_context *ctx)
{
    for (struct lg_session *s = ctx->sched.sessions; s; s = s->next)
        s->has_slot = false;
    for (llmgpu_model *m = ctx->models; m; m = m->next) {
        lg_api_trainers_drop(m);
        lg_engine_drop(&m->engine);
        lg_model_drop_weights(m->model);
    }
}

static int put_all(llmgpu_context *ctx)
{
    for (llmgpu_model *m = ctx->models; m; m = m->next) {
        m->env.error[0] = '\0';
        int rc = lg_model_put_weights(m->model, ctx->dev);
        if (rc < 0 && *m->env.error) // otherwise it is the device's
            memcpy(ctx->dev_env.error, m->env.error, sizeof(ctx->dev_env.error));
        LG_TRY(rc);
        LG_TRY(lg_engine_revive(&m->engine));
    }
    for (struct lg_session *s = ctx->sched.sessions; s; s = s->next)
        LG_TRY(lg_session_revive(s));
    return 0;
}

static void change_device(llmgpu_context *ctx, struct lg_device *dev)
{
    struct lg_device *old = ctx->dev;
    pthread_mutex_lock(&ctx->sched.lock);
    ctx->dev = ctx->sched.dev = dev;
    pthread_mutex_unlock(&ctx->sched.lock);
    lg_device_close(old);
}

/** Needs the turn. */
static int recover(llmgpu_context *ctx, const llmgpu_vulkan_device *vulkan)
{
    if (ctx->hosted != (vulkan != NULL))
        return lg_fail(&ctx->dev_env, LLMGPU_E_INVALID,
                       ctx->hosted ? "the context runs on the host's device: a new one is needed"
                                   : "the context's device is not the host's");
    struct lg_device *dev;
    drop_all(ctx);
    ctx->dev->lost = LLMGPU_E_DEVICE_LOST; // until another one has everything
    LG_TRY(lg_api_device_open(ctx, vulkan, &dev));
    change_device(ctx, dev);
    int rc = put_all(ctx);
    if (rc < 0)
        ctx->dev->lost = LLMGPU_E_DEVICE_LOST;
    return rc;
}

int llmgpu_context_recover(llmgpu_context *ctx, const llmgpu_vulkan_device *vulkan)
{
    if (!ctx)
        return LLMGPU_E_INVALID;
    struct lg_env env;
    lg_env_child(&env, &ctx->env);
    if (lg_turn_take(&ctx->sched.turn, UINT64_MAX) < 0)
        return lg_api_report(ctx, &env, lg_fail(&env, LLMGPU_E_BUSY, "called from within a callback"));
    ctx->dev_env.error[0] = '\0';
    int rc = recover(ctx, vulkan); // models and sessions join and leave with the turn
    pthread_mutex_lock(&ctx->sched.lock);
    lg_scheduler_wake(&ctx->sched);
    pthread_mutex_unlock(&ctx->sched.lock);
    return lg_api_report(ctx, &env, lg_api_leave(ctx, &env, rc));
}
