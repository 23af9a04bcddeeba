/* SPDX-License-Identifier: MIT
 * The rows of the next pass, of what was sampled. */
#include "device/cpu/kernel.h"

void lg_cpu_next_rows(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_sampler *samplers = args->view[0];
    const uint32_t *tokens = args->view[1];
    uint32_t *out_ids = args->view[2], *dims = args->view[4], n = 0;
    struct lg_row *rows = args->view[3];
    if (first == last)
        return;
    for (uint32_t o = 0; o < dims[LG_DIM_SAMPLE]; o++) {
        struct lg_row row = rows[out_ids[o]];
        if (samplers[row.slot].ended)
            continue;
        rows[n] = (struct lg_row){.token = tokens[o], .pos = row.pos + 1, .slot = row.slot};
        out_ids[n] = n;
        n++;
    }
    dims[LG_DIM_ROWS] = dims[LG_DIM_OUT] = dims[LG_DIM_SAMPLE] = n;
    dims[LG_DIM_SCORE] = dims[LG_DIM_TOP] = 0;
}
