/* SPDX-License-Identifier: MIT
 * Weights times a row of x: a workgroup makes spec[0] * spec[1] elements of the y of row grid y. */
#include "device/cpu/weight_row.h"

static void matvec(enum lg_type type, const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_matmul_push *push = args->push;
    const uint8_t *weight = args->view[0];
    for (uint32_t g = first; g < last; g++) {
        struct lg_cpu_span s = lg_cpu_span(args, g, args->spec[0] * args->spec[1], push->n_rows);
        const float *x = (const float *)args->view[1] + (size_t)s.row * push->n_cols;
        float *y = (float *)args->view[2] + (size_t)s.row * push->y_stride + push->row_begin;
        for (uint32_t m = s.begin; m < s.end; m++)
            y[m] = lg_weight_row_dot(type, weight + (size_t)m * push->row_bytes, x, push->n_cols);
    }
}

#define MATVEC(lower, UPPER)                                                                  \
    void lg_cpu_matvec_##lower(const struct lg_cpu_args *args, uint32_t first, uint32_t last) \
    {                                                                                         \
        matvec(LG_TYPE_##UPPER, args, first, last);                                           \
    }
LG_WEIGHT_TYPES(MATVEC)
