/* SPDX-License-Identifier: MIT
 * The types with blocks of 32 weights. */
#include "gguf/quantize_fit.h"
#include "gguf/quantize_table.h"

enum { BLOCK = 32 };

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
static bool has_room(const float *x, uint8_t *b, size_t size)
{
    float largest = 0;
    bool finite = true;
    for (int i = 0; i < BLOCK; i++) {
        largest = fmaxf(largest, fabsf(x[i]));
        finite &= isfinite(x[i]) != 0;
    }
    memset(b, 0, size);
    if (finite && largest <= LG_FIT_LARGEST)
        return true;
    store_u16(b, 0x7c00);
    memset(b + 2, 0x11, size - 2); // a weight of 0 would be NaN or 0
    return false;
}

/** The weight with the largest magnitude; the first of them. */
static float extreme(const float *x)
{
    float top = 0;
    for (int i = 0; i < BLOCK; i++)
        if (fabsf(x[i]) > fabsf(top))
            top = x[i];
    return top;
}

/* The extreme weight has the code -8, which is exact; the others are rounded for the scale before that is a float16. */
static void quantize_q4_0(const float *x, uint8_t *b)
{
    if (!has_room(x, b, 18))
        return;
    float d = extreme(x) / -8, to_code = inverse(d);
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
    float q[BLOCK];
    if (!has_room(x, b, 22))
        return;
    uint16_t d = lg_f32_to_f16(fit_around(x, BLOCK, 16, false, 1, 0.5f));
    fit_codes(x, BLOCK, 0, inverse(lg_f16_to_f32(d)), -16, 15, q);
    store_u16(b, d);
    store_q5(q, 16, b + 2, b + 6);
}

/** Scale and minimum of a block as float16, and the codes for these. */
INLINE void fit_block(const float *x, float levels, uint8_t *b, float *q)
{
    struct fit_line line = fit_between(x, BLOCK, levels, false, 1, 0.5f);
    uint16_t d = lg_f32_to_f16(line.scale), m = lg_f32_to_f16(-line.min);
    fit_codes(x, BLOCK, lg_f16_to_f32(m), inverse(lg_f16_to_f32(d)), 0, levels, q);
    store_u16(b, d);
    store_u16(b + 2, m);
}

static void quantize_q4_1(const float *x, uint8_t *b)
{
    float q[BLOCK];
    if (!has_room(x, b, 20))
        return;
    fit_block(x, 15, b, q);
    for (int i = 0; i < BLOCK; i++)
        b[4 + i % 16] |= (uint8_t)((int)q[i] << i / 16 * 4);
}

static void quantize_q5_1(const float *x, uint8_t *b)
{
    float q[BLOCK];
    if (!has_room(x, b, 24))
        return;
    fit_block(x, 31, b, q);
    store_q5(q, 0, b + 4, b + 8);
}

static void quantize_q8_0(const float *x, uint8_t *b)
{
    if (!has_room(x, b, 34))
        return;
    float d = fabsf(extreme(x)) / 127, to_code = inverse(d);
    store_u16(b, lg_f32_to_f16(d));
    for (int i = 0; i < BLOCK; i++)
        b[2 + i] = (uint8_t)(int)roundf(x[i] * to_code);
}

lg_quantize_table QUANTIZE_TABLE = {
    [LG_TYPE_Q4_0] = quantize_q4_0, [LG_TYPE_Q4_1] = quantize_q4_1, [LG_TYPE_Q5_0] = quantize_q5_0,
    [LG_TYPE_Q5_1] = quantize_q5_1, [LG_TYPE_Q8_0] = quantize_q8_0,
};
