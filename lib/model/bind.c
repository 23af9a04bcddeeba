/* SPDX-License-Identifier: MIT
 *
 * Tensors of the file become weights on the device: read in place where the device can, copied once
 * otherwise.
 */
#include "model/loader.h"

#include <stdio.h>

#include "gguf/quants.h"
#include "util/checked.h"

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

static int own_buffer(struct lg_model *model, uint64_t size, struct lg_buffer **out)
{
    if (model->n_bufs == model->cap_bufs) {
        uint32_t cap = model->cap_bufs ? 2 * model->cap_bufs : 64;
        struct lg_buffer **bufs = lg_resize(model->env, model->bufs, cap * sizeof(*bufs));
        if (!bufs)
            return lg_fail_nomem(model->env, "the list of weights", cap * sizeof(*bufs));
        model->bufs = bufs;
        model->cap_bufs = cap;
    }
    LG_TRY(lg_buffer_create(model->dev, size, LG_MEM_DEVICE, out));
    model->bufs[model->n_bufs++] = *out;
    return 0;
}

/** Puts `size` bytes on the device. Kernels read 16 bytes at a time, so a copy is padded. */
static int place(struct lg_model *model, const void *data, uint64_t size, struct lg_view *out)
{
    if (model->file_buf) {
        uint64_t offset = (uint64_t)((const uint8_t *)data - model->gguf->file);
        *out = (struct lg_view){.buf = model->file_buf, .offset = offset, .size = size};
    } else {
        struct lg_buffer *buf;
        uint64_t padded;
        if (!lg_align_u64(size, 16, &padded))
            return lg_fail_nomem(model->env, "a weight", size);
        LG_TRY(own_buffer(model, padded, &buf));
        LG_TRY(lg_upload(model->dev, (struct lg_view){.buf = buf, .size = size}, data));
        *out = (struct lg_view){.buf = buf, .size = padded};
    }
    model->weight_bytes += size;
    return 0;
}

static int place_matrix(struct lg_model *model, struct lg_weight *out, const struct lg_gguf_tensor *t,
                        uint32_t first, uint32_t rows, uint32_t cols)
{
    const struct lg_type_info *type = lg_type_info(t->type);
    uint64_t row_bytes = (uint64_t)(cols / type->block_elements) * type->block_bytes;
    *out = (struct lg_weight){.type = t->type, .rows = rows, .cols = cols, .row_bytes = (uint32_t)row_bytes};
    model->n_params += (uint64_t)rows * cols;
    return place(model, t->data + first * row_bytes, rows * row_bytes, &out->view);
}

/** Vectors are small: they are float32 on the device, whatever the file has. */
static int place_vector(struct lg_model *model, struct lg_weight *out, const struct lg_gguf_tensor *t,
                        uint32_t first, uint32_t cols)
{
    *out = (struct lg_weight){.type = LG_TYPE_F32, .rows = 1, .cols = cols, .row_bytes = cols * 4};
    float *values = lg_alloc_array(model->env, t->dims[0], sizeof(*values));
    if (!values)
        return lg_fail_nomem(model->env, "a vector", t->dims[0] * sizeof(*values));
    lg_dequantize(t->type, t->data, values, t->dims[0]);
    struct lg_buffer *buf;
    int rc = own_buffer(model, cols * sizeof(*values), &buf);
    if (rc == 0)
        rc = lg_upload(model->dev, lg_view_all(buf), values + first);
    lg_free(model->env, values);
    LG_TRY(rc);
    out->view = lg_view_all(buf);
    model->n_params += cols;
    model->weight_bytes += cols * sizeof(*values);
    return 0;
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
