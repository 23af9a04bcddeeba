/* SPDX-License-Identifier: MIT
 * The fast versions of training's kernels against their references, for every instruction set of this machine, whatever the tiles:
 * bit for bit, but for sums of products. */
#include "test.h"

#include "device/cpu/fast.h"
#include "gguf/quants.h"
#include "gguf/types.h"

static struct test_rng rng = {3};

static float *random_floats(size_t n)
{
    float *x = malloc((n + 1) * sizeof(*x));
    REQUIRE(x);
    for (size_t i = 0; i < n; i++)
        x[i] = test_randf(&rng, -1, 1);
    return x;
}

/* A copy of a view, which the kernel then writes in its place. */
static float *own(struct lg_cpu_args *args, const struct lg_cpu_args *like, int view)
{
    float *copy = malloc(like->view_size[view]);
    REQUIRE(copy);
    memcpy(copy, like->view[view], like->view_size[view]);
    args->view[view] = copy;
    return copy;
}

static void different(enum lg_cpu_isa isa, enum lg_kernel kernel, int view, size_t at, float got, float expected)
{
    fprintf(stderr, "%s, %s: view %d [%zu] is %a, not %a\n", lg_cpu_isa_name(isa), lg_kernel_infos[kernel].name, view, at,
            (double)got, (double)expected);
    exit(1);
}

static void require_bits(enum lg_cpu_isa isa, enum lg_kernel kernel, int view, const float *got, const float *expected, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(&got[i], &expected[i], sizeof(*got)) != 0)
            different(isa, kernel, view, i, got[i], expected[i]);
}

/* Apart by no more than some roundings, of the largest and of what was added up. */
static void require_near(enum lg_cpu_isa isa, enum lg_kernel kernel, int view, const float *got, const float *expected, size_t n,
                         float rounding)
{
    float most = 0;
    for (size_t i = 0; i < n; i++)
        most = fmaxf(most, fabsf(expected[i]));
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(got[i] - expected[i]) <= 2e-5f * most + rounding))
            different(isa, kernel, view, i, got[i], expected[i]);
}

static void call(lg_cpu_kernel_fn *fn, const struct lg_cpu_args *args)
{
    uint32_t n = args->grid[0] * args->grid[1];
    for (uint32_t i = 0; i < n; i++) // one by one, and the last first
        fn(args, n - 1 - i, n - i);
}

/* Calls the reference, then the fast version, if there is one, with its grid and another one; `out` are views that they write.
 * With a `rounding` products are rounded with their sums, where there is an instruction for that: then the grids agree to the
 * bit, and the reference nearly does. */
static void compare_with(enum lg_cpu_isa isa, enum lg_kernel kernel, const struct lg_cpu_args *args, const uint32_t *grid,
                         const uint32_t *spec, const int *out, int n_out, float rounding)
{
    lg_cpu_kernel_fn *fast = lg_cpu_isa_kernel(isa, kernel);
    float *expected[LG_MAX_VIEWS], *same[LG_MAX_VIEWS], *got[LG_MAX_VIEWS];
    if (!fast)
        return;
    struct lg_cpu_args reference = *args, first = *args, again = *args;
    memcpy(again.grid, grid, sizeof(again.grid));
    again.spec = spec;
    for (int i = 0; i < n_out; i++) {
        expected[i] = own(&reference, args, out[i]);
        same[i] = own(&first, args, out[i]);
        got[i] = own(&again, args, out[i]);
    }
    call(lg_cpu_kernels[kernel], &reference);
    call(fast, &first);
    call(fast, &again);
    for (int i = 0; i < n_out; i++) {
        size_t n = args->view_size[out[i]] / sizeof(float);
        require_bits(isa, kernel, out[i], got[i], same[i], n);
        if (rounding > 0)
            require_near(isa, kernel, out[i], got[i], expected[i], n, rounding);
        else
            require_bits(isa, kernel, out[i], got[i], expected[i], n);
        free(expected[i]);
        free(same[i]);
        free(got[i]);
    }
}

