/* SPDX-License-Identifier: MIT
 *
 * Attention, compiled once for each instruction set with HOT_TABLE as the name of its table. Rows of one slot
 * and heads that share keys are units of one tile: a block of keys is turned around once for all of them, so
 * that lanes are keys while scores are computed and elements while values are summed. The order of all sums
 * is that of attention.c.
 */
#include <math.h>

#include "device/cpu/attention.h"
#include "device/cpu/fast.h"
#include "device/cpu/simd_math.h"

enum {
    BLOCK = LG_ATTENTION_BLOCK,
    BLOCK_VECS = BLOCK / VEC,
    MAX_DIM = 256,  // elements of a head at the most
    MAX_UNITS = 64, // of a tile
    UNITS = 4,      // that fit into the registers together
    WIDE = 2,       // vectors of keys or elements with them
};

_Static_assert(BLOCK == (int)LG_DOT_LANES, "the sum of a block is that of lg_dot_sum()");

/* A (row, head). */
struct unit {
    const float *q;
    float *y; // sum of values, while it goes on not yet divided by `sum`
    uint32_t n_keys;
    float max, sum, shrink;
};

/* Keys [begin, begin + n) of a slot. */
struct block {
    uint32_t begin, n;
    const float *rows[BLOCK]; // keys, then values: in the cache, or decoded
    _Alignas(64) float turned[MAX_DIM][BLOCK];  // elements of all keys; absent keys are 0
    _Alignas(64) float decoded[BLOCK * MAX_DIM];
};

struct tile {
    uint32_t n;
    struct unit unit[MAX_UNITS];
    _Alignas(64) float p[MAX_UNITS][BLOCK]; // scores, then their exponentials
    struct block block;
};

/* ---- what of a row of a cache is of the head ----------------------------------------------------- */

INLINE void decode_halves(const uint8_t *from, float *to, uint32_t n)
{
    uint32_t i = 0;
    for (; n - i >= 8; i += 8)
        halves_to_floats(from + 2 * (size_t)i, to + i);
    for (; i < n; i++)
        to[i] = half_to_float(from + 2 * (size_t)i);
}

INLINE void store_scaled(float *to, i8x16 q, float d)
{
    struct floats f = to_floats(q);
    for (int j = 0; j < 16 / VEC; j++)
        store(to + j * VEC, f.part[j] * d);
}

INLINE void decode_8(const uint8_t *from, const uint8_t *scales, float *to, uint32_t n)
{
    for (uint32_t i = 0; i < n; i += 32, scales += 2) {
        float d = half_to_float(scales);
        store_scaled(to + i, (i8x16)load_bytes(from + i), d);
        store_scaled(to + i + 16, (i8x16)load_bytes(from + i + 16), d);
    }
}

INLINE void decode_4(const uint8_t *from, const uint8_t *scales, float *to, uint32_t n)
{
    for (uint32_t i = 0; i < n; i += 32, from += 16, scales += 2) {
        u8x16 q = load_bytes(from);
        float d = half_to_float(scales);
        store_scaled(to + i, (i8x16)(q & 15) - 8, d);
        store_scaled(to + i + 16, (i8x16)(shift_down(q, 4) & 15) - 8, d);
    }
}

static void decode_head(const struct lg_cpu_attention *a, const uint8_t *row, float *to)
{
    uint32_t dim = a->push->head_dim, begin = a->kv_head * dim;
    const uint8_t *scales = row + (size_t)LG_KV_SCALES_AT(a->type, a->n_cols) * 4 + begin / 32 * (size_t)2;
    switch (a->type) {
    case LG_KV_F16: decode_halves(row + (size_t)begin * 2, to, dim); break;
    case LG_KV_Q8_0: decode_8(row + begin, scales, to, dim); break;
    default: decode_4(row + begin / 2, scales, to, dim); break;
    }
}

static void find_rows(const struct lg_cpu_attention *a, const uint8_t *cache, struct block *b)
{
    uint32_t page_size = a->push->page_size, dim = a->push->head_dim;
    for (uint32_t key = 0; key < b->n;) {
        const uint8_t *row = cache + lg_cpu_attention_at(a, b->begin + key);
        uint32_t end = lg_min_u32(b->n, key + page_size - (b->begin + key) % page_size);
        for (; key < end; key++, row += a->row_bytes) {
            float *decoded = b->decoded + (size_t)key * dim;
            b->rows[key] = a->type == LG_KV_F32 ? (const float *)row + (size_t)a->kv_head * dim : decoded;
            if (a->type != LG_KV_F32)
                decode_head(a, row, decoded);
        }
    }
}

