/* SPDX-License-Identifier: MIT
 * What hot_i8.c is written in, with AVX2: as i8_avx512.h, in two halves. Private to lib/device/cpu. */
#ifndef LG_DEVICE_CPU_I8_AVX2_H
#define LG_DEVICE_CPU_I8_AVX2_H

#include <immintrin.h>

typedef struct {
    __m256i part[2];
} bytes;
typedef struct {
    __m256i part[2];
} ints;
typedef struct {
    __m256 part[2];
} floats;

#define BOTH(type, expression)                         \
    type out;                                          \
    for (int i = 0; i < 2; i++)                        \
        out.part[i] = (expression);                    \
    return out

/* ---- bytes */

INLINE bytes load_pair(const void *a, const void *b)
{
    return (bytes){{_mm256_loadu_si256(a), _mm256_loadu_si256(b)}};
}

INLINE bytes kept(bytes v)
{
    return v;
}

INLINE bytes load_chunk(const void *p)
{
    return load_pair(p, (const uint8_t *)p + 32);
}

INLINE void store_chunk(void *p, bytes v)
{
    _mm256_storeu_si256(p, v.part[0]);
    _mm256_storeu_si256((__m256i *)p + 1, v.part[1]);
}

INLINE bytes load_shifted(const void *p, int shift_a, int shift_b)
{
    __m256i v = _mm256_loadu_si256(p);
    return (bytes){{_mm256_srli_epi16(v, shift_a), _mm256_srli_epi16(v, shift_b)}};
}

INLINE __m256i moved_up(__m256i v, int bits)
{
    return bits < 0 ? _mm256_srli_epi16(v, -bits) : _mm256_slli_epi16(v, bits);
}

INLINE bytes load_moved(const void *p, int up_a, int up_b)
{
    __m256i v = _mm256_loadu_si256(p);
    return (bytes){{moved_up(v, up_a), moved_up(v, up_b)}};
}

INLINE __m256i nibbles_of(const void *p)
{
    __m128i v = _mm_loadu_si128(p);
    return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(v, 4), v), _mm256_set1_epi8(15));
}

INLINE bytes load_nibbles(const void *a, const void *b)
{
    return (bytes){{nibbles_of(a), nibbles_of(b)}};
}

INLINE __m256i spread_word(uint32_t bits, int8_t value)
{
    const __m256i byte = _mm256_set_epi64x(0x0303030303030303, 0x0202020202020202, 0x0101010101010101, 0);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201);
    __m256i v = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32((int)bits), byte), bit);
    return _mm256_and_si256(_mm256_cmpeq_epi8(v, bit), _mm256_set1_epi8(value));
}

INLINE bytes add_where(bytes v, uint32_t low, uint32_t high, int8_t value)
{
    return (bytes){{_mm256_add_epi8(v.part[0], spread_word(low, value)),
                    _mm256_add_epi8(v.part[1], spread_word(high, value))}};
}

INLINE bytes and_bytes(bytes v, uint8_t mask)
{
    BOTH(bytes, _mm256_and_si256(v.part[i], _mm256_set1_epi8((char)mask)));
}

INLINE bytes or_masked(bytes v, uint8_t mask, bytes w)
{
    BOTH(bytes, _mm256_or_si256(_mm256_and_si256(v.part[i], _mm256_set1_epi8((char)mask)), w.part[i]));
}

INLINE bytes shift_down_chunk(bytes v, int bits)
{
    BOTH(bytes, _mm256_srli_epi16(v.part[i], bits));
}

/* ---- products: pairs of bytes add up to 16 bits, 2 * 63 * 127 at the most, and these to 32 */

INLINE __m256i pair_sums(__m256i weights, __m256i x)
{
    return _mm256_madd_epi16(_mm256_maddubs_epi16(weights, x), _mm256_set1_epi16(1));
}

INLINE ints dot_bias(bytes x, int bias)
{
    __m256i zero = _mm256_setzero_si256();
    BOTH(ints, bias == 0 ? zero : _mm256_sub_epi32(zero, pair_sums(_mm256_set1_epi8((char)bias), x.part[i])));
}

INLINE ints dot(ints sum, bytes weights, bytes x)
{
    BOTH(ints, _mm256_add_epi32(sum.part[i], pair_sums(weights.part[i], x.part[i])));
}

INLINE bytes from_signed(bytes weights)
{
    return weights;
}

INLINE ints dot_signed_bias(bytes x)
{
    return dot_bias(x, 0);
}

