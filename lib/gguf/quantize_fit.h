/* SPDX-License-Identifier: MIT
 *
 * The scale of a group of weights. For a candidate the codes q are the nearest ones; then the best scale s for these codes, and
 * where there is one the best offset b, follow from sums over the group, in which each weight x counts with its w; and so does by
 * how much s q + b lowers what is left of sum(w x x): s sum(w q x) + b sum(w x). The candidate for which that is largest wins.
 *
 * Sums have eight lanes, whatever the machine has, so that they are the same everywhere. Private to lib/gguf.
 */
#ifndef LG_GGUF_QUANTIZE_FIT_H
#define LG_GGUF_QUANTIZE_FIT_H


#include <math.h>
#include <stdbool.h>

#include "gguf/quants.h"

#define INLINE static inline __attribute__((always_inline))

typedef float f32x8 __attribute__((vector_size(32)));
typedef int32_t i32x8 __attribute__((vector_size(32)));

/** Weights beyond have no float16 scale in any type; squares of those within have room in a float. */
#define LG_FIT_LARGEST 1e9f
/** Ranges below are all 0 in any type; 1 / range has room in a float. */
#define LG_FIT_LEAST 1e-30f

INLINE f32x8 fit_load(const float *p)
{
    f32x8 v;
    memcpy(&v, p, sizeof(v));
    return v;
}

INLINE void fit_store(float *p, f32x8 v)
{
    memcpy(p, &v, sizeof(v));
}

INLINE f32x8 fit_all(float f)
{
    return (f32x8){f, f, f, f, f, f, f, f};
}

INLINE f32x8 fit_min(f32x8 a, f32x8 b)
{
    i32x8 less = a < b;
    return (f32x8)(((i32x8)a & less) | ((i32x8)b & ~less));
}

INLINE f32x8 fit_max(f32x8 a, f32x8 b)
{
    i32x8 more = a > b;
    return (f32x8)(((i32x8)a & more) | ((i32x8)b & ~more));
}

/** To the nearest whole number, below 2^22. */
INLINE f32x8 fit_round(f32x8 v)
{
    return (v + 0x1.8p23f) - 0x1.8p23f;
}

INLINE float fit_sum(f32x8 v)
{
    return ((v[0] + v[4]) + (v[1] + v[5])) + ((v[2] + v[6]) + (v[3] + v[7]));
}

/** The largest magnitude; more than LG_FIT_LARGEST also where a weight is not finite. */
INLINE float fit_magnitude(const float *x, int n)
{
    i32x8 top = {0}; // as integers floats above 0 are in the same order, infinities and NaN above the others
    for (int i = 0; i < n; i += 8) {
        i32x8 bits = (i32x8)fit_load(x + i) & 0x7fffffff, more = bits > top;
        top = (bits & more) | (top & ~more);
    }
    int32_t largest = 0;
    for (int i = 0; i < 8; i++)
        largest = top[i] > largest ? top[i] : largest;
    float f;
    memcpy(&f, &largest, sizeof(f));
    return f <= __FLT_MAX__ ? f : INFINITY;
}

/**
 * How much each of n weights counts: `share`, and its square beside the mean of them. What large weights lose shows more in what
 * a model says than the same loss elsewhere.
 */
INLINE void fit_importance(const float *x, int n, float share, float *w)
{
    f32x8 sum = {0};
    for (int i = 0; i < n; i += 8)
        sum += fit_load(x + i) * fit_load(x + i);
    float mean = fit_sum(sum) / (float)n;
    f32x8 factor = fit_all(mean > LG_FIT_LEAST ? 1 / mean : 0);
    for (int i = 0; i < n; i += 8)
        fit_store(w + i, share + factor * fit_load(x + i) * fit_load(x + i));
}

/** Of the codes of a group and its weights, each times what it counts. */
struct fit_sums {
    float q, qq, qx;
};

/** Codes of n weights, whole numbers as floats, from `low` to `high`: the nearest to (x - from) * inverse. */
INLINE void fit_codes(const float *x, int n, float from, float inverse, float low, float high, float *q)
{
    for (int i = 0; i < n; i += 8) {
        f32x8 v = (fit_load(x + i) - from) * inverse;
        fit_store(q + i, fit_round(fit_max(fit_min(v, fit_all(high)), fit_all(low))));
    }
}

