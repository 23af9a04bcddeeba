/* SPDX-License-Identifier: MIT
 *
 * The hot kernels that multiply weights and rows of x. Meson compiles this file once for each instruction set,
 * with HOT_TABLE as the name of its table; the order of all sums is that of dot.h, so the variants agree with the
 * reference bit for bit.
 */
#include "device/cpu/decode.h"
#include "device/cpu/dot.h"
#include "device/cpu/fast.h"
#include "device/cpu/grid.h"
#include "device/cpu/lora.h"
#include "device/cpu/matmul_blocks.h"
#include "device/cpu/simd_math.h"

enum {
    NEAR_ROWS = VEC / 4, // weight rows that fit into the registers with one row of x
    N_VECS = LG_DOT_LANES / VEC,
    CHUNK = 256,   // weights decoded at a time: a multiple of all blocks and of the lanes
    MAX_COLS = 16, // rows of x that share a decoded chunk
};

/* Adds to acc[r] the products of w[r] and x, n of them, a multiple of the lanes. n_rows is a constant. */
INLINE void add_products(struct lg_dot *acc, const float *w, size_t w_stride, const float *x, size_t n,
                         int n_rows)
{
    vec sum[NEAR_ROWS][N_VECS];
    for (int r = 0; r < n_rows; r++) {
        for (int j = 0; j < N_VECS; j++)
            sum[r][j] = load(acc[r].lane + j * VEC);
    }
    for (size_t k = 0; k < n; k += LG_DOT_LANES) {
        for (int j = 0; j < N_VECS; j++) {
            vec xs = load(x + k + j * VEC);
            for (int r = 0; r < n_rows; r++)
                sum[r][j] += load(w + (size_t)r * w_stride + k + j * VEC) * xs;
        }
    }
    for (int r = 0; r < n_rows; r++) {
        for (int j = 0; j < N_VECS; j++)
            store(acc[r].lane + j * VEC, sum[r][j]);
    }
}

typedef void decode_fn(const uint8_t *src, float *y, size_t n);

/* An encoded matrix. */
struct weights {
    decode_fn *decode;
    uint32_t block_elements, block_bytes;
    const uint8_t *data;
    size_t row_bytes;
    size_t n_cols;
};

/* y[t][r] = dot(weight row r, x[t]) for n_rows rows (a constant) and up to MAX_COLS rows of x. */
INLINE void multiply_near(const struct weights *w, uint32_t row, int n_rows, const float *x, uint32_t n_x,
                     float *y, size_t y_stride)
{
    _Alignas(64) struct lg_dot acc[MAX_COLS][NEAR_ROWS];
    _Alignas(64) float chunk[NEAR_ROWS][CHUNK];
    memset(acc, 0, n_x * sizeof(acc[0]));
    for (size_t k = 0; k < w->n_cols; k += CHUNK) {
        size_t n = w->n_cols - k < CHUNK ? w->n_cols - k : CHUNK, whole = n - n % LG_DOT_LANES;
        size_t at = k / w->block_elements * w->block_bytes;
        for (int r = 0; r < n_rows; r++) {
            const uint8_t *src = w->data + (size_t)(row + r) * w->row_bytes + at;
            w->decode(src, chunk[r], n);
        }
        for (uint32_t t = 0; t < n_x; t++) {
            const float *xt = x + t * w->n_cols + k;
            add_products(acc[t], chunk[0], CHUNK, xt, whole, n_rows);
            for (int r = 0; r < n_rows && whole < n; r++)
                lg_dot_add(&acc[t][r], chunk[r] + whole, xt + whole, n - whole);
        }
    }
    for (uint32_t t = 0; t < n_x; t++) {
        for (int r = 0; r < n_rows; r++)
            y[t * y_stride + row + r] = lg_dot_sum(&acc[t][r]);
    }
}

