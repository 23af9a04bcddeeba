/* SPDX-License-Identifier: MIT
 *
 * Attention in training, compiled once for each instruction set with HOT_TABLE as the name of its table. A tile is some
 * neighbouring rows of a sample, queries or keys, that meet the others block by block: their products are sums of outer
 * products once the block has been turned, so that its rows are lanes. Sums are in the order of attention_train.c, and
 * rounded as outer.h says.
 */
#include "device/cpu/attention_train.h"

#include <math.h>
#include <string.h>

#include "device/cpu/fast.h"
#include "device/cpu/outer.h"

enum {
    BLOCK = LG_SAMPLE_BLOCK,
    DEPTH = 64,    // of numbers of a head that are turned at a time
    MAX_TILE = 24, // rows; a multiple of ROWS
};

/* ---- turned blocks ------------------------------------------------------------------------------- */

/* Numbers [at, at + DEPTH) of the heads of BLOCK rows: to[i][row]. */
struct turned {
    _Alignas(64) float to[DEPTH][BLOCK];
    const float *from; // the rows' head that it is of; NULL: nobody's
    uint32_t at;
};

INLINE void turn_four(const float *x, size_t stride, float *to)
{
    f32x4 r[4];
    for (int i = 0; i < 4; i++)
        memcpy(&r[i], x + (size_t)i * stride, sizeof(r[i]));
    f32x4 a = __builtin_shufflevector(r[0], r[1], 0, 4, 1, 5), b = __builtin_shufflevector(r[2], r[3], 0, 4, 1, 5);
    f32x4 c = __builtin_shufflevector(r[0], r[1], 2, 6, 3, 7), d = __builtin_shufflevector(r[2], r[3], 2, 6, 3, 7);
    r[0] = __builtin_shufflevector(a, b, 0, 1, 4, 5);
    r[1] = __builtin_shufflevector(a, b, 2, 3, 6, 7);
    r[2] = __builtin_shufflevector(c, d, 0, 1, 4, 5);
    r[3] = __builtin_shufflevector(c, d, 2, 3, 6, 7);
    for (int i = 0; i < 4; i++)
        memcpy(to + (size_t)i * BLOCK, &r[i], sizeof(r[i]));
}

/* Of n_rows rows; those that are not there are zeros. */
static void turn(struct turned *t, const float *x, size_t stride, uint32_t n_rows, uint32_t at, uint32_t n)
{
    uint32_t fours = n_rows / 4 * 4, depth = n / 4 * 4;
    if (t->from == x && t->at == at)
        return;
    for (uint32_t row = 0; row < fours; row += 4) {
        for (uint32_t i = 0; i < depth; i += 4)
            turn_four(x + row * stride + at + i, stride, &t->to[i][row]);
    }
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t row = i < depth ? fours : 0; row < n_rows; row++)
            t->to[i][row] = x[row * stride + at + i];
        memset(t->to[i] + n_rows, 0, (BLOCK - n_rows) * sizeof(float));
    }
    t->from = x;
    t->at = at;
}

/* ---- products ------------------------------------------------------------------------------------ */

/* n_rows rows of n numbers, each `stride` after the one before. */
struct heads {
    float *at;
    size_t stride;
};

/* y[r][j] = the product of mine's row r and others' row j */
static void meet(float (*y)[BLOCK], struct heads mine, uint32_t n_mine, struct heads others, uint32_t n_others, uint32_t n,
                 struct turned *turned)
{
    for (uint32_t i = 0; i < n; i += DEPTH) {
        uint32_t depth = lg_min_u32(n - i, DEPTH);
        turn(turned, others.at, others.stride, n_others, i, depth);
        for (uint32_t j = 0; j < n_others; j += SLICE)
            multiply_slice((struct target){&y[0][j], BLOCK, false, i > 0}, (struct factors){mine.at + i, mine.stride, 1},
                           (struct columns){&turned->to[0][j], BLOCK}, depth, SLICE, n_mine);
    }
}

