/* SPDX-License-Identifier: MIT
 * What a workgroup of a row-wise grid works on. Private to lib/device/cpu. */
#ifndef LG_DEVICE_CPU_GRID_H
#define LG_DEVICE_CPU_GRID_H

#include "device/cpu/kernel.h"
#include "util/checked.h"

/** What argmax leaves of a row of logits. */
struct lg_cpu_best {
    uint32_t index;
    float value;
};

/** Elements [begin, end) of a row. */
struct lg_cpu_span {
    uint32_t row, begin, end;
};

/** Workgroup i of a grid {ceil(n / per_group), rows, 1} over rows of n elements. */
static inline struct lg_cpu_span lg_cpu_span(const struct lg_cpu_args *args, uint32_t i, uint32_t per_group,
                                             uint32_t n)
{
    uint64_t begin = (uint64_t)(i % args->grid[0]) * per_group;
    uint64_t end = begin + per_group;
    return (struct lg_cpu_span){
        .row = i / args->grid[0],
        .begin = begin < n ? (uint32_t)begin : n,
        .end = end < n ? (uint32_t)end : n,
    };
}

/** How many rows of weights stay in a near cache beside some rows of x. */
static inline uint32_t lg_cpu_near_rows(uint32_t row_bytes)
{
    return 65536 / lg_max_u32(row_bytes, 1);
}

/** Weight rows [begin, end) and rows [row, row_end) of x. */
struct lg_cpu_block {
    uint32_t begin, end, row, row_end;
};

/**
 * The first workgroups of [*first, last), of a grid {ceil(n / per_group), T, 1} as above, that are a block; *first becomes
 * the next. They are counted T first: what was read of the weights meets all rows of x while it is near. `most` is how many
 * weight rows stay so; a single row of x may have any number.
 */
static inline struct lg_cpu_block lg_cpu_block(const struct lg_cpu_args *args, uint32_t *first, uint32_t last,
                                               uint32_t per_group, uint32_t n, uint32_t most)
{
    uint32_t n_t = args->grid[1], group = *first / n_t, row = *first % n_t, left = last - *first;
    uint32_t groups = row == 0 && left >= n_t ? left / n_t : 1, rows = lg_min_u32(n_t - row, left);
    if (n_t > 1)
        groups = lg_min_u32(groups, lg_max_u32(most / per_group, 1));
    uint64_t begin = (uint64_t)group * per_group, end = begin + (uint64_t)groups * per_group;
    *first += groups * rows;
    return (struct lg_cpu_block){
        .begin = begin < n ? (uint32_t)begin : n,
        .end = end < n ? (uint32_t)end : n,
        .row = row,
        .row_end = row + rows,
    };
}

#endif
