/* SPDX-License-Identifier: MIT
 *
 * Rows of x in 8 bits, and what the kernels that take them add up, in which order. Private to lib/device/cpu.
 *
 * A row of x is cut into blocks of 32: q = round(x / d) to nearest even with d = max |x| / 127, so x is about d * q. It
 * lies in memory as q, then for each half of a block its d, then for each half d * (sum of its q), then for each block a
 * struct lg_i8_block; zeros fill it up to a multiple of 256 elements and the end. A block with a NaN or an infinity has
 * d = NaN.
 *
 * A weight is scale * q + min, scale and min being those of its 16 neighbours. The product of a row of weights and one of
 * x (matvec_i8_T) has 16 lanes: in lane 8 * (block % 2) + i are the elements 4i .. 4i + 3 of a block,
 *
 *     lane += (float)(sum of the four integer products) * (scale * d)        the last two operations as one (fma)
 *
 * and 16 more for the mins: in lane (half block) % 16, lane += min * (d * sum of q), fma again. In the end each 16 lanes
 * are added by halves, and the two sums. Integers are exact, so every version of a kernel gives the same bits.
 *
 * With many rows of x (matmul_i8_T) it has a single sum, from 0, to which each block, in order, adds
 *
 *     sum += (float)(sum of its integer products) * (scale * d)                   fma
 *     sum += min * (d * (sum of its q))               fma, where the type has mins
 *
 * Types with scales for 16 weights (Q2_K, Q3_K, Q6_K) take each half of a block for one.
 */
#ifndef LG_DEVICE_CPU_I8_H
#define LG_DEVICE_CPU_I8_H

#include "gguf/quants.h"
#include "push.h"

enum {
    LG_I8_UNIT = 256,                    // elements that are handled together
    LG_I8_BLOCKS = LG_I8_UNIT / 32,      // of a unit
    LG_I8_HALVES = LG_I8_UNIT / 16,      // of a unit
    LG_I8_CHUNKS = LG_I8_UNIT / 64,      // of a unit: two blocks, 16 lanes
    LG_I8_LANES = 16,
};

/** What tiles want to know of a block of x besides. */
struct lg_i8_block {
    int32_t halves[2]; // -128 * (sum of q) of each half: what products begin with when 128 is added to the weights
    int32_t bias;      // of both
    float sum;         // d * (sum of q) of both
};

/** From the sums of its halves. */
static inline struct lg_i8_block lg_i8_block_of(float d, const int whole[2])
{
    int both = whole[0] + whole[1];
    return (struct lg_i8_block){{-128 * whole[0], -128 * whole[1]}, -128 * both, d * (float)both};
}

/** Where the parts of a quantised row of n elements are. */
struct lg_i8_row {
    const int8_t *q;
    const float *d;    // of each 16
    const float *sums; // of each 16
    const struct lg_i8_block *blocks;
};

static inline struct lg_i8_row lg_i8_row_at(const void *base, uint32_t n, uint32_t row)
{
    size_t padded = LG_I8_PADDED(n);
    const uint8_t *p = (const uint8_t *)base + (size_t)row * LG_I8_ROW_BYTES(n);
    return (struct lg_i8_row){
        .q = (const int8_t *)p,
        .d = (const float *)(p + padded),
        .sums = (const float *)(p + padded + padded / 4),
        .blocks = (const struct lg_i8_block *)(p + padded + padded / 2),
    };
}

#endif
