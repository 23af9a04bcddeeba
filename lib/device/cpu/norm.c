/* SPDX-License-Identifier: MIT
 * Normalisation of rows, a workgroup each:
 *     rms_norm    y = x / sqrt(mean(x^2) + eps) * weight
 *     layer_norm  y = (x - mean(x)) / sqrt(variance(x) + eps) * weight + bias */
#include <math.h>

#include "device/cpu/grid.h"
#include "device/cpu/sum.h"

void lg_cpu_rms_norm(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_norm_push *push = args->push;
    const float *weight = args->view[1];
    uint32_t n = push->n_cols;
    for (uint32_t r = first; r < last; r++) {
        const float *x = (const float *)args->view[0] + (size_t)r * n;
        float *y = (float *)args->view[2] + (size_t)r * n;
        struct lg_sum sum = {0};
        for (uint32_t i = 0; i < n; i++)
            sum.lane[i % LG_SUM_LANES] += (double)x[i] * x[i];
        float scale = (float)(1.0 / sqrt(lg_sum_total(&sum) / n + push->eps));
        for (uint32_t i = 0; i < n; i++)
            y[i] = x[i] * scale * weight[i];
    }
}

void lg_cpu_layer_norm(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_norm_push *push = args->push;
    const float *weight = args->view[1], *bias = args->view[2];
    uint32_t n = push->n_cols;
    for (uint32_t r = first; r < last; r++) {
        const float *x = (const float *)args->view[0] + (size_t)r * n;
        float *y = (float *)args->view[3] + (size_t)r * n;
        struct lg_sum sum = {0}, squares = {0};
        for (uint32_t i = 0; i < n; i++)
            sum.lane[i % LG_SUM_LANES] += x[i];
        double mean = lg_sum_total(&sum) / n;
        for (uint32_t i = 0; i < n; i++)
            squares.lane[i % LG_SUM_LANES] += (x[i] - mean) * (x[i] - mean);
        float scale = (float)(1.0 / sqrt(lg_sum_total(&squares) / n + push->eps));
        for (uint32_t i = 0; i < n; i++)
            y[i] = (x[i] - (float)mean) * scale * weight[i] + bias[i];
    }
}
