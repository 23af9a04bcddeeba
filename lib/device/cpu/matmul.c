/* SPDX-License-Identifier: MIT
 * Weights times many rows of x: a workgroup makes a tile of spec[1] weight rows and spec[2] rows of x. spec[3] is the order of
 * sums: that of dot.h, or LG_MATMUL_FORM_BLOCKS. */
#include "device/cpu/matmul_back.h"
#include "device/cpu/weight_row.h"

/* Sums over blocks of columns, and of these in order. */
static float dot_blocks(enum lg_type type, const uint8_t *row, const float *x, uint32_t n)
{
    float y = 0, w[LG_MATMUL_BLOCK];
    for (uint32_t k = 0; k < n; k += LG_MATMUL_BLOCK) {
        uint32_t end = lg_min_u32(k + LG_MATMUL_BLOCK, n);
        float sum = 0;
        lg_weight_row_range(type, row, k, end, w);
        for (uint32_t i = k; i < end; i++)
            sum += w[i - k] * x[i];
        y = k == 0 ? sum : y + sum;
    }
    return y;
}

static void matmul(enum lg_type type, const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_matmul_push *push = args->push;
    const uint32_t *dims = args->view[0];
    const uint8_t *weight = args->view[1];
    const float *x = args->view[2];
    float *y = (float *)args->view[3] + push->row_begin;
    for (uint32_t g = first; g < last; g++) {
        struct lg_cpu_span m = lg_cpu_span(args, g, args->spec[1], push->n_rows);
        uint32_t t_begin = m.row * args->spec[2],
                 t_end = lg_min_u32(t_begin + args->spec[2], dims[push->dim]);
        for (uint32_t i = m.begin; i < m.end; i++) {
            const uint8_t *row = weight + (size_t)i * push->row_bytes;
            for (uint32_t t = t_begin; t < t_end; t++) {
                const float *xt = x + (size_t)t * push->n_cols;
                y[(size_t)t * push->y_stride + i] = args->spec[3] == LG_MATMUL_FORM_BLOCKS
                                                        ? dot_blocks(type, row, xt, push->n_cols)
                                                        : lg_weight_row_dot(type, row, xt, push->n_cols);
            }
        }
    }
}

#define MATMUL(lower, UPPER)                                                                  \
    void lg_cpu_matmul_##lower(const struct lg_cpu_args *args, uint32_t first, uint32_t last) \
    {                                                                                         \
        matmul(LG_TYPE_##UPPER, args, first, last);                                           \
    }
LG_WEIGHT_TYPES(MATMUL)
