/* SPDX-License-Identifier: MIT
 *
 * Norms backwards. With x' = (x - mean) * factor and g = dy * weight, in RMSNorm without the means of x and g:
 *     norm_back         dx += factor * (g - mean(g) - x' * mean(g x'))
 *     norm_weight_back  dw += sum over the rows of dy x', db += that of dy
 */
#include "device/cpu/norm.h"

#include "device/cpu/grid.h"

static void norm_back(const struct lg_cpu_args *args, bool layer, uint32_t first, uint32_t last)
{
    const struct lg_norm_push *push = args->push;
    size_t n = push->n_cols;
    const float *w = args->view[1];
    for (uint32_t r = first; r < last; r++) {
        const float *x = (const float *)args->view[0] + r * n, *dy = (const float *)args->view[2] + r * n;
        float *dx = (float *)args->view[3] + r * n, *kept = (float *)args->view[4] + 2 * (size_t)r;
        struct lg_cpu_norm norm = lg_cpu_norm_of(x, n, push->eps, w, layer ? w : NULL);
        struct lg_sum plain = {0}, products = {0};
        kept[0] = layer ? norm.mean : 0;
        kept[1] = norm.scale;
        for (size_t i = 0; i < n; i++) {
            float g = dy[i] * w[i];
            plain.lane[i % LG_SUM_LANES] += g;
            products.lane[i % LG_SUM_LANES] += g * ((x[i] - kept[0]) * kept[1]);
        }
        float mean = layer ? (float)(lg_sum_total(&plain) / (double)n) : 0;
        float slope = (float)(lg_sum_total(&products) / (double)n);
        for (size_t i = 0; i < n; i++)
            dx[i] += kept[1] * (dy[i] * w[i] - mean - (x[i] - kept[0]) * kept[1] * slope);
    }
}

void lg_cpu_rms_norm_back(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    norm_back(args, false, first, last);
}

void lg_cpu_layer_norm_back(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    norm_back(args, true, first, last);
}

static void norm_weight_back(const struct lg_cpu_args *args, float *db, uint32_t first, uint32_t last)
{
    const struct lg_column_push *push = args->push;
    uint32_t n_t = ((const uint32_t *)args->view[0])[push->dim];
    const float *x = args->view[1], *dy = args->view[2], *kept = args->view[3];
    float *dw = args->view[4];
    for (uint32_t g = first; g < last; g++) {
        struct lg_cpu_span s = lg_cpu_span(args, g, args->spec[0], push->n_cols);
        for (uint32_t i = s.begin; i < s.end; i++) {
            float sum = 0, plain = 0;
            for (size_t t = 0; t < n_t; t++) {
                float d = dy[t * push->n_cols + i];
                sum += d * ((x[t * push->n_cols + i] - kept[2 * t]) * kept[2 * t + 1]);
                plain += d;
            }
            dw[i] += sum;
            if (db)
                db[i] += plain;
        }
    }
}

void lg_cpu_rms_norm_weight_back(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    norm_weight_back(args, NULL, first, last);
}

void lg_cpu_layer_norm_weight_back(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    norm_weight_back(args, args->view[5], first, last);
}
