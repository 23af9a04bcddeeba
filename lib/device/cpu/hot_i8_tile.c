/* SPDX-License-Identifier: MIT
 *
 * Quantised weights times many rows of x in 8 bits: the sums of i8.h, sixteen rows of weights at a time, one in each lane.
 * Meson compiles this file once for each instruction set that has an integer dot product, with HOT_TABLE as the name of its
 * table.
 *
 * A slice of columns of sixteen rows is decoded once for all rows of x, into a panel that stays in the nearest cache: the
 * bytes of four columns of all rows side by side, so that they meet four bytes of x that are the same for all lanes. A few
 * rows of x at a time have their sums in registers.
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
#elif defined(__aarch64__)
#include "device/cpu/i8_neon.h"
#endif

#include "device/cpu/i8_types.h"

/* What is constant stays in registers. */
#define UNROLL _Pragma("GCC unroll 16")

#if defined(__AVX512VNNI__)
#include "device/cpu/i8_tile_avx512.h"
#elif defined(__AVX2__)
#include "device/cpu/i8_tile_avx2.h"
#elif defined(__aarch64__)
#include "device/cpu/i8_tile_neon.h"
#endif

enum {
    ROWS = LG_I8_LANES, // of weights in a panel
    SLICE = 512,        // columns of a panel
    MAX_X = 128,        // rows of x that share a panel
};

/* A block of sixteen rows of weights, decoded. Types take as many of its scales and mins as they have, mins first. */
struct panel_block {
    _Alignas(64) uint8_t q[32][ROWS]; // of each four columns, the four of each row
    float factors[4][ROWS];
};

/* A row of x, and how far its parts are from its beginning. */
struct x_layout {
    size_t d, sums, blocks;
};

/* What a panel is decoded from: sixteen rows at a column. */
struct weights {
    const uint8_t *row[ROWS];
};

INLINE bool by_halves(enum lg_type type)
{
    return type == LG_TYPE_Q2_K || type == LG_TYPE_Q3_K || type == LG_TYPE_Q6_K;
}

INLINE int n_scales(enum lg_type type)
{
    return by_halves(type) ? 2 : 1;
}

/* Where scale h, or min h, of a block is. */
INLINE int scale_at(enum lg_type type, int h)
{
    return has_min(type) ? n_scales(type) + h : h;
}

/* Bytes of a block of a panel. */
INLINE size_t block_size(enum lg_type type)
{
    return sizeof(uint8_t[32][ROWS]) + (has_min(type) ? 2 : 1) * (size_t)n_scales(type) * sizeof(float[ROWS]);
}

INLINE struct panel_block *block_at(enum lg_type type, void *panel, uint32_t i)
{
    return (struct panel_block *)((uint8_t *)panel + i * block_size(type));
}

/* ---- weights ------------------------------------------------------------------------------------- */

/* Chunk j of a unit of each row, the blocks of which are `first` and the next. */
INLINE void decode_chunk(enum lg_type type, const struct weights *w, uint32_t j, uint32_t n_blocks, void *panel)
{
    bytes rows[ROWS];
    UNROLL for (int r = 0; r < ROWS; r++)
        rows[r] = for_tile(type, chunk(type, w->row[r], j, n_blocks - 1));
    transpose(rows);
    UNROLL for (int b = 0; b < 2; b++) {
        if (2 * j + (uint32_t)b >= n_blocks)
            break;
        uint8_t *q = block_at(type, panel, 2 * j + (uint32_t)b)->q[0];
        UNROLL for (int i = 0; i < 8; i++)
            store_chunk(q + 64 * i, rows[8 * b + i]);
    }
}

/* A factor of each half of a unit, of all rows; blocks keep theirs from `at` on. */
INLINE void put_factors(enum lg_type type, const floats *rows, uint32_t n_blocks, void *panel, int at)
{
    bytes v[ROWS];
    UNROLL for (int r = 0; r < ROWS; r++)
        v[r] = as_bytes(rows[r]);
    transpose(v);
    UNROLL for (uint32_t b = 0; b < LG_I8_BLOCKS; b++) {
        if (b >= n_blocks)
            break;
        UNROLL for (int h = 0; h < n_scales(type); h++)
            store_chunk(block_at(type, panel, b)->factors[at + h], v[2 * b + (uint32_t)h]);
    }
}

/* The same of types that have a 16-bit float, `offset` bytes from the beginning of each block. */
INLINE void put_halves(enum lg_type type, const struct weights *w, uint32_t offset, uint32_t n_blocks, void *panel, int at)
{
    uint16_t halves[LG_I8_BLOCKS][ROWS];
    uint32_t size = unit_bytes(type) / LG_I8_BLOCKS;
    for (int r = 0; r < ROWS; r++) {
        UNROLL for (uint32_t b = 0; b < LG_I8_BLOCKS; b++) {
            if (b < n_blocks)
                memcpy(&halves[b][r], w->row[r] + b * size + offset, sizeof(uint16_t));
        }
    }
    for (uint32_t b = 0; b < n_blocks; b++) {
        for (int r = 0; r < ROWS; r += VEC)
            store(block_at(type, panel, b)->factors[at] + r, load_halves((const uint8_t *)&halves[b][r]));
    }
}

