/* SPDX-License-Identifier: MIT */
#include "graph/train_tuning.h"

#include "util/checked.h"

enum {
    FEW = 32, // rows or columns of a gradient
    MIN_TILE_N = 64, // on the CPU
    MAX_TILE_N = 256,
};

/** On the CPU a workgroup is what a thread takes at a time; see tuning.c. */
static struct lg_train_tuning cpu_tuning(void)
{
    return (struct lg_train_tuning){
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
        return cpu_tuning();
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

/** What the threads need for a product, in any unit: as many tiles as the busiest has, and of each what is loaded beside what is
 * multiplied: for each column all of a row, and for each row, which is decoded or laid out, all of a column. */
static uint64_t tile_time(uint32_t n_threads, uint32_t n_cols, uint32_t n_rows, uint32_t m, uint32_t n)
{
    uint64_t tiles = (uint64_t)lg_div_up(n_cols, m) * lg_div_up(n_rows, n);
    uint64_t cols = lg_min_u32(m, n_cols), rows = lg_min_u32(n, n_rows);
    return (tiles + n_threads - 1) / n_threads * (cols * rows + 6 * cols + 4 * rows);
}

/** The tile of m by n, m a multiple of step_m and at most max_m, that takes least. */
static struct lg_matmul_tile balanced(const struct lg_device_info *info, uint32_t n_cols, uint32_t n_rows, uint32_t step_m,
                                      uint32_t max_m)
{
    struct lg_matmul_tile tile = {.wg = 1};
    uint64_t best = UINT64_MAX;
    for (uint32_t n = MAX_TILE_N; n >= MIN_TILE_N; n /= 2) {
        for (uint32_t m = max_m; m >= step_m; m -= step_m) {
            uint64_t time = tile_time(info->n_threads, n_cols, n_rows, m, n);
            if (time >= best)
                continue;
            best = time;
            tile.m = m;
            tile.n = n;
        }
    }
    return tile;
}

bool lg_train_forward_tile(const struct lg_device_info *info, uint32_t n_cols, uint32_t n_rows, struct lg_matmul_tile *out)
{
    if (info->kind != LG_DEVICE_CPU)
        return false;
    *out = balanced(info, n_cols, n_rows, 64, 512);
    return true;
}

struct lg_matmul_tile lg_train_back_tile(const struct lg_device_info *info, const struct lg_train_tuning *t, uint32_t n_cols,
                                         uint32_t n_rows)
{
    return info->kind == LG_DEVICE_CPU ? balanced(info, n_cols, n_rows, 64, 512) : t->back;
}

struct lg_matmul_tile lg_train_weight_tile(const struct lg_device_info *info, const struct lg_train_tuning *t, uint32_t n_rows,
                                           uint32_t n_cols)
{
    if (info->kind == LG_DEVICE_CPU)
        return balanced(info, n_rows, n_cols, 16, 144);
    if (n_cols <= FEW)
        return t->weight_few_cols;
    return n_rows <= FEW ? t->weight_few_rows : t->weight;
}
