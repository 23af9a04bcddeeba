/* SPDX-License-Identifier: MIT
 * Sums memory as 32-bit words, to measure how fast it can be read. */
#include "device/cpu/grid.h"

void lg_cpu_read_sum(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_read_sum_push *push = args->push;
    uint32_t *sums = args->view[1];
    uint64_t share = (uint64_t)lg_div_up(push->n_words / 4, args->grid[0]) * 4;
    for (uint32_t g = first; g < last; g++) {
        uint64_t begin = g * share, end = begin + share;
        if (end > push->n_words)
            end = push->n_words;
        const uint32_t *words = args->view[0];
        uint32_t sum = 0;
        for (uint64_t i = begin; i < end; i++)
            sum += words[i];
        sums[g] = sum;
    }
}