static void compare(enum lg_cpu_isa isa, enum lg_kernel kernel, struct lg_cpu_args args, const uint32_t *grid,
                    const uint32_t *spec, const int *out, int n_out)
{
    compare_with(isa, kernel, &args, grid, spec, out, n_out, 0);
}

static void compare_products(enum lg_cpu_isa isa, enum lg_kernel kernel, struct lg_cpu_args args, const uint32_t *grid,
                             const uint32_t *spec, const int *out, int n_out, float rounding)
{
    compare_with(isa, kernel, &args, grid, spec, out, n_out, rounding);
}

static uint32_t up(uint32_t n, uint32_t by)
{
    return (n + by - 1) / by;
}

static float largest(enum lg_type type, const uint8_t *w, uint32_t n_rows, uint32_t n_cols)
{
    float row[512], most = 0;
    for (uint32_t m = 0; m < n_rows; m++) {
        lg_dequantize(type, w + (size_t)m * (n_cols / lg_type_info(type)->block_elements) * lg_type_info(type)->block_bytes, row, n_cols);
        for (uint32_t k = 0; k < n_cols; k++)
            most = fmaxf(most, fabsf(row[k]));
    }
    return most;
}

/* Weights times rows of x, and back. */
static void check_product(enum lg_cpu_isa isa, enum lg_kernel forward, enum lg_kernel back, enum lg_type type)
{
    const struct lg_type_info *info = lg_type_info(type);
    uint32_t block = info->block_elements, n_t = test_randu(&rng, 1, 40), m = test_randu(&rng, 1, 150);
    uint32_t k = block == 1 ? test_randu(&rng, 1, 300) : block * test_randu(&rng, 1, 512 / block);
    struct lg_matmul_back_push push = {.n_cols = k, .n_rows = m, .row_bytes = k / block * info->block_bytes, .add = test_rand(&rng) % 2};
    push.row_begin = test_randu(&rng, 0, 3);
    push.y_stride = m + push.row_begin + test_randu(&rng, 0, 3);
    uint32_t dims[LG_N_DIMS] = {n_t}, spec[LG_MAX_SPEC] = {1, 32, 7};
    uint32_t other[LG_MAX_SPEC] = {1, test_rand(&rng) % 2 ? 256 : 32 * test_randu(&rng, 1, 9), test_randu(&rng, 1, 40)};
    uint8_t *w = malloc((size_t)m * push.row_bytes);
    REQUIRE(w);
    for (size_t i = 0; i < (size_t)m * push.row_bytes; i++)
        w[i] = i % 2 ? 0x30 + test_rand(&rng) % 16 : (uint8_t)test_rand(&rng); // finite in every format
    float rounding = 1e-6f * largest(type, w, m, k) * (float)(m > k ? m : k);
    float *dy = random_floats((size_t)n_t * push.y_stride), *dx = random_floats((size_t)n_t * k);
    struct lg_cpu_args args = {
        .view = {dims, dy, w, dx},
        .view_size = {[3] = (size_t)n_t * k * 4},
        .push = &push,
        .spec = spec,
        .grid = {up(k, 32), up(n_t, 7), 1},
    };
    compare_products(isa, back, args, (uint32_t[3]){up(k, other[1]), up(n_t, other[2]) + 1, 1}, other, (int[]){3}, 1, rounding);
    struct lg_matmul_push there = {k, m, push.row_bytes, push.y_stride, push.row_begin, 0};
    uint32_t tile[LG_MAX_SPEC] = {1, test_randu(&rng, 1, 150), test_randu(&rng, 1, 40), LG_MATMUL_FORM_BLOCKS};
    memcpy(spec, (uint32_t[]){1, 7, 32, LG_MATMUL_FORM_BLOCKS}, 4 * sizeof(*spec));
    args.push = &there;
    memcpy(args.view, (void *[]){dims, w, dx, dy}, 4 * sizeof(void *));
    memcpy(args.grid, (uint32_t[]){up(m, 7), up(n_t, 32)}, 2 * sizeof(uint32_t));
    args.view_size[3] = (size_t)n_t * push.y_stride * 4;
    compare_products(isa, forward, args, (uint32_t[3]){up(m, tile[1]), up(n_t, tile[2]), 1}, tile, (int[]){3}, 1, rounding);
    free(w);
    free(dy);
    free(dx);
}

