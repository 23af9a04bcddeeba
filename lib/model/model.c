/* SPDX-License-Identifier: MIT */
#include "model/model.h"

#include <math.h>
#include <stdio.h>

#include "gguf/quants.h"
#include "model/loader.h"

static const struct lg_arch *const archs[] = {&lg_arch_llama, &lg_arch_qwen2, &lg_arch_gpt2};

static int choose_arch(struct lg_model *model, const struct lg_arch **out)
{
    struct lg_str name = {"", 0};
    int found = lg_gguf_get_str(model->gguf, model->env, "general.architecture", &name);
    LG_TRY(found);
    if (found == 0)
        return lg_fail(model->env, LLMGPU_E_FORMAT, "metadata 'general.architecture' is missing");
    for (size_t i = 0; i < sizeof(archs) / sizeof(archs[0]); i++) {
        if (lg_str_eq(name, archs[i]->name)) {
            *out = archs[i];
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
    memcpy(model->rope_freqs, t->data, n * sizeof(float));
    for (uint32_t i = 0; i < n; i++)
        if (!(model->rope_freqs[i] > 0) || isinf(model->rope_freqs[i]))
            return lg_fail(model->env, LLMGPU_E_FORMAT, "tensor 'rope_freqs.weight': element %u is %g", i,
                           (double)model->rope_freqs[i]);
    model->w.rope_freqs = model->rope_freqs;
    return 0;
}

/** Says at once that a model cannot fit, before minutes of copying. */
static int check_memory(struct lg_model *model)
{
    uint64_t need = 0, available = lg_device_room(model->dev);
    for (uint64_t i = 0; i < model->gguf->n_tensors; i++)
        need += model->gguf->tensors[i].size; // inside the file, so no overflow
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

static int load_weights(struct lg_model *model, const struct lg_arch *arch)
{
    struct lg_weights *w = &model->w;
    LG_TRY(arch->read_hparams(model));
    LG_TRY(check_memory(model));
    if (model->dev->info.imports_host)
        LG_TRY(lg_buffer_import(model->dev, model->gguf->file, model->gguf->file_size, &model->file_buf));
    w->layers = lg_alloc_array(model->env, model->hp.n_layers, sizeof(*w->layers));
    if (!w->layers)
        return lg_fail_nomem(model->env, "layers", model->hp.n_layers * sizeof(*w->layers));
    LG_TRY(arch->bind_rest(model));
    for (uint32_t i = 0; i < model->hp.n_layers; i++) {
        LG_TRY(arch->bind_layer(model, &w->layers[i], i));
        number_targets(&w->layers[i], i);
    }
    if (!w->output.view.buf)
        w->output = w->tok_embd;
    LG_TRY(read_rope_freqs(model));
    count_bytes_per_token(model);
    return lg_device_flush(model->dev);
}

static int load(struct lg_model *model)
{
    if (model->vocab_only)
        return lg_vocab_create(model->env, model->gguf, &model->vocab);
    const struct lg_arch *arch = NULL;
    LG_TRY(choose_arch(model, &arch));
    LG_TRY(lg_vocab_create(model->env, model->gguf, &model->vocab));
    return load_weights(model, arch);
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
    *out = NULL;
    struct lg_model *model = lg_alloc(env, sizeof(*model));
    if (!model) {
        lg_gguf_close(gguf);
        return lg_fail_nomem(env, "a model", sizeof(*model));
    }
    model->env = env;
    model->dev = dev;
    model->gguf = gguf;
    model->vocab_only = vocab_only;
    int rc = load(model);
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
    for (uint32_t i = 0; i < model->n_bufs; i++)
        lg_buffer_destroy(model->bufs[i]);
    lg_buffer_destroy(model->file_buf);
    lg_free(model->env, model->bufs);
    lg_free(model->env, model->w.layers);
    lg_free(model->env, model->rope_freqs);
    lg_vocab_destroy(model->vocab);
    lg_gguf_close(model->gguf);
    lg_free(model->env, model);
}
