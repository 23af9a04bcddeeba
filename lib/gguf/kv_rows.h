/* SPDX-License-Identifier: MIT
 *
 * Rows of the caches on the host, in the types that kernels/push.h lays out (LG_KV_*): the definition of what kernels write
 * and read. What is decoded and encoded again is what it was, bit for bit.
 */
#ifndef LG_GGUF_KV_ROWS_H
#define LG_GGUF_KV_ROWS_H

#include <stddef.h>

#include "push.h"

/** Bytes of a row of n numbers. */
static inline size_t lg_kv_row_bytes(uint32_t type, uint32_t n)
{
    return (size_t)LG_KV_ROW_WORDS(type, n) * 4;
}

/** Numbers [begin, end) of a row of n from x[0] on; whole units of LG_KV_UNIT, or blocks, as far as the row goes. Padding is
 * written as well. */
void lg_kv_encode(uint32_t type, const float *x, uint32_t n, uint32_t begin, uint32_t end, void *row);
/** The other way round; y need not be aligned. */
void lg_kv_decode(uint32_t type, const void *row, uint32_t n, uint32_t begin, uint32_t end, float *y);

#endif