/* The weights' signs go over to x; 2 * 128 * 127 still fits. */
INLINE ints dot_signed(ints sum, bytes weights, bytes x)
{
    (void)sum;
    BOTH(ints, pair_sums(_mm256_abs_epi8(weights.part[i]), _mm256_sign_epi8(x.part[i], weights.part[i])));
}

/* ---- floats */

INLINE floats zeros(void)
{
    BOTH(floats, _mm256_setzero_ps());
}

INLINE floats load_floats(const float *p)
{
    BOTH(floats, _mm256_loadu_ps(p + 8 * i));
}

INLINE void store_floats(float *p, floats v)
{
    _mm256_storeu_ps(p, v.part[0]);
    _mm256_storeu_ps(p + 8, v.part[1]);
}

INLINE floats twice(__m256 v)
{
    const __m256i low = _mm256_set_epi32(3, 3, 2, 2, 1, 1, 0, 0), high = _mm256_set_epi32(7, 7, 6, 6, 5, 5, 4, 4);
    return (floats){{_mm256_permutevar8x32_ps(v, low), _mm256_permutevar8x32_ps(v, high)}};
}

/* Two chains of insertions; compilers left alone take a way through other registers. */
INLINE u16x8 halves_of(int a, int b, int c, int d, int e, int f, int g, int h)
{
    __m128i low = _mm_insert_epi16(_mm_insert_epi16(_mm_insert_epi16(_mm_cvtsi32_si128(a), b, 1), c, 2), d, 3);
    __m128i high = _mm_insert_epi16(_mm_insert_epi16(_mm_insert_epi16(_mm_cvtsi32_si128(e), f, 1), g, 2), h, 3);
    return (u16x8)_mm_unpacklo_epi64(low, high);
}

/* Eight halves as floats, each twice. */
INLINE floats from_halves_twice(u16x8 h)
{
    return twice(_mm256_cvtph_ps((__m128i)h));
}

INLINE floats from_bytes_twice(uint64_t v)
{
    return twice(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)v))));
}

INLINE floats from_signed_bytes(i8x16 v)
{
    __m128i halves[2] = {(__m128i)v, _mm_unpackhi_epi64((__m128i)v, (__m128i)v)};
    BOTH(floats, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(halves[i])));
}

INLINE floats scaled(floats v, float factor)
{
    BOTH(floats, _mm256_mul_ps(v.part[i], _mm256_set1_ps(factor)));
}

INLINE floats multiply_add(floats a, floats b, floats c)
{
    BOTH(floats, _mm256_fmadd_ps(a.part[i], b.part[i], c.part[i]));
}

INLINE floats lane_scales(floats halves, int chunk)
{
    const __m256i index = _mm256_set_epi32(1, 1, 1, 1, 0, 0, 0, 0);
    BOTH(floats, _mm256_permutevar8x32_ps(halves.part[chunk / 2],
                                          _mm256_add_epi32(index, _mm256_set1_epi32(chunk % 2 * 4 + 2 * i))));
}

INLINE floats multiply(floats a, floats b)
{
    BOTH(floats, _mm256_mul_ps(a.part[i], b.part[i]));
}

INLINE floats add_products(floats acc, ints products, floats scales)
{
    BOTH(floats, _mm256_fmadd_ps(_mm256_cvtepi32_ps(products.part[i]), scales.part[i], acc.part[i]));
}

INLINE float sum_lanes(floats v)
{
    __m256 a = _mm256_add_ps(v.part[0], v.part[1]);
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

/* ---- x */

INLINE bool largest_of(floats v, floats *max)
{
    bool finite = true;
    for (int i = 0; i < 2; i++) {
        __m256 magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v.part[i]);
        max->part[i] = _mm256_max_ps(max->part[i], magnitude);
        finite &= _mm256_movemask_ps(_mm256_cmp_ps(magnitude, _mm256_set1_ps(INFINITY), _CMP_LT_OQ)) == 0xff;
    }
    return finite;
}

INLINE float max_lane(floats v)
{
    __m256 a = _mm256_max_ps(v.part[0], v.part[1]);
    __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
}

INLINE int quantize_16(int8_t *q, floats x, float factor)
{
    __m256i a = _mm256_cvtps_epi32(_mm256_mul_ps(x.part[0], _mm256_set1_ps(factor)));
    __m256i b = _mm256_cvtps_epi32(_mm256_mul_ps(x.part[1], _mm256_set1_ps(factor)));
    __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);
    _mm_storeu_si128((void *)q, _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
    __m256i both = _mm256_add_epi32(a, b);
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1)));
}

#endif
