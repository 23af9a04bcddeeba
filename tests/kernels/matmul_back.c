/* SPDX-License-Identifier: MIT
 * matmul_back_*, weight_back, bias_back and embed_back: sums over weight rows and over the rows of a batch. */
#include "check.h"

#include "gguf/quants.h"
#include "util/checked.h"

/* The tile that a workgroup makes, a by b, as outer.glsl has it. */
struct tile {
    uint32_t wg, a, b;
};

static const struct tile tiles[] = {{64, 64, 64}, {64, 32, 16}, {64, 32, 8}, {128, 128, 64}, {256, 128, 64}, {32, 64, 8}};
enum { N_TILES = sizeof(tiles) / sizeof(tiles[0]) };

/* What a driver that runs on a CPU has: its lanes own rows. */
static struct tile lanes_tile(const struct lg_device_info *info, uint32_t of_lanes)
{
    return (struct tile){info->subgroup_size, 32, of_lanes * info->subgroup_size};
}

/* One that the device takes: whole subgroups. */
static struct tile some_tile(struct check *c)
{
    const struct lg_device_info *info = &c->dev->info;
    struct tile t = tiles[check_int(c, 0, N_TILES - 1)];
    if (info->subgroup_size > 1 && info->subgroup_size < 32 && check_int(c, 0, 1))
        return lanes_tile(info, check_int(c, 1, 4));
    return t.wg < info->subgroup_size || t.wg > info->max_workgroup ? tiles[0] : t;
}

/* The sum of magnitudes in proportion to which a sum may be off. */
static float slack_of(const float *a, size_t a_stride, const float *b, size_t b_stride, uint32_t n)
{
    float sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += fabsf(a[i * a_stride] * b[i * b_stride]);
    return sum * 4e-6f;
}

static void matmul_back_case(struct check *c, enum lg_kernel kernel, enum lg_type type, struct tile tile, uint32_t n_rows,
                             uint32_t n_cols, uint32_t n_t)
{
    const struct lg_type_info *info = lg_type_info(type);
    struct lg_matmul_back_push push = {
        .n_cols = n_cols,
        .n_rows = n_rows,
        .row_bytes = n_cols / info->block_elements * info->block_bytes,
        .row_begin = c->bench ? 0 : check_int(c, 0, 5),
        .dim = LG_DIM_OUT,
        .add = check_int(c, 0, 1),
    };
    push.y_stride = n_rows + push.row_begin + (c->bench ? 0 : check_int(c, 0, 5));
    uint32_t dims[LG_N_DIMS] = {[LG_DIM_OUT] = n_t};
    size_t n_x = (size_t)n_t * n_cols, n_y = (size_t)n_t * push.y_stride;
    uint8_t *w = check_weights(c, type, n_rows, n_cols);
    float *dy = check_floats(c, n_y, -1, 1), *dx = check_floats(c, n_x, -1, 1), *slack = check_zeros(n_x, sizeof(*slack));
    float *plain = check_zeros((size_t)n_rows * n_cols, sizeof(*plain));
    for (uint32_t m = 0; m < n_rows; m++)
        lg_dequantize(type, w + (size_t)m * push.row_bytes, plain + (size_t)m * n_cols, n_cols);
    for (size_t i = 0; i < n_x && !c->bench; i++)
        slack[i] = slack_of(dy + i / n_cols * push.y_stride + push.row_begin, 1, plain + i % n_cols, n_cols, n_rows);
    struct check_case k = {
        .kernel = kernel,
        .data = {dims, dy, w, dx},
        .size = {sizeof(dims), n_y * 4, check_weights_size(type, n_rows, n_cols), n_x * 4},
        .tolerance = {[3] = {.abs = 1e-6f, .rel = 1e-6f, .scale = slack}},
        .spec = {tile.wg, tile.a, tile.b},
        .grid = {CHECK_CEIL(n_cols, tile.a), CHECK_CEIL(n_t, tile.b) + !c->bench, 1}, // one more than there is to do
        .push = &push,
        .push_size = sizeof(push),
        .flops = 2.0 * n_rows * n_cols * n_t,
    };
    if (c->bench)
        k.tolerance[3].rel = 1e-2f, k.tolerance[3].abs = 1;
    check_run(c, &k, "%ux%u, %u rows, tile %ux%u wg %u%s", n_rows, n_cols, n_t, tile.a, tile.b, tile.wg,
              push.add ? ", added" : "");
    free(w);
    free(dy);
    free(dx);
    free(slack);
    free(plain);
}

