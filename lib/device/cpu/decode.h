/* SPDX-License-Identifier: MIT
 *
 * Decoding of weights, 16 at a time: the same arithmetic as lg_dequantize(), bit for bit. Included by hot.c,
 * which is compiled for several instruction sets. Private to lib/device/cpu.
 */
#ifndef LG_DEVICE_CPU_DECODE_H
#define LG_DEVICE_CPU_DECODE_H

#include "device/cpu/simd.h"

/* Makes constants of the shifts and offsets that follow from the number of a block's part. */
#define UNROLL _Pragma("GCC unroll 16")

INLINE void emit(float *y, i8x16 q, float scale)
{
    struct floats f = to_floats(q);
    for (int i = 0; i < 16 / VEC; i++)
        store(y + i * VEC, f.part[i] * scale);
}

INLINE void emit_shifted(float *y, i8x16 q, float scale, float shift)
{
    struct floats f = to_floats(q);
    for (int i = 0; i < 16 / VEC; i++)
        store(y + i * VEC, f.part[i] * scale + shift);
}

/* Bits number `bit` of 16 bytes, as 0 or `value`. */
INLINE i8x16 pick_bit(u8x16 bytes, int bit, int8_t value)
{
    uint8_t mask = (uint8_t)(1u << bit);
    return (i8x16)((bytes & mask) == mask) & value;
}

/* 16 bits as bytes of 0 or `value`. */
INLINE i8x16 spread_bits(const uint8_t *bits, int8_t value)
{
#if defined(__AVX512F__)
    uint16_t mask;
    memcpy(&mask, bits, sizeof(mask));
    return (i8x16)_mm_maskz_set1_epi8(mask, value);
#else
    const u8x16 each = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    uint16_t both;
    memcpy(&both, bits, sizeof(both));
    u8x16 pairs = (u8x16)((u16x8){0} + both); // 0 1 0 1 ...
    u16x8 doubled =
        (u16x8)__builtin_shufflevector(pairs, pairs, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    u8x16 repeated = (u8x16)__builtin_shufflevector(doubled, doubled, 0, 0, 0, 0, 1, 1, 1, 1);
    return (i8x16)((repeated & each) == each) & value;
#endif
}

/* ---- plain numbers ------------------------------------------------------------------------------ */

static void decode_f32(const uint8_t *src, float *y, size_t n)
{
    memcpy(y, src, n * sizeof(*y));
}

static void decode_f16(const uint8_t *src, float *y, size_t n)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        halves_to_floats(src + 2 * i, y + i);
    for (; i < n; i++)
        y[i] = half_to_float(src + 2 * i);
}

static void decode_bf16(const uint8_t *restrict src, float *restrict y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, src + 2 * i, sizeof(h));
        y[i] = lg_bf16_to_f32(h);
    }
}

/* ---- blocks of 32 ------------------------------------------------------------------------------- */

static void decode_q4_0(const uint8_t *src, float *y, size_t n)
{
    for (; n > 0; n -= 32, y += 32, src += 18) { // d, 16 bytes of nibbles
        float d = half_to_float(src);
        u8x16 q = load_bytes(src + 2);
        emit(y, (i8x16)(q & 15) - 8, d);
        emit(y + 16, (i8x16)(shift_down(q, 4) & 15) - 8, d);
    }
}

static void decode_q4_1(const uint8_t *src, float *y, size_t n)
{
    for (; n > 0; n -= 32, y += 32, src += 20) { // d, m, nibbles
        float d = half_to_float(src), m = half_to_float(src + 2);
        u8x16 q = load_bytes(src + 4);
        emit_shifted(y, (i8x16)(q & 15), d, m);
        emit_shifted(y + 16, (i8x16)(shift_down(q, 4) & 15), d, m);
    }
}

static void decode_q5_0(const uint8_t *src, float *y, size_t n)
{
    for (; n > 0; n -= 32, y += 32, src += 22) { // d, 4 bytes of fifth bits, nibbles
        float d = half_to_float(src);
        u8x16 q = load_bytes(src + 6);
        emit(y, ((i8x16)(q & 15) | spread_bits(src + 2, 16)) - 16, d);
        emit(y + 16, ((i8x16)(shift_down(q, 4) & 15) | spread_bits(src + 4, 16)) - 16, d);
    }
}

static void decode_q5_1(const uint8_t *src, float *y, size_t n)
{
    for (; n > 0; n -= 32, y += 32, src += 24) { // d, m, 4 bytes of fifth bits, nibbles
        float d = half_to_float(src), m = half_to_float(src + 2);
        u8x16 q = load_bytes(src + 8);
        emit_shifted(y, (i8x16)(q & 15) | spread_bits(src + 4, 16), d, m);
        emit_shifted(y + 16, (i8x16)(shift_down(q, 4) & 15) | spread_bits(src + 6, 16), d, m);
    }
}

static void decode_q8_0(const uint8_t *src, float *y, size_t n)
{
    for (; n > 0; n -= 32, y += 32, src += 34) { // d, 32 signed bytes
        float d = half_to_float(src);
        emit(y, (i8x16)load_bytes(src + 2), d);
        emit(y + 16, (i8x16)load_bytes(src + 18), d);
    }
}

