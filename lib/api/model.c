/* SPDX-License-Identifier: MIT */
#include "api/handles.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/params.h"

void lg_api_model_join(llmgpu_model *model)
{
    llmgpu_context *ctx = model->ctx;
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
static void finish(llmgpu_model *model)
{
    leave(model);
    lg_engine_finish(&model->engine);
    lg_model_destroy(model->model);
    lg_free(&model->ctx->env, model);
}

static void finish_later(struct lg_later *later)
{
    llmgpu_model *model = (llmgpu_model *)((char *)later - offsetof(llmgpu_model, later));
    llmgpu_context *ctx = model->ctx;
    finish(model);
    lg_api_context_unref(ctx);
}

static void destroy(llmgpu_model *model)
{
    llmgpu_context *ctx = model->ctx;
    model->later.run = finish_later;
    if (!lg_scheduler_now_or_later(&ctx->sched, &model->later))
        return;
    finish(model);
    lg_scheduler_give(&ctx->sched);
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

const char *llmgpu_model_error(const llmgpu_model *model)
{
    return model ? llmgpu_context_error(model->ctx) : "";
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
        .load_ns = model->load_ns,
        .put_ns = model->put_ns,
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
