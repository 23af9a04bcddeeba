/* SPDX-License-Identifier: MIT
 * What hot_i8.c is written in besides, with AVX2: as i8_row_avx512.h, in two halves. Private to lib/device/cpu. */
#ifndef LG_DEVICE_CPU_I8_ROW_AVX2_H
#define LG_DEVICE_CPU_I8_ROW_AVX2_H

INLINE floats same_floats(__m128 v)
{
    BOTH(floats, _mm256_broadcastss_ps(v));
}

INLINE ints no_ints(void)
{
    BOTH(ints, _mm256_setzero_si256());
}

INLINE __m256 add_halves(floats v)
{
    return _mm256_add_ps(v.part[0], v.part[1]);
}

/* ---- K-quants */

INLINE ints first_ints(int bias, __m256i scales, const int16_t *less)
{
    ints first = no_ints();
    if (bias) {
        __m256i sums = _mm256_madd_epi16(scales, _mm256_loadu_si256((const void *)less));
        first.part[0] = _mm256_slli_epi32(sums, bias == 32 ? 5 : 2);
    }
    return first;
}

/* Words a of 16 bytes, then words b, four of each, in both halves. */
INLINE __m256i four_words(int a, int b, int c, int d)
{
#define FOUR(i) (short)((2 * (i) + 1) << 8 | 2 * (i))
    return _mm256_set_epi16(FOUR(d), FOUR(d), FOUR(d), FOUR(d), FOUR(c), FOUR(c), FOUR(c), FOUR(c), FOUR(b), FOUR(b),
                            FOUR(b), FOUR(b), FOUR(a), FOUR(a), FOUR(a), FOUR(a));
#undef FOUR
}

INLINE bytes spread_words(bool is_packed, __m256i scales, int j)
{
    __m256i v = is_packed || j == 0 ? _mm256_permute4x64_epi64(scales, 0x44) : _mm256_permute4x64_epi64(scales, 0xee);
    if (is_packed) {
        BOTH(bytes, _mm256_shuffle_epi8(v, four_words(4 * j + 2 * i, 4 * j + 2 * i + 1, 4 * j + 2 * i, 4 * j + 2 * i + 1)));
    }
    BOTH(bytes, _mm256_shuffle_epi8(v, four_words(2 * i, 2 * i + 4, 2 * i + 1, 2 * i + 5)));
}

INLINE ints add_scaled(ints sum, bytes a, bytes b, const int8_t *x, bytes scales)
{
    ints out;
    for (int i = 0; i < 2; i++) {
        __m256i pairs_a = _mm256_maddubs_epi16(a.part[i], _mm256_loadu_si256((const void *)(x + 32 * i)));
        __m256i pairs_b = _mm256_maddubs_epi16(b.part[i], _mm256_loadu_si256((const void *)(x + 64 + 32 * i)));
        __m256i fours = _mm256_hadd_epi16(pairs_a, pairs_b);
        out.part[i] = _mm256_add_epi32(sum.part[i], _mm256_madd_epi16(fours, scales.part[i]));
    }
    return out;
}

/* ---- blocks of nibbles */

/* 16 bytes of a block, and of the next. */
INLINE __m256i load_two(const uint8_t *p, size_t size)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const void *)p)),
                                   _mm_loadu_si128((const void *)(p + size)), 1);
}

/* 16 where the bit is set that belongs to a byte, of 16 bits from `at` on. */
INLINE __m256i fifth_of(__m256i bits, int at)
{
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201);
    __m256i first = _mm256_set1_epi8((char)(at / 8)), second = _mm256_set1_epi8((char)(at / 8 + 1));
    __m256i v = _mm256_and_si256(_mm256_shuffle_epi8(bits, _mm256_unpacklo_epi64(first, second)), bit);
    return _mm256_and_si256(_mm256_cmpeq_epi8(v, bit), _mm256_set1_epi8(16));
}

INLINE __m256 load_halves_of(const uint8_t *p, uint32_t size, uint32_t n)
{
#define HALF(i) (i < n ? half_bits(p + i * size) : 0)
    u16x8 h = halves_of(HALF(0), HALF(1), HALF(2), HALF(3), HALF(4), HALF(5), HALF(6), HALF(7));
#undef HALF
    return _mm256_cvtph_ps((__m128i)h);
}

INLINE struct nibbles load_blocks(enum lg_type type, bool is_half, const uint8_t *src)
{
    uint32_t size = unit_bytes(type) / LG_I8_BLOCKS, n = is_half ? 4 : 8;
    struct nibbles w = {.scales = load_halves_of(src, size, n)};
    if (has_min(type))
        w.mins = load_halves_of(src + 2, size, n);
    return w;
}

INLINE floats quad_lanes(__m256 v, uint32_t quad)
{
    const __m256i index = _mm256_set_epi32(1, 1, 1, 1, 0, 0, 0, 0);
    BOTH(floats, _mm256_permutevar8x32_ps(v, _mm256_add_epi32(index, _mm256_set1_epi32((int)quad * 4 + 2 * i))));
}

INLINE struct two_chunks quad_chunks(enum lg_type type, bool is_half, const uint8_t *src, const struct nibbles *w,
                                     uint32_t quad)
{
    struct two_chunks q;
    uint32_t size = unit_bytes(type) / LG_I8_BLOCKS;
    (void)is_half, (void)w;
    src += 4 * quad * size;
    for (int i = 0; i < 2; i++, src += 2 * size) {
        __m256i nibbles = load_two(src + size - 16, size);
        q.even.part[i] = _mm256_and_si256(nibbles, _mm256_set1_epi8(15));
        q.odd.part[i] = _mm256_and_si256(_mm256_srli_epi16(nibbles, 4), _mm256_set1_epi8(15));
        if (has_fifth(type)) {
            __m256i bits = _mm256_blend_epi32(_mm256_set1_epi32((int)word_at(src + size - 20)),
                                              _mm256_set1_epi32((int)word_at(src + 2 * size - 20)), 0xf0);
            q.even.part[i] = _mm256_or_si256(q.even.part[i], fifth_of(bits, 0));
            q.odd.part[i] = _mm256_or_si256(q.odd.part[i], fifth_of(bits, 16));
        }
    }
    return q;
}

/* Four products of 31 * 127 still fit into words. */
INLINE __m256i dot_fours(__m256i low, __m256i high, const int8_t *x)
{
    __m256i pairs = _mm256_maddubs_epi16(low, _mm256_load_si256((const void *)x));
    pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(high, _mm256_load_si256((const void *)(x + 64))));
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

INLINE ints dot_quad(struct two_chunks q, const int8_t *x)
{
    BOTH(ints, dot_fours(q.even.part[i], q.odd.part[i], x + 32 * i));
}

INLINE void store_halves(int8_t *to, const int8_t *x)
{
    for (int i = 0; i < 8; i++)
        memcpy(to + i % 2 * 64 + i / 2 * 16, x + 16 * i, 16);
}

INLINE ints load_ints(const void *p)
{
    BOTH(ints, _mm256_load_si256((const __m256i *)p + i));
}

INLINE void store_ints(void *p, ints v)
{
    _mm256_store_si256(p, v.part[0]);
    _mm256_store_si256((__m256i *)p + 1, v.part[1]);
}

/* ---- Q8_0 for some rows of x */

INLINE bytes other_signs(bytes x)
{
    return x;
}

INLINE ints dot_other_signs(bytes weights, bytes x)
{
    return dot_signed(no_ints(), weights, x);
}

#endif
