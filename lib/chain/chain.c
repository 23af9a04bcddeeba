/* SPDX-License-Identifier: MIT */
#include "chain/chain.h"

#include <string.h>

void lg_chain_init(struct lg_chain *chain, struct lg_env *env, struct lg_device *dev, struct lg_buffer *dims)
{
    *chain = (struct lg_chain){.env = env, .dev = dev, .dims = dims};
    // ops[0] is the plan; it is filled in once the number of ops is known.
    lg_chain_add(chain, &(struct lg_chain_op){.kernel = LG_K_PLAN, .grid.dim = LG_DIM_NONE, .label = "plan"});
}

void lg_chain_finish(struct lg_chain *chain)
{
    lg_program_destroy(chain->program);
    lg_buffer_destroy(chain->rules_buf);
    lg_buffer_destroy(chain->grids_buf);
    if (chain->env) {
        lg_free(chain->env, chain->ops);
        lg_free(chain->env, chain->rules);
        lg_free(chain->env, chain->labels);
        lg_free(chain->env, chain->marks);
    }
    memset(chain, 0, sizeof(*chain));
}

static int grow_ops(struct lg_chain *chain)
{
    if (chain->n_ops < chain->cap_ops)
        return 0;
    uint32_t cap = chain->cap_ops ? 2 * chain->cap_ops : 64;
    struct lg_dispatch *ops = lg_resize(chain->env, chain->ops, cap * sizeof(*ops));
    if (ops)
        chain->ops = ops;
    struct lg_grid_rule *rules = lg_resize(chain->env, chain->rules, cap * sizeof(*rules));
    if (rules)
        chain->rules = rules;
    const char **labels = lg_resize(chain->env, chain->labels, cap * sizeof(*labels));
    if (labels)
        chain->labels = labels;
    if (!ops || !rules || !labels)
        return lg_fail_nomem(chain->env, "a chain's dispatches", cap * sizeof(*ops));
    chain->cap_ops = cap;
    return 0;
}

static int add_op(struct lg_chain *chain, const struct lg_chain_op *op)
{
    if (op->push_size > LG_MAX_PUSH || op->push_size % 4)
        return lg_fail(chain->env, LLMGPU_E_INTERNAL, "dispatch '%s': %u bytes of push constants", op->label,
                       op->push_size);
    LG_TRY(grow_ops(chain));
    struct lg_dispatch *d = &chain->ops[chain->n_ops];
    *d = (struct lg_dispatch){.kernel = op->kernel, .push_size = (uint8_t)op->push_size};
    memcpy(d->views, op->views, sizeof(d->views));
    memcpy(d->spec, op->spec, sizeof(d->spec));
    memcpy(d->grid, op->grid.grid, sizeof(d->grid));
    if (op->push_size)
        memcpy(d->push, op->push, op->push_size);
    if (op->otherwise) {
        struct lg_dispatch *before = d - 1;
        before->choice = d->choice = before->choice ? before->choice : chain->n_ops;
    }
    chain->rules[chain->n_ops] = op->grid;
    chain->labels[chain->n_ops] = op->label;
    chain->n_ops++;
    return 0;
}

void lg_chain_add(struct lg_chain *chain, const struct lg_chain_op *op)
{
    if (chain->status == 0)
        chain->status = add_op(chain, op);
}

void lg_chain_mark(struct lg_chain *chain)
{
    if (chain->status < 0 || (chain->n_marks && chain->marks[chain->n_marks - 1] == chain->n_ops))
        return;
    if (chain->n_marks == chain->cap_marks) {
        uint32_t cap = chain->cap_marks ? 2 * chain->cap_marks : 32;
        uint32_t *marks = lg_resize(chain->env, chain->marks, cap * sizeof(*marks));
        if (!marks) {
            chain->status = lg_fail_nomem(chain->env, "a chain's marks", cap * sizeof(*marks));
            return;
        }
        chain->marks = marks;
        chain->cap_marks = cap;
    }
    chain->marks[chain->n_marks++] = chain->n_ops;
}

/** The table that `plan` fills holds four uint32 for each op: x, y, z and one unused. */
static int add_plan(struct lg_chain *chain)
{
    uint64_t rules_size = chain->n_ops * sizeof(*chain->rules), grids_size = chain->n_ops * 16u;
    LG_TRY(lg_buffer_create(chain->dev, rules_size, LG_MEM_DEVICE, &chain->rules_buf));
    LG_TRY(lg_buffer_create(chain->dev, grids_size, LG_MEM_DEVICE, &chain->grids_buf));
    LG_TRY(lg_upload(chain->dev, lg_view_all(chain->rules_buf), chain->rules));

    struct lg_plan_push push = {.n_rules = chain->n_ops};
    struct lg_dispatch *plan = &chain->ops[0];
    plan->views[0] = lg_view_all(chain->dims);
    plan->views[1] = lg_view_all(chain->rules_buf);
    plan->views[2] = lg_view_all(chain->grids_buf);
    plan->spec[0] = chain->dev->info.kind == LG_DEVICE_CPU ? 1 : 64;
    plan->grid[0] = plan->grid[1] = plan->grid[2] = 1;
    memcpy(plan->push, &push, sizeof(push));
    plan->push_size = sizeof(push);
    for (uint32_t i = 1; i < chain->n_ops; i++)
        if (chain->rules[i].dim != LG_DIM_NONE)
            chain->ops[i].indirect = (struct lg_view){.buf = chain->grids_buf, .offset = i * 16u, .size = 12};
    return 0;
}

int lg_chain_record(struct lg_chain *chain, const uint32_t *cuts, uint32_t n_cuts, bool timestamps,
                    struct lg_program **out)
{
    struct lg_program_desc desc = {
        .ops = chain->ops,
        .n_ops = chain->n_ops,
        .cuts = cuts,
        .n_cuts = n_cuts,
        .timestamps = timestamps,
    };
    return lg_program_create(chain->dev, &desc, out);
}

/** Validation layers do not know which grids are empty, so under them alternatives are in an order, as all else is. */
static void drop_choices(struct lg_chain *chain)
{
    for (uint32_t i = 0; i < chain->n_ops; i++)
        chain->ops[i].choice = 0;
}

bool lg_chain_runs(const struct lg_chain *chain, uint32_t i, const uint32_t dims[LG_N_DIMS])
{
    const struct lg_grid_rule *rule = &chain->rules[i];
    if (rule->dim == LG_DIM_NONE)
        return true;
    uint32_t n = dims[rule->dim];
    return n > rule->above && (rule->up_to == 0 || n <= rule->up_to);
}

int lg_chain_compile(struct lg_chain *chain, bool timestamps)
{
    LG_TRY(chain->status);
    chain->timestamps = timestamps;
    LG_TRY(add_plan(chain));
    if (chain->dev->check)
        drop_choices(chain);
    LG_TRY(lg_hazards_derive(chain->env, chain->ops, chain->n_ops));
    if (chain->dev->check)
        LG_TRY(lg_hazards_verify(chain->env, chain->ops, chain->n_ops));
    return lg_chain_record(chain, chain->marks, chain->n_marks, timestamps, &chain->program);
}
