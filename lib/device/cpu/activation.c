/* SPDX-License-Identifier: MIT
 * Activations, element by element:
 *     silu_mul  y = gate / (1 + exp(-gate)) * up
 *     gelu      y = x / 2 * (1 + tanh(u)) = x / (1 + exp(-2 u)), u = sqrt(2 / pi) * (x + 0.044715 x^3) */
#include "device/cpu/activation.h"

#include "device/cpu/grid.h"

void lg_cpu_silu_mul(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_rowwise_push *push = args->push;
    for (uint32_t g = first; g < last; g++) {
        struct lg_cpu_span s = lg_cpu_span(args, g, args->spec[0], push->n_cols);
        size_t row = (size_t)s.row * push->n_cols;
        const float *gate = (const float *)args->view[0] + row, *up = (const float *)args->view[1] + row;
        float *y = (float *)args->view[2] + row;
        for (uint32_t i = s.begin; i < s.end; i++)
            y[i] = lg_cpu_silu(gate[i]) * up[i];
    }
}

void lg_cpu_gelu(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_rowwise_push *push = args->push;
    for (uint32_t g = first; g < last; g++) {
        struct lg_cpu_span s = lg_cpu_span(args, g, args->spec[0], push->n_cols);
        const float *x = (const float *)args->view[0] + (size_t)s.row * push->n_cols;
        float *y = (float *)args->view[1] + (size_t)s.row * push->n_cols;
        for (uint32_t i = s.begin; i < s.end; i++)
            y[i] = lg_cpu_gelu_of(x[i]);
    }
}
