/* SPDX-License-Identifier: MIT
 * matvec_* and matmul_*. */
#include "check.h"

#include "gguf/quants.h"
#include "graph/graph.h"
#include "util/checked.h"

/* x and weights, and how far sums of their products may be off. */
struct product {
    uint32_t n_rows, n_cols, n_t; // M, K, T
    uint32_t row_bytes, y_stride, row_begin;
    uint8_t *w;
    float *x;
    float *y;     // before
    float *slack; // of each element of y: the rounding of a sum is in proportion to the sum of the magnitudes
};

/* y has rows, and a part of them, that begin at multiples of `align` elements. */
static void product_init(struct check *c, struct product *p, enum lg_type type, uint32_t align, uint32_t n_rows,
                         uint32_t n_cols, uint32_t n_t)
{
    const struct lg_type_info *info = lg_type_info(type);
    *p = (struct product){.n_rows = n_rows, .n_cols = n_cols, .n_t = n_t};
    p->row_bytes = n_cols / info->block_elements * info->block_bytes;
    p->row_begin = c->bench ? 0 : align * check_int(c, 0, 5);
    p->y_stride = n_rows + p->row_begin + (c->bench ? 0 : align * check_int(c, 0, 5));
    p->w = check_weights(c, type, n_rows, n_cols);
    p->x = check_floats(c, (size_t)n_t * n_cols, -1, 1);
    p->y = check_floats(c, (size_t)n_t * p->y_stride, -1, 1);
    p->slack = check_zeros((size_t)n_t * p->y_stride, sizeof(float));
    float *row = check_zeros(n_cols, sizeof(*row));
    for (uint32_t m = 0; m < n_rows; m++) {
        lg_dequantize(type, p->w + (size_t)m * p->row_bytes, row, n_cols);
        for (uint32_t t = 0; t < n_t; t++) {
            float sum = 0;
            for (uint32_t i = 0; i < n_cols; i++)
                sum += fabsf(row[i] * p->x[(size_t)t * n_cols + i]);
            p->slack[(size_t)t * p->y_stride + p->row_begin + m] = sum * 4e-6f;
        }
    }
    free(row);
}

static void product_free(struct product *p)
{
    free(p->w);
    free(p->x);
    free(p->y);
    free(p->slack);
}

static struct lg_matmul_push product_push(const struct product *p)
{
    return (struct lg_matmul_push){
        .n_cols = p->n_cols,
        .n_rows = p->n_rows,
        .row_bytes = p->row_bytes,
        .y_stride = p->y_stride,
        .row_begin = p->row_begin,
        .dim = LG_DIM_OUT,
    };
}

struct kernel {
    enum lg_kernel matvec, matmul;
    enum lg_type type;
};

/* Specialisation constants of matvec: workgroup, rows of w per subgroup, groups of 32 at a time; and rows of x. */
struct split {
    uint32_t wg, rows, groups, x_rows;
};

static void matvec_case(struct check *c, const struct kernel *kernel, struct split split, uint32_t n_rows,
                        uint32_t n_cols, uint32_t n_t)
{
    struct product p;
    product_init(c, &p, kernel->type, 1, n_rows, n_cols, n_t);
    struct lg_matmul_push push = product_push(&p);
    size_t w_size = check_weights_size(kernel->type, n_rows, n_cols);
    struct check_case k = {
        .kernel = kernel->matvec,
        .data = {p.w, p.x, p.y},
        .size = {w_size, (size_t)n_t * n_cols * 4, (size_t)n_t * p.y_stride * 4},
        .tolerance = {[2] = {.rel = 1e-6f, .scale = p.slack}},
        .spec = {split.wg, split.rows, split.groups, 0, split.x_rows},
        .grid = {CHECK_CEIL(n_rows, split.wg / c->dev->info.subgroup_size * split.rows), n_t, 1},
        .ref_grid_x = CHECK_CEIL(n_rows, split.wg * split.rows),
        .push = &push,
        .push_size = sizeof(push),
        .bytes = (double)w_size * n_t,
        .flops = 2.0 * n_rows * n_cols * n_t,
    };
    check_run(c, &k, "%ux%u, %u rows of x, wg %u, %u rows, %u groups, %u of x", n_rows, n_cols, n_t, split.wg,
              split.rows, split.groups, split.x_rows);
    product_free(&p);
}

/* A software driver's form is another than a GPU's; both have to be right everywhere. */
static bool is_software(const struct check *c)
{
    return c->dev->info.kind == LG_DEVICE_SOFTWARE;
}

