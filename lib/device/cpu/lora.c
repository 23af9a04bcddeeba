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
        struct lg_cpu_span s = lg_cpu_span(args, g, args->spec[0] * args->spec[1], push->t_stride);
        struct lg_cpu_lora lora = lg_cpu_lora_of(args, s.row);
        const float *x = (const float *)args->view[4] + (size_t)s.row * push->n_cols;
        float *t = (float *)args->view[5] + (size_t)s.row * push->t_stride;
        for (uint32_t i = s.begin; i < lg_min_u32(s.end, lora.pair.rank); i++)
            t[i] = lg_weight_row_dot(type_of(&lora.pair), lora.a + i * lora.row_bytes, x, push->n_cols);
    }
}

void lg_cpu_lora_up(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_lora_push *push = args->push;
    for (uint32_t g = first; g < last; g++) {
        struct lg_cpu_span s = lg_cpu_span(args, g, args->spec[0] * 4, push->n_cols);
        struct lg_cpu_lora lora = lg_cpu_lora_of(args, s.row);
        const float *t = (const float *)args->view[4] + (size_t)s.row * push->t_stride;
        float *y = (float *)args->view[5] + (size_t)s.row * push->n_cols;
        for (uint32_t m = s.begin; m < s.end && lora.pair.rank; m++) {
            float sum = 0, b;
            for (uint32_t i = 0; i < lora.pair.rank; i++) {
                size_t at = i * lora.row_bytes + m * (lora.pair.half_size ? 2 : 4);
                lg_dequantize(type_of(&lora.pair), lora.b + at, &b, 1);
                sum += b * t[i];
            }
            y[m] += lora.scale * sum;
        }
    }
}