static void matmul_back(struct check *c, enum lg_kernel kernel, enum lg_type type)
{
    uint32_t block = lg_type_info(type)->block_elements;
    if (c->bench) {
        struct tile tile = c->dev->info.kind == LG_DEVICE_CPU ? (struct tile){1, 256, 256} : tiles[0];
        matmul_back_case(c, kernel, type, tile, 4864, block == 256 ? 1024 : 896, 256);
        for (uint32_t i = 1; i <= 4 && c->dev->info.kind == LG_DEVICE_SOFTWARE; i++)
            matmul_back_case(c, kernel, type, lanes_tile(&c->dev->info, i), 4864, block == 256 ? 1024 : 896, 256);
        return;
    }
    matmul_back_case(c, kernel, type, some_tile(c), 1, block, 1);
    matmul_back_case(c, kernel, type, some_tile(c), 13, block == 1 ? 33 : block, 2);
    matmul_back_case(c, kernel, type, some_tile(c), 65, block == 1 ? 127 : block * 3, 65);
    for (int i = 0; i < 2; i++)
        matmul_back_case(c, kernel, type, some_tile(c), check_int(c, 1, 140),
                         block == 1 ? check_int(c, 1, 400) : block * check_int(c, 1, 512 / block), check_int(c, 1, 140));
}

