/* SPDX-License-Identifier: MIT
 *
 * Vectors of the instruction set that a file is compiled for: floats as wide as its registers, and 16 bytes.
 * GNU vector types do nearly all; intrinsics stand where compilers do not find the widening instruction.
 * Private to lib/device/cpu.
 */
#ifndef LG_DEVICE_CPU_SIMD_H
#define LG_DEVICE_CPU_SIMD_H

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include <stdbool.h>

#include "gguf/quants.h"

#define INLINE static inline __attribute__((always_inline))

#if defined(__AVX512F__)
enum { VEC = 16 }; // floats in a register
#elif defined(__AVX2__)
enum { VEC = 8 };
#else
enum { VEC = 4 };
#endif

typedef float vec __attribute__((vector_size(VEC * sizeof(float))));

typedef uint8_t u8x16 __attribute__((vector_size(16)));
typedef int8_t i8x16 __attribute__((vector_size(16)));
typedef uint16_t u16x8 __attribute__((vector_size(16)));
typedef int16_t i16x8 __attribute__((vector_size(16)));
typedef uint32_t u32x4 __attribute__((vector_size(16)));
typedef int32_t i32x4 __attribute__((vector_size(16)));
typedef float f32x4 __attribute__((vector_size(16)));

INLINE vec load(const float *p)
{
    vec v;
    memcpy(&v, p, sizeof(v));
    return v;
}

INLINE void store(float *p, vec v)
{
    memcpy(p, &v, sizeof(v));
}

INLINE u8x16 load_bytes(const void *p)
{
    u8x16 v;
    memcpy(&v, p, sizeof(v));
    return v;
}

/* Shifts bytes in pairs: the bits that come from the neighbour are for the caller to mask. */
INLINE u8x16 shift_down(u8x16 v, int bits)
{
    return (u8x16)((u16x8)v >> bits);
}

/* 16 floats. */
struct floats {
    vec part[16 / VEC];
};

#if defined(__AVX512F__)

INLINE struct floats to_floats(i8x16 q)
{
    return (struct floats){{(vec)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32((__m128i)q))}};
}

#elif defined(__AVX2__)

INLINE struct floats to_floats(i8x16 q)
{
    __m128i low = (__m128i)q, high = _mm_unpackhi_epi64(low, low);
    return (struct floats){{
        (vec)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(low)),
        (vec)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(high)),
    }};
}

#elif defined(__aarch64__)

INLINE struct floats to_floats(i8x16 q)
{
    int16x8_t low = vmovl_s8(vget_low_s8((int8x16_t)q)), high = vmovl_high_s8((int8x16_t)q);
    return (struct floats){{
        (vec)vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))),
        (vec)vcvtq_f32_s32(vmovl_high_s16(low)),
        (vec)vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))),
        (vec)vcvtq_f32_s32(vmovl_high_s16(high)),
    }};
}

#else

/* Bytes become the upper ones of words that are then shifted down with their sign. */
INLINE f32x4 words_to_floats(i16x8 q, bool high)
{
    i32x4 wide = high ? (i32x4)__builtin_shufflevector((i16x8){0}, q, 0, 12, 1, 13, 2, 14, 3, 15)
                      : (i32x4)__builtin_shufflevector((i16x8){0}, q, 0, 8, 1, 9, 2, 10, 3, 11);
    return __builtin_convertvector(wide >> 16, f32x4);
}

INLINE struct floats to_floats(i8x16 q)
{
    i8x16 zero = {0};
    i16x8 low =
        (i16x8)__builtin_shufflevector(zero, q, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    i16x8 high =
        (i16x8)__builtin_shufflevector(zero, q, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    low >>= 8;
    high >>= 8;
    return (struct floats){{
        words_to_floats(low, false),
        words_to_floats(low, true),
        words_to_floats(high, false),
        words_to_floats(high, true),
    }};
}

#endif

/* ---- 16-bit floats ------------------------------------------------------------------------------ */

INLINE float half_to_float(const void *src)
{
#ifdef __aarch64__
    __fp16 h;
#else
    uint16_t h;
#endif
    memcpy(&h, src, sizeof(h));
#if defined(__aarch64__)
    return h;
#elif defined(__F16C__)
    return _cvtsh_ss(h);
#else
    return lg_f16_to_f32(h);
#endif
}

#if defined(__aarch64__)

INLINE void halves_to_floats(const void *src, float *y)
{
    float16x8_t h = vreinterpretq_f16_u16(vld1q_u16(src));
    vst1q_f32(y, vcvt_f32_f16(vget_low_f16(h)));
    vst1q_f32(y + 4, vcvt_high_f32_f16(h));
}

#elif defined(__F16C__)

INLINE void halves_to_floats(const void *src, float *y)
{
    _mm256_storeu_ps(y, _mm256_cvtph_ps(_mm_loadu_si128(src)));
}

#else

/* As lg_f16_to_f32(), with selections for branches. */
INLINE f32x4 widen_halves(u32x4 h)
{
    u32x4 sign = (h & 0x8000u) << 16, mag = h & 0x7fffu;
    u32x4 special = (u32x4)(mag >= 0x7c00u) & 112u << 23, is_subnormal = (u32x4)(mag < 0x0400u);
    u32x4 normal = (mag << 13) + (112u << 23) + special;
    u32x4 subnormal = (u32x4)(__builtin_convertvector((i32x4)mag, f32x4) * 0x1p-24f);
    return (f32x4)(sign | (is_subnormal & subnormal) | (~is_subnormal & normal));
}

/* Eight of them. */
INLINE void halves_to_floats(const void *src, float *y)
{
    u16x8 h = (u16x8)load_bytes(src), zero = {0};
    f32x4 low = widen_halves((u32x4)__builtin_shufflevector(h, zero, 0, 8, 1, 9, 2, 10, 3, 11));
    f32x4 high = widen_halves((u32x4)__builtin_shufflevector(h, zero, 4, 12, 5, 13, 6, 14, 7, 15));
    memcpy(y, &low, sizeof(low));
    memcpy(y + 4, &high, sizeof(high));
}

#endif

/* As many numbers as a register of floats has. */

INLINE vec load_halves(const uint8_t *src)
{
#if defined(__AVX512F__)
    return (vec)_mm512_cvtph_ps(_mm256_loadu_si256((const void *)src));
#elif defined(__AVX2__)
    return (vec)_mm256_cvtph_ps(_mm_loadu_si128((const void *)src));
#else
    uint8_t both[16] = {0};
    float y[8];
    memcpy(both, src, 2 * VEC);
    halves_to_floats(both, y);
    return load(y);
#endif
}

INLINE vec load_bfloats(const uint8_t *src)
{
    typedef uint16_t shorts __attribute__((vector_size(VEC * sizeof(uint16_t))));
    typedef uint32_t words __attribute__((vector_size(VEC * sizeof(uint32_t))));
    shorts h;
    memcpy(&h, src, sizeof(h));
    return (vec)(__builtin_convertvector(h, words) << 16);
}

#endif
