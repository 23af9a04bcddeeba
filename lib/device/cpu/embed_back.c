/* SPDX-License-Identifier: MIT
 * The gradient of an embedding: `order` has the rows by ascending id, and rows of an id in their order, so that the first of
 * them finds the others behind it and the sum is always the same. */
#include "device/cpu/grid.h"

void lg_cpu_embed_back(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_embed_back_push *push = args->push;
    uint32_t n_t = ((const uint32_t *)args->view[0])[push->dim];
    const uint32_t *order = args->view[1], *ids = (const uint32_t *)args->view[2] + push->id_offset;
    const float *dx = args->view[3];
    for (uint32_t g = first; g < last; g++) {
        struct lg_cpu_span s = lg_cpu_span(args, g, args->spec[0], push->n_cols);
        uint32_t id = ids[(size_t)order[s.row] * push->id_stride];
        bool begun = s.row > 0 && ids[(size_t)order[s.row - 1] * push->id_stride] == id;
        if (begun || id < push->row_begin || id >= push->row_end)
            continue;
        float *de = (float *)args->view[4] + (size_t)(id - push->row_begin) * push->n_cols;
        for (uint32_t t = s.row; t < n_t && ids[(size_t)order[t] * push->id_stride] == id; t++) {
            for (uint32_t i = s.begin; i < s.end; i++)
                de[i] += dx[(size_t)order[t] * push->n_cols + i];
        }
    }
}
