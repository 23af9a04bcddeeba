/* SPDX-License-Identifier: MIT
 *
 * What adapters add, to matrices that share x in one dispatch.
 */
#include "graph/ops.h"

#include <string.h>

#include "util/checked.h"

#define PUSH(p) .push = &(p), .push_size = sizeof(p)

/** What the two halves share: four views, and push constants but for the matrices. */
static struct lg_chain_op half_op(const struct lg_graph *g, const struct lg_weight *const *w, uint32_t n,
                                  struct lg_lora_push *push)
{
    const struct lg_adapters *a = g->adapters;
    uint32_t layer = (w[0]->target - 1) / LG_N_TARGETS;
    *push = (struct lg_lora_push){
        .n = n,
        .n_cols = w[0]->cols,
        .n_targets = g->model->hp.n_layers * LG_N_TARGETS,
        .t_stride = a->max_rank,
    };
    for (uint32_t m = 0; m < n; m++) {
        push->n_rows[m] = w[m]->rows;
        push->target[m] = w[m]->target - 1;
    }
    struct lg_view weights = {.buf = a->weights, .offset = layer * a->layer_bytes, .size = a->layer_bytes};
    return (struct lg_chain_op){
        .views = {lg_view_all(g->batch->rows), lg_view_all(g->batch->loras), lg_view_all(a->pairs), weights},
        PUSH(*push),
        .grid = {.grid = {0, 0, 1}, .dim = g->dim, .axis = 1, .per_group = 1},
    };
}

/** Which of two it is changes with each step, so that the next one need not wait for it. */
static struct lg_view small(const struct lg_graph *g)
{
    return g->acts.lora[g->n_adapted % 2];
}

void lg_op_lora_down(struct lg_graph *g, struct lg_view x, const struct lg_weight *const *w, uint32_t n)
{
    const struct lg_tuning *tune = &g->tune;
    struct lg_lora_push push;
    if (!g->adapters)
        return;
    struct lg_chain_op op = half_op(g, w, n, &push);
    op.kernel = LG_K_LORA_DOWN;
    op.views[4] = x;
    op.views[5] = small(g);
    op.spec[0] = tune->lora_wg;
    op.spec[1] = tune->lora_ranks;
    op.grid.grid[0] = n * lg_div_up(push.t_stride, tune->lora_ranks_per_wg);
    op.label = "lora_down";
    lg_graph_add(g, &op);
}

/** One view over n; false when they do not lie in one, or too far from each other. */
static bool span(const struct lg_graph *g, const struct lg_view *y, uint32_t n, struct lg_view *out)
{
    uint64_t begin = y[0].offset, end = begin;
    for (uint32_t m = 0; m < n; m++) {
        if (y[m].buf != y[0].buf)
            return false;
        begin = y[m].offset < begin ? y[m].offset : begin;
        end = y[m].offset + y[m].size > end ? y[m].offset + y[m].size : end;
    }
    *out = (struct lg_view){.buf = y[0].buf, .offset = begin, .size = end - begin};
    return out->size <= g->chain->dev->info.max_view_size && out->size / sizeof(float) <= UINT32_MAX;
}

/** Matrices [first, end); `bias` may be NULL. */
static void add_up(struct lg_graph *g, const struct lg_weight *const *w, const struct lg_weight *const *bias,
                   uint32_t first, uint32_t end, const struct lg_view *y, struct lg_view all, uint32_t flags)
{
    struct lg_lora_push push;
    struct lg_chain_op op = half_op(g, w, end, &push);
    op.kernel = LG_K_LORA_UP;
    op.views[4] = small(g);
    op.views[8] = all;
    op.spec[0] = g->tune.flat_wg;
    op.label = "lora_up";
    push.first = first;
    push.n = end - first;
    push.flags = flags;
    for (uint32_t m = 0; m < LG_LORA_MATRICES; m++) {
        bool has_bias = bias && m < end && bias[m]->view.buf;
        op.views[5 + m] = has_bias ? bias[m]->view : op.views[3]; // one that is not read has to be something
        push.flags |= has_bias ? LG_LORA_BIAS(m) : 0;
    }
    for (uint32_t m = first; m < end; m++) {
        push.y_at[m] = (uint32_t)((y[m].offset - all.offset) / sizeof(float));
        op.grid.grid[0] += lg_div_up(lg_div_up(w[m]->rows, 4), g->tune.flat_wg);
    }
    lg_graph_add(g, &op);
}

static void add_ups(struct lg_graph *g, const struct lg_weight *const *w, const struct lg_weight *const *bias,
                    uint32_t n, const struct lg_view *y, uint32_t flags)
{
    struct lg_view all;
    for (uint32_t first = 0, end; first < n; first = end) {
        for (end = n; !span(g, y + first, end - first, &all); end--)
            ;
        add_up(g, w, bias, first, end, y, all, flags);
    }
    g->n_adapted++;
}

void lg_op_lora_up(struct lg_graph *g, const struct lg_weight *const *w, uint32_t n, const struct lg_view *y)
{
    if (g->adapters)
        add_ups(g, w, NULL, n, y, 0);
}

void lg_op_lora_whole(struct lg_graph *g, const struct lg_weight *const *w,
                      const struct lg_weight *const *bias, uint32_t n)
{
    if (g->adapters)
        add_ups(g, w, bias, n, g->acts.add, LG_LORA_WHOLE);
}
