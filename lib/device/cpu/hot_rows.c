/* SPDX-License-Identifier: MIT
 *
 * Norms, activations and passes over a row of logits, compiled once for each instruction set with HOT_TABLE
 * as the name of its table. Sums are in the order of sum.h, so the variants agree with the reference bit for
 * bit.
 */
#include <math.h>

#include "device/cpu/fast.h"
#include "device/cpu/grid.h"
#include "device/cpu/rows.h"
#include "device/cpu/sample.h"
#include "random.h"

/* ---- norms --------------------------------------------------------------------------------------- */

static void rms_norm(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_norm_push *push = args->push;
    const float *restrict weight = args->view[1];
    uint32_t n = push->n_cols;
    for (uint32_t r = first; r < last; r++) {
        const float *restrict x = (const float *)args->view[0] + (size_t)r * n;
        float *restrict y = (float *)args->view[2] + (size_t)r * n;
        float scale = (float)(1.0 / sqrt(sum_of_squares(x, n, 0) / n + push->eps));
        for (uint32_t i = 0; i < n; i++)
            y[i] = x[i] * scale * weight[i];
    }
}

static void layer_norm(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_norm_push *push = args->push;
    const float *restrict weight = args->view[1], *restrict bias = args->view[2];
    uint32_t n = push->n_cols;
    for (uint32_t r = first; r < last; r++) {
        const float *restrict x = (const float *)args->view[0] + (size_t)r * n;
        float *restrict y = (float *)args->view[3] + (size_t)r * n;
        double mean = sum_of(x, n) / n;
        float middle = (float)mean, scale = (float)(1.0 / sqrt(sum_of_squares(x, n, mean) / n + push->eps));
        for (uint32_t i = 0; i < n; i++)
            y[i] = (x[i] - middle) * scale * weight[i] + bias[i];
    }
}

/* ---- elements ------------------------------------------------------------------------------------ */

INLINE vec silu_mul_vec(vec gate, vec up)
{
    return gate / (1.0f + exp_vec(-gate)) * up;
}

INLINE vec gelu_vec(vec x)
{
    vec u = 0.7978845608f * (x + 0.044715f * x * x * x);
    return x / (1.0f + exp_vec(-2.0f * u));
}

static void silu_mul(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_rowwise_push *push = args->push;
    for (uint32_t g = first; g < last; g++) {
        struct lg_cpu_span s = lg_cpu_span(args, g, args->spec[0], push->n_cols);
        size_t row = (size_t)s.row * push->n_cols;
        const float *gate = (const float *)args->view[0] + row, *up = (const float *)args->view[1] + row;
        float *y = (float *)args->view[2] + row;
        uint32_t i = s.begin;
        for (; s.end - i >= VEC; i += VEC)
            store(y + i, silu_mul_vec(load(gate + i), load(up + i)));
        store_some(y + i, silu_mul_vec(load_some(gate + i, s.end - i), load_some(up + i, s.end - i)),
                   s.end - i);
    }
}

static void gelu(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_rowwise_push *push = args->push;
    for (uint32_t g = first; g < last; g++) {
        struct lg_cpu_span s = lg_cpu_span(args, g, args->spec[0], push->n_cols);
        const float *x = (const float *)args->view[0] + (size_t)s.row * push->n_cols;
        float *y = (float *)args->view[1] + (size_t)s.row * push->n_cols;
        uint32_t i = s.begin;
        for (; s.end - i >= VEC; i += VEC)
            store(y + i, gelu_vec(load(x + i)));
        store_some(y + i, gelu_vec(load_some(x + i, s.end - i)), s.end - i);
    }
}

static void add(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_add_push *push = args->push;
    for (uint32_t g = first; g < last; g++) {
        struct lg_cpu_span s = lg_cpu_span(args, g, args->spec[0], push->n_cols);
        float *restrict x = (float *)args->view[0] + (size_t)s.row * push->n_cols;
        const float *restrict b = (const float *)args->view[1] + (size_t)s.row * push->b_stride;
        for (uint32_t i = s.begin; i < s.end; i++)
            x[i] += b[i];
    }
}

