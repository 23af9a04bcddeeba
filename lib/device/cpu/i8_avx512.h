/* SPDX-License-Identifier: MIT
 * What hot_i8.c is written in, with AVX-512 and its integer dot product (VNNI). Private to lib/device/cpu. */
#ifndef LG_DEVICE_CPU_I8_AVX512_H
#define LG_DEVICE_CPU_I8_AVX512_H

#include <immintrin.h>

typedef __m512i bytes;  // of a chunk, 64
typedef __m512i ints;   // of its lanes, 16
typedef __m512 floats;  // the same

/* ---- bytes */

INLINE bytes load_chunk(const void *p)
{
    return _mm512_loadu_si512(p);
}

INLINE void store_chunk(void *p, bytes v)
{
    _mm512_storeu_si512(p, v);
}

/* The same, in a register: compilers would rather load it again for each use, though every load is of two lines of a cache. */
INLINE bytes kept(bytes v)
{
    __asm__("" : "+v"(v));
    return v;
}

/* 32 bytes from each. */
INLINE bytes load_pair(const void *a, const void *b)
{
    __m512i low = _mm512_castsi256_si512(_mm256_loadu_si256(a));
    return _mm512_inserti64x4(low, _mm256_loadu_si256(b), 1);
}

/* 32 bytes twice, shifted down in 16-bit words; bits from neighbours are for the caller to mask. */
INLINE bytes load_shifted(const void *p, int shift_a, int shift_b)
{
    __m512i v = _mm512_broadcast_i64x4(_mm256_loadu_si256(p));
    __m512i shifts = _mm512_inserti64x4(_mm512_set1_epi16((short)shift_a), _mm256_set1_epi16((short)shift_b), 1);
    return _mm512_srlv_epi16(v, shifts);
}

/* 32 bytes twice, shifted up, or down where that is negative, in words; as above. */
INLINE bytes load_moved(const void *p, int up_a, int up_b)
{
    __m512i v = kept(_mm512_broadcast_i64x4(_mm256_loadu_si256(p)));
    __m512i turns = _mm512_inserti64x4(_mm512_set1_epi32(up_a & 31), _mm256_set1_epi32(up_b & 31), 1);
    return _mm512_rolv_epi32(v, turns);
}

/* The lower, then the upper nibbles of 16 bytes, of two such runs. */
INLINE bytes load_nibbles(const void *a, const void *b)
{
    __m512i low = _mm512_broadcast_i32x4(_mm_loadu_si128(a));
    __m512i v = _mm512_mask_broadcast_i32x4(low, 0xff00, _mm_loadu_si128(b));
    __m512i shifts = _mm512_set_epi64(0x4000400040004, 0x4000400040004, 0, 0, 0x4000400040004, 0x4000400040004, 0, 0);
    return _mm512_and_si512(_mm512_srlv_epi16(v, shifts), _mm512_set1_epi8(15));
}

/* Adds `value` where a bit is set. */
INLINE bytes add_where(bytes v, uint32_t low, uint32_t high, int8_t value)
{
    return _mm512_mask_add_epi8(v, (uint64_t)high << 32 | low, v, _mm512_set1_epi8(value));
}

INLINE bytes and_bytes(bytes v, uint8_t mask)
{
    return _mm512_and_si512(v, _mm512_set1_epi8((char)mask));
}

/* v & mask | w */
INLINE bytes or_masked(bytes v, uint8_t mask, bytes w)
{
    return _mm512_ternarylogic_epi32(v, _mm512_set1_epi8((char)mask), w, 0xea);
}

INLINE bytes shift_down_chunk(bytes v, int bits)
{
    return _mm512_srli_epi16(v, (unsigned)bits);
}

/* ---- products */

/* What makes the lanes' products those of bytes less `bias`. */
INLINE ints dot_bias(bytes x, int bias)
{
    __m512i zero = _mm512_setzero_si512();
    return bias == 0 ? zero : _mm512_sub_epi32(zero, _mm512_dpbusd_epi32(zero, _mm512_set1_epi8((char)bias), x));
}

INLINE ints dot(ints sum, bytes weights, bytes x)
{
    return _mm512_dpbusd_epi32(sum, weights, x);
}

/* Signed weights become unsigned ones by a bias of 128. */
INLINE bytes from_signed(bytes weights)
{
    return _mm512_xor_si512(weights, _mm512_set1_epi8((char)0x80));
}

INLINE ints dot_signed_bias(bytes x)
{
    return dot_bias(x, 128);
}

INLINE ints dot_signed(ints sum, bytes weights, bytes x)
{
    return dot(sum, weights, x);
}

/* ---- floats */

INLINE floats zeros(void)
{
    return _mm512_setzero_ps();
}

INLINE floats load_floats(const float *p)
{
    return _mm512_loadu_ps(p);
}

INLINE void store_floats(float *p, floats v)
{
    _mm512_storeu_ps(p, v);
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
    const __m512i twice = _mm512_set_epi32(7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0);
    return _mm512_permutexvar_ps(twice, _mm512_castps256_ps512(_mm256_cvtph_ps((__m128i)h)));
}

/* Eight bytes as floats, each twice. */
INLINE floats from_bytes_twice(uint64_t v)
{
    const __m128i twice = _mm_set_epi8(7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0);
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_shuffle_epi8(_mm_cvtsi64_si128((long long)v), twice)));
}

INLINE floats from_signed_bytes(i8x16 v)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32((__m128i)v));
}

INLINE floats scaled(floats v, float factor)
{
    return _mm512_mul_ps(v, _mm512_set1_ps(factor));
}

/* a * b + c, rounded once */
INLINE floats multiply_add(floats a, floats b, floats c)
{
    return _mm512_fmadd_ps(a, b, c);
}

/* Of the 16 halves of a unit, those of a chunk's lanes. */
INLINE floats lane_scales(floats halves, int chunk)
{
    const __m512i index = _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0);
    return _mm512_permutexvar_ps(_mm512_add_epi32(index, _mm512_set1_epi32(4 * chunk)), halves);
}

INLINE floats multiply(floats a, floats b)
{
    return _mm512_mul_ps(a, b);
}

/* acc + (float)products * scales, rounded once */
INLINE floats add_products(floats acc, ints products, floats scales)
{
    return _mm512_fmadd_ps(_mm512_cvtepi32_ps(products), scales, acc);
}

INLINE float sum_lanes(floats v)
{
    __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

/* ---- x */

/* 16 of them; false when one is not finite */
INLINE bool largest_of(floats v, floats *max)
{
    __m512 magnitude = _mm512_abs_ps(v);
    *max = _mm512_max_ps(*max, magnitude);
    return _mm512_cmp_ps_mask(magnitude, _mm512_set1_ps(INFINITY), _CMP_LT_OQ) == 0xffff;
}

INLINE float max_lane(floats v)
{
    return _mm512_reduce_max_ps(v);
}

/* 16 rounded products; their sum */
INLINE int quantize_16(int8_t *q, floats x, float factor)
{
    __m512i i = _mm512_cvtps_epi32(_mm512_mul_ps(x, _mm512_set1_ps(factor)));
    _mm_storeu_si128((void *)q, _mm512_cvtepi32_epi8(i));
    return _mm512_reduce_add_epi32(i);
}

#endif