#define CHECK_MATMUL_BACK(lower, UPPER)                            \
    void check_matmul_back_##lower(struct check *c)                \
    {                                                              \
        matmul_back(c, LG_K_MATMUL_BACK_##UPPER, LG_TYPE_##UPPER); \
    }
LG_WEIGHT_TYPES(CHECK_MATMUL_BACK)

static void weight_back_case(struct check *c, struct tile tile, uint32_t n_rows, uint32_t n_cols, uint32_t n_t)
{
    struct lg_weight_back_push push = {
        .n_cols = n_cols,
        .n_rows = n_rows,
        .row_begin = check_int(c, 0, 5),
        .dim = LG_DIM_ROWS,
        .scale = test_randf(&c->rng, -2, 2),
    };
    push.y_stride = n_rows + push.row_begin + check_int(c, 0, 5);
    uint32_t dims[LG_N_DIMS] = {[LG_DIM_ROWS] = n_t};
    size_t n_x = (size_t)n_t * n_cols, n_y = (size_t)n_t * push.y_stride, n_w = (size_t)n_rows * n_cols;
    float *x = check_floats(c, n_x, -1, 1), *dy = check_floats(c, n_y, -1, 1), *dw = check_floats(c, n_w, -1, 1);
    float *slack = check_zeros(n_w, sizeof(*slack));
    for (size_t i = 0; i < n_w && !c->bench; i++)
        slack[i] = slack_of(dy + push.row_begin + i / n_cols, push.y_stride, x + i % n_cols, n_cols, n_t) * fabsf(push.scale);
    struct check_case k = {
        .kernel = LG_K_WEIGHT_BACK,
        .data = {dims, x, dy, dw},
        .size = {sizeof(dims), n_x * 4, n_y * 4, n_w * 4},
        .tolerance = {[3] = {.abs = 1e-6f, .rel = 1e-6f, .scale = slack}},
        .spec = {tile.wg, tile.b, tile.a},
        .grid = {CHECK_CEIL(n_cols, tile.a), CHECK_CEIL(n_rows, tile.b), 1},
        .push = &push,
        .push_size = sizeof(push),
        .flops = 2.0 * n_rows * n_cols * n_t,
    };
    if (c->bench)
        k.tolerance[3].abs = 1e-3f;
    check_run(c, &k, "%ux%u, %u rows, tile %ux%u wg %u", n_rows, n_cols, n_t, tile.b, tile.a, tile.wg);
    free(x);
    free(dy);
    free(dw);
    free(slack);
}

void check_weight_back(struct check *c)
{
    if (c->bench) {
        bool cpu = c->dev->info.kind == LG_DEVICE_CPU;
        for (uint32_t i = 1; i <= 4 && c->dev->info.kind == LG_DEVICE_SOFTWARE; i++)
            weight_back_case(c, lanes_tile(&c->dev->info, i), 896, 896, 256);
        weight_back_case(c, cpu ? (struct tile){1, 256, 64} : tiles[0], 896, 896, 256);
        weight_back_case(c, cpu ? (struct tile){1, 256, 64} : tiles[1], 16, 896, 256);
        weight_back_case(c, cpu ? (struct tile){1, 256, 64} : tiles[0], 4864, 16, 256);
        return;
    }
    weight_back_case(c, some_tile(c), 1, 1, 1);
    weight_back_case(c, some_tile(c), 8, 130, 33);
    weight_back_case(c, some_tile(c), 130, 8, 31);
    for (int i = 0; i < 6; i++)
        weight_back_case(c, some_tile(c), check_int(c, 1, 140), check_int(c, 1, 140), check_int(c, 1, 200));
}

static void bias_back_case(struct check *c, uint32_t n_cols, uint32_t n_t)
{
    struct lg_column_push push = {.n_cols = n_cols, .dim = LG_DIM_OUT};
    uint32_t dims[LG_N_DIMS] = {[LG_DIM_OUT] = n_t};
    float *dy = check_floats(c, (size_t)n_cols * n_t, -1, 1), *db = check_floats(c, n_cols, -1, 1);
    struct check_case k = {
        .kernel = LG_K_BIAS_BACK,
        .data = {dims, dy, db},
        .size = {sizeof(dims), (size_t)n_cols * n_t * 4, (size_t)n_cols * 4},
        .tolerance = {[2] = {.abs = 2e-6f * sqrtf((float)n_t), .rel = 2e-6f}},
        .spec = {check_workgroup(c)},
        .push = &push,
        .push_size = sizeof(push),
        .bytes = (double)n_cols * n_t * 4,
    };
    k.grid[0] = CHECK_CEIL(n_cols, k.spec[0]);
    k.grid[1] = k.grid[2] = 1;
    check_run(c, &k, "%ux%u wg %u", n_t, n_cols, k.spec[0]);
    free(dy);
    free(db);
}

void check_bias_back(struct check *c)
{
    bias_back_case(c, 896, c->bench ? 512 : 65);
    bias_back_case(c, 1, 1);
    bias_back_case(c, check_int(c, 1, 400), check_int(c, 1, 300));
}

/* The rows by ascending id. */
static uint32_t *order_of(const uint32_t *ids, uint32_t n)
{
    uint32_t *order = check_zeros(n, sizeof(*order));
    for (uint32_t r = 0; r < n; r++) {
        uint32_t at = r;
        for (; at > 0 && ids[order[at - 1] * 4 + 1] > ids[r * 4 + 1]; at--)
            order[at] = order[at - 1];
        order[at] = r;
    }
    return order;
}

static void embed_back_case(struct check *c, uint32_t n_cols, uint32_t n_table, uint32_t n_t)
{
    struct lg_embed_back_push push = {
        .n_cols = n_cols,
        .row_begin = 5,
        .row_end = 5 + n_table,
        .id_stride = 4,
        .id_offset = 1,
        .dim = LG_DIM_OUT,
    };
    uint32_t dims[LG_N_DIMS] = {[LG_DIM_OUT] = n_t};
    uint32_t *ids = check_words(c, (size_t)n_t * 4, n_table + 10), *order = order_of(ids, n_t); // some are outside of the table
    float *dx = check_floats(c, (size_t)n_t * n_cols, -1, 1), *de = check_floats(c, (size_t)n_table * n_cols, -1, 1);
    struct check_case k = {
        .kernel = LG_K_EMBED_BACK,
        .data = {dims, order, ids, dx, de},
        .size = {sizeof(dims), (size_t)n_t * 4, (size_t)n_t * 16, (size_t)n_t * n_cols * 4, (size_t)n_table * n_cols * 4},
        .spec = {check_workgroup(c)}, // the same order of sums everywhere: not a bit differs
        .push = &push,
        .push_size = sizeof(push),
        .bytes = (double)n_t * n_cols * 12,
    };
    k.grid[0] = CHECK_CEIL(n_cols, k.spec[0]);
    k.grid[1] = n_t;
    k.grid[2] = 1;
    check_run(c, &k, "%u rows, %ux%u", n_t, n_table, n_cols);
    free(ids);
    free(order);
    free(dx);
    free(de);
}

void check_embed_back(struct check *c)
{
    embed_back_case(c, 896, c->bench ? 1000 : 3, c->bench ? 512 : 8);
    embed_back_case(c, 1, 1, 1);
    embed_back_case(c, 130, 1, 40);
    embed_back_case(c, check_int(c, 1, 400), check_int(c, 1, 90), check_int(c, 1, 90));
}
