/* SPDX-License-Identifier: MIT
 * What i8_types.h and hot_i8_tile.c are written in, with NEON and its dot product of bytes: as i8_avx512.h, in quarters.
 * Private to lib/device/cpu. */
#ifndef LG_DEVICE_CPU_I8_NEON_H
#define LG_DEVICE_CPU_I8_NEON_H

typedef struct {
    uint8x16_t part[4];
} bytes;
typedef struct {
    int32x4_t part[4];
} ints;
typedef struct {
    float32x4_t part[4];
} floats;

#define ALL(type, expression)       \
    type out;                       \
    for (int i = 0; i < 4; i++)     \
        out.part[i] = (expression); \
    return out

/* ---- bytes */

INLINE bytes load_chunk(const void *p)
{
    ALL(bytes, vld1q_u8((const uint8_t *)p + 16 * i));
}

INLINE void store_chunk(void *p, bytes v)
{
    for (int i = 0; i < 4; i++)
        vst1q_u8((uint8_t *)p + 16 * i, v.part[i]);
}

INLINE bytes load_pair(const void *a, const void *b)
{
    ALL(bytes, vld1q_u8((const uint8_t *)(i < 2 ? a : b) + i % 2 * 16));
}

INLINE bytes load_moved(const void *p, int up_a, int up_b)
{
    bytes v = load_pair(p, p);
    ALL(bytes, vshlq_u8(v.part[i], vdupq_n_s8((int8_t)(i < 2 ? up_a : up_b))));
}

INLINE bytes load_shifted(const void *p, int shift_a, int shift_b)
{
    return load_moved(p, -shift_a, -shift_b);
}

INLINE bytes load_nibbles(const void *a, const void *b)
{
    uint8x16_t first = vld1q_u8(a), second = vld1q_u8(b);
    const uint8x16_t low = vdupq_n_u8(15);
    return (bytes){{vandq_u8(first, low), vshrq_n_u8(first, 4), vandq_u8(second, low), vshrq_n_u8(second, 4)}};
}

/* `value` where one of 16 bits is set. */
INLINE uint8x16_t spread_bits(uint32_t bits, int8_t value)
{
    const uint8x16_t bit = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    uint8x16_t v = vcombine_u8(vdup_n_u8((uint8_t)bits), vdup_n_u8((uint8_t)(bits >> 8)));
    return vandq_u8(vtstq_u8(v, bit), vdupq_n_u8((uint8_t)value));
}

INLINE bytes add_where(bytes v, uint32_t low, uint32_t high, int8_t value)
{
    ALL(bytes, vaddq_u8(v.part[i], spread_bits((i < 2 ? low : high) >> i % 2 * 16, value)));
}

INLINE bytes and_bytes(bytes v, uint8_t mask)
{
    ALL(bytes, vandq_u8(v.part[i], vdupq_n_u8(mask)));
}

INLINE bytes or_masked(bytes v, uint8_t mask, bytes w)
{
    ALL(bytes, vorrq_u8(vandq_u8(v.part[i], vdupq_n_u8(mask)), w.part[i]));
}

INLINE bytes shift_down_chunk(bytes v, int bits)
{
    ALL(bytes, vshlq_u8(v.part[i], vdupq_n_s8((int8_t)-bits)));
}

INLINE bytes from_signed(bytes weights)
{
    return weights;
}

/* ---- floats */

INLINE floats load_floats(const float *p)
{
    ALL(floats, vld1q_f32(p + 4 * i));
}

INLINE void store_floats(float *p, floats v)
{
    for (int i = 0; i < 4; i++)
        vst1q_f32(p + 4 * i, v.part[i]);
}

INLINE u16x8 halves_of(int a, int b, int c, int d, int e, int f, int g, int h)
{
    return (u16x8){(uint16_t)a, (uint16_t)b, (uint16_t)c, (uint16_t)d, (uint16_t)e, (uint16_t)f, (uint16_t)g, (uint16_t)h};
}

INLINE floats twice(float32x4_t a, float32x4_t b)
{
    return (floats){{vzip1q_f32(a, a), vzip2q_f32(a, a), vzip1q_f32(b, b), vzip2q_f32(b, b)}};
}

INLINE floats from_halves_twice(u16x8 h)
{
    float16x8_t v = (float16x8_t)h;
    return twice(vcvt_f32_f16(vget_low_f16(v)), vcvt_high_f32_f16(v));
}

INLINE floats from_bytes_twice(uint64_t v)
{
    uint16x8_t words = vmovl_u8(vcreate_u8(v));
    return twice(vcvtq_f32_u32(vmovl_u16(vget_low_u16(words))), vcvtq_f32_u32(vmovl_high_u16(words)));
}

INLINE floats from_signed_bytes(i8x16 v)
{
    struct floats from = to_floats(v);
    ALL(floats, (float32x4_t)from.part[i]);
}

INLINE floats scaled(floats v, float factor)
{
    ALL(floats, vmulq_n_f32(v.part[i], factor));
}

INLINE floats multiply(floats a, floats b)
{
    ALL(floats, vmulq_f32(a.part[i], b.part[i]));
}

INLINE floats multiply_add(floats a, floats b, floats c)
{
    ALL(floats, vfmaq_f32(c.part[i], a.part[i], b.part[i]));
}

INLINE floats add_products(floats acc, ints products, floats scales)
{
    ALL(floats, vfmaq_f32(acc.part[i], vcvtq_f32_s32(products.part[i]), scales.part[i]));
}

#endif
