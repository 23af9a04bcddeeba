/* SPDX-License-Identifier: MIT
 *
 * Rows of x in 8 bits, and quantised weights times them: the order of operations of i8.h, plainly. What a workgroup makes is
 * as in matvec.c and matmul.c.
 */
#include <math.h>

#include "device/cpu/grid.h"
#include "device/cpu/i8.h"

/* ---- x ------------------------------------------------------------------------------------------- */

static float largest(const float *x, uint32_t n)
{
    float max = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (!isfinite(x[i]))
            return NAN;
        max = fmaxf(max, fabsf(x[i]));
    }
    return max;
}

/* The step of a unit of n elements, and the factors of its blocks. */
static void measure_unit(const float *x, uint32_t n, struct lg_i8_unit *unit)
{
    float max = largest(x, n), d = max / (127 * LG_I8_FACTOR);
    *unit = (struct lg_i8_unit){.d = isinf(1 / d) ? 0 : d}; // all of it is next to nothing, and its reciprocal too large
    for (uint32_t b = 0; b < LG_I8_BLOCKS && unit->d > 0; b++) {
        uint32_t k = lg_min_u32(32 * b, n);
        float factor = ceilf(largest(x + k, lg_min_u32(n - k, 32)) * (LG_I8_FACTOR / max));
        unit->factors[b] = (int16_t)fminf(factor, LG_I8_FACTOR);
        unit->half_factors[2 * b] = unit->half_factors[2 * b + 1] = unit->factors[b];
    }
}

static void quantize_block(const float *x, uint32_t n, uint32_t b, struct lg_i8_unit *unit, int8_t *q, float *d, float *sums,
                           struct lg_i8_block *block)
{
    d[0] = d[1] = unit->d * (float)unit->factors[b];
    for (uint32_t i = 0; i < 32; i++)
        q[i] = i < n && *d > 0 ? (int8_t)rintf(x[i] * (1 / *d)) : 0;
    int whole[2] = {0, 0};
    for (uint32_t h = 0; h < 2; h++) {
        for (uint32_t i = 0; i < 16; i++)
            whole[h] += q[h * 16 + i];
        sums[h] = *d * (float)whole[h];
        unit->half_less[2 * b + h] = (int16_t)-whole[h];
        unit->block_less[8 + b] -= (int16_t)whole[h];
    }
    *block = lg_i8_block_of(*d, whole);
}

void lg_cpu_quantize(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_rowwise_push *push = args->push;
    uint32_t n = push->n_cols;
    for (uint32_t t = first; t < last; t++) {
        const float *x = (const float *)args->view[0] + (size_t)t * n;
        struct lg_i8_row row = lg_i8_row_at(args->view[1], n, t);
        for (uint32_t k = 0, b = 0; k < LG_I8_PADDED(n); k += 32, b++) {
            struct lg_i8_unit *unit = (struct lg_i8_unit *)row.units + b / LG_I8_BLOCKS;
            if (b % LG_I8_BLOCKS == 0)
                measure_unit(x + k, lg_min_u32(n - k, LG_I8_UNIT), unit);
            quantize_block(x + k, k < n ? lg_min_u32(n - k, 32) : 0, b % LG_I8_BLOCKS, unit, (int8_t *)row.q + k,
                           (float *)row.d + 2 * b, (float *)row.sums + 2 * b, (struct lg_i8_block *)row.blocks + b);
        }
        memset((uint8_t *)row.q + LG_I8_ROW_BYTES(n) - 64, 0, 64);
    }
}

/* ---- weights ------------------------------------------------------------------------------------- */

/* A block of 32 weights: scale * q + min, for each half; in K-quants these are small integers times a float of the unit. */
struct block {
    int q[32];
    float scale[2], min[2];
    int small_scale[2], small_min[2];
    float d, d_min;
};

static float half_at(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, sizeof(h));
    return lg_f16_to_f32(h);
}

