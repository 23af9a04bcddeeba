/* SPDX-License-Identifier: MIT */
#include "graph/train_tuning.h"

#include "util/checked.h"

enum { FEW = 32 }; // rows or columns of a gradient

/** On the CPU a workgroup is what a thread takes at a time; see tuning.c. Weights are decoded for each tile of rows anew, and
 * tiles are to be enough for all threads. */
static struct lg_train_tuning cpu_tuning(const struct lg_device_info *info)
{
    return (struct lg_train_tuning){
        .back = {.wg = 1, .m = 256, .n = info->n_threads <= 4 ? 256 : 64},
        .weight = {.wg = 1, .m = 48, .n = 256},
        .weight_few_rows = {.wg = 1, .m = 48, .n = 64},
        .weight_few_cols = {.wg = 1, .m = 96, .n = 64},
        .attention_wg = 1,
        .attention_rows = 24,
        .attention_heads = 1,
        .optimizer_wg = 1,
        .optimizer_per_group = 1 << 14,
    };
}

/** A driver that runs on a CPU: the lanes of a subgroup own the rows of a tile; see outer.glsl. */
static void lanes_tuning(const struct lg_device_info *info, struct lg_train_tuning *t)
{
    uint32_t wg = info->subgroup_size;
    t->back = (struct lg_matmul_tile){.wg = wg, .m = 32, .n = 2 * wg};
    t->weight = t->weight_few_cols = (struct lg_matmul_tile){.wg = wg, .m = 4 * wg, .n = 32};
    t->weight_few_rows = (struct lg_matmul_tile){.wg = wg, .m = wg, .n = 32};
}

struct lg_train_tuning lg_train_tuning_choose(const struct lg_device_info *info)
{
    if (info->kind == LG_DEVICE_CPU)
        return cpu_tuning(info);
    bool tiles = info->max_workgroup >= 128 && info->shared_memory >= 32768;
    struct lg_train_tuning t = {
        .back = {.wg = 64, .m = 64, .n = 64},
        .weight = {.wg = 64, .m = 64, .n = 64},
        .weight_few_rows = {.wg = 64, .m = 16, .n = 64},
        .weight_few_cols = {.wg = 64, .m = 64, .n = 16},
        .attention_wg = tiles ? 128 : 64,
        .attention_rows = tiles ? 16 : 1,
        .attention_heads = 1,
        .optimizer_wg = info->kind != LG_DEVICE_SOFTWARE && info->max_workgroup >= 128 ? 128 : 64,
        .optimizer_per_group = 1 << 12,
    };
    if (info->kind == LG_DEVICE_SOFTWARE && info->subgroup_size < 32)
        lanes_tuning(info, &t);
    return t;
}

void lg_train_tuning_forward(const struct lg_device_info *info, struct lg_tuning *tune)
{
    if (info->kind != LG_DEVICE_CPU)
        return;
    tune->matmul_form = LG_MATMUL_BLOCKS;
    tune->matmul_tiles[0] = (struct lg_matmul_tile){.wg = 1, .m = 64, .n = cpu_tuning(info).back.n};
}

const struct lg_matmul_tile *lg_train_weight_tile(const struct lg_train_tuning *t, uint32_t n_rows, uint32_t n_cols)
{
    if (n_cols <= FEW)
        return &t->weight_few_cols;
    return n_rows <= FEW ? &t->weight_few_rows : &t->weight;
}
