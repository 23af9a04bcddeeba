/* SPDX-License-Identifier: MIT
 * Grids of the indirect dispatches of a pass, from its sizes. */
#include <string.h>

#include "device/cpu/grid.h"

void lg_cpu_plan(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_plan_push *push = args->push;
    const uint32_t *dims = args->view[0];
    const struct lg_grid_rule *rules = args->view[1];
    uint32_t(*grids)[4] = args->view[2];
    if (first == last)
        return;
    for (uint32_t i = 0; i < push->n_rules; i++) {
        memcpy(grids[i], rules[i].grid, sizeof(rules[i].grid));
        if (rules[i].dim == LG_DIM_NONE)
            continue;
        uint32_t n = dims[rules[i].dim];
        bool runs = n > rules[i].above && (rules[i].up_to == 0 || n <= rules[i].up_to);
        grids[i][rules[i].axis] = runs ? lg_div_up(n, rules[i].per_group) : 0;
    }
}
