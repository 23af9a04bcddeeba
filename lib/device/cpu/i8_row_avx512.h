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

INLINE __m256 add_halves(floats v)
{
    return _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
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

/* ---- blocks of nibbles: loaded 64 bytes at a time; what belongs together is taken from two such loads, at bytes a and b */

/* Where the 16 bits at a byte are then. Compilers make constants of all of these. */
INLINE uint16_t place(uint32_t at, uint32_t a, uint32_t b)
{
    return (uint16_t)(at < a + 64 ? (at - a) / 2 : 32 + (at - b) / 2);
}

/* The nibbles of four blocks, from block i on. */
INLINE bytes take_nibbles(uint32_t size, uint32_t i, uint32_t a, bytes at_a, uint32_t b, bytes at_b)
{
    u16x32 index = {0};
    _Pragma("GCC unroll 32") for (uint32_t n = 0; n < 32; n++)
        index[n] = place((i + n / 8) * size + size - 16 + n % 8 * 2, a, b);
    return _mm512_permutex2var_epi16(at_a, (__m512i)index, at_b);
}

/* The 16-bit floats at byte `at` of eight blocks, of which three loads are there. */
INLINE __m256 take_eight(uint32_t size, uint32_t at, const bytes loads[3])
{
    u16x32 near = {0}, far = {0};
    UNROLL for (uint32_t n = 0; n < 8; n++) {
        bool is_near = n * size + at < 128;
        near[n] = is_near ? place(n * size + at, 0, 64) : 0;
        far[n] = (uint16_t)(is_near ? n : 32 + (n * size + at - (8 * size - 64)) / 2);
    }
    __m512i halves = _mm512_permutex2var_epi16(loads[0], (__m512i)near, loads[1]);
    if (7 * size + at >= 128)
        halves = _mm512_permutex2var_epi16(halves, (__m512i)far, loads[2]);
    return _mm256_cvtph_ps(_mm512_castsi512_si128(halves));
}

/* The same of four, of which two are there; zeros behind them. */
INLINE __m256 take_four(uint32_t size, uint32_t at, bytes at_0, bytes at_end)
{
    u16x32 index = {0};
    UNROLL for (uint32_t n = 0; n < 4; n++)
        index[n] = place(n * size + at, 0, 4 * size - 64);
    return _mm256_cvtph_ps(_mm512_castsi512_si128(_mm512_maskz_permutex2var_epi16(0xf, at_0, (__m512i)index, at_end)));
}

/* The bits of four blocks that belong to their first, or last 16 elements. */
INLINE uint64_t fifth_bits(const uint8_t *p, size_t size, uint64_t which)
{
    uint64_t a = word_at(p) | (uint64_t)word_at(p + size) << 32;
    uint64_t b = word_at(p + 2 * size) | (uint64_t)word_at(p + 3 * size) << 32;
    return _pext_u64(a, which) | _pext_u64(b, which) << 32;
}

INLINE struct nibbles load_blocks(enum lg_type type, bool is_half, const uint8_t *src)
{
    uint32_t size = unit_bytes(type) / LG_I8_BLOCKS, end = (is_half ? 4 : 8) * size - 64;
    struct nibbles w = {.loads = {kept(load_chunk(src)), _mm512_setzero_si512(), kept(load_chunk(src + end))}};
    if (is_half) {
        w.scales = take_four(size, 0, w.loads[0], w.loads[2]);
        w.mins = has_min(type) ? take_four(size, 2, w.loads[0], w.loads[2]) : w.mins;
    } else {
        w.loads[1] = kept(load_chunk(src + 64));
        w.scales = take_eight(size, 0, w.loads);
        w.mins = has_min(type) ? take_eight(size, 2, w.loads) : w.mins;
    }
    return w;
}

/* Of four blocks. */
INLINE struct two_chunks quad_chunks(enum lg_type type, bool is_half, const uint8_t *src, const struct nibbles *w,
                                     uint32_t quad)
{
    uint32_t size = unit_bytes(type) / LG_I8_BLOCKS, end = (is_half ? 4 : 8) * size - 64;
    const uint8_t *bits = src + 4 * quad * size + size - 20;
    bytes nibbles = is_half     ? take_nibbles(size, 0, 0, w->loads[0], end, w->loads[2])
                    : quad == 0 ? take_nibbles(size, 0, 0, w->loads[0], 64, w->loads[1])
                                : take_nibbles(size, 4, 64, w->loads[1], end, w->loads[2]);
    bytes low = and_bytes(nibbles, 15), high = and_bytes(shift_down_chunk(nibbles, 4), 15);
    if (has_fifth(type)) {
        const __m512i fifth = _mm512_set1_epi8(16);
        low = _mm512_mask_add_epi8(low, fifth_bits(bits, size, 0x0000ffff0000ffff), low, fifth);
        high = _mm512_mask_add_epi8(high, fifth_bits(bits, size, 0xffff0000ffff0000), high, fifth);
    }
    return (struct two_chunks){low, high};
}

INLINE ints dot_quad(struct two_chunks q, const int8_t *x)
{
    __m512i sum = _mm512_dpbusd_epi32(_mm512_setzero_si512(), q.even, _mm512_load_si512(x));
    return _mm512_dpbusd_epi32(sum, q.odd, _mm512_load_si512(x + 64));
}

/* Of eight floats the four of a quad, four times each. */
INLINE floats quad_lanes(__m256 v, uint32_t quad)
{
    const __m512i index = _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0);
    return _mm512_permutexvar_ps(_mm512_add_epi32(index, _mm512_set1_epi32((int)(4 * quad))), _mm512_castps256_ps512(v));
}

/* Four blocks of x: their first halves, then the others. */
INLINE void store_halves(int8_t *to, const int8_t *x)
{
    __m512i a = _mm512_loadu_si512(x), b = _mm512_loadu_si512(x + 64);
    _mm512_store_si512(to, _mm512_permutex2var_epi64(a, _mm512_set_epi64(13, 12, 9, 8, 5, 4, 1, 0), b));
    _mm512_store_si512(to + 64, _mm512_permutex2var_epi64(a, _mm512_set_epi64(15, 14, 11, 10, 7, 6, 3, 2), b));
}

INLINE ints load_ints(const void *p)
{
    return _mm512_load_si512(p);
}

INLINE void store_ints(void *p, ints v)
{
    _mm512_store_si512(p, v);
}

/* ---- Q8_0 for some rows of x: it is their x that becomes unsigned, and the bias belongs to the weights */

INLINE bytes other_signs(bytes x)
{
    return from_signed(x);
}

INLINE ints dot_other_signs(bytes weights, bytes x)
{
    __m512i zero = _mm512_setzero_si512();
    __m512i less = _mm512_dpbusd_epi32(zero, _mm512_set1_epi8((char)0x80), weights);
    return _mm512_dpbusd_epi32(_mm512_sub_epi32(zero, less), x, weights);
}

#endif
