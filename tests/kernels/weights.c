/* SPDX-License-Identifier: MIT
 * Random rows of encoded weights. */
#include "check.h"

/* Where the float16 scales of a block are. */
struct scales {
    enum lg_type type;
    uint32_t n;
    uint32_t at[2]; // bytes
};

static const struct scales all_scales[] = {
    {LG_TYPE_Q4_0, 1, {0}},    {LG_TYPE_Q4_1, 2, {0, 2}}, {LG_TYPE_Q5_0, 1, {0}},
    {LG_TYPE_Q5_1, 2, {0, 2}}, {LG_TYPE_Q8_0, 1, {0}},    {LG_TYPE_Q2_K, 2, {80, 82}},
    {LG_TYPE_Q3_K, 1, {108}},  {LG_TYPE_Q4_K, 2, {0, 2}}, {LG_TYPE_Q5_K, 2, {0, 2}},
    {LG_TYPE_Q6_K, 1, {208}},
};

/* A finite float16 below 2 in magnitude; one in eight is subnormal. */
static void put_f16(struct check *c, uint8_t *at)
{
    uint32_t bits = test_rand(&c->rng), exponent = bits >> 10 & 7 ? check_int(c, 1, 15) : 0;
    uint16_t half = (uint16_t)((bits & 0x83ff) | exponent << 10);
    memcpy(at, &half, sizeof(half));
}

static void put_bf16(struct check *c, uint8_t *at)
{
    float f = test_randf(&c->rng, -1, 1);
    memcpy(at, (const uint8_t *)&f + 2, 2);
}

static void put_f32(struct check *c, uint8_t *at)
{
    float f = test_randf(&c->rng, -1, 1);
    memcpy(at, &f, 4);
}

static void fix_block(struct check *c, enum lg_type type, uint8_t *block)
{
    for (size_t i = 0; i < sizeof(all_scales) / sizeof(all_scales[0]); i++) {
        for (uint32_t j = 0; all_scales[i].type == type && j < all_scales[i].n; j++)
            put_f16(c, block + all_scales[i].at[j]);
    }
    if (type == LG_TYPE_F16)
        put_f16(c, block);
    if (type == LG_TYPE_BF16)
        put_bf16(c, block);
    if (type == LG_TYPE_F32)
        put_f32(c, block);
}

size_t check_weights_size(enum lg_type type, size_t n_rows, size_t n_cols)
{
    const struct lg_type_info *info = lg_type_info(type);
    return (n_rows * n_cols / info->block_elements * info->block_bytes + 15) / 16 * 16;
}

uint8_t *check_weights(struct check *c, enum lg_type type, size_t n_rows, size_t n_cols)
{
    const struct lg_type_info *info = lg_type_info(type);
    size_t n_blocks = n_rows * n_cols / info->block_elements, end = n_blocks * info->block_bytes;
    size_t size = check_weights_size(type, n_rows, n_cols);
    uint8_t *w = check_zeros(1, size);
    for (size_t i = 0; i < size; i += 4)
        memcpy(w + i, &(uint32_t){test_rand(&c->rng)}, 4);
    memset(w + end, 0xff, size - end);
    for (size_t i = 0; i < n_blocks; i++)
        fix_block(c, type, w + i * info->block_bytes);
    return w;
}
