/* SPDX-License-Identifier: MIT
 * embed_*: the decoding of every weight type, bit for bit but for a fused multiply-add. */
#include "check.h"

#include "gguf/quants.h"

static void embed_case(struct check *c, enum lg_kernel kernel, enum lg_type type, uint32_t n_cols,
                       uint32_t n_table, uint32_t n_rows)
{
    const struct lg_type_info *info = lg_type_info(type);
    struct lg_embed_push push = {
        .n_cols = n_cols,
        .row_bytes = n_cols / info->block_elements * info->block_bytes,
        .row_begin = 5,
        .row_end = 5 + n_table,
        .id_stride = 4,
        .id_offset = 1,
    };
    uint8_t *table = check_weights(c, type, n_table, n_cols);
    uint32_t *ids = check_words(c, (size_t)n_rows * 4, n_table + 10); // some are outside of the table
    float *y = check_floats(c, (size_t)n_rows * n_cols, -1, 1);
    struct check_case k = {
        .kernel = kernel,
        .data = {ids, table, y},
        .size = {(size_t)n_rows * 16, check_weights_size(type, n_table, n_cols), (size_t)n_rows * n_cols * 4},
        .tolerance = {[2] = {.abs = 1e-6f, .rel = 1e-6f}},
        .spec = {check_workgroup(c)},
        .push = &push,
        .push_size = sizeof(push),
    };
    k.grid[0] = CHECK_CEIL(CHECK_CEIL(n_cols, 32), k.spec[0]);
    k.grid[1] = n_rows;
    k.grid[2] = 1;
    check_run(c, &k, "%u of %ux%u", n_rows, n_table, n_cols);
    free(table);
    free(ids);
    free(y);
}

static void embed(struct check *c, enum lg_kernel kernel, enum lg_type type)
{
    uint32_t block = lg_type_info(type)->block_elements;
    if (c->bench) {
        embed_case(c, kernel, type, 1024, 4096, 64);
        return;
    }
    embed_case(c, kernel, type, block == 1 ? 33 : block, 3, 8);
    embed_case(c, kernel, type, block == 1 ? 127 : block * 3, 21, 30);
    embed_case(c, kernel, type, block == 1 ? 1 : block * check_int(c, 1, 9), 1, 8);
}

#define CHECK_EMBED(lower, UPPER)                      \
    void check_embed_##lower(struct check *c)          \
    {                                                  \
        embed(c, LG_K_EMBED_##UPPER, LG_TYPE_##UPPER); \
    }
LG_WEIGHT_TYPES(CHECK_EMBED)