/* n pairs of a head: elements step apart, the next pair's begin stride later. */
INLINE void rotate(float *restrict a, float *restrict b, size_t stride, const float *restrict table,
                   uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        float cos = table[2 * i], sin = table[2 * i + 1], x = a[i * stride], y = b[i * stride];
        a[i * stride] = x * cos - y * sin;
        b[i * stride] = x * sin + y * cos;
    }
}

static void rope(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_rope_push *push = args->push;
    const struct lg_row *rows = args->view[0];
    uint32_t pairs = push->n_rot / 2;
    for (uint32_t g = first; g < last; g++) {
        struct lg_cpu_span s = lg_cpu_span(args, g, args->spec[0], push->n_heads * pairs);
        const float *table = (const float *)args->view[1] + (size_t)rows[s.row].pos * push->n_rot;
        float *x = (float *)args->view[2] + (size_t)s.row * push->n_heads * push->head_dim;
        for (uint32_t i = s.begin; i < s.end;) {
            uint32_t pair = i % pairs, n = lg_min_u32(pairs - pair, s.end - i);
            float *a = x + (size_t)(i / pairs) * push->head_dim;
            if (push->halves)
                rotate(a + pair, a + pair + pairs, 1, table + 2 * pair, n);
            else
                rotate(a + 2 * pair, a + 2 * pair + 1, 2, table + 2 * pair, n);
            i += n;
        }
    }
}

/* ---- logits -------------------------------------------------------------------------------------- */

/* Bit i: lane i of the mask. */
INLINE uint32_t bits_of(ivec mask)
{
#if defined(__AVX512F__)
    return _mm512_movepi32_mask((__m512i)mask);
#elif defined(__AVX2__)
    return (uint32_t)_mm256_movemask_ps((__m256)mask);
#elif defined(__SSE2__)
    return (uint32_t)_mm_movemask_ps((__m128)mask);
#else
    uint32_t bits = 0;
    for (int i = 0; i < VEC; i++)
        bits |= (uint32_t)(mask[i] & 1 << i);
    return bits;
#endif
}

INLINE ivec lane_numbers(void)
{
    ivec lane;
    for (int i = 0; i < VEC; i++)
        lane[i] = i;
    return lane;
}

/* The lowest index of a value that is there. */
static uint32_t find(const float *x, uint32_t n, float value)
{
    uint32_t i = 0;
    for (; n - i >= VEC; i += VEC) {
        uint32_t equal = bits_of(load(x + i) == value);
        if (equal)
            return i + (uint32_t)__builtin_ctz(equal);
    }
    while (x[i] != value)
        i++;
    return i;
}

static void argmax(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_sample_push *push = args->push;
    struct lg_cpu_best *best = args->view[1];
    for (uint32_t r = first; r < last; r++) {
        const float *logits = (const float *)args->view[0] + (size_t)r * push->n_vocab;
        float max = max_of(logits, push->n_vocab);
        uint32_t index = max > -INFINITY ? find(logits, push->n_vocab, max) : 0;
        best[r] = (struct lg_cpu_best){.index = index, .value = max > -INFINITY ? logits[index] : -INFINITY};
    }
}

static void log_prob(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_rowwise_push *push = args->push;
    const uint32_t *targets = args->view[1];
    float *out = args->view[2];
    for (uint32_t r = first; r < last; r++) {
        const float *logits = (const float *)args->view[0] + (size_t)r * push->n_cols;
        float max = max_of(logits, push->n_cols);
        double sum = sum_of_exps(logits, push->n_cols, max);
        out[r] = (float)((double)logits[targets[r]] - max - log(sum));
    }
}

/* key_of(), mass_of() and the passes of sample.c. */
INLINE uvec keys_of(vec logits)
{
    ivec bits = (ivec)logits;
    return (uvec)((bits ^ (bits >> 31 | INT32_MIN)) & (logits == logits));
}

INLINE ivec masses_of(vec logits, float max)
{
    ivec mass = __builtin_convertvector(exp_vec(logits - max) * 0x1p24f + 0.5f, ivec);
    return ((logits == max) & (1 << 24)) | ((logits < max) & mass);
}

