/* SPDX-License-Identifier: MIT
 * What hot_i8_tile.c is written in besides, with AVX2: as i8_tile_avx512.h, in two halves. Private to lib/device/cpu. */
#ifndef LG_DEVICE_CPU_I8_TILE_AVX2_H
#define LG_DEVICE_CPU_I8_TILE_AVX2_H

enum { TILE_X = 3 };

INLINE bytes as_bytes(floats v)
{
    BOTH(bytes, _mm256_castps_si256(v.part[i]));
}

INLINE bytes for_tile(enum lg_type type, bytes chunk)
{
    (void)type;
    return chunk;
}

INLINE void transpose_8(const __m256i *r, __m256i *out)
{
    __m256i four[2][4];
    for (int i = 0; i < 2; i++, r += 4) {
        __m256i a = _mm256_unpacklo_epi32(r[0], r[1]), b = _mm256_unpackhi_epi32(r[0], r[1]);
        __m256i c = _mm256_unpacklo_epi32(r[2], r[3]), d = _mm256_unpackhi_epi32(r[2], r[3]);
        four[i][0] = _mm256_unpacklo_epi64(a, c);
        four[i][1] = _mm256_unpackhi_epi64(a, c);
        four[i][2] = _mm256_unpacklo_epi64(b, d);
        four[i][3] = _mm256_unpackhi_epi64(b, d);
    }
    for (int c = 0; c < 4; c++) {
        out[c] = _mm256_permute2x128_si256(four[0][c], four[1][c], 0x20);
        out[4 + c] = _mm256_permute2x128_si256(four[0][c], four[1][c], 0x31);
    }
}

INLINE void transpose(bytes *rows)
{
    bytes out[16];
    for (int side = 0; side < 2; side++) {
        for (int part = 0; part < 2; part++) {
            __m256i from[8], to[8];
            for (int i = 0; i < 8; i++)
                from[i] = rows[8 * side + i].part[part];
            transpose_8(from, to);
            for (int i = 0; i < 8; i++)
                out[8 * part + i].part[side] = to[i];
        }
    }
    memcpy(rows, out, sizeof(out));
}

/* Products are of the bytes as they are, less the format's own bias. */
INLINE ints first_products(enum lg_type type, const void *p)
{
    const int shift = type == LG_TYPE_Q4_0 ? 4 : type == LG_TYPE_Q5_0 ? 3 : type == LG_TYPE_Q3_K ? 5 : 2;
    int32_t bias;
    memcpy(&bias, p, sizeof(bias));
    __m256i first = _mm256_setzero_si256();
    if (bias_of(type))
        first = _mm256_srai_epi32(_mm256_set1_epi32(bias), shift);
    return (ints){{first, first}};
}

INLINE floats same_float(const void *p)
{
    float f;
    memcpy(&f, p, sizeof(f));
    BOTH(floats, _mm256_set1_ps(f));
}

/* How many sums of two products with weights of the type fit in 16 bits: each is 2 * 127 * the largest of them. */
INLINE int pairs_that_fit(enum lg_type type)
{
    switch (type) {
    case LG_TYPE_Q8_0: return 1;
    case LG_TYPE_Q6_K: return 2;
    case LG_TYPE_Q5_0:
    case LG_TYPE_Q5_1:
    case LG_TYPE_Q5_K: return 4;
    default: return 8;
    }
}

INLINE __m256i four_of(const uint8_t *p)
{
    int32_t four;
    memcpy(&four, p, sizeof(four));
    return _mm256_set1_epi32(four);
}

INLINE __m256i word_products(enum lg_type type, __m256i w, __m256i x)
{
    if (is_signed(type))
        return _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
    return _mm256_maddubs_epi16(w, x);
}

/* Compilers left alone add up in trees, and run out of registers. */
INLINE __m256i in_order(__m256i v)
{
    __asm__("" : "+x"(v));
    return v;
}

INLINE void add_dots(enum lg_type type, int n_quads, const uint8_t *w, const uint8_t *const *x, int n_x, size_t k, ints *sum)
{
    const __m256i ones = _mm256_set1_epi16(1);
    int together = pairs_that_fit(type) < n_quads ? pairs_that_fit(type) : n_quads;
    UNROLL for (int i = 0; i < n_quads; i += together) {
        __m256i words[TILE_X][2];
        UNROLL for (int j = i; j < i + together; j++) {
            bytes weights = load_chunk(w + 64 * j);
            UNROLL for (int t = 0; t < n_x; t++) {
                __m256i four = four_of(x[t] + k + 4 * j);
                UNROLL for (int part = 0; part < 2; part++) {
                    __m256i products = word_products(type, weights.part[part], four);
                    words[t][part] = j == i ? products : in_order(_mm256_add_epi16(words[t][part], products));
                }
            }
        }
        UNROLL for (int t = 0; t < n_x; t++) {
            UNROLL for (int part = 0; part < 2; part++)
                sum[t].part[part] = _mm256_add_epi32(sum[t].part[part], _mm256_madd_epi16(words[t][part], ones));
        }
    }
}

#endif
