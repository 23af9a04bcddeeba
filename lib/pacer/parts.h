/* SPDX-License-Identifier: MIT
 *
 * What the files of the pacer share.
 */
#ifndef LG_PACER_PARTS_H
#define LG_PACER_PARTS_H

#include <pthread.h>

#include "pacer/laws.h"
#include "pacer/pacer.h"

enum { LG_PACE_MAX_US = 10000000 };

/** What came of a limit, of the temperature or the power. */
struct lg_limit {
    double mean;        // smoothed
    double lost;        // seconds since the last measurement
    double last_duty;   // as it was then
    bool ever, known;   // measured some time; now
    bool hot;           // when it was lost it was near the target, or being paced
    bool critical;      // reached it, and has not been below the target since
    struct lg_pi pi;
};

struct lg_pacer {
    pthread_mutex_t lock;
    llmgpu_pacer_params params;
    llmgpu_pacer_stats stats;  // with the goal and the reading
    double device_limit;       // last known; 0: never
    double power_limit;        // last known
    bool lowered;              // the goal's target, as the device's own limit is not above what was asked for
    bool begun;                // observed once
    bool on_battery;           // as last known
    uint64_t now_us;           // the latest time that it was told
    uint64_t seen_us;          // of the reading, as it was told or looked at again
    uint64_t seen_worked_us;   // stats.worked_us then, with what was done of the next slice
    uint64_t resumed_us;       // end of the last pause
    uint64_t slice_us;         // length of the last slice
    struct lg_limit heat, power;
    struct lg_thermal thermal;
    struct lg_die die;
    double die_seconds, die_worked; // since the last reading that it was given
    double duty;               // in force, by the laws that are shares
    double fixed_us;           // and by those that are times
    double owed_us;            // of pauses too short to be made
};

/* ---- decide.c */

/**
 * Finds duty and fixed_us anew, `dt` seconds after the last time, in which `worked` seconds were of work; `fresh`: with a
 * new reading.
 */
void lg_pacer_decide(struct lg_pacer *pacer, bool fresh, double dt, double worked);
/** The share of the time with work, of laws that are shares and of what holds whatever the law. */
double lg_pacer_share(const struct lg_pacer *pacer);

#endif
