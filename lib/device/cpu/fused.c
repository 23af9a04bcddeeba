/* SPDX-License-Identifier: MIT
 * The steps of a layer for few rows of x, each put together from the kernels that it stands for. A workgroup
 * makes spec[0] * spec[1] rows of the matrices, as matvec; no device of this kind prefers them, so they are
 * the reference only. In the forms of 8 bits x is rounded before it meets the weights. */
#include "device/cpu/activation.h"
#include "device/cpu/weight_row.h"

/** The norm of row t of x, as spec[3] says: view[first] is x, then the norm's weight and bias. */
static struct lg_cpu_norm norm_of(const struct lg_cpu_args *args, uint32_t first, const float *x, uint32_t n,
                                  float eps)
{
    const float *bias = args->spec[3] & LG_FUSED_LAYER_NORM ? args->view[first + 2] : NULL;
    return lg_cpu_norm_of(x, n, eps, args->view[first + 1], bias);
}

/* ---- q, k and v */

/** A row of the matrices one below the other. */
struct place {
    uint32_t matrix, row;
};

static struct place place_of(const struct lg_qkv_push *push, uint32_t i)
{
    struct place p = {.row = i};
    while (p.row >= push->n_rows[p.matrix])
        p.row -= push->n_rows[p.matrix++];
    uint32_t j = p.row % push->head_dim;
    if (p.matrix < 2 && push->flags & LG_QKV_HALVES && j < push->n_rot) // the two of a pair are neighbours
        p.row += j / 2 + j % 2 * (push->n_rot / 2) - j;
    return p;
}

/** Where element `place` of row t belongs. */
static float *target_of(const struct lg_cpu_args *args, uint32_t t, struct place place)
{
    const struct lg_qkv_push *push = args->push;
    const struct lg_row *row = (const struct lg_row *)args->view[0] + t;
    const uint32_t *pages = (const uint32_t *)args->view[1] + (size_t)row->slot * push->max_pages;
    size_t at = t;
    if (place.matrix && !(push->flags & LG_QKV_APART))
        at = (size_t)pages[row->pos / push->page_size] * push->page_size + row->pos % push->page_size;
    return (float *)args->view[10 + place.matrix] + at * push->n_rows[place.matrix] + place.row;
}

/** Rotates *a and *b, the first of which is at `place`. */
static void rotate(const struct lg_cpu_args *args, uint32_t t, struct place place, float *a, float *b)
{
    const struct lg_qkv_push *push = args->push;
    uint32_t pos = ((const struct lg_row *)args->view[0])[t].pos, j = place.row % push->head_dim;
    if (place.matrix == 2 || j >= push->n_rot)
        return;
    const float *table = (const float *)args->view[2] + (size_t)pos * push->n_rot;
    uint32_t pair = push->flags & LG_QKV_HALVES ? j : j / 2;
    float cos = table[2 * pair], sin = table[2 * pair + 1], rotated = *a * cos - *b * sin;
    *b = *a * sin + *b * cos;
    *a = rotated;
}

static float qkv_element(enum lg_type type, bool int8, const struct lg_cpu_args *args, const struct lg_cpu_norm *norm,
                         uint32_t t, struct place place)
{
    const struct lg_qkv_push *push = args->push;
    const uint8_t *w =
        (const uint8_t *)args->view[6] + push->at[place.matrix] + (size_t)place.row * push->row_bytes;
    const float *x = (const float *)args->view[3] + (size_t)t * push->n_cols;
    float sum = lg_weight_row_dot_norm(type, w, norm, x, push->n_cols, int8);
    if (!(push->flags & LG_QKV_BIAS(place.matrix)))
        return sum;
    size_t row = push->flags & LG_QKV_EACH ? t : 0;
    return sum + ((const float *)args->view[7 + place.matrix])[row * push->n_rows[place.matrix] + place.row];
}

static void qkv(enum lg_type type, bool int8, const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_qkv_push *push = args->push;
    uint32_t n_all = push->n_rows[0] + push->n_rows[1] + push->n_rows[2];
    for (uint32_t g = first; g < last; g++) {
        struct lg_cpu_span s = lg_cpu_span(args, g, args->spec[0] * args->spec[1], n_all);
        const float *x = (const float *)args->view[3] + (size_t)s.row * push->n_cols;
        struct lg_cpu_norm norm = norm_of(args, 3, x, push->n_cols, push->eps);
        for (uint32_t i = s.begin; i < s.end; i += 2) {
            struct place at_a = place_of(push, i), at_b = place_of(push, i + 1 < s.end ? i + 1 : i);
            float a = qkv_element(type, int8, args, &norm, s.row, at_a);
            float b = qkv_element(type, int8, args, &norm, s.row, at_b);
            rotate(args, s.row, at_a, &a, &b);
            *target_of(args, s.row, at_a) = a;
            if (i + 1 < s.end)
                *target_of(args, s.row, at_b) = b;
        }
    }
}

