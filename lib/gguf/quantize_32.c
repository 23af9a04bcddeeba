/* SPDX-License-Identifier: MIT
 * The types with blocks of 32 weights. */
#include "gguf/quantize_fit.h"
#include "gguf/quantize_table.h"

enum { BLOCK = 32 };

#define SHARE 0.5f // of the mean square, in what a weight counts

static void store_u16(uint8_t *b, uint16_t h)
{
    b[0] = (uint8_t)h;
    b[1] = (uint8_t)(h >> 8);
}

/** 1 / d where d is a scale; no scale is below what a float16 nearly holds. */
static float inverse(float d)
{
    return fabsf(d) > LG_FIT_LEAST ? 1 / d : 0;
}

/** False, and a block that decodes to what is not finite, when weights are too large or not finite. */
INLINE bool has_room(const float *x, uint8_t *b, size_t size, float *magnitude)
{
    *magnitude = fit_magnitude(x, BLOCK);
    memset(b, 0, size);
    if (*magnitude <= LG_FIT_LARGEST)
        return true;
    store_u16(b, 0x7c00);
    memset(b + 2, 0x11, size - 2); // a weight of 0 would be NaN or 0
    return false;
}

/** The first weight of this magnitude. */
static float find(const float *x, float magnitude)
{
    for (int i = 0; i < BLOCK; i++)
        if (fabsf(x[i]) == magnitude)
            return x[i];
    return 0;
}

/* The extreme weight has the code -8, which is exact; the others are rounded for the scale before that is a float16. */
static void quantize_q4_0(const float *x, uint8_t *b)
{
    float top;
    if (!has_room(x, b, 18, &top))
        return;
    float d = find(x, top) / -8, to_code = inverse(d);
    store_u16(b, lg_f32_to_f16(d));
    for (int i = 0; i < BLOCK; i++) {
        int code = (int)(x[i] * to_code + 8.5f);
        b[2 + i % 16] |= (uint8_t)((code < 15 ? code : 15) << i / 16 * 4);
    }
}

/** The fifth bits as one word and the others as nibbles. */
static void store_q5(const float *q, float offset, uint8_t *high, uint8_t *low)
{
    for (int i = 0; i < BLOCK; i++) {
        int code = (int)(q[i] + offset);
        high[i / 8] |= (uint8_t)(code >> 4 << i % 8);
        low[i % 16] |= (uint8_t)((code & 15) << i / 16 * 4);
    }
}

static void quantize_q5_0(const float *x, uint8_t *b)
{
    float q[BLOCK], w[BLOCK], top;
    if (!has_room(x, b, 22, &top))
        return;
    fit_importance(x, BLOCK, SHARE, w);
    uint16_t d = lg_f32_to_f16(fit_around(x, w, BLOCK, 16, false, 1, 0.5f));
    fit_codes(x, BLOCK, 0, inverse(lg_f16_to_f32(d)), -16, 15, q);
    store_u16(b, d);
    store_q5(q, 16, b + 2, b + 6);
}

/** Scale and minimum of a block as float16, and the codes for these. */
INLINE void fit_block(const float *x, float levels, uint8_t *b, float *q)
{
    float w[BLOCK];
    fit_importance(x, BLOCK, SHARE, w);
    struct fit_line line = fit_between(x, w, BLOCK, levels, false, 1, 0.5f);
    uint16_t d = lg_f32_to_f16(line.scale), m = lg_f32_to_f16(-line.min);
    fit_codes(x, BLOCK, lg_f16_to_f32(m), inverse(lg_f16_to_f32(d)), 0, levels, q);
    store_u16(b, d);
    store_u16(b + 2, m);
}

static void quantize_q4_1(const float *x, uint8_t *b)
{
    float q[BLOCK], top;
    if (!has_room(x, b, 20, &top))
        return;
    fit_block(x, 15, b, q);
    for (int i = 0; i < BLOCK; i++)
        b[4 + i % 16] |= (uint8_t)((int)q[i] << i / 16 * 4);
}

static void quantize_q5_1(const float *x, uint8_t *b)
{
    float q[BLOCK], top;
    if (!has_room(x, b, 24, &top))
        return;
    fit_block(x, 31, b, q);
    store_q5(q, 0, b + 4, b + 8);
}

/* Rounds halves away from 0, as the format's reference does. */
static void quantize_q8_0(const float *x, uint8_t *b)
{
    float top;
    if (!has_room(x, b, 34, &top))
        return;
    float d = top / 127, to_code = inverse(d);
    store_u16(b, lg_f32_to_f16(d));
    for (int i = 0; i < BLOCK; i += 8) {
        f32x8 v = fit_load(x + i) * to_code;
        i32x8 whole = __builtin_convertvector(v, i32x8);
        f32x8 rest = v - __builtin_convertvector(whole, f32x8);
        whole -= rest >= 0.5f; // true is -1
        whole += rest <= -0.5f;
        for (int k = 0; k < 8; k++)
            b[2 + i + k] = (uint8_t)whole[k];
    }
}

lg_quantize_table QUANTIZE_TABLE = {
    [LG_TYPE_Q4_0] = quantize_q4_0, [LG_TYPE_Q4_1] = quantize_q4_1, [LG_TYPE_Q5_0] = quantize_q5_0,
    [LG_TYPE_Q5_1] = quantize_q5_1, [LG_TYPE_Q8_0] = quantize_q8_0,
};

void DECODE_F16(const uint8_t *src, float *y, size_t n)
{
    typedef uint16_t u16x8 __attribute__((vector_size(16)));
    typedef uint32_t u32x8 __attribute__((vector_size(32)));
    for (size_t i = 0; i + 8 <= n; i += 8) {
        u16x8 packed;
        memcpy(&packed, src + 2 * i, sizeof(packed));
        u32x8 h = __builtin_convertvector(packed, u32x8), sign = (h & 0x8000u) << 16, mag = h & 0x7fffu;
        u32x8 special = (u32x8)(mag >= 0x7c00u) & 112u << 23, is_subnormal = (u32x8)(mag < 0x0400u);
        u32x8 normal = (mag << 13) + (112u << 23) + special;
        u32x8 subnormal = (u32x8)(__builtin_convertvector((i32x8)mag, f32x8) * 0x1p-24f);
        fit_store(y + i, (f32x8)(sign | (is_subnormal & subnormal) | (~is_subnormal & normal)));
    }
    for (size_t i = n / 8 * 8; i < n; i++)
        y[i] = lg_f16_to_f32((uint16_t)(src[2 * i] | src[2 * i + 1] << 8));
}