static void check_weights(enum lg_cpu_isa isa)
{
    uint32_t n_t = test_randu(&rng, 1, 300), m = test_randu(&rng, 1, 130), k = test_randu(&rng, 1, 300);
    struct lg_weight_back_push push = {.n_cols = k, .n_rows = m, .y_stride = m + 3, .row_begin = 2, .scale = 0.7f};
    uint32_t dims[LG_N_DIMS] = {n_t}, spec[LG_MAX_SPEC] = {1, 5, 9};
    uint32_t other[LG_MAX_SPEC] = {1, test_randu(&rng, 1, 130), test_randu(&rng, 1, 300)};
    float *x = random_floats((size_t)n_t * k), *dy = random_floats((size_t)n_t * push.y_stride), *dw = random_floats((size_t)m * k);
    struct lg_cpu_args args = {
        .view = {dims, x, dy, dw},
        .view_size = {[3] = (size_t)m * k * 4},
        .push = &push,
        .spec = spec,
        .grid = {up(k, 9), up(m, 5), 1},
    };
    compare_products(isa, LG_K_WEIGHT_BACK, args, (uint32_t[3]){up(k, other[2]), up(m, other[1]), 1}, other, (int[]){3}, 1, 1e-6f);
    free(x);
    free(dy);
    free(dw);
}

/* Samples of any lengths; the reference's workgroups take one row of one head. */
static void check_attention(enum lg_cpu_isa isa)
{
    static const uint32_t dims_of_heads[] = {64, 16, 80, 128, 38, 1, 256};
    uint32_t n_t = test_randu(&rng, 1, 200), n_kv = test_randu(&rng, 1, 2), n_heads = n_kv * test_randu(&rng, 1, 3);
    struct lg_attention_train_push push = {
        .n_heads = n_heads, .n_kv = n_kv, .head_dim = dims_of_heads[test_rand(&rng) % 7], .scale = 0.3f};
    struct lg_row *rows = calloc(n_t, sizeof(*rows));
    REQUIRE(rows);
    for (uint32_t i = 0, sample = 0, pos = 0; i < n_t; i++, pos++) {
        if (test_rand(&rng) % 70 == 0)
            sample++, pos = 0;
        rows[i] = (struct lg_row){.pos = pos, .slot = sample};
    }
    size_t n_q = (size_t)n_t * n_heads * push.head_dim, n_k = (size_t)n_t * n_kv * push.head_dim, n = (size_t)n_t * n_heads;
    float *q = random_floats(n_q), *k = random_floats(n_k), *v = random_floats(n_k), *a = random_floats(n_q);
    float *lse = random_floats(n), *da = random_floats(n_q), *dq = random_floats(n_q), *delta = random_floats(n);
    float *dk = random_floats(n_k), *dv = random_floats(n_k);
    uint32_t dims[LG_N_DIMS] = {n_t}, spec[LG_MAX_SPEC] = {1, 0, 1, 1};
    uint32_t other[LG_MAX_SPEC] = {1, 0, test_randu(&rng, 1, 70), test_randu(&rng, 1, 3)};
    uint32_t grid[3] = {n_kv * up(n_heads / n_kv, other[3]), up(n_t, other[2]), 1};
    struct lg_cpu_args args = {.view = {dims, rows, q, k, v, a, lse, da, dq, delta},
                               .view_size = {[5] = n_q * 4, [6] = n * 4, [8] = n_q * 4, [9] = n * 4},
                               .push = &push,
                               .spec = spec,
                               .grid = {n_heads, n_t, 1}};
    compare_products(isa, LG_K_ATTENTION_TRAIN, args, grid, other, (int[]){5, 6}, 2, 1e-6f);
    compare_products(isa, LG_K_ATTENTION_BACK_Q, args, grid, other, (int[]){8, 9}, 2, 1e-6f);
    memcpy(args.view + 5, (void *[]){lse, delta, da, dk, dv}, 5 * sizeof(void *));
    args.view_size[8] = args.view_size[9] = n_k * 4;
    args.grid[0] = grid[0] = n_kv;
    compare_products(isa, LG_K_ATTENTION_BACK_KV, args, grid, other, (int[]){8, 9}, 2, 1e-6f);
    void *all[] = {rows, q, k, v, a, lse, da, dq, delta, dk, dv};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        free(all[i]);
}

