/* SPDX-License-Identifier: MIT */
#include "api/dataset.h"

#include <string.h>

#include "api/params.h"

enum { MAX_PATHS = 4096 };

#define PARAMS_LEAST LG_SIZE_TO(llmgpu_dataset_params, template_len)

static const llmgpu_dataset_params defaults = {
    .size = sizeof(llmgpu_dataset_params), .n_ctx = 512, .n_batch = 1, .pack = 1, .shuffle = 1, .n_told = 5};

int llmgpu_dataset_params_init(llmgpu_dataset_params *params, size_t size)
{
    return lg_api_params_init(params, size, &defaults, sizeof(defaults), PARAMS_LEAST);
}

/* ---- opening, freeing */

static int check_params(struct lg_env *env, const llmgpu_dataset_params *p)
{
    if (p->n_ctx < 1 || p->n_ctx > LG_DATA_MAX_CTX)
        return lg_fail(env, LLMGPU_E_INVALID, "samples of %u rows; 1 .. %d may be asked for", p->n_ctx,
                       LG_DATA_MAX_CTX);
    if (p->n_batch < 1 || p->n_batch > LG_DATA_MAX_BATCH)
        return lg_fail(env, LLMGPU_E_INVALID, "micro-batches of %u samples; 1 .. %d may be asked for",
                       p->n_batch, LG_DATA_MAX_BATCH);
    if (p->loss < LLMGPU_DATASET_ANSWERS || p->loss > LLMGPU_DATASET_ALL)
        return lg_fail(env, LLMGPU_E_INVALID, "there is no loss %d", p->loss);
    const int32_t switches[] = {p->pack, p->shuffle, p->strict, p->plain};
    for (size_t i = 0; i < sizeof(switches) / sizeof(switches[0]); i++)
        if ((switches[i] | 1) != 1)
            return lg_fail(env, LLMGPU_E_INVALID, "pack, shuffle, strict and plain are 0 or 1, not %d",
                           switches[i]);
    return 0;
}

static struct lg_data_params params_of(const llmgpu_model *model, const llmgpu_dataset_params *p)
{
    return (struct lg_data_params){
        .n_ctx = p->n_ctx,
        .n_batch = p->n_batch,
        .all = p->loss == LLMGPU_DATASET_ALL,
        .pack = p->pack,
        .shuffle = p->shuffle,
        .strict = p->strict,
        .plain = p->plain,
        .n_told = p->n_told,
        .n_passes = p->n_passes,
        .seed = p->seed,
        .n_vocab = model->model->vocab_only ? 0 : model->model->hp.n_vocab,
        .template_text = p->template_text,
        .template_len = p->template_text ? p->template_len : 0,
    };
}

/** Opens the files with the caller's template, or the model's, or, where that cannot be used, ChatML. */
static int open_data(llmgpu_dataset *d, const char *const *paths, size_t n_paths,
                     const llmgpu_dataset_params *from)
{
    struct lg_data_params p = params_of(d->model, from);
    const struct lg_vocab *vocab = d->model->model->vocab;
    struct lg_str text;
    if (p.template_text || p.plain)
        return lg_data_open(&d->env, vocab, paths, n_paths, &p, &d->data);
    int rc = lg_gguf_get_str(d->model->model->gguf, &d->env, "tokenizer.chat_template", &text);
    if (rc > 0) {
        p.template_text = text.ptr;
        p.template_len = text.len;
    }
    rc = lg_data_open(&d->env, vocab, paths, n_paths, &p, &d->data);
    if (rc != LLMGPU_E_TEMPLATE)
        return rc;
    lg_log(&d->env, LG_LOG_WARN, "%s; the ChatML format is taken in place of the model's template",
           d->env.error);
    p.template_text = NULL;
    d->env.error[0] = '\0';
    return lg_data_open(&d->env, vocab, paths, n_paths, &p, &d->data);
}

