/* SPDX-License-Identifier: MIT */
#include "gguf/quants.h"

#include <math.h>

uint16_t lg_f32_to_f16(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof(bits));
    uint32_t sign = bits >> 16 & 0x8000u, mag = bits & 0x7fffffffu;
    if (mag > 0x7f800000u) // NaN: keep the upper payload, quiet it
        return (uint16_t)(sign | 0x7e00u | (mag >> 13 & 0x3ffu));
    if (mag >= 0x47800000u) // 2^16 and beyond
        return (uint16_t)(sign | 0x7c00u);
    if (mag < 0x38800000u) { // below 2^-14: beside 0.5, a float's last place is the 2^-24 of a subnormal half
        float shifted = fabsf(f) + 0.5f;
        memcpy(&bits, &shifted, sizeof(bits));
        return (uint16_t)(sign | (bits - 0x3f000000u));
    }
    mag += 0xfffu + (mag >> 13 & 1u); // to nearest even; a carry moves into the exponent
    return (uint16_t)(sign | (mag - (112u << 23)) >> 13);
}

static uint16_t load_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static float load_f16(const uint8_t *p)
{
    return lg_f16_to_f32(load_u16(p));
}

static uint32_t load_u32(const uint8_t *p)
{
    return load_u16(p) | (uint32_t)load_u16(p + 2) << 16;
}

static void dequantize_f32(const uint8_t *b, float *y)
{
    uint32_t bits = load_u32(b);
    memcpy(y, &bits, sizeof(bits));
}

static void dequantize_f16(const uint8_t *b, float *y)
{
    *y = load_f16(b);
}

static void dequantize_bf16(const uint8_t *b, float *y)
{
    *y = lg_bf16_to_f32(load_u16(b));
}

/* The small blocks hold 32 weights. Where weights are nibbles, low nibbles are weights 0..15, high
 * ones 16..31. */

// f16 d | u8 q[16]
static void dequantize_q4_0(const uint8_t *b, float *y)
{
    const float d = load_f16(b);
    const uint8_t *q = b + 2;
    for (int i = 0; i < 16; i++) {
        y[i] = (float)((q[i] & 15) - 8) * d;
        y[i + 16] = (float)((q[i] >> 4) - 8) * d;
    }
}

// f16 d | f16 m | u8 q[16]
static void dequantize_q4_1(const uint8_t *b, float *y)
{
    const float d = load_f16(b), m = load_f16(b + 2);
    const uint8_t *q = b + 4;
    for (int i = 0; i < 16; i++) {
        y[i] = (float)(q[i] & 15) * d + m;
        y[i + 16] = (float)(q[i] >> 4) * d + m;
    }
}

// f16 d | u32 fifth bits | u8 q[16]
static void dequantize_q5_0(const uint8_t *b, float *y)
{
    const float d = load_f16(b);
    const uint32_t high = load_u32(b + 2);
    const uint8_t *q = b + 6;
    for (int i = 0; i < 16; i++) {
        int lo = (q[i] & 15) | (int)(high >> i & 1) << 4;
        int hi = q[i] >> 4 | (int)(high >> (i + 16) & 1) << 4;
        y[i] = (float)(lo - 16) * d;
        y[i + 16] = (float)(hi - 16) * d;
    }
}

// f16 d | f16 m | u32 fifth bits | u8 q[16]
static void dequantize_q5_1(const uint8_t *b, float *y)
{
    const float d = load_f16(b), m = load_f16(b + 2);
    const uint32_t high = load_u32(b + 4);
    const uint8_t *q = b + 8;
    for (int i = 0; i < 16; i++) {
        int lo = (q[i] & 15) | (int)(high >> i & 1) << 4;
        int hi = q[i] >> 4 | (int)(high >> (i + 16) & 1) << 4;
        y[i] = (float)lo * d + m;
        y[i + 16] = (float)hi * d + m;
    }
}

// f16 d | i8 q[32]
static void dequantize_q8_0(const uint8_t *b, float *y)
{
    const float d = load_f16(b);
    for (int i = 0; i < 32; i++)
        y[i] = (float)(int8_t)b[2 + i] * d;
}

/*
 * The K blocks hold 256 weights, here eight groups g of 32. Each layer of 2-bit codes lies in bytes (g / 4) *
 * 32 of its plane, shifted by 2 * (g % 4); of 4-bit codes in bytes (g / 2) * 32, shifted by 4 * (g % 2); of
 * single bits in bytes 0..31, shifted by g.
 */

// u8 scale and minimum[16], a nibble each, for 16 weights | u8 q[64], 2 bits | f16 d | f16 dmin
static void dequantize_q2_k(const uint8_t *b, float *y)
{
    const uint8_t *scales = b;
    const float d = load_f16(b + 80), dmin = load_f16(b + 82);
    for (int g = 0; g < 8; g++) {
        const uint8_t *q = b + 16 + g / 4 * 32;
        for (int i = 0; i < 32; i++) {
            uint8_t scale = scales[g * 2 + i / 16];
            y[g * 32 + i] =
                d * (float)(scale & 15) * (float)(q[i] >> g % 4 * 2 & 3) - dmin * (float)(scale >> 4);
        }
    }
}

