/* SPDX-License-Identifier: MIT
 * How the learning rate goes: up in a straight line, then on as the schedule says. */
#ifndef LG_TRAIN_SCHEDULE_H
#define LG_TRAIN_SCHEDULE_H

#include <stdint.h>

/** The numbers are those of enum llmgpu_schedule. */
enum lg_schedule_kind { LG_SCHEDULE_CONSTANT = 0, LG_SCHEDULE_LINEAR = 1, LG_SCHEDULE_COSINE = 2, LG_N_SCHEDULES };

struct lg_schedule {
    enum lg_schedule_kind kind;
    double lr, lr_min;
    uint64_t warmup;  // steps
    uint64_t n_steps; // in all
};

/** The rate of step 0, 1, ...; steps behind the last have its successor's, lr_min. */
double lg_schedule_rate(const struct lg_schedule *schedule, uint64_t step);

#endif
