/* SPDX-License-Identifier: MIT
 * Copies rows of 32-bit words, and zeroes them. */
#include <string.h>

#include "device/cpu/grid.h"

void lg_cpu_copy(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_rowwise_push *push = args->push;
    for (uint32_t g = first; g < last; g++) {
        struct lg_cpu_span s = lg_cpu_span(args, g, args->spec[0], push->n_cols);
        size_t at = (size_t)s.row * push->n_cols + s.begin;
        memcpy((uint32_t *)args->view[1] + at, (const uint32_t *)args->view[0] + at,
               (s.end - s.begin) * sizeof(uint32_t));
    }
}

void lg_cpu_zero(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_rowwise_push *push = args->push;
    for (uint32_t g = first; g < last; g++) {
        struct lg_cpu_span s = lg_cpu_span(args, g, args->spec[0], push->n_cols);
        memset((uint32_t *)args->view[0] + (size_t)s.row * push->n_cols + s.begin, 0, (s.end - s.begin) * sizeof(uint32_t));
    }
}
