/* SPDX-License-Identifier: MIT
 * Puts the keys and values of a batch's rows into their places in the paged caches. */
#include <string.h>

#include "device/cpu/grid.h"

void lg_cpu_kv_write(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_kv_write_push *push = args->push;
    const struct lg_row *rows = args->view[0];
    const uint32_t *pages = args->view[1];
    for (uint32_t g = first; g < last; g++) {
        struct lg_cpu_span s = lg_cpu_span(args, g, args->spec[0], push->n_cols);
        uint32_t pos = rows[s.row].pos;
        uint32_t page = pages[(size_t)rows[s.row].slot * push->max_pages + pos / push->page_size];
        size_t cell = (size_t)page * push->page_size + pos % push->page_size;
        size_t from = (size_t)s.row * push->n_cols + s.begin, to = cell * push->n_cols + s.begin;
        size_t size = (s.end - s.begin) * sizeof(float);
        memcpy((float *)args->view[4] + to, (const float *)args->view[2] + from, size);
        memcpy((float *)args->view[5] + to, (const float *)args->view[3] + from, size);
    }
}
