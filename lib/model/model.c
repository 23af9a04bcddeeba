/* SPDX-License-Identifier: MIT */
#include "model/model.h"

#include <math.h>
#include <stdio.h>

#include "gguf/quants.h"
#include "model/loader.h"

static const struct lg_arch *const archs[] = {&lg_arch_llama, &lg_arch_qwen2, &lg_arch_gpt2};

static int choose_arch(struct lg_model *model)
{
    struct lg_str name = {"", 0};
    int found = lg_gguf_get_str(model->gguf, model->env, "general.architecture", &name);
    LG_TRY(found);
    if (found == 0)
        return lg_fail(model->env, LLMGPU_E_FORMAT, "metadata 'general.architecture' is missing");
    for (size_t i = 0; i < sizeof(archs) / sizeof(archs[0]); i++) {
        if (lg_str_eq(name, archs[i]->name)) {
            model->family = archs[i];
            snprintf(model->arch, sizeof(model->arch), "%s", archs[i]->name);
            return 0;
        }
    }
    return lg_fail(model->env, LLMGPU_E_UNSUPPORTED, "architecture '%.*s' is not supported",
                   name.len < 64 ? (int)name.len : 64, name.ptr);
}

/** The divisors of llama3's rope scaling, kept on the host: they go into the table of rotations. */
static int read_rope_freqs(struct lg_model *model)
{
    const struct lg_gguf_tensor *t = lg_gguf_find_tensor(model->gguf, "rope_freqs.weight");
    if (!t || model->hp.rope == LG_ROPE_NONE)
        return 0;
    uint32_t n = model->hp.n_rot / 2;
    if (t->type != LG_TYPE_F32 || t->dims[0] != n || t->size != n * sizeof(float))
        return lg_fail(model->env, LLMGPU_E_FORMAT, "tensor 'rope_freqs.weight' is not a vector of %u F32",
                       n);
    model->rope_freqs = lg_alloc_array(model->env, n, sizeof(float));
    if (!model->rope_freqs)
        return lg_fail_nomem(model->env, "rope frequencies", n * sizeof(float));
    LG_TRY(lg_gguf_fetch(model->gguf, model->env, t->offset, t->size, model->rope_freqs));
    for (uint32_t i = 0; i < n; i++)
        if (!(model->rope_freqs[i] > 0) || isinf(model->rope_freqs[i]))
            return lg_fail(model->env, LLMGPU_E_FORMAT, "tensor 'rope_freqs.weight': element %u is %g", i,
                           (double)model->rope_freqs[i]);
    model->w.rope_freqs = model->rope_freqs;
    return 0;
}

/** Says at once that a model cannot fit, before minutes of copying. */
static int check_memory(struct lg_model *model, bool in_place)
{
    const struct lg_device *dev = model->dev;
    uint64_t need = 0, available = lg_device_room(model->dev);
    uint64_t limit = in_place ? 0 : dev->memory_limit, used = dev->stats.memory_used;
    for (uint64_t i = 0; i < model->gguf->n_tensors; i++)
        need += model->gguf->tensors[i].size; // inside the file, so no overflow
    if (limit && (used > limit || need > limit - used))
        return lg_fail(model->env, LLMGPU_E_LIMIT,
                       "limit max_memory: weights of %llu bytes on %llu are more than %llu",
                       (unsigned long long)need, (unsigned long long)used, (unsigned long long)limit);
    if (need <= available)
        return 0;
    return lg_fail(model->env, LLMGPU_E_NOMEM, "the weights take %llu MiB, device '%s' has %llu MiB left",
                   (unsigned long long)(need >> 20), model->dev->info.id,
                   (unsigned long long)(available >> 20));
}

static uint64_t matrix_bytes(const struct lg_weight *w)
{
    return w->view.buf ? (uint64_t)w->rows * w->row_bytes : 0;
}