/* The formats of 32 weights: bits and bytes as in gguf/quants.c. */
static void simple_block(enum lg_type type, const uint8_t *src, struct block *b)
{
    bool has_min = type == LG_TYPE_Q4_1 || type == LG_TYPE_Q5_1;
    bool has_fifth = type == LG_TYPE_Q5_0 || type == LG_TYPE_Q5_1;
    const uint8_t *at = src + (has_min ? 4 : 2);
    uint32_t high = 0;
    if (has_fifth) {
        memcpy(&high, at, sizeof(high));
        at += sizeof(high);
    }
    b->scale[0] = b->scale[1] = half_at(src);
    b->min[0] = b->min[1] = has_min ? half_at(src + 2) : 0;
    for (uint32_t i = 0; i < 32; i++) {
        int nibble = i < 16 ? at[i] & 15 : at[i - 16] >> 4;
        int bias = has_min ? 0 : has_fifth ? 16 : 8;
        b->q[i] = type == LG_TYPE_Q8_0 ? (int8_t)at[i] : (nibble | (int)(high >> i & 1) << 4) - bias;
    }
}

static void q2_k_block(const uint8_t *src, uint32_t g, struct block *b)
{
    b->d = half_at(src + 80);
    b->d_min = half_at(src + 82);
    for (uint32_t i = 0; i < 32; i++)
        b->q[i] = src[16 + g / 4 * 32 + i] >> g % 4 * 2 & 3;
    for (uint32_t h = 0; h < 2; h++) {
        b->small_scale[h] = src[2 * g + h] & 15;
        b->small_min[h] = src[2 * g + h] >> 4;
    }
}

static void q3_k_block(const uint8_t *src, uint32_t g, struct block *b)
{
    const uint8_t *packed = src + 96;
    b->d = half_at(src + 108);
    for (uint32_t i = 0; i < 32; i++)
        b->q[i] = (src[32 + g / 4 * 32 + i] >> g % 4 * 2 & 3) - (src[i] >> g & 1 ? 0 : 4);
    for (uint32_t h = 0; h < 2; h++) {
        uint32_t part = 2 * g + h;
        int low = part < 8 ? packed[part] & 15 : packed[part - 8] >> 4;
        int high = packed[8 + part % 4] >> part / 4 * 2 & 3;
        b->small_scale[h] = (low | high << 4) - 32;
    }
}

static void q4_k_or_q5_k_block(enum lg_type type, const uint8_t *src, uint32_t g, struct block *b)
{
    const uint8_t *packed = src + 4, *fifth = src + 16, *q = src + (type == LG_TYPE_Q5_K ? 48 : 16) + g / 2 * 32;
    int scale = g < 4 ? packed[g] & 63 : (packed[g + 4] & 15) | packed[g - 4] >> 6 << 4;
    int min = g < 4 ? packed[g + 4] & 63 : packed[g + 4] >> 4 | packed[g] >> 6 << 4;
    for (uint32_t i = 0; i < 32; i++)
        b->q[i] = (q[i] >> g % 2 * 4 & 15) | (type == LG_TYPE_Q5_K ? (fifth[i] >> g & 1) << 4 : 0);
    b->d = half_at(src);
    b->d_min = half_at(src + 2);
    b->small_scale[0] = b->small_scale[1] = scale;
    b->small_min[0] = b->small_min[1] = min;
}

static void q6_k_block(const uint8_t *src, uint32_t g, struct block *b)
{
    for (uint32_t i = 0; i < 32; i++) {
        int low = src[g / 4 * 64 + g % 2 * 32 + i] >> g % 4 / 2 * 4 & 15;
        int high = src[128 + g / 4 * 32 + i] >> g % 4 * 2 & 3;
        b->q[i] = (low | high << 4) - 32;
    }
    b->d = half_at(src + 208);
    for (uint32_t h = 0; h < 2; h++)
        b->small_scale[h] = (int8_t)src[192 + 2 * g + h];
}

/* Block number i of a row. */
static void read_block(enum lg_type type, const uint8_t *row, uint32_t i, struct block *b)
{
    const struct lg_type_info *info = lg_type_info(type);
    const uint8_t *src = row + (size_t)(i * 32 / info->block_elements) * info->block_bytes;
    *b = (struct block){0};
    switch (type) {
    case LG_TYPE_Q2_K: q2_k_block(src, i % 8, b); break;
    case LG_TYPE_Q3_K: q3_k_block(src, i % 8, b); break;
    case LG_TYPE_Q4_K:
    case LG_TYPE_Q5_K: q4_k_or_q5_k_block(type, src, i % 8, b); break;
    case LG_TYPE_Q6_K: q6_k_block(src, i % 8, b); break;
    default: simple_block(type, src, b); return;
    }
    for (uint32_t h = 0; h < 2; h++) {
        b->scale[h] = b->d * (float)b->small_scale[h];
        b->min[h] = -(b->d_min * (float)b->small_min[h]);
    }
}

