/* SPDX-License-Identifier: MIT
 *
 * Quantised weights times a row of x in 8 bits: the products of i8.h in vectors. Meson compiles this file once for each
 * instruction set that has an integer dot product, with HOT_TABLE as the name of its table.
 *
 * A row of x meets rows of weights one by one, decoded as they come from memory. Some rows of x, each of a text of its own,
 * share them: i8_shared.h. Many rows of one text: hot_i8_tile.c.
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

/* What is constant stays in registers. */
#define UNROLL _Pragma("GCC unroll 5")

/* A unit of blocks of nibbles, or half of one. */
struct nibbles {
    bytes loads[3];      // of its bytes, where that helps
    __m256 scales, mins; // of the blocks
};

/* Chunks 2j and 2j + 1 of a unit, or the lower and the upper nibbles of four blocks. */
struct two_chunks {
    bytes even, odd;
};

/* A unit of blocks of nibbles, decoded for some rows of x. */
struct decoded {
    _Alignas(64) uint8_t q[LG_I8_UNIT]; // as the type's chunks are
    float scales[LG_I8_BLOCKS], mins[LG_I8_BLOCKS];
};

/* Where a unit of weights is. */
struct source {
    const uint8_t *src;
    const struct decoded *w;
    bool is_decoded;
};

/* What a row adds up to so far. */
struct sums {
    floats lanes;
    __m256 mins;
};

#if defined(__AVX512VNNI__)
#include "device/cpu/i8_row_avx512.h"
#include "device/cpu/i8_tile_avx512.h"
#elif defined(__AVX2__)
#include "device/cpu/i8_row_avx2.h"
#endif

#include "device/cpu/i8_row.h"

INLINE struct two_chunks decoded_chunks(const struct decoded *w, uint32_t j)
{
    return (struct two_chunks){load_chunk(w->q + 128 * j), load_chunk(w->q + 128 * j + 64)};
}

INLINE struct nibbles decoded_blocks(enum lg_type type, const struct decoded *w)
{
    struct nibbles blocks = {.scales = _mm256_loadu_ps(w->scales)};
    if (has_min(type))
        blocks.mins = _mm256_loadu_ps(w->mins);
    return blocks;
}

enum {
    SPAN = 16384, // columns of a row of x that are made ready
};

/* An encoded matrix. */
struct weights {
    const uint8_t *data;
    size_t row_bytes;
    uint32_t n_rows, n_cols;
};

static struct weights weights_of(const struct lg_matmul_push *push, const void *data)
{
    return (struct weights){
        .data = data,
        .row_bytes = push->row_bytes,
        .n_rows = push->n_rows,
        .n_cols = push->n_cols,
    };
}

/* ---- one row of x -------------------------------------------------------------------------------- */

/* A unit of a row of x, ready for weights of some type; made once for many rows of them. */
struct ready {
    _Alignas(64) int8_t q[LG_I8_UNIT]; // as the type's chunks are
    union {
        struct lg_i8_unit unit; // K-quants
        struct {
            _Alignas(64) int32_t first[LG_I8_CHUNKS][16]; // what the products of a chunk begin with
            float d[LG_I8_HALVES];
        } q8_0;
        struct {
            float d[LG_I8_BLOCKS];   // of blocks
            float min[LG_I8_BLOCKS]; // what their mins are multiplied by
        } nibbles;
    };
};

/* Halves of blocks for nibbles. A block's bias is its scale times some min that is the same for all. */
INLINE void make_nibbles(enum lg_type type, const int8_t *q, const struct lg_i8_unit *unit, struct ready *ready)
{
    __m256i factors = _mm256_cvtepi16_epi32(_mm_loadu_si128((const void *)unit->factors));
    __m256i less = _mm256_cvtepi16_epi32(_mm_loadu_si128((const void *)(unit->block_less + LG_I8_BLOCKS)));
    __m256 d = _mm256_mul_ps(_mm256_set1_ps(unit->d), _mm256_cvtepi32_ps(factors)), min;
    if (has_min(type))
        min = _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_setzero_si256(), less)));
    else
        min = _mm256_cvtepi32_ps(_mm256_mullo_epi32(less, _mm256_set1_epi32(bias_of(type))));
    store_halves(ready->q, q);
    store_halves(ready->q + 128, q + 128);
    _mm256_storeu_ps(ready->nibbles.d, d);
    _mm256_storeu_ps(ready->nibbles.min, min);
}

