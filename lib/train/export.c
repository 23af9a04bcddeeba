/* SPDX-License-Identifier: MIT
 *
 * What was learned as a GGUF file: an adapter, or a model with the metadata of the one that it began as. Tensors stream from the
 * device; the file is there as a whole or not at all.
 */
#include <string.h>

#include "gguf/quantize.h"
#include "gguf/writer.h"
#include "train/trainer.h"
#include "util/checked.h"

enum { PIECE = 1 << 18 }; // numbers

/** Where a file is being written. */
struct export {
    struct lg_trainer *t;
    struct lg_newfile file;
    struct lg_gguf_writer w;
    float *piece;     // PIECE numbers,
    uint8_t *encoded; // and as the file has them
};

static int put_metadata(struct export *e)
{
    const struct lg_model *model = e->t->model;
    float alpha;
    for (uint64_t i = 0; e->t->how.whole && i < model->gguf->n_kv; i++)
        LG_TRY(lg_gguf_put(&e->w, &model->gguf->kv[i]));
    if (e->t->how.whole)
        return 0;
    LG_TRY(lg_train_params_alpha(&e->t->params, e->t->env, &alpha));
    LG_TRY(lg_gguf_put_str(&e->w, "general.type", "adapter"));
    LG_TRY(lg_gguf_put_str(&e->w, "general.architecture", model->arch));
    LG_TRY(lg_gguf_put_str(&e->w, "adapter.type", "lora"));
    return lg_gguf_put_f32(&e->w, "adapter.lora.alpha", alpha);
}

/** The tensor of the trainer that a tensor of the model's file is. */
static const struct lg_train_tensor *find(const struct lg_trainer *t, const struct lg_gguf_tensor *from)
{
    for (uint32_t i = 0; i < t->params.n_tensors; i++)
        if (t->params.tensors[i].from == from)
            return &t->params.tensors[i];
    return NULL;
}

static int list_tensors(struct export *e)
{
    const struct lg_trainer *t = e->t;
    for (uint64_t i = 0; t->how.whole && i < t->model->gguf->n_tensors; i++)
        LG_TRY(lg_gguf_add_tensor(&e->w, &t->model->gguf->tensors[i]));
    for (uint32_t i = 0; !t->how.whole && i < t->params.n_tensors; i++) {
        const struct lg_train_tensor *from = &t->params.tensors[i];
        struct lg_gguf_tensor tensor = {
            .name = {from->name, strlen(from->name)},
            .n_dims = 2,
            .dims = {from->cols, from->rows, 1, 1},
            .type = LG_TYPE_F32,
        };
        LG_TRY(lg_gguf_add_tensor(&e->w, &tensor));
    }
    return 0;
}

/** Numbers from the device, in the type of the file. */
static int put_tensor(struct export *e, const struct lg_train_tensor *from, enum lg_type type)
{
    uint64_t all = (uint64_t)from->rows * from->cols, bytes = lg_type_info(type)->block_bytes;
    for (uint64_t first = 0; first < all; first += PIECE) {
        uint64_t n = lg_min_u64(PIECE, all - first);
        struct lg_view v = {
            .buf = e->t->graph.state.params, .offset = (from->at + first) * sizeof(float), .size = n * sizeof(float)};
        LG_TRY(lg_download(e->t->dev, v, e->piece));
        if (type == LG_TYPE_F32)
            LG_TRY(lg_gguf_write_data(&e->w, e->piece, n * sizeof(float)));
        else {
            lg_quantize(type, e->piece, e->encoded, n);
            LG_TRY(lg_gguf_write_data(&e->w, e->encoded, n * bytes));
        }
    }
    return 0;
}

/** A tensor of the model's file that is not trained, such as rope_freqs. */
static int copy_tensor(struct export *e, const struct lg_gguf_tensor *from)
{
    uint64_t most = PIECE * sizeof(float);
    for (uint64_t at = 0; at < from->size; at += most) {
        uint64_t n = lg_min_u64(most, from->size - at);
        LG_TRY(lg_gguf_fetch(e->t->model->gguf, e->t->env, from->offset + at, n, e->piece));
        LG_TRY(lg_gguf_write_data(&e->w, e->piece, n));
    }
    return 0;
}

static int put_tensors(struct export *e)
{
    const struct lg_trainer *t = e->t;
    for (uint64_t i = 0; t->how.whole && i < t->model->gguf->n_tensors; i++) {
        const struct lg_gguf_tensor *from = &t->model->gguf->tensors[i];
        const struct lg_train_tensor *own = find(t, from);
        LG_TRY(own ? put_tensor(e, own, from->type) : copy_tensor(e, from));
    }
    for (uint32_t i = 0; !t->how.whole && i < t->params.n_tensors; i++)
        LG_TRY(put_tensor(e, &t->params.tensors[i], LG_TYPE_F32));
    return 0;
}

static int write_all(struct export *e)
{
    struct lg_gguf_sink sink = lg_gguf_sink_to(&e->file);
    LG_TRY(put_metadata(e));
    LG_TRY(list_tensors(e));
    LG_TRY(lg_gguf_write_header(&e->w, &sink));
    LG_TRY(put_tensors(e));
    return lg_gguf_write_end(&e->w);
}

int lg_trainer_export(struct lg_trainer *t, const char *path)
{
    struct export e = {.t = t};
    if (t->run.active)
        return lg_fail(t->env, LLMGPU_E_INVALID, "a step is under way");
    e.piece = lg_alloc_array(t->env, PIECE, sizeof(float));
    e.encoded = lg_alloc_array(t->env, PIECE, sizeof(float));
    lg_gguf_writer_init(&e.w, t->env);
    int rc = e.piece && e.encoded ? 0 : lg_fail_nomem(t->env, "a piece of a file", 2 * PIECE * sizeof(float));
    if (rc == 0)
        rc = lg_newfile_open(t->env, path, &e.file);
    if (rc == 0)
        rc = lg_newfile_close(&e.file, write_all(&e));
    lg_gguf_writer_finish(&e.w);
    lg_free(t->env, e.piece);
    lg_free(t->env, e.encoded);
    return rc;
}
