/* SPDX-License-Identifier: MIT
 * Softmax of rows, a workgroup each. */
#include <math.h>

#include "device/cpu/grid.h"

void lg_cpu_softmax(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_rowwise_push *push = args->push;
    uint32_t n = push->n_cols;
    for (uint32_t r = first; r < last; r++) {
        const float *x = (const float *)args->view[0] + (size_t)r * n;
        float *y = (float *)args->view[1] + (size_t)r * n;
        float max = -INFINITY;
        for (uint32_t i = 0; i < n; i++)
            max = x[i] > max ? x[i] : max;
        double sum = 0;
        for (uint32_t i = 0; i < n; i++) {
            y[i] = expf(x[i] - max);
            sum += y[i];
        }
        float scale = (float)(1.0 / sum);
        for (uint32_t i = 0; i < n; i++)
            y[i] *= scale;
    }
}
