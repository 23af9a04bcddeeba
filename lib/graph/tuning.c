/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "graph/graph.h"
#include "util/checked.h"

/** On the CPU a "workgroup" is what one thread takes at a time: large enough to be worth a call. */
static struct lg_tuning cpu_tuning(void)
{
    return (struct lg_tuning){
        .flat_wg = 1024,
        .row_wg = 1,
        .vocab_wg = 1,
        .attention_wg = 1,
        .matvec_wg = 1,
        .matvec_rows = 16,
        .matvec_rows_per_wg = 16,
        .lora_wg = 1,
        .lora_ranks = 4,
        .lora_ranks_per_wg = 4,
        .matmul_tiles = {{.wg = 1, .m = 16, .n = 32}},
    };
}

/** A lane owns 1, 2 or 4 rows of x. */
static void lanes_tuning(const struct lg_device_info *info, struct lg_tuning *t)
{
    uint32_t lanes = info->subgroup_size;
    t->matmul_form = LG_MATMUL_LANES;
    for (uint32_t i = 0; i < 3; i++)
        t->matmul_tiles[i] = (struct lg_matmul_tile){
            .wg = lanes,
            .m = 128,
            .n = lanes << i,
            .up_to = i < 2 ? lanes << i : 0,
        };
}

/** Few rows of x leave a GPU without work unless workgroups are small; many are worth larger tiles. */
static const struct lg_matmul_tile shared_tiles[][LG_MAX_TILES] = {
    {{64, 32, 8, .up_to = 8}, {64, 32, 16, .up_to = 16}, {64, 64, 32, .up_to = 32}, {64, 64, 64}},
    {{64, 32, 8, .up_to = 8}, {64, 64, 32, .up_to = 32}, {256, 128, 64}},
    {{64, 32, 8, .up_to = 8}, {64, 64, 32, .up_to = 32}, {128, 128, 64}},
    {{64, 32, 8, .up_to = 8}, {64, 32, 32, .up_to = 32}, {64, 32, 64}},
};

bool lg_tuning_matmul(const struct lg_device_info *info, uint32_t i, struct lg_tuning *t)
{
    memset(t->matmul_tiles, 0, sizeof(t->matmul_tiles));
    if (info->kind == LG_DEVICE_CPU) {
        *t = cpu_tuning();
        return i == 0;
    }
    if (info->kind == LG_DEVICE_SOFTWARE) {
        lanes_tuning(info, t);
        return i == 0;
    }
    if (i >= sizeof(shared_tiles) / sizeof(shared_tiles[0]))
        return false;
    t->matmul_form = LG_MATMUL_SHARED;
    memcpy(t->matmul_tiles, shared_tiles[i], sizeof(t->matmul_tiles));
    return true;
}

struct lg_tuning lg_tuning_choose(const struct lg_device_info *info)
{
    if (info->kind == LG_DEVICE_CPU)
        return cpu_tuning();
    bool software = info->kind == LG_DEVICE_SOFTWARE;
    struct lg_tuning t = {
        .flat_wg = 64,
        .row_wg = software ? 64 : lg_min_u32(256, info->max_workgroup),
        .vocab_wg = software ? 64 : lg_min_u32(1024, info->max_workgroup),
        .attention_wg = software ? info->subgroup_size : 64,
        .attention_by_lane = software,
        .matvec_wg = software ? info->subgroup_size
                              : lg_min_u32(4, lg_max_u32(1, info->max_workgroup / info->subgroup_size)) *
                                    info->subgroup_size,
        .matvec_rows = software ? 32 : 2,
        .matvec_groups = software ? 4 : 1,
        .lora_ranks = software ? 4 : 1,
    };
    lg_tuning_matmul(info, 0, &t);
    t.matvec_rows_per_wg = t.matvec_wg / info->subgroup_size * t.matvec_rows;
    t.lora_wg = t.matvec_wg;
    t.lora_ranks_per_wg = t.lora_wg / info->subgroup_size * t.lora_ranks;
    return t;
}
