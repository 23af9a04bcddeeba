/* SPDX-License-Identifier: MIT */
#include "chain/chain.h"

uint32_t lg_slices_choose(const uint64_t *ns, uint32_t n_ops, uint64_t budget_ns, uint32_t *cuts)
{
    uint32_t n_cuts = 0;
    uint64_t cost = 0;
    for (uint32_t i = 0; i < n_ops; i++) {
        if (cost && cost + ns[i] > budget_ns) {
            cuts[n_cuts++] = i;
            cost = 0;
        }
        cost += ns[i];
    }
    return n_cuts;
}
