/* SPDX-License-Identifier: MIT
 *
 * K-quants as one row of x meets them: their small scales and mins in words of 16 bits, 16 for a unit, and chunks in the order
 * of lg_i8_lane(). For instruction sets that have those of AVX2. Private to lib/device/cpu.
 */
#ifndef LG_DEVICE_CPU_I8_ROW_H
#define LG_DEVICE_CPU_I8_ROW_H

typedef __m256i words; // 16

INLINE bool is_k(enum lg_type type)
{
    return type == LG_TYPE_Q2_K || type == LG_TYPE_Q3_K || type == LG_TYPE_Q4_K || type == LG_TYPE_Q5_K ||
           type == LG_TYPE_Q6_K;
}

/* Scales for blocks of 32, beside their mins; else for halves of them. */
INLINE bool is_packed(enum lg_type type)
{
    return type == LG_TYPE_Q4_K || type == LG_TYPE_Q5_K;
}

INLINE words load_words(const int16_t *p)
{
    return _mm256_loadu_si256((const void *)p);
}

INLINE words load_words_twice(const int16_t *p)
{
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)p));
}

/* Eight 6-bit scales, then eight mins. Each is some bits of one byte and two of another: side by side in a word they come to
 * their places by a shift each, that of the upper byte a multiplication since it differs. */
INLINE words packed_words(const uint8_t *src)
{
    const __m256i places =
        _mm256_setr_epi8(-1, 4, -1, 5, -1, 6, -1, 7, 4, 12, 5, 13, 6, 14, 7, 15, -1, 8, -1, 9, -1, 10, -1, 11, 8,
                         12, 9, 13, 10, 14, 11, 15);
    const __m256i down = _mm256_setr_epi16(256, 256, 256, 256, 256, 256, 256, 256, 256, 256, 256, 256, 16, 16, 16, 16);
    const __m256i low = _mm256_setr_epi16(63, 63, 63, 63, 15, 15, 15, 15, 63, 63, 63, 63, 15, 15, 15, 15);
    __m256i v = _mm256_shuffle_epi8(load_words_twice((const int16_t *)(const void *)src), places);
    __m256i high = _mm256_and_si256(_mm256_srli_epi16(v, 2), _mm256_set1_epi16(0x30));
    return _mm256_or_si256(_mm256_and_si256(_mm256_mulhi_epu16(v, down), low), high);
}

INLINE words k_scales(enum lg_type type, const uint8_t *src)
{
    switch (type) {
    case LG_TYPE_Q2_K: return _mm256_cvtepu8_epi16((__m128i)(load_bytes(src) & 15));
    case LG_TYPE_Q3_K: return _mm256_cvtepi8_epi16((__m128i)q3_k_scales(src + 96));
    case LG_TYPE_Q6_K: return _mm256_cvtepi8_epi16((__m128i)load_bytes(src + 192));
    default: return packed_words(src);
    }
}

/* The floats of scales and of mins, the first two of the four. */
INLINE __m128 k_floats(enum lg_type type, const uint8_t *src)
{
    __m128i halves = has_min(type) ? _mm_cvtsi32_si128((int)word_at(type == LG_TYPE_Q2_K ? src + 80 : src))
                                   : _mm_cvtsi32_si128(half_bits(src + unit_bytes(type) - 2));
    return _mm_cvtph_ps(halves);
}

INLINE struct two_chunks two_chunks(enum lg_type type, const uint8_t *src, uint32_t j)
{
    if (!is_packed(type))
        return (struct two_chunks){chunk(type, src, 2 * j, LG_I8_BLOCKS - 1), chunk(type, src, 2 * j + 1, LG_I8_BLOCKS - 1)};
    bytes both = kept(load_chunk(src + unit_bytes(type) - 128 + 64 * j));
    if (type == LG_TYPE_Q4_K)
        return (struct two_chunks){and_bytes(both, 15), and_bytes(shift_down_chunk(both, 4), 15)};
    int up = 4 - 4 * (int)j;
    return (struct two_chunks){
        or_masked(both, 15, and_bytes(load_moved(src + 16, up, up - 2), 16)),
        or_masked(shift_down_chunk(both, 4), 15, and_bytes(load_moved(src + 16, up - 1, up - 3), 16)),
    };
}

/* Four sums of four. */
INLINE __m128 sum_four_of_four(__m128 a, __m128 b, __m128 c, __m128 d)
{
    __m128 ab = _mm_add_ps(_mm_movelh_ps(a, b), _mm_movehl_ps(b, a)), cd = _mm_add_ps(_mm_movelh_ps(c, d), _mm_movehl_ps(d, c));
    return _mm_add_ps(_mm_shuffle_ps(ab, cd, 0x88), _mm_shuffle_ps(ab, cd, 0xdd));
}

/* Four sums of eight. */
INLINE __m128 sum_eight_of_four(__m256 a, __m256 b, __m256 c, __m256 d)
{
    __m256 ab = _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
    __m256 cd = _mm256_add_ps(_mm256_permute2f128_ps(c, d, 0x20), _mm256_permute2f128_ps(c, d, 0x31));
    return sum_four_of_four(_mm256_castps256_ps128(ab), _mm256_extractf128_ps(ab, 1), _mm256_castps256_ps128(cd),
                            _mm256_extractf128_ps(cd, 1));
}

/* Four sums of sixteen. */
INLINE __m128 sum_lanes_of_four(floats a, floats b, floats c, floats d)
{
    return sum_eight_of_four(add_halves(a), add_halves(b), add_halves(c), add_halves(d));
}

INLINE float sum_eight(__m256 v)
{
    __m128 a = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    a = _mm_add_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_add_ss(a, _mm_movehdup_ps(a)));
}

/* Adds a unit. */
INLINE struct sums add_k_unit(enum lg_type type, const uint8_t *src, const int8_t *x, const struct lg_i8_unit *unit,
                              struct sums sums)
{
    words factors = is_packed(type) ? load_words_twice(unit->factors) : load_words(unit->half_factors);
    words scales = _mm256_mullo_epi16(k_scales(type, src), factors);
    ints products = first_ints(bias_of(type), scales, unit->half_less);
    UNROLL for (uint32_t j = 0; j < 2; j++) {
        struct two_chunks w = two_chunks(type, src, j);
        products = add_scaled(products, w.even, w.odd, x + 128 * j, spread_words(is_packed(type), scales, (int)j));
    }
    __m128 d = _mm_mul_ps(k_floats(type, src), _mm_set1_ps(unit->d));
    sums.lanes = add_products(sums.lanes, products, same_floats(d));
    if (has_min(type)) {
        words mins = scales;
        if (!is_packed(type))
            mins = _mm256_mullo_epi16(_mm256_cvtepu8_epi16((__m128i)(shift_down(load_bytes(src), 4) & 15)), factors);
        mins = _mm256_madd_epi16(mins, load_words(is_packed(type) ? unit->block_less : unit->half_less));
        sums.mins = _mm256_fmadd_ps(_mm256_cvtepi32_ps(mins), _mm256_broadcastss_ps(_mm_movehdup_ps(d)), sums.mins);
    }
    return sums;
}

#endif