/* y[r] += the sum over others of factor[r][other] * others[other] */
static void gather(struct heads y, float (*factor)[BLOCK], uint32_t n_mine, struct heads others, uint32_t n_others, uint32_t n)
{
    for (uint32_t i = 0; i < n; i += SLICE)
        multiply_slice((struct target){y.at + i, y.stride, true, false}, (struct factors){factor[0], BLOCK, 1},
                       (struct columns){others.at + i, others.stride}, n_others, lg_min_u32(n - i, SLICE), n_mine);
}

/* ---- tiles --------------------------------------------------------------------------------------- */

struct tile {
    const struct lg_attention_train_push *push;
    uint32_t begin, end;               // rows
    uint32_t sample_begin, sample_end; // of their sample
    uint32_t kv_head, head;
    struct turned first, second;
    float p[MAX_TILE][BLOCK], ds[MAX_TILE][BLOCK];
    float top[MAX_TILE], sum[MAX_TILE];
};

typedef void tile_fn(const struct lg_cpu_args *args, struct tile *t);

/* Calls `fn` for the tiles of rows [begin, end), each of one sample. */
static void each_tile(const struct lg_cpu_args *args, struct tile *t, uint32_t begin, uint32_t end, tile_fn *fn)
{
    const struct lg_row *rows = args->view[1];
    t->push = args->push;
    for (; begin < end; begin = t->end) {
        t->begin = begin;
        t->sample_begin = lg_cpu_sample_begin(rows, begin);
        t->sample_end = lg_cpu_sample_end(rows, begin, ((const uint32_t *)args->view[0])[t->push->dim]);
        t->end = lg_min_u32(lg_min_u32(end, t->sample_end), begin + MAX_TILE);
        t->first.from = t->second.from = NULL;
        fn(args, t);
    }
}

static struct heads queries(const struct tile *t, void *view, uint32_t row)
{
    return (struct heads){(float *)view + lg_cpu_head_at(t->push, row, t->head),
                          (size_t)t->push->n_heads * t->push->head_dim};
}

static struct heads keys(const struct tile *t, void *view, uint32_t row)
{
    return (struct heads){(float *)view + lg_cpu_key_at(t->push, row, t->kv_head),
                          (size_t)t->push->n_kv * t->push->head_dim};
}

INLINE ivec lanes(void)
{
    ivec lane;
    for (int i = 0; i < VEC; i++)
        lane[i] = i;
    return lane;
}

/* ---- forwards ------------------------------------------------------------------------------------ */

/* Scores of a row that sees n of the block become what they weigh. */
static void soften(struct tile *t, uint32_t r, uint32_t n, float *a)
{
    vec s[BLOCK / VEC], tops = splat(t->top[r]), sums[LG_DOT_LANES / VEC] = {{0}};
    float scale = t->push->scale;
    for (int j = 0; j < BLOCK / VEC; j++) {
        ivec seen = lanes() + j * VEC < (int32_t)n;
        s[j] = choose(seen, load(t->p[r] + j * VEC) * scale, splat(-INFINITY));
        tops = vec_max(s[j], tops);
    }
    float top = max_vec(tops), shrink = lg_exp(t->top[r] - top);
    for (int j = 0; j < BLOCK / VEC; j++) {
        s[j] = exp_vec(s[j] - top);
        store(t->p[r] + j * VEC, s[j]);
        sums[j % (LG_DOT_LANES / VEC)] += s[j];
    }
    for (uint32_t i = 0; i < t->push->head_dim; i++)
        a[i] *= shrink;
    t->sum[r] = t->sum[r] * shrink + sum_lanes(sums);
    t->top[r] = top;
}

/* The part of the tile that meets the block at `begin`: rows from `row` on, as many as n, and keys of it. */
struct meeting {
    uint32_t row, n, n_keys;
    float (*p)[BLOCK], (*ds)[BLOCK];
};

