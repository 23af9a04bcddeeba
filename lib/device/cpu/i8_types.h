/* SPDX-License-Identifier: MIT
 *
 * The formats of quantised weights for hot_i8.c: the bytes of a chunk of 64 (less a bias they are the small integers of the
 * format), and the scales and mins of a unit of 256, one for each half block. A row may end within a unit, and then after
 * either block of a chunk; what is behind the end has scales and mins of 0. Private to lib/device/cpu.
 */
#ifndef LG_DEVICE_CPU_I8_TYPES_H
#define LG_DEVICE_CPU_I8_TYPES_H

INLINE bool is_signed(enum lg_type type)
{
    return type == LG_TYPE_Q8_0;
}

INLINE bool has_min(enum lg_type type)
{
    return type == LG_TYPE_Q4_1 || type == LG_TYPE_Q5_1 || type == LG_TYPE_Q2_K || type == LG_TYPE_Q4_K ||
           type == LG_TYPE_Q5_K;
}

INLINE bool has_fifth(enum lg_type type)
{
    return type == LG_TYPE_Q5_0 || type == LG_TYPE_Q5_1;
}

INLINE int bias_of(enum lg_type type)
{
    return type == LG_TYPE_Q4_0   ? 8
           : type == LG_TYPE_Q5_0 ? 16
           : type == LG_TYPE_Q3_K ? 4
           : type == LG_TYPE_Q6_K ? 32
                                  : 0;
}

INLINE uint32_t unit_bytes(enum lg_type type)
{
    switch (type) {
    case LG_TYPE_Q4_0: return 8 * 18;
    case LG_TYPE_Q4_1: return 8 * 20;
    case LG_TYPE_Q5_0: return 8 * 22;
    case LG_TYPE_Q5_1: return 8 * 24;
    case LG_TYPE_Q8_0: return 8 * 34;
    case LG_TYPE_Q2_K: return 84;
    case LG_TYPE_Q3_K: return 110;
    case LG_TYPE_Q4_K: return 144;
    case LG_TYPE_Q5_K: return 176;
    default: return 210; // Q6_K
    }
}

INLINE int half_bits(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

INLINE uint32_t word_at(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

INLINE uint64_t long_at(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

/* Chunk j of a unit; `last` is its last block that is there. */
INLINE bytes chunk(enum lg_type type, const uint8_t *src, uint32_t j, uint32_t last)
{
    uint32_t size = unit_bytes(type) / 8, half = j / 2, even = j % 2;
    const uint8_t *a = src + 2 * j * size, *b = 2 * j + 1 > last ? a : a + size;
    switch (type) {
    case LG_TYPE_Q4_0: return load_nibbles(a + 2, b + 2);
    case LG_TYPE_Q4_1: return load_nibbles(a + 4, b + 4);
    case LG_TYPE_Q5_0:
        return add_where(load_nibbles(a + 6, b + 6), word_at(a + 2), word_at(b + 2), 16);
    case LG_TYPE_Q5_1:
        return add_where(load_nibbles(a + 8, b + 8), word_at(a + 4), word_at(b + 4), 16);
    case LG_TYPE_Q8_0: return from_signed(load_pair(a + 2, b + 2));
    case LG_TYPE_Q2_K: return and_bytes(load_shifted(src + 16 + half * 32, (int)(4 * even), (int)(4 * even + 2)), 3);
    case LG_TYPE_Q3_K:
        return or_masked(load_shifted(src + 32 + half * 32, (int)(4 * even), (int)(4 * even + 2)), 3,
                         and_bytes(load_moved(src, 2 - (int)(2 * j), 1 - (int)(2 * j)), 4));
    case LG_TYPE_Q4_K: return and_bytes(load_shifted(src + 16 + j * 32, 0, 4), 15);
    case LG_TYPE_Q5_K:
        return or_masked(load_shifted(src + 48 + j * 32, 0, 4), 15,
                         and_bytes(load_moved(src + 16, 4 - (int)(2 * j), 3 - (int)(2 * j)), 16));
    default: // Q6_K
        return or_masked(
            shift_down_chunk(load_chunk(src + half * 64), (int)(4 * even)), 15,
            and_bytes(load_moved(src + 128 + half * 32, 4 - (int)(4 * even), 2 - (int)(4 * even)), 0x30));
    }
}

/* The 16-bit floats at `src` and every `step` bytes on, n of them: a constant but at the end of odd rows. */
INLINE floats gather_halves(const uint8_t *src, uint32_t step, uint32_t n)
{
#define HALF(i) (i < n ? half_bits(src + i * step) : 0)
    u16x8 h = halves_of(HALF(0), HALF(1), HALF(2), HALF(3), HALF(4), HALF(5), HALF(6), HALF(7));
#undef HALF
    return from_halves_twice(h);
}

/* Eight 6-bit scales and eight mins, as Q4_K and Q5_K pack them. */
INLINE uint64_t packed_scales(const uint8_t *p)
{
    uint32_t low = word_at(p) & 0x3f3f3f3f;
    uint32_t high = (word_at(p + 8) & 0x0f0f0f0f) | (word_at(p) >> 6 & 0x03030303) << 4;
    return (uint64_t)high << 32 | low;
}

INLINE uint64_t packed_mins(const uint8_t *p)
{
    uint32_t low = word_at(p + 4) & 0x3f3f3f3f;
    uint32_t high = (word_at(p + 8) >> 4 & 0x0f0f0f0f) | (word_at(p + 4) >> 6 & 0x03030303) << 4;
    return (uint64_t)high << 32 | low;
}

/* Q3_K's sixteen, 4 bits and 2 bits apart. */
INLINE i8x16 q3_k_scales(const uint8_t *p)
{
    const uint64_t nibbles = 0x0f0f0f0f0f0f0f0f;
    uint64_t low = long_at(p), high = word_at(p + 8);
    uint64_t twos[2] = {(high & 0x03030303) | (high >> 2 & 0x03030303) << 32,
                        (high >> 4 & 0x03030303) | (high >> 6 & 0x03030303) << 32};
    u64x2 v = {(low & nibbles) | twos[0] << 4, (low >> 4 & nibbles) | twos[1] << 4};
    return (i8x16)v - 32;
}

INLINE floats unit_scales(enum lg_type type, const uint8_t *src, uint32_t n_blocks)
{
    switch (type) {
    case LG_TYPE_Q2_K: return scaled(from_signed_bytes((i8x16)(load_bytes(src) & 15)), half_to_float(src + 80));
    case LG_TYPE_Q3_K: return scaled(from_signed_bytes(q3_k_scales(src + 96)), half_to_float(src + 108));
    case LG_TYPE_Q4_K:
    case LG_TYPE_Q5_K: return scaled(from_bytes_twice(packed_scales(src + 4)), half_to_float(src));
    case LG_TYPE_Q6_K: return scaled(from_signed_bytes((i8x16)load_bytes(src + 192)), half_to_float(src + 208));
    default: return gather_halves(src, unit_bytes(type) / 8, n_blocks);
    }
}

INLINE floats unit_mins(enum lg_type type, const uint8_t *src, uint32_t n_blocks)
{
    switch (type) {
    case LG_TYPE_Q2_K:
        return scaled(from_signed_bytes((i8x16)(shift_down(load_bytes(src), 4) & 15)), -half_to_float(src + 82));
    case LG_TYPE_Q4_K:
    case LG_TYPE_Q5_K: return scaled(from_bytes_twice(packed_mins(src + 4)), -half_to_float(src + 2));
    default: return gather_halves(src + 2, unit_bytes(type) / 8, n_blocks);
    }
}

#endif
