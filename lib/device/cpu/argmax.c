/* SPDX-License-Identifier: MIT
 * The largest logit of each row and the lowest index that has it; NaN is never it. */
#include <math.h>

#include "device/cpu/grid.h"

void lg_cpu_argmax(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_sample_push *push = args->push;
    struct lg_cpu_best *best = args->view[1];
    for (uint32_t r = first; r < last; r++) {
        const float *logits = (const float *)args->view[0] + (size_t)r * push->n_vocab;
        struct lg_cpu_best b = {.index = 0, .value = -INFINITY};
        for (uint32_t i = 0; i < push->n_vocab; i++) {
            if (logits[i] > b.value)
                b = (struct lg_cpu_best){.index = i, .value = logits[i]};
        }
        best[r] = b;
    }
}