static struct meeting meeting_of(struct tile *t, uint32_t begin)
{
    uint32_t row = lg_max_u32(t->begin, begin), at = row - t->begin;
    return (struct meeting){row, t->end - row, lg_min_u32(t->end - begin, BLOCK), t->p + at, t->ds + at};
}

static void attend_tile(const struct lg_cpu_args *args, struct tile *t)
{
    uint32_t n = t->push->head_dim;
    struct heads all = queries(t, args->view[5], t->begin);
    for (uint32_t r = 0; r < t->end - t->begin; r++) {
        memset(all.at + r * all.stride, 0, n * sizeof(float));
        t->top[r] = -INFINITY;
        t->sum[r] = 0;
    }
    for (uint32_t begin = t->sample_begin; begin < t->end; begin += BLOCK) {
        struct meeting m = meeting_of(t, begin);
        struct heads a = queries(t, args->view[5], m.row);
        meet(m.p, queries(t, args->view[2], m.row), m.n, keys(t, args->view[3], begin), m.n_keys, n, &t->first);
        for (uint32_t r = 0; r < m.n; r++)
            soften(t, m.row - t->begin + r, m.row + r + 1 - begin, a.at + r * a.stride);
        gather(a, m.p, m.n, keys(t, args->view[4], begin), m.n_keys, n);
    }
    for (uint32_t r = 0; r < t->end - t->begin; r++) {
        for (uint32_t i = 0; i < n; i++)
            all.at[r * all.stride + i] /= t->sum[r];
        ((float *)args->view[6])[lg_cpu_number_at(t->push, t->begin + r, t->head)] = t->top[r] + logf(t->sum[r]);
    }
}

/* Of each head of each workgroup. */
INLINE void each_share(const struct lg_cpu_args *args, uint32_t first, uint32_t last, tile_fn *fn)
{
    struct tile t;
    for (uint32_t i = first; i < last; i++) {
        struct lg_cpu_share s = lg_cpu_share(args, i);
        t.kv_head = s.kv_head;
        for (t.head = s.head; t.head < s.head_end; t.head++)
            each_tile(args, &t, s.begin, s.end, fn);
    }
}

static void attention_train(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    each_share(args, first, last, attend_tile);
}

/* ---- backwards ----------------------------------------------------------------------------------- */

/* Scores p and products dp of a row, of which columns [from, to) count, become p and ds. */
INLINE void slopes(float *p, float *dp, float scale, uint32_t from, uint32_t to, const float *lse, const float *delta,
                   bool by_lane)
{
    for (int j = 0; j < BLOCK; j += VEC) {
        ivec lane = lanes() + j, seen = (lane >= (int32_t)from) & (lane < (int32_t)to);
        vec weight = exp_vec(load(p + j) * scale - (by_lane ? load(lse + j) : splat(*lse)));
        vec slope = weight * (load(dp + j) - (by_lane ? load(delta + j) : splat(*delta))) * scale;
        store(p + j, choose(seen, weight, splat(0)));
        store(dp + j, choose(seen, slope, splat(0)));
    }
}