static void count_bytes_per_token(struct lg_model *model)
{
    const struct lg_weights *w = &model->w;
    uint64_t sum = matrix_bytes(&w->output) + w->tok_embd.row_bytes;
    for (uint32_t i = 0; i < model->hp.n_layers; i++) {
        const struct lg_layer *l = &w->layers[i];
        const struct lg_weight *read[] = {&l->wq, &l->wk, &l->wv, &l->wo, &l->gate, &l->up, &l->down};
        for (size_t k = 0; k < sizeof(read) / sizeof(read[0]); k++)
            sum += matrix_bytes(read[k]);
    }
    model->bytes_per_token = sum;
}

/** Where a layer has the matrices that adapters add to. */
static const size_t target_offsets[LG_N_TARGETS] = {
    [LG_TARGET_Q] = offsetof(struct lg_layer, wq),      [LG_TARGET_K] = offsetof(struct lg_layer, wk),
    [LG_TARGET_V] = offsetof(struct lg_layer, wv),      [LG_TARGET_O] = offsetof(struct lg_layer, wo),
    [LG_TARGET_GATE] = offsetof(struct lg_layer, gate), [LG_TARGET_UP] = offsetof(struct lg_layer, up),
    [LG_TARGET_DOWN] = offsetof(struct lg_layer, down),
};

const struct lg_weight *lg_layer_target(const struct lg_layer *layer, enum lg_target target)
{
    return (const struct lg_weight *)((const char *)layer + target_offsets[target]);
}

/** Says what adapters call each matrix. */
static void number_targets(struct lg_layer *layer, uint32_t index)
{
    for (uint32_t i = 0; i < LG_N_TARGETS; i++)
        ((struct lg_weight *)((char *)layer + target_offsets[i]))->target = 1 + index * LG_N_TARGETS + i;
}

static int bind_weights(struct lg_model *model)
{
    struct lg_weights *w = &model->w;
    struct lg_gguf *gguf = model->gguf;
    lg_watch_begin(model->env, gguf->file_size);
    LG_TRY(lg_watch_add(model->env, gguf->data_offset));
    bool in_place = model->dev->info.imports_host && gguf->file;
    LG_TRY(check_memory(model, in_place));
    if (in_place)
        LG_TRY(lg_buffer_import(model->dev, gguf->file, gguf->file_size, &model->file_buf));
    LG_TRY(model->family->bind_rest(model));
    for (uint32_t i = 0; i < model->hp.n_layers; i++) {
        LG_TRY(model->family->bind_layer(model, &w->layers[i], i));
        number_targets(&w->layers[i], i);
    }
    if (!w->output.view.buf)
        w->output = w->tok_embd;
    LG_TRY(lg_device_flush(model->dev));
    return lg_watch_end(model->env);
}

int lg_model_put_weights(struct lg_model *model, struct lg_device *dev)
{
    model->dev = dev;
    if (model->vocab_only)
        return lg_watch_end(model->env);
    int rc = bind_weights(model);
    lg_free(model->env, model->piece);
    model->piece = NULL;
    model->n_together = 0;
    if (rc < 0) {
        lg_model_drop_weights(model);
        return rc;
    }
    if (!model->counted)
        count_bytes_per_token(model);
    model->counted = true;
    return 0;
}

void lg_model_drop_weights(struct lg_model *model)
{
    for (uint32_t i = 0; i < model->n_bufs; i++)
        lg_buffer_destroy(model->bufs[i]);
    lg_buffer_destroy(model->file_buf);
    model->n_bufs = 0;
    model->file_buf = NULL;
    model->dev = NULL;
    // Of the rest only what is on the host stays.
    struct lg_weights *w = &model->w;
    *w = (struct lg_weights){.layers = w->layers, .rope_freqs = w->rope_freqs};
    if (w->layers)
        memset(w->layers, 0, model->hp.n_layers * sizeof(*w->layers));
}