/* The last vector's lanes behind the end are NaN. */
INLINE vec load_logits(const float *logits, uint32_t at, uint32_t n)
{
    if (n - at >= VEC)
        return load(logits + at);
    return choose(lane_numbers() < (int32_t)(n - at), load_some(logits + at, n - at), splat(NAN));
}

static void count(const struct lg_cpu_draw *d, bool by_mass, uint32_t prefix, uint32_t shift,
                  uint64_t hist[256])
{
    uint64_t parts[4][256]; // of neighbours, which often fall into the same place
    memset(parts, 0, sizeof(parts));
    for (uint32_t i = 0; i < d->n; i += lg_min_u32(VEC, d->n - i)) {
        vec logits = load_logits(d->logits, i, d->n);
        uvec keys = keys_of(logits);
        ivec chosen = keys >= d->threshold;
        if (shift < 24)
            chosen &= keys >> (shift + 8) == prefix >> (shift + 8);
        uint32_t left = bits_of(chosen);
        if (d->n - i < VEC)
            left &= (1u << (d->n - i)) - 1;
        if (left == 0)
            continue;
        uint32_t place[VEC], weight[VEC];
        uvec places = keys >> shift & 255,
             weights = by_mass ? (uvec)masses_of(logits, d->max) : (uvec){0} + 1;
        memcpy(place, &places, sizeof(place));
        memcpy(weight, &weights, sizeof(weight));
        for (; left != 0; left &= left - 1) {
            int lane = __builtin_ctz(left);
            parts[lane % 4][place[lane]] += weight[lane];
        }
    }
    for (int i = 0; i < 256; i++)
        hist[i] = parts[0][i] + parts[1][i] + parts[2][i] + parts[3][i];
}

/* lg_random_mix() */
INLINE uvec mix(uvec x)
{
    uvec state = x * 747796405u + 2891336453u;
    uvec word = ((state >> ((state >> 28) + 4)) ^ state) * 277803737u;
    return (word >> 22) ^ word;
}

/*
 * The noise of v in (0, 1) is -log(-log(1 - v)), and -log(1 - v) is at least v: with b = (logit - max) /
 * temperature, b + noise can exceed `most` only where v < exp(b - most). Few candidates are left to be
 * computed exactly. The factor allows for rounding: one that might win has a small b - most, or an infinite
 * exponential.
 */
static uint32_t race(const struct lg_cpu_draw *d, float temperature, uint32_t random, uint32_t otherwise)
{
    uint32_t token = otherwise;
    float most = -INFINITY;
    for (uint32_t i = 0; i < d->n; i += lg_min_u32(VEC, d->n - i)) {
        vec logits = load_logits(d->logits, i, d->n);
        vec below = choose(logits == d->max, (vec){0}, logits - d->max) / temperature;
        uvec random_bits = mix(random ^ mix((uvec)lane_numbers() + i)) >> 9;
        vec v = (__builtin_convertvector((ivec)random_bits, vec) + 0.5f) * 0x1p-23f;
        ivec chosen = keys_of(logits) >= d->threshold;
        for (uint32_t left = bits_of(chosen & (v < exp_vec(below - most) * 1.01f)); left != 0;
             left &= left - 1) {
            uint32_t lane = (uint32_t)__builtin_ctz(left);
            float score = below[lane] + lg_random_gumbel(random, i + lane);
            if (score > most) {
                most = score;
                token = i + lane;
            }
        }
    }
    return token;
}

static void sample(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    static const struct lg_cpu_draw_passes passes = {count, race};
    lg_cpu_sample_with(&passes, args, first, last);
}

lg_cpu_fast_table HOT_TABLE = {
    [LG_K_RMS_NORM] = rms_norm, [LG_K_LAYER_NORM] = layer_norm,
    [LG_K_SILU_MUL] = silu_mul, [LG_K_GELU] = gelu,
    [LG_K_ADD] = add,           [LG_K_ROPE] = rope,
    [LG_K_ARGMAX] = argmax,     [LG_K_LOG_PROB] = log_prob,
    [LG_K_SAMPLE] = sample,
};