/* Rows of n_cols: norms, activations and the loss. */
static void check_rows(enum lg_cpu_isa isa)
{
    uint32_t n_cols = test_randu(&rng, 1, 300), n_rows = test_randu(&rng, 1, 4), spec[LG_MAX_SPEC] = {1};
    uint32_t other[LG_MAX_SPEC] = {test_randu(&rng, 1, 400)}, targets[4], grid[3] = {up(n_cols, other[0]), n_rows, 1};
    uint32_t rows[3] = {n_rows, 1, 1};
    size_t n = (size_t)n_cols * n_rows, size = n * 4;
    float *a = random_floats(n), *b = random_floats(n), *c = random_floats(n), *y = random_floats(n), *z = random_floats(n);
    struct lg_rowwise_push rowwise = {.n_cols = n_cols};
    struct lg_scale_add_push scale = {.n_cols = n_cols, .scale = 0.3f};
    struct lg_norm_push norm = {.n_cols = n_cols, .eps = 1e-5f};
    struct lg_loss_push loss = {.n_cols = n_cols, .first = test_randu(&rng, 0, 1) * 77};
    struct lg_train_step step = {.loss_scale = 0.01f};
    struct lg_loss_state states[4];
    for (size_t i = 0; i < n; i++)
        a[i] *= test_randf(&rng, 0, 50);
    for (uint32_t r = 0; r < 4; r++) {
        targets[r] = r == 1 ? LG_NO_TARGET : test_randu(&rng, 0, 2 * n_cols + 77);
        states[r] = (struct lg_loss_state){.top = test_randf(&rng, 0, 60), .sum = 3, .logit = 1};
    }
    struct lg_cpu_args args = {.view = {a, b, c, y, z}, .view_size = {size, size, size, size, size}, .spec = spec, .grid = {n_cols, n_rows, 1}};
    args.push = &rowwise;
    compare(isa, LG_K_SILU_MUL_BACK, args, grid, other, (int[]){3, 4}, 2);
    compare(isa, LG_K_GELU_BACK, args, grid, other, (int[]){2}, 1);
    args.push = &scale;
    compare(isa, LG_K_SCALE_ADD, args, grid, other, (int[]){1}, 1);
    args.push = &norm;
    memcpy(args.grid, rows, sizeof(rows));
    args.view_size[4] = n_rows * 8;
    args.view[4] = states;
    compare(isa, LG_K_RMS_NORM_BACK, args, rows, other, (int[]){3, 4}, 2);
    compare(isa, LG_K_LAYER_NORM_BACK, args, rows, other, (int[]){3, 4}, 2);
    args.push = &loss;
    memcpy(args.view, (void *[]){a, targets, states}, 3 * sizeof(void *));
    args.view_size[2] = n_rows * sizeof(states[0]);
    compare(isa, LG_K_LOSS_PART, args, rows, other, (int[]){2}, 1);
    memcpy(args.view, (void *[]){&step, a, targets, states, y}, 5 * sizeof(void *));
    args.grid[0] = n_cols;
    args.grid[1] = n_rows;
    args.view_size[4] = size;
    compare(isa, LG_K_LOSS_BACK, args, grid, other, (int[]){4}, 1);
    void *all[] = {a, b, c, y, z};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        free(all[i]);
}