/* A tile of weight rows [begin, end) and any number of rows of x. */
static void multiply_tile(const struct weights *w, uint32_t begin, uint32_t end, const float *x, uint32_t n_x,
                          float *y, size_t y_stride)
{
    for (uint32_t t = 0; t < n_x; t += MAX_COLS) {
        uint32_t n = lg_min_u32(n_x - t, MAX_COLS), row = begin;
        const float *xt = x + t * w->n_cols;
        float *yt = y + t * y_stride;
        for (; end - row >= NEAR_ROWS; row += NEAR_ROWS)
            multiply_near(w, row, NEAR_ROWS, xt, n, yt, y_stride);
        for (; row < end; row++)
            multiply_near(w, row, 1, xt, n, yt, y_stride);
    }
}

static struct weights weights_of(const struct lg_matmul_push *push, const void *data, decode_fn *decode,
                                 uint32_t block_elements, uint32_t block_bytes)
{
    return (struct weights){
        .decode = decode,
        .block_elements = block_elements,
        .block_bytes = block_bytes,
        .data = data,
        .row_bytes = push->row_bytes,
        .n_cols = push->n_cols,
    };
}

/* ---- one row of x: weights are met row by row as they lie in memory, since processors load ahead of a single stream much
 * better than of several. `decode` and `load_weights` are constants. */

typedef vec load_fn(const uint8_t *src);

INLINE vec load_floats(const uint8_t *src)
{
    return load((const float *)(const void *)src);
}

/* Plain numbers of `size` bytes, straight from memory. */
INLINE void add_plain(struct lg_dot *acc, load_fn *load_weights, const uint8_t *src, size_t size, const float *x, size_t n)
{
    vec sum[N_VECS];
    for (int j = 0; j < N_VECS; j++)
        sum[j] = load(acc->lane + j * VEC);
    for (size_t k = 0; k < n; k += LG_DOT_LANES) {
        for (int j = 0; j < N_VECS; j++)
            sum[j] += load_weights(src + (k + (size_t)(j * VEC)) * size) * load(x + k + j * VEC);
    }
    for (int j = 0; j < N_VECS; j++)
        store(acc->lane + j * VEC, sum[j]);
}

INLINE float multiply_row(const struct weights *w, load_fn *load_weights, uint32_t row, const float *x)
{
    const uint8_t *src = w->data + (size_t)row * w->row_bytes;
    struct lg_dot acc = {0};
    float part[CHUNK];
    size_t k = 0;
    if (load_weights) {
        k = w->n_cols - w->n_cols % LG_DOT_LANES;
        add_plain(&acc, load_weights, src, w->block_bytes, x, k);
    }
    for (; k < w->n_cols; k += CHUNK) {
        size_t n = w->n_cols - k < CHUNK ? w->n_cols - k : CHUNK, whole = n - n % LG_DOT_LANES;
        w->decode(src + k / w->block_elements * w->block_bytes, part, n);
        add_products(&acc, part, 0, x + k, whole, 1);
        lg_dot_add(&acc, part + whole, x + k + whole, n - whole);
    }
    return lg_dot_sum(&acc);
}

INLINE void multiply_rows(const struct weights *w, load_fn *load_weights, uint32_t begin, uint32_t end, const float *x,
                          float *y)
{
    for (; begin < end; begin++)
        y[begin] = multiply_row(w, load_weights, begin, x);
}

INLINE void matvec(const struct weights *w, load_fn *load_weights, const struct lg_cpu_args *args, uint32_t first,
                   uint32_t last)
{
    const struct lg_matmul_push *push = args->push;
    uint32_t per_group = args->spec[0] * args->spec[1], most = lg_cpu_near_rows(push->row_bytes);
    while (first < last) {
        struct lg_cpu_block block = lg_cpu_block(args, &first, last, per_group, push->n_rows, most);
        const float *x = (const float *)args->view[1] + (size_t)block.row * push->n_cols;
        float *y = (float *)args->view[2] + (size_t)block.row * push->y_stride + push->row_begin;
        uint32_t n_x = block.row_end - block.row;
        if (n_x > 1 && !load_weights) // what is to be decoded is so once
            multiply_tile(w, block.begin, block.end, x, n_x, y, push->y_stride);
        else
            for (uint32_t t = 0; t < n_x; t++, x += push->n_cols, y += push->y_stride)
                multiply_rows(w, load_weights, block.begin, block.end, x, y);
    }
}

