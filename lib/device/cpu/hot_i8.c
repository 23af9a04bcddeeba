/* SPDX-License-Identifier: MIT
 *
 * Quantised weights times a row of x in 8 bits: the products of i8.h in vectors. Meson compiles this file once for each
 * instruction set that has an integer dot product, with HOT_TABLE as the name of its table.
 *
 * A row of x meets rows of weights one by one, decoded as they come from memory. Many of them: hot_i8_tile.c.
 */
#include <math.h>

#include "device/cpu/fast.h"
#include "device/cpu/grid.h"
#include "device/cpu/i8.h"
#include "device/cpu/simd.h"

typedef uint64_t u64x2 __attribute__((vector_size(16)));

#if defined(__AVX512VNNI__)
#include "device/cpu/i8_avx512.h"
#elif defined(__AVX2__)
#include "device/cpu/i8_avx2.h"
#endif

#include "device/cpu/i8_types.h"

enum {
    SPAN = 16384, // columns of a row of x that are made ready
};

/* An encoded matrix. */
struct weights {
    const uint8_t *data;
    size_t row_bytes;
    uint32_t n_cols;
};

static struct weights weights_of(const struct lg_matmul_push *push, const void *data)
{
    return (struct weights){
        .data = data,
        .row_bytes = push->row_bytes,
        .n_cols = push->n_cols,
    };
}

INLINE ints lane_products(enum lg_type type, ints bias, bytes w, bytes x)
{
    return is_signed(type) ? dot_signed(bias, w, x) : dot(bias, w, x);
}

INLINE ints chunk_bias(enum lg_type type, bytes x)
{
    return is_signed(type) ? dot_signed_bias(x) : dot_bias(x, bias_of(type));
}

/* ---- one row of x -------------------------------------------------------------------------------- */

/* What makes a row of x ready for weights of some type, made once for many rows of them. */
INLINE void make_bias(enum lg_type type, struct lg_i8_row x, uint32_t k, uint32_t n, ints *bias)
{
    for (uint32_t i = 0; i < (n + 63) / 64; i++)
        bias[i] = chunk_bias(type, load_chunk(x.q + k + 64 * i));
}

/* What is constant stays in registers. */
#define UNROLL _Pragma("GCC unroll 4")

struct sums {
    floats lanes, mins;
};

/* Adds n_blocks blocks of a row of weights, a unit or less, at column k. */
INLINE struct sums add_unit(enum lg_type type, uint32_t n_blocks, const uint8_t *src, struct lg_i8_row x, uint32_t k,
                            const ints *bias, struct sums sums)
{
    floats scales = multiply(unit_scales(type, src, n_blocks), load_floats(x.d + k / 16));
    if (has_min(type))
        sums.mins = multiply_add(unit_mins(type, src, n_blocks), load_floats(x.sums + k / 16), sums.mins);
    UNROLL for (uint32_t j = 0; j < (n_blocks + 1) / 2; j++) {
        bytes w = chunk(type, src, j, n_blocks - 1);
        ints products = lane_products(type, bias[j], w, load_chunk(x.q + k + 64 * j));
        sums.lanes = add_products(sums.lanes, products, lane_scales(scales, (int)j));
    }
    return sums;
}

/* The part of a row of weights behind column k, which is not a multiple of units or not made ready. */
INLINE struct sums add_rest(enum lg_type type, const uint8_t *src, struct lg_i8_row x, const ints *ready, uint32_t k,
                            uint32_t n, struct sums sums)
{
    for (; k < n; k += LG_I8_UNIT, src += unit_bytes(type)) {
        ints here[LG_I8_CHUNKS];
        uint32_t n_blocks = lg_min_u32(n - k, LG_I8_UNIT) / 32;
        const ints *bias = k < SPAN ? ready + k / 64 : here;
        if (k >= SPAN)
            make_bias(type, x, k, n_blocks * 32, here);
        sums = n_blocks == LG_I8_BLOCKS / 2 ? add_unit(type, LG_I8_BLOCKS / 2, src, x, k, bias, sums)
                                            : add_unit(type, n_blocks, src, x, k, bias, sums);
    }
    return sums;
}

/* A row of weights times a row of x, of which the first SPAN columns are ready. */
INLINE float multiply_row(enum lg_type type, const uint8_t *src, struct lg_i8_row x, const ints *ready, uint32_t n)
{
    struct sums sums = {zeros(), zeros()};
    uint32_t k = 0, end = lg_min_u32(n, SPAN) / LG_I8_UNIT * LG_I8_UNIT;
    for (; k < end; k += LG_I8_UNIT, src += unit_bytes(type))
        sums = add_unit(type, LG_I8_BLOCKS, src, x, k, ready + k / 64, sums);
    if (k < n)
        sums = add_rest(type, src, x, ready, k, n, sums);
    return sum_lanes(sums.lanes) + sum_lanes(sums.mins);
}

