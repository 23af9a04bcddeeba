/* SPDX-License-Identifier: MIT
 * halve, matmul_coop_* and matmul_half_*, and that the tiles of a product make no difference to it, in any form. */
#include "check.h"

#include "gguf/quants.h"
#include "graph/graph.h"
#include "push.h"
#include "util/checked.h"

/* ---- halve ------------------------------------------------------------------------------------- */

/* How far each element of a row in float16 is from x, in units of its own last place, at the most; -1 for a wrong scale
 * or what is not zero behind the end. */
static float distance(const uint8_t *row, const float *x, uint32_t n)
{
    float scale, back[32], most = 0, largest = 0;
    memcpy(&scale, row, sizeof(scale));
    for (uint32_t i = 0; i < n; i++)
        largest = fmaxf(largest, fabsf(x[i]));
    bool in_range = largest > 1e-33f && isfinite(largest);
    if (in_range && !(largest / scale >= 0x1p14f && largest / scale < 0x1p15f))
        return -1;
    for (uint32_t k = 0; k < LG_HALF_PADDED(n); k += 32) {
        lg_dequantize(LG_TYPE_F16, row + 16 + 2 * (size_t)k, back, 32);
        for (uint32_t i = 0; i < 32; i++) {
            float want = k + i < n ? x[k + i] : 0, unit = fmaxf(fabsf(want / scale) * 0x1p-10f, 0x1p-14f);
            if (k + i >= n && back[i] != 0)
                return -1;
            most = fmaxf(most, fabsf(back[i] - want / scale) / unit);
        }
    }
    return most;
}

static void halve_case(struct check *c, uint32_t n_cols)
{
    static const float sizes[] = {1, 1e30f, 3e-30f, 70000, 0, 1e-5f};
    enum { N_T = sizeof(sizes) / sizeof(sizes[0]) };
    float *x = check_floats(c, (size_t)N_T * n_cols, -1, 1);
    for (size_t i = 0; i < (size_t)N_T * n_cols; i++)
        x[i] *= sizes[i / n_cols];
    struct lg_rowwise_push push = {.n_cols = n_cols};
    struct check_case k = {
        .kernel = LG_K_HALVE,
        .data = {x},
        .size = {(size_t)N_T * n_cols * 4, (size_t)N_T * LG_HALF_ROW_BYTES(n_cols)},
        .spec = {check_workgroup(c)},
        .grid = {N_T, 1, 1},
        .push = &push,
        .push_size = sizeof(push),
    };
    if (check_dispatch(c, &k, "halve"))
        for (uint32_t t = 0; t < N_T; t++) {
            size_t at = (size_t)t * LG_HALF_ROW_BYTES(n_cols);
            float got = distance((uint8_t *)k.out[1] + at, x + (size_t)t * n_cols, n_cols);
            float ref = distance((uint8_t *)k.ref[1] + at, x + (size_t)t * n_cols, n_cols);
            if (!(got >= 0 && got <= 1)) // a driver may round either way
                check_fail(c, "halve: %u elements, row %u is %g units off", n_cols, t, (double)got);
            if (!(ref >= 0 && ref <= 0.5f))
                check_fail(c, "halve: %u elements, row %u of the reference is %g units off", n_cols, t, (double)ref);
        }
    check_release(&k);
    free(x);
}

void check_halve(struct check *c)
{
    halve_case(c, 1);
    halve_case(c, 64);
    halve_case(c, check_int(c, 2, 900));
}

/* ---- products ---------------------------------------------------------------------------------- */

/* One product, in several tiles. */
struct product {
    enum lg_kernel kernel;
    enum lg_product how;
    bool plain; // in the form for plain numbers
    enum lg_type type;
    struct lg_matmul_push push;
    uint32_t dims[LG_N_DIMS];
    uint32_t n_t;
    size_t w_size, x_size, y_size;
    uint8_t *w;
    void *x;
    float *y, *slack;
    float *first; // of the first tile
};

static size_t x_row_bytes(enum lg_product how, uint32_t n_cols)
{
    return how == LG_PRODUCT_FLOAT32 ? n_cols * sizeof(float)
           : how == LG_PRODUCT_INT8  ? LG_I8_ROW_BYTES(n_cols)
                                     : LG_HALF_ROW_BYTES(n_cols);
}

/* x in float16 or in 8 bits, as the reference makes it. */
static uint8_t *packed(enum lg_product how, const float *x, uint32_t n_cols, uint32_t n_t)
{
    uint8_t *rows = check_zeros(n_t, x_row_bytes(how, n_cols));
    struct lg_rowwise_push push = {.n_cols = n_cols};
    struct lg_cpu_args args = {.view = {(void *)x, rows}, .push = &push, .grid = {n_t, 1, 1}};
    lg_cpu_kernels[how == LG_PRODUCT_INT8 ? LG_K_QUANTIZE : LG_K_HALVE](&args, 0, n_t);
    return rows;
}