/* ---- many rows of x ------------------------------------------------------------------------------ */

#if defined(__AVX512F__)
/*
 * Sums of MANY_W weight rows and MANY_X rows of x fill the registers. Weights are decoded for all rows of x of a tile, a LONG
 * piece of them at a time, which stays in the nearest cache; sums wait in memory for the next piece.
 */
enum { MANY_W = 4, MANY_X = 3, LONG = 1024, TILE_X = 128 };

struct many {
    _Alignas(64) struct lg_dot sums[TILE_X][MANY_W];
    _Alignas(64) float w[MANY_W][LONG];
    _Alignas(64) float ends[TILE_X][LG_DOT_LANES]; // of the rows of x, with zeros up to whole lanes
};

INLINE void add_many(vec (*sum)[MANY_W][N_VECS], const float *w, const float *x, size_t x_stride, size_t n, int n_x)
{
    for (size_t k = 0; k < n; k += LG_DOT_LANES) {
        UNROLL_SUMS
        for (int j = 0; j < N_VECS; j++) {
            vec xs[MANY_X];
            UNROLL_SUMS
            for (int t = 0; t < n_x; t++)
                xs[t] = load(x + (size_t)t * x_stride + k + j * VEC);
            UNROLL_SUMS
            for (int r = 0; r < MANY_W; r++) {
                vec ws = load(w + (size_t)r * LONG + k + j * VEC);
                UNROLL_SUMS
                for (int t = 0; t < n_x; t++)
                    sum[t][r][j] += ws * xs[t];
            }
        }
    }
}

/* lg_dot_sum() of the sums with each weight row, side by side. */
INLINE f32x4 fold_many(vec (*sum)[N_VECS])
{
    f32x4 a = fold_add(sum[0][0] + sum[0][1]), b = fold_add(sum[1][0] + sum[1][1]);
    f32x4 c = fold_add(sum[2][0] + sum[2][1]), d = fold_add(sum[3][0] + sum[3][1]);
    f32x4 ab = __builtin_shufflevector(a, b, 0, 1, 4, 5) + __builtin_shufflevector(a, b, 2, 3, 6, 7);
    f32x4 cd = __builtin_shufflevector(c, d, 0, 1, 4, 5) + __builtin_shufflevector(c, d, 2, 3, 6, 7);
    return __builtin_shufflevector(ab, cd, 0, 2, 4, 6) + __builtin_shufflevector(ab, cd, 1, 3, 5, 7);
}

/* Where a piece of a row of n elements lies, and whether it is the last of its row. */
struct piece {
    const float *x;
    size_t x_stride, begin, n;
    bool last;
};

/* n_x rows of x, a constant, from row t on. */
INLINE void multiply_piece(struct many *m, const struct piece *p, uint32_t t, float *y, size_t y_stride, int n_x)
{
    vec sum[MANY_X][MANY_W][N_VECS];
    size_t whole = p->n - p->n % LG_DOT_LANES;
    UNROLL_SUMS
    for (int i = 0; i < n_x; i++) {
        UNROLL_SUMS
        for (int r = 0; r < MANY_W; r++) {
            UNROLL_SUMS
            for (int j = 0; j < N_VECS; j++)
                sum[i][r][j] = p->begin ? load(m->sums[t + (uint32_t)i][r].lane + j * VEC) : (vec){0};
        }
    }
    add_many(sum, m->w[0], p->x + t * p->x_stride, p->x_stride, whole, n_x);
    if (whole < p->n)
        add_many(sum, m->w[0] + whole, m->ends[t], LG_DOT_LANES, LG_DOT_LANES, n_x);
    UNROLL_SUMS
    for (int i = 0; i < n_x; i++) {
        if (p->last) {
            f32x4 all = fold_many(sum[i]);
            memcpy(y + (t + (uint32_t)i) * y_stride, &all, sizeof(all));
            continue;
        }
        UNROLL_SUMS
        for (int r = 0; r < MANY_W; r++) {
            UNROLL_SUMS
            for (int j = 0; j < N_VECS; j++)
                store(m->sums[t + (uint32_t)i][r].lane + j * VEC, sum[i][r][j]);
        }
    }
}

