/* SPDX-License-Identifier: MIT */
#include "graph/graph.h"
#include "util/checked.h"

/** On the CPU a "workgroup" is what one thread takes at a time: large enough to be worth a call. */
static struct lg_tuning cpu_tuning(const struct lg_device_info *info)
{
    return (struct lg_tuning){
        .flat_wg = 1024,
        .row_wg = 1,
        .vocab_wg = 1,
        .attention_wg = 1,
        .attention_groups = info->n_threads,
        .attention_rows = 32,
        .matvec_wg = 1,
        .matvec_rows = 16,
        .matvec_rows_per_wg = 16,
        .fused_wg = 1,
        .fused_rows = 16,
        .fused_rows_per_wg = 16,
        .lora_wg = 1,
        .lora_ranks = 4,
        .lora_ranks_per_wg = 4,
        .matmul_wg = 1,
        .matmul_m = 16,
        .matmul_n = 32,
        .int8 = info->int8,
    };
}

/** Subgroups of a workgroup and rows of each. */
struct matvec_candidate {
    uint32_t subgroups, rows;
};

static const struct matvec_candidate gpu_matvec[] = {{4, 2}, {4, 1}, {4, 4}, {2, 2}, {2, 4}, {8, 1}, {8, 2}, {1, 4}};
static const struct matvec_candidate software_matvec[] = {{1, 32}, {1, 16}, {1, 8}};

bool lg_tuning_matvec(const struct lg_device_info *info, uint32_t i, struct lg_tuning *t)
{
    bool software = info->kind == LG_DEVICE_SOFTWARE;
    const struct matvec_candidate *list = software ? software_matvec : gpu_matvec;
    uint32_t n = software ? sizeof(software_matvec) / sizeof(*list) : sizeof(gpu_matvec) / sizeof(*list);
    if (info->kind == LG_DEVICE_CPU || i >= (t->fused_decode ? 1 : n)) // fused, few products are left to it
        return false;
    uint32_t most = lg_max_u32(1, info->max_workgroup / info->subgroup_size);
    t->matvec_wg = lg_min_u32(list[i].subgroups, most) * info->subgroup_size;
    t->matvec_rows = list[i].rows;
    t->matvec_rows_per_wg = t->matvec_wg / info->subgroup_size * t->matvec_rows;
    return true;
}

bool lg_tuning_fused(const struct lg_device_info *info, uint32_t i, struct lg_tuning *t)
{
    static const struct matvec_candidate gpu[] = {{4, 4}, {4, 2}, {2, 4}, {8, 2}, {4, 8}}; // rows are even
    static const struct matvec_candidate software[] = {{1, 64}, {1, 32}, {1, 16}};
    bool is_software = info->kind == LG_DEVICE_SOFTWARE;
    const struct matvec_candidate *list = is_software ? software : gpu;
    uint32_t n = is_software ? sizeof(software) / sizeof(*list) : sizeof(gpu) / sizeof(*list);
    if (info->kind == LG_DEVICE_CPU || i >= (t->fused_decode ? n : 1))
        return false;
    uint32_t most = lg_max_u32(1, info->max_workgroup / info->subgroup_size);
    t->fused_wg = lg_min_u32(list[i].subgroups, most) * info->subgroup_size;
    t->fused_rows = list[i].rows;
    t->fused_rows_per_wg = t->fused_wg / info->subgroup_size * t->fused_rows;
    return true;
}

/** Tiles of matmul.comp; its head says which are allowed. */
struct matmul_candidate {
    uint32_t wg, m, n;
};

static const struct matmul_candidate gpu_matmul[] = {{64, 64, 64}, {64, 32, 64}, {128, 128, 64}, {256, 128, 64}};

bool lg_tuning_matmul(const struct lg_device_info *info, uint32_t i, struct lg_tuning *t)
{
    bool software = info->kind == LG_DEVICE_SOFTWARE;
    if (info->kind == LG_DEVICE_CPU || i >= (software ? 1 : sizeof(gpu_matmul) / sizeof(gpu_matmul[0])))
        return false;
    const struct matmul_candidate *c = &gpu_matmul[i];
    if (c->wg > info->max_workgroup || 32 * sizeof(float) * (c->m + c->n) > info->shared_memory)
        c = &gpu_matmul[0];
    t->matmul_wg = software ? info->subgroup_size : c->wg;
    t->matmul_m = c->m;
    t->matmul_n = software ? 4 * info->subgroup_size : c->n;
    return true;
}

struct lg_tuning lg_tuning_choose(const struct lg_device_info *info)
{
    if (info->kind == LG_DEVICE_CPU)
        return cpu_tuning(info);
    bool software = info->kind == LG_DEVICE_SOFTWARE;
    struct lg_tuning t = {
        .flat_wg = 64,
        .row_wg = software ? 64 : lg_min_u32(256, info->max_workgroup),
        .vocab_wg = software ? 64 : lg_min_u32(1024, info->max_workgroup),
        .attention_wg = software ? info->subgroup_size : 64,
        .attention_by_lane = software,
        .attention_rows = software || info->shared_memory < 32768 || info->max_workgroup < 128 ? 0 : 32,
        .attention_parts = software || info->max_workgroup < 128 ? 0 : 128,
        .matvec_groups = software ? 4 : 1,
        .fused_decode = info->max_views >= lg_kernel_infos[LG_K_QKV_F32].n_views,
        .fused_head = !software, // where a barrier costs more than weighting x once more for each workgroup
        .lora_ranks = software ? 4 : 1,
        .matmul_form = software ? 1 : 0,
    };
    lg_tuning_matvec(info, 0, &t);
    lg_tuning_fused(info, 0, &t);
    lg_tuning_matmul(info, 0, &t);
    t.lora_wg = t.matvec_wg;
    t.lora_ranks_per_wg = t.lora_wg / info->subgroup_size * t.lora_ranks;
    return t;
}