/* What rounding may do to each element: a share of the sum of the magnitudes. */
static void fill_slack(struct product *p, const float *x, float share)
{
    const struct lg_matmul_push *push = &p->push;
    float *row = check_zeros(push->n_cols, sizeof(*row));
    for (uint32_t m = 0; m < push->n_rows; m++) {
        lg_dequantize(p->type, p->w + (size_t)m * push->row_bytes, row, push->n_cols);
        for (uint32_t t = 0; t < p->n_t; t++) {
            float sum = 0;
            for (uint32_t i = 0; i < push->n_cols; i++)
                sum += fabsf(row[i] * x[(size_t)t * push->n_cols + i]);
            p->slack[(size_t)t * push->y_stride + push->row_begin + m] = sum * share;
        }
    }
    free(row);
}

static void product_init(struct check *c, struct product *p, enum lg_product how, enum lg_kernel kernel,
                         enum lg_type type, uint32_t n_rows, uint32_t n_cols, uint32_t n_t)
{
    uint32_t margin = n_rows % 4 == 0 ? 4 : 3; // 4 is what the form for plain numbers wants
    bool half = how == LG_PRODUCT_HALF || how == LG_PRODUCT_COOP;
    const struct lg_type_info *info = lg_type_info(type);
    *p = (struct product){
        .kernel = kernel,
        .how = how,
        .type = type,
        .push = {.n_cols = n_cols, .n_rows = n_rows, .row_bytes = n_cols / info->block_elements * info->block_bytes,
                 .y_stride = n_rows + margin, .row_begin = margin / 2 * 2, .dim = LG_DIM_OUT},
        .dims = {[LG_DIM_OUT] = n_t},
        .n_t = n_t,
        .w_size = check_weights_size(type, n_rows, n_cols),
        .x_size = n_t * x_row_bytes(how, n_cols),
        .y_size = (size_t)n_t * (n_rows + margin) * 4,
    };
    float *x = check_floats(c, (size_t)n_t * n_cols, -1, 1);
    for (uint32_t i = 0; i < n_cols && half; i++)
        x[i] *= 1e6f; // float16 ends at 65504
    p->w = check_weights(c, type, n_rows, n_cols);
    p->y = check_floats(c, p->y_size / 4, -1, 1);
    p->slack = check_zeros(p->y_size, 1);
    fill_slack(p, x, half ? 1e-3f : 1e-5f);
    p->x = how == LG_PRODUCT_FLOAT32 ? (void *)x : packed(how, x, n_cols, n_t);
    if (how != LG_PRODUCT_FLOAT32)
        free(x);
}

static void product_free(struct product *p)
{
    free(p->w);
    free(p->x);
    free(p->y);
    free(p->slack);
    free(p->first);
}

/* Each element is right, and the same as in the first tile to the last bit. */
static void in_tile(struct check *c, struct product *p, const uint32_t spec[LG_MAX_SPEC])
{
    char name[128];
    snprintf(name, sizeof(name), "%s %ux%u, %u rows of x, tile %ux%u, wg %u", lg_kernel_infos[p->kernel].name,
             p->push.n_rows, p->push.n_cols, p->n_t, spec[1], spec[2], spec[0]);
    struct check_case k = {
        .kernel = p->kernel,
        .data = {p->dims, p->w, p->x, p->y},
        .size = {sizeof(p->dims), p->w_size, p->x_size, p->y_size},
        .tolerance = {[3] = {.rel = 1e-6f, .scale = p->slack}},
        .grid = {CHECK_CEIL(p->push.n_rows, spec[1]), CHECK_CEIL(p->n_t, spec[2]), 1},
        .push = &p->push,
        .push_size = sizeof(p->push),
    };
    memcpy(k.spec, spec, sizeof(k.spec));
    if (check_dispatch(c, &k, name)) {
        check_compare(c, &k, name);
        if (p->first && memcmp(p->first, k.out[3], p->y_size) != 0)
            check_fail(c, "%s: other bits than in the first tile", name);
        if (!p->first) {
            p->first = check_zeros(1, p->y_size);
            memcpy(p->first, k.out[3], p->y_size);
        }
    }
    check_release(&k);
}

/* Sets what of the tuning has the tiles of the product to candidate i. */
static const struct lg_matmul_tile *candidate(const struct product *p, const struct lg_device_info *info, uint32_t i,
                                              struct lg_tuning *tune)
{
    tune->prefill = p->how;
    switch (p->how) {
    case LG_PRODUCT_FLOAT32:
        return !lg_tuning_matmul(info, i, tune) ? NULL : p->plain ? tune->plain_tiles : tune->matmul_tiles;
    case LG_PRODUCT_COOP: return lg_tuning_coop(info, i, tune) ? tune->coop_tiles : NULL;
    default: return lg_tuning_packed(info, i, tune) ? tune->packed_tiles : NULL;
    }
}

