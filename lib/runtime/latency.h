/* SPDX-License-Identifier: MIT
 *
 * How long things took, as counts in classes whose width is a 32nd of their value at the most: percentiles of any number of
 * them from memory of one size.
 *
 * Thread-safety: one thread at a time.
 */
#ifndef LG_RUNTIME_LATENCY_H
#define LG_RUNTIME_LATENCY_H

#include <stdint.h>

enum { LG_LATENCY_FINE = 32, LG_LATENCY_CLASSES = 60 * LG_LATENCY_FINE };

/** Zeroed to begin with. */
struct lg_latency {
    uint64_t n, max;
    uint64_t counts[LG_LATENCY_CLASSES];
};

void lg_latency_add(struct lg_latency *l, uint64_t us);
/** The least value, up to the width of its class, that so many per cent of all did not pass; 0 when there are none. */
uint64_t lg_latency_percentile(const struct lg_latency *l, unsigned percent);

#endif