/* Sums over the rows of a batch. */
static void check_columns(enum lg_cpu_isa isa)
{
    uint32_t n_cols = test_randu(&rng, 1, 300), n_t = test_randu(&rng, 1, 50), dims[LG_N_DIMS] = {n_t};
    uint32_t spec[LG_MAX_SPEC] = {7}, other[LG_MAX_SPEC] = {test_randu(&rng, 1, 400)}, grid[3] = {up(n_cols, other[0]), 1, 1};
    struct lg_column_push push = {.n_cols = n_cols};
    float *x = random_floats((size_t)n_t * n_cols), *dy = random_floats((size_t)n_t * n_cols), *kept = random_floats(2 * n_t);
    float *dw = random_floats(n_cols), *db = random_floats(n_cols);
    struct lg_cpu_args args = {.view = {dims, x, dy, kept, dw, db},
                               .view_size = {[2] = n_cols * 4, [4] = n_cols * 4, [5] = n_cols * 4},
                               .push = &push,
                               .spec = spec,
                               .grid = {up(n_cols, 7), 1, 1}};
    compare(isa, LG_K_RMS_NORM_WEIGHT_BACK, args, grid, other, (int[]){4}, 1);
    compare(isa, LG_K_LAYER_NORM_WEIGHT_BACK, args, grid, other, (int[]){4, 5}, 2);
    memcpy(args.view + 1, (void *[]){dy, db}, 2 * sizeof(void *));
    compare(isa, LG_K_BIAS_BACK, args, grid, other, (int[]){2}, 1);
    void *all[] = {x, dy, kept, dw, db};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        free(all[i]);
}

static void check_adamw(enum lg_cpu_isa isa)
{
    uint32_t n = test_randu(&rng, 1, 3000), spec[LG_MAX_SPEC] = {1};
    struct lg_adamw_push push = {n, 256 * test_randu(&rng, 1, 4), 0.9f, 0.99f, 1e-8f, 0.1f};
    struct lg_train_step step = {.lr = 0.01f, .correct1 = 2, .correct2 = 3};
    struct lg_train_norm norm = {.norm = 3, .factor = 0.7f};
    float *g = random_floats(n), *p = random_floats(n), *m = random_floats(n), *v = random_floats(n);
    for (uint32_t i = 0; i < n; i++)
        v[i] = v[i] * v[i];
    struct lg_cpu_args args = {.view = {&step, &norm, g, p, m, v},
                               .view_size = {[2] = n * 4, [3] = n * 4, [4] = n * 4, [5] = n * 4},
                               .push = &push,
                               .spec = spec,
                               .grid = {up(n, push.per_group), 1, 1}};
    compare(isa, LG_K_ADAMW, args, args.grid, spec, (int[]){2, 3, 4, 5}, 4);
    void *all[] = {g, p, m, v};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        free(all[i]);
}

int main(void)
{
    for (int isa = 0; isa < LG_CPU_ISA_COUNT; isa++) {
        if (!lg_cpu_isa_kernel(isa, LG_K_WEIGHT_BACK))
            continue;
        for (int round = 0; round < 30; round++) {
#define CHECK(lower, UPPER) check_product(isa, LG_K_MATMUL_##UPPER, LG_K_MATMUL_BACK_##UPPER, LG_TYPE_##UPPER);
            LG_WEIGHT_TYPES(CHECK)
            check_weights(isa);
            check_attention(isa);
            check_rows(isa);
            check_columns(isa);
            check_adamw(isa);
        }
        printf("%s: as the references\n", lg_cpu_isa_name(isa));
    }
    return 0;
}
