/* SPDX-License-Identifier: MIT
 * What the reference versions of products share. Private to lib/device/cpu. */
#ifndef LG_DEVICE_CPU_WEIGHT_ROW_H
#define LG_DEVICE_CPU_WEIGHT_ROW_H

#include <string.h>

#include "device/cpu/dot.h"
#include "device/cpu/grid.h"
#include "device/cpu/norm.h"
#include "device/cpu/round_i8.h"
#include "gguf/quants.h"

/** Decodes weights [begin, end) of a row, which need not be whole blocks: y[0] is weight `begin`. */
static inline void lg_weight_row_range(enum lg_type type, const uint8_t *row, uint32_t begin, uint32_t end, float *y)
{
    enum { MAX_BLOCK = 256 }; // weights
    const struct lg_type_info *info = lg_type_info(type);
    uint32_t unit = info->block_elements;
    float block[MAX_BLOCK];
    for (uint32_t at = begin / unit * unit; at < end; at += unit) {
        uint32_t from = lg_max_u32(at, begin), to = lg_min_u32(at + unit, end);
        lg_dequantize(type, row + (size_t)(at / unit) * info->block_bytes, block, unit);
        memcpy(y + (from - begin), block + (from - at), (to - from) * sizeof(float));
    }
}

/** The dot product of a row of n encoded weights and the normalised x; `norm` NULL: x as it is. With `int8` x is rounded. */
static inline float lg_weight_row_dot_norm(enum lg_type type, const uint8_t *row, const struct lg_cpu_norm *norm,
                                           const float *x, size_t n, bool int8)
{
    enum { CHUNK = 256 }; // weights: a multiple of all blocks and of the lanes
    const struct lg_type_info *info = lg_type_info(type);
    struct lg_dot acc = {0};
    float w[CHUNK], h[CHUNK];
    for (size_t k = 0; k < n; k += CHUNK) {
        size_t count = n - k < CHUNK ? n - k : CHUNK;
        lg_dequantize(type, row + k / info->block_elements * info->block_bytes, w, count);
        const float *v = norm || int8 ? h : x + k;
        if (norm)
            lg_cpu_normalise(norm, x, k, count, h);
        else if (int8)
            memcpy(h, x + k, count * sizeof(*h));
        if (int8)
            lg_round_i8(h, (uint32_t)count);
        lg_dot_add(&acc, w, v, count);
    }
    return lg_dot_sum(&acc);
}

/** The dot product of a row of n encoded weights and x. */
static inline float lg_weight_row_dot(enum lg_type type, const uint8_t *row, const float *x, size_t n)
{
    return lg_weight_row_dot_norm(type, row, NULL, x, n, false);
}

#endif
