/* SPDX-License-Identifier: MIT
 *
 * K-quants that many rows of x share, each row a text of its own: sixteen rows of weights at a time, one in each lane of a
 * vector. Units of them are decoded once into panels, the bytes of four columns of all rows side by side, which meet four
 * bytes of x that are the same for all lanes. What i8.h calls lanes are vectors here, in memory, so every row adds up what it
 * does alone. For AVX-512 with its integer dot product. Private to lib/device/cpu.
 */
#ifndef LG_DEVICE_CPU_I8_PANEL_H
#define LG_DEVICE_CPU_I8_PANEL_H

enum {
    PANEL = 16,       // rows of weights
    PANEL_UNITS = 16, // that are decoded together
    PANEL_MIN = 6,    // rows of x that it is worth it for
    PANEL_MAX = 32,   // that are handled at once
    PANEL_X = 4,      // that meet four columns in registers
    MIN_LANES = 8,
};

#define UNROLL_ALL _Pragma("GCC unroll 16")

/* A unit of sixteen rows. */
struct panel {
    _Alignas(64) uint8_t q[64][64]; // of each four columns, the four of each row
    int32_t scales[8][PANEL];       // pairs of words, of blocks b and b + 4: a lane has a run of each
    int32_t sides[8][PANEL];        // pairs of neighbours: mins, or the scales again for what is subtracted
    float d[PANEL], min[PANEL];
};

/* The lanes of a row of x and sixteen of weights. */
struct panel_sums {
    floats lanes[LG_I8_LANES], mins[MIN_LANES];
};

/* ---- weights */

/* Pairs of words as a panel has them, first the scales and then the sides. */
INLINE bytes pair_words(enum lg_type type, const uint8_t *src)
{
    words scales = k_scales(type, src), sides = scales;
    __m128i low = _mm256_castsi256_si128(scales), high = _mm256_extracti128_si256(scales, 1);
    if (type == LG_TYPE_Q2_K)
        sides = _mm256_cvtepu8_epi16((__m128i)(shift_down(load_bytes(src), 4) & 15));
    if (is_packed(type)) {
        sides = _mm256_zextsi128_si256(high);
        high = _mm_unpackhi_epi64(low, low);
    }
    __m256i pairs = _mm256_set_m128i(_mm_unpackhi_epi16(low, high), _mm_unpacklo_epi16(low, high));
    return _mm512_inserti64x4(_mm512_castsi256_si512(pairs), sides, 1);
}

/* 64 bytes of each row, as quads of all rows. */
INLINE void transpose_bytes(const uint8_t *const *src, uint32_t offset, bytes quads[PANEL])
{
    UNROLL_ALL for (int r = 0; r < PANEL; r++)
        quads[r] = load_chunk(src[r] + offset);
    transpose(quads);
}

/* Bytes of Q4_K hold elements of a block and of the next. */
INLINE void spread_q4_k(const uint8_t *const *src, uint8_t (*to)[64])
{
    bytes quads[PANEL];
    for (uint32_t j = 0; j < 2; j++) {
        transpose_bytes(src, 16 + 64 * j, quads);
        UNROLL_ALL for (uint32_t i = 0; i < PANEL; i++) {
            uint32_t quad = 32 * j + i / 8 * 16 + i % 8;
            store_chunk(to[quad], and_bytes(quads[i], 15));
            store_chunk(to[quad + 8], and_bytes(shift_down_chunk(quads[i], 4), 15));
        }
    }
}

/* Of Q6_K, a byte of lower bits holds elements of a block and of that two blocks on, and one of upper bits those of four. */
INLINE void spread_q6_k(const uint8_t *const *src, uint8_t (*to)[64])
{
    bytes upper[PANEL], quads[PANEL];
    transpose_bytes(src, 128, upper);
    for (uint32_t j = 0; j < 2; j++) {
        transpose_bytes(src, 64 * j, quads);
        UNROLL_ALL for (uint32_t i = 0; i < PANEL; i++) {
            bytes two = _mm512_rolv_epi32(upper[8 * j + i % 8], _mm512_set1_epi32(i < 8 ? 4 : 2));
            bytes other = _mm512_rolv_epi32(upper[8 * j + i % 8], _mm512_set1_epi32(i < 8 ? 0 : 30));
            store_chunk(to[32 * j + i], or_masked(quads[i], 15, and_bytes(two, 0x30)));
            store_chunk(to[32 * j + 16 + i], or_masked(shift_down_chunk(quads[i], 4), 15, and_bytes(other, 0x30)));
        }
    }
}

