/* SPDX-License-Identifier: MIT
 *
 * A day of a simulated device under a policy.
 */
#ifndef CLI_SIMULATE_H
#define CLI_SIMULATE_H

#include "plant.h"

enum { SIMULATE_MAX_POINTS = 288 };

/** Means and extremes of a stretch of time. */
struct simulate_point {
    float low, high, mean; // degrees
    float speed;           // tokens a second
};

struct simulate_result {
    const struct plant_kind *kind;
    int32_t policy;         // an llmgpu_pace
    double hours;           // simulated
    double target, power;   // that were told; power 0: none
    double held;            // target that was held at the end; below the one that was told if that is the device's own
    double tokens;
    double mean_c, max_c;   // of the die while there is work
    double settled_max_c;   // of these the highest after the first half hour
    double swing_c;         // highest less lowest of five minutes: the mean over those of steady work
    double above_s;         // seconds above the target
    double throttled_s;     // seconds in which the device was slowed down by itself
    double work_s;          // seconds in which there was work to do
    double joules;
    double mean_w;          // over the time with work to do
    double settled_power_w; // the highest mean of five minutes after the first half hour
    uint64_t pauses;
    double pause_s;
    uint32_t n_points;
    struct simulate_point points[SIMULATE_MAX_POINTS];
};

/**
 * Simulates work from the morning on, with a break of ten minutes every four hours.
 *
 * @param params of the pacer; its target and budget are what results are held against
 * @return 0, or as llmgpu_pacer_create()
 */
int simulate(struct simulate_result *out, const struct plant_kind *kind, const llmgpu_pacer_params *params, double hours);

/** "off", "ramp", "control". */
const char *simulate_policy_name(int32_t policy);

/** Draws results of one plant over time. False, with errno, when the file could not be written. */
bool simulate_plot(const char *path, const struct simulate_result *results, uint32_t n);

#endif