/* ---- projections into the residual stream */

static void project(enum lg_type type, bool int8, const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_project_push *push = args->push;
    const uint8_t *weight = args->view[0];
    for (uint32_t g = first; g < last; g++) {
        struct lg_cpu_span s = lg_cpu_span(args, g, args->spec[0] * args->spec[1], push->n_rows);
        const float *y = (const float *)args->view[1] + (size_t)s.row * push->n_cols;
        const float *bias = args->view[2];
        float *x = (float *)args->view[3] + (size_t)s.row * push->n_rows;
        for (uint32_t m = s.begin; m < s.end; m++) {
            const uint8_t *row = weight + (size_t)m * push->row_bytes;
            float sum = lg_weight_row_dot_norm(type, row, NULL, y, push->n_cols, int8);
            x[m] += push->bias ? sum + bias[m] : sum;
        }
    }
}

/* ---- the first half of a feed-forward, and the head */

/** The bias of row m for row t of x, in the view and of the kind that the push constants say. */
static float ffn_bias(const struct lg_cpu_args *args, int view, uint32_t kind, uint32_t t, uint32_t m)
{
    const struct lg_ffn_push *push = args->push;
    const float *bias = args->view[view];
    return kind == 0 ? 0 : bias[kind == 2 ? (size_t)t * push->n_rows + m : m];
}

static float ffn_element(enum lg_type type, bool int8, const struct lg_cpu_args *args, const struct lg_cpu_norm *norm,
                         uint32_t t, uint32_t m)
{
    const struct lg_ffn_push *push = args->push;
    const float *x = (const float *)args->view[0] + (size_t)t * push->n_cols;
    const uint8_t *row = (const uint8_t *)args->view[3] + (size_t)m * push->row_bytes;
    float up = lg_weight_row_dot_norm(type, row + push->up_at, norm, x, push->n_cols, int8);
    up += ffn_bias(args, 5, push->up_bias, t, m);
    if (args->spec[3] & LG_FUSED_GELU)
        return lg_cpu_gelu_of(up);
    if (!(args->spec[3] & LG_FUSED_GATED))
        return up;
    float gate = lg_weight_row_dot_norm(type, row + push->gate_at, norm, x, push->n_cols, int8);
    gate += ffn_bias(args, 4, push->gate_bias, t, m);
    return lg_cpu_silu(gate) * up;
}

static void ffn(enum lg_type type, bool int8, const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_ffn_push *push = args->push;
    uint32_t rows_each = args->spec[3] & LG_FUSED_GATED ? 2 : 1;
    for (uint32_t g = first; g < last; g++) {
        struct lg_cpu_span s = lg_cpu_span(args, g, args->spec[0] * args->spec[1] / rows_each, push->n_rows);
        const float *x = (const float *)args->view[0] + (size_t)s.row * push->n_cols;
        float *y = (float *)args->view[6] + (size_t)s.row * push->n_rows;
        struct lg_cpu_norm norm = norm_of(args, 0, x, push->n_cols, push->eps);
        for (uint32_t m = s.begin; m < s.end; m++)
            y[m] = ffn_element(type, int8, args, &norm, s.row, m);
    }
}

#define FUSED(name, lower, UPPER)                                                                  \
    void lg_cpu_##name##_##lower(const struct lg_cpu_args *args, uint32_t first, uint32_t last)    \
    {                                                                                              \
        name(LG_TYPE_##UPPER, false, args, first, last);                                           \
    }
#define FUSED_I8(name, lower, UPPER)                                                               \
    void lg_cpu_##name##_i8_##lower(const struct lg_cpu_args *args, uint32_t first, uint32_t last) \
    {                                                                                              \
        name(LG_TYPE_##UPPER, true, args, first, last);                                            \
    }
#define ALL_FUSED(lower, UPPER) FUSED(qkv, lower, UPPER) FUSED(project, lower, UPPER) FUSED(ffn, lower, UPPER)
#define ALL_FUSED_I8(lower, UPPER) \
    FUSED_I8(qkv, lower, UPPER) FUSED_I8(project, lower, UPPER) FUSED_I8(ffn, lower, UPPER)
LG_WEIGHT_TYPES(ALL_FUSED)
LG_BLOCK_TYPES(ALL_FUSED_I8)