/*
 * Weight rows [begin, end) times a row of x. The rows are read one after another, as they lie in memory: processors load
 * ahead of a single stream three times as fast as of two, and faster than programs can ask.
 */
INLINE void multiply_rows(enum lg_type type, const struct weights *w, uint32_t begin, uint32_t end, struct lg_i8_row x,
                          float *y)
{
    ints ready[SPAN / 64];
    make_bias(type, x, 0, lg_min_u32(w->n_cols, SPAN), ready);
    for (; begin < end; begin++)
        y[begin] = multiply_row(type, w->data + begin * w->row_bytes, x, ready, w->n_cols);
}

/* Neighbouring workgroups of one row of x are one span of weight rows. */
INLINE void matvec(enum lg_type type, const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_matmul_push *push = args->push;
    const struct weights w = weights_of(push, args->view[0]);
    uint32_t per_group = args->spec[0] * args->spec[1];
    while (first < last) {
        uint32_t n = lg_min_u32(last - first, args->grid[0] - first % args->grid[0]);
        struct lg_cpu_span from = lg_cpu_span(args, first, per_group, push->n_rows);
        struct lg_cpu_span to = lg_cpu_span(args, first + n - 1, per_group, push->n_rows);
        struct lg_i8_row x = lg_i8_row_at(args->view[1], push->n_cols, from.row);
        float *y = (float *)args->view[2] + (size_t)from.row * push->y_stride + push->row_begin;
        multiply_rows(type, &w, from.begin, to.end, x, y);
        first += n;
    }
}

#define PRODUCTS(lower, UPPER)                                                                    \
    static void matvec_##lower(const struct lg_cpu_args *args, uint32_t first, uint32_t last)     \
    {                                                                                             \
        matvec(LG_TYPE_##UPPER, args, first, last);                                               \
    }
LG_BLOCK_TYPES(PRODUCTS)

/* ---- x ------------------------------------------------------------------------------------------- */

/* 32 elements; the same as quantize_block() of the reference. */
INLINE void quantize_block(const float *x, int8_t *q, float *d, float *sums, struct lg_i8_block *block)
{
    floats a = load_floats(x), b = load_floats(x + 16), max = zeros();
    bool finite = largest_of(a, &max);
    finite &= largest_of(b, &max);
    float scale = finite ? max_lane(max) / 127 : NAN, inverse = scale > 0 ? 1 / scale : 0;
    if (isinf(inverse))
        scale = inverse = 0;
    d[0] = d[1] = scale;
    int whole[2] = {0, 0};
    if (finite) {
        whole[0] = quantize_16(q, a, inverse);
        whole[1] = quantize_16(q + 16, b, inverse);
    } else {
        memset(q, 0, 32);
    }
    for (int h = 0; h < 2; h++)
        sums[h] = scale * (float)whole[h];
    *block = lg_i8_block_of(scale, whole);
}

static void quantize(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_rowwise_push *push = args->push;
    uint32_t n = push->n_cols, padded = LG_I8_PADDED(n);
    for (uint32_t t = first; t < last; t++) {
        const float *x = (const float *)args->view[0] + (size_t)t * n;
        struct lg_i8_row row = lg_i8_row_at(args->view[1], n, t);
        int8_t *q = (int8_t *)row.q;
        float *d = (float *)row.d, *sums = (float *)row.sums;
        struct lg_i8_block *blocks = (struct lg_i8_block *)row.blocks;
        uint32_t k = 0;
        for (; n - k >= 32; k += 32)
            quantize_block(x + k, q + k, d + k / 16, sums + k / 16, blocks + k / 32);
        if (k < n) {
            float rest[32] = {0};
            memcpy(rest, x + k, (n - k) * sizeof(*rest));
            quantize_block(rest, q + k, d + k / 16, sums + k / 16, blocks + k / 32);
            k += 32;
        }
        memset(q + k, 0, padded - k);
        memset(d + k / 16, 0, (padded - k) / 16 * sizeof(*d));
        memset(sums + k / 16, 0, (padded - k) / 16 * sizeof(*sums));
        memset(blocks + k / 32, 0, (padded - k) / 32 * sizeof(*blocks));
        memset(blocks + padded / 32, 0, LG_I8_ROW_BYTES(n) - 2 * padded);
    }
}

lg_cpu_fast_table HOT_TABLE = {[LG_K_QUANTIZE] = quantize,
#define ENTRIES(lower, UPPER) [LG_K_MATVEC_I8_##UPPER] = matvec_##lower,
                               LG_BLOCK_TYPES(ENTRIES)};
