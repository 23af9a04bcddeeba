/* SPDX-License-Identifier: MIT
 *
 * Passes over a row in vectors: sums in the order of sum.h, maxima, and the last elements. Included by files that are compiled
 * for several instruction sets. Private to lib/device/cpu.
 */
#ifndef LG_DEVICE_CPU_ROWS_H
#define LG_DEVICE_CPU_ROWS_H

#include "device/cpu/simd_math.h"
#include "device/cpu/sum.h"

/* ---- sums in double precision -------------------------------------------------------------------- */

typedef float half_vec __attribute__((vector_size(VEC / 2 * sizeof(float))));
typedef double wide_vec __attribute__((vector_size(VEC / 2 * sizeof(double))));

enum { N_WIDE = LG_SUM_LANES / (VEC / 2) };

struct wide_sum {
    wide_vec part[N_WIDE];
};

INLINE wide_vec load_wide(const float *p, int part)
{
    half_vec v;
    memcpy(&v, p + part * (VEC / 2), sizeof(v));
    return __builtin_convertvector(v, wide_vec);
}

/* Adds as many as there are lanes. */
INLINE void add_all(struct wide_sum *sum, const float *x)
{
    for (int j = 0; j < N_WIDE; j++)
        sum->part[j] += load_wide(x, j);
}

/* The sum and n more, fewer than there are lanes. */
INLINE double add_rest(const struct wide_sum *sum, const double *rest, uint32_t n)
{
    struct lg_sum lanes;
    memcpy(&lanes, sum, sizeof(lanes));
    for (uint32_t i = 0; i < n; i++)
        lanes.lane[i] += rest[i];
    return lg_sum_total(&lanes);
}

INLINE double sum_of(const float *x, uint32_t n)
{
    struct wide_sum sum = {0};
    double rest[LG_SUM_LANES];
    uint32_t whole = n - n % LG_SUM_LANES;
    for (uint32_t i = 0; i < whole; i += LG_SUM_LANES)
        add_all(&sum, x + i);
    for (uint32_t i = whole; i < n; i++)
        rest[i - whole] = x[i];
    return add_rest(&sum, rest, n - whole);
}

INLINE double sum_of_squares(const float *x, uint32_t n, double mean)
{
    struct wide_sum sum = {0};
    double rest[LG_SUM_LANES];
    uint32_t whole = n - n % LG_SUM_LANES;
    for (uint32_t i = 0; i < whole; i += LG_SUM_LANES) {
        for (int j = 0; j < N_WIDE; j++) {
            wide_vec d = load_wide(x + i, j) - mean;
            sum.part[j] += d * d;
        }
    }
    for (uint32_t i = whole; i < n; i++)
        rest[i - whole] = (x[i] - mean) * (x[i] - mean);
    return add_rest(&sum, rest, n - whole);
}

/* Of exp(x - max). */
INLINE double sum_of_exps(const float *x, uint32_t n, float max)
{
    struct wide_sum sum = {0};
    double rest[LG_SUM_LANES];
    uint32_t whole = n - n % LG_SUM_LANES;
    for (uint32_t i = 0; i < whole; i += LG_SUM_LANES) {
        float e[LG_SUM_LANES];
        for (int j = 0; j < LG_SUM_LANES; j += VEC)
            store(e + j, exp_vec(load(x + i + j) - max));
        add_all(&sum, e);
    }
    for (uint32_t i = whole; i < n; i++)
        rest[i - whole] = lg_exp(x[i] - max);
    return add_rest(&sum, rest, n - whole);
}

/* ---- elements ------------------------------------------------------------------------------------ */

/* The last elements of a span, in a vector of their own. */
INLINE vec load_some(const float *p, uint32_t n)
{
    float lane[VEC] = {0};
    memcpy(lane, p, n * sizeof(*p));
    return load(lane);
}

INLINE void store_some(float *p, vec v, uint32_t n)
{
    float lane[VEC];
    store(lane, v);
    memcpy(p, lane, n * sizeof(*p));
}

INLINE float max_of(const float *x, uint32_t n)
{
    vec tops = splat(-INFINITY);
    uint32_t i = 0;
    for (; n - i >= VEC; i += VEC)
        tops = vec_max(load(x + i), tops);
    float max = max_vec(tops);
    for (; i < n; i++)
        max = x[i] > max ? x[i] : max;
    return max;
}

#endif
