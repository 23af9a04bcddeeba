/* SPDX-License-Identifier: MIT
 * Puts the keys and values of a batch's rows into their places in the paged caches, which are of type spec[1]. */
#include "device/cpu/grid.h"
#include "gguf/kv_rows.h"

void lg_cpu_kv_write(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_kv_write_push *push = args->push;
    const struct lg_row *rows = args->view[0];
    const uint32_t *pages = args->view[1];
    uint32_t type = args->spec[1];
    size_t row_bytes = lg_kv_row_bytes(type, push->n_cols);
    for (uint32_t g = first; g < last; g++) {
        struct lg_cpu_span s = lg_cpu_span(args, g, args->spec[0] * LG_KV_UNIT(type), push->n_cols);
        uint32_t pos = rows[s.row].pos;
        uint32_t page = pages[(size_t)rows[s.row].slot * push->max_pages + pos / push->page_size];
        size_t cell = (size_t)page * push->page_size + pos % push->page_size;
        size_t from = (size_t)s.row * push->n_cols + s.begin;
        for (int i = 0; i < 2; i++)
            lg_kv_encode(type, (const float *)args->view[2 + i] + from, push->n_cols, s.begin, s.end,
                         (uint8_t *)args->view[4 + i] + cell * row_bytes);
    }
}
