/* SPDX-License-Identifier: MIT
 *
 * Tensors of the file become weights on the device: read in place where the device can, copied once
 * otherwise, piece by piece.
 */
#include "model/loader.h"

#include <stdio.h>

#include "gguf/quants.h"
#include "util/checked.h"

enum { PIECE = 1 << 20 }; // bytes that are copied at once; between two it may be cancelled

/** A tensor by its pattern; NULL when the file has none. */
static const struct lg_gguf_tensor *find(struct lg_model *model, const char *pattern, uint32_t layer,
                                         char *name, size_t size)
{
    const char *mark = strstr(pattern, "%u");
    if (mark)
        snprintf(name, size, "%.*s%u%s", (int)(mark - pattern), pattern, layer, mark + 2);
    else
        snprintf(name, size, "%s", pattern);
    return lg_gguf_find_tensor(model->gguf, name);
}

bool lg_type_has_kernels(enum lg_type type)
{
    switch (type) {
#define LG_CASE(lower, UPPER) case LG_TYPE_##UPPER:
        LG_WEIGHT_TYPES(LG_CASE)
#undef LG_CASE
        return true;
    default: return false;
    }
}

static int check_shape(struct lg_model *model, const struct lg_gguf_tensor *t, uint32_t rows, uint32_t cols)
{
    bool ok = t->dims[0] == cols && t->dims[1] == rows && t->dims[2] == 1 && t->dims[3] == 1;
    if (!ok)
        return lg_fail(model->env, LLMGPU_E_FORMAT, "tensor '%.*s' is [%llu, %llu], not [%u, %u]",
                       (int)t->name.len, t->name.ptr, (unsigned long long)t->dims[1],
                       (unsigned long long)t->dims[0], rows, cols);
    if (!lg_type_has_kernels(t->type))
        return lg_fail(model->env, LLMGPU_E_UNSUPPORTED, "tensor '%.*s' has type %s, which has no kernels",
                       (int)t->name.len, t->name.ptr, lg_type_info(t->type)->name);
    return 0;
}

static int own_buffer(struct lg_model *model, uint64_t size, enum lg_mem mem, struct lg_buffer **out)
{
    if (model->n_bufs == model->cap_bufs) {
        uint32_t cap = model->cap_bufs ? 2 * model->cap_bufs : 64;
        struct lg_buffer **bufs = lg_resize(model->env, model->bufs, cap * sizeof(*bufs));
        if (!bufs)
            return lg_fail_nomem(model->env, "the list of weights", cap * sizeof(*bufs));
        model->bufs = bufs;
        model->cap_bufs = cap;
    }
    LG_TRY(lg_buffer_create(model->dev, size, mem, out));
    model->bufs[model->n_bufs++] = *out;
    return 0;
}

/** Reads bytes of a file behind callbacks, at once to where they belong when the host reaches that. */
static int upload_read(struct lg_model *model, struct lg_view to, uint64_t offset)
{
    if (to.buf->map)
        return lg_gguf_fetch(model->gguf, model->env, offset, to.size, (uint8_t *)to.buf->map + to.offset);
    if (!model->piece)
        model->piece = lg_alloc(model->env, PIECE);
    if (!model->piece)
        return lg_fail_nomem(model->env, "a piece of a weight", PIECE);
    LG_TRY(lg_gguf_fetch(model->gguf, model->env, offset, to.size, model->piece));
    return lg_upload(model->dev, to, model->piece);
}

/** Copies the bytes of the file from `offset` on to a buffer, from `at` on. */
static int upload(struct lg_model *model, struct lg_buffer *buf, uint64_t at, uint64_t offset, uint64_t size)
{
    struct lg_view to = {.buf = buf};
    for (uint64_t done = 0; done < size; done += to.size) {
        uint64_t rest = size - done, from = offset + done;
        to.offset = at + done;
        to.size = rest < PIECE ? rest : PIECE;
        const uint8_t *bytes = lg_gguf_lend(model->gguf, from, to.size);
        LG_TRY(bytes ? lg_upload(model->dev, to, bytes) : upload_read(model, to, from));
        lg_gguf_take_back(model->gguf, from, to.size);
        LG_TRY(lg_watch_add(model->env, to.size));
    }
    return 0;
}