int lg_model_rebind(const struct lg_model *model, struct lg_env *env, const struct lg_weight_taker *taker, struct lg_model *out)
{
    *out = *model;
    out->env = env;
    out->taker = taker;
    out->w = (struct lg_weights){.rope_freqs = model->w.rope_freqs};
    out->w.layers = lg_alloc_array(env, out->hp.n_layers, sizeof(*out->w.layers));
    if (!out->w.layers)
        return lg_fail_nomem(env, "layers", out->hp.n_layers * sizeof(*out->w.layers));
    LG_TRY(out->family->bind_rest(out));
    for (uint32_t i = 0; i < out->hp.n_layers; i++) {
        LG_TRY(out->family->bind_layer(out, &out->w.layers[i], i));
        number_targets(&out->w.layers[i], i);
    }
    if (!out->w.output.rows)
        out->w.output = out->w.tok_embd;
    return 0;
}

static int read_host_side(struct lg_model *model)
{
    if (!model->vocab_only)
        LG_TRY(choose_arch(model));
    LG_TRY(lg_vocab_create(model->env, model->gguf, &model->vocab));
    if (model->vocab_only)
        return 0;
    LG_TRY(model->family->read_hparams(model));
    model->w.layers = lg_alloc_array(model->env, model->hp.n_layers, sizeof(*model->w.layers));
    if (!model->w.layers)
        return lg_fail_nomem(model->env, "layers", model->hp.n_layers * sizeof(*model->w.layers));
    return read_rope_freqs(model);
}

/*
 * What is copied, bind_weights() copies about in the order of most files. In place layers come first: of the embeddings,
 * which most files begin with, a prompt reads a few rows, and the head is needed when all else is done.
 */
void lg_model_read_ahead(struct lg_gguf *gguf, bool in_place)
{
    static const char prefix[] = "blk.";
    uint64_t first = in_place ? gguf->file_size : gguf->data_offset;
    for (uint64_t i = 0; in_place && i < gguf->n_tensors; i++) {
        const struct lg_gguf_tensor *t = &gguf->tensors[i];
        if (t->offset < first && t->name.len > sizeof(prefix) && memcmp(t->name.ptr, prefix, sizeof(prefix) - 1) == 0)
            first = t->offset;
    }
    lg_gguf_read_ahead(gguf, first, in_place);
}

int lg_model_open(struct lg_env *env, struct lg_gguf *gguf, bool vocab_only, struct lg_model **out)
{
    *out = NULL;
    struct lg_model *model = lg_alloc(env, sizeof(*model));
    if (!model) {
        lg_gguf_close(gguf);
        return lg_fail_nomem(env, "a model", sizeof(*model));
    }
    model->env = env;
    model->gguf = gguf;
    model->vocab_only = vocab_only;
    int rc = read_host_side(model);
    if (rc < 0) {
        lg_model_destroy(model);
        return rc;
    }
    *out = model;
    return 0;
}

int lg_model_load(struct lg_env *env, struct lg_device *dev, const char *path, bool vocab_only,
                  struct lg_model **out)
{
    struct lg_gguf *gguf;
    *out = NULL;
    LG_TRY(lg_gguf_open(env, path, &gguf));
    return lg_model_load_gguf(env, dev, gguf, vocab_only, out);
}

int lg_model_load_gguf(struct lg_env *env, struct lg_device *dev, struct lg_gguf *gguf, bool vocab_only,
                       struct lg_model **out)
{
    struct lg_model *model;
    *out = NULL;
    LG_TRY(lg_model_open(env, gguf, vocab_only, &model));
    int rc = lg_model_put_weights(model, dev);
    if (rc < 0) {
        lg_model_destroy(model);
        return rc;
    }
    *out = model;
    return 0;
}

void lg_model_destroy(struct lg_model *model)
{
    if (!model)
        return;
    lg_model_drop_weights(model);
    lg_free(model->env, model->bufs);
    lg_free(model->env, model->w.layers);
    lg_free(model->env, model->rope_freqs);
    lg_vocab_destroy(model->vocab);
    lg_gguf_close(model->gguf);
    lg_free(model->env, model);
}
