/* SPDX-License-Identifier: MIT
 * Adds to each row a row of its own, or the same one to all. */
#include "device/cpu/grid.h"

void lg_cpu_add(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_add_push *push = args->push;
    for (uint32_t g = first; g < last; g++) {
        struct lg_cpu_span s = lg_cpu_span(args, g, args->spec[0], push->n_cols);
        float *x = (float *)args->view[0] + (size_t)s.row * push->n_cols;
        const float *b = (const float *)args->view[1] + (size_t)s.row * push->b_stride;
        for (uint32_t i = s.begin; i < s.end; i++)
            x[i] += b[i];
    }
}