INLINE void spread(enum lg_type type, const uint8_t *const *src, uint8_t (*to)[64])
{
    bytes rows[PANEL];
    for (uint32_t j = 0; j < LG_I8_CHUNKS; j++) {
        UNROLL_ALL for (int r = 0; r < PANEL; r++)
            rows[r] = chunk(type, src[r], j, LG_I8_BLOCKS - 1);
        transpose(rows);
        UNROLL_ALL for (uint32_t i = 0; i < PANEL; i++)
            store_chunk(to[16 * j + i], rows[i]);
    }
}

INLINE void make_panel(enum lg_type type, const uint8_t *const *src, struct panel *p)
{
    bytes rows[PANEL];
    if (type == LG_TYPE_Q4_K)
        spread_q4_k(src, p->q);
    else if (type == LG_TYPE_Q6_K)
        spread_q6_k(src, p->q);
    else
        spread(type, src, p->q);
    UNROLL_ALL for (int r = 0; r < PANEL; r++) {
        __m128 d = k_floats(type, src[r]);
        p->d[r] = _mm_cvtss_f32(d);
        p->min[r] = _mm_cvtss_f32(_mm_movehdup_ps(d));
        rows[r] = pair_words(type, src[r]);
    }
    transpose(rows);
    UNROLL_ALL for (int i = 0; i < 8; i++) {
        store_chunk(p->scales[i], rows[i]);
        store_chunk(p->sides[i], rows[8 + i]);
    }
}

/* ---- products */

typedef int32_t four_bytes __attribute__((may_alias, aligned(1)));

/* Adds the products of four columns with four bytes of x. Compilers would load the latter for all of a unit ahead. */
INLINE ints add_columns_of(ints sum, bytes w, const int8_t *x)
{
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(w), "m"(*(const four_bytes *)(const void *)x));
    return sum;
}

INLINE __m512i same_four(const void *p)
{
    int32_t v;
    memcpy(&v, p, sizeof(v));
    return _mm512_set1_epi32(v);
}

/* The sums of two runs as words side by side. */
INLINE __m512i side_by_side(__m512i low, __m512i high)
{
    return _mm512_mask_blend_epi16(0xaaaaaaaa, low, _mm512_slli_epi32(high, 16));
}

/* Eight columns, and those four blocks on, of sixteen rows: a lane's. */
struct runs {
    bytes low[2], high[2];
};

INLINE struct runs load_runs(const struct panel *w, uint32_t quad)
{
    return (struct runs){{kept(load_chunk(w->q[quad])), kept(load_chunk(w->q[quad + 1]))},
                         {kept(load_chunk(w->q[quad + 32])), kept(load_chunk(w->q[quad + 33]))}};
}

/* Their products with x, times their scales. Sums of eight products with six bits do not fit into a word. */
INLINE ints add_runs(enum lg_type type, struct runs w, const int8_t *x, ints scales, ints sum)
{
    const __m512i zero = _mm512_setzero_si512();
    __m512i a = add_columns_of(zero, w.low[0], x), b = add_columns_of(zero, w.high[0], x + 128);
    if (type == LG_TYPE_Q6_K) {
        sum = _mm512_dpwssd_epi32(sum, side_by_side(a, b), scales);
        a = b = zero;
    }
    a = add_columns_of(a, w.low[1], x + 4);
    b = add_columns_of(b, w.high[1], x + 132);
    return _mm512_dpwssd_epi32(sum, side_by_side(a, b), scales);
}

/* What a pair of neighbours adds: mins, or what is subtracted from all of a block. */
INLINE ints side(enum lg_type type, const struct panel *w, uint32_t i, const struct lg_i8_unit *x)
{
    const int16_t *factors = is_packed(type) ? x->factors : x->half_factors;
    const int16_t *less = is_packed(type) ? x->block_less + LG_I8_BLOCKS : x->half_less;
    __m512i scaled = _mm512_mullo_epi16(load_chunk(w->sides[i]), same_four(factors + 2 * i));
    return _mm512_dpwssd_epi32(_mm512_setzero_si512(), scaled, same_four(less + 2 * i));
}

/* What lane i begins with. */
INLINE ints first_of_lane(enum lg_type type, const struct panel *w, uint32_t i, const struct lg_i8_unit *x)
{
    if (bias_of(type) == 0 || i >= LG_I8_BLOCKS)
        return _mm512_setzero_si512();
    return _mm512_slli_epi32(side(type, w, i, x), bias_of(type) == 32 ? 5 : 2);
}

