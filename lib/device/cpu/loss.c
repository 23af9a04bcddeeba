/* SPDX-License-Identifier: MIT
 *
 * The loss of a row, -log(softmax(logits)[target]), and what flows back from it. The vocabulary comes in parts, of which
 * loss_part keeps the maximum, the sum of exponentials and the target's logit.
 */
#include <math.h>

#include "device/cpu/exp.h"
#include "device/cpu/grid.h"
#include "device/cpu/sum.h"

void lg_cpu_loss_part(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_loss_push *push = args->push;
    const uint32_t *targets = args->view[1];
    struct lg_loss_state *states = args->view[2];
    for (uint32_t r = first; r < last; r++) {
        const float *logits = (const float *)args->view[0] + (size_t)r * push->n_cols;
        struct lg_loss_state s = push->first ? states[r] : (struct lg_loss_state){.top = -INFINITY};
        float top = s.top;
        for (uint32_t i = 0; i < push->n_cols; i++)
            top = logits[i] > top ? logits[i] : top;
        struct lg_sum sum = {0};
        for (uint32_t i = 0; i < push->n_cols; i++)
            sum.lane[i % LG_SUM_LANES] += lg_exp(logits[i] - top);
        s.sum = (float)(s.sum * lg_exp(s.top - top) + lg_sum_total(&sum));
        s.top = top;
        if (targets[r] - push->first < push->n_cols)
            s.logit = logits[targets[r] - push->first];
        states[r] = s;
    }
}

void lg_cpu_loss_rows(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const uint32_t *targets = args->view[0];
    const struct lg_loss_state *states = args->view[1];
    float *losses = args->view[2];
    for (uint32_t r = first; r < last; r++)
        losses[r] = targets[r] == LG_NO_TARGET ? 0 : states[r].top - states[r].logit + logf(states[r].sum);
}

void lg_cpu_loss_back(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_loss_push *push = args->push;
    const struct lg_train_step *step = args->view[0];
    const uint32_t *targets = args->view[2];
    const struct lg_loss_state *states = args->view[3];
    for (uint32_t g = first; g < last; g++) {
        struct lg_cpu_span s = lg_cpu_span(args, g, args->spec[0], push->n_cols);
        const float *logits = (const float *)args->view[1] + (size_t)s.row * push->n_cols;
        float *dlogits = (float *)args->view[4] + (size_t)s.row * push->n_cols;
        uint32_t target = targets[s.row];
        float factor = target == LG_NO_TARGET ? 0 : step->loss_scale / states[s.row].sum, top = states[s.row].top;
        for (uint32_t i = s.begin; i < s.end; i++) {
            float p = factor * lg_exp(logits[i] - top);
            dlogits[i] = push->first + i == target ? p - step->loss_scale : p;
        }
    }
}
