/* SPDX-License-Identifier: MIT
 * Which adapter a row of the batch has, and what workgroups do with it. Private to lib/device/cpu. */
#ifndef LG_DEVICE_CPU_LORA_H
#define LG_DEVICE_CPU_LORA_H

#include "device/cpu/grid.h"

/** What the adapter of one row adds to a matrix. */
struct lg_cpu_lora {
    struct lg_lora_pair pair; // rank 0: nothing
    const uint8_t *a, *b;     // [rank][a_row_bytes] and [rank][b_row_bytes]
    size_t number_bytes, a_row_bytes, b_row_bytes;
    float scale;
};

/** The adapter of a row for matrix m; views 0 to 3 of both kernels. */
static inline struct lg_cpu_lora lg_cpu_lora_of(const struct lg_cpu_args *args, uint32_t row, uint32_t m)
{
    const struct lg_lora_push *push = args->push;
    const struct lg_row *rows = args->view[0];
    const struct lg_slot_lora slot = ((const struct lg_slot_lora *)args->view[1])[rows[row].slot];
    if (slot.seat == 0)
        return (struct lg_cpu_lora){0};
    const struct lg_lora_pair *pairs = args->view[2];
    const struct lg_lora_pair pair = pairs[(size_t)(slot.seat - 1) * push->n_targets + push->target[m]];
    const uint8_t *weights = args->view[3];
    size_t unit = pair.half_size ? 8 : 16;
    return (struct lg_cpu_lora){
        .pair = pair,
        .a = weights + (size_t)pair.a_at * 8,
        .b = weights + (size_t)pair.b_at * 8,
        .number_bytes = unit / 4,
        .a_row_bytes = lg_div_up(push->n_cols, 4) * unit,
        .b_row_bytes = lg_div_up(push->n_rows[m], 4) * unit,
        .scale = slot.scale * pair.factor,
    };
}

/** Elements [begin, end) of what an adapter makes for matrix m. */
struct lg_cpu_lora_part {
    uint32_t m, begin, end;
};

/** What group g of lora_down's grid in x makes of t. */
static inline struct lg_cpu_lora_part lg_cpu_lora_down_part(const struct lg_cpu_args *args, uint32_t g)
{
    const struct lg_lora_push *push = args->push;
    uint32_t each = args->spec[0] * args->spec[1], groups = lg_div_up(push->t_stride, each);
    uint32_t begin = g % groups * each;
    return (struct lg_cpu_lora_part){
        .m = push->first + g / groups, .begin = begin, .end = lg_min_u32(begin + each, push->t_stride)};
}

/** What group g of lora_up's grid in x makes of y. */
static inline struct lg_cpu_lora_part lg_cpu_lora_up_part(const struct lg_cpu_args *args, uint32_t g)
{
    const struct lg_lora_push *push = args->push;
    uint32_t each = args->spec[0] * 4, m = push->first;
    for (; g >= lg_div_up(push->n_rows[m], each); m++)
        g -= lg_div_up(push->n_rows[m], each);
    return (struct lg_cpu_lora_part){
        .m = m, .begin = g * each, .end = lg_min_u32((g + 1) * each, push->n_rows[m])};
}

/** Row `row` of t for matrix m. */
static inline size_t lg_cpu_lora_t_at(const struct lg_lora_push *push, uint32_t row, uint32_t m)
{
    return ((size_t)row * LG_LORA_MATRICES + m) * push->t_stride;
}

/** Row `row` of y of matrix m. */
static inline size_t lg_cpu_lora_y_at(const struct lg_lora_push *push, uint32_t row, uint32_t m)
{
    return push->y_at[m] + (size_t)row * push->n_rows[m];
}

/** The bias of matrix m, or NULL. */
static inline const float *lg_cpu_lora_bias(const struct lg_cpu_args *args, uint32_t m)
{
    const struct lg_lora_push *push = args->push;
    return push->flags & LG_LORA_BIAS(m) ? args->view[5 + m] : NULL;
}

#endif
