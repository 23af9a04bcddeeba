/* SPDX-License-Identifier: MIT
 *
 * Encoding of weights as blocks; quants.h has what they mean. The simple types round to the nearest step of the range that a
 * block of 32 has. Where a block has 256 weights, and in the types with a minimum, scales are those of a number of candidates
 * that leave the least squared error, once the codes that they give are fitted.
 *
 * The same weights give the same bytes on every machine.
 */
#ifndef LG_GGUF_QUANTIZE_H
#define LG_GGUF_QUANTIZE_H

#include "gguf/quants.h"

/** float32 to the upper half of it, to nearest even. */
uint16_t lg_f32_to_bf16(float f);

/**
 * Encodes `n` weights of a row. Weights that are too large for the scale of a block, or not finite, give blocks that decode to
 * what is not finite.
 *
 * @param type one of LG_WEIGHT_TYPES
 * @param src  n floats
 * @param dst  blocks; any alignment
 * @param n    a multiple of the type's block_elements
 */
void lg_quantize(enum lg_type type, const float *src, void *dst, size_t n);

/** As lg_dequantize(), and fast for the types that models are quantised from. */
void lg_decode_weights(enum lg_type type, const void *src, float *dst, size_t n);

#endif