static int check_paths(struct lg_env *env, const char *const *paths, size_t n_paths)
{
    if (!paths || n_paths == 0 || n_paths > MAX_PATHS)
        return lg_fail(env, LLMGPU_E_INVALID, "%zu files; 1 .. %d may be given", paths ? n_paths : 0,
                       MAX_PATHS);
    for (size_t i = 0; i < n_paths; i++)
        if (!paths[i])
            return lg_fail(env, LLMGPU_E_INVALID, "path %zu is NULL", i);
    return 0;
}

/** A data set without data. */
static int create(struct lg_env *env, llmgpu_model *model, llmgpu_dataset **out)
{
    llmgpu_dataset *d = lg_alloc(env, sizeof(*d));
    if (!d)
        return lg_fail_nomem(env, "a data set", sizeof(*d));
    lg_env_child(&d->env, &model->ctx->env);
    d->model = model;
    lg_api_model_ref(model);
    *out = d;
    return 0;
}

static int open_dataset(struct lg_env *env, llmgpu_model *model, const char *const *paths, size_t n_paths,
                        const llmgpu_dataset_params *params, llmgpu_dataset **out)
{
    llmgpu_dataset_params p = defaults;
    if (params)
        LG_TRY(lg_api_params_in(env, &p, sizeof(p), PARAMS_LEAST, params));
    LG_TRY(check_params(env, &p));
    LG_TRY(check_paths(env, paths, n_paths));
    llmgpu_dataset *d = NULL;
    LG_TRY(create(env, model, &d));
    int rc = open_data(d, paths, n_paths, &p);
    if (rc < 0) {
        memcpy(env->error, d->env.error, sizeof(env->error));
        llmgpu_dataset_free(d);
        return rc;
    }
    *out = d;
    return 0;
}

int llmgpu_dataset_open(llmgpu_dataset **out, llmgpu_model *model, const char *const *paths, size_t n_paths,
                        const llmgpu_dataset_params *params)
{
    if (!out)
        return LLMGPU_E_INVALID;
    *out = NULL;
    if (!model)
        return LLMGPU_E_INVALID;
    struct lg_env env;
    lg_env_child(&env, &model->ctx->env);
    return lg_api_report(model->ctx, &env, open_dataset(&env, model, paths, n_paths, params, out));
}

void llmgpu_dataset_free(llmgpu_dataset *d)
{
    if (!d)
        return;
    llmgpu_model *model = d->model;
    lg_data_close(d->data);
    lg_train_batch_free(&d->env, &d->batch);
    lg_free(&model->ctx->env, d);
    lg_api_model_unref(model);
}

const char *llmgpu_dataset_error(const llmgpu_dataset *d)
{
    return d ? d->env.error : "";
}

int llmgpu_dataset_split(llmgpu_dataset **out, llmgpu_dataset *d, double share)
{
    if (!out)
        return LLMGPU_E_INVALID;
    *out = NULL;
    if (!d)
        return LLMGPU_E_INVALID;
    d->env.error[0] = '\0';
    llmgpu_dataset *other = NULL;
    LG_TRY(create(&d->env, d->model, &other));
    int rc = lg_data_split(d->data, &other->env, share, &other->data);
    if (rc < 0) {
        if (other->env.error[0])
            memcpy(d->env.error, other->env.error, sizeof(d->env.error));
        llmgpu_dataset_free(other);
        return rc;
    }
    *out = other;
    return 0;
}

/* ---- reading */

int llmgpu_dataset_next(llmgpu_dataset *d, llmgpu_batch *out, size_t size)
{
    if (!d)
        return LLMGPU_E_INVALID;
    llmgpu_batch batch = {0};
    LG_TRY(lg_api_info_out(out, size, &batch, sizeof(batch), LG_SIZE_TO(llmgpu_batch, samples)));
    d->env.error[0] = '\0';
    if (!d->batch.tokens)
        LG_TRY(lg_train_batch_create(&d->env, lg_data_max_rows(d->data), &d->batch));
    int rc = lg_data_next(d->data, &d->batch);
    if (rc <= 0)
        return rc;
    batch = (llmgpu_batch){
        .n_rows = d->batch.n_rows,
        .n_samples = d->batch.n_samples,
        .n_targets = d->batch.n_targets,
        .tokens = d->batch.tokens,
        .targets = d->batch.targets,
        .positions = d->batch.pos,
        .samples = d->batch.sample,
    };
    lg_api_info_out(out, size, &batch, sizeof(batch), LG_SIZE_TO(llmgpu_batch, samples));
    return 1;
}