/* A unit's lanes of runs in the halves h of blocks b and b + 4. */
INLINE void add_lanes(enum lg_type type, const struct panel *w, uint32_t b, uint32_t h, uint32_t n_x, const int8_t *const *x,
                      const struct lg_i8_unit *const *unit, const int32_t (*factors)[4], const floats *d,
                      struct panel_sums *sums)
{
    bytes pairs = load_chunk(w->scales[is_packed(type) ? b : 2 * b + h]);
    ints scales[PANEL_X];
    UNROLL_ALL for (uint32_t t = 0; t < n_x; t++)
        scales[t] = _mm512_mullo_epi16(pairs, same_four(&factors[t][b]));
    UNROLL_ALL for (uint32_t e = 0; e < 2; e++) {
        uint32_t i = 16 * h + 8 * e, lane = lg_i8_lane(type, b, i);
        struct runs runs = load_runs(w, 8 * b + i / 4);
        UNROLL_ALL for (uint32_t t = 0; t < n_x; t++) {
            ints first = first_of_lane(type, w, lane, unit[t]);
            ints products = add_runs(type, runs, x[t] + 32 * b + i, scales[t], first);
            sums[t].lanes[lane] = add_products(sums[t].lanes[lane], products, d[t]);
        }
        __asm__ volatile("" ::: "memory"); // compilers would load other lanes' weights, and have no registers for them
    }
}

/* A unit times n_x rows of x, a constant. */
INLINE void add_panel(enum lg_type type, const struct panel *w, uint32_t n_x, const int8_t *const *x,
                      const struct lg_i8_unit *const *unit, struct panel_sums *sums)
{
    _Alignas(16) int32_t factors[PANEL_X][4];
    floats d[PANEL_X];
    UNROLL_ALL for (uint32_t t = 0; t < n_x; t++) {
        __m128i eight = _mm_loadu_si128((const void *)unit[t]->factors);
        _mm_store_si128((void *)factors[t], _mm_unpacklo_epi16(eight, _mm_unpackhi_epi64(eight, eight)));
        d[t] = multiply(load_floats(w->d), _mm512_set1_ps(unit[t]->d));
    }
    UNROLL_ALL for (uint32_t part = 0; part < 8; part++)
        add_lanes(type, w, part / 2, part % 2, n_x, x, unit, factors, d, sums);
    if (!has_min(type))
        return;
    UNROLL_ALL for (uint32_t t = 0; t < n_x; t++) {
        floats min = multiply(load_floats(w->min), _mm512_set1_ps(unit[t]->d));
        floats *lanes = sums[t].mins + (is_packed(type) ? 4 : 0);
        for (uint32_t i = 0; i < (is_packed(type) ? 4 : 8); i++)
            lanes[i] = add_products(lanes[i], side(type, w, i, unit[t]), min);
    }
}

/* As sum_up(). */
INLINE floats sum_panel(struct panel_sums *sums)
{
    for (int n = LG_I8_LANES / 2; n > 0; n /= 2) {
        for (int i = 0; i < n; i++)
            sums->lanes[i] = _mm512_add_ps(sums->lanes[i], sums->lanes[i + n]);
    }
    for (int n = MIN_LANES / 2; n > 0; n /= 2) {
        for (int i = 0; i < n; i++)
            sums->mins[i] = _mm512_add_ps(sums->mins[i], sums->mins[i + n]);
    }
    return _mm512_add_ps(sums->lanes[0], sums->mins[0]);
}

/* ---- a matrix */

/* Rows of x. */
struct panel_x {
    uint32_t n;
    struct lg_i8_row rows[PANEL_MAX];
};

/* Units of sixteen rows of weights, and their lanes with each row of x. */
struct panel_room {
    struct panel panel[PANEL_UNITS];
    struct panel_sums sums[PANEL_MAX];
};

/* Rows [begin, end) of weights that come after. */
struct ahead {
    const uint8_t *const *row;
    uint32_t begin, end;
};

/* Asks for unit i of them: sixteen streams are more than processors follow by themselves, and they take few requests at once. */
INLINE void ask_for(enum lg_type type, const struct ahead *ahead, uint32_t i)
{
    for (uint32_t r = ahead->begin; r < ahead->end; r++) {
        for (uint32_t k = 0; k < unit_bytes(type); k += 64)
            _mm_prefetch((const char *)ahead->row[r] + i * unit_bytes(type) + k, _MM_HINT_T1);
    }
}

