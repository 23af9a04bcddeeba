/* SPDX-License-Identifier: MIT
 *
 * Quantised weights times rows of x in 8 bits: the products of i8.h in vectors. Meson compiles this file once for each
 * instruction set that has an integer dot product, with HOT_TABLE as the name of its table.
 *
 * One row of x meets rows of weights one by one, decoded as they come from memory. With many rows of x, a
 * panel of four rows of weights is decoded once for all of them, a slice of its columns at a time, so that it stays in the
 * nearest cache.
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
    ROWS = 4,      // of weights in a panel
    SLICE = 2048,  // columns of a panel
    MAX_X = 32,    // rows of x that share a panel
    SPAN = 16384,  // columns of a row of x that are made ready
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

INLINE void matvec(enum lg_type type, const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_matmul_push *push = args->push;
    const struct weights w = weights_of(push, args->view[0]);
    uint32_t per_group = args->spec[0] * args->spec[1], most = lg_cpu_near_rows(push->row_bytes);
    while (first < last) {
        struct lg_cpu_block block = lg_cpu_block(args, &first, last, per_group, push->n_rows, most);
        for (uint32_t t = block.row; t < block.row_end; t++) {
            struct lg_i8_row x = lg_i8_row_at(args->view[1], push->n_cols, t);
            float *y = (float *)args->view[2] + (size_t)t * push->y_stride + push->row_begin;
            multiply_rows(type, &w, block.begin, block.end, x, y);
        }
    }
}

/* ---- many rows of x ------------------------------------------------------------------------------ */

/* A slice of four rows of weights, decoded. */
struct panel {
    _Alignas(64) uint8_t q[ROWS][SLICE];
    float scale[ROWS][SLICE / 16], min[ROWS][SLICE / 16];
};

/* What the products of a panel add up to, so far. */
struct tile {
    _Alignas(64) float lanes[MAX_X][ROWS][LG_I8_LANES], mins[MAX_X][ROWS][LG_I8_LANES];
};

/* Columns [k, k + n) of a row. */
INLINE void decode_row(enum lg_type type, const uint8_t *row, uint32_t k, uint32_t n, struct panel *panel, int r)
{
    const uint8_t *src = row + (size_t)(k / LG_I8_UNIT) * unit_bytes(type);
    for (uint32_t i = 0; i < n; i += LG_I8_UNIT, src += unit_bytes(type)) {
        uint32_t n_blocks = lg_min_u32(n - i, LG_I8_UNIT) / 32;
        store_floats(panel->scale[r] + i / 16, unit_scales(type, src, n_blocks));
        if (has_min(type))
            store_floats(panel->min[r] + i / 16, unit_mins(type, src, n_blocks));
        UNROLL for (uint32_t j = 0; j < LG_I8_CHUNKS; j++) {
            if (2 * j < n_blocks)
                store_chunk(panel->q[r] + i + 64 * j, chunk(type, src, j, n_blocks - 1));
        }
    }
}

/* A unit of the panel times n_x rows of x, a constant, n_chunks of each. */
INLINE void add_panel_unit(enum lg_type type, const struct panel *panel, uint32_t i, const struct lg_i8_row *x, int n_x,
                           uint32_t k, uint32_t n_chunks, floats (*acc)[ROWS])
{
    floats scales[TILE_X][ROWS];
    UNROLL for (int t = 0; t < n_x; t++) {
        UNROLL for (int r = 0; r < ROWS; r++)
            scales[t][r] = multiply(load_floats(panel->scale[r] + i / 16), load_floats(x[t].d + k / 16));
    }
    UNROLL for (uint32_t j = 0; j < n_chunks; j++) {
        bytes ws[ROWS];
        UNROLL for (int r = 0; r < ROWS; r++)
            ws[r] = load_chunk(panel->q[r] + i + 64 * j);
        UNROLL for (int t = 0; t < n_x; t++) {
            bytes xs = load_chunk(x[t].q + k + 64 * j);
            ints bias = chunk_bias(type, xs);
            UNROLL for (int r = 0; r < ROWS; r++)
                acc[t][r] = add_products(acc[t][r], lane_products(type, bias, ws[r], xs), lane_scales(scales[t][r], (int)j));
        }
    }
}

/* The panel's products with n_x rows of x, a constant, n columns of each. */
INLINE void add_panel(enum lg_type type, const struct panel *panel, const struct lg_i8_row *x, int n_x, uint32_t k,
                      uint32_t n, float (*lanes)[ROWS][LG_I8_LANES])
{
    floats acc[TILE_X][ROWS];
    uint32_t i = 0;
    UNROLL for (int t = 0; t < n_x; t++) {
        UNROLL for (int r = 0; r < ROWS; r++)
            acc[t][r] = load_floats(lanes[t][r]);
    }
    for (; n - i >= LG_I8_UNIT; i += LG_I8_UNIT)
        add_panel_unit(type, panel, i, x, n_x, k + i, LG_I8_CHUNKS, acc);
    if (i < n)
        add_panel_unit(type, panel, i, x, n_x, k + i, (n - i + 63) / 64, acc);
    UNROLL for (int t = 0; t < n_x; t++) {
        UNROLL for (int r = 0; r < ROWS; r++)
            store_floats(lanes[t][r], acc[t][r]);
    }
}

INLINE void add_mins(const struct panel *panel, struct lg_i8_row x, uint32_t k, uint32_t n,
                     float (*mins)[LG_I8_LANES])
{
    for (int r = 0; r < ROWS; r++) {
        floats acc = load_floats(mins[r]);
        for (uint32_t i = 0; i < n; i += LG_I8_UNIT)
            acc = multiply_add(load_floats(panel->min[r] + i / 16), load_floats(x.sums + (k + i) / 16), acc);
        store_floats(mins[r], acc);
    }
}