/* ---- turning a block around ---------------------------------------------------------------------- */

INLINE f32x4 load_four(const float *p)
{
    f32x4 v;
    memcpy(&v, p, sizeof(v));
    return v;
}

/* Four elements of each fourth key: of key[0] in the lowest lanes, of key[4] in the next. */
#ifdef __AVX2__
INLINE f32x8 load_two_fours(const float *const *key, size_t from)
{
    return __builtin_shufflevector(load_four(key[0] + from), load_four(key[4] + from), 0, 1, 2, 3, 4, 5, 6,
                                   7);
}
#endif

INLINE vec load_fourths(const float *const *key, size_t from)
{
#if defined(__AVX512F__)
    return __builtin_shufflevector(load_two_fours(key, from), load_two_fours(key + 8, from), 0, 1, 2, 3, 4, 5,
                                   6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#elif defined(__AVX2__)
    return load_two_fours(key, from);
#else
    return load_four(key[0] + from);
#endif
}

/* Within each four lanes. */
#if defined(__AVX512F__)
#define SHUFFLE(x, y, a, b, c, d)                                                                     \
    __builtin_shufflevector(x, y, a, b, c, d, a + 4, b + 4, c + 4, d + 4, a + 8, b + 8, c + 8, d + 8, \
                            a + 12, b + 12, c + 12, d + 12)
#elif defined(__AVX2__)
#define SHUFFLE(x, y, a, b, c, d) __builtin_shufflevector(x, y, a, b, c, d, a + 4, b + 4, c + 4, d + 4)
#else
#define SHUFFLE(x, y, a, b, c, d) __builtin_shufflevector(x, y, a, b, c, d)
#endif

/* Elements [from, from + 4) of VEC keys. */
INLINE void turn_four(const float *const *key, size_t from, float *turned)
{
    vec a = load_fourths(key, from), b = load_fourths(key + 1, from);
    vec c = load_fourths(key + 2, from), d = load_fourths(key + 3, from);
    vec ab_low = SHUFFLE(a, b, 0, VEC, 1, VEC + 1), ab_high = SHUFFLE(a, b, 2, VEC + 2, 3, VEC + 3);
    vec cd_low = SHUFFLE(c, d, 0, VEC, 1, VEC + 1), cd_high = SHUFFLE(c, d, 2, VEC + 2, 3, VEC + 3);
    store(turned, SHUFFLE(ab_low, cd_low, 0, 1, VEC, VEC + 1));
    store(turned + BLOCK, SHUFFLE(ab_low, cd_low, 2, 3, VEC + 2, VEC + 3));
    store(turned + 2 * BLOCK, SHUFFLE(ab_high, cd_high, 0, 1, VEC, VEC + 1));
    store(turned + 3 * BLOCK, SHUFFLE(ab_high, cd_high, 2, 3, VEC + 2, VEC + 3));
}

/* The first n elements of the block's keys. */
static void turn(struct block *b, size_t n)
{
    uint32_t whole = b->n - b->n % VEC;
    size_t fours = n - n % 4;
    if (b->n < BLOCK)
        memset(b->turned, 0, n * sizeof(b->turned[0]));
    for (uint32_t key = 0; key < whole; key += VEC) {
        for (size_t i = 0; i < fours; i += 4)
            turn_four(b->rows + key, i, &b->turned[i][key]);
        for (size_t i = fours; i < n; i++) {
            for (int j = 0; j < VEC; j++)
                b->turned[i][key + j] = b->rows[key + j][i];
        }
    }
    for (uint32_t key = whole; key < b->n; key++) {
        for (size_t i = 0; i < n; i++)
            b->turned[i][key] = b->rows[key][i];
    }
}

/* ---- a few units against a block; n_units is a constant ------------------------------------------ */

/* Products of n elements. */
INLINE void put_scores(const struct unit *unit, const struct block *b, size_t n, float (*p)[BLOCK], int n_units)
{
    for (int at = 0; at < BLOCK; at += WIDE * VEC) {
        vec sum[UNITS][WIDE];
        for (int u = 0; u < n_units; u++) {
            for (int j = 0; j < WIDE; j++)
                sum[u][j] = (vec){0};
        }
        for (size_t i = 0; i < n; i++) {
            for (int j = 0; j < WIDE; j++) {
                vec keys = load(b->turned[i] + at + j * VEC);
                for (int u = 0; u < n_units; u++)
                    sum[u][j] += keys * unit[u].q[i];
            }
        }
        for (int u = 0; u < n_units; u++) {
            for (int j = 0; j < WIDE; j++)
                store(p[u] + at + j * VEC, sum[u][j]);
        }
    }
}

/* Makes exponentials of n scores. */
INLINE void soften(struct unit *unit, float *p, uint32_t n, float scale)
{
    vec score[BLOCK_VECS], top = splat(unit->max);
    for (int j = 0; j < BLOCK_VECS; j++) {
        score[j] = load(p + j * VEC) * scale;
        if (n < BLOCK) {
            ivec lane;
            for (int i = 0; i < VEC; i++)
                lane[i] = j * VEC + i;
            score[j] = choose(lane < (int32_t)n, score[j], splat(-INFINITY));
        }
        top = vec_max(score[j], top);
    }
    float max = max_vec(top);
    for (int j = 0; j < BLOCK_VECS; j++) {
        score[j] = exp_vec(score[j] - max);
        store(p + j * VEC, score[j]);
    }
    unit->shrink = lg_exp(unit->max - max);
    unit->sum = unit->sum * unit->shrink + sum_lanes(score);
    unit->max = max;
}

/* Adds the values of the first n keys to elements [at, at + n_vecs * VEC). */
INLINE void add_values(struct unit *unit, const struct block *b, uint32_t n, size_t at, float (*p)[BLOCK],
                       int n_units, int n_vecs)
{
    vec sum[UNITS][WIDE];
    for (int u = 0; u < n_units; u++) {
        for (int j = 0; j < n_vecs; j++)
            sum[u][j] = load(unit[u].y + at + j * VEC) * unit[u].shrink;
    }
    for (uint32_t key = 0; key < n; key++) {
        for (int j = 0; j < n_vecs; j++) {
            vec values = load(b->rows[key] + at + j * VEC);
            for (int u = 0; u < n_units; u++)
                sum[u][j] += values * p[u][key];
        }
    }
    for (int u = 0; u < n_units; u++) {
        for (int j = 0; j < n_vecs; j++)
            store(unit[u].y + at + j * VEC, sum[u][j]);
    }
}

/* The elements that fill no vector. */
static void add_last_values(struct unit *unit, const struct block *b, uint32_t n, size_t at, size_t dim,
                            const float *p)
{
    for (; at < dim; at++) {
        float sum = unit->y[at] * unit->shrink;
        for (uint32_t key = 0; key < n; key++)
            sum += p[key] * b->rows[key][at];
        unit->y[at] = sum;
    }
}

/* Softmax and values of units that all see n keys of the block. */
INLINE void attend(const struct lg_cpu_attention *a, struct unit *unit, const struct block *b, uint32_t n,
                   float (*p)[BLOCK], int n_units)
{
    size_t dim = a->push->head_dim, at = 0;
    for (int u = 0; u < n_units; u++)
        soften(&unit[u], p[u], n, a->push->scale);
    for (; dim - at >= WIDE * VEC; at += WIDE * VEC)
        add_values(unit, b, n, at, p, n_units, WIDE);
    for (; dim - at >= VEC; at += VEC)
        add_values(unit, b, n, at, p, n_units, 1);
    for (int u = 0; u < n_units && at < dim; u++)
        add_last_values(&unit[u], b, n, at, dim, p[u]);
}

#define BY_COUNT(n, call)        \
    switch (n) {                 \
    case 1: call(1); break;      \
    case 2: call(2); break;      \
    case 3: call(3); break;      \
    default: call(UNITS); break; \
    }

/* ---- tiles --------------------------------------------------------------------------------------- */

/* Keys of the block that a unit sees. */
static uint32_t visible(const struct unit *unit, const struct block *b)
{
    return unit->n_keys > b->begin ? lg_min_u32(unit->n_keys - b->begin, BLOCK) : 0;
}

/* How many of the tile's units from u on see as many keys of the block as it does. */
static uint32_t alike(const struct tile *t, uint32_t u)
{
    uint32_t n = 1, seen = visible(&t->unit[u], &t->block);
    while (n < UNITS && u + n < t->n && visible(&t->unit[u + n], &t->block) == seen)
        n++;
    return n;
}

static void attend_block(const struct lg_cpu_attention *a, struct tile *t)
{
    struct block *b = &t->block;
    find_rows(a, a->k_cache, b);
    turn(b, a->push->head_dim);
    for (uint32_t u = 0; u < t->n;) {
        uint32_t count = lg_min_u32(t->n - u, UNITS);
#define PUT_SCORES(n_units) put_scores(&t->unit[u], b, a->push->head_dim, &t->p[u], n_units)
        BY_COUNT(count, PUT_SCORES)
        u += count;
    }
    find_rows(a, a->v_cache, b);
    for (uint32_t u = 0; u < t->n;) {
        uint32_t count = alike(t, u), n = visible(&t->unit[u], b);
#define ATTEND(n_units) attend(a, &t->unit[u], b, n, &t->p[u], n_units)
        if (n > 0)
            BY_COUNT(count, ATTEND)
        u += count;
    }
}

static void attend_tile(const struct lg_cpu_attention *a, struct tile *t)
{
    uint32_t n_keys = 0;
    for (uint32_t u = 0; u < t->n; u++) {
        memset(t->unit[u].y, 0, a->push->head_dim * sizeof(float));
        n_keys = lg_max_u32(n_keys, t->unit[u].n_keys);
    }
    for (uint32_t begin = 0; begin < n_keys; begin += BLOCK) {
        t->block.begin = begin;
        t->block.n = lg_min_u32(n_keys - begin, BLOCK);
        attend_block(a, t);
    }
    for (uint32_t u = 0; u < t->n; u++) {
        for (uint32_t i = 0; i < a->push->head_dim; i++)
            t->unit[u].y[i] /= t->unit[u].sum;
    }
    t->n = 0;
}

/* Heads of rows [begin, end), which may be of any slots. */
static void attend_rows(const struct lg_cpu_args *args, void *const *view, struct lg_cpu_heads heads,
                        uint32_t begin, uint32_t end)
{
    const struct lg_attention_push *push = args->push;
    const struct lg_row *rows = view[0];
    struct lg_cpu_attention a = {0};
    struct tile t;
    t.n = 0;
    for (uint32_t row = begin; row < end; row++) {
        if (t.n > 0 && rows[row].slot != rows[row - 1].slot)
            attend_tile(&a, &t);
        a = lg_cpu_attention_of(push, args->spec[4], view, rows[row].slot, heads.kv_head);
        for (uint32_t head = heads.begin; head < heads.end; head++) {
            size_t at = ((size_t)row * push->n_heads + head) * push->head_dim;
            if (t.n == MAX_UNITS)
                attend_tile(&a, &t);
            t.unit[t.n++] = (struct unit){
                .q = (const float *)view[2] + at,
                .y = (float *)view[5] + at,
                .n_keys = rows[row].pos + 1,
                .max = -INFINITY,
            };
        }
    }
    if (t.n > 0)
        attend_tile(&a, &t);
}

static void attention(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_attention_push *push = args->push;
    for (uint32_t i = first; i < last; i++) {
        uint32_t row = i / args->grid[0];
        attend_rows(args, args->view, lg_cpu_heads(push, args->spec[3], i % args->grid[0]), row, row + 1);
    }
}

static void attention_tile(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_attention_push *push = args->push;
    for (uint32_t i = first; i < last; i++) {
        struct lg_cpu_span rows = lg_cpu_attention_rows(args, i);
        attend_rows(args, args->view + 1, lg_cpu_heads(push, args->spec[3], i % args->grid[0]), rows.begin,
                    rows.end);
    }
}

lg_cpu_fast_table HOT_TABLE = {[LG_K_ATTENTION] = attention, [LG_K_ATTENTION_TILE] = attention_tile};
