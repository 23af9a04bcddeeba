/* SPDX-License-Identifier: MIT */
#include <string.h>

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
        .lora_ranks = 16,
        .lora_ranks_per_wg = 16,
        .matmul_tiles = {{.wg = 1, .m = 16, .n = 128}},
        .int8 = info->int8,
        .decode = info->int8_prefill ? LG_PRODUCT_FLOAT32 : LG_PRODUCT_INT8,
        .prefill = LG_PRODUCT_INT8,
    };
}

/** Subgroups of a workgroup and rows of each. */
struct matvec_candidate {
    uint32_t subgroups, rows;
};

static const struct matvec_candidate gpu_matvec[] = {{4, 2}, {4, 1}, {4, 4}, {2, 2}, {2, 4}, {8, 1}, {8, 2}, {1, 4}};
static const struct matvec_candidate software_matvec[] = {{1, 32}, {1, 16}, {1, 8}};

/** Whether the rows of a subgroup go by in a loop, and lanes take several groups: only in float32. */
static bool loops(const struct lg_device_info *info, const struct lg_tuning *t)
{
    return info->kind == LG_DEVICE_SOFTWARE && t->decode == LG_PRODUCT_FLOAT32;
}

bool lg_tuning_matvec(const struct lg_device_info *info, uint32_t i, struct lg_tuning *t)
{
    bool software = loops(info, t);
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
    bool is_software = loops(info, t);
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

/** A lane owns 1 to 4 rows of x, since a row takes as long whether it is there or not. */
static void lanes_tiles(const struct lg_device_info *info, uint32_t m, struct lg_matmul_tile *tiles)
{
    static const struct {
        uint32_t n, up_to;
    } of_lanes[LG_MAX_TILES] = {{1, 1}, {2, 2}, {3, 3}, {4, 4}, {3, 6}, {4, 0}};
    for (uint32_t i = 0; i < LG_MAX_TILES; i++)
        tiles[i] = (struct lg_matmul_tile){
            .wg = info->subgroup_size,
            .m = m,
            .n = of_lanes[i].n * info->subgroup_size,
            .up_to = of_lanes[i].up_to * info->subgroup_size,
        };
}

/** Few rows of plain numbers, so that all sums of a tile are variables of the shader. */
static void lanes_tuning(const struct lg_device_info *info, struct lg_tuning *t)
{
    t->matmul_form = LG_MATMUL_LANES;
    lanes_tiles(info, 128, t->matmul_tiles);
    lanes_tiles(info, 32, t->plain_tiles);
}

/** Few rows of x leave a GPU without work unless workgroups are small; many are worth larger tiles. */
static const struct lg_matmul_tile shared_tiles[][LG_MAX_TILES] = {
    {{64, 32, 8, .up_to = 8}, {64, 32, 16, .up_to = 16}, {64, 64, 32, .up_to = 32}, {64, 64, 64}},
    {{64, 32, 8, .up_to = 8}, {64, 64, 32, .up_to = 32}, {256, 128, 64}},
    {{64, 32, 8, .up_to = 8}, {64, 64, 32, .up_to = 32}, {128, 128, 64}},
    {{64, 32, 8, .up_to = 8}, {64, 32, 32, .up_to = 32}, {64, 32, 64}},
};

/** The same in cooperative matrices: sizes in these, workgroups in subgroups. */
struct coop_tile {
    uint32_t m, n, sub_m, sub_n;
    uint32_t up_to; // rows of x
};

static const struct coop_tile coop_tiles[][LG_MAX_TILES] = {
    {{4, 1, 1, 1, .up_to = 16}, {4, 2, 1, 2, .up_to = 32}, {4, 4, 2, 2}},
    {{4, 1, 1, 1, .up_to = 16}, {4, 4, 2, 2, .up_to = 64}, {8, 4, 4, 2}},
    {{4, 1, 1, 1, .up_to = 16}, {4, 4, 2, 2, .up_to = 64}, {8, 8, 4, 4}},
    {{2, 1, 1, 1, .up_to = 16}, {2, 2, 1, 1, .up_to = 32}, {4, 4, 2, 2}},
};

/** Bytes of shared memory that matmul_coop takes. */
static uint32_t coop_shared(const struct lg_device_info *info, const struct lg_matmul_tile *tile)
{
    uint32_t groups = tile->wg / tile->m, row = groups * 32 * 2 + 16;
    return 2 * (tile->m + tile->n) * row + tile->wg / info->subgroup_size * info->coop_m * info->coop_n * 4;
}

/** Whether the device can run the tile: a power of two of groups of w for each row of w, and room for them. */
static bool coop_fits(const struct lg_device_info *info, const struct lg_matmul_tile *tile)
{
    return tile->wg <= info->max_workgroup && tile->wg % tile->m == 0 && 4 * tile->n % tile->m == 0 &&
           coop_shared(info, tile) <= info->shared_memory;
}

/** Workgroups with as many subgroups as the tile has parts; false where one does not fit the device. */
static bool coop_tuning(const struct lg_device_info *info, const struct coop_tile *from, struct lg_tuning *t)
{
    memset(t->coop_tiles, 0, sizeof(t->coop_tiles));
    for (uint32_t i = 0; i == 0 || from[i - 1].up_to; i++) {
        struct lg_matmul_tile *tile = &t->coop_tiles[i];
        *tile = (struct lg_matmul_tile){
            .wg = from[i].m / from[i].sub_m * (from[i].n / from[i].sub_n) * info->subgroup_size,
            .m = from[i].m * info->coop_n,
            .n = from[i].n * info->coop_m,
            .sub_m = from[i].sub_m * info->coop_n,
            .sub_n = from[i].sub_n * info->coop_m,
            .up_to = from[i].up_to,
        };
        if (!coop_fits(info, tile))
            return false;
    }
    return true;
}

/** Whether the device has the shared memory and the invocations that matmul takes for all of some tiles. */
static bool shared_fits(const struct lg_device_info *info, const struct lg_matmul_tile *tiles)
{
    for (uint32_t i = 0; i == 0 || tiles[i - 1].up_to; i++) {
        uint32_t bytes = 32 * (tiles[i].m + 4 + tiles[i].n + 4) * 4;
        if (tiles[i].wg > info->max_workgroup || bytes > info->shared_memory)
            return false;
    }
    return true;
}

#define N_SHARED (sizeof(shared_tiles) / sizeof(shared_tiles[0]))
#define N_COOP (sizeof(coop_tiles) / sizeof(coop_tiles[0]))

/** Tiles in shared memory; every device of Vulkan 1.2 has what the last take. */
static void set_shared(const struct lg_device_info *info, uint32_t i, struct lg_matmul_tile out[LG_MAX_TILES])
{
    const struct lg_matmul_tile *tiles = shared_tiles[i % N_SHARED];
    memcpy(out, shared_fits(info, tiles) ? tiles : shared_tiles[N_SHARED - 1], sizeof(shared_tiles[0]));
}

/** Candidates of sizes are worth a look where a prefill has such products. */
static bool multiplies(const struct lg_tuning *t, enum lg_product how)
{
    return t->prefill == how || t->prefill_plain == how;
}

bool lg_tuning_matmul(const struct lg_device_info *info, uint32_t i, struct lg_tuning *t)
{
    if (info->kind == LG_DEVICE_CPU)
        return i == 0;
    if (info->kind == LG_DEVICE_SOFTWARE) {
        lanes_tuning(info, t);
        return i == 0;
    }
    t->matmul_form = LG_MATMUL_SHARED;
    set_shared(info, i, t->matmul_tiles);
    return i < (multiplies(t, LG_PRODUCT_FLOAT32) ? N_SHARED : 1);
}

bool lg_tuning_packed(const struct lg_device_info *info, uint32_t i, struct lg_tuning *t)
{
    if (info->kind == LG_DEVICE_CPU || !(info->int_dot || info->float16))
        return false;
    set_shared(info, i, t->packed_tiles);
    return i < (multiplies(t, LG_PRODUCT_INT8) || multiplies(t, LG_PRODUCT_HALF) ? N_SHARED : 1);
}

bool lg_tuning_coop(const struct lg_device_info *info, uint32_t i, struct lg_tuning *t)
{
    uint32_t n = multiplies(t, LG_PRODUCT_COOP) ? N_COOP : 1, n_fit = 0;
    for (uint32_t k = 0; k < N_COOP && i < n && info->coop_m; k++)
        if (coop_tuning(info, coop_tiles[k], t) && n_fit++ == i)
            return true;
    memset(t->coop_tiles, 0, sizeof(t->coop_tiles));
    return false;
}

bool lg_tuning_decode(const struct lg_device_info *info, uint32_t i, struct lg_tuning *t)
{
    uint32_t n = t->int8 ? 2 : 1;
    (void)info;
    t->decode = i + 1 < n ? LG_PRODUCT_INT8 : LG_PRODUCT_FLOAT32;
    return i < n;
}

bool lg_tuning_prefill(const struct lg_device_info *info, uint32_t i, struct lg_tuning *t)
{
    enum lg_product list[4], plain = LG_PRODUCT_FLOAT32;
    uint32_t n = 0;
    if (t->half && info->coop_m && t->coop_tiles[0].wg)
        list[n++] = LG_PRODUCT_COOP;
    if (t->int8)
        list[n++] = LG_PRODUCT_INT8;
    if (t->half)
        list[n++] = LG_PRODUCT_HALF;
    list[n++] = LG_PRODUCT_FLOAT32;
    for (uint32_t k = lg_min_u32(i, n - 1); k < n; k++) {
        plain = list[k];
        if (plain != LG_PRODUCT_INT8)
            break;
    }
    t->prefill = list[lg_min_u32(i, n - 1)];
    t->prefill_plain = plain;
    return i < n;
}

/** What of the device's fewer bits is taken. A driver that runs on a CPU is no faster with them, nor is a device without the
 * instruction: they are asked for by name only. */
static void choose_products(const struct lg_device_info *info, struct lg_tuning *t)
{
    bool software = info->kind == LG_DEVICE_SOFTWARE;
    t->int8 = info->int8 == LG_INT8_ALL || (info->fast_int_dot && !software) ? info->int8 : LG_INT8_NONE;
    t->half = info->half == LG_INT8_ALL || !software ? info->half : LG_INT8_NONE;
    lg_tuning_coop(info, 0, t);
    lg_tuning_decode(info, 0, t);
    lg_tuning_prefill(info, 0, t);
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
        .matvec_x_rows = software ? 2 : 4,
        .fused_decode = info->max_views >= lg_kernel_infos[LG_K_QKV_F32].n_views,
        .fused_head = !software, // where a barrier costs more than weighting x once more for each workgroup
        .lora_ranks = software ? 4 : 1,
    };
    choose_products(info, &t);
    lg_tuning_matvec(info, 0, &t);
    lg_tuning_fused(info, 0, &t);
    lg_tuning_matmul(info, 0, &t);
    lg_tuning_packed(info, 0, &t);
    t.lora_wg = t.matvec_wg;
    t.lora_ranks_per_wg = t.lora_wg / info->subgroup_size * t.lora_ranks;
    return t;
}
