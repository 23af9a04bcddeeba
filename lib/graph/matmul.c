/* SPDX-License-Identifier: MIT */
#include "graph/matmul.h"

#include <string.h>

#include "util/checked.h"

/** The kernels by weight type; the loader refuses types that are not there. */
#define MATMUL(lower, UPPER) [LG_TYPE_##UPPER] = LG_K_MATMUL_##UPPER,
#define MATMUL_I8(lower, UPPER) [LG_TYPE_##UPPER] = LG_K_MATMUL_I8_##UPPER,
#define MATMUL_HALF(lower, UPPER) [LG_TYPE_##UPPER] = LG_K_MATMUL_HALF_##UPPER,
#define MATMUL_COOP(lower, UPPER) [LG_TYPE_##UPPER] = LG_K_MATMUL_COOP_##UPPER,
static const enum lg_kernel float_kernels[] = {LG_WEIGHT_TYPES(MATMUL)};
static const enum lg_kernel i8_kernels[] = {LG_BLOCK_TYPES(MATMUL_I8)};
static const enum lg_kernel half_kernels[] = {LG_HALF_TYPES(MATMUL_HALF)};
static const enum lg_kernel coop_kernels[] = {LG_HALF_TYPES(MATMUL_COOP)};
static const enum lg_kernel *const kernels[] = {
    [LG_PRODUCT_FLOAT32] = float_kernels,
    [LG_PRODUCT_INT8] = i8_kernels,
    [LG_PRODUCT_HALF] = half_kernels,
    [LG_PRODUCT_COOP] = coop_kernels,
};

enum lg_product lg_product_of(const struct lg_graph *g, enum lg_type type)
{
    const struct lg_tuning *t = &g->tune;
    bool blocks = lg_type_info(type)->block_elements > 1;
    enum lg_product how = g->phase == LG_DECODE ? t->decode : blocks ? t->prefill : t->prefill_plain;
    if (type == LG_TYPE_F32 || (g->phase == LG_DECODE && !blocks))
        return LG_PRODUCT_FLOAT32;
    return (how == LG_PRODUCT_INT8 ? g->int8 : g->half) ? how : LG_PRODUCT_FLOAT32;
}

/** The tiles of a kind of product. */
static const struct lg_matmul_tile *tiles_of(const struct lg_tuning *t, enum lg_product how)
{
    if (how == LG_PRODUCT_COOP)
        return t->coop_tiles;
    return how != LG_PRODUCT_FLOAT32 && t->packed_tiles[0].wg ? t->packed_tiles : t->matmul_tiles;
}

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

static void set_spec(const struct lg_graph *g, enum lg_product how, enum lg_matmul_form form,
                     const struct lg_matmul_tile *tile, uint32_t spec[LG_MAX_SPEC])
{
    const struct lg_device_info *info = &g->chain->dev->info;
    const uint32_t common[] = {tile->wg, tile->m, tile->n, form};
    const uint32_t coop[] = {tile->sub_m, tile->sub_n, info->coop_m, info->coop_n, info->coop_k};
    memcpy(spec, common, sizeof(common));
    if (how == LG_PRODUCT_COOP)
        memcpy(spec + 3, coop, sizeof(coop));
}

/** Plain numbers, and all rows of w, x and y begin at 16 bytes. */
static bool is_plain(enum lg_type type, const struct lg_matmul_push *push)
{
    return lg_type_info(type)->block_elements == 1 && push->row_bytes % 16 == 0 &&
           (push->n_rows | push->row_begin | push->y_stride) % 4 == 0;
}

void lg_matmul_add(struct lg_graph *g, enum lg_product how, struct lg_view x, enum lg_type type, struct lg_view w,
                   struct lg_view y, const struct lg_matmul_push *push)
{
    bool plain = how == LG_PRODUCT_FLOAT32 && g->tune.plain_tiles[0].wg && is_plain(type, push);
    const struct lg_matmul_tile *tiles = plain ? g->tune.plain_tiles : tiles_of(&g->tune, how);
    uint32_t above = 0;
    for (uint32_t i = 0; i == 0 || above; above = tiles[i++].up_to) {
        struct lg_chain_op op = {
            .kernel = kernels[how][type],
            .views = {lg_view_all(g->batch->dims), w, x, y},
            .grid = tile_grid(g, &tiles[i], above, push->n_rows),
            .push = push,
            .push_size = sizeof(*push),
            .label = "matmul",
            .otherwise = i > 0,
        };
        set_spec(g, how, plain ? LG_MATMUL_PLAIN : g->tune.matmul_form, &tiles[i], op.spec);
        lg_graph_add(g, &op);
    }
}

static uint32_t least_of(const struct lg_matmul_tile *tiles)
{
    uint32_t least = tiles[0].m;
    for (uint32_t i = 0; tiles[i].up_to; i++)
        least = lg_min_u32(least, tiles[i + 1].m);
    return least;
}

uint32_t lg_matmul_least_m(const struct lg_tuning *t)
{
    uint32_t least = least_of(t->matmul_tiles);
    least = t->plain_tiles[0].wg ? lg_min_u32(least, least_of(t->plain_tiles)) : least;
    if (t->packed_tiles[0].wg)
        least = lg_min_u32(least, least_of(t->packed_tiles));
    return t->coop_tiles[0].wg ? lg_min_u32(least, least_of(t->coop_tiles)) : least;
}
