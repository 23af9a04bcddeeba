/* SPDX-License-Identifier: MIT
 * What hot_i8_tile.c is written in besides, with AVX-512 and its integer dot product. Private to lib/device/cpu. */
#ifndef LG_DEVICE_CPU_I8_TILE_AVX512_H
#define LG_DEVICE_CPU_I8_TILE_AVX512_H

enum { TILE_X = 8 }; // rows of x that sixteen rows of weights meet in registers

INLINE bytes as_bytes(floats v)
{
    return _mm512_castps_si512(v);
}

/* A chunk's bytes as tiles have them: small integers without mins get a bias of 128. */
INLINE bytes for_tile(enum lg_type type, bytes chunk)
{
    int bias = is_signed(type) ? 128 : bias_of(type);
    return bias % 128 ? _mm512_add_epi8(chunk, _mm512_set1_epi8((char)(128 - bias))) : chunk;
}

/* Words i of sixteen rows become row i. */
INLINE void transpose(bytes *rows)
{
    __m512i four[4][4];
    for (int i = 0; i < 4; i++) {
        const bytes *r = rows + 4 * i;
        __m512i a = _mm512_unpacklo_epi32(r[0], r[1]), b = _mm512_unpackhi_epi32(r[0], r[1]);
        __m512i c = _mm512_unpacklo_epi32(r[2], r[3]), d = _mm512_unpackhi_epi32(r[2], r[3]);
        four[i][0] = _mm512_unpacklo_epi64(a, c);
        four[i][1] = _mm512_unpackhi_epi64(a, c);
        four[i][2] = _mm512_unpacklo_epi64(b, d);
        four[i][3] = _mm512_unpackhi_epi64(b, d);
    }
    for (int c = 0; c < 4; c++) {
        __m512i even_a = _mm512_shuffle_i32x4(four[0][c], four[1][c], 0x88);
        __m512i even_b = _mm512_shuffle_i32x4(four[2][c], four[3][c], 0x88);
        __m512i odd_a = _mm512_shuffle_i32x4(four[0][c], four[1][c], 0xdd);
        __m512i odd_b = _mm512_shuffle_i32x4(four[2][c], four[3][c], 0xdd);
        rows[c] = _mm512_shuffle_i32x4(even_a, even_b, 0x88);
        rows[4 + c] = _mm512_shuffle_i32x4(odd_a, odd_b, 0x88);
        rows[8 + c] = _mm512_shuffle_i32x4(even_a, even_b, 0xdd);
        rows[12 + c] = _mm512_shuffle_i32x4(odd_a, odd_b, 0xdd);
    }
}

/* What the products of a block begin with; its biases of 128 are at p. */
INLINE ints first_products(enum lg_type type, const void *p)
{
    int32_t bias;
    memcpy(&bias, p, sizeof(bias));
    return has_min(type) ? _mm512_setzero_si512() : _mm512_set1_epi32(bias);
}

INLINE floats same_float(const void *p)
{
    float f;
    memcpy(&f, p, sizeof(f));
    return _mm512_set1_ps(f);
}

/* Adds the products of n_quads times four columns of a panel with those of n_x rows of x at column k. */
INLINE void add_dots(enum lg_type type, int n_quads, const uint8_t *w, const uint8_t *const *x, int n_x, size_t k, ints *sum)
{
    (void)type;
    UNROLL for (int i = 0; i < n_quads; i++) {
        bytes weights = load_chunk(w + 64 * i);
        UNROLL for (int t = 0; t < n_x; t++) {
            int32_t four;
            memcpy(&four, x[t] + k + 4 * i, sizeof(four));
            sum[t] = _mm512_dpbusd_epi32(sum[t], weights, _mm512_set1_epi32(four));
        }
    }
}

#endif
