/* SPDX-License-Identifier: MIT
 * Kernels with one invocation per element: add, copy, zero, silu_mul, gelu, and of training their way back, scale_add, dropout. */
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

static void zero_case(struct check *c, uint32_t n_cols, uint32_t n_rows)
{
    struct lg_rowwise_push push = {.n_cols = n_cols};
    size_t n = (size_t)n_cols * n_rows;
    struct check_case k = {
        .kernel = LG_K_ZERO,
        .size = {n * 4},
        .push = &push,
        .push_size = sizeof(push),
        .bytes = (double)n * 4,
    };
    fill_grid(c, &k, n_cols, n_rows);
    check_run(c, &k, "%ux%u", n_rows, n_cols);
}

void check_zero(struct check *c)
{
    if (c->bench) {
        zero_case(c, 896, 512);
        return;
    }
    zero_case(c, 1, 1);
    zero_case(c, 32003, 2);
    for (int i = 0; i < 3; i++)
        zero_case(c, check_int(c, 1, 1000), check_int(c, 1, 9));
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

static void scale_add_case(struct check *c, uint32_t n_cols, uint32_t n_rows)
{
    struct lg_scale_add_push push = {.n_cols = n_cols, .scale = test_randf(&c->rng, -2, 2)};
    size_t n = (size_t)n_cols * n_rows;
    float *x = check_floats(c, n, -2, 2), *y = check_floats(c, n, -2, 2);
    struct check_case k = {
        .kernel = LG_K_SCALE_ADD,
        .data = {x, y},
        .size = {n * 4, n * 4},
        .tolerance = {[1] = {.abs = 1e-6f, .rel = 1e-6f}},
        .push = &push,
        .push_size = sizeof(push),
        .bytes = (double)n * 12,
    };
    fill_grid(c, &k, n_cols, n_rows);
    check_run(c, &k, "%ux%u", n_rows, n_cols);
    free(x);
    free(y);
}

void check_scale_add(struct check *c)
{
    scale_add_case(c, 896, c->bench ? 512 : 3);
    scale_add_case(c, 1, 1);
    scale_add_case(c, check_int(c, 1, 1000), check_int(c, 1, 9));
}

static void activation_back_case(struct check *c, bool gelu, uint32_t n_cols, uint32_t n_rows)
{
    struct lg_rowwise_push push = {.n_cols = n_cols};
    size_t n = (size_t)n_cols * n_rows;
    float *x = check_floats(c, n, -12, 12), *up = check_floats(c, n, -3, 3), *dy = check_floats(c, n, -1, 1);
    for (size_t i = 0; i < n; i += 17)
        x[i] *= 20;
    struct check_tolerance tolerance = {.abs = 4e-6f, .rel = 4e-6f};
    struct check_case k = {
        .kernel = gelu ? LG_K_GELU_BACK : LG_K_SILU_MUL_BACK,
        .data = {x, gelu ? dy : up, gelu ? NULL : dy},
        .size = {n * 4, n * 4, n * 4, gelu ? 0 : n * 4, gelu ? 0 : n * 4},
        .tolerance = {tolerance, tolerance, tolerance, tolerance, tolerance},
        .push = &push,
        .push_size = sizeof(push),
        .bytes = (double)n * (gelu ? 12 : 20),
    };
    if (!gelu) // magnitudes of up and x
        k.tolerance[3].abs = k.tolerance[4].abs = 2e-5f;
    fill_grid(c, &k, n_cols, n_rows);
    check_run(c, &k, "%ux%u", n_rows, n_cols);
    free(x);
    free(up);
    free(dy);
}

static void activation_back(struct check *c, bool gelu)
{
    activation_back_case(c, gelu, c->bench ? 4864 : 127, c->bench ? 64 : 5);
    activation_back_case(c, gelu, 1, 1);
    activation_back_case(c, gelu, check_int(c, 1, 5000), check_int(c, 1, 4));
}

void check_silu_mul_back(struct check *c)
{
    activation_back(c, false);
}

void check_gelu_back(struct check *c)
{
    activation_back(c, true);
}

/* As many are left out as there should be, within six deviations. */
static void dropout_case(struct check *c, uint32_t n_cols, uint32_t n_rows, float p)
{
    struct lg_dropout_push push = {
        .n_cols = n_cols,
        .drop = (uint32_t)((double)p * 4294967296.0),
        .site = check_int(c, 0, 9),
        .scale = 1 / (1 - p),
    };
    struct lg_train_step step = {.seed_lo = test_rand(&c->rng), .seed_hi = test_rand(&c->rng), .draw = check_int(c, 0, 99)};
    size_t n = (size_t)n_cols * n_rows, n_zero = 0;
    float *x = check_floats(c, n, 1, 2);
    struct check_case k = {
        .kernel = LG_K_DROPOUT,
        .data = {&step, x},
        .size = {sizeof(step), n * 4, n * 4},
        .push = &push,
        .push_size = sizeof(push),
        .bytes = (double)n * 8,
    };
    fill_grid(c, &k, n_cols, n_rows);
    if (check_dispatch(c, &k, "dropout")) {
        check_compare(c, &k, "dropout");
        for (size_t i = 0; i < n; i++)
            n_zero += ((float *)k.out[2])[i] == 0;
        double wanted = (double)n * (double)p;
        if (fabs((double)n_zero - wanted) > 6 * sqrt(wanted + 1))
            check_fail(c, "dropout: %zu of %zu left out, not %g", n_zero, n, wanted);
    }
    check_release(&k);
    free(x);
}

void check_dropout(struct check *c)
{
    dropout_case(c, 1, 1, 0.5f);
    dropout_case(c, 896, 33, 0.1f);
    dropout_case(c, check_int(c, 1, 1000), check_int(c, 1, 9), 0);
    dropout_case(c, check_int(c, 1, 1000), check_int(c, 1, 9), 0.75f);
}
