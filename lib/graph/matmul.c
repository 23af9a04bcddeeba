/* SPDX-License-Identifier: MIT */
#include "graph/matmul.h"

#include "util/checked.h"

/** The kernels by weight type; the loader refuses types that are not there. */
#define MATMUL(lower, UPPER) [LG_TYPE_##UPPER] = LG_K_MATMUL_##UPPER,
static const enum lg_kernel kernels[] = {LG_WEIGHT_TYPES(MATMUL)};

/** {m, T, 1} workgroups while T is of the tile's range. */
static struct lg_grid_rule tile_grid(const struct lg_graph *g, const struct lg_matmul_tile *tile, uint32_t above,
                                     uint32_t n_rows)
{
    return (struct lg_grid_rule){
        .grid = {lg_div_up(n_rows, tile->m), 0, 1},
        .dim = g->dim,
        .axis = 1,
        .per_group = tile->n,
        .above = above,
        .up_to = tile->up_to,
    };
}

void lg_matmul_add(struct lg_graph *g, struct lg_view x, enum lg_type type, struct lg_view w, struct lg_view y,
                   const struct lg_matmul_push *push)
{
    const struct lg_tuning *t = &g->tune;
    uint32_t above = 0;
    for (uint32_t i = 0; i == 0 || above; above = t->matmul_tiles[i++].up_to) {
        const struct lg_matmul_tile *tile = &t->matmul_tiles[i];
        struct lg_chain_op op = {
            .kernel = kernels[type],
            .views = {lg_view_all(g->batch->dims), w, x, y},
            .spec = {tile->wg, tile->m, tile->n, t->matmul_form},
            .grid = tile_grid(g, tile, above, push->n_rows),
            .push = push,
            .push_size = sizeof(*push),
            .label = "matmul",
            .otherwise = i > 0,
        };
        lg_chain_add(g->chain, &op);
    }
}

uint32_t lg_matmul_least_m(const struct lg_tuning *t)
{
    uint32_t least = t->matmul_tiles[0].m;
    for (uint32_t i = 0; t->matmul_tiles[i].up_to; i++)
        least = lg_min_u32(least, t->matmul_tiles[i + 1].m);
    return least;
}
