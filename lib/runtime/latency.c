/* SPDX-License-Identifier: MIT */
#include "runtime/latency.h"

/** Small values have a class each; above, each power of two is divided into as many as that. */
static uint32_t class_of(uint64_t us)
{
    if (us < LG_LATENCY_FINE)
        return (uint32_t)us;
    uint32_t shift = 63 - 5 - (uint32_t)__builtin_clzll(us);
    return LG_LATENCY_FINE * shift + (uint32_t)(us >> shift);
}

/** The largest value of a class. */
static uint64_t last_of(uint32_t class)
{
    if (class < LG_LATENCY_FINE)
        return class;
    uint32_t shift = class / LG_LATENCY_FINE - 1;
    uint64_t first = (uint64_t)(class % LG_LATENCY_FINE + LG_LATENCY_FINE) << shift;
    return first + ((UINT64_C(1) << shift) - 1);
}

void lg_latency_add(struct lg_latency *l, uint64_t us)
{
    l->counts[class_of(us)]++;
    l->n++;
    if (us > l->max)
        l->max = us;
}

uint64_t lg_latency_percentile(const struct lg_latency *l, unsigned percent)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < LG_LATENCY_CLASSES && l->n; i++) {
        n += l->counts[i];
        if (n > 0 && n * 100 >= percent * l->n)
            return last_of(i) < l->max ? last_of(i) : l->max;
    }
    return l->max;
}
