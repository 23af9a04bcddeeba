/* SPDX-License-Identifier: MIT
 *
 * What numbers are once kernels/quantize.glsl has rounded them to 8 bits, in blocks of 32 with a scale each: in the steps of a
 * layer of a GPU, where no lane sees more of x than a block. Private to lib/device/cpu.
 */
#ifndef LG_DEVICE_CPU_ROUND_I8_H
#define LG_DEVICE_CPU_ROUND_I8_H

#include <math.h>
#include <stdint.h>

/** A block of n elements; one that has a NaN or an infinity becomes NaN, one of nothing but subnormal numbers 0. */
static inline void lg_round_i8_block(float *x, uint32_t n)
{
    float largest = 0;
    for (uint32_t i = 0; i < n && isfinite(largest); i++)
        largest = isfinite(x[i]) ? fmaxf(largest, fabsf(x[i])) : NAN;
    float scale = largest / 127, inverse = scale >= 0x1p-126f ? 1 / scale : 0;
    for (uint32_t i = 0; i < n; i++)
        x[i] = isnan(scale) ? scale : inverse > 0 ? scale * rintf(x[i] * inverse) : 0;
}

static inline void lg_round_i8(float *x, uint32_t n)
{
    for (uint32_t k = 0; k < n; k += 32)
        lg_round_i8_block(x + k, n - k < 32 ? n - k : 32);
}

#endif
