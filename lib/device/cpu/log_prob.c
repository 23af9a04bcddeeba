/* SPDX-License-Identifier: MIT
 * The log-probability of each row's target: logit[target] - log(sum(exp(logits))). */
#include <math.h>

#include "device/cpu/exp.h"
#include "device/cpu/grid.h"
#include "device/cpu/sum.h"

void lg_cpu_log_prob(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_rowwise_push *push = args->push;
    const uint32_t *targets = args->view[1];
    float *out = args->view[2];
    for (uint32_t r = first; r < last; r++) {
        const float *logits = (const float *)args->view[0] + (size_t)r * push->n_cols;
        float max = -INFINITY;
        for (uint32_t i = 0; i < push->n_cols; i++)
            max = logits[i] > max ? logits[i] : max;
        struct lg_sum sum = {0};
        for (uint32_t i = 0; i < push->n_cols; i++)
            sum.lane[i % LG_SUM_LANES] += lg_exp(logits[i] - max);
        out[r] = (float)((double)logits[targets[r]] - max - log(lg_sum_total(&sum)));
    }
}
