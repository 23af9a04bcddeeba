/* SPDX-License-Identifier: MIT
 * Adapters: rows of x made small by A (spec[0] * spec[1] elements of t to a workgroup), and what B makes of
 * them added to rows of y (spec[0] * 4 elements). */
#include "device/cpu/lora.h"
#include "device/cpu/weight_row.h"

static enum lg_type type_of(const struct lg_lora_pair *pair)
{
    return pair->half_size ? LG_TYPE_F16 : LG_TYPE_F32;
}

void lg_cpu_lora_down(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_lora_push *push = args->push;
    for (uint32_t g = first; g < last; g++) {
        uint32_t row = g / args->grid[0];
        struct lg_cpu_lora_part part = lg_cpu_lora_down_part(args, g % args->grid[0]);
        struct lg_cpu_lora lora = lg_cpu_lora_of(args, row, part.m);
        const float *x = (const float *)args->view[4] + (size_t)row * push->n_cols;
        float *t = (float *)args->view[5] + lg_cpu_lora_t_at(push, row, part.m);
        for (uint32_t i = part.begin; i < lg_min_u32(part.end, lora.pair.rank); i++)
            t[i] = lg_weight_row_dot(type_of(&lora.pair), lora.a + i * lora.a_row_bytes, x, push->n_cols);
    }
}

void lg_cpu_lora_up(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_lora_push *push = args->push;
    for (uint32_t g = first; g < last; g++) {
        uint32_t row = g / args->grid[0];
        struct lg_cpu_lora_part part = lg_cpu_lora_up_part(args, g % args->grid[0]);
        struct lg_cpu_lora lora = lg_cpu_lora_of(args, row, part.m);
        const float *t = (const float *)args->view[4] + lg_cpu_lora_t_at(push, row, part.m);
        const float *bias = lg_cpu_lora_bias(args, part.m);
        float *y = (float *)args->view[8] + lg_cpu_lora_y_at(push, row, part.m);
        for (uint32_t j = part.begin; j < part.end; j++) {
            float sum = 0, b;
            for (uint32_t i = 0; i < lora.pair.rank; i++) {
                lg_dequantize(type_of(&lora.pair), lora.b + i * lora.b_row_bytes + j * lora.number_bytes, &b,
                              1);
                sum += b * t[i];
            }
            if (push->flags & LG_LORA_WHOLE)
                y[j] = bias ? bias[j] : 0;
            if (lora.pair.rank)
                y[j] += lora.scale * sum;
        }
    }
}
