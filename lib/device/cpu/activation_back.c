/* SPDX-License-Identifier: MIT
 * Activations backwards, element by element, and what else of training is so: scale_add, dropout. */
#include "device/cpu/activation.h"

#include "device/cpu/grid.h"
#include "random.h"

void lg_cpu_silu_mul_back(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_rowwise_push *push = args->push;
    for (uint32_t g = first; g < last; g++) {
        struct lg_cpu_span s = lg_cpu_span(args, g, args->spec[0], push->n_cols);
        size_t row = (size_t)s.row * push->n_cols;
        const float *gate = (const float *)args->view[0] + row, *up = (const float *)args->view[1] + row;
        const float *df = (const float *)args->view[2] + row;
        float *dgate = (float *)args->view[3] + row, *dup = (float *)args->view[4] + row;
        for (uint32_t i = s.begin; i < s.end; i++) {
            struct lg_cpu_slope f = lg_cpu_silu_slope(gate[i]);
            float u = up[i];
            dgate[i] = df[i] * u * f.slope;
            dup[i] = df[i] * f.value;
        }
    }
}

void lg_cpu_gelu_back(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_rowwise_push *push = args->push;
    for (uint32_t g = first; g < last; g++) {
        struct lg_cpu_span s = lg_cpu_span(args, g, args->spec[0], push->n_cols);
        size_t row = (size_t)s.row * push->n_cols;
        const float *x = (const float *)args->view[0] + row, *dy = (const float *)args->view[1] + row;
        float *dx = (float *)args->view[2] + row;
        for (uint32_t i = s.begin; i < s.end; i++)
            dx[i] = dy[i] * lg_cpu_gelu_slope(x[i]);
    }
}

void lg_cpu_scale_add(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_scale_add_push *push = args->push;
    for (uint32_t g = first; g < last; g++) {
        struct lg_cpu_span s = lg_cpu_span(args, g, args->spec[0], push->n_cols);
        const float *x = (const float *)args->view[0] + (size_t)s.row * push->n_cols;
        float *y = (float *)args->view[1] + (size_t)s.row * push->n_cols;
        for (uint32_t i = s.begin; i < s.end; i++)
            y[i] += push->scale * x[i];
    }
}

void lg_cpu_dropout(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_dropout_push *push = args->push;
    const struct lg_train_step *step = args->view[0];
    for (uint32_t g = first; g < last; g++) {
        struct lg_cpu_span s = lg_cpu_span(args, g, args->spec[0], push->n_cols);
        const float *x = (const float *)args->view[1] + (size_t)s.row * push->n_cols;
        float *y = (float *)args->view[2] + (size_t)s.row * push->n_cols;
        lg_uint row = lg_random_row(lg_random_draw(step->seed_lo, step->seed_hi, step->draw), push->site, s.row);
        for (uint32_t i = s.begin; i < s.end; i++)
            y[i] = lg_random_mix(row + i) < push->drop ? 0 : x[i] * push->scale;
    }
}