/* MANY_W weight rows from `row` on, and up to TILE_X rows of x, whose ends are there. */
static void multiply_many(const struct weights *w, struct many *m, uint32_t row, const float *x, uint32_t n_x, float *y,
                          size_t y_stride)
{
    for (size_t k = 0; k < w->n_cols; k += LONG) {
        struct piece p = {x + k, w->n_cols, k, w->n_cols - k < LONG ? w->n_cols - k : LONG, k + LONG >= w->n_cols};
        for (uint32_t r = 0; r < MANY_W; r++) {
            const uint8_t *src = w->data + (row + r) * w->row_bytes + k / w->block_elements * w->block_bytes;
            w->decode(src, m->w[r], p.n);
            for (size_t i = p.n; i % LG_DOT_LANES; i++)
                m->w[r][i] = 0;
        }
        uint32_t t = 0;
        for (; n_x - t >= MANY_X; t += MANY_X)
            multiply_piece(m, &p, t, y + row, y_stride, MANY_X);
        if (n_x - t == 2)
            multiply_piece(m, &p, t, y + row, y_stride, 2);
        if (n_x - t == 1)
            multiply_piece(m, &p, t, y + row, y_stride, 1);
    }
}

static uint32_t multiply_fours(const struct weights *w, uint32_t begin, uint32_t end, const float *x, uint32_t n_x, float *y,
                               size_t y_stride)
{
    struct many m;
    size_t tail = w->n_cols % LG_DOT_LANES;
    for (uint32_t t = 0; t < n_x && tail; t++) {
        memcpy(m.ends[t], x + (t + 1) * w->n_cols - tail, tail * sizeof(*x));
        memset(m.ends[t] + tail, 0, (LG_DOT_LANES - tail) * sizeof(*x));
    }
    for (; end - begin >= MANY_W; begin += MANY_W)
        multiply_many(w, &m, begin, x, n_x, y, y_stride);
    return begin;
}
#else
enum { TILE_X = MAX_COLS };

/* Nothing that multiply_tile() has not. */
static uint32_t multiply_fours(const struct weights *w, uint32_t begin, uint32_t end, const float *x, uint32_t n_x, float *y,
                               size_t y_stride)
{
    (void)w, (void)end, (void)x, (void)n_x, (void)y, (void)y_stride;
    return begin;
}
#endif

static void matmul(const struct weights *w, const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_matmul_push *push = args->push;
    uint32_t n_x = ((const uint32_t *)args->view[0])[push->dim];
    bool blocks = args->spec[3] == LG_MATMUL_FORM_BLOCKS;
    struct block_weights b = {w->decode, w->block_elements, w->block_bytes, w->data, w->row_bytes, w->n_cols};
    for (uint32_t g = first; g < last; g++) {
        struct lg_cpu_span m = lg_cpu_span(args, g, args->spec[1], push->n_rows);
        uint32_t begin = m.row * args->spec[2], end = lg_min_u32(begin + args->spec[2], n_x);
        for (uint32_t t = begin, n; t < end; t += n) {
            const float *x = (const float *)args->view[2] + (size_t)t * push->n_cols;
            float *y = (float *)args->view[3] + push->row_begin + (size_t)t * push->y_stride;
            n = blocks ? end - t : lg_min_u32(end - t, TILE_X);
            if (blocks) {
                multiply_blocks(&b, m.begin, m.end, x, n, y, push->y_stride);
                continue;
            }
            uint32_t done = multiply_fours(w, m.begin, m.end, x, n, y, push->y_stride);
            multiply_tile(w, done, m.end, x, n, y, push->y_stride);
        }
    }
}