INLINE void decode_factors(enum lg_type type, const struct weights *w, uint32_t n_blocks, void *panel)
{
    if (unit_bytes(type) % LG_I8_BLOCKS == 0 && type != LG_TYPE_Q4_K && type != LG_TYPE_Q5_K) {
        put_halves(type, w, 0, n_blocks, panel, scale_at(type, 0));
        if (has_min(type))
            put_halves(type, w, 2, n_blocks, panel, 0);
        return;
    }
    floats rows[ROWS];
    for (int r = 0; r < ROWS; r++)
        rows[r] = unit_scales(type, w->row[r], n_blocks);
    put_factors(type, rows, n_blocks, panel, scale_at(type, 0));
    for (int r = 0; has_min(type) && r < ROWS; r++)
        rows[r] = unit_mins(type, w->row[r], n_blocks);
    if (has_min(type))
        put_factors(type, rows, n_blocks, panel, 0);
}

INLINE void decode_unit(enum lg_type type, const struct weights *w, uint32_t n_blocks, void *panel)
{
    for (uint32_t j = 0; j < (n_blocks + 1) / 2; j++)
        decode_chunk(type, w, j, n_blocks, panel);
    decode_factors(type, w, n_blocks, panel);
}

/* n columns of sixteen rows, which are moved behind them. */
INLINE void decode(enum lg_type type, struct weights *w, uint32_t n, void *panel)
{
    for (uint32_t i = 0; i < n; i += LG_I8_UNIT) {
        uint32_t n_blocks = lg_min_u32(n - i, LG_I8_UNIT) / 32;
        if (n_blocks == LG_I8_BLOCKS)
            decode_unit(type, w, LG_I8_BLOCKS, block_at(type, panel, i / 32));
        else
            decode_unit(type, w, n_blocks, block_at(type, panel, i / 32));
        for (int r = 0; r < ROWS; r++)
            w->row[r] += unit_bytes(type);
    }
}

/* ---- products ------------------------------------------------------------------------------------ */

/* A part of a block, all or half of it, times n_x rows of x, a constant, whose parts begin at these addresses. */
INLINE void add_part(enum lg_type type, const struct panel_block *w, int h, const uint8_t *const *x, int n_x, size_t q,
                     size_t d, size_t sums, size_t blocks, floats *acc)
{
    bool half = by_halves(type);
    size_t bias_at = blocks + (half ? 4 * (size_t)h : offsetof(struct lg_i8_block, bias));
    size_t sum_at = half ? sums + 4 * (size_t)h : blocks + offsetof(struct lg_i8_block, sum);
    ints products[TILE_X];
    UNROLL for (int t = 0; t < n_x; t++)
        products[t] = first_products(type, x[t] + bias_at);
    add_dots(type, half ? 4 : 8, w->q[16 * h], x, n_x, q + 16 * (size_t)h, products);
    floats scale = load_floats(w->factors[scale_at(type, h)]);
    UNROLL for (int t = 0; t < n_x; t++)
        acc[t] = add_products(acc[t], products[t], multiply(scale, same_float(x[t] + d + 4 * (size_t)h)));
    if (!has_min(type))
        return;
    floats min = load_floats(w->factors[h]);
    UNROLL for (int t = 0; t < n_x; t++)
        acc[t] = multiply_add(min, same_float(x[t] + sum_at), acc[t]);
}

/* Columns [k, k + n) of a panel times those of n_x rows of x, a constant. */
INLINE void add_panel(enum lg_type type, void *panel, const uint8_t *const *x, const struct x_layout *at, int n_x,
                      uint32_t k, uint32_t n, float (*const *tile)[ROWS])
{
    const uint8_t *rows[TILE_X];
    floats acc[TILE_X];
    UNROLL for (int t = 0; t < n_x; t++) {
        rows[t] = x[t];
        acc[t] = load_floats(*tile[t]);
    }
    size_t d = at->d + k / 4, sums = at->sums + k / 4, blocks = at->blocks + k / 2;
    for (uint32_t i = 0; i < n / 32; i++) {
        const struct panel_block *w = block_at(type, panel, i);
        for (int h = 0; h < n_scales(type); h++)
            add_part(type, w, h, rows, n_x, k + 32 * (size_t)i, d, sums, blocks, acc);
        d += 8;
        sums += 8;
        blocks += sizeof(struct lg_i8_block);
    }
    UNROLL for (int t = 0; t < n_x; t++)
        store_floats(*tile[t], acc[t]);
}

