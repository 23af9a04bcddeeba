/* SPDX-License-Identifier: MIT */
#include "api/handles.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int llmgpu_model_params_init(llmgpu_model_params *params, uint32_t version)
{
    if (!params || version != LLMGPU_MODEL_PARAMS_VERSION)
        return LLMGPU_E_INVALID;
    *params = (llmgpu_model_params){.version = version};
    return 0;
}

static int load(llmgpu_model **out, llmgpu_context *ctx, const char *path, bool vocab_only)
{
    struct lg_env *env = &ctx->env;
    if (!path)
        return lg_fail(env, LLMGPU_E_INVALID, "no path is given");
    llmgpu_model *model = lg_alloc(env, sizeof(*model));
    if (!model)
        return lg_fail_nomem(env, "a model", sizeof(*model));
    int rc = lg_model_load(env, ctx->dev, path, vocab_only, &model->model);
    if (rc < 0) {
        lg_free(env, model);
        return rc;
    }
    model->ctx = ctx;
    lg_env_child(&model->engine_env, env);
    lg_engine_init(&model->engine, &model->engine_env, model->model);
    *out = model;
    return 0;
}

int llmgpu_model_load(llmgpu_model **out, llmgpu_context *ctx, const char *path,
                      const llmgpu_model_params *params)
{
    if (!out)
        return LLMGPU_E_INVALID;
    *out = NULL;
    if (!ctx || (params && params->version != LLMGPU_MODEL_PARAMS_VERSION))
        return LLMGPU_E_INVALID;
    pthread_mutex_lock(&ctx->lock);
    int rc = load(out, ctx, path, params && params->vocab_only);
    pthread_mutex_unlock(&ctx->lock);
    return rc;
}

void llmgpu_model_free(llmgpu_model *model)
{
    if (!model)
        return;
    llmgpu_context *ctx = model->ctx;
    pthread_mutex_lock(&ctx->lock);
    lg_engine_finish(&model->engine);
    lg_model_destroy(model->model);
    lg_free(&ctx->env, model);
    pthread_mutex_unlock(&ctx->lock);
}

int llmgpu_model_get_info(const llmgpu_model *model, llmgpu_model_info *out)
{
    if (!model || !out)
        return LLMGPU_E_INVALID;
    const struct lg_model *m = model->model;
    const struct lg_vocab_special *special = lg_vocab_special(m->vocab);
    *out = (llmgpu_model_info){
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
    memcpy(out->architecture, m->arch, sizeof(out->architecture));
    struct lg_env scratch;
    lg_env_child(&scratch, &model->ctx->env);
    struct lg_str name;
    if (lg_gguf_get_str(m->gguf, &scratch, "general.name", &name) == 1)
        snprintf(out->name, sizeof(out->name), "%.*s", name.len < 127 ? (int)name.len : 127, name.ptr);
    return 0;
}

int llmgpu_model_is_end(const llmgpu_model *model, int32_t token)
{
    return model && lg_vocab_is_end(model->model->vocab, token);
}
