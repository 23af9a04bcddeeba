/* SPDX-License-Identifier: MIT
 * How fast the CPU device multiplies weights, in GB/s of encoded weights, beside the read bandwidth of the
 * machine. */
#include "test.h"

#include "device/device.h"
#include "gguf/types.h"
#include "push.h"
#include "util/clock.h"

enum { K = 896, M = 4864, LAYERS = 24, ROUNDS = 10, N_X = 64, M_MANY = M / 8 };

struct type {
    const char *name;
    enum lg_type type;
    enum lg_kernel matvec, matmul;
};

static const struct type types[] = {
#define TYPE(lower, UPPER) {#lower, LG_TYPE_##UPPER, LG_K_MATVEC_##UPPER, LG_K_MATMUL_##UPPER},
    LG_WEIGHT_TYPES(TYPE)};

static const struct type i8_types[] = {
#define I8_TYPE(lower, UPPER) {#lower, LG_TYPE_##UPPER, LG_K_MATVEC_I8_##UPPER, LG_K_MATMUL_I8_##UPPER},
    LG_BLOCK_TYPES(I8_TYPE)};

static struct lg_buffer *new_buffer(struct lg_device *dev, uint64_t size)
{
    struct lg_buffer *buf = NULL;
    REQUIRE_INT(lg_buffer_create(dev, size, LG_MEM_SHARED, &buf), ==, 0);
    return buf;
}

/*
 * Seconds of the fastest dispatch of a program, in a few rounds: a dispatch is short enough to meet a moment
 * in which nobody else wants the processors.
 */
static double measure(struct lg_device *dev, const struct lg_dispatch *ops, uint32_t n_ops)
{
    struct lg_program *prog = NULL;
    struct lg_program_desc desc = {.ops = ops, .n_ops = n_ops, .timestamps = true};
    REQUIRE_INT(lg_program_create(dev, &desc, &prog), ==, 0);
    uint64_t *ns = calloc(n_ops, sizeof(*ns)), best = UINT64_MAX;
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t ticket;
        REQUIRE_INT(lg_program_submit(prog, 0, 1, 1, &ticket), ==, 0);
        REQUIRE_INT(lg_program_times(prog, ns), ==, 0);
        for (uint32_t j = 0; j < n_ops; j++)
            best = ns[j] < best ? ns[j] : best;
    }
    free(ns);
    lg_program_destroy(prog);
    return (double)best * 1e-9;
}

/* Reads pieces as large as a matrix of floats. */
static double read_bandwidth(struct lg_device *dev, struct lg_buffer *data, struct lg_buffer *sums)
{
    struct lg_dispatch ops[LAYERS];
    uint64_t size = data->size / LAYERS / 64 * 64;
    for (int i = 0; i < LAYERS; i++) {
        ops[i] = (struct lg_dispatch){
            .kernel = LG_K_READ_SUM,
            .views = {{data, size * (uint64_t)i, size}, lg_view_all(sums)},
            .spec = {1},
            .grid = {64, 1, 1},
            .push_size = sizeof(struct lg_read_sum_push),
        };
        memcpy(ops[i].push, &(struct lg_read_sum_push){.n_words = (uint32_t)(size / 4)}, ops[i].push_size);
    }
    return (double)size / measure(dev, ops, LAYERS) * 1e-9;
}

/* What a dispatch that does nothing costs, beside its time stamps. */
static double overhead(struct lg_device *dev, struct lg_buffer *x, struct lg_buffer *y, uint32_t group,
                       uint32_t grid)
{
    enum { MANY = 1000 };
    struct lg_dispatch *ops = calloc(MANY, sizeof(*ops));
    for (int i = 0; i < MANY; i++) {
        ops[i] = (struct lg_dispatch){.kernel = LG_K_ADD,
                                      .views = {lg_view_all(x), lg_view_all(y)},
                                      .spec = {group},
                                      .grid = {grid, 1, 1}};
    }
    struct lg_program *prog = NULL;
    REQUIRE_INT(lg_program_create(dev, &(struct lg_program_desc){.ops = ops, .n_ops = MANY}, &prog), ==, 0);
    double best = 1e30;
    for (int i = 0; i < ROUNDS * 10; i++) {
        uint64_t ticket, start = lg_now_ns();
        REQUIRE_INT(lg_program_submit(prog, 0, 1, 1, &ticket), ==, 0);
        double ns = (double)(lg_now_ns() - start) / MANY;
        best = ns < best ? ns : best;
    }
    lg_program_destroy(prog);
    free(ops);
    return best;
}

