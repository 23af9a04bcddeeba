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

#endif