static void matvec(struct check *c, const struct kernel *kernel)
{
    uint32_t block = lg_type_info(kernel->type)->block_elements, lanes = c->dev->info.subgroup_size;
    struct split gpu = {.wg = lg_max_u32(64, lanes), .rows = 2, .groups = 1};
    struct split software = {.wg = lanes, .rows = 32, .groups = 4};
    if (c->bench) {
        matvec_case(c, kernel, is_software(c) ? software : gpu, 4864, block == 256 ? 1024 : 896, 1);
        return;
    }
    matvec_case(c, kernel, gpu, 13, block == 1 ? 33 : block, 2);
    matvec_case(c, kernel, gpu, 33, block == 1 ? check_int(c, 1, 400) : block * check_int(c, 1, 9), 3);
    gpu.x_rows = 4;
    matvec_case(c, kernel, gpu, 21, block == 1 ? check_int(c, 1, 400) : block * check_int(c, 1, 9), check_int(c, 2, 9));
    matvec_case(c, kernel, software, 127, block == 1 ? 127 : block * 3, 1);
    matvec_case(c, kernel, software, 33, block == 1 ? check_int(c, 1, 700) : block * check_int(c, 1, 9), 2);
    matvec_case(c, kernel, software, 1, block == 1 ? 256 : block * 4, 1);
}

/* Specialisation constants of matmul. */
struct tile {
    uint32_t wg, m, n, form;
};

static void matmul_case(struct check *c, const struct kernel *kernel, struct tile tile, uint32_t n_rows,
                        uint32_t n_cols, uint32_t n_t)
{
    struct product p;
    product_init(c, &p, kernel->type, tile.form == LG_MATMUL_PLAIN ? 4 : 1, n_rows, n_cols, n_t);
    struct lg_matmul_push push = product_push(&p);
    size_t w_size = check_weights_size(kernel->type, n_rows, n_cols);
    uint32_t dims[LG_N_DIMS] = {[LG_DIM_OUT] = n_t};
    struct check_case k = {
        .kernel = kernel->matmul,
        .data = {dims, p.w, p.x, p.y},
        .size = {sizeof(dims), w_size, (size_t)n_t * n_cols * 4, (size_t)n_t * p.y_stride * 4},
        .tolerance = {[3] = {.rel = 1e-6f, .scale = p.slack}},
        .spec = {tile.wg, tile.m, tile.n, tile.form},
        .grid = {CHECK_CEIL(n_rows, tile.m), CHECK_CEIL(n_t, tile.n), 1},
        .push = &push,
        .push_size = sizeof(push),
        .bytes = (double)w_size,
        .flops = 2.0 * n_rows * n_cols * n_t,
    };
    check_run(c, &k, "%ux%u, %u rows of x, tile %ux%u, form %u", n_rows, n_cols, n_t, tile.m, tile.n,
              tile.form);
    product_free(&p);
}

static void matmul(struct check *c, const struct kernel *kernel)
{
    uint32_t block = lg_type_info(kernel->type)->block_elements;
    struct tile gpu = {.wg = 64, .m = 32, .n = 32};
    struct tile software = {.wg = c->dev->info.subgroup_size, .m = 32, .form = LG_MATMUL_LANES};
    software.n = software.wg * 4;
    if (c->bench) {
        software.m = 128;
        matmul_case(c, kernel, is_software(c) ? software : gpu, 4864, block == 256 ? 1024 : 896, 64);
        return;
    }
    matmul_case(c, kernel, gpu, 13, block == 1 ? 33 : block, 5);
    matmul_case(c, kernel, gpu, 64, block == 1 ? check_int(c, 1, 400) : block * check_int(c, 1, 5), 65);
    matmul_case(c, kernel, software, 127, block == 1 ? 127 : block * 3, 40);
    matmul_case(c, kernel, software, 13, block == 1 ? check_int(c, 1, 400) : block * check_int(c, 1, 5), 3);
    matmul_case(c, kernel, software, 1, block == 1 ? 192 : block * 2, 1);
    software.form = LG_MATMUL_PLAIN;
    for (uint32_t n_t = 1; block == 1 && n_t <= 65; n_t += check_int(c, 7, 64))
        matmul_case(c, kernel, software, 4 * check_int(c, 1, 19), 8 * check_int(c, 1, 50), n_t);
    if (kernel->type == LG_TYPE_F32 || kernel->type == LG_TYPE_Q8_0) // plain numbers, and blocks
        check_matmul_tiles(c, kernel->matmul, kernel->type);
}

#define CHECK_PRODUCTS(lower, UPPER)                                                                         \
    static const struct kernel kernel_##lower = {LG_K_MATVEC_##UPPER, LG_K_MATMUL_##UPPER, LG_TYPE_##UPPER}; \
    void check_matvec_##lower(struct check *c)                                                               \
    {                                                                                                        \
        matvec(c, &kernel_##lower);                                                                          \
    }                                                                                                        \
    void check_matmul_##lower(struct check *c)                                                               \
    {                                                                                                        \
        matmul(c, &kernel_##lower);                                                                          \
    }
LG_WEIGHT_TYPES(CHECK_PRODUCTS)
