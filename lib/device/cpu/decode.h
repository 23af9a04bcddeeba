/* SPDX-License-Identifier: MIT
 *
 * Decoding of weights in loops that compilers vectorise: the same arithmetic as lg_dequantize(), bit for bit.
 * Included by hot.c, which is compiled for several instruction sets. Private to lib/device/cpu.
 */
#ifndef LG_DEVICE_CPU_DECODE_H
#define LG_DEVICE_CPU_DECODE_H

#ifdef __F16C__
#include <immintrin.h>
#endif

#include "gguf/quants.h"

static inline float decode_half(const uint8_t *src)
{
    uint16_t h;
    memcpy(&h, src, sizeof(h));
#ifdef __F16C__
    return _cvtsh_ss(h);
#else
    return lg_f16_to_f32(h);
#endif
}

static inline void decode_f32(const uint8_t *restrict src, float *restrict y, size_t n)
{
    memcpy(y, src, n * sizeof(*y));
}

static inline void decode_f16(const uint8_t *restrict src, float *restrict y, size_t n)
{
    size_t i = 0;
#ifdef __F16C__
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(y + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(src + 2 * i))));
#endif
    for (; i < n; i++)
        y[i] = decode_half(src + 2 * i);
}

static inline void decode_bf16(const uint8_t *restrict src, float *restrict y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, src + 2 * i, sizeof(h));
        uint32_t bits = (uint32_t)h << 16;
        memcpy(y + i, &bits, sizeof(bits));
    }
}

/* ---- blocks of 32 -------------------------------------------------------------------------------- */

static inline void decode_q4_0(const uint8_t *restrict src, float *restrict y, size_t n)
{
    for (; n > 0; n -= 32, y += 32, src += 18) { // d, 16 bytes of nibbles
        float d = decode_half(src);
        const uint8_t *q = src + 2;
        for (int i = 0; i < 16; i++) {
            y[i] = (float)((q[i] & 15) - 8) * d;
            y[i + 16] = (float)((q[i] >> 4) - 8) * d;
        }
    }
}

static inline void decode_q4_1(const uint8_t *restrict src, float *restrict y, size_t n)
{
    for (; n > 0; n -= 32, y += 32, src += 20) { // d, m, nibbles
        float d = decode_half(src), m = decode_half(src + 2);
        const uint8_t *q = src + 4;
        for (int i = 0; i < 16; i++) {
            y[i] = (float)(q[i] & 15) * d + m;
            y[i + 16] = (float)(q[i] >> 4) * d + m;
        }
    }
}

/* The fifth bits of a block: bit i of `high` belongs to weight i. */
static inline void join_fifth_bits(const uint8_t *restrict nibbles, uint32_t high, int32_t *restrict q)
{
    for (int i = 0; i < 16; i++) {
        q[i] = (int32_t)((nibbles[i] & 15u) | (high >> i & 1) << 4);
        q[i + 16] = (int32_t)((nibbles[i] >> 4) | (high >> 16 >> i & 1) << 4);
    }
}

static inline void decode_q5_0(const uint8_t *restrict src, float *restrict y, size_t n)
{
    for (; n > 0; n -= 32, y += 32, src += 22) { // d, fifth bits, nibbles
        float d = decode_half(src);
        uint32_t high;
        int32_t q[32];
        memcpy(&high, src + 2, sizeof(high));
        join_fifth_bits(src + 6, high, q);
        for (int i = 0; i < 32; i++)
            y[i] = (float)(q[i] - 16) * d;
    }
}

static inline void decode_q5_1(const uint8_t *restrict src, float *restrict y, size_t n)
{
    for (; n > 0; n -= 32, y += 32, src += 24) { // d, m, fifth bits, nibbles
        float d = decode_half(src), m = decode_half(src + 2);
        uint32_t high;
        int32_t q[32];
        memcpy(&high, src + 4, sizeof(high));
        join_fifth_bits(src + 8, high, q);
        for (int i = 0; i < 32; i++)
            y[i] = (float)q[i] * d + m;
    }
}

static inline void decode_q8_0(const uint8_t *restrict src, float *restrict y, size_t n)
{
    for (; n > 0; n -= 32, y += 32, src += 34) { // d, 32 signed bytes
        float d = decode_half(src);
        const int8_t *q = (const int8_t *)src + 2;
        for (int i = 0; i < 32; i++)
            y[i] = (float)q[i] * d;
    }
}

/* ---- blocks of 256 ------------------------------------------------------------------------------- */

