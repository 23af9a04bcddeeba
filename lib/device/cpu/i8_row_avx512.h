/* SPDX-License-Identifier: MIT
 * What hot_i8.c is written in besides, with AVX-512 and its integer dot product. Private to lib/device/cpu. */
#ifndef LG_DEVICE_CPU_I8_ROW_AVX512_H
#define LG_DEVICE_CPU_I8_ROW_AVX512_H

typedef uint16_t u16x32 __attribute__((vector_size(64)));

/* The first of them. */
INLINE floats same_floats(__m128 v)
{
    return _mm512_broadcastss_ps(v);
}

/* ---- K-quants */

/* The sums of `less` times scales, 16 of them, times the bias. */
INLINE ints first_ints(int bias, __m256i scales, const int16_t *less)
{
    if (bias == 0)
        return _mm512_setzero_si512();
    __m256i sums = _mm256_madd_epi16(scales, _mm256_loadu_si256((const void *)less));
    return _mm512_zextsi256_si512(_mm256_slli_epi32(sums, bias == 32 ? 5 : 2));
}

/* The scales of chunks 2j and 2j + 1, for sums of four products as add_scaled() packs them. */
INLINE bytes spread_words(bool is_packed, __m256i scales, int j)
{
#define FOUR(a) a, a, a, a
    const u16x32 blocks = {FOUR(0), FOUR(1), FOUR(0), FOUR(1), FOUR(2), FOUR(3), FOUR(2), FOUR(3)};
    const u16x32 halves = {FOUR(0), FOUR(4), FOUR(1), FOUR(5), FOUR(2), FOUR(6), FOUR(3), FOUR(7)};
#undef FOUR
    u16x32 index = is_packed ? blocks + (uint16_t)(4 * j) : halves + (uint16_t)(8 * j);
    return _mm512_permutexvar_epi16((__m512i)index, _mm512_castsi256_si512(scales));
}

/* Adds the products of two chunks with x, times their scales. Sums of four are 63 * 127 * 4 at the most and fit into words. */
INLINE ints add_scaled(ints sum, bytes a, bytes b, const int8_t *x, bytes scales)
{
    __m512i zero = _mm512_setzero_si512();
    __m512i fours = _mm512_packs_epi32(_mm512_dpbusd_epi32(zero, a, _mm512_loadu_si512(x)),
                                       _mm512_dpbusd_epi32(zero, b, _mm512_loadu_si512(x + 64)));
    return _mm512_dpwssd_epi32(sum, fours, scales);
}

/* ---- quads: four blocks of nibbles */

/*
 * Quads are loaded as their first and their last 64 bytes, whose words are then put in order. That of byte `at` of block b:
 */
#define WORD(size, b, at) ((b) * (size) + (at) < 64 ? ((b) * (size) + (at)) / 2 : 64 + ((b) - 4) * (size) / 2 + (at) / 2)
#define EIGHT(size, b, at)                                                                                     \
    WORD(size, b, at), WORD(size, b, at + 2), WORD(size, b, at + 4), WORD(size, b, at + 6), WORD(size, b, at + 8), \
        WORD(size, b, at + 10), WORD(size, b, at + 12), WORD(size, b, at + 14)
#define FOUR(size, b, at) WORD(size, b, at), WORD(size, b, at), WORD(size, b, at), WORD(size, b, at)
#define NIBBLES(size) EIGHT(size, 0, size - 16), EIGHT(size, 1, size - 16), EIGHT(size, 2, size - 16), EIGHT(size, 3, size - 16)
#define FLOATS(size, at) FOUR(size, 0, at), FOUR(size, 1, at), FOUR(size, 2, at), FOUR(size, 3, at)
#define OF_TYPE(what)                               \
    (type == LG_TYPE_Q4_0   ? (u16x32){what(18)}    \
     : type == LG_TYPE_Q4_1 ? (u16x32){what(20)}    \
     : type == LG_TYPE_Q5_0 ? (u16x32){what(22)}    \
                            : (u16x32){what(24)})

/* The bits of four blocks that belong to their first, or last 16 elements. */
INLINE uint64_t fifth_bits(const uint8_t *p, size_t size, uint64_t which)
{
    uint64_t a = word_at(p) | (uint64_t)word_at(p + size) << 32;
    uint64_t b = word_at(p + 2 * size) | (uint64_t)word_at(p + 3 * size) << 32;
    return _pext_u64(a, which) | _pext_u64(b, which) << 32;
}

INLINE struct quad load_quad(enum lg_type type, const uint8_t *src)
{
#define SCALES(size) FLOATS(size, 0), FLOATS(size, 2)
    size_t size = unit_bytes(type) / LG_I8_BLOCKS;
    __m512i a = kept(load_chunk(src)), b = kept(load_chunk(src + 4 * size - 64));
    __m512i nibbles = _mm512_permutex2var_epi16(a, (__m512i)OF_TYPE(NIBBLES), b);
    __m512i scales = _mm512_permutex2var_epi16(a, (__m512i)OF_TYPE(SCALES), b);
    struct quad quad = {
        .low = and_bytes(nibbles, 15),
        .high = and_bytes(shift_down_chunk(nibbles, 4), 15),
        .scales = _mm512_cvtph_ps(_mm512_castsi512_si256(scales)),
    };
    if (has_min(type))
        quad.mins = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(scales, 1));
    if (has_fifth(type)) {
        uint64_t low = fifth_bits(src + size - 20, size, 0x0000ffff0000ffff);
        uint64_t high = fifth_bits(src + size - 20, size, 0xffff0000ffff0000);
        quad.low = _mm512_mask_add_epi8(quad.low, low, quad.low, _mm512_set1_epi8(16));
        quad.high = _mm512_mask_add_epi8(quad.high, high, quad.high, _mm512_set1_epi8(16));
    }
    return quad;
#undef SCALES
}

INLINE ints dot_quad(ints sum, bytes low, bytes high, const int8_t *x)
{
    return _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(sum, low, _mm512_load_si512(x)), high, _mm512_load_si512(x + 64));
}

/* Four blocks of x: their first halves, then the others. */
INLINE void store_halves(int8_t *to, const int8_t *x)
{
    __m512i a = _mm512_loadu_si512(x), b = _mm512_loadu_si512(x + 64);
    _mm512_store_si512(to, _mm512_permutex2var_epi64(a, _mm512_set_epi64(13, 12, 9, 8, 5, 4, 1, 0), b));
    _mm512_store_si512(to + 64, _mm512_permutex2var_epi64(a, _mm512_set_epi64(15, 14, 11, 10, 7, 6, 3, 2), b));
}

/* Of eight numbers every other, four times. */
INLINE floats load_spread(const float *d)
{
    const __m512i index = _mm512_set_epi32(6, 6, 6, 6, 4, 4, 4, 4, 2, 2, 2, 2, 0, 0, 0, 0);
    return _mm512_permutexvar_ps(index, _mm512_castps256_ps512(_mm256_loadu_ps(d)));
}

INLINE bytes same_bytes(int8_t v)
{
    return _mm512_set1_epi8(v);
}

INLINE ints negative(ints v)
{
    return _mm512_sub_epi32(_mm512_setzero_si512(), v);
}

INLINE floats from_ints(ints v)
{
    return _mm512_cvtepi32_ps(v);
}

INLINE ints no_ints(void)
{
    return _mm512_setzero_si512();
}

INLINE ints load_ints(const void *p)
{
    return _mm512_load_si512(p);
}

INLINE void store_ints(void *p, ints v)
{
    _mm512_store_si512(p, v);
}

#endif
