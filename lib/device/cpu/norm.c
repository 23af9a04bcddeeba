/* SPDX-License-Identifier: MIT
 * Normalisation of rows, a workgroup each:
 *     rms_norm    y = x / sqrt(mean(x^2) + eps) * weight
 *     layer_norm  y = (x - mean(x)) / sqrt(variance(x) + eps) * weight + bias */
#include "device/cpu/norm.h"

#include "device/cpu/grid.h"

static void normalise_rows(const struct lg_cpu_args *args, const float *bias, float *y, uint32_t first,
                           uint32_t last)
{
    const struct lg_norm_push *push = args->push;
    size_t n = push->n_cols;
    for (uint32_t r = first; r < last; r++) {
        const float *x = (const float *)args->view[0] + r * n;
        struct lg_cpu_norm norm = lg_cpu_norm_of(x, n, push->eps, args->view[1], bias);
        lg_cpu_normalise(&norm, x, 0, n, y + r * n);
    }
}

void lg_cpu_rms_norm(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    normalise_rows(args, NULL, args->view[2], first, last);
}

void lg_cpu_layer_norm(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    normalise_rows(args, args->view[2], args->view[3], first, last);
}