static float dot_in_order(const float *a, const float *b, uint32_t n)
{
    float sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static void back_to_queries(const struct lg_cpu_args *args, struct tile *t)
{
    uint32_t n = t->push->head_dim, n_rows = t->end - t->begin;
    struct heads all = queries(t, args->view[8], t->begin), a = queries(t, args->view[5], t->begin);
    struct heads da = queries(t, args->view[7], t->begin);
    for (uint32_t r = 0; r < n_rows; r++) {
        size_t number = lg_cpu_number_at(t->push, t->begin + r, t->head);
        memset(all.at + r * all.stride, 0, n * sizeof(float));
        t->top[r] = ((const float *)args->view[6])[number]; // lse
        t->sum[r] = ((float *)args->view[9])[number] = dot_in_order(da.at + r * da.stride, a.at + r * a.stride, n); // delta
    }
    for (uint32_t begin = t->sample_begin; begin < t->end; begin += BLOCK) {
        struct meeting m = meeting_of(t, begin);
        uint32_t at = m.row - t->begin;
        struct heads k = keys(t, args->view[3], begin), v = keys(t, args->view[4], begin);
        meet(m.p, queries(t, args->view[2], m.row), m.n, k, m.n_keys, n, &t->first);
        meet(m.ds, queries(t, args->view[7], m.row), m.n, v, m.n_keys, n, &t->second);
        for (uint32_t r = 0; r < m.n; r++)
            slopes(m.p[r], m.ds[r], t->push->scale, 0, m.row + r + 1 - begin, &t->top[at + r], &t->sum[at + r], false);
        gather(queries(t, args->view[8], m.row), m.ds, m.n, k, m.n_keys, n);
    }
}

static void attention_back_q(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    each_share(args, first, last, back_to_queries);
}

/* Keys of the tile and the queries of a head in the block at `begin`. */
static void back_to_keys_of(const struct lg_cpu_args *args, struct tile *t, uint32_t begin)
{
    uint32_t n = t->push->head_dim, n_queries = lg_min_u32(t->sample_end - begin, BLOCK);
    uint32_t n_keys = lg_min_u32(t->end, begin + BLOCK) - t->begin;
    struct heads q = queries(t, args->view[2], begin), da = queries(t, args->view[7], begin);
    float lse[BLOCK] = {0}, delta[BLOCK] = {0};
    for (uint32_t i = 0; i < n_queries; i++) {
        size_t number = lg_cpu_number_at(t->push, begin + i, t->head);
        lse[i] = ((const float *)args->view[5])[number];
        delta[i] = ((const float *)args->view[6])[number];
    }
    meet(t->p, keys(t, args->view[3], t->begin), n_keys, q, n_queries, n, &t->first);
    meet(t->ds, keys(t, args->view[4], t->begin), n_keys, da, n_queries, n, &t->second);
    for (uint32_t r = 0; r < n_keys; r++) {
        uint32_t key = t->begin + r;
        slopes(t->p[r], t->ds[r], t->push->scale, key > begin ? key - begin : 0, n_queries, lse, delta, true);
    }
    gather(keys(t, args->view[8], t->begin), t->ds, n_keys, q, n_queries, n);
    gather(keys(t, args->view[9], t->begin), t->p, n_keys, da, n_queries, n);
}

static void back_to_keys(const struct lg_cpu_args *args, struct tile *t)
{
    uint32_t sharing = t->push->n_heads / t->push->n_kv, in_sample = t->begin - t->sample_begin;
    for (uint32_t row = t->begin; row < t->end; row++) {
        memset(keys(t, args->view[8], row).at, 0, t->push->head_dim * sizeof(float));
        memset(keys(t, args->view[9], row).at, 0, t->push->head_dim * sizeof(float));
    }
    for (uint32_t begin = t->sample_begin + in_sample / BLOCK * BLOCK; begin < t->sample_end; begin += BLOCK) {
        for (t->head = t->kv_head * sharing; t->head < (t->kv_head + 1) * sharing; t->head++)
            back_to_keys_of(args, t, begin);
    }
}

static void attention_back_kv(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_attention_train_push *push = args->push;
    uint32_t n = ((const uint32_t *)args->view[0])[push->dim];
    struct tile t;
    for (uint32_t i = first; i < last; i++) {
        uint32_t begin = i / args->grid[0] * args->spec[2];
        t.kv_head = i % args->grid[0];
        each_tile(args, &t, begin, lg_min_u32(begin + args->spec[2], n), back_to_keys);
    }
}

lg_cpu_fast_table HOT_TABLE = {[LG_K_ATTENTION_TRAIN] = attention_train,
                               [LG_K_ATTENTION_BACK_Q] = attention_back_q,
                               [LG_K_ATTENTION_BACK_KV] = attention_back_kv};