/* ---- products with one row of x -------------------------------------------------------------------- */

struct sums {
    float lane[LG_I8_LANES], min[LG_I8_LANES];
};

static float add_lanes(float *lane, int n)
{
    for (int half = n / 2; half > 0; half /= 2) {
        for (int i = 0; i < half; i++)
            lane[i] += lane[i + half];
    }
    return lane[0];
}

static void add_q8_0(struct sums *s, const struct block *w, struct lg_i8_row x, uint32_t b)
{
    for (uint32_t i = 0; i < 8; i++) {
        int sum = 0;
        for (uint32_t k = 4 * i; k < 4 * i + 4; k++)
            sum += w->q[k] * x.q[b * 32 + k];
        float *lane = &s->lane[b % 2 * 8 + i];
        *lane = fmaf((float)sum, w->scale[0] * x.d[2 * b], *lane);
    }
}

static void add_nibbles(enum lg_type type, struct sums *s, const struct block *w, struct lg_i8_row x, uint32_t b)
{
    int bias = type == LG_TYPE_Q4_0 ? 8 : type == LG_TYPE_Q5_0 ? 16 : 0, x_sum = 0;
    float scale = w->scale[0] * x.d[2 * b], *min = &s->min[b % 8];
    for (uint32_t i = 0; i < 4; i++) {
        int sum = 0;
        for (uint32_t k = 4 * i; k < 4 * i + 4; k++)
            sum += (w->q[k] + bias) * x.q[b * 32 + k] + (w->q[k + 16] + bias) * x.q[b * 32 + k + 16];
        s->lane[b % 4 * 4 + i] = fmaf((float)sum, scale, s->lane[b % 4 * 4 + i]);
    }
    for (uint32_t k = 0; k < 32; k++)
        x_sum += x.q[b * 32 + k];
    *min = bias ? fmaf(scale, (float)(-bias * x_sum), *min) : fmaf(w->min[0], x.d[2 * b] * (float)x_sum, *min);
}

/* The integer sums of a unit. */
struct unit_sums {
    int lane[LG_I8_LANES], min[8];
};

static void add_k_block(enum lg_type type, struct unit_sums *s, const struct block *w, const int8_t *x, uint32_t b, int factor)
{
    int bias = type == LG_TYPE_Q3_K ? 4 : type == LG_TYPE_Q6_K ? 32 : 0;
    for (uint32_t i = 0; i < 32; i++) {
        s->lane[lg_i8_lane(type, b, i)] += (w->q[i] + bias) * x[i] * w->small_scale[i / 16] * factor;
        s->lane[b] -= bias * x[i] * w->small_scale[i / 16] * factor;
        s->min[type == LG_TYPE_Q2_K ? b : 4 + b / 2] -= x[i] * w->small_min[i / 16] * factor;
    }
}

static void add_k_unit(enum lg_type type, struct sums *s, const uint8_t *row, struct lg_i8_row x, uint32_t u)
{
    struct unit_sums whole = {0};
    struct block b;
    for (uint32_t i = 0; i < LG_I8_BLOCKS; i++) {
        read_block(type, row, u * LG_I8_BLOCKS + i, &b);
        add_k_block(type, &whole, &b, x.q + u * LG_I8_UNIT + i * 32, i, x.units[u].factors[i]);
    }
    for (uint32_t i = 0; i < LG_I8_LANES; i++)
        s->lane[i] = fmaf((float)whole.lane[i], b.d * x.units[u].d, s->lane[i]);
    for (uint32_t i = 0; i < 8; i++)
        s->min[i] = fmaf((float)whole.min[i], b.d_min * x.units[u].d, s->min[i]);
}

static float row_product(enum lg_type type, const uint8_t *row, struct lg_i8_row x, uint32_t n)
{
    bool in_units = lg_type_info(type)->block_elements == LG_I8_UNIT;
    struct sums s = {0};
    struct block b;
    for (uint32_t i = 0; in_units && i < n / LG_I8_UNIT; i++)
        add_k_unit(type, &s, row, x, i);
    for (uint32_t i = 0; !in_units && i < n / 32; i++) {
        read_block(type, row, i, &b);
        if (type == LG_TYPE_Q8_0)
            add_q8_0(&s, &b, x, i);
        else
            add_nibbles(type, &s, &b, x, i);
    }
    return add_lanes(s.lane, LG_I8_LANES) + add_lanes(s.min, 8);
}