#define TYPED(name, block_elements, block_bytes, load_weights)                                 \
    static void matvec_##name(const struct lg_cpu_args *args, uint32_t first, uint32_t last)   \
    {                                                                                          \
        struct weights w =                                                                     \
            weights_of(args->push, args->view[0], decode_##name, block_elements, block_bytes); \
        matvec(&w, load_weights, args, first, last);                                           \
    }                                                                                          \
    static void matmul_##name(const struct lg_cpu_args *args, uint32_t first, uint32_t last)   \
    {                                                                                          \
        struct weights w =                                                                     \
            weights_of(args->push, args->view[1], decode_##name, block_elements, block_bytes); \
        matmul(&w, args, first, last);                                                         \
    }
TYPED(f32, 1, 4, load_floats)
TYPED(f16, 1, 2, load_halves)
TYPED(bf16, 1, 2, load_bfloats)
TYPED(q4_0, 32, 18, NULL)
TYPED(q4_1, 32, 20, NULL)
TYPED(q5_0, 32, 22, NULL)
TYPED(q5_1, 32, 24, NULL)
TYPED(q8_0, 32, 34, NULL)
TYPED(q2_k, 256, 84, NULL)
TYPED(q3_k, 256, 110, NULL)
TYPED(q4_k, 256, 144, NULL)
TYPED(q5_k, 256, 176, NULL)
TYPED(q6_k, 256, 210, NULL)

/* ---- adapters ------------------------------------------------------------------------------------ */

enum {
    UP_COLS = 2048, // of y that are made at a time
    UP_ROWS = 8,     // of B that are added at a time
};

/* Some elements of t for rows of x from `row` on that have one adapter: a single row streams A, several share what is decoded. */
INLINE void make_small(const struct lg_cpu_args *args, const struct lg_cpu_lora *lora, struct lg_cpu_lora_part part,
                       uint32_t row, uint32_t n_x)
{
    const struct lg_lora_push *push = args->push;
    struct weights w = {
        .decode = lora->pair.half_size ? decode_f16 : decode_f32,
        .block_elements = 1,
        .block_bytes = (uint32_t)lora->number_bytes,
        .data = lora->a,
        .row_bytes = lora->a_row_bytes,
        .n_cols = push->n_cols,
    };
    const float *x = (const float *)args->view[4] + (size_t)row * push->n_cols;
    float *t = (float *)args->view[5] + lg_cpu_lora_t_at(push, row, part.m);
    uint32_t end = lg_min_u32(part.end, lora->pair.rank);
    if (part.begin >= end)
        return;
    if (n_x > 1)
        multiply_tile(&w, part.begin, end, x, n_x, t, (size_t)LG_LORA_MATRICES * push->t_stride);
    else if (lora->pair.half_size)
        multiply_rows(&w, load_halves, part.begin, end, x, t);
    else
        multiply_rows(&w, load_floats, part.begin, end, x, t);
}

/* How many rows from `row` on have the adapter of the first. */
static uint32_t count_same(const struct lg_cpu_args *args, uint32_t row, uint32_t end)
{
    const struct lg_row *rows = args->view[0];
    const struct lg_slot_lora *slots = args->view[1];
    uint32_t n = 1;
    while (row + n < end && slots[rows[row + n].slot].seat == slots[rows[row].slot].seat)
        n++;
    return n;
}

static void lora_down(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    while (first < last) {
        struct lg_cpu_block block = lg_cpu_block(args, &first, last, 1, args->grid[0], 1);
        for (uint32_t g = block.begin; g < block.end; g++) {
            struct lg_cpu_lora_part part = lg_cpu_lora_down_part(args, g);
            for (uint32_t row = block.row, n; row < block.row_end; row += n) {
                struct lg_cpu_lora lora = lg_cpu_lora_of(args, row, part.m);
                n = count_same(args, row, block.row_end);
                make_small(args, &lora, part, row, n);
            }
        }
    }
}

/* sum += b[r] * t[r] for n columns of n_rows rows of B. n_rows and load_weights are constants. */
INLINE void add_rows(float *restrict sum, load_fn *load_weights, decode_fn *decode, const struct lg_cpu_lora *lora,
                     const uint8_t *b, const float *t, int n_rows, size_t n)
{
    float rest[VEC];
    size_t j = 0;
    for (; j + VEC <= n; j += VEC) {
        vec v = load(sum + j);
        for (int r = 0; r < n_rows; r++)
            v += load_weights(b + (size_t)r * lora->b_row_bytes + j * lora->number_bytes) * t[r];
        store(sum + j, v);
    }
    for (int r = 0; r < n_rows && j < n; r++) {
        decode(b + (size_t)r * lora->b_row_bytes + j * lora->number_bytes, rest, n - j);
        for (size_t i = 0; j + i < n; i++)
            sum[j + i] += rest[i] * t[r];
    }
}

/* What B makes of a row of t, up to UP_COLS columns of it. */
INLINE void make_wide(const struct lg_cpu_lora *lora, load_fn *load_weights, decode_fn *decode, size_t begin, const float *t,
                      float *sum, size_t n)
{
    const uint8_t *b = lora->b + begin * lora->number_bytes;
    uint32_t i = 0;
    memset(sum, 0, n * sizeof(*sum));
    for (; lora->pair.rank - i >= UP_ROWS; i += UP_ROWS)
        add_rows(sum, load_weights, decode, lora, b + i * lora->b_row_bytes, t + i, UP_ROWS, n);
    for (; i < lora->pair.rank; i++)
        add_rows(sum, load_weights, decode, lora, b + i * lora->b_row_bytes, t + i, 1, n);
}

INLINE void add_scaled(float *restrict y, const float *restrict sum, float scale, uint32_t n)
{
    for (uint32_t j = 0; j < n; j++)
        y[j] += scale * sum[j];
}

static void lora_up_part(const struct lg_cpu_args *args, struct lg_cpu_lora_part part, uint32_t row)
{
    const struct lg_lora_push *push = args->push;
    struct lg_cpu_lora lora = lg_cpu_lora_of(args, row, part.m);
    const float *t = (const float *)args->view[4] + lg_cpu_lora_t_at(push, row, part.m);
    const float *bias = lg_cpu_lora_bias(args, part.m);
    float *y = (float *)args->view[8] + lg_cpu_lora_y_at(push, row, part.m);
    _Alignas(64) float sum[UP_COLS];
    for (uint32_t begin = part.begin, n; begin < part.end; begin += n) {
        n = lg_min_u32(part.end - begin, UP_COLS);
        for (uint32_t j = 0; j < n && push->flags & LG_LORA_WHOLE; j++)
            y[begin + j] = bias ? bias[begin + j] : 0;
        if (lora.pair.rank == 0)
            continue;
        if (lora.pair.half_size)
            make_wide(&lora, load_halves, decode_f16, begin, t, sum, n);
        else
            make_wide(&lora, load_floats, decode_f32, begin, t, sum, n);
        add_scaled(y + begin, sum, lora.scale, n);
    }
}

static void lora_up(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    while (first < last) {
        struct lg_cpu_block block = lg_cpu_block(args, &first, last, 1, args->grid[0], 1);
        for (uint32_t g = block.begin; g < block.end; g++)
            for (uint32_t row = block.row; row < block.row_end; row++)
                lora_up_part(args, lg_cpu_lora_up_part(args, g), row);
    }
}

lg_cpu_fast_table HOT_TABLE = {[LG_K_LORA_DOWN] = lora_down,
                               [LG_K_LORA_UP] = lora_up,
#define ENTRIES(lower, UPPER) [LG_K_MATVEC_##UPPER] = matvec_##lower, [LG_K_MATMUL_##UPPER] = matmul_##lower,
                               LG_WEIGHT_TYPES(ENTRIES)};