/* A panel for all rows of x. */
INLINE void add_panels(enum lg_type type, const struct panel *panel, const struct lg_i8_row *x, uint32_t n_x, uint32_t k,
                      uint32_t n, struct tile *tile)
{
    uint32_t t = 0;
    for (; n_x - t >= TILE_X; t += TILE_X)
        add_panel(type, panel, x + t, TILE_X, k, n, tile->lanes + t);
    for (; t < n_x; t++)
        add_panel(type, panel, x + t, 1, k, n, tile->lanes + t);
    for (t = 0; has_min(type) && t < n_x; t++)
        add_mins(panel, x[t], k, n, tile->mins[t]);
}

/* Weight rows [row, row + n_rows), up to ROWS, times n_x rows of x. */
INLINE void multiply_panel(enum lg_type type, const struct weights *w, uint32_t row, uint32_t n_rows,
                           const struct lg_i8_row *x, uint32_t n_x, float *y, size_t y_stride)
{
    struct panel panel;
    struct tile tile;
    memset(tile.lanes, 0, n_x * sizeof(tile.lanes[0]));
    memset(tile.mins, 0, n_x * sizeof(tile.mins[0]));
    for (uint32_t k = 0; k < w->n_cols; k += SLICE) {
        uint32_t n = lg_min_u32(w->n_cols - k, SLICE);
        for (uint32_t r = 0; r < ROWS; r++)
            decode_row(type, w->data + (row + lg_min_u32(r, n_rows - 1)) * w->row_bytes, k, n, &panel, (int)r);
        add_panels(type, &panel, x, n_x, k, n, &tile);
    }
    for (uint32_t t = 0; t < n_x; t++) {
        for (uint32_t r = 0; r < n_rows; r++)
            y[t * y_stride + row + r] =
                sum_lanes(load_floats(tile.lanes[t][r])) + sum_lanes(load_floats(tile.mins[t][r]));
    }
}

INLINE void matmul(enum lg_type type, const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_matmul_push *push = args->push;
    const struct weights w = weights_of(push, args->view[1]);
    uint32_t n_t = ((const uint32_t *)args->view[0])[push->dim];
    float *y = (float *)args->view[3] + push->row_begin;
    for (uint32_t g = first; g < last; g++) {
        struct lg_cpu_span m = lg_cpu_span(args, g, args->spec[1], push->n_rows);
        uint32_t t = m.row * args->spec[2], t_end = lg_min_u32(n_t, t + args->spec[2]);
        for (; t < t_end; t += MAX_X) {
            struct lg_i8_row x[MAX_X];
            uint32_t n = lg_min_u32(t_end - t, MAX_X);
            for (uint32_t i = 0; i < n; i++)
                x[i] = lg_i8_row_at(args->view[2], push->n_cols, t + i);
            for (uint32_t row = m.begin; row < m.end; row += ROWS)
                multiply_panel(type, &w, row, lg_min_u32(m.end - row, ROWS), x, n, y + (size_t)t * push->y_stride,
                               push->y_stride);
        }
    }
}

#define PRODUCTS(lower, UPPER)                                                                    \
    static void matvec_##lower(const struct lg_cpu_args *args, uint32_t first, uint32_t last)     \
    {                                                                                             \
        matvec(LG_TYPE_##UPPER, args, first, last);                                               \
    }                                                                                             \
    static void matmul_##lower(const struct lg_cpu_args *args, uint32_t first, uint32_t last)     \
    {                                                                                             \
        matmul(LG_TYPE_##UPPER, args, first, last);                                               \
    }
LG_BLOCK_TYPES(PRODUCTS)

/* ---- x ------------------------------------------------------------------------------------------- */

/* 32 elements; the same as quantize_block() of the reference. */
INLINE void quantize_block(const float *x, int8_t *q, float *d, float *sums)
{
    floats a = load_floats(x), b = load_floats(x + 16), max = zeros();
    bool finite = largest_of(a, &max);
    finite &= largest_of(b, &max);
    float scale = finite ? max_lane(max) / 127 : NAN, inverse = scale > 0 ? 1 / scale : 0;
    if (isinf(inverse))
        scale = inverse = 0;
    d[0] = d[1] = scale;
    if (finite) {
        sums[0] = scale * (float)quantize_16(q, a, inverse);
        sums[1] = scale * (float)quantize_16(q + 16, b, inverse);
    } else {
        memset(q, 0, 32);
        sums[0] = sums[1] = NAN;
    }
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
        uint32_t k = 0;
        for (; n - k >= 32; k += 32)
            quantize_block(x + k, q + k, d + k / 16, sums + k / 16);
        if (k < n) {
            float rest[32] = {0};
            memcpy(rest, x + k, (n - k) * sizeof(*rest));
            quantize_block(rest, q + k, d + k / 16, sums + k / 16);
            k += 32;
        }
        memset(q + k, 0, padded - k);
        memset(d + k / 16, 0, (padded - k) / 16 * sizeof(*d));
        memset(sums + k / 16, 0, (padded - k) / 16 * sizeof(*sums));
    }
}

lg_cpu_fast_table HOT_TABLE = {[LG_K_QUANTIZE] = quantize,
#define ENTRIES(lower, UPPER) \
    [LG_K_MATVEC_I8_##UPPER] = matvec_##lower, [LG_K_MATMUL_I8_##UPPER] = matmul_##lower,
                               LG_BLOCK_TYPES(ENTRIES)};
