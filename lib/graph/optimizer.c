/* SPDX-License-Identifier: MIT
 *
 * What becomes of the gradients: their norm, and a step of the optimizer over all that is trained, as one row of numbers. It is
 * cut only where a device binds no more at once.
 */
#include "graph/back_ops.h"
#include "util/checked.h"

#define PUSH(p) .push = &(p), .push_size = sizeof(p)

/** Numbers that one view may span: whole workgroups. */
static uint64_t part_of(const struct lg_train_graph *t)
{
    uint32_t per_group = t->tune.optimizer_per_group;
    uint64_t most = lg_min_u64(t->g.chain->dev->info.max_view_size / sizeof(float), UINT32_MAX / 2);
    return lg_max_u64(most / per_group, 1) * per_group;
}

uint64_t lg_train_sums(const struct lg_device_info *info, uint64_t n)
{
    uint32_t per_group = lg_train_tuning_choose(info).optimizer_per_group;
    return n / per_group + (n % per_group != 0);
}

uint64_t lg_train_moment_bytes(enum lg_optimizer optimizer, uint32_t which, uint64_t n)
{
    uint64_t blocks = n / LG_ADAM8_BLOCK + (n % LG_ADAM8_BLOCK != 0);
    switch (optimizer) {
    case LG_OPTIMIZER_ADAMW: return n * sizeof(float);
    case LG_OPTIMIZER_ADAMW8: return blocks * LG_ADAM8_BLOCK;
    case LG_OPTIMIZER_SGD: return which == 0 ? n * sizeof(float) : 0;
    default: return 0;
    }
}

uint64_t lg_train_factor_bytes(enum lg_optimizer optimizer, uint64_t n)
{
    uint64_t blocks = n / LG_ADAM8_BLOCK + (n % LG_ADAM8_BLOCK != 0);
    return optimizer == LG_OPTIMIZER_ADAMW8 ? blocks * 2 * sizeof(float) : 0;
}

/** Numbers [first, first + n) of a buffer with `bytes` for `per` of them. */
static struct lg_view part(struct lg_buffer *buf, uint64_t first, uint64_t n, uint32_t bytes, uint32_t per)
{
    uint64_t size = (n + per - 1) / per * bytes, offset = first / per * bytes;
    return (struct lg_view){.buf = buf, .offset = offset, .size = lg_min_u64(size, buf->size - offset)};
}

static struct lg_grid_rule groups(const struct lg_train_graph *t, uint32_t n)
{
    return (struct lg_grid_rule){.grid = {lg_div_up(n, t->tune.optimizer_per_group), 1, 1}, .dim = LG_DIM_NONE};
}

static void add_norm(struct lg_train_graph *t, uint64_t step)
{
    const struct lg_train_state *s = &t->state;
    for (uint64_t first = 0; first < s->n; first += step) {
        uint32_t n = (uint32_t)lg_min_u64(step, s->n - first);
        uint32_t per_group = t->tune.optimizer_per_group;
        struct lg_sum_squares_push push = {.n = n, .per_group = per_group, .first = (uint32_t)(first / per_group)};
        lg_graph_add(&t->g, &(struct lg_chain_op){
                                .kernel = LG_K_SUM_SQUARES,
                                .views = {part(s->grads, first, n, sizeof(float), 1), t->acts.sums},
                                .spec = {t->g.tune.row_wg},
                                .grid = groups(t, n),
                                PUSH(push),
                                .label = "sum_squares",
                            });
    }
    struct lg_grad_norm_push push = {.n = (uint32_t)lg_train_sums(&t->g.chain->dev->info, s->n)};
    lg_graph_add(&t->g, &(struct lg_chain_op){
                            .kernel = LG_K_GRAD_NORM,
                            .views = {lg_view_all(t->step), t->acts.sums, lg_view_all(t->norm)},
                            .spec = {t->g.tune.row_wg},
                            .grid = {.grid = {1, 1, 1}, .dim = LG_DIM_NONE},
                            PUSH(push),
                            .label = "grad_norm",
                        });
}

static const enum lg_kernel kernels[LG_N_OPTIMIZERS] = {
    [LG_OPTIMIZER_ADAMW] = LG_K_ADAMW,
    [LG_OPTIMIZER_SGD] = LG_K_SGD,
    [LG_OPTIMIZER_ADAMW8] = LG_K_ADAMW8,
};

/** The step of numbers [first, first + n). */
static void add_step(struct lg_train_graph *t, uint64_t first, uint32_t n)
{
    const struct lg_train_state *s = &t->state;
    bool bytes = s->optimizer == LG_OPTIMIZER_ADAMW8;
    struct lg_adamw_push adamw = {
        .n = n,
        .per_group = t->tune.optimizer_per_group,
        .beta1 = s->beta1,
        .beta2 = s->beta2,
        .eps = s->eps,
        .weight_decay = s->weight_decay,
    };
    struct lg_sgd_push sgd = {
        .n = n, .per_group = t->tune.optimizer_per_group, .momentum = s->momentum, .weight_decay = s->weight_decay};
    struct lg_chain_op op = {
        .kernel = kernels[s->optimizer],
        .views = {lg_view_all(t->step), lg_view_all(t->norm), part(s->grads, first, n, sizeof(float), 1),
                  part(s->params, first, n, sizeof(float), 1), part(s->m, first, n, sizeof(float), 1)},
        .spec = {t->tune.optimizer_wg},
        .grid = groups(t, n),
        .push = &adamw,
        .push_size = sizeof(adamw),
        .label = "optimizer",
    };
    if (s->optimizer == LG_OPTIMIZER_SGD) {
        op.push = &sgd;
        op.push_size = sizeof(sgd);
    } else {
        op.views[5] = part(s->v, first, n, sizeof(float), 1);
    }
    if (bytes) {
        op.views[4] = part(s->m, first, n, LG_ADAM8_BLOCK, LG_ADAM8_BLOCK);
        op.views[5] = part(s->v, first, n, LG_ADAM8_BLOCK, LG_ADAM8_BLOCK);
        op.views[6] = part(s->factors, first, n, 2 * sizeof(float), LG_ADAM8_BLOCK);
    }
    lg_graph_add(&t->g, &op);
}

void lg_train_optimize(struct lg_train_graph *t)
{
    uint64_t step = part_of(t);
    lg_chain_mark(t->g.chain);
    t->norm_slice = t->g.chain->n_marks;
    add_norm(t, step);
    lg_chain_mark(t->g.chain);
    t->step_slice = t->g.chain->n_marks;
    for (uint64_t first = 0; first < t->state.n; first += step)
        add_step(t, first, (uint32_t)lg_min_u64(step, t->state.n - first));
}
