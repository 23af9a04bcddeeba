/* SPDX-License-Identifier: MIT
 * Kernels with one invocation per element: add, copy, silu_mul, gelu. */
#include "check.h"

static void fill_grid(struct check *c, struct check_case *k, uint32_t n_cols, uint32_t n_rows)
{
    k->spec[0] = check_workgroup(c);
    k->grid[0] = CHECK_CEIL(n_cols, k->spec[0]);
    k->grid[1] = n_rows;
    k->grid[2] = 1;
}

static void add_case(struct check *c, uint32_t n_cols, uint32_t n_rows, bool bias)
{
    struct lg_add_push push = {.n_cols = n_cols, .b_stride = bias ? 0 : n_cols};
    size_t n = (size_t)n_cols * n_rows, n_b = bias ? n_cols : n;
    float *x = check_floats(c, n, -2, 2), *b = check_floats(c, n_b, -2, 2);
    struct check_case k = {
        .kernel = LG_K_ADD,
        .data = {x, b},
        .size = {n * 4, n_b * 4},
        .push = &push,
        .push_size = sizeof(push),
        .bytes = (double)n * 12,
    };
    fill_grid(c, &k, n_cols, n_rows);
    check_run(c, &k, "%ux%u%s", n_rows, n_cols, bias ? " bias" : "");
    free(x);
    free(b);
}

void check_add(struct check *c)
{
    if (c->bench) {
        add_case(c, 896, 512, false);
        return;
    }
    add_case(c, 1, 1, false);
    add_case(c, 896, 3, true);
    for (int i = 0; i < 4; i++)
        add_case(c, check_int(c, 1, 1000), check_int(c, 1, 9), i & 1);
}

static void copy_case(struct check *c, uint32_t n_cols, uint32_t n_rows)
{
    struct lg_rowwise_push push = {.n_cols = n_cols};
    size_t n = (size_t)n_cols * n_rows;
    uint32_t *x = check_words(c, n, UINT32_MAX);
    struct check_case k = {
        .kernel = LG_K_COPY,
        .data = {x},
        .size = {n * 4, n * 4},
        .push = &push,
        .push_size = sizeof(push),
        .bytes = (double)n * 8,
    };
    fill_grid(c, &k, n_cols, n_rows);
    check_run(c, &k, "%ux%u", n_rows, n_cols);
    free(x);
}

void check_copy(struct check *c)
{
    if (c->bench) {
        copy_case(c, 151936, 1);
        return;
    }
    copy_case(c, 1, 1);
    copy_case(c, 32003, 2);
    for (int i = 0; i < 3; i++)
        copy_case(c, check_int(c, 1, 1000), check_int(c, 1, 9));
}

/* silu_mul and gelu: `n_in` inputs and y. Large inputs show where an exponential overflows. */
static void activation_case(struct check *c, enum lg_kernel kernel, int n_in, uint32_t n_cols,
                            uint32_t n_rows)
{
    struct lg_rowwise_push push = {.n_cols = n_cols};
    size_t n = (size_t)n_cols * n_rows;
    float *in[2] = {check_floats(c, n, -12, 12), check_floats(c, n, -3, 3)};
    for (size_t i = 0; i < n; i += 17)
        in[0][i] *= 20;
    struct check_case k = {
        .kernel = kernel,
        .data = {in[0], n_in == 2 ? in[1] : NULL},
        .size = {n * 4, n * 4, n_in == 2 ? n * 4 : 0},
        .push = &push,
        .push_size = sizeof(push),
        .bytes = (double)n * 4 * (n_in + 1),
    };
    k.tolerance[n_in] = (struct check_tolerance){.abs = 1e-6f, .rel = 4e-6f};
    fill_grid(c, &k, n_cols, n_rows);
    check_run(c, &k, "%ux%u", n_rows, n_cols);
    free(in[0]);
    free(in[1]);
}

static void activation(struct check *c, enum lg_kernel kernel, int n_in)
{
    if (c->bench) {
        activation_case(c, kernel, n_in, 4864, 64);
        return;
    }
    activation_case(c, kernel, n_in, 1, 1);
    activation_case(c, kernel, n_in, 127, 5);
    for (int i = 0; i < 3; i++)
        activation_case(c, kernel, n_in, check_int(c, 1, 5000), check_int(c, 1, 4));
}

void check_silu_mul(struct check *c)
{
    activation(c, LG_K_SILU_MUL, 2);
}

void check_gelu(struct check *c)
{
    activation(c, LG_K_GELU, 1);
}