/** Bytes between the beginnings of matrices that share a buffer. */
static bool pad_together(const struct lg_model *model, uint64_t size, uint64_t *out)
{
    return lg_align_u64(size, lg_max_u32(16, model->dev->info.view_align), out);
}

int lg_bind_together(struct lg_model *model, uint32_t layer, const char *const *names, uint32_t n_names,
                     uint32_t n_matrices)
{
    uint64_t total = 0;
    model->n_together = 0;
    if (model->taker)
        return 0;
    for (uint32_t i = 0; i < n_names; i++) {
        char name[128];
        const struct lg_gguf_tensor *t = find(model, names[i], layer, name, sizeof(name));
        uint64_t padded;
        if (!t || !pad_together(model, t->size, &padded) || !lg_add_u64(total, padded, &total))
            return 0; // binding it says what is wrong
    }
    uint64_t slack = (uint64_t)(n_matrices - n_names) * lg_max_u32(16, model->dev->info.view_align);
    if (model->file_buf || !lg_add_u64(total, slack, &total) || total > model->dev->info.max_buffer_size)
        return 0;
    LG_TRY(own_buffer(model, total, LG_MEM_FILLED, &model->together));
    model->together_at = 0;
    model->n_together = n_matrices;
    return 0;
}

/** Takes `size` bytes of what the next matrices share, or of a buffer of their own. */
static int take_room(struct lg_model *model, uint64_t size, struct lg_view *out)
{
    uint64_t padded;
    *out = (struct lg_view){.size = size};
    if (!model->n_together || !pad_together(model, size, &padded) ||
        padded > model->together->size - model->together_at)
        return own_buffer(model, size, LG_MEM_FILLED, &out->buf);
    out->buf = model->together;
    out->offset = model->together_at;
    model->together_at += padded;
    model->n_together--;
    return 0;
}

/** Counts what there is, once: reloaded weights are the same. */
static void count(struct lg_model *model, uint64_t n_params, uint64_t n_bytes)
{
    if (model->counted)
        return;
    model->n_params += n_params;
    model->weight_bytes += n_bytes;
}

/** Puts bytes of the file on the device. Kernels read 16 bytes at a time, so a copy is padded. */
static int place(struct lg_model *model, uint64_t offset, uint64_t size, struct lg_view *out)
{
    if (model->file_buf) {
        *out = (struct lg_view){.buf = model->file_buf, .offset = offset, .size = size};
        return lg_watch_add(model->env, size);
    }
    struct lg_view room;
    uint64_t padded;
    if (!lg_align_u64(size, 16, &padded))
        return lg_fail_nomem(model->env, "a weight", size);
    static const uint8_t zeros[16];
    LG_TRY(take_room(model, padded, &room));
    LG_TRY(upload(model, room.buf, room.offset, offset, size));
    if (padded > size)
        LG_TRY(lg_upload(model->dev, (struct lg_view){room.buf, room.offset + size, padded - size}, zeros));
    *out = room;
    return 0;
}

static int place_matrix(struct lg_model *model, struct lg_weight *out, const struct lg_gguf_tensor *t,
                        uint32_t first, uint32_t rows, uint32_t cols)
{
    const struct lg_type_info *type = lg_type_info(t->type);
    uint64_t row_bytes = (uint64_t)(cols / type->block_elements) * type->block_bytes;
    *out = (struct lg_weight){.type = t->type, .rows = rows, .cols = cols, .row_bytes = (uint32_t)row_bytes};
    count(model, (uint64_t)rows * cols, rows * row_bytes);
    return place(model, t->offset + first * row_bytes, rows * row_bytes, &out->view);
}