/* ---- products with many rows of x ------------------------------------------------------------------ */

static bool has_min(enum lg_type type)
{
    return type == LG_TYPE_Q4_1 || type == LG_TYPE_Q5_1 || type == LG_TYPE_Q2_K || type == LG_TYPE_Q4_K ||
           type == LG_TYPE_Q5_K;
}

/* Elements [k, k + n), a block or half of it. */
static float add_products(enum lg_type type, float sum, const struct block *w, struct lg_i8_row x, uint32_t k,
                          uint32_t n, float x_sum)
{
    int products = 0;
    for (uint32_t i = k; i < k + n; i++)
        products += w->q[i % 32] * x.q[i];
    sum = fmaf((float)products, w->scale[k / 16 % 2] * x.d[k / 16], sum);
    return has_min(type) ? fmaf(w->min[k / 16 % 2], x_sum, sum) : sum;
}

static float tile_product(enum lg_type type, const uint8_t *row, struct lg_i8_row x, uint32_t n)
{
    bool by_halves = type == LG_TYPE_Q2_K || type == LG_TYPE_Q3_K || type == LG_TYPE_Q6_K;
    float sum = 0;
    struct block b;
    for (uint32_t i = 0; i < n / 32; i++) {
        read_block(type, row, i, &b);
        for (uint32_t h = 0; by_halves && h < 2; h++)
            sum = add_products(type, sum, &b, x, 32 * i + 16 * h, 16, x.sums[2 * i + h]);
        if (!by_halves)
            sum = add_products(type, sum, &b, x, 32 * i, 32, x.blocks[i].sum);
    }
    return sum;
}

typedef float product_fn(enum lg_type type, const uint8_t *row, struct lg_i8_row x, uint32_t n);

/* Rows [m.begin, m.end) of the weights times rows [t, t_end) of x. */
static void multiply(enum lg_type type, product_fn *product_of, const struct lg_matmul_push *push, const uint8_t *weight,
                     const void *x, float *y, struct lg_cpu_span m, uint32_t t, uint32_t t_end)
{
    for (; t < t_end; t++) {
        struct lg_i8_row row = lg_i8_row_at(x, push->n_cols, t);
        for (uint32_t i = m.begin; i < m.end; i++)
            y[(size_t)t * push->y_stride + push->row_begin + i] =
                product_of(type, weight + (size_t)i * push->row_bytes, row, push->n_cols);
    }
}

static void matvec(enum lg_type type, const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_matmul_push *push = args->push;
    for (uint32_t g = first; g < last; g++) {
        struct lg_cpu_span m = lg_cpu_span(args, g, args->spec[0] * args->spec[1], push->n_rows);
        multiply(type, row_product, push, args->view[0], args->view[1], args->view[2], m, m.row, m.row + 1);
    }
}

static void matmul(enum lg_type type, const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_matmul_push *push = args->push;
    uint32_t n_t = ((const uint32_t *)args->view[0])[push->dim];
    for (uint32_t g = first; g < last; g++) {
        struct lg_cpu_span m = lg_cpu_span(args, g, args->spec[1], push->n_rows);
        uint32_t t = m.row * args->spec[2];
        multiply(type, tile_product, push, args->view[1], args->view[2], args->view[3], m, t,
                 lg_min_u32(n_t, t + args->spec[2]));
    }
}

#define PRODUCTS(lower, UPPER)                                                                   \
    void lg_cpu_matvec_i8_##lower(const struct lg_cpu_args *args, uint32_t first, uint32_t last) \
    {                                                                                            \
        matvec(LG_TYPE_##UPPER, args, first, last);                                              \
    }                                                                                            \
    void lg_cpu_matmul_i8_##lower(const struct lg_cpu_args *args, uint32_t first, uint32_t last) \
    {                                                                                            \
        matmul(LG_TYPE_##UPPER, args, first, last);                                              \
    }
LG_BLOCK_TYPES(PRODUCTS)
