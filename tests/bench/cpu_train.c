/* SPDX-License-Identifier: MIT
 *
 * How fast the CPU device's kernels for training are on one thread, in Gflop/s of the time that it had:
 *
 *     bench_cpu_train [beginning of kernels' names]
 */
#include <time.h>

#include "test.h"

#include "device/cpu/fast.h"
#include "gguf/types.h"

enum { T = 256, C = 896, F = 4864, RANK = 16, HEADS = 14, KV = 2, DIM = 64, ROUNDS = 12 };

/* Memory for all views: small positive numbers, and weights that are so in every format. */
static void *filled(size_t size, bool weights)
{
    uint8_t *p = malloc(size);
    REQUIRE(p);
    for (size_t i = 0; i < size && weights; i++)
        p[i] = 0x11;
    for (size_t i = 0; i < size / 4 && !weights; i++)
        ((float *)(void *)p)[i] = (float)(i % 97) * 1e-3f;
    return p;
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static const char *only;

static void measure(const char *what, enum lg_kernel kernel, const struct lg_cpu_args *args, double flops)
{
    lg_cpu_kernel_fn *fn = lg_cpu_fast(kernel) ? lg_cpu_fast(kernel) : lg_cpu_kernels[kernel];
    double best = INFINITY;
    if (strncmp(lg_kernel_infos[kernel].name, only, strlen(only)) != 0)
        return;
    for (int i = 0; i < ROUNDS; i++) {
        double begin = seconds();
        fn(args, 0, args->grid[0] * args->grid[1] * args->grid[2]);
        best = fmin(best, seconds() - begin);
    }
    printf("%-24s %-28s %9.3f ms %7.1f Gflop/s\n", lg_kernel_infos[kernel].name, what, best * 1e3, flops / best * 1e-9);
}

static void *dims, *w, *x, *dy, *y;

static void product(const char *what, enum lg_type type, enum lg_kernel forward, enum lg_kernel back, uint32_t rows, uint32_t cols)
{
    const struct lg_type_info *info = lg_type_info(type);
    uint32_t row_bytes = cols / info->block_elements * info->block_bytes;
    struct lg_matmul_push f = {.n_cols = cols, .n_rows = rows, .row_bytes = row_bytes, .y_stride = rows};
    struct lg_matmul_back_push b = {.n_cols = cols, .n_rows = rows, .row_bytes = row_bytes, .y_stride = rows};
    uint32_t f_spec[LG_MAX_SPEC] = {1, 256, T, LG_MATMUL_FORM_BLOCKS}, b_spec[LG_MAX_SPEC] = {1, 256, T};
    double flops = 2.0 * T * rows * cols;
    measure(what, forward, &(struct lg_cpu_args){.view = {dims, w, x, y}, .push = &f, .spec = f_spec, .grid = {(rows + 255) / 256, 1, 1}}, flops);
    measure(what, back, &(struct lg_cpu_args){.view = {dims, dy, w, y}, .push = &b, .spec = b_spec, .grid = {(cols + 255) / 256, 1, 1}}, flops);
}

static void weights(const char *what, uint32_t rows, uint32_t cols)
{
    struct lg_weight_back_push push = {.n_cols = cols, .n_rows = rows, .y_stride = rows, .scale = 1};
    uint32_t spec[LG_MAX_SPEC] = {1, 48, 256};
    measure(what, LG_K_WEIGHT_BACK,
            &(struct lg_cpu_args){.view = {dims, x, dy, w}, .push = &push, .spec = spec, .grid = {(cols + 255) / 256, (rows + 47) / 48, 1}},
            2.0 * T * rows * cols);
}

static void attention(void)
{
    struct lg_attention_train_push push = {.n_heads = HEADS, .n_kv = KV, .head_dim = DIM, .scale = 0.125f};
    struct lg_row *rows = filled(T * sizeof(*rows), false);
    uint32_t spec[LG_MAX_SPEC] = {1, 0, 32, 1};
    float *q = filled(T * HEADS * DIM * 4, false), *k = filled(T * KV * DIM * 4, false), *dq = filled(T * HEADS * DIM * 4, false);
    float *dk = filled(T * KV * DIM * 4, false), *dv = filled(T * KV * DIM * 4, false), *lse = filled(T * HEADS * 4, false);
    float *delta = filled(T * HEADS * 4, false);
    for (uint32_t i = 0; i < T; i++)
        rows[i] = (struct lg_row){.pos = i, .slot = 0};
    struct lg_cpu_args args = {
        .view = {dims, rows, q, k, k, y, lse}, .push = &push, .spec = spec, .grid = {HEADS, T / 32, 1}};
    double pairs = (double)HEADS * DIM * T * (T + 1);
    measure("a sample of 256", LG_K_ATTENTION_TRAIN, &args, 2 * pairs);
    memcpy(args.view + 5, (void *[]){y, lse, q, dq, delta}, 5 * sizeof(void *));
    measure("a sample of 256", LG_K_ATTENTION_BACK_Q, &args, 3 * pairs);
    memcpy(args.view + 5, (void *[]){lse, delta, q, dk, dv}, 5 * sizeof(void *));
    args.grid[0] = KV;
    measure("a sample of 256", LG_K_ATTENTION_BACK_KV, &args, 4 * pairs);
    void *all[] = {rows, q, k, dq, dk, dv, lse, delta};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        free(all[i]);
}

int main(int argc, char **argv)
{
    only = argc > 1 ? argv[1] : "";
    dims = filled(LG_N_DIMS * 4, true);
    *(uint32_t *)dims = T;
    w = filled((size_t)F * 1024 * 4, true);
    x = filled((size_t)T * F * 4, false);
    dy = filled((size_t)T * F * 4, false);
    y = filled((size_t)T * F * 4, false);
#define PRODUCTS(lower, UPPER)                                                                               \
    product("4864x1024", LG_TYPE_##UPPER, LG_K_MATMUL_##UPPER, LG_K_MATMUL_BACK_##UPPER, F, 1024);
    LG_WEIGHT_TYPES(PRODUCTS)
    product("896x896", LG_TYPE_F32, LG_K_MATMUL_F32, LG_K_MATMUL_BACK_F32, C, C);
    product("16x4864, A", LG_TYPE_F32, LG_K_MATMUL_F32, LG_K_MATMUL_BACK_F32, RANK, F);
    product("4864x16, B", LG_TYPE_F32, LG_K_MATMUL_F32, LG_K_MATMUL_BACK_F32, F, RANK);
    weights("896x896", C, C);
    weights("16x4864, A", RANK, F);
    weights("4864x16, B", F, RANK);
    attention();
    void *all[] = {dims, w, x, dy, y};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        free(all[i]);
    return 0;
}
