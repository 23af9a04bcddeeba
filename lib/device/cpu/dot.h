/* SPDX-License-Identifier: MIT
 *
 * The dot product of the CPU device: element k goes to lane k % 32, in ascending order, and the lanes are
 * added pairwise. It vectorises at any width, and all versions of a kernel give the same bits. Private to
 * lib/device/cpu.
 */
#ifndef LG_DEVICE_CPU_DOT_H
#define LG_DEVICE_CPU_DOT_H

#include <stddef.h>

enum { LG_DOT_LANES = 32 };

struct lg_dot {
    float lane[LG_DOT_LANES];
};

/** Adds n products; n is a multiple of LG_DOT_LANES in all calls but the last. */
static inline void lg_dot_add(struct lg_dot *acc, const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        acc->lane[i % LG_DOT_LANES] += a[i] * b[i];
}

static inline float lg_dot_sum(struct lg_dot *acc)
{
    for (int half = LG_DOT_LANES / 2; half > 0; half /= 2) {
        for (int i = 0; i < half; i++)
            acc->lane[i] += acc->lane[i + half];
    }
    return acc->lane[0];
}

#endif
