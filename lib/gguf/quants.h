/* SPDX-License-Identifier: MIT
 *
 * Reference decoding of weight blocks, bit-exact with the format's definition (the GGUF block formats of ggml): plain
 * float32 arithmetic, one rounding per multiplication or addition. Every kernel is checked against it.
 */
#ifndef LG_GGUF_QUANTS_H
#define LG_GGUF_QUANTS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "gguf/types.h"

/** IEEE binary16 to float32, subnormals, infinities and NaN included. */
static inline float lg_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, mag = h & 0x7fffu, bits;
    if (mag >= 0x7c00u) { // infinity, NaN
        bits = 0x7f800000u | (mag & 0x3ffu) << 13;
    } else if (mag >= 0x0400u) {
        bits = (mag << 13) + (112u << 23);
    } else { // subnormal: mag * 2^-24 is exact
        float f = (float)mag * 0x1p-24f;
        memcpy(&bits, &f, sizeof(bits));
    }
    bits |= sign;
    float out;
    memcpy(&out, &bits, sizeof(out));
    return out;
}

/** float32 to IEEE binary16, to nearest even. */
uint16_t lg_f32_to_f16(float f);

static inline float lg_bf16_to_f32(uint16_t h)
{
    uint32_t bits = (uint32_t)h << 16;
    float out;
    memcpy(&out, &bits, sizeof(out));
    return out;
}

/**
 * Decodes `n` weights of a row.
 *
 * @param type one of LG_WEIGHT_TYPES
 * @param src  blocks; any alignment
 * @param dst  n floats
 * @param n    a multiple of the type's block_elements
 */
void lg_dequantize(enum lg_type type, const void *src, float *dst, size_t n);

#endif
