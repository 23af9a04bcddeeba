/* SPDX-License-Identifier: MIT
 *
 * What was learned as a file that others read: an adapter, or a model with the metadata of the one that it began as. It is there
 * as a whole or not at all.
 */
#include <string.h>

#include "gguf/quantize.h"
#include "gguf/writer.h"
#include "model/lora_save.h"
#include "train/trainer.h"
#include "util/checked.h"

enum { PIECE = 1 << 18 }; // numbers

/* ---- adapters ------------------------------------------------------------------------------------------------------- */

/** An adapter on the host. */
struct adapter {
    float *numbers; // of all tensors, where they are on the device
    struct lg_lora_matrix *matrices;
    char (*names)[sizeof(((struct lg_train_tensor *)0)->name)]; // of the model's matrices
};

static int fetch_all(struct lg_trainer *t, float *out)
{
    for (uint32_t i = 0; i < t->params.n_tensors; i++)
        LG_TRY(lg_trainer_read(t, i, out + t->params.tensors[i].at));
    return 0;
}

/** Tensors come in pairs, A before B. */
static void list_matrices(const struct lg_trainer *t, const struct adapter *from)
{
    for (uint32_t i = 0; i < t->params.n_tensors / 2; i++) {
        const struct lg_train_tensor *a = &t->params.tensors[2 * i], *b = a + 1;
        memcpy(from->names[i], a->name, sizeof(a->name));
        from->names[i][strlen(a->name) - strlen(".lora_a")] = '\0';
        from->matrices[i] = (struct lg_lora_matrix){
            .name = from->names[i],
            .rank = a->rows,
            .rows = b->rows,
            .cols = a->cols,
            .a = from->numbers + a->at,
            .b = from->numbers + b->at,
        };
    }
}

static int save_adapter(struct lg_trainer *t, const struct adapter *from, const char *path, bool peft)
{
    struct lg_lora_content content = {.n = t->params.n_tensors / 2, .matrices = from->matrices};
    LG_TRY(lg_train_params_alpha(&t->params, t->env, &content.alpha));
    LG_TRY(fetch_all(t, from->numbers));
    list_matrices(t, from);
    return (peft ? lg_lora_save_peft : lg_lora_save_gguf)(t->env, t->model, &content, path);
}

static int export_adapter(struct lg_trainer *t, const char *path, bool peft)
{
    struct adapter all = {
        .numbers = lg_alloc_array(t->env, t->params.n, sizeof(float)),
        .matrices = lg_alloc_array(t->env, t->params.n_tensors / 2, sizeof(*all.matrices)),
        .names = lg_alloc_array(t->env, t->params.n_tensors / 2, sizeof(*all.names)),
    };
    bool ok = all.numbers && all.matrices && all.names;
    int rc = ok ? save_adapter(t, &all, path, peft) : lg_fail_nomem(t->env, "an adapter", t->params.n * sizeof(float));
    lg_free(t->env, all.numbers);
    lg_free(t->env, all.matrices);
    lg_free(t->env, all.names);
    return rc;
}

/* ---- models ---------------------------------------------------------------------------------------------------------- */

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
    const struct lg_gguf *gguf = e->t->model->gguf;
    for (uint64_t i = 0; i < gguf->n_kv; i++)
        LG_TRY(lg_gguf_put(&e->w, &gguf->kv[i]));
    return 0;
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
    const struct lg_gguf *gguf = e->t->model->gguf;
    for (uint64_t i = 0; i < gguf->n_tensors; i++)
        LG_TRY(lg_gguf_add_tensor(&e->w, &gguf->tensors[i]));
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
    const struct lg_gguf *gguf = e->t->model->gguf;
    for (uint64_t i = 0; i < gguf->n_tensors; i++) {
        const struct lg_train_tensor *own = find(e->t, &gguf->tensors[i]);
        LG_TRY(own ? put_tensor(e, own, gguf->tensors[i].type) : copy_tensor(e, &gguf->tensors[i]));
    }
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

static int export_model(struct lg_trainer *t, const char *path)
{
    struct export e = {.t = t};
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

int lg_trainer_export(struct lg_trainer *t, const char *path, bool peft)
{
    if (t->run.active)
        return lg_fail(t->env, LLMGPU_E_INVALID, "a step is under way");
    if (!t->how.whole)
        return export_adapter(t, path, peft);
    return peft ? lg_fail(t->env, LLMGPU_E_INVALID, "PEFT's files hold adapters, and all weights were trained")
                : export_model(t, path);
}
