/* SPDX-License-Identifier: MIT
 * quantize, matvec_i8_* and matmul_i8_*: against the products, in double precision, of what x and weights are once encoded. */
#include "check.h"

#include "device/cpu/i8.h"
#include "util/checked.h"

struct kernel {
    enum lg_kernel matvec, matmul;
    enum lg_type type;
};

/* x in 8 bits, by the reference, whose error is at most half a step. */
static uint8_t *quantized(struct check *c, const float *x, uint32_t n_cols, uint32_t n_t)
{
    uint8_t *rows = aligned_alloc(64, (size_t)n_t * LG_I8_ROW_BYTES(n_cols));
    REQUIRE(rows);
    struct lg_rowwise_push push = {.n_cols = n_cols};
    lg_cpu_quantize(&(struct lg_cpu_args){.view = {(void *)x, rows}, .push = &push, .grid = {n_t, 1, 1}}, 0, n_t);
    for (uint32_t t = 0; t < n_t; t++) {
        struct lg_i8_row row = lg_i8_row_at(rows, n_cols, t);
        for (uint32_t k = 0; k < n_cols; k++) {
            float is = row.d[k / 16] * row.q[k], error = fabsf(is - x[(size_t)t * n_cols + k]);
            if (!(error <= 0.5001f * row.d[k / 16]))
                check_fail(c, "quantize: element %u of row %u is %g", k, t, is);
        }
    }
    return rows;
}

/* y[t][m], and how far rounding may take it. */
static void multiply(const struct kernel *kernel, const uint8_t *w, const uint8_t *x, struct lg_matmul_push push,
                     uint32_t n_t, float *y, float *slack)
{
    float *row = check_zeros(push.n_cols, sizeof(*row));
    for (uint32_t m = 0; m < push.n_rows; m++) {
        lg_dequantize(kernel->type, w + (size_t)m * push.row_bytes, row, push.n_cols);
        for (uint32_t t = 0; t < n_t; t++) {
            struct lg_i8_row xs = lg_i8_row_at(x, push.n_cols, t);
            double sum = 0, size = 0;
            for (uint32_t k = 0; k < push.n_cols; k++) {
                double product = (double)row[k] * xs.d[k / 16] * xs.q[k];
                sum += product;
                size += fabs(product) + fabs((double)row[k] * xs.d[k / 16]);
            }
            y[(size_t)t * push.y_stride + push.row_begin + m] = (float)sum;
            slack[(size_t)t * push.y_stride + push.row_begin + m] = (float)(size * 1e-5);
        }
    }
    free(row);
}

static void hold(struct check *c, const struct check_case *k, int out, const float *expected, const float *slack,
                 const char *name)
{
    const float *got = k->out[out];
    for (size_t i = 0; i < k->size[out] / sizeof(float); i++) {
        if (slack[i] > 0 && !(fabsf(got[i] - expected[i]) <= slack[i])) {
            check_fail(c, "%s: element %zu is %g, not %g", name, i, got[i], expected[i]);
            return;
        }
    }
}

static void products(struct check *c, const struct kernel *kernel, bool many, uint32_t n_rows, uint32_t n_cols, uint32_t n_t)
{
    const struct lg_type_info *info = lg_type_info(kernel->type);
    struct lg_matmul_push push = {
        .n_cols = n_cols,
        .n_rows = n_rows,
        .row_bytes = n_cols / info->block_elements * info->block_bytes,
        .y_stride = n_rows + 3,
        .row_begin = 2,
        .dim = LG_DIM_OUT,
    };
    size_t n_y = (size_t)n_t * push.y_stride, w_size = check_weights_size(kernel->type, n_rows, n_cols);
    uint8_t *w = check_weights(c, kernel->type, n_rows, n_cols);
    float *x = check_floats(c, (size_t)n_t * n_cols, -1, 1), *y = check_floats(c, n_y, -1, 1);
    float *expected = check_zeros(n_y, sizeof(float)), *slack = check_zeros(n_y, sizeof(float));
    uint8_t *rows = quantized(c, x, n_cols, n_t);
    uint32_t dims[LG_N_DIMS] = {[LG_DIM_OUT] = n_t};
    multiply(kernel, w, rows, push, n_t, expected, slack);
    // The CPU device has the bits of the reference; a GPU adds in another order.
    bool cpu = c->dev->info.kind == LG_DEVICE_CPU;
    uint32_t lanes = c->dev->info.subgroup_size, wg = cpu ? 1 : lg_max_u32(64, lanes), each = cpu ? 4 : check_int(c, 1, 4);
    struct check_case one = {
        .kernel = kernel->matvec,
        .data = {w, rows, y},
        .size = {w_size, (size_t)n_t * LG_I8_ROW_BYTES(n_cols), n_y * 4},
        .tolerance = {[2] = {.rel = cpu ? 0 : 1e-6f, .scale = cpu ? NULL : slack}},
        .spec = {wg, each},
        .grid = {CHECK_CEIL(n_rows, wg / lanes * each), n_t, 1},
        .ref_grid_x = CHECK_CEIL(n_rows, wg * each),
        .push = &push,
        .push_size = sizeof(push),
    };
    struct check_case all = {
        .kernel = kernel->matmul,
        .data = {dims, w, rows, y},
        .size = {sizeof(dims), w_size, (size_t)n_t * LG_I8_ROW_BYTES(n_cols), n_y * 4},
        .spec = {1, 8, 16},
        .grid = {CHECK_CEIL(n_rows, 8), CHECK_CEIL(n_t, 16), 1},
        .push = &push,
        .push_size = sizeof(push),
    };
    struct check_case *k = many ? &all : &one;
    const char *name = lg_kernel_infos[k->kernel].name;
    if (check_dispatch(c, k, name)) {
        check_compare(c, k, name);
        hold(c, k, many ? 3 : 2, expected, slack, name);
        check_release(k);
    }
    free(w);
    free(x);
    free(y);
    free(expected);
    free(slack);
    free(rows);
}

