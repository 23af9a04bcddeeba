/* SPDX-License-Identifier: MIT
 *
 * The encoders of blocks, which are compiled for each instruction set. Private to lib/gguf.
 */
#ifndef LG_GGUF_QUANTIZE_TABLE_H
#define LG_GGUF_QUANTIZE_TABLE_H

#include <stdbool.h>

#include "gguf/quantize.h"

enum { LG_QUANTIZE_TYPES = LG_TYPE_BF16 + 1 };

/** Encodes one block. */
typedef void lg_quantize_fn(const float *x, uint8_t *block);
/** By enum lg_type; NULL for the types of another file. */
typedef lg_quantize_fn *const lg_quantize_table[LG_QUANTIZE_TYPES];

/** As lg_dequantize() of F16. */
typedef void lg_decode_f16_fn(const uint8_t *src, float *y, size_t n);

extern lg_decode_f16_fn lg_quantize_32_portable_decode_f16;
#ifdef __x86_64__
extern lg_decode_f16_fn lg_quantize_32_avx2_decode_f16;
#endif
extern lg_quantize_table lg_quantize_32_portable, lg_quantize_256_portable;
#ifdef __x86_64__
extern lg_quantize_table lg_quantize_32_avx2, lg_quantize_256_avx2;
#endif

#endif
