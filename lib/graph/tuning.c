/* SPDX-License-Identifier: MIT */
#include "graph/graph.h"
#include "util/checked.h"

/** On the CPU a "workgroup" is what one thread takes at a time: large enough to be worth a call. */
static struct lg_tuning cpu_tuning(enum lg_int8 int8)
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
        .matmul_wg = 1,
        .matmul_m = 16,
        .matmul_n = 32,
        .int8 = int8,
    };
}

struct lg_tuning lg_tuning_choose(const struct lg_device_info *info)
{
    if (info->kind == LG_DEVICE_CPU)
        return cpu_tuning(info->int8);
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
        .matmul_wg = software ? info->subgroup_size : 64,
        .matmul_m = 64,
        .matmul_n = software ? 4 * info->subgroup_size : 64,
        .matmul_form = software ? 1 : 0,
    };
    t.matvec_rows_per_wg = t.matvec_wg / info->subgroup_size * t.matvec_rows;
    t.lora_wg = t.matvec_wg;
    t.lora_ranks_per_wg = t.lora_wg / info->subgroup_size * t.lora_ranks;
    return t;
}