static void check(struct check *c, const struct kernel *kernel, bool many)
{
    uint32_t block = lg_type_info(kernel->type)->block_elements;
    if (!c->dev->info.int8 || c->bench)
        return;
    if (many && c->dev->info.kind != LG_DEVICE_CPU) {
        check_packed_product(c, LG_PRODUCT_INT8, kernel->matmul, kernel->type);
        return;
    }
    products(c, kernel, many, 13, block, many ? 5 : 2);
    products(c, kernel, many, 33, block * check_int(c, 1, 9), many ? 37 : 3);
    products(c, kernel, many, 1, block * 4, 1);
}

#define CHECK_PRODUCTS(lower, UPPER)                                                                               \
    static const struct kernel kernel_##lower = {LG_K_MATVEC_I8_##UPPER, LG_K_MATMUL_I8_##UPPER, LG_TYPE_##UPPER}; \
    void check_matvec_i8_##lower(struct check *c)                                                                  \
    {                                                                                                              \
        check(c, &kernel_##lower, false);                                                                          \
    }                                                                                                              \
    void check_matmul_i8_##lower(struct check *c)                                                                  \
    {                                                                                                              \
        check(c, &kernel_##lower, true);                                                                           \
    }
LG_BLOCK_TYPES(CHECK_PRODUCTS)

/* No element is further off than half a step, no step is larger than it must be, sums are right, and what is behind the end is
 * nothing. A step may be a whole factor of one of 256 elements, up to 64. */
static void hold_quantized(struct check *c, const float *x, const uint8_t *rows, uint32_t n_cols, uint32_t n_t)
{
    for (uint32_t i = 0; i < n_t * LG_I8_PADDED(n_cols); i++) {
        uint32_t t = i / LG_I8_PADDED(n_cols), k = i % LG_I8_PADDED(n_cols);
        struct lg_i8_row row = lg_i8_row_at(rows, n_cols, t);
        const float *xs = x + (size_t)t * n_cols;
        float in_block = 0, in_unit = 0, sum = 0, d = row.d[k / 16], is = k < n_cols ? xs[k] : 0;
        bool finite = true, all_finite = true;
        for (uint32_t j = k / 256 * 256; j < lg_min_u32(k / 256 * 256 + 256, n_cols); j++) {
            all_finite &= isfinite(xs[j]);
            finite &= isfinite(xs[j]) || j / 32 != k / 32;
            in_unit = fmaxf(in_unit, fabsf(xs[j]));
            in_block = j / 32 == k / 32 ? fmaxf(in_block, fabsf(xs[j])) : in_block;
        }
        for (uint32_t j = k / 16 * 16; j < k / 16 * 16 + 16; j++)
            sum += row.q[j];
        bool good = fabsf(row.q[k] * d - is) <= 0.5001f * d && fabsf(row.sums[k / 16] - d * sum) <= 1e-6f * fabsf(d * sum) &&
                    d <= 1.0001f * (in_block + in_unit / 64) / 127;
        bool none = isnan(d) && isnan(row.sums[k / 16]);
        if (!(finite && all_finite ? good : finite ? good || none : none)) {
            check_fail(c, "quantize: element %u of row %u of %u: %d * %g, sum %g", k, t, n_cols, row.q[k], d,
                       row.sums[k / 16]);
            return;
        }
    }
}

static void quantize_case(struct check *c, uint32_t n_cols, uint32_t n_t, bool finite)
{
    float *x = check_floats(c, (size_t)n_t * n_cols, -3, 3);
    if (!finite)
        x[check_int(c, 0, n_t * n_cols - 1)] = check_int(c, 0, 1) ? INFINITY : NAN;
    struct lg_rowwise_push push = {.n_cols = n_cols};
    struct check_case k = {
        .kernel = LG_K_QUANTIZE,
        .data = {x},
        .size = {(size_t)n_t * n_cols * 4, (size_t)n_t * LG_I8_ROW_BYTES(n_cols)},
        .spec = {check_workgroup(c)},
        .grid = {n_t, 1, 1},
        .push = &push,
        .push_size = sizeof(push),
    };
    if (check_dispatch(c, &k, "quantize")) {
        if (c->dev->info.kind == LG_DEVICE_CPU && finite)
            check_compare(c, &k, "quantize");
        hold_quantized(c, x, k.out[1], n_cols, n_t);
        check_release(&k);
    }
    free(x);
}

void check_quantize(struct check *c)
{
    if (c->bench)
        return;
    quantize_case(c, 1, 3, true);
    quantize_case(c, 256, 2, true);
    quantize_case(c, check_int(c, 1, 900), check_int(c, 1, 5), true);
    quantize_case(c, check_int(c, 1, 900), check_int(c, 1, 5), false);
}
