/* SPDX-License-Identifier: MIT */
#ifndef LG_UTIL_CLOCK_H
#define LG_UTIL_CLOCK_H

#include <stdint.h>
#include <time.h>

/** Nanoseconds of a clock that never goes back. */
static inline uint64_t lg_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

#endif
