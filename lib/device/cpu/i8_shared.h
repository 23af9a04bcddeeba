/* SPDX-License-Identifier: MIT
 *
 * Weights that some rows of x share, each row a text of its own: a unit is decoded once, and stays in registers while up to
 * TOGETHER rows meet it. Every row adds up what it does alone. Private to lib/device/cpu.
 */
#ifndef LG_DEVICE_CPU_I8_SHARED_H
#define LG_DEVICE_CPU_I8_SHARED_H

enum {
    TOGETHER = 5,  // rows of x that meet weights in registers
    DECODED = 512, // units of weights that are decoded for more rows than that
};

/* The products of what is here with x are those of dot_signed() less dot_signed_bias(): x went through other_signs(). */
INLINE void make_shared(enum lg_type type, struct lg_i8_row x, uint32_t k, struct ready *ready)
{
    if (type != LG_TYPE_Q8_0) {
        make_ready(type, x, k, ready);
        return;
    }
    for (uint32_t j = 0; j < LG_I8_CHUNKS; j++)
        store_chunk(ready->q + 64 * j, other_signs(load_chunk(x.q + k + 64 * j)));
    store_floats(ready->q8_0.d, load_floats(x.d + k / 16));
}

INLINE void store_two(uint8_t *to, struct two_chunks q)
{
    store_chunk(to, q.even);
    store_chunk(to + 64, q.odd);
}

/* n_blocks blocks, a unit or less; what is behind them is 0. */
INLINE void decode_nibbles(enum lg_type type, uint32_t n_blocks, const uint8_t *src, struct decoded *w)
{
    uint8_t rest[LG_I8_BLOCKS * 24] = {0};
    if (n_blocks < LG_I8_BLOCKS) {
        memcpy(rest, src, n_blocks * (unit_bytes(type) / LG_I8_BLOCKS));
        src = rest;
    }
    struct nibbles blocks = load_blocks(type, false, src);
    UNROLL for (uint32_t i = 0; i < 2; i++)
        store_two(w->q + 128 * i, quad_chunks(type, false, src, &blocks, i));
    _mm256_storeu_ps(w->scales, blocks.scales);
    if (has_min(type))
        _mm256_storeu_ps(w->mins, blocks.mins);
}

/* Chunk j of n_blocks blocks of Q8_0, signed. */
INLINE bytes signed_chunk(const uint8_t *src, uint32_t j, uint32_t n_blocks)
{
    const uint8_t *a = src + 68 * j;
    return load_pair(a + 2, 2 * j + 1 < n_blocks ? a + 36 : a + 2);
}

INLINE struct sums add_shared_q8_0(uint32_t n_blocks, const uint8_t *src, const struct ready *x, struct sums sums)
{
    floats scales = multiply(unit_scales(LG_TYPE_Q8_0, src, n_blocks), load_floats(x->q8_0.d));
    UNROLL for (uint32_t j = 0; j < (n_blocks + 1) / 2; j++) {
        bytes w = kept(signed_chunk(src, j, n_blocks));
        sums.lanes = add_products(sums.lanes, dot_other_signs(w, load_chunk(x->q + 64 * j)), lane_scales(scales, (int)j));
    }
    return sums;
}

/* The same as add_unit(). Compilers keep the weights in registers for all rows of x. */
INLINE struct sums add_shared(enum lg_type type, uint32_t n_blocks, struct source from, const struct ready *x,
                              struct sums sums)
{
    if (type == LG_TYPE_Q8_0)
        return add_shared_q8_0(n_blocks, from.src, x, sums);
    if (is_k(type))
        return add_k_unit(type, from.src, x->q, &x->unit, sums);
    return n_blocks == LG_I8_BLOCKS / 2 ? add_nibbles(type, true, from, x, sums) : add_nibbles(type, false, from, x, sums);
}

/* Of four rows at once, in the same order. */
INLINE __m128 sum_up_four(const struct sums sums[4])
{
    return _mm_add_ps(sum_lanes_of_four(sums[0].lanes, sums[1].lanes, sums[2].lanes, sums[3].lanes),
                      sum_eight_of_four(sums[0].mins, sums[1].mins, sums[2].mins, sums[3].mins));
}

/* A row of weights times n_x rows of x, which are ready unit by unit. */
INLINE void multiply_shared_row(enum lg_type type, uint32_t n_cols, struct source from, const struct ready *x, uint32_t n_x,
                                float y[TOGETHER])
{
    struct sums sums[TOGETHER];
    uint32_t rest = n_cols % LG_I8_UNIT / 32;
    UNROLL for (uint32_t i = 0; i < n_x; i++)
        sums[i] = (struct sums){zeros(), _mm256_setzero_ps()};
    for (const struct ready *end = x + n_cols / LG_I8_UNIT * n_x; x < end; x += n_x) {
        UNROLL for (uint32_t i = 0; i < n_x; i++)
            sums[i] = add_shared(type, LG_I8_BLOCKS, from, x + i, sums[i]);
        if (from.is_decoded)
            from.w++;
        else
            from.src += unit_bytes(type);
    }
    if (!is_k(type) && rest) {
        struct decoded w;
        if (!from.is_decoded && type != LG_TYPE_Q8_0) {
            decode_nibbles(type, rest, from.src, &w);
            from = (struct source){.w = &w, .is_decoded = true};
        }
        for (uint32_t i = 0; i < n_x; i++)
            sums[i] = add_shared(type, rest, from, x + i, sums[i]);
    }
    UNROLL for (uint32_t i = n_x; i < 4; i++)
        sums[i] = sums[0]; // nobody's
    _mm_storeu_ps(y, sum_up_four(sums));
    if (n_x > 4)
        y[4] = sum_up(sums[4]);
}

