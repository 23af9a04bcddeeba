/* SPDX-License-Identifier: MIT
 *
 * Products of training: sums of outer products, whose columns are lanes. Compiled once for each instruction set with HOT_TABLE
 * as the name of its table; sums are in the order of matmul_back.c, so the variants agree with the reference bit for bit.
 *
 * What is multiplied is first laid out as the innermost loop meets it: blocks of STEPS rows, cut into slices of SLICE columns
 * that lie one row behind the other, and so stay in the nearest cache whatever the distance of rows in memory.
 */
#include "device/cpu/decode.h"
#include "device/cpu/fast.h"
#include "device/cpu/grid.h"
#include "device/cpu/matmul_back.h"
#include "device/cpu/outer.h"

enum {
    STEPS = LG_BACK_BLOCK,
    WEIGHT_STEPS = 128, // rows of a batch, to weights
    COLUMNS = 256, // laid out at a time: a multiple of all blocks and of SLICE
    N_SLICES = COLUMNS / SLICE,
};

struct panel {
    _Alignas(64) float slice[N_SLICES][STEPS][SLICE];
};

/* Puts n numbers behind those of the rows before; those up to a multiple of SLICE may be anything. */
INLINE void lay_out(struct panel *panel, uint32_t step, const float *row, uint32_t n)
{
    for (uint32_t k = 0; k < n; k += SLICE)
        for (uint32_t j = 0; j < SLICE; j += VEC)
            store(panel->slice[k / SLICE][step] + j, load(row + k + j));
}

/* ---- through weights ----------------------------------------------------------------------------- */

typedef void decode_fn(const uint8_t *src, float *y, size_t n);

struct weights {
    decode_fn *decode;
    uint32_t block_elements, block_bytes;
};

/* Columns [begin, end) of weight rows [m, m_end), at most COLUMNS, from the beginning of the block that `begin` is in. */
static void decode_panel(const struct weights *w, const struct lg_cpu_args *args, struct panel *panel, uint32_t begin,
                         uint32_t end, uint32_t m, uint32_t m_end)
{
    const struct lg_matmul_back_push *push = args->push;
    uint32_t at = begin / w->block_elements * w->block_elements, n = lg_div_up(end - at, w->block_elements) * w->block_elements;
    const uint8_t *src = (const uint8_t *)args->view[2] + at / w->block_elements * w->block_bytes;
    _Alignas(64) float row[COLUMNS + SLICE];
    for (uint32_t i = m; i < m_end; i++) {
        ask_for(src + (size_t)lg_min_u32(i + STEPS, push->n_rows - 1) * push->row_bytes, n / w->block_elements * w->block_bytes);
        w->decode(src + (size_t)i * push->row_bytes, row, n);
        lay_out(panel, i - m, row + (begin - at), end - begin);
    }
}

static void matmul_back(const struct weights *w, const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_matmul_back_push *push = args->push;
    uint32_t n_t = ((const uint32_t *)args->view[0])[push->dim];
    struct panel panel;
    for (uint32_t g = first; g < last; g++) {
        struct lg_cpu_span k = lg_cpu_span(args, g, args->spec[1], push->n_cols);
        uint32_t t = k.row * args->spec[2], rows = t < n_t ? lg_min_u32(args->spec[2], n_t - t) : 0;
        const float *dy = (const float *)args->view[1] + (size_t)t * push->y_stride + push->row_begin;
        float *dx = (float *)args->view[3] + (size_t)t * push->n_cols;
        for (uint32_t at = k.begin, end; at < k.end && rows > 0; at = end) {
            end = lg_min_u32(k.end, at / w->block_elements * w->block_elements + COLUMNS);
            for (uint32_t m = 0; m < push->n_rows; m += STEPS) {
                uint32_t n_steps = lg_min_u32(push->n_rows - m, STEPS);
                decode_panel(w, args, &panel, at, end, m, m + n_steps);
                for (uint32_t c = at; c < end; c += SLICE)
                    multiply_slice((struct target){dx + c, push->n_cols, m > 0 || push->add, false},
                                   (struct factors){dy + m, push->y_stride, 1}, (struct columns){panel.slice[(c - at) / SLICE][0], SLICE}, n_steps,
                                   lg_min_u32(end - c, SLICE), rows);
            }
        }
    }
}

/* ---- to weights ---------------------------------------------------------------------------------- */

enum { MAX_M = 144 }; // rows of dw whose sums are kept

struct weight_tile {
    struct panel x;
    _Alignas(64) float dy[WEIGHT_STEPS][MAX_M];
    _Alignas(64) float sums[N_SLICES][MAX_M][SLICE];
};

