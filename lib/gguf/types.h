/* SPDX-License-Identifier: MIT
 *
 * Tensor element types as GGUF numbers them, and the geometry of their blocks.
 */
#ifndef LG_GGUF_TYPES_H
#define LG_GGUF_TYPES_H

#include <stdint.h>

enum lg_type {
    LG_TYPE_F32 = 0,
    LG_TYPE_F16 = 1,
    LG_TYPE_Q4_0 = 2,
    LG_TYPE_Q4_1 = 3,
    LG_TYPE_Q5_0 = 6,
    LG_TYPE_Q5_1 = 7,
    LG_TYPE_Q8_0 = 8,
    LG_TYPE_Q2_K = 10,
    LG_TYPE_Q3_K = 11,
    LG_TYPE_Q4_K = 12,
    LG_TYPE_Q5_K = 13,
    LG_TYPE_Q6_K = 14,
    LG_TYPE_BF16 = 30,
};

/**
 * The weight types that have kernels, in one list: X(lower, UPPER). Kernel names, CPU tables and tests expand from it.
 */
#define LG_WEIGHT_TYPES(X)                                                                                   \
    X(f32, F32)                                                                                              \
    X(f16, F16)                                                                                              \
    X(bf16, BF16)                                                                                            \
    LG_BLOCK_TYPES(X)

/** Of these, the ones that are small integers in blocks of 32 or 256. */
#define LG_BLOCK_TYPES(X)                                                                                    \
    X(q4_0, Q4_0)                                                                                            \
    X(q4_1, Q4_1)                                                                                            \
    X(q5_0, Q5_0)                                                                                            \
    X(q5_1, Q5_1)                                                                                            \
    X(q8_0, Q8_0)                                                                                            \
    X(q2_k, Q2_K)                                                                                            \
    X(q3_k, Q3_K)                                                                                            \
    X(q4_k, Q4_K)                                                                                            \
    X(q5_k, Q5_K)                                                                                            \
    X(q6_k, Q6_K)

struct lg_type_info {
    const char *name;        // "Q4_K"
    uint32_t block_elements; // weights in a block: 1, 32 or 256
    uint32_t block_bytes;    // bytes of a block
};

/**
 * Geometry of a type by its GGUF number, including types that can be inspected but have no kernels; NULL when unknown.
 */
const struct lg_type_info *lg_type_info(uint32_t type);

#endif