// u8 third bits[32] | u8 q[64], 2 bits | u8 scales[12], 6 bits for 16 weights | f16 d
static void dequantize_q3_k(const uint8_t *b, float *y)
{
    const uint8_t *high = b, *scales = b + 96;
    const float d = load_f16(b + 108);
    for (int g = 0; g < 8; g++) {
        const uint8_t *q = b + 32 + g / 4 * 32;
        float dl[2];
        for (int j = 0; j < 2;
             j++) { // scale s: four bits in nibble s of the first 8 bytes, two in the last 4
            int s = g * 2 + j;
            int low = scales[s % 8] >> s / 8 * 4 & 15, top = scales[8 + s % 4] >> s / 4 * 2 & 3;
            dl[j] = d * (float)((low | top << 4) - 32);
        }
        for (int i = 0; i < 32; i++) {
            int code = (q[i] >> g % 4 * 2 & 3) | (high[i] >> g & 1) << 2;
            y[g * 32 + i] = dl[i / 16] * (float)(code - 4);
        }
    }
}

// Q4_K and Q5_K pack eight 6-bit scales and eight 6-bit minima into 12 bytes: those of groups 0..3 plainly,
// those of 4..7 as nibbles in the last four bytes, their upper two bits atop the first eight bytes.
static void unpack_scale(const uint8_t *s, int g, float *scale, float *min)
{
    if (g < 4) {
        *scale = (float)(s[g] & 63);
        *min = (float)(s[g + 4] & 63);
    } else {
        *scale = (float)((s[g + 4] & 15) | s[g - 4] >> 6 << 4);
        *min = (float)(s[g + 4] >> 4 | s[g] >> 6 << 4);
    }
}

// f16 d | f16 dmin | u8 scales[12] | u8 q[128], 4 bits
static void dequantize_q4_k(const uint8_t *b, float *y)
{
    const float d = load_f16(b), dmin = load_f16(b + 2);
    for (int g = 0; g < 8; g++) {
        const uint8_t *q = b + 16 + g / 2 * 32;
        float scale, min;
        unpack_scale(b + 4, g, &scale, &min);
        scale *= d;
        min *= dmin;
        for (int i = 0; i < 32; i++)
            y[g * 32 + i] = scale * (float)(q[i] >> g % 2 * 4 & 15) - min;
    }
}

// f16 d | f16 dmin | u8 scales[12] | u8 fifth bits[32] | u8 q[128], 4 bits
static void dequantize_q5_k(const uint8_t *b, float *y)
{
    const float d = load_f16(b), dmin = load_f16(b + 2);
    const uint8_t *high = b + 16;
    for (int g = 0; g < 8; g++) {
        const uint8_t *q = b + 48 + g / 2 * 32;
        float scale, min;
        unpack_scale(b + 4, g, &scale, &min);
        scale *= d;
        min *= dmin;
        for (int i = 0; i < 32; i++) {
            int code = (q[i] >> g % 2 * 4 & 15) | (high[i] >> g & 1) << 4;
            y[g * 32 + i] = scale * (float)code - min;
        }
    }
}

// u8 low[128], 4 bits | u8 high[64], 2 bits | i8 scales[16] for 16 weights | f16 d
// Of each half's low nibbles, bytes 0..31 hold groups 0 and 2, bytes 32..63 groups 1 and 3.
static void dequantize_q6_k(const uint8_t *b, float *y)
{
    const uint8_t *scales = b + 192;
    const float d = load_f16(b + 208);
    for (int g = 0; g < 8; g++) {
        const uint8_t *low = b + g / 4 * 64 + g % 2 * 32, *high = b + 128 + g / 4 * 32;
        float dl[2] = {d * (float)(int8_t)scales[g * 2], d * (float)(int8_t)scales[g * 2 + 1]};
        for (int i = 0; i < 32; i++) {
            int code = (low[i] >> g % 4 / 2 * 4 & 15) | (high[i] >> g % 4 * 2 & 3) << 4;
            y[g * 32 + i] = dl[i / 16] * (float)(code - 32);
        }
    }
}

void lg_dequantize(enum lg_type type, const void *src, float *dst, size_t n)
{
#define ROW(lower, upper) [LG_TYPE_##upper] = dequantize_##lower,
    static void (*const decode[])(const uint8_t *block, float *y) = {LG_WEIGHT_TYPES(ROW)};
#undef ROW
    const struct lg_type_info *info = lg_type_info(type);
    const uint8_t *block = src;
    for (size_t i = 0; i < n; i += info->block_elements, block += info->block_bytes)
        decode[type](block, dst + i);
}
