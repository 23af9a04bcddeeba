/* SPDX-License-Identifier: MIT */
#include "train/schedule.h"

#include <math.h>

double lg_schedule_rate(const struct lg_schedule *s, uint64_t step)
{
    const double pi = 3.14159265358979323846;
    if (step < s->warmup)
        return s->lr * (double)(step + 1) / (double)s->warmup;
    if (s->kind == LG_SCHEDULE_CONSTANT)
        return s->lr;
    if (step >= s->n_steps)
        return s->lr_min;
    double done = (double)(step - s->warmup) / (double)(s->n_steps - s->warmup);
    double left = s->kind == LG_SCHEDULE_LINEAR ? 1 - done : 0.5 * (1 + cos(pi * done));
    return s->lr_min + (s->lr - s->lr_min) * left;
}
