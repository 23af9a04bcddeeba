/* SPDX-License-Identifier: MIT
 *
 * Rows of x in 8 bits, and what the kernels that take them add up, in which order. Private to lib/device/cpu.
 *
 * A row of x is cut into units of 256 and blocks of 32. A unit has a step d = max |x| / (127 * 64), a block a whole factor of
 * it, up to 64: the least with which 127 steps are enough. Then q = round(x / (factor * d)) to nearest even, and x is about
 * factor * d * q. The row lies in memory as q, then for each half of a block its factor * d, then for each half
 * factor * d * (sum of its q), then for each unit a struct lg_i8_unit, then for each block a struct lg_i8_block; zeros fill
 * it up to whole units and the end. A unit with a NaN or an infinity has d = NaN.
 *
 * The product of a row of weights and one of x (matvec_i8_T) has 16 lanes, and 8 for the mins. In the end both are added by
 * halves (lane i + lane n / 2 + i, and so on), and the two sums. Integers are exact, so every version of a kernel gives the same
 * bits. The weights of a block are scale * q + min, and what a block or a unit adds to a lane is, fma being a product and a
 * sum that are rounded once:
 *
 * Q8_0: lane 8 * (block % 2) + i has the elements 4i .. 4i + 3 of a block:
 *
 *     lane = fma((float)(sum of the four integer products), scale * (factor * d), lane)
 *
 * Q4_0, Q4_1, Q5_0, Q5_1, q not negative (what Q4_0 and Q5_0 subtract, 8 or 16, is a min): lane 4 * (block % 4) + i has the
 * elements 4i .. 4i + 3 of both halves, and min lane block % 8 the block:
 *
 *     lane = fma((float)(sum of the eight integer products), scale * (factor * d), lane)
 *     min lane = fma(min, (factor * d) * (float)(sum of q of x), min lane)                        Q4_1, Q5_1
 *     min lane = fma(scale * (factor * d), (float)(-8 or -16 * sum of q of x), min lane)          Q4_0, Q5_0
 *
 * Q2_K .. Q6_K, whose scales and mins are small integers times a float of the unit (scale, and min, are these here): a lane
 * has two runs of eight elements of the unit, as lg_i8_lane() says:
 *
 *     lane = fma((float)(sum of q * q of x * scale * factor), float * d, lane)
 *     min lane = fma((float)(- sum of q of x * min * factor), float of the mins * d, min lane)
 *
 * q is not negative in the first sum: what Q3_K and Q6_K subtract from it, (4 or 32) * q of x * scale * factor, lane i takes
 * for all of block i. Min lane i is for block i in Q2_K, min lane 4 + i for the blocks 2i and 2i + 1 in others. All of these
 * sums are less than 2^31.
 *
 * With many rows of x (matmul_i8_T) it has a single sum, from 0, to which each block, in order, adds
 *
 *     sum = fma((float)(sum of its integer products), scale * (factor * d), sum)
 *     sum = fma(min, (factor * d) * (sum of its q), sum)         where the type has mins
 *
 * scale and min being those of the weights, and q less what the type subtracts. Types with scales for 16 weights (Q2_K, Q3_K,
 * Q6_K) take each half of a block for one.
 */
#ifndef LG_DEVICE_CPU_I8_H
#define LG_DEVICE_CPU_I8_H

#include <stdbool.h>

#include "gguf/quants.h"
#include "push.h"

enum {
    LG_I8_UNIT = 256,                    // elements that are handled together
    LG_I8_BLOCKS = LG_I8_UNIT / 32,      // of a unit
    LG_I8_HALVES = LG_I8_UNIT / 16,      // of a unit
    LG_I8_CHUNKS = LG_I8_UNIT / 64,      // of a unit: two blocks, 16 lanes
    LG_I8_LANES = 16,
    LG_I8_FACTOR = 64, // the largest of a block
};

/** What is known of 256 elements. */
struct lg_i8_unit {
    int16_t half_factors[16]; // of each half block: the same twice
    int16_t half_less[16];    // minus the sum of its q
    int16_t block_less[16];   // zeros, then minus the sum of q of each block
    int16_t factors[8];       // of each block
    float d;
    float unused[3];
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
    const struct lg_i8_unit *units;
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
        .units = (const struct lg_i8_unit *)(p + padded + padded / 2),
        .blocks = (const struct lg_i8_block *)(p + 2 * padded),
    };
}

/** Where K-quants add element i of block b. */
static inline uint32_t lg_i8_lane(enum lg_type type, uint32_t b, uint32_t i)
{
    bool is_apart = type == LG_TYPE_Q4_K || type == LG_TYPE_Q5_K; // blocks 0 and 2 share bytes with 1 and 3
    uint32_t upper = is_apart ? b / 2 % 2 : b % 2, odd = is_apart ? b % 2 : b / 2 % 2;
    return upper * 8 + i / 16 * 4 + odd * 2 + i / 8 % 2;
}

#endif
