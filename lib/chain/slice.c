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

int lg_chain_slice(struct lg_chain *chain, uint64_t budget_ns)
{
    uint64_t *ns = lg_alloc_array(chain->env, chain->n_ops, sizeof(*ns));
    uint32_t *cuts = lg_alloc_array(chain->env, chain->n_ops, sizeof(*cuts));
    struct lg_program *program = NULL;
    int rc = ns && cuts ? 0 : lg_fail_nomem(chain->env, "slices", chain->n_ops * sizeof(*ns));
    if (rc == 0)
        rc = lg_program_times(chain->program, ns);
    if (rc == 0)
        rc = lg_chain_record(chain, cuts, lg_slices_choose(ns, chain->n_ops, budget_ns, cuts),
                             chain->timestamps, &program);
    lg_free(chain->env, ns);
    lg_free(chain->env, cuts);
    LG_TRY(rc);
    lg_program_destroy(chain->program);
    chain->program = program;
    return 0;
}
