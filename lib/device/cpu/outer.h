/* SPDX-License-Identifier: MIT
 *
 * Sums of outer products, whose columns are lanes: y[r][k] = sum over s of factor[r][s] * column[s][k]. Each sum begins with 0 and
 * goes over s in order, at any width of vectors; a product is rounded only with the sum where there is an instruction for that, so
 * instruction sets differ in last bits. Included by files that are compiled for several of them. Private to lib/device/cpu.
 */
#ifndef LG_DEVICE_CPU_OUTER_H
#define LG_DEVICE_CPU_OUTER_H

#include "device/cpu/simd_math.h"
#include "util/checked.h"

#if defined(__AVX512F__)
enum { ROWS = 6, WIDE = 4 }; // sums that fit into the registers: rows by vectors
#else
enum { ROWS = 6, WIDE = 2 };
#endif

enum { SLICE = WIDE * VEC }; // columns of such sums

/* Keeps sums in registers from end to end. */
#define UNROLL_SUMS _Pragma("GCC unroll 8")

INLINE vec add_product(vec sum, vec a, vec b)
{
#if defined(__AVX512F__)
    return (vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)sum);
#elif defined(__AVX2__)
    return (vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)sum);
#elif defined(__aarch64__)
    return (vec)vfmaq_f32((float32x4_t)sum, (float32x4_t)a, (float32x4_t)b);
#else
    return sum + a * b;
#endif
}

/* Has fetched what is read a while later, if it is no more than what stays near; it need not be there. */
INLINE void ask_for(const void *p, size_t n)
{
    for (size_t i = 0; i < n && n < 512; i += 64)
        __builtin_prefetch((const char *)p + i);
}

/* A factor for each row and step: of row r in step s at[r * row_stride + s * step_stride]. */
struct factors {
    const float *at;
    size_t row_stride, step_stride;
};

/* What they meet: in step s at[s * stride ...]. */
struct columns {
    const float *at;
    size_t stride;
};

/* sum[r][j] += the products of n_steps of factor and columns. n_rows and n_vecs are constants. */
INLINE void add_steps(vec (*sum)[WIDE], struct factors f, struct columns c, uint32_t n_steps, int n_rows, int n_vecs)
{
    for (uint32_t s = 0; s < n_steps; s++, c.at += c.stride, f.at += f.step_stride) {
        vec column[WIDE];
        UNROLL_SUMS
        for (int j = 0; j < n_vecs; j++)
            column[j] = load(c.at + j * VEC);
        UNROLL_SUMS
        for (int r = 0; r < n_rows; r++) {
            vec factor = splat(f.at[(size_t)r * f.row_stride]);
            UNROLL_SUMS
            for (int j = 0; j < n_vecs; j++)
                sum[r][j] = add_product(sum[r][j], factor, column[j]);
        }
    }
}

/* What becomes of the sums of n columns: y += them, or y = them; with `go_on` they begin with what y is. */
struct target {
    float *y;
    size_t stride;
    bool add, go_on;
};

INLINE vec load_part(const float *p, uint32_t n)
{
    float lane[VEC] = {0};
    memcpy(lane, p, n * sizeof(*p));
    return load(lane);
}

INLINE void store_part(float *p, vec v, uint32_t n)
{
    float lane[VEC];
    store(lane, v);
    memcpy(p, lane, n * sizeof(*p));
}

/* Of whole vectors; n_rows and n_vecs are constants. */
INLINE void multiply(const struct target *to, struct factors f, struct columns c, uint32_t n_steps, int n_rows, int n_vecs)
{
    vec sum[ROWS][WIDE];
    float *y = to->y;
    size_t stride = to->stride;
    bool add = to->add, go_on = to->go_on;
    UNROLL_SUMS
    for (int r = 0; r < n_rows; r++) {
        UNROLL_SUMS
        for (int j = 0; j < n_vecs; j++)
            sum[r][j] = go_on ? load(y + (size_t)r * stride + j * VEC) : (vec){0};
    }
    add_steps(sum, f, c, n_steps, n_rows, n_vecs);
    UNROLL_SUMS
    for (int r = 0; r < n_rows; r++) {
        UNROLL_SUMS
        for (int j = 0; j < n_vecs; j++)
            store(y + (size_t)r * stride + j * VEC, add ? load(y + (size_t)r * stride + j * VEC) + sum[r][j] : sum[r][j]);
    }
}

/* The first n columns of a vector that has no more in y. */
static void multiply_end(const struct target *to, struct factors f, struct columns c, uint32_t n_steps, uint32_t n,
                         uint32_t n_rows)
{
    for (uint32_t r = 0; r < n_rows; r++, f.at += f.row_stride) {
        float *y = to->y + r * to->stride;
        const float *factor = f.at;
        vec before = load_part(y, n), sum = to->go_on ? before : (vec){0};
        for (uint32_t s = 0; s < n_steps; s++, factor += f.step_stride)
            sum = add_product(sum, splat(*factor), load_part(c.at + s * c.stride, n));
        store_part(y, to->add ? before + sum : sum, n);
    }
}

typedef void multiply_fn(const struct target *to, struct factors f, struct columns c, uint32_t n_steps);

#define MULTIPLY(rows)                                                                                               \
    static void multiply_wide_##rows(const struct target *to, struct factors f, struct columns c, uint32_t n_steps) \
    {                                                                                                                \
        multiply(to, f, c, n_steps, rows, WIDE);                                                               \
    }                                                                                                                \
    static void multiply_thin_##rows(const struct target *to, struct factors f, struct columns c, uint32_t n_steps) \
    {                                                                                                                \
        multiply(to, f, c, n_steps, rows, 1);                                                                  \
    }
MULTIPLY(1)
MULTIPLY(2)
MULTIPLY(3)
MULTIPLY(4)
MULTIPLY(5)
MULTIPLY(6)
#define BY_ROWS(name) NULL, name##_1, name##_2, name##_3, name##_4, name##_5, name##_6
static multiply_fn *const multiply_wide[ROWS + 1] = {BY_ROWS(multiply_wide)};
static multiply_fn *const multiply_thin[ROWS + 1] = {BY_ROWS(multiply_thin)};

/* All rows of a slice of n columns, at most SLICE. */
static void multiply_slice(struct target to, struct factors f, struct columns c, uint32_t n_steps, uint32_t n,
                           uint32_t n_rows)
{
    for (uint32_t r = 0; r < n_rows; r += ROWS) {
        uint32_t rows = lg_min_u32(n_rows - r, ROWS), k = 0;
        struct target part = to;
        if (n == SLICE) {
            multiply_wide[rows](&part, f, c, n_steps);
            k = SLICE;
        }
        for (; n - k >= VEC; k += VEC) {
            part.y = to.y + k;
            multiply_thin[rows](&part, f, (struct columns){c.at + k, c.stride}, n_steps);
        }
        part.y = to.y + k;
        if (k < n)
            multiply_end(&part, f, (struct columns){c.at + k, c.stride}, n_steps, n - k, rows);
        to.y += rows * to.stride;
        f.at += rows * f.row_stride;
    }
}

#endif
