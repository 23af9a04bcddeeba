/* SPDX-License-Identifier: MIT */
#include "api/handles.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/params.h"

#define PARAMS_LEAST LG_SIZE_TO(llmgpu_model_params, progress_user)

static const llmgpu_model_params defaults = {.size = sizeof(llmgpu_model_params)};

int llmgpu_model_params_init(llmgpu_model_params *params, size_t size)
{
    return lg_api_params_init(params, size, &defaults, sizeof(defaults), PARAMS_LEAST);
}

static void join(llmgpu_context *ctx, llmgpu_model *model)
{
    lg_api_context_ref(ctx);
    pthread_mutex_lock(&ctx->lock);
    model->next = ctx->models;
    model->link = &ctx->models;
    if (model->next)
        model->next->link = &model->next;
    ctx->models = model;
    ctx->n_models++;
    pthread_mutex_unlock(&ctx->lock);
}

static void leave(llmgpu_model *model)
{
    llmgpu_context *ctx = model->ctx;
    pthread_mutex_lock(&ctx->lock);
    *model->link = model->next;
    if (model->next)
        model->next->link = model->link;
    ctx->n_models--;
    pthread_mutex_unlock(&ctx->lock);
}

/** Needs the turn. */
static int load(llmgpu_model **out, llmgpu_context *ctx, struct lg_env *env, const char *path,
                const llmgpu_model_params *params)
{
    if (!path)
        return lg_fail(env, LLMGPU_E_INVALID, "no path is given");
    llmgpu_model *model = lg_alloc(env, sizeof(*model));
    if (!model)
        return lg_fail_nomem(env, "a model", sizeof(*model));
    int rc = lg_model_load(&ctx->dev_env, ctx->dev, path, params->vocab_only != 0, &model->model);
    if (rc < 0) {
        lg_free(env, model);
        return rc;
    }
    model->refs = 1;
    model->ctx = ctx;
    lg_engine_init(&model->engine, &ctx->dev_env, model->model);
    join(ctx, model);
    *out = model;
    return 0;
}

int llmgpu_model_load(llmgpu_model **out, llmgpu_context *ctx, const char *path,
                      const llmgpu_model_params *params)
{
    if (!out)
        return LLMGPU_E_INVALID;
    *out = NULL;
    if (!ctx)
        return LLMGPU_E_INVALID;
    struct lg_env env;
    lg_env_child(&env, &ctx->env);
    llmgpu_model_params p = defaults;
    int rc = params ? lg_api_params_in(&env, &p, sizeof(p), PARAMS_LEAST, params) : 0;
    if (rc == 0)
        rc = lg_api_enter(ctx, &env);
    if (rc == 0)
        rc = lg_api_leave(ctx, &env, load(out, ctx, &env, path, &p));
    return lg_api_report(ctx, &env, rc);
}

static void destroy(llmgpu_model *model)
{
    llmgpu_context *ctx = model->ctx;
    leave(model);
    // Within a callback the turn is this thread's already.
    bool taken = lg_turn_take(&ctx->sched.turn, UINT64_MAX) == 0;
    lg_engine_finish(&model->engine);
    lg_model_destroy(model->model);
    if (taken)
        lg_turn_give(&ctx->sched.turn);
    lg_free(&ctx->env, model);
    lg_api_context_unref(ctx);
}

void lg_api_model_ref(llmgpu_model *model)
{
    atomic_fetch_add(&model->refs, 1);
}

void lg_api_model_unref(llmgpu_model *model)
{
    if (atomic_fetch_sub(&model->refs, 1) == 1)
        destroy(model);
}

void llmgpu_model_free(llmgpu_model *model)
{
    if (model)
        lg_api_model_unref(model);
}

int llmgpu_model_get_info(const llmgpu_model *model, llmgpu_model_info *out, size_t size)
{
    if (!model)
        return LLMGPU_E_INVALID;
    const struct lg_model *m = model->model;
    const struct lg_vocab_special *special = lg_vocab_special(m->vocab);
    llmgpu_model_info info = {
        .n_layers = m->hp.n_layers,
        .n_embd = m->hp.n_embd,
        .n_heads = m->hp.n_heads,
        .n_kv_heads = m->hp.n_kv,
        .n_vocab = m->vocab_only ? lg_vocab_size(m->vocab) : m->hp.n_vocab,
        .n_ctx_train = m->hp.n_ctx_train,
        .n_params = m->n_params,
        .weight_bytes = m->weight_bytes,
        .bytes_per_token = m->bytes_per_token,
        .token_bos = special->bos,
        .token_eos = special->eos,
        .token_eot = special->eot,
        .add_bos = special->add_bos,
    };
    memcpy(info.architecture, m->arch, sizeof(info.architecture));
    struct lg_env scratch;
    lg_env_child(&scratch, &model->ctx->env);
    struct lg_str name;
    if (lg_gguf_get_str(m->gguf, &scratch, "general.name", &name) == 1)
        snprintf(info.name, sizeof(info.name), "%.*s", name.len < 127 ? (int)name.len : 127, name.ptr);
    return lg_api_info_out(out, size, &info, sizeof(info), LG_SIZE_TO(llmgpu_model_info, add_bos));
}

int llmgpu_model_is_end(const llmgpu_model *model, int32_t token)
{
    return model && lg_vocab_is_end(model->model->vocab, token);
}