static inline void decode_q2_k(const uint8_t *restrict src, float *restrict y, size_t n)
{
    for (; n > 0; n -= 256, src += 84) { // 16 scales and mins, 64 bytes of 2-bit weights, d, dmin
        float d = decode_half(src + 80), dmin = decode_half(src + 82);
        for (int part = 0; part < 16; part++, y += 16) {
            const uint8_t *q = src + 16 + part / 8 * 32 + part % 2 * 16;
            float scale = d * (float)(src[part] & 15), min = dmin * (float)(src[part] >> 4);
            int shift = part % 8 / 2 * 2;
            for (int i = 0; i < 16; i++)
                y[i] = scale * (float)(q[i] >> shift & 3) - min;
        }
    }
}

static inline void decode_q3_k(const uint8_t *restrict src, float *restrict y, size_t n)
{
    for (; n > 0; n -= 256, src += 110) { // 32 bytes of third bits, 64 of 2-bit weights, 12 of scales, d
        const uint8_t *packed = src + 96;
        float d = decode_half(src + 108);
        for (int part = 0; part < 16; part++, y += 16) {
            const uint8_t *q = src + 32 + part / 8 * 32 + part % 2 * 16, *high = src + part % 2 * 16;
            int low4 = part < 8 ? packed[part] & 15 : packed[part - 8] >> 4;
            int scale = low4 | (packed[8 + part % 4] >> part / 4 * 2 & 3) << 4;
            float dl = d * (float)(scale - 32);
            int shift = part % 8 / 2 * 2, bit = part / 2;
            for (int i = 0; i < 16; i++)
                y[i] = dl * (float)((q[i] >> shift & 3) + (high[i] >> bit & 1) * 4 - 4);
        }
    }
}

/* Scale and min number i of the eight that Q4_K and Q5_K pack into 12 bytes. */
static inline void unpack_scale_min(const uint8_t *packed, int i, int *scale, int *min)
{
    if (i < 4) {
        *scale = packed[i] & 63;
        *min = packed[i + 4] & 63;
    } else {
        *scale = (packed[i + 4] & 15) | packed[i - 4] >> 6 << 4;
        *min = packed[i + 4] >> 4 | packed[i] >> 6 << 4;
    }
}

static inline void decode_q4_k(const uint8_t *restrict src, float *restrict y, size_t n)
{
    for (; n > 0; n -= 256, src += 144) { // d, dmin, 12 bytes of scales and mins, 128 of nibbles
        float d = decode_half(src), dmin = decode_half(src + 2);
        for (int part = 0; part < 8; part++, y += 32) {
            const uint8_t *q = src + 16 + part / 2 * 32;
            int scale, min, shift = part % 2 * 4;
            unpack_scale_min(src + 4, part, &scale, &min);
            float d1 = d * (float)scale, m1 = dmin * (float)min;
            for (int i = 0; i < 32; i++)
                y[i] = d1 * (float)(q[i] >> shift & 15) - m1;
        }
    }
}

static inline void decode_q5_k(const uint8_t *restrict src, float *restrict y, size_t n)
{
    for (; n > 0;
         n -= 256, src += 176) { // d, dmin, 12 bytes of scales and mins, 32 of fifth bits, 128 of nibbles
        float d = decode_half(src), dmin = decode_half(src + 2);
        const uint8_t *high = src + 16;
        for (int part = 0; part < 8; part++, y += 32) {
            const uint8_t *q = src + 48 + part / 2 * 32;
            int scale, min, shift = part % 2 * 4;
            unpack_scale_min(src + 4, part, &scale, &min);
            float d1 = d * (float)scale, m1 = dmin * (float)min;
            for (int i = 0; i < 32; i++)
                y[i] = d1 * (float)((q[i] >> shift & 15) + (high[i] >> part & 1) * 16) - m1;
        }
    }
}

static inline void decode_q6_k(const uint8_t *restrict src, float *restrict y, size_t n)
{
    for (; n > 0; n -= 256, src += 210) { // 128 bytes of nibbles, 64 of high 2 bits, 16 signed scales, d
        const int8_t *scales = (const int8_t *)src + 192;
        float d = decode_half(src + 208);
        for (int part = 0; part < 16; part++, y += 16) {
            int half = part / 8, quarter = part % 8 / 2, column = part % 2 * 16;
            const uint8_t *low = src + half * 64 + quarter % 2 * 32 + column;
            const uint8_t *high = src + 128 + half * 32 + column;
            float scale = d * (float)scales[part];
            int low_shift = quarter / 2 * 4, high_shift = quarter * 2;
            for (int i = 0; i < 16; i++)
                y[i] = scale * (float)((low[i] >> low_shift & 15) + (high[i] >> high_shift & 3) * 16 - 32);
        }
    }
}

#endif
