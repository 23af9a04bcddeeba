/* SPDX-License-Identifier: MIT
 * Which of the attention kernels a pass uses, and in which pieces. */
#include <math.h>

#include "graph/matmul.h"
#include "graph/ops.h"
#include "util/checked.h"

enum {
    TILE_WG = 128,
    TILE_MAX_DIM = 128, // of what attention_tile takes on a GPU
    SPLIT_WG = 128,
    SPLIT_MAX_HEADS = 8, // of a workgroup; more would not fit into registers
    MAX_SPLITS = 32,
};

static bool on_cpu(const struct lg_graph *g)
{
    return g->chain->dev->info.kind == LG_DEVICE_CPU;
}

/** How many of the heads that share keys a workgroup takes where it may take so many. */
static uint32_t heads_of_group(const struct lg_hparams *hp, uint32_t most)
{
    uint32_t sharing = hp->n_heads / hp->n_kv;
    return lg_div_up(sharing, lg_div_up(sharing, most));
}

static uint32_t groups_of(const struct lg_hparams *hp, uint32_t heads)
{
    return hp->n_kv * lg_div_up(hp->n_heads / hp->n_kv, heads);
}

/** Enough parts that a row alone gives the device work. The model says how many, so that a row's arithmetic
 * does not depend on anything else. */
static uint32_t splits_of(const struct lg_tuning *tune, const struct lg_hparams *hp)
{
    uint32_t groups = groups_of(hp, heads_of_group(hp, SPLIT_MAX_HEADS));
    return lg_max_u32(1, lg_min_u32(tune->attention_parts / groups, MAX_SPLITS));
}

uint64_t lg_attention_parts(const struct lg_tuning *tune, const struct lg_hparams *hp, enum lg_phase phase)
{
    if (phase != LG_DECODE || tune->attention_parts == 0 || hp->head_dim % 4 != 0 ||
        hp->head_dim > 4 * SPLIT_WG)
        return 0;
    return (uint64_t)hp->n_heads * splits_of(tune, hp) * (hp->head_dim + 4);
}

/** Each head of each row on its own, or on the CPU with those that share its keys as far as there is work for
 * all threads. */
static void add_plain(struct lg_graph *g, struct lg_chain_op *op)
{
    const struct lg_hparams *hp = &g->model->hp;
    const struct lg_tuning *tune = &g->tune;
    uint32_t heads = 1, sharing = hp->n_heads / hp->n_kv;
    if (on_cpu(g))
        heads = lg_div_up(sharing, lg_min_u32(sharing, lg_div_up(tune->attention_groups, hp->n_kv)));
    op->kernel = LG_K_ATTENTION;
    op->spec[0] = tune->attention_wg;
    op->spec[1] = lg_div_up(hp->head_dim, g->chain->dev->info.subgroup_size);
    op->spec[2] = tune->attention_by_lane && hp->head_dim % 4 == 0 ? hp->head_dim / 4 : 0;
    op->spec[3] = heads;
    op->grid =
        (struct lg_grid_rule){.grid = {groups_of(hp, heads), 0, 1}, .dim = g->dim, .axis = 1, .per_group = 1};
    lg_graph_add(g, op);
}

static void add_tile(struct lg_graph *g, struct lg_chain_op *op)
{
    const struct lg_hparams *hp = &g->model->hp;
    uint32_t heads = heads_of_group(hp, g->tune.attention_rows), rows = g->tune.attention_rows / heads;
    op->kernel = LG_K_ATTENTION_TILE;
    for (int i = 6; i > 0; i--)
        op->views[i] = op->views[i - 1];
    op->views[0] = lg_view_all(g->batch->dims);
    op->spec[0] = TILE_WG;
    op->spec[1] = hp->head_dim / 4;
    op->spec[2] = rows;
    op->spec[3] = heads;
    op->grid = (struct lg_grid_rule){
        .grid = {groups_of(hp, heads), 0, 1}, .dim = g->dim, .axis = 1, .per_group = rows};
    lg_graph_add(g, op);
}

static void add_split(struct lg_graph *g, struct lg_chain_op *op)
{
    const struct lg_hparams *hp = &g->model->hp;
    uint32_t heads = heads_of_group(hp, SPLIT_MAX_HEADS), splits = splits_of(&g->tune, hp);
    op->kernel = LG_K_ATTENTION_SPLIT;
    op->views[6] = g->acts.parts;
    op->views[7] = g->acts.done;
    op->spec[0] = SPLIT_WG;
    op->spec[1] = hp->head_dim / 4;
    op->spec[2] = splits;
    op->spec[3] = heads;
    op->grid = (struct lg_grid_rule){
        .grid = {groups_of(hp, heads), splits, 0}, .dim = g->dim, .axis = 2, .per_group = 1};
    lg_graph_add(g, op);
}

void lg_op_attention(struct lg_graph *g, uint32_t layer, struct lg_view q, struct lg_view y)
{
    const struct lg_hparams *hp = &g->model->hp;
    const struct lg_batch *b = g->batch;
    struct lg_attention_push push = {
        .n_heads = hp->n_heads,
        .n_kv = hp->n_kv,
        .head_dim = hp->head_dim,
        .page_size = b->page_size,
        .max_pages = b->max_pages,
        .scale = 1.0f / sqrtf((float)hp->head_dim),
        .dim = g->dim,
    };
    struct lg_chain_op op = {
        .views = {lg_view_all(b->rows), lg_view_all(b->pages), q, lg_view_all(b->k_cache[layer]),
                  lg_view_all(b->v_cache[layer]), y},
        .spec = {[4] = b->kv_type},
        .push = &push,
        .push_size = sizeof(push),
        .label = "attention",
    };
    bool fits = on_cpu(g) || (hp->head_dim % 4 == 0 && hp->head_dim <= TILE_MAX_DIM);
    if (g->phase == LG_PREFILL && g->tune.attention_rows > 0 && fits)
        add_tile(g, &op);
    else if (lg_attention_parts(&g->tune, hp, g->phase) > 0)
        add_split(g, &op);
    else
        add_plain(g, &op);
}
