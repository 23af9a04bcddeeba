/* SPDX-License-Identifier: MIT
 *
 * Energy from measurements that come now and then: differences of the device's own counter where it has one,
 * else power over time. Time in which neither is known counts as unknown.
 *
 * Thread-safety: one thread at a time.
 */
#ifndef LG_PACER_ENERGY_H
#define LG_PACER_ENERGY_H

#include <stdbool.h>
#include <stdint.h>

/** One measurement of each; a time of 0 means that it is unknown. */
struct lg_energy_sample {
    uint64_t now_ns;               // when it was taken
    uint64_t power_ns, counter_ns; // when these were measured
    double power;                  // watts
    double counter;                // joules
};

/** Zeroed but for max_gap_ns to begin with. */
struct lg_energy {
    uint64_t max_gap_ns; // between two measurements of power for the time between them to be known
    double joules;
    uint64_t begin_ns, end_ns;    // of all samples
    uint64_t covered_ns;          // of the time between, how much joules are of
    uint64_t known_to_ns;         // all that is covered lies before
    struct lg_energy_sample last; // what is known of the past; the times of power and counter are their own
};

struct lg_energy_total {
    double joules;
    uint64_t covered_ns; // the time that they are of
    uint64_t span_ns;    // the time that they should be of
};

void lg_energy_add(struct lg_energy *energy, const struct lg_energy_sample *sample);
void lg_energy_total(const struct lg_energy *energy, struct lg_energy_total *out);
/** What came between two totals of one device. */
struct lg_energy_total lg_energy_between(const struct lg_energy_total *from,
                                         const struct lg_energy_total *to);
/** Share of the time that is covered, 0..1. */
double lg_energy_coverage(const struct lg_energy_total *total);
/**
 * Joules for each of `n` things, such as tokens or steps, that took so many seconds together, at the mean
 * power of the total; false when less than 9/10 of the time is covered.
 */
bool lg_energy_per(const struct lg_energy_total *total, double seconds, uint64_t n, double *joules);

#endif
