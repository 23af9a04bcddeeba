/* SPDX-License-Identifier: MIT
 * Looks the embedding of each row's token up: decodes a row of the table. */
#include "device/cpu/weight_row.h"

enum { WEIGHTS_PER_INVOCATION = 32 };

static void embed(enum lg_type type, const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_embed_push *push = args->push;
    const uint32_t *ids = args->view[0];
    for (uint32_t g = first; g < last; g++) {
        struct lg_cpu_span s = lg_cpu_span(args, g, args->spec[0] * WEIGHTS_PER_INVOCATION, push->n_cols);
        uint32_t id = ids[(size_t)s.row * push->id_stride + push->id_offset];
        if (id < push->row_begin || id >= push->row_end)
            continue;
        const uint8_t *row =
            (const uint8_t *)args->view[1] + (size_t)(id - push->row_begin) * push->row_bytes;
        float *y = (float *)args->view[2] + (size_t)s.row * push->n_cols;
        if (s.begin < s.end)
            lg_weight_row_range(type, row, s.begin, s.end, y + s.begin);
    }
}

#define EMBED(lower, UPPER)                                                                  \
    void lg_cpu_embed_##lower(const struct lg_cpu_args *args, uint32_t first, uint32_t last) \
    {                                                                                        \
        embed(LG_TYPE_##UPPER, args, first, last);                                           \
    }
LG_WEIGHT_TYPES(EMBED)
