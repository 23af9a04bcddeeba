/* SPDX-License-Identifier: MIT
 * What vectors of floats need beside + and *: selection, the exponential of exp.h, reductions. Private to
 * lib/device/cpu. */
#ifndef LG_DEVICE_CPU_SIMD_MATH_H
#define LG_DEVICE_CPU_SIMD_MATH_H

#ifdef __SSE2__
#include <immintrin.h>
#endif

#include "device/cpu/dot.h"
#include "device/cpu/exp.h"
#include "device/cpu/simd.h"

typedef int32_t ivec __attribute__((vector_size(VEC * sizeof(int32_t))));
typedef uint32_t uvec __attribute__((vector_size(VEC * sizeof(uint32_t))));

INLINE vec splat(float x)
{
    return x - (vec){0};
}

/* a where the mask has ones, b where it has zeros. */
INLINE vec choose(ivec mask, vec a, vec b)
{
    return (vec)((mask & (ivec)a) | (~mask & (ivec)b));
}

/* a > b ? a : b and a < b ? a : b, so b where one is NaN. */
#if defined(__AVX512F__)
INLINE vec vec_max(vec a, vec b)
{
    return (vec)_mm512_max_ps((__m512)a, (__m512)b);
}
INLINE vec vec_min(vec a, vec b)
{
    return (vec)_mm512_min_ps((__m512)a, (__m512)b);
}
#elif defined(__AVX2__)
INLINE vec vec_max(vec a, vec b)
{
    return (vec)_mm256_max_ps((__m256)a, (__m256)b);
}
INLINE vec vec_min(vec a, vec b)
{
    return (vec)_mm256_min_ps((__m256)a, (__m256)b);
}
#elif defined(__SSE2__)
INLINE vec vec_max(vec a, vec b)
{
    return (vec)_mm_max_ps((__m128)a, (__m128)b);
}
INLINE vec vec_min(vec a, vec b)
{
    return (vec)_mm_min_ps((__m128)a, (__m128)b);
}
#else
INLINE vec vec_max(vec a, vec b)
{
    return choose(a > b, a, b);
}
INLINE vec vec_min(vec a, vec b)
{
    return choose(a < b, a, b);
}
#endif

/* lg_exp() of each. */
INLINE vec exp_vec(vec x)
{
    vec within = vec_min(splat(LG_EXP_HIGH), vec_max(splat(LG_EXP_LOW), x));
    vec rounded = within * LG_EXP_LOG2E + LG_EXP_ROUND, n = rounded - LG_EXP_ROUND;
    vec r = (within - n * LG_EXP_LN2_HIGH) - n * LG_EXP_LN2_LOW;
    vec y = LG_EXP_C6 * r + LG_EXP_C5;
    y = y * r + LG_EXP_C4;
    y = y * r + LG_EXP_C3;
    y = y * r + 1.0f;
    y = y * r + 2.0f;
    y = y * r + 2.0f;
    vec power = (vec)(((uvec)rounded + 126) << 23);
    return (vec)(~(x < LG_EXP_LOW) & (ivec)(y * power));
}

/* ---- reductions, in the order of lg_dot_sum(): lane i and lane i + half, until one is left
 * --------------------- */

typedef float f32x8 __attribute__((vector_size(32)));

INLINE f32x4 fold_add(vec v)
{
#if defined(__AVX512F__)
    f32x8 half = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
                 __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
    return __builtin_shufflevector(half, half, 0, 1, 2, 3) + __builtin_shufflevector(half, half, 4, 5, 6, 7);
#elif defined(__AVX2__)
    return __builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7);
#else
    return v;
#endif
}

INLINE float sum_vec(vec v)
{
    f32x4 quarter = fold_add(v);
    return (quarter[0] + quarter[2]) + (quarter[1] + quarter[3]);
}

INLINE float max_vec(vec v)
{
    float lane[VEC], max = lane[0] = v[0];
    store(lane, v);
    for (int i = 1; i < VEC; i++)
        max = lane[i] > max ? lane[i] : max;
    return max;
}

/* lg_dot_sum() of lanes in registers. */
INLINE float sum_lanes(const vec lane[LG_DOT_LANES / VEC])
{
    vec sum[LG_DOT_LANES / VEC];
    for (int i = 0; i < LG_DOT_LANES / VEC; i++)
        sum[i] = lane[i];
    for (int half = LG_DOT_LANES / VEC / 2; half > 0; half /= 2) {
        for (int i = 0; i < half; i++)
            sum[i] += sum[i + half];
    }
    return sum_vec(sum[0]);
}

#endif