int llmgpu_dataset_rewind(llmgpu_dataset *d)
{
    if (!d)
        return LLMGPU_E_INVALID;
    lg_data_rewind(d->data);
    return 0;
}

static int give_stats(const struct lg_data_stats *from, llmgpu_dataset_stats *out, size_t size)
{
    llmgpu_dataset_stats stats = {
        .n_lines = from->n_lines,
        .n_samples = from->n_samples,
        .n_bad = from->n_bad,
        .n_idle = from->n_idle,
        .n_cut = from->n_cut,
        .cut_tokens = from->cut_tokens,
        .n_rows = from->n_rows,
        .n_targets = from->n_targets,
        .n_batches = from->n_batches,
        .max_rows = from->max_rows,
    };
    return lg_api_info_out(out, size, &stats, sizeof(stats), LG_SIZE_TO(llmgpu_dataset_stats, reserved));
}

int llmgpu_dataset_get_stats(const llmgpu_dataset *d, llmgpu_dataset_stats *out, size_t size)
{
    return d ? give_stats(lg_data_stats(d->data), out, size) : LLMGPU_E_INVALID;
}

int llmgpu_dataset_count(llmgpu_dataset *d, llmgpu_dataset_stats *out, size_t size)
{
    struct lg_data_stats stats = {0};
    if (!d)
        return LLMGPU_E_INVALID;
    LG_TRY(give_stats(&stats, out, size));
    d->env.error[0] = '\0';
    LG_TRY(lg_data_count(d->data, &stats));
    return give_stats(&stats, out, size);
}

static int check_line(const llmgpu_dataset *d, uint64_t line)
{
    return line < lg_data_n_lines(d->data) ? 0 : LLMGPU_E_INVALID;
}

int llmgpu_dataset_get_sample(llmgpu_dataset *d, uint64_t line, int32_t *tokens, uint8_t *counts,
                              size_t capacity, size_t *n_tokens)
{
    if (!d || !n_tokens || (!tokens && capacity))
        return LLMGPU_E_INVALID;
    const int32_t *found;
    const uint8_t *mask;
    uint32_t n;
    *n_tokens = 0;
    d->env.error[0] = '\0';
    LG_TRY(check_line(d, line));
    LG_TRY(lg_data_read(d->data, line, &found, &mask, &n));
    *n_tokens = n;
    if (n > capacity)
        return LLMGPU_E_RANGE;
    if (n > 0)
        memcpy(tokens, found, n * sizeof(*tokens));
    if (n > 0 && counts)
        memcpy(counts, mask, n);
    return 0;
}

int llmgpu_dataset_get_line(const llmgpu_dataset *d, uint64_t line, const char **path, uint64_t *number)
{
    if (!d || !path || !number)
        return LLMGPU_E_INVALID;
    LG_TRY(check_line(d, line));
    *path = lg_data_where(d->data, line, number);
    return 0;
}

/* ---- places */

int llmgpu_dataset_save(llmgpu_dataset *d, void *data, size_t capacity, size_t *size)
{
    uint8_t place[LG_DATA_PLACE_BYTES];
    if (!d || !size || (!data && capacity))
        return LLMGPU_E_INVALID;
    *size = lg_data_save(d->data, place);
    if (*size > capacity)
        return LLMGPU_E_RANGE;
    memcpy(data, place, *size);
    return 0;
}

int llmgpu_dataset_restore(llmgpu_dataset *d, const void *data, size_t size)
{
    if (!d || !data)
        return LLMGPU_E_INVALID;
    d->env.error[0] = '\0';
    return lg_data_restore(d->data, data, size);
}
