/* SPDX-License-Identifier: MIT
 * What the reference versions of matvec and matmul share. Private to lib/device/cpu. */
#ifndef LG_DEVICE_CPU_WEIGHT_ROW_H
#define LG_DEVICE_CPU_WEIGHT_ROW_H

#include "device/cpu/dot.h"
#include "device/cpu/grid.h"
#include "gguf/quants.h"

/** The dot product of a row of n encoded weights and x. */
static inline float lg_weight_row_dot(enum lg_type type, const uint8_t *row, const float *x, size_t n)
{
    enum { CHUNK = 256 }; // weights: a multiple of all blocks and of the lanes
    const struct lg_type_info *info = lg_type_info(type);
    struct lg_dot acc = {0};
    float w[CHUNK];
    for (size_t k = 0; k < n; k += CHUNK) {
        size_t count = n - k < CHUNK ? n - k : CHUNK;
        lg_dequantize(type, row + k / info->block_elements * info->block_bytes, w, count);
        lg_dot_add(&acc, w, x + k, count);
    }
    return lg_dot_sum(&acc);
}

#endif
