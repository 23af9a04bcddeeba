/* SPDX-License-Identifier: MIT
 *
 * The exponential of the CPU device, in plain float32 operations that vectorise at any width (simd_math.h has
 * the same for vectors), so that all versions of a kernel give the same bits. Within 1 ulp of the exact
 * value; results below 2^-125 are 0. Private to lib/device/cpu.
 */
#ifndef LG_DEVICE_CPU_EXP_H
#define LG_DEVICE_CPU_EXP_H

#include <stdint.h>
#include <string.h>

#define LG_EXP_LOW -86.6f      // of what is less the exponential is 0
#define LG_EXP_HIGH 89.0f      // of what is more it is infinite
#define LG_EXP_ROUND 0x1.8p23f // added to a small number it leaves the nearest integer in the lowest bits
#define LG_EXP_LOG2E 0x1.715476p+0f
#define LG_EXP_LN2_HIGH 0x1.62e4p-1f // its products with small integers are exact
#define LG_EXP_LN2_LOW 0x1.7f7d1cp-20f
/* 2 exp(r) = 2 + 2 r + r^2 + C3 r^3 + ... for |r| <= log(2) / 2 */
#define LG_EXP_C3 0.33333153f
#define LG_EXP_C4 0.083333105f
#define LG_EXP_C5 0.016726466f
#define LG_EXP_C6 0.00278525f

/** exp(n log(2) + r) = 2 exp(r) * 2^(n - 1) */
static inline float lg_exp(float x)
{
    float within = x < LG_EXP_LOW ? LG_EXP_LOW : x;
    within = within > LG_EXP_HIGH ? LG_EXP_HIGH : within;
    float rounded = within * LG_EXP_LOG2E + LG_EXP_ROUND, n = rounded - LG_EXP_ROUND;
    float r = (within - n * LG_EXP_LN2_HIGH) - n * LG_EXP_LN2_LOW;
    float y = LG_EXP_C6 * r + LG_EXP_C5;
    y = y * r + LG_EXP_C4;
    y = y * r + LG_EXP_C3;
    y = y * r + 1.0f;
    y = y * r + 2.0f;
    y = y * r + 2.0f;
    uint32_t bits;
    float power;
    memcpy(&bits, &rounded, sizeof(bits));
    bits = (bits + 126) << 23;
    memcpy(&power, &bits, sizeof(power));
    return x < LG_EXP_LOW ? 0.0f : y * power;
}

#endif
