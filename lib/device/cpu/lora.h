/* SPDX-License-Identifier: MIT
 * Which adapter a row of the batch has. Private to lib/device/cpu. */
#ifndef LG_DEVICE_CPU_LORA_H
#define LG_DEVICE_CPU_LORA_H

#include "device/cpu/grid.h"

/** What the adapter of one row adds to the matrix of a dispatch. */
struct lg_cpu_lora {
    struct lg_lora_pair pair; // rank 0: nothing
    const uint8_t *a, *b;     // [rank][row_bytes]
    size_t row_bytes;
    float scale;
};

/** Views 0 to 3 of both kernels. */
static inline struct lg_cpu_lora lg_cpu_lora_of(const struct lg_cpu_args *args, uint32_t row)
{
    const struct lg_lora_push *push = args->push;
    const struct lg_row *rows = args->view[0];
    const struct lg_slot_lora slot = ((const struct lg_slot_lora *)args->view[1])[rows[row].slot];
    if (slot.seat == 0)
        return (struct lg_cpu_lora){0};
    const struct lg_lora_pair *pairs = args->view[2];
    const struct lg_lora_pair pair = pairs[(size_t)(slot.seat - 1) * push->n_targets + push->target];
    const uint8_t *weights = args->view[3];
    return (struct lg_cpu_lora){
        .pair = pair,
        .a = weights + (size_t)pair.a_at * 8,
        .b = weights + (size_t)pair.b_at * 8,
        .row_bytes = (size_t)lg_div_up(push->n_cols, 4) * (pair.half_size ? 8 : 16),
        .scale = slot.scale * pair.factor,
    };
}

#endif