/** The sums for the codes that these would be. */
INLINE struct fit_sums fit_try(const float *x, const float *w, int n, float from, float inverse, float low, float high)
{
    f32x8 sq = {0}, sqq = {0}, sqx = {0};
    for (int i = 0; i < n; i += 8) {
        f32x8 t = fit_load(x + i), v = (t - from) * inverse;
        f32x8 q = fit_round(fit_max(fit_min(v, fit_all(high)), fit_all(low))), wq = fit_load(w + i) * q;
        sq += wq;
        sqq += wq * q;
        sqx += wq * t;
    }
    return (struct fit_sums){fit_sum(sq), fit_sum(sqq), fit_sum(sqx)};
}

/** The sums for codes that are there. */
INLINE struct fit_sums fit_add_up(const float *x, const float *w, const float *q, int n)
{
    f32x8 sq = {0}, sqq = {0}, sqx = {0};
    for (int i = 0; i < n; i += 8) {
        f32x8 v = fit_load(q + i), wq = fit_load(w + i) * v;
        sq += wq;
        sqq += wq * v;
        sqx += wq * fit_load(x + i);
    }
    return (struct fit_sums){fit_sum(sq), fit_sum(sqq), fit_sum(sqx)};
}

/** Least and largest of the weights, the sum of what they count, and of that times the weights. */
struct fit_range {
    float least, largest, w, wx;
};

INLINE struct fit_range fit_range(const float *x, const float *w, int n)
{
    f32x8 least = fit_load(x), largest = least, sw = {0}, swx = {0};
    for (int i = 0; i < n; i += 8) {
        f32x8 v = fit_load(x + i);
        least = fit_min(least, v);
        largest = fit_max(largest, v);
        sw += fit_load(w + i);
        swx += fit_load(w + i) * v;
    }
    struct fit_range r = {least[0], largest[0], fit_sum(sw), fit_sum(swx)};
    for (int i = 1; i < 8; i++) {
        r.least = fminf(r.least, least[i]);
        r.largest = fmaxf(r.largest, largest[i]);
    }
    return r;
}

/** x = scale * q - min. */
struct fit_line {
    float scale, min; // both >= 0 where min must be
};

/** The best line for codes with these sums, and what it gains. */
INLINE float fit_solve(struct fit_sums s, float w, float wx, bool below_zero, struct fit_line *out)
{
    float det = w * s.qq - s.q * s.q, b = 0;
    float scale = s.qq > 0 ? s.qx / s.qq : 0;
    if (det > 0) {
        float with = (w * s.qx - s.q * wx) / det;
        b = (s.qq * wx - s.q * s.qx) / det;
        if (b > 0 && below_zero)
            b = 0;
        else
            scale = with;
    }
    *out = (struct fit_line){scale, -b};
    return scale * s.qx + b * wx;
}

/**
 * Scale and minimum of n weights for codes 0 .. levels; with below_zero no minimum is below 0. Candidates are `tries` scales
 * on each side of the one that just spans the range, `step` codes apart.
 */
INLINE struct fit_line fit_between(const float *x, const float *w, int n, float levels, bool below_zero, int tries, float step)
{
    struct fit_range r = fit_range(x, w, n);
    struct fit_line best = {0, 0}, line;
    float gain = -1;
    if (below_zero && r.least > 0)
        r.least = 0;
    best.min = -r.least;
    if (!(r.largest - r.least > LG_FIT_LEAST))
        return best;
    for (int i = -tries; i <= tries; i++) {
        float inverse = (levels + step * (float)i) / (r.largest - r.least);
        struct fit_sums s = fit_try(x, w, n, r.least, inverse, 0, levels);
        float g = fit_solve(s, r.w, r.wx, below_zero, &line);
        if (g > gain) {
            gain = g;
            best = line;
        }
    }
    return best;
}

/**
 * Scale of n weights for codes -half .. half - 1, of either sign. Candidates are `tries` scales on each side of the one that gives the
 * largest weight the code -half, and, with `both`, as many about the one that gives it half - 1.
 */
INLINE float fit_around(const float *x, const float *w, int n, float half, bool both, int tries, float step)
{
    struct fit_range r = fit_range(x, w, n);
    float top = -r.least > r.largest ? r.least : r.largest, best = 0, gain = 0;
    if (!(fabsf(top) > LG_FIT_LEAST))
        return 0;
    for (int side = 0; side <= both; side++) {
        float code = side ? half - 1 : -half;
        for (int i = -tries; i <= tries; i++) {
            float inverse = (code + step * (float)(side ? i : -i)) / top;
            struct fit_sums s = fit_try(x, w, n, 0, inverse, -half, half - 1);
            if (s.qx * s.qx > gain * s.qq) {
                gain = s.qx * s.qx / s.qq;
                best = s.qx / s.qq;
            }
        }
    }
    return best;
}

#endif
