/* SPDX-License-Identifier: MIT
 * How fast the CPU device multiplies weights, in GB/s of encoded weights, beside the read bandwidth of the
 * machine. */
#include "test.h"

#include "device/device.h"
#include "gguf/types.h"
#include "push.h"
#include "util/clock.h"

enum { K = 896, M = 4864, LAYERS = 24, ROUNDS = 5, N_X = 64 };

struct type {
    const char *name;
    enum lg_type type;
    enum lg_kernel matvec, matmul;
};

static const struct type types[] = {
#define TYPE(lower, UPPER) {#lower, LG_TYPE_##UPPER, LG_K_MATVEC_##UPPER, LG_K_MATMUL_##UPPER},
    LG_WEIGHT_TYPES(TYPE)};

static struct lg_buffer *new_buffer(struct lg_device *dev, uint64_t size)
{
    struct lg_buffer *buf = NULL;
    REQUIRE_INT(lg_buffer_create(dev, size, LG_MEM_SHARED, &buf), ==, 0);
    return buf;
}

/* Seconds of one submission, the best of a few. */
static double measure(struct lg_device *dev, const struct lg_dispatch *ops, uint32_t n_ops)
{
    struct lg_program *prog = NULL;
    REQUIRE_INT(lg_program_create(dev, &(struct lg_program_desc){.ops = ops, .n_ops = n_ops}, &prog), ==, 0);
    double best = 1e30;
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t ticket, start = lg_now_ns();
        REQUIRE_INT(lg_program_submit(prog, 0, 1, 1, &ticket), ==, 0);
        double seconds = (double)(lg_now_ns() - start) * 1e-9;
        best = seconds < best ? seconds : best;
    }
    lg_program_destroy(prog);
    return best;
}

static double read_bandwidth(struct lg_device *dev, struct lg_buffer *data, struct lg_buffer *sums)
{
    struct lg_dispatch op = {
        .kernel = LG_K_READ_SUM,
        .views = {lg_view_all(data), lg_view_all(sums)},
        .spec = {1},
        .grid = {64, 1, 1},
        .push_size = sizeof(struct lg_read_sum_push),
    };
    memcpy(op.push, &(struct lg_read_sum_push){.n_words = (uint32_t)(data->size / 4)}, op.push_size);
    return (double)data->size / measure(dev, &op, 1) * 1e-9;
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
    printf("  %-5s matvec %6.2f GB/s", t->name, (double)row_bytes * M * LAYERS / seconds * 1e-9);
    struct lg_dispatch many = {
        .kernel = t->matmul,
        .views = {lg_view_all(x), ops[0].views[0], {x, 256, x->size - 256}, lg_view_all(y)},
        .spec = {1, 16, 32},
        .grid = {M / 16, N_X / 32, 1},
        .push_size = sizeof(push),
    };
    memcpy(many.push, &push, sizeof(push));
    seconds = measure(dev, &many, 1);
    printf("   matmul %6.1f Gflop/s\n", 2.0 * n_cols * M * N_X / seconds * 1e-9);
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

    /* an empty kernel on one thread: what a dispatch costs by itself */
    enum { MANY = 10000 };
    struct lg_dispatch *ops = calloc(MANY, sizeof(*ops));
    for (int i = 0; i < MANY; i++)
        ops[i] = (struct lg_dispatch){
            .kernel = LG_K_ADD, .views = {lg_view_all(x), lg_view_all(y)}, .spec = {1}, .grid = {1, 1, 1}};
    printf("  tiny dispatch %.0f ns", measure(dev, ops, MANY) / MANY * 1e9);
    for (int i = 0; i < MANY; i++) {
        ops[i].spec[0] = 4096;
        ops[i].grid[0] = 16;
    }
    printf(", one shared between the threads %.0f ns\n", measure(dev, ops, MANY) / MANY * 1e9);
    free(ops);
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