/* Asks for the slice behind, of rows [begin, end): sixteen streams are more than processors follow by themselves. */
INLINE void ask_for(enum lg_type type, const struct weights *next, uint32_t begin, uint32_t end)
{
    for (uint32_t r = begin; r < end; r++) {
        for (uint32_t i = 0; i < SLICE / LG_I8_UNIT * unit_bytes(type); i += 64)
            __builtin_prefetch(next->row[r] + i);
    }
}

/* A panel for all rows of x. The last few are filled up with one of them. */
INLINE void add_panels(enum lg_type type, void *panel, const uint8_t *const *x, const struct x_layout *at, uint32_t n_x,
                       uint32_t k, uint32_t n, float (*tile)[ROWS], const struct weights *next)
{
    for (uint32_t t = 0; t < n_x; t += TILE_X) {
        ask_for(type, next, t * ROWS / n_x, lg_min_u32(t + TILE_X, n_x) * ROWS / n_x);
        const uint8_t *rows[TILE_X];
        float(*sums[TILE_X])[ROWS];
        uint32_t left = lg_min_u32(n_x - t, TILE_X);
        for (uint32_t i = 0; i < TILE_X; i++) {
            rows[i] = x[t + lg_min_u32(i, left - 1)];
            sums[i] = tile + t + lg_min_u32(i, left - 1);
        }
        if (left > TILE_X / 2)
            add_panel(type, panel, rows, at, TILE_X, k, n, sums);
        else if (left > 1)
            add_panel(type, panel, rows, at, TILE_X / 2, k, n, sums);
        else
            add_panel(type, panel, rows, at, 1, k, n, sums);
    }
}

/* Sixteen rows, the last one again where there are fewer. */
static struct weights rows_at(const struct lg_matmul_push *push, const uint8_t *data, uint32_t row)
{
    struct weights w;
    for (uint32_t r = 0; r < ROWS; r++)
        w.row[r] = data + (size_t)lg_min_u32(row + r, push->n_rows - 1) * push->row_bytes;
    return w;
}

/* Rows [row, end) of weights, up to ROWS, times n_x rows of x. */
INLINE void multiply_panel(enum lg_type type, const struct lg_matmul_push *push, const uint8_t *data, uint32_t row,
                           uint32_t end, const uint8_t *const *x, uint32_t n_x, float *y)
{
    _Alignas(64) float tile[MAX_X][ROWS];
    struct panel_block panel[SLICE / 32];
    struct weights w = rows_at(push, data, row), after = rows_at(push, data, row + ROWS);
    size_t padded = LG_I8_PADDED(push->n_cols);
    const struct x_layout at = {.d = padded, .sums = padded + padded / 4, .blocks = 2 * padded};
    memset(tile, 0, n_x * sizeof(tile[0]));
    for (uint32_t k = 0; k < push->n_cols; k += SLICE) {
        uint32_t n = lg_min_u32(push->n_cols - k, SLICE);
        decode(type, &w, n, panel);
        if (push->n_cols - k <= SLICE)
            w = after;
        add_panels(type, panel, x, &at, n_x, k, n, tile, &w);
    }
    for (uint32_t t = 0; t < n_x; t++)
        memcpy(y + (size_t)t * push->y_stride + row, tile[t], lg_min_u32(end - row, ROWS) * sizeof(float));
}

INLINE void matmul(enum lg_type type, const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_matmul_push *push = args->push;
    uint32_t n_t = ((const uint32_t *)args->view[0])[push->dim];
    for (uint32_t g = first; g < last; g++) {
        struct lg_cpu_span m = lg_cpu_span(args, g, args->spec[1], push->n_rows);
        uint32_t t = m.row * args->spec[2], t_end = lg_min_u32(n_t, t + args->spec[2]);
        for (; t < t_end; t += MAX_X) {
            const uint8_t *x[MAX_X];
            uint32_t n = lg_min_u32(t_end - t, MAX_X);
            for (uint32_t i = 0; i < n; i++)
                x[i] = (const uint8_t *)args->view[2] + (size_t)(t + i) * LG_I8_ROW_BYTES(push->n_cols);
            float *y = (float *)args->view[3] + (size_t)t * push->y_stride + push->row_begin;
            for (uint32_t row = m.begin; row < m.end; row += ROWS)
                multiply_panel(type, push, args->view[1], row, m.end, x, n, y);
        }
    }
}

#define PRODUCTS(lower, UPPER)                                                                \
    static void matmul_##lower(const struct lg_cpu_args *args, uint32_t first, uint32_t last) \
    {                                                                                         \
        matmul(LG_TYPE_##UPPER, args, first, last);                                           \
    }
LG_BLOCK_TYPES(PRODUCTS)

#define ENTRY(lower, UPPER) [LG_K_MATMUL_I8_##UPPER] = matmul_##lower,
lg_cpu_fast_table HOT_TABLE = {LG_BLOCK_TYPES(ENTRY)};