INLINE void make_ready(enum lg_type type, struct lg_i8_row x, uint32_t k, struct ready *ready)
{
    static const uint8_t apart[LG_I8_BLOCKS] = {0, 2, 1, 3, 4, 6, 5, 7};
    if (is_k(type)) {
        for (uint32_t b = 0; b < LG_I8_BLOCKS; b++)
            memcpy(ready->q + 32 * b, x.q + k + 32 * (is_packed(type) ? apart[b] : b), 32);
        ready->unit = x.units[k / LG_I8_UNIT];
    } else if (type == LG_TYPE_Q8_0) {
        memcpy(ready->q, x.q + k, LG_I8_UNIT);
        for (uint32_t j = 0; j < LG_I8_CHUNKS; j++)
            store_ints(ready->q8_0.first[j], dot_signed_bias(load_chunk(ready->q + 64 * j)));
        store_floats(ready->q8_0.d, load_floats(x.d + k / 16));
    } else {
        make_nibbles(type, x.q + k, x.units + k / LG_I8_UNIT, ready);
    }
}

/* A unit, or half of one. */
INLINE struct sums add_nibbles(enum lg_type type, bool is_half, struct source from, const struct ready *x, struct sums sums)
{
    struct nibbles w = from.is_decoded ? decoded_blocks(type, from.w) : load_blocks(type, is_half, from.src);
    __m256 scales = _mm256_mul_ps(w.scales, _mm256_loadu_ps(x->nibbles.d));
    sums.mins = _mm256_fmadd_ps(has_min(type) ? w.mins : scales, _mm256_loadu_ps(x->nibbles.min), sums.mins);
    for (uint32_t i = 0; i < 2u - is_half; i++) {
        struct two_chunks q = from.is_decoded ? decoded_chunks(from.w, i) : quad_chunks(type, is_half, from.src, &w, i);
        sums.lanes = add_products(sums.lanes, dot_quad(q, x->q + 128 * i), quad_lanes(scales, i));
    }
    return sums;
}

/* Any number of blocks up to a unit. */
INLINE struct sums add_some_nibbles(enum lg_type type, uint32_t n_blocks, const uint8_t *src, const struct ready *x,
                                    struct sums sums)
{
    uint8_t rest[LG_I8_BLOCKS * 24] = {0};
    if (n_blocks == LG_I8_BLOCKS || n_blocks == LG_I8_BLOCKS / 2)
        return add_nibbles(type, n_blocks < LG_I8_BLOCKS, (struct source){.src = src}, x, sums);
    memcpy(rest, src, n_blocks * (unit_bytes(type) / LG_I8_BLOCKS));
    return add_nibbles(type, false, (struct source){.src = rest}, x, sums);
}

/* n_blocks blocks of Q8_0. */
INLINE struct sums add_q8_0(uint32_t n_blocks, const uint8_t *src, const struct ready *x, struct sums sums)
{
    floats scales = multiply(unit_scales(LG_TYPE_Q8_0, src, n_blocks), load_floats(x->q8_0.d));
    UNROLL for (uint32_t j = 0; j < (n_blocks + 1) / 2; j++) {
        bytes w = chunk(LG_TYPE_Q8_0, src, j, n_blocks - 1);
        ints products = dot_signed(load_ints(x->q8_0.first[j]), w, load_chunk(x->q + 64 * j));
        sums.lanes = add_products(sums.lanes, products, lane_scales(scales, (int)j));
    }
    return sums;
}

/* Adds n_blocks blocks of a row of weights, a unit or less. */
INLINE struct sums add_unit(enum lg_type type, uint32_t n_blocks, const uint8_t *src, const struct ready *x, struct sums sums)
{
    if (type == LG_TYPE_Q8_0)
        return add_q8_0(n_blocks, src, x, sums);
    if (is_k(type))
        return add_k_unit(type, src, x->q, &x->unit, sums);
    return add_some_nibbles(type, n_blocks, src, x, sums);
}