/* A matrix for each layer, as a token sees them. */
static void bench_type(struct lg_device *dev, const struct type *t, struct lg_buffer *data,
                       struct lg_buffer *x, struct lg_buffer *y)
{
    const struct lg_type_info *info = lg_type_info(t->type);
    uint32_t row_bytes = (K + info->block_elements - 1) / info->block_elements * info->block_bytes;
    uint32_t n_cols = row_bytes / info->block_bytes * info->block_elements;
    struct lg_matmul_push push = {.n_cols = n_cols, .n_rows = M, .row_bytes = row_bytes, .y_stride = M};
    uint64_t size = ((uint64_t)row_bytes * M + 63) / 64 * 64;
    struct lg_dispatch ops[LAYERS];
    for (int i = 0; i < LAYERS; i++) {
        ops[i] = (struct lg_dispatch){
            .kernel = t->matvec,
            .views = {{data, size * (uint64_t)i, (uint64_t)row_bytes * M}, lg_view_all(x), lg_view_all(y)},
            .spec = {1, 16},
            .grid = {M / 16, 1, 1},
            .push_size = sizeof(push),
            .barrier = true,
        };
        memcpy(ops[i].push, &push, sizeof(push));
    }
    double seconds = measure(dev, ops, LAYERS);
    printf("  %-5s matvec %6.2f GB/s", t->name, (double)row_bytes * M / seconds * 1e-9);
    struct lg_dispatch many = {
        .kernel = t->matmul,
        .views = {lg_view_all(x), ops[0].views[0], {x, 256, x->size - 256}, lg_view_all(y)},
        .spec = {1, 16, 32},
        .grid = {M_MANY / 16, N_X / 32, 1},
        .push_size = sizeof(push),
    };
    memcpy(many.push, &push, sizeof(push));
    seconds = measure(dev, &many, 1);
    printf("   matmul %6.1f Gflop/s\n", 2.0 * n_cols * M_MANY * N_X / seconds * 1e-9);
}

static void bench(uint32_t n_threads)
{
    struct lg_env env;
    struct lg_device *dev = NULL;
    lg_env_init(&env);
    REQUIRE_INT(
        lg_device_open(&env, &(struct lg_device_options){.name = "cpu", .n_threads = n_threads}, &dev), ==,
        0);
    struct lg_buffer *data = new_buffer(dev, (uint64_t)LAYERS * M * (K + 128) * 4);
    struct lg_buffer *x = new_buffer(dev, 256 + N_X * (K + 128) * 4), *y = new_buffer(dev, N_X * M * 4);
    memset(data->map, 0x11, data->size); // small positive scales in every format
    memset(x->map, 0, x->size);
    *(uint32_t *)x->map = N_X;
    printf("%s, %s, %u threads: reads %.1f GB/s\n", dev->info.name, dev->info.driver, n_threads,
           read_bandwidth(dev, data, y));
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        bench_type(dev, &types[i], data, x, y);

    printf(" x in 8 bits:\n");
    for (size_t i = 0; dev->info.int8 && i < sizeof(i8_types) / sizeof(i8_types[0]); i++)
        bench_type(dev, &i8_types[i], data, x, y);

    printf("  a dispatch costs %.0f ns on one thread, %.0f ns shared\n", overhead(dev, x, y, 1, 1),
           overhead(dev, x, y, 4096, 16));
    lg_buffer_destroy(data);
    lg_buffer_destroy(x);
    lg_buffer_destroy(y);
    lg_device_close(dev);
}

int main(void)
{
    bench(1);
    bench(2);
    return 0;
}
