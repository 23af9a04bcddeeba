/* SPDX-License-Identifier: MIT
 * The norm of a row, for the kernels that normalise alone and for those that do it on the way. Private to
 * lib/device/cpu. */
#ifndef LG_DEVICE_CPU_NORM_H
#define LG_DEVICE_CPU_NORM_H

#include <math.h>
#include <stddef.h>

#include "device/cpu/sum.h"

/** Normalised x is (x - mean) * scale * weight + bias; RMSNorm has no mean and no bias. */
struct lg_cpu_norm {
    const float *weight, *bias; // bias: NULL for RMSNorm
    float mean, scale;
};

/** The norm of a row of n elements: LayerNorm with a bias, RMSNorm without. */
static inline struct lg_cpu_norm lg_cpu_norm_of(const float *x, size_t n, float eps, const float *weight,
                                                const float *bias)
{
    struct lg_sum sum = {0}, squares = {0};
    for (size_t i = 0; i < n && bias; i++)
        sum.lane[i % LG_SUM_LANES] += x[i];
    double mean = lg_sum_total(&sum) / (double)n;
    for (size_t i = 0; i < n; i++)
        squares.lane[i % LG_SUM_LANES] += (x[i] - mean) * (x[i] - mean);
    return (struct lg_cpu_norm){
        .weight = weight,
        .bias = bias,
        .mean = (float)mean,
        .scale = (float)(1.0 / sqrt(lg_sum_total(&squares) / (double)n + eps)),
    };
}

/** Elements [first, first + n) of the normalised row. */
static inline void lg_cpu_normalise(const struct lg_cpu_norm *norm, const float *x, size_t first, size_t n,
                                    float *y)
{
    for (size_t i = first; i < first + n; i++)
        *y++ = norm->bias ? (x[i] - norm->mean) * norm->scale * norm->weight[i] + norm->bias[i]
                          : x[i] * norm->scale * norm->weight[i];
}

#endif