/* Copies n numbers, and zeros up to a multiple of SLICE. */
INLINE void lay_out_part(struct panel *panel, uint32_t step, const float *row, uint32_t n)
{
    uint32_t whole = n - n % SLICE;
    lay_out(panel, step, row, whole);
    for (uint32_t k = whole; k < n; k += VEC)
        store(panel->slice[whole / SLICE][step] + (k - whole), load_part(row + k, lg_min_u32(n - k, VEC)));
}

INLINE void add_scaled(float *restrict y, const float *restrict sum, float scale, uint32_t n)
{
    for (uint32_t k = 0; k < n; k++)
        y[k] += scale * sum[k];
}

/* Columns [begin, begin + n), at most COLUMNS, of rows [m, m + n_m) of dw. */
static void make_tile(const struct lg_cpu_args *args, struct weight_tile *tile, uint32_t begin, uint32_t n, uint32_t m,
                      uint32_t n_m)
{
    const struct lg_weight_back_push *push = args->push;
    uint32_t n_t = ((const uint32_t *)args->view[0])[push->dim];
    const float *x = (const float *)args->view[1] + begin, *dy = (const float *)args->view[2] + push->row_begin + m;
    float *dw = (float *)args->view[3] + (size_t)m * push->n_cols + begin;
    for (uint32_t t = 0; t < n_t; t += WEIGHT_STEPS) {
        uint32_t n_steps = lg_min_u32(n_t - t, WEIGHT_STEPS);
        for (uint32_t s = 0; s < n_steps; s++) {
            const float *factors = dy + (size_t)(t + s) * push->y_stride;
            lay_out_part(&tile->x, s, x + (size_t)(t + s) * push->n_cols, n);
            for (uint32_t i = 0; i < n_m; i += VEC)
                store(tile->dy[s] + i, n_m - i < VEC ? load_part(factors + i, n_m - i) : load(factors + i));
        }
        for (uint32_t c = 0; c < n; c += SLICE)
            multiply_slice((struct target){tile->sums[c / SLICE][0], SLICE, false, t > 0},
                           (struct factors){tile->dy[0], 1, MAX_M}, (struct columns){tile->x.slice[c / SLICE][0], SLICE}, n_steps,
                           (lg_min_u32(n - c, SLICE) + VEC - 1) / VEC * VEC, n_m);
    }
    for (uint32_t i = 0; i < n_m && n_t > 0; i++) {
        float *to = dw + (size_t)i * push->n_cols;
        for (uint32_t c = 0; c < n; c += SLICE)
            add_scaled(to + c, tile->sums[c / SLICE][i], push->scale, lg_min_u32(n - c, SLICE));
    }
}

static void weight_back(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_weight_back_push *push = args->push;
    struct weight_tile tile;
    for (uint32_t g = first; g < last; g++) {
        struct lg_cpu_span k = lg_cpu_span(args, g, args->spec[2], push->n_cols);
        uint32_t m = k.row * args->spec[1], m_end = lg_min_u32(m + args->spec[1], push->n_rows);
        for (; m < m_end; m += MAX_M) {
            for (uint32_t c = k.begin; c < k.end; c += COLUMNS)
                make_tile(args, &tile, c, lg_min_u32(k.end - c, COLUMNS), m, lg_min_u32(m_end - m, MAX_M));
        }
    }
}

#define TYPED(name, block_elements, block_bytes)                                                  \
    static void matmul_back_##name(const struct lg_cpu_args *args, uint32_t first, uint32_t last) \
    {                                                                                             \
        struct weights w = {decode_##name, block_elements, block_bytes};                          \
        matmul_back(&w, args, first, last);                                                       \
    }
TYPED(f32, 1, 4)
TYPED(f16, 1, 2)
TYPED(bf16, 1, 2)
TYPED(q4_0, 32, 18)
TYPED(q4_1, 32, 20)
TYPED(q5_0, 32, 22)
TYPED(q5_1, 32, 24)
TYPED(q8_0, 32, 34)
TYPED(q2_k, 256, 84)
TYPED(q3_k, 256, 110)
TYPED(q4_k, 256, 144)
TYPED(q5_k, 256, 176)
TYPED(q6_k, 256, 210)

#define ENTRIES(lower, UPPER) [LG_K_MATMUL_BACK_##UPPER] = matmul_back_##lower,
lg_cpu_fast_table HOT_TABLE = {[LG_K_WEIGHT_BACK] = weight_back, LG_WEIGHT_TYPES(ENTRIES)};