/* The last blocks of a row, less than a unit. */
INLINE struct sums add_rest(enum lg_type type, uint32_t n_blocks, const uint8_t *src, const struct ready *x, struct sums sums)
{
    return n_blocks == LG_I8_BLOCKS / 2 ? add_unit(type, LG_I8_BLOCKS / 2, src, x, sums)
                                        : add_unit(type, n_blocks, src, x, sums);
}

INLINE float sum_up(struct sums sums)
{
    return sum_lanes(sums.lanes) + sum_eight(sums.mins);
}

INLINE void make_span(enum lg_type type, struct lg_i8_row x, uint32_t k, uint32_t n, struct ready *ready)
{
    for (uint32_t i = 0; i < n; i += LG_I8_UNIT)
        make_ready(type, x, k + i, ready + i / LG_I8_UNIT);
}

/* Adds n columns of a row of weights, all of them ready; but for the last ones they are whole units. */
INLINE struct sums add_columns(enum lg_type type, const uint8_t *src, const struct ready *x, uint32_t n, struct sums sums)
{
    for (const struct ready *end = x + n / LG_I8_UNIT; x < end; x++, src += unit_bytes(type))
        sums = add_unit(type, LG_I8_BLOCKS, src, x, sums);
    if (!is_k(type) && n % LG_I8_UNIT)
        sums = add_rest(type, n % LG_I8_UNIT / 32, src, x, sums);
    return sums;
}

/*
 * Weight rows [begin, end) times a row of x. The rows are read one after another, as they lie in memory: processors load
 * ahead of a single stream three times as fast as of two, and faster than programs can ask.
 */
INLINE void multiply_rows(enum lg_type type, const struct weights *w, uint32_t begin, uint32_t end, struct lg_i8_row x,
                          float *y)
{
    struct ready ready[SPAN / LG_I8_UNIT];
    const uint8_t *row = w->data + begin * w->row_bytes;
    const struct sums none = {zeros(), _mm256_setzero_ps()};
    make_span(type, x, 0, lg_min_u32(w->n_cols, SPAN), ready);
    for (; begin < end && w->n_cols <= SPAN; begin++, row += w->row_bytes)
        y[begin] = sum_up(add_columns(type, row, ready, w->n_cols, none));
    for (; begin < end; begin++, row += w->row_bytes) { // longer ones are made ready as they come
        struct sums sums = none;
        for (uint32_t k = 0; k < w->n_cols; k += SPAN) {
            uint32_t n = lg_min_u32(w->n_cols - k, SPAN);
            make_span(type, x, k, n, ready);
            sums = add_columns(type, row + k / LG_I8_UNIT * unit_bytes(type), ready, n, sums);
        }
        y[begin] = sum_up(sums);
    }
}

#include "device/cpu/i8_shared.h"

INLINE void matvec(enum lg_type type, const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_matmul_push *push = args->push;
    const struct shared s = {
        .w = weights_of(push, args->view[0]),
        .x = args->view[1],
        .y = (float *)args->view[2] + push->row_begin,
        .y_stride = push->y_stride,
    };
    uint32_t per_group = args->spec[0] * args->spec[1], most = lg_cpu_near_rows(push->row_bytes);
    while (first < last) {
        struct lg_cpu_block block = lg_cpu_block(args, &first, last, per_group, push->n_rows, most);
        if (block.row_end - block.row > 1 && push->n_cols <= SPAN) {
            share_block(type, &s, block);
            continue;
        }
        for (uint32_t t = block.row; t < block.row_end; t++)
            multiply_rows(type, &s.w, block.begin, block.end, lg_i8_row_at(s.x, push->n_cols, t), s.y + t * s.y_stride);
    }
}