/* ---- blocks of 256 ------------------------------------------------------------------------------ */

static void decode_q2_k(const uint8_t *src, float *y, size_t n)
{
    for (; n > 0; n -= 256, src += 84) { // 16 scales and mins, 64 bytes of 2-bit weights, d, dmin
        float d = half_to_float(src + 80), dmin = half_to_float(src + 82);
        UNROLL
        for (int part = 0; part < 16; part++, y += 16) {
            u8x16 q = load_bytes(src + 16 + part / 8 * 32 + part % 2 * 16);
            float scale = d * (float)(src[part] & 15), min = dmin * (float)(src[part] >> 4);
            emit_shifted(y, (i8x16)(shift_down(q, part % 8 / 2 * 2) & 3), scale, -min);
        }
    }
}

static void decode_q3_k(const uint8_t *src, float *y, size_t n)
{
    for (; n > 0; n -= 256, src += 110) { // 32 bytes of third bits, 64 of 2-bit weights, 12 of scales, d
        const uint8_t *packed = src + 96;
        float d = half_to_float(src + 108);
        UNROLL
        for (int part = 0; part < 16; part++, y += 16) {
            u8x16 q = load_bytes(src + 32 + part / 8 * 32 + part % 2 * 16);
            u8x16 third = load_bytes(src + part % 2 * 16);
            int low4 = part < 8 ? packed[part] & 15 : packed[part - 8] >> 4;
            int scale = low4 | (packed[8 + part % 4] >> part / 4 * 2 & 3) << 4;
            i8x16 low2 = (i8x16)(shift_down(q, part % 8 / 2 * 2) & 3);
            emit(y, (low2 | pick_bit(third, part / 2, 4)) - 4, d * (float)(scale - 32));
        }
    }
}

/* Scale and min number i of the eight that Q4_K and Q5_K pack into 12 bytes. */
INLINE void unpack_scale_min(const uint8_t *packed, int i, int *scale, int *min)
{
    if (i < 4) {
        *scale = packed[i] & 63;
        *min = packed[i + 4] & 63;
    } else {
        *scale = (packed[i + 4] & 15) | packed[i - 4] >> 6 << 4;
        *min = packed[i + 4] >> 4 | packed[i] >> 6 << 4;
    }
}

static void decode_q4_k(const uint8_t *src, float *y, size_t n)
{
    for (; n > 0; n -= 256, src += 144) { // d, dmin, 12 bytes of scales and mins, 128 of nibbles
        float d = half_to_float(src), dmin = half_to_float(src + 2);
        UNROLL
        for (int part = 0; part < 8; part++, y += 32) {
            const uint8_t *q = src + 16 + part / 2 * 32;
            int scale, min, shift = part % 2 * 4;
            unpack_scale_min(src + 4, part, &scale, &min);
            float d1 = d * (float)scale, m1 = dmin * (float)min;
            emit_shifted(y, (i8x16)(shift_down(load_bytes(q), shift) & 15), d1, -m1);
            emit_shifted(y + 16, (i8x16)(shift_down(load_bytes(q + 16), shift) & 15), d1, -m1);
        }
    }
}

static void decode_q5_k(const uint8_t *src, float *y, size_t n)
{
    for (; n > 0; n -= 256, src += 176) { // as Q4_K, with 32 bytes of fifth bits before the nibbles
        float d = half_to_float(src), dmin = half_to_float(src + 2);
        UNROLL
        for (int part = 0; part < 8; part++, y += 32) {
            const uint8_t *q = src + 48 + part / 2 * 32;
            int scale, min, shift = part % 2 * 4;
            unpack_scale_min(src + 4, part, &scale, &min);
            float d1 = d * (float)scale, m1 = dmin * (float)min;
            i8x16 a = (i8x16)(shift_down(load_bytes(q), shift) & 15);
            i8x16 b = (i8x16)(shift_down(load_bytes(q + 16), shift) & 15);
            emit_shifted(y, a | pick_bit(load_bytes(src + 16), part, 16), d1, -m1);
            emit_shifted(y + 16, b | pick_bit(load_bytes(src + 32), part, 16), d1, -m1);
        }
    }
}

static void decode_q6_k(const uint8_t *src, float *y, size_t n)
{
    for (; n > 0; n -= 256, src += 210) { // 128 bytes of nibbles, 64 of high 2 bits, 16 signed scales, d
        const int8_t *scales = (const int8_t *)src + 192;
        float d = half_to_float(src + 208);
        UNROLL
        for (int part = 0; part < 16; part++, y += 16) {
            int half = part / 8, quarter = part % 8 / 2, column = part % 2 * 16;
            u8x16 low = load_bytes(src + half * 64 + quarter % 2 * 32 + column);
            u8x16 high = load_bytes(src + 128 + half * 32 + column);
            u8x16 q = (shift_down(low, quarter / 2 * 4) & 15) | (shift_down(high, quarter * 2) & 3) << 4;
            emit(y, (i8x16)q - 32, d * (float)scales[part]);
        }
    }
}

#endif
