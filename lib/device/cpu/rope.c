/* SPDX-License-Identifier: MIT
 * Rotary position embedding: rotates the pairs of each head by the angles of the row's position; backwards, by their
 * opposites. */
#include "device/cpu/grid.h"

static void rope(const struct lg_cpu_args *args, float sign, uint32_t first, uint32_t last)
{
    const struct lg_rope_push *push = args->push;
    const struct lg_row *rows = args->view[0];
    uint32_t pairs = push->n_rot / 2;
    for (uint32_t g = first; g < last; g++) {
        struct lg_cpu_span s = lg_cpu_span(args, g, args->spec[0], push->n_heads * pairs);
        const float *table = (const float *)args->view[1] + (size_t)rows[s.row].pos * push->n_rot;
        float *x = (float *)args->view[2] + (size_t)s.row * push->n_heads * push->head_dim;
        for (uint32_t i = s.begin; i < s.end; i++) {
            uint32_t head = i / pairs, pair = i % pairs;
            float *a = x + (size_t)head * push->head_dim + (push->halves ? pair : 2 * pair);
            float *b = a + (push->halves ? pairs : 1);
            float cos = table[2 * pair], sin = sign * table[2 * pair + 1];
            float rotated = *a * cos - *b * sin;
            *b = *a * sin + *b * cos;
            *a = rotated;
        }
    }
}

void lg_cpu_rope(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    rope(args, 1, first, last);
}

void lg_cpu_rope_back(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    rope(args, -1, first, last);
}
