/* SPDX-License-Identifier: MIT
 * Rows of x in float16, and weights times many of them: what the kernels for float16 compute, in cooperative matrices or
 * without, beside their rounding of weights. Push.h tells what a row is. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "device/cpu/weight_row.h"

/** To the nearest, ties to the even one; |v| < 65520, or no number of that size. */
static uint16_t to_half(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof(bits));
    uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude >= 0x7f800000)
        return (uint16_t)(sign | 0x7c00 | (magnitude > 0x7f800000 ? 0x200 : 0));
    if (magnitude < 0x38800000) // in units of the smallest subnormal number
        return (uint16_t)(sign | (uint32_t)lrintf(ldexpf(fabsf(v), 24)));
    magnitude += 0xfff + (magnitude >> 13 & 1);
    return (uint16_t)(sign | (magnitude - 0x38000000) >> 13);
}

static void halve_row(const float *x, uint32_t n, uint8_t *out)
{
    float largest = 0, scale;
    for (uint32_t i = 0; i < n; i++)
        largest = fmaxf(largest, fabsf(x[i]));
    uint32_t bits;
    memcpy(&bits, &largest, sizeof(bits));
    uint32_t e = lg_max_u32(15, lg_min_u32(254, bits >> 23));
    memcpy(&scale, &(uint32_t){(e - 14) << 23}, sizeof(scale));
    memset(out, 0, LG_HALF_ROW_BYTES(n));
    memcpy(out, &scale, sizeof(scale));
    for (uint32_t i = 0; i < n; i++) {
        uint16_t half = to_half(x[i] / scale);
        memcpy(out + 16 + 2 * i, &half, sizeof(half));
    }
}

void lg_cpu_halve(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    uint32_t n = ((const struct lg_rowwise_push *)args->push)->n_cols;
    const float *x = args->view[0];
    for (uint32_t row = first; row < last; row++)
        halve_row(x + (size_t)row * n, n, (uint8_t *)args->view[1] + (size_t)row * LG_HALF_ROW_BYTES(n));
}

/** The dot product of a row of n encoded weights with a row of x in float16. */
static float row_dot(enum lg_type type, const uint8_t *weights, const uint8_t *x, uint32_t n)
{
    enum { CHUNK = 256 }; // a multiple of all blocks
    const struct lg_type_info *info = lg_type_info(type);
    float w[CHUNK], v[CHUNK], scale;
    double sum = 0;
    memcpy(&scale, x, sizeof(scale));
    for (uint32_t k = 0; k < n; k += CHUNK) {
        uint32_t count = lg_min_u32(n - k, CHUNK);
        lg_dequantize(type, weights + (size_t)k / info->block_elements * info->block_bytes, w, count);
        lg_dequantize(LG_TYPE_F16, x + 16 + 2 * (size_t)k, v, count);
        for (uint32_t i = 0; i < count; i++)
            sum += (double)w[i] * v[i];
    }
    return (float)(sum * scale);
}

static void matmul(enum lg_type type, const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_matmul_push *push = args->push;
    const uint32_t *dims = args->view[0];
    const uint8_t *weight = args->view[1], *x = args->view[2];
    float *y = (float *)args->view[3] + push->row_begin;
    for (uint32_t g = first; g < last; g++) {
        struct lg_cpu_span m = lg_cpu_span(args, g, args->spec[1], push->n_rows);
        uint32_t t_begin = m.row * args->spec[2], t_end = lg_min_u32(t_begin + args->spec[2], dims[push->dim]);
        for (uint32_t i = m.begin; i < m.end; i++)
            for (uint32_t t = t_begin; t < t_end; t++)
                y[(size_t)t * push->y_stride + i] =
                    row_dot(type, weight + (size_t)i * push->row_bytes,
                            x + (size_t)t * LG_HALF_ROW_BYTES(push->n_cols), push->n_cols);
    }
}

#define MATMUL(lower, UPPER)                                                                       \
    void lg_cpu_matmul_coop_##lower(const struct lg_cpu_args *args, uint32_t first, uint32_t last) \
    {                                                                                              \
        matmul(LG_TYPE_##UPPER, args, first, last);                                                \
    }                                                                                              \
    void lg_cpu_matmul_half_##lower(const struct lg_cpu_args *args, uint32_t first, uint32_t last) \
    {                                                                                              \
        matmul(LG_TYPE_##UPPER, args, first, last);                                                \
    }
LG_HALF_TYPES(MATMUL)
