/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <string.h>

#include "api/handles.h"
#include "api/params.h"

enum { MAX_SCALE = 100 };

/** Needs the turn. */
static void finish(llmgpu_lora *lora)
{
    llmgpu_model *model = lora->model;
    if (lora->seat)
        lg_engine_unseat_lora(&model->engine, lora->seat);
    lg_lora_destroy(lora->lora);
    lg_free(&model->ctx->env, lora);
}

static void finish_later(struct lg_later *later)
{
    llmgpu_lora *lora = (llmgpu_lora *)((char *)later - offsetof(llmgpu_lora, later));
    llmgpu_model *model = lora->model;
    finish(lora);
    lg_api_model_unref(model);
}

static void destroy(llmgpu_lora *lora)
{
    llmgpu_model *model = lora->model;
    lora->later.run = finish_later;
    if (!lg_scheduler_now_or_later(&model->ctx->sched, &lora->later))
        return;
    finish(lora);
    lg_scheduler_give(&model->ctx->sched);
    lg_api_model_unref(model);
}

void lg_api_lora_ref(llmgpu_lora *lora)
{
    if (lora)
        atomic_fetch_add(&lora->refs, 1);
}

void lg_api_lora_unref(llmgpu_lora *lora)
{
    if (lora && atomic_fetch_sub(&lora->refs, 1) == 1)
        destroy(lora);
}

/** Needs the turn. */
static int load(struct lg_env *env, llmgpu_lora *lora, const char *path)
{
    llmgpu_context *ctx = lora->model->ctx;
    if (ctx->dev->lost)
        return lg_fail(env, ctx->dev->lost, "the device is lost until the context is recovered");
    LG_TRY(lg_lora_load(&ctx->dev_env, lora->model->model, path, &lora->lora));
    int seat = lg_engine_seat_lora(&lora->model->engine, lora->lora);
    LG_TRY(seat);
    lora->seat = (uint32_t)seat;
    return 0;
}

static int create(struct lg_env *env, llmgpu_model *model, const char *path, llmgpu_lora **out)
{
    if (!path)
        return lg_fail(env, LLMGPU_E_INVALID, "no path is given");
    llmgpu_lora *lora = lg_alloc(env, sizeof(*lora));
    if (!lora)
        return lg_fail_nomem(env, "an adapter", sizeof(*lora));
    lora->refs = 1;
    lora->model = model;
    lg_api_model_ref(model);
    int rc = lg_api_enter(model->ctx, env);
    if (rc == 0)
        rc = lg_api_leave(model->ctx, env, load(env, lora, path));
    if (rc < 0) {
        lg_api_lora_unref(lora);
        return rc;
    }
    *out = lora;
    return 0;
}

int llmgpu_lora_load(llmgpu_lora **out, llmgpu_model *model, const char *path)
{
    if (!out)
        return LLMGPU_E_INVALID;
    *out = NULL;
    if (!model)
        return LLMGPU_E_INVALID;
    struct lg_env env;
    lg_env_child(&env, &model->ctx->env);
    return lg_api_report(model->ctx, &env, create(&env, model, path, out));
}

void llmgpu_lora_free(llmgpu_lora *lora)
{
    lg_api_lora_unref(lora);
}

int llmgpu_lora_get_info(const llmgpu_lora *lora, llmgpu_lora_info *out, size_t size)
{
    if (!lora)
        return LLMGPU_E_INVALID;
    llmgpu_lora_info info = {
        .rank = lora->lora->rank,
        .alpha = lora->lora->alpha,
        .n_targets = lora->lora->n_targets,
        .device_bytes = lg_bank_bytes(lora->lora),
    };
    memcpy(info.name, lora->lora->name, sizeof(info.name));
    return lg_api_info_out(out, size, &info, sizeof(info), LG_SIZE_TO(llmgpu_lora_info, device_bytes));
}

int llmgpu_session_set_lora(llmgpu_session *s, llmgpu_lora *lora, float scale)
{
    if (!s)
        return LLMGPU_E_INVALID;
    struct lg_env *env = &s->env;
    env->error[0] = '\0';
    if (lora && lora->model != s->model)
        return lg_fail(env, LLMGPU_E_INVALID, "the adapter is another model's");
    if (lora && !(fabsf(scale) <= MAX_SCALE))
        return lg_fail(env, LLMGPU_E_INVALID, "a scale of %g is not in %d .. %d", (double)scale, -MAX_SCALE,
                       MAX_SCALE);
    LG_TRY(lg_api_enter(s->model->ctx, env));
    llmgpu_lora *old = s->lora;
    lg_api_lora_ref(lora);
    s->lora = lora;
    // Nothing times an adapter is no adapter, to the bit.
    lg_session_set_lora(&s->session, lora && scale != 0 ? lora->seat : 0, scale);
    lg_api_leave(s->model->ctx, env, 0);
    lg_api_lora_unref(old);
    return 0;
}