/** Decodes a vector, all of it. */
static int decode(struct lg_model *model, const struct lg_gguf_tensor *t, float *values)
{
    const uint8_t *bytes = t->data;
    uint8_t *copy = NULL;
    int rc = 0;
    if (!bytes) {
        bytes = copy = lg_alloc(model->env, t->size);
        rc = copy ? lg_gguf_fetch(model->gguf, model->env, t->offset, t->size, copy)
                  : lg_fail_nomem(model->env, "a vector", t->size);
    }
    if (rc == 0)
        lg_dequantize(t->type, bytes, values, t->dims[0]);
    lg_free(model->env, copy);
    return rc;
}

/** Vectors are small: they are float32 on the device, whatever the file has. */
static int place_vector(struct lg_model *model, struct lg_weight *out, const struct lg_gguf_tensor *t,
                        uint32_t first, uint32_t cols)
{
    *out = (struct lg_weight){.type = LG_TYPE_F32, .rows = 1, .cols = cols, .row_bytes = cols * 4};
    float *values = lg_alloc_array(model->env, t->dims[0], sizeof(*values));
    if (!values)
        return lg_fail_nomem(model->env, "a vector", t->dims[0] * sizeof(*values));
    struct lg_buffer *buf = NULL;
    int rc = decode(model, t, values);
    if (rc == 0)
        rc = own_buffer(model, cols * sizeof(*values), LG_MEM_DEVICE, &buf);
    if (rc == 0)
        rc = lg_upload(model->dev, lg_view_all(buf), values + first);
    lg_free(model->env, values);
    LG_TRY(rc);
    out->view = lg_view_all(buf);
    count(model, cols, cols * sizeof(*values));
    return lg_watch_add(model->env, first == 0 ? t->size : 0);
}

static int bind(struct lg_model *model, struct lg_weight *out, const char *pattern, uint32_t layer,
                uint32_t first, uint32_t rows, uint32_t all_rows, uint32_t cols, bool optional)
{
    char name[128];
    const struct lg_gguf_tensor *t = find(model, pattern, layer, name, sizeof(name));
    if (!t)
        return optional ? 0 : lg_fail(model->env, LLMGPU_E_FORMAT, "tensor '%s' is missing", name);
    bool vector = cols == 0;
    LG_TRY(vector ? check_shape(model, t, 1, all_rows) : check_shape(model, t, all_rows, cols));
    if (model->taker)
        return model->taker->take(model->taker->user, t, first, rows, cols, out);
    return vector ? place_vector(model, out, t, first, rows) : place_matrix(model, out, t, first, rows, cols);
}

int lg_bind_matrix(struct lg_model *model, struct lg_weight *out, const char *name, uint32_t layer,
                   uint32_t rows, uint32_t cols)
{
    return bind(model, out, name, layer, 0, rows, rows, cols, false);
}

int lg_bind_vector(struct lg_model *model, struct lg_weight *out, const char *name, uint32_t layer,
                   uint32_t cols)
{
    return bind(model, out, name, layer, 0, cols, cols, 0, false);
}

int lg_bind_matrix_if(struct lg_model *model, struct lg_weight *out, const char *name, uint32_t layer,
                      uint32_t rows, uint32_t cols)
{
    return bind(model, out, name, layer, 0, rows, rows, cols, true);
}

int lg_bind_vector_if(struct lg_model *model, struct lg_weight *out, const char *name, uint32_t layer,
                      uint32_t cols)
{
    return bind(model, out, name, layer, 0, cols, cols, 0, true);
}

int lg_bind_rows(struct lg_model *model, struct lg_weight *out, const char *name, uint32_t layer,
                 uint32_t first, uint32_t rows, uint32_t all_rows, uint32_t cols)
{
    return bind(model, out, name, layer, first, rows, all_rows, cols, false);
}