/* Every tile of every candidate; with `some`, those of the first that are for few rows of x. */
static void in_tiles(struct check *c, struct product *p, const struct lg_device_info *info, bool some)
{
    struct lg_tuning tune = {0};
    const struct lg_matmul_tile *t;
    for (uint32_t i = 0; i < (some ? 1 : UINT32_MAX) && (t = candidate(p, info, i, &tune)); i++) {
        for (bool more = t->wg > 0; more && !(some && t->n > 16); more = t++->up_to) {
            enum lg_matmul_form form = p->plain ? LG_MATMUL_PLAIN : tune.matmul_form;
            uint32_t spec[LG_MAX_SPEC] = {t->wg, t->m, t->n, (uint32_t)form};
            const uint32_t matrices[] = {t->sub_m, t->sub_n, info->coop_m, info->coop_n, info->coop_k};
            if (p->how == LG_PRODUCT_COOP)
                memcpy(spec + 3, matrices, sizeof(matrices));
            in_tile(c, p, spec);
        }
    }
}

/* A driver takes long to compile each tile: types that stand for others try all. */
static bool tries_some(enum lg_product how, enum lg_type type)
{
    return how == LG_PRODUCT_INT8   ? type != LG_TYPE_Q8_0 && type != LG_TYPE_Q6_K
           : how == LG_PRODUCT_HALF && type != LG_TYPE_F16;
}

static void packed_case(struct check *c, enum lg_product how, enum lg_kernel kernel, enum lg_type type, uint32_t n_rows,
                        uint32_t n_cols, uint32_t n_t)
{
    struct product p;
    product_init(c, &p, how, kernel, type, n_rows, n_cols, n_t);
    if (c->dev->info.kind == LG_DEVICE_CPU)
        in_tile(c, &p, (uint32_t[LG_MAX_SPEC]){1, 16, 8});
    in_tiles(c, &p, &c->dev->info, tries_some(how, type));
    product_free(&p);
}

void check_packed_product(struct check *c, enum lg_product how, enum lg_kernel kernel, enum lg_type type)
{
    const struct lg_device_info *info = &c->dev->info;
    uint32_t block = lg_type_info(type)->block_elements;
    bool runs = how == LG_PRODUCT_COOP ? info->coop_m > 0 : how == LG_PRODUCT_HALF ? info->float16 : info->int_dot;
    if (c->bench || !(runs || info->kind == LG_DEVICE_CPU))
        return;
    packed_case(c, how, kernel, type, 13, block == 1 ? 33 : block, 5);
    packed_case(c, how, kernel, type, 130, block == 1 ? check_int(c, 1, 400) : block * check_int(c, 1, 5), 65);
    packed_case(c, how, kernel, type, 1, block == 1 ? 96 : block * 3, 1);
}

#define CHECK_HALF(lower, UPPER)                                                                \
    void check_matmul_coop_##lower(struct check *c)                                             \
    {                                                                                           \
        check_packed_product(c, LG_PRODUCT_COOP, LG_K_MATMUL_COOP_##UPPER, LG_TYPE_##UPPER);    \
    }                                                                                           \
    void check_matmul_half_##lower(struct check *c)                                             \
    {                                                                                           \
        check_packed_product(c, LG_PRODUCT_HALF, LG_K_MATMUL_HALF_##UPPER, LG_TYPE_##UPPER);    \
    }
LG_HALF_TYPES(CHECK_HALF)

/* ---- in float32 -------------------------------------------------------------------------------- */

/* The device's own form, then that of GPUs, which has to be right everywhere. */
void check_matmul_tiles(struct check *c, enum lg_kernel kernel, enum lg_type type)
{
    uint32_t block = lg_type_info(type)->block_elements;
    struct lg_device_info own = c->dev->info, gpu = own;
    gpu.kind = LG_DEVICE_DISCRETE;
    if (own.kind == LG_DEVICE_CPU)
        return;
    struct product p;
    product_init(c, &p, LG_PRODUCT_FLOAT32, kernel, type, 70, block == 1 ? 77 : block, 66);
    in_tiles(c, &p, &own, false);
    free(p.first); // another form adds in another order
    p.first = NULL;
    in_tiles(c, &p, &gpu, false);
    product_free(&p);
    if (block > 1)
        return;
    product_init(c, &p, LG_PRODUCT_FLOAT32, kernel, type, 68, 88, 66);
    p.plain = true;
    in_tiles(c, &p, &own, false);
    product_free(&p);
}
