/* SPDX-License-Identifier: MIT
 *
 * Weights times many rows of x, as training has them: weight rows become lanes, so that a decoded block of them meets all rows of
 * x from a near cache. Included by files that are compiled for several instruction sets. Private to lib/device/cpu.
 */
#ifndef LG_DEVICE_CPU_MATMUL_BLOCKS_H
#define LG_DEVICE_CPU_MATMUL_BLOCKS_H

#include "device/cpu/matmul_back.h"
#include "device/cpu/outer.h"

#if defined(__AVX512F__)
#define ZIP(a, b, at)                                                                                              \
    __builtin_shufflevector(a, b, at, at + 16, at + 1, at + 17, at + 2, at + 18, at + 3, at + 19, at + 4, at + 20, \
                            at + 5, at + 21, at + 6, at + 22, at + 7, at + 23)
#elif defined(__AVX2__)
#define ZIP(a, b, at) __builtin_shufflevector(a, b, at, at + 8, at + 1, at + 9, at + 2, at + 10, at + 3, at + 11)
#else
#define ZIP(a, b, at) __builtin_shufflevector(a, b, at, at + 4, at + 1, at + 5)
#endif

/* Turns a square of VEC rows, `stride` apart: each time rows of one half come between those of the other. */
INLINE void turn_square(const float *x, size_t stride, float *y, size_t y_stride)
{
    vec v[VEC], zipped[VEC];
    for (int i = 0; i < VEC; i++)
        v[i] = load(x + (size_t)i * stride);
    _Pragma("GCC unroll 4") for (int step = 1; step < VEC; step *= 2)
    {
        for (int i = 0; i < VEC / 2; i++) {
            zipped[2 * i] = ZIP(v[i], v[i + VEC / 2], 0);
            zipped[2 * i + 1] = ZIP(v[i], v[i + VEC / 2], VEC / 2);
        }
        memcpy(v, zipped, sizeof(v));
    }
    for (int i = 0; i < VEC; i++)
        store(y + (size_t)i * y_stride, v[i]);
}

typedef void decode_rows_fn(const uint8_t *src, float *y, size_t n);

/* A matrix, encoded. */
struct block_weights {
    decode_rows_fn *decode;
    uint32_t block_elements, block_bytes;
    const uint8_t *data;
    size_t row_bytes, n_cols;
};

/* Weights [k, k + n_k) of rows [row, row + n), n at most SLICE, as columns. */
static void turn_block(const struct block_weights *w, uint32_t row, uint32_t n, size_t k, uint32_t n_k, float (*panel)[SLICE])
{
    _Alignas(64) float rows[VEC][LG_MATMUL_BLOCK];
    const uint8_t *src = w->data + k / w->block_elements * w->block_bytes;
    size_t n_bytes = (size_t)n_k / w->block_elements * w->block_bytes;
    memset(rows, 0, sizeof(rows));
    for (uint32_t r = 0; r < n; r += VEC) {
        for (uint32_t i = 0; i < VEC && r + i < n; i++) {
            const uint8_t *at = src + (row + r + i) * w->row_bytes;
            ask_for(at + n_bytes, n_bytes); // the next block's: pieces of rows are too short for processors to see what comes
            w->decode(at, rows[i], n_k);
        }
        for (uint32_t s = 0; s < n_k; s += VEC)
            turn_square(rows[0] + s, LG_MATMUL_BLOCK, panel[s] + r, SLICE);
    }
}

/* Weight rows [begin, end) times n_x rows of x. */
static void multiply_blocks(const struct block_weights *w, uint32_t begin, uint32_t end, const float *x, uint32_t n_x, float *y,
                            size_t y_stride)
{
    _Alignas(64) float panel[LG_MATMUL_BLOCK][SLICE];
    for (uint32_t row = begin; row < end; row += SLICE) {
        uint32_t n = lg_min_u32(end - row, SLICE);
        for (size_t k = 0; k < w->n_cols; k += LG_MATMUL_BLOCK) {
            uint32_t n_k = w->n_cols - k < LG_MATMUL_BLOCK ? (uint32_t)(w->n_cols - k) : LG_MATMUL_BLOCK;
            turn_block(w, row, n, k, n_k, panel);
            multiply_slice((struct target){y + row, y_stride, k > 0, false}, (struct factors){x + k, w->n_cols, 1},
                           (struct columns){panel[0], SLICE}, n_k, n, n_x);
        }
    }
}

#endif