#define PRODUCTS(lower, UPPER)                                                                    \
    static void matvec_##lower(const struct lg_cpu_args *args, uint32_t first, uint32_t last)     \
    {                                                                                             \
        matvec(LG_TYPE_##UPPER, args, first, last);                                               \
    }
LG_BLOCK_TYPES(PRODUCTS)

/* ---- x ------------------------------------------------------------------------------------------- */

/* The step and the factors of 256 elements; the same as measure_unit() of the reference. */
INLINE void measure_unit(const float *x, struct lg_i8_unit *unit)
{
    float of_block[LG_I8_BLOCKS], max = 0;
    bool finite = true;
    for (uint32_t b = 0; b < LG_I8_BLOCKS; b++) {
        floats both = zeros();
        finite &= largest_of(load_floats(x + 32 * b), &both);
        finite &= largest_of(load_floats(x + 32 * b + 16), &both);
        of_block[b] = max_lane(both);
        max = of_block[b] > max ? of_block[b] : max;
    }
    float d = finite ? max / (127 * LG_I8_FACTOR) : NAN, scale = LG_I8_FACTOR / max;
    unit->d = isinf(1 / d) ? 0 : d;
    for (uint32_t b = 0; b < LG_I8_BLOCKS; b++) {
        float factor = unit->d > 0 ? ceilf(of_block[b] * scale) : 0;
        unit->factors[b] = (int16_t)(factor < LG_I8_FACTOR ? factor : LG_I8_FACTOR);
        unit->half_factors[2 * b] = unit->half_factors[2 * b + 1] = unit->factors[b];
    }
}

/* 32 elements; the same as quantize_block() of the reference. */
INLINE void quantize_block(const float *x, uint32_t b, struct lg_i8_unit *unit, int8_t *q, float *d, float *sums,
                           struct lg_i8_block *block)
{
    float scale = unit->d * (float)unit->factors[b], inverse = scale > 0 ? 1 / scale : 0;
    int whole[2] = {0, 0};
    d[0] = d[1] = scale;
    if (isnan(scale)) {
        memset(q, 0, 32);
    } else {
        whole[0] = quantize_16(q, load_floats(x), inverse);
        whole[1] = quantize_16(q + 16, load_floats(x + 16), inverse);
    }
    for (int h = 0; h < 2; h++) {
        sums[h] = scale * (float)whole[h];
        unit->half_less[2 * b + (uint32_t)h] = (int16_t)-whole[h];
    }
    unit->block_less[8 + b] = (int16_t)-(whole[0] + whole[1]);
    *block = lg_i8_block_of(scale, whole);
}

/* The unit of a row at column k; x has all of it. */
INLINE void quantize_unit(const float *x, struct lg_i8_row row, uint32_t k)
{
    struct lg_i8_unit unit = {0};
    measure_unit(x, &unit);
    for (uint32_t b = 0; b < LG_I8_BLOCKS; b++, k += 32)
        quantize_block(x + 32 * b, b, &unit, (int8_t *)row.q + k, (float *)row.d + k / 16, (float *)row.sums + k / 16,
                       (struct lg_i8_block *)row.blocks + k / 32);
    memcpy((struct lg_i8_unit *)row.units + k / LG_I8_UNIT - 1, &unit, sizeof(unit));
}

static void quantize(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_rowwise_push *push = args->push;
    uint32_t n = push->n_cols;
    for (uint32_t t = first; t < last; t++) {
        const float *x = (const float *)args->view[0] + (size_t)t * n;
        struct lg_i8_row row = lg_i8_row_at(args->view[1], n, t);
        uint32_t k = 0;
        for (; n - k >= LG_I8_UNIT; k += LG_I8_UNIT)
            quantize_unit(x + k, row, k);
        if (k < n) {
            float rest[LG_I8_UNIT] = {0};
            memcpy(rest, x + k, (n - k) * sizeof(*rest));
            quantize_unit(rest, row, k);
        }
        memset((uint8_t *)(uintptr_t)row.q + LG_I8_ROW_BYTES(n) - 64, 0, 64);
    }
}

lg_cpu_fast_table HOT_TABLE = {[LG_K_QUANTIZE] = quantize,
#define ENTRIES(lower, UPPER) [LG_K_MATVEC_I8_##UPPER] = matvec_##lower,
                               LG_BLOCK_TYPES(ENTRIES)};
