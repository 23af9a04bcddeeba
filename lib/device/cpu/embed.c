/* SPDX-License-Identifier: MIT
 * Looks the embedding of each row's token up: decodes a row of the table. */
#include <string.h>

#include "device/cpu/grid.h"
#include "gguf/quants.h"

enum {
    WEIGHTS_PER_INVOCATION = 32,
    MAX_BLOCK = 256, // weights
};

/** Decodes weights [begin, end) of a row, which need not be whole blocks. */
static void decode_range(enum lg_type type, const uint8_t *row, uint32_t begin, uint32_t end, float *y)
{
    const struct lg_type_info *info = lg_type_info(type);
    uint32_t unit = info->block_elements;
    float block[MAX_BLOCK];
    for (uint32_t at = begin / unit * unit; at < end; at += unit) {
        uint32_t from = lg_max_u32(at, begin), to = lg_min_u32(at + unit, end);
        lg_dequantize(type, row + (size_t)(at / unit) * info->block_bytes, block, unit);
        memcpy(y + from, block + (from - at), (to - from) * sizeof(float));
    }
}

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
        decode_range(type, row, s.begin, s.end, (float *)args->view[2] + (size_t)s.row * push->n_cols);
    }
}

#define EMBED(lower, UPPER)                                                                  \
    void lg_cpu_embed_##lower(const struct lg_cpu_args *args, uint32_t first, uint32_t last) \
    {                                                                                        \
        embed(LG_TYPE_##UPPER, args, first, last);                                           \
    }
LG_WEIGHT_TYPES(EMBED)