/* A matrix, and the rows of x and y that meet it. */
struct shared {
    struct weights w;
    const void *x;
    float *y;
    size_t y_stride;
};

/* Rows of weights come decoded in bursts: while they are multiplied, memory brings the next. */
INLINE void fetch_row(const struct weights *w, uint32_t m)
{
    for (size_t i = 0; m < w->n_rows && i < w->row_bytes; i += 64)
        _mm_prefetch((const char *)w->data + m * w->row_bytes + i, _MM_HINT_T1);
}

/* Weight rows [begin, end), which are in `from`, times rows [t, t + n_x) of x. */
INLINE void multiply_shared(enum lg_type type, const struct shared *s, uint32_t begin, uint32_t end, struct source from,
                            uint32_t t, uint32_t n_x, bool fetch, struct ready *ready)
{
    uint32_t n_cols = s->w.n_cols, n_units = lg_div_up(n_cols, LG_I8_UNIT);
    for (uint32_t i = 0; i < n_x; i++) {
        struct lg_i8_row x = lg_i8_row_at(s->x, n_cols, t + i);
        for (uint32_t u = 0; u < n_units; u++)
            make_shared(type, x, u * LG_I8_UNIT, ready + u * n_x + i);
    }
    for (uint32_t m = begin; m < end; m++) {
        float y[TOGETHER];
        if (fetch)
            fetch_row(&s->w, m + (end - begin));
        multiply_shared_row(type, n_cols, from, ready, n_x, y);
        for (uint32_t i = 0; i < n_x; i++)
            s->y[(t + i) * s->y_stride + m] = y[i];
        from.w += from.is_decoded ? n_units : 0;
        from.src += from.is_decoded ? 0 : s->w.row_bytes;
    }
}

/* The same for rows [t, t_end) of x, two of them or more: in groups that are as equal as can be, so that none has one. */
INLINE void multiply_groups(enum lg_type type, const struct shared *s, uint32_t begin, uint32_t end, struct source from,
                            uint32_t t, uint32_t t_end, struct ready *ready)
{
    bool fetch = from.is_decoded;
    for (uint32_t n_groups = lg_div_up(t_end - t, TOGETHER); n_groups > 0; n_groups--, fetch = false) {
        uint32_t n = lg_div_up(t_end - t, n_groups);
        if (n == 5)
            multiply_shared(type, s, begin, end, from, t, 5, fetch, ready);
        else if (n == 4)
            multiply_shared(type, s, begin, end, from, t, 4, fetch, ready);
        else if (n == 3)
            multiply_shared(type, s, begin, end, from, t, 3, fetch, ready);
        else
            multiply_shared(type, s, begin, end, from, t, 2, fetch, ready);
        t += n;
    }
}

/* A row of weights; to where the next one goes. */
INLINE struct decoded *decode_row(enum lg_type type, const struct weights *w, uint32_t m, struct decoded *to)
{
    const uint8_t *src = w->data + m * w->row_bytes;
    for (uint32_t k = 0; k < w->n_cols / LG_I8_UNIT; k++, src += unit_bytes(type))
        decode_nibbles(type, LG_I8_BLOCKS, src, to++);
    if (!is_k(type) && w->n_cols % LG_I8_UNIT)
        decode_nibbles(type, w->n_cols % LG_I8_UNIT / 32, src, to++);
    return to;
}

#if defined(__AVX512VNNI__)
#include "device/cpu/i8_panel.h"
#endif

/* Too much for a frame of each way through share_block(). */
struct room {
    union {
        struct {
            struct decoded decoded[DECODED];
            struct ready ready[SPAN / LG_I8_UNIT * TOGETHER];
        };
#if defined(__AVX512VNNI__)
        struct panel_room panels;
#endif
    };
};

/* A block with two rows of x or more, of SPAN columns or less. */
INLINE void share_block(enum lg_type type, const struct shared *s, struct lg_cpu_block block)
{
    struct room room;
#if defined(__AVX512VNNI__)
    if (is_k(type) && block.row_end - block.row >= PANEL_MIN) {
        panel_block(type, s, block, &room.panels);
        return;
    }
#endif
    uint32_t most = DECODED / lg_div_up(s->w.n_cols, LG_I8_UNIT);
    if (block.row_end - block.row <= TOGETHER || type == LG_TYPE_Q8_0 || is_k(type)) {
        struct source from = {.src = s->w.data + block.begin * s->w.row_bytes};
        multiply_groups(type, s, block.begin, block.end, from, block.row, block.row_end, room.ready);
        return;
    }
    for (uint32_t begin = block.begin, end = begin; begin < block.end; begin = end) {
        struct decoded *to = room.decoded;
        for (end = begin; end < block.end && end - begin < most; end++)
            to = decode_row(type, &s->w, end, to);
        struct source from = {.w = room.decoded, .is_decoded = true};
        multiply_groups(type, s, begin, end, from, block.row, block.row_end, room.ready);
    }
}

#endif