/* Units [0, n) of sixteen rows, at unit u of x, times n_x rows of it, a constant. */
INLINE void add_panels(enum lg_type type, const struct panel *w, uint32_t n, const struct lg_i8_row *rows, uint32_t u,
                       uint32_t n_x, struct panel_sums *sums, struct ahead ahead)
{
    const int8_t *q[PANEL_X];
    const struct lg_i8_unit *unit[PANEL_X];
    for (uint32_t i = 0; i < n; i++, u++) {
        ask_for(type, &ahead, i);
        UNROLL_ALL for (uint32_t t = 0; t < n_x; t++) {
            q[t] = rows[t].q + (size_t)u * LG_I8_UNIT;
            unit[t] = rows[t].units + u;
        }
        add_panel(type, w + i, n_x, q, unit, sums);
    }
}

/* The same for all rows of x, in groups that are as equal as can be. Meanwhile memory brings what comes after. */
INLINE void add_groups(enum lg_type type, struct panel_room *room, uint32_t n, const struct panel_x *x, uint32_t u,
                       const uint8_t *const *next)
{
    uint32_t t = 0;
    for (uint32_t n_groups = lg_div_up(x->n, PANEL_X); n_groups > 0; n_groups--) {
        uint32_t n_x = lg_div_up(x->n - t, n_groups);
        struct ahead ahead = {next, t * PANEL / x->n, (t + n_x) * PANEL / x->n};
        if (n_x == 4)
            add_panels(type, room->panel, n, x->rows + t, u, 4, room->sums + t, ahead);
        else if (n_x == 3)
            add_panels(type, room->panel, n, x->rows + t, u, 3, room->sums + t, ahead);
        else
            add_panels(type, room->panel, n, x->rows + t, u, 2, room->sums + t, ahead);
        t += n_x;
    }
}

/* Sixteen rows, the last one again where there are fewer. */
INLINE void rows_at(const struct weights *w, uint32_t row, const uint8_t *src[PANEL])
{
    for (uint32_t r = 0; r < PANEL; r++)
        src[r] = w->data + (size_t)lg_min_u32(row + r, w->n_rows - 1) * w->row_bytes;
}

/* Weight rows [begin, begin + PANEL), as far as they are before `end`. */
INLINE void multiply_panel(enum lg_type type, const struct shared *s, uint32_t begin, uint32_t end, uint32_t first,
                           const struct panel_x *x, struct panel_room *room)
{
    const uint8_t *src[PANEL], *next[PANEL];
    uint32_t n = lg_min_u32(end - begin, PANEL), n_units = s->w.n_cols / LG_I8_UNIT;
    rows_at(&s->w, begin, src);
    rows_at(&s->w, begin + PANEL, next);
    memset(room->sums, 0, x->n * sizeof(*room->sums));
    for (uint32_t u = 0; u < n_units; u += PANEL_UNITS) {
        uint32_t n_here = lg_min_u32(n_units - u, PANEL_UNITS);
        for (uint32_t i = 0; i < n_here; i++) {
            make_panel(type, src, room->panel + i);
            for (uint32_t r = 0; r < PANEL; r++)
                src[r] += unit_bytes(type);
        }
        add_groups(type, room, n_here, x, u, u + n_here < n_units ? src : next);
    }
    for (uint32_t t = 0; t < x->n; t++) {
        float y[PANEL];
        store_floats(y, sum_panel(room->sums + t));
        memcpy(s->y + (first + t) * s->y_stride + begin, y, n * sizeof(*y));
    }
}

/* A block with PANEL_MIN rows of x or more. */
INLINE void panel_block(enum lg_type type, const struct shared *s, struct lg_cpu_block block, struct panel_room *room)
{
    struct panel_x x;
    for (uint32_t t = block.row; t < block.row_end; t += x.n) {
        x.n = lg_div_up(block.row_end - t, lg_div_up(block.row_end - t, PANEL_MAX));
        for (uint32_t i = 0; i < x.n; i++)
            x.rows[i] = lg_i8_row_at(s->x, s->w.n_cols, t + i);
        for (uint32_t m = block.begin; m < block.end; m += PANEL)
            multiply_panel(type, s, m, block.end, t, &x, room);
    }
}

#endif
