/* SPDX-License-Identifier: MIT
 *
 * How long products with few and many rows of x take, as a prefill makes them:
 *
 *     bench_matmul [DEVICE [TYPE [CANDIDATE [float32|int8|half|coop]]]]
 *
 * One line for a square product of float32, then one for each number of rows of x: the time, what of it a row has, and how
 * much longer it is than that of one row less. CANDIDATE is one of the device's tilings of such products
 * (lg_tuning_matmul, lg_tuning_packed or lg_tuning_coop).
 */
#include <time.h>

#include "test.h"

#include "gguf/types.h"
#include "graph/ops.h"
#include "util/clock.h"

enum { SQUARE = 256, K = 1024, M = 1024, MAX_T = 64, ROUNDS = 20 };

static const char *const type_names[] = {
#define NAME(lower, UPPER) [LG_TYPE_##UPPER] = #lower,
    LG_WEIGHT_TYPES(NAME)};

struct bench {
    struct lg_env env;
    struct lg_device *dev;
    struct lg_buffer *dims, *weights, *x, *y, *packed;
    struct lg_tuning tune;
};

static const struct {
    const char *name;
    bool (*candidate)(const struct lg_device_info *info, uint32_t i, struct lg_tuning *tune);
} products[] = {
    [LG_PRODUCT_FLOAT32] = {"float32", lg_tuning_matmul},
    [LG_PRODUCT_INT8] = {"int8", lg_tuning_packed},
    [LG_PRODUCT_HALF] = {"half", lg_tuning_packed},
    [LG_PRODUCT_COOP] = {"coop", lg_tuning_coop},
};

static struct lg_buffer *new_buffer(struct bench *b, uint64_t size, enum lg_mem mem)
{
    struct lg_buffer *buf = NULL;
    REQUIRE_INT(lg_buffer_create(b->dev, size, mem, &buf), ==, 0);
    return buf;
}

/* Milliseconds of a product. The processors' time is what others cannot take away where a driver runs on them. */
struct figure {
    double wall, cpu;
};

static double cpu_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

/* The least of some products of a chain, for t rows of x. */
static struct figure time_chain(struct bench *b, struct lg_chain *chain, uint32_t t)
{
    struct figure best = {INFINITY, INFINITY};
    double spent = 0;
    ((uint32_t *)b->dims->map)[LG_DIM_ROWS] = t;
    for (int round = 0; round < ROUNDS && (round < 4 || spent < 300); round++) {
        uint64_t ticket, begin = lg_now_ns();
        double cpu = cpu_ms();
        REQUIRE_INT(lg_program_submit(chain->program, 0, 1, 1, &ticket), ==, 0);
        REQUIRE_INT(lg_device_wait(b->dev, ticket, UINT64_MAX), ==, 0);
        double wall = (double)(lg_now_ns() - begin) * 1e-6;
        spent += wall;
        best.wall = fmin(best.wall, wall);
        best.cpu = fmin(best.cpu, cpu_ms() - cpu);
    }
    return best;
}

static void make_chain(struct bench *b, struct lg_chain *chain, enum lg_type type, uint32_t rows, uint32_t cols)
{
    const struct lg_type_info *info = lg_type_info(type);
    struct lg_batch batch = {.max_rows = SQUARE, .dims = b->dims};
    struct lg_graph g = {
        .chain = chain,
        .batch = &batch,
        .acts.i8 = lg_view_all(b->packed),
        .tune = b->tune,
        .phase = LG_PREFILL,
        .int8 = true,
        .half = true,
        .dim = LG_DIM_ROWS,
    };
    struct lg_weight w = {
        .type = type,
        .rows = rows,
        .cols = cols,
        .row_bytes = cols / info->block_elements * info->block_bytes,
    };
    w.view = (struct lg_view){b->weights, 0, (uint64_t)rows * w.row_bytes};
    lg_chain_init(chain, &b->env, b->dev, b->dims);
    lg_op_linear(&g, lg_view_all(b->x), &w, NULL, lg_view_all(b->y));
    REQUIRE_INT(lg_chain_compile(chain, false), ==, 0);
}

static void square(struct bench *b)
{
    struct lg_chain chain;
    make_chain(b, &chain, LG_TYPE_F32, SQUARE, SQUARE);
    struct figure f = time_chain(b, &chain, SQUARE);
    printf("f32 %ux%ux%u: %.3f ms, %.1f GFLOP/s, %.3f ms of processors\n", SQUARE, SQUARE, SQUARE, f.wall,
           2.0 * SQUARE * SQUARE * SQUARE / f.wall * 1e-6, f.cpu);
    lg_chain_finish(&chain);
}

static void columns(struct bench *b, enum lg_type type)
{
    struct lg_chain chain;
    make_chain(b, &chain, type, M, K);
    printf("%s %ux%u\n%8s %10s %10s %10s %10s\n", type_names[type], M, K, "rows", "ms", "ms a row", "ratio", "cpu ms");
    double before = 0;
    for (uint32_t t = 1; t <= MAX_T; t++) {
        struct figure f = time_chain(b, &chain, t);
        printf("%8u %10.3f %10.4f %10.2f %10.3f\n", t, f.wall, f.wall / t, before > 0 ? f.wall / before : 1, f.cpu);
        before = f.wall;
    }
    lg_chain_finish(&chain);
}

static enum lg_type type_of(const char *name)
{
    for (size_t i = 0; i < sizeof(type_names) / sizeof(type_names[0]); i++)
        if (type_names[i] && strcmp(type_names[i], name) == 0)
            return (enum lg_type)i;
    fprintf(stderr, "no type of weights '%s'\n", name);
    exit(2);
}

static enum lg_product product_of(const char *name)
{
    for (size_t i = 0; i < sizeof(products) / sizeof(products[0]); i++)
        if (strcmp(products[i].name, name) == 0)
            return (enum lg_product)i;
    fprintf(stderr, "no products of '%s'\n", name);
    exit(2);
}

int main(int argc, char **argv)
{
    struct bench b = {0};
    lg_env_init(&b.env);
    int rc = lg_device_open(&b.env, &(struct lg_device_options){.name = argc > 1 ? argv[1] : "vulkan"}, &b.dev);
    if (rc < 0) {
        fprintf(stderr, "%s\n", b.env.error);
        return rc == LLMGPU_E_NO_DEVICE ? TEST_SKIP : 1;
    }
    b.tune = lg_tuning_choose(&b.dev->info);
    const struct lg_device_info *info = &b.dev->info;
    enum lg_product how = product_of(argc > 4 ? argv[4] : "float32");
    bool runs = how == LG_PRODUCT_INT8 ? info->int_dot : how != LG_PRODUCT_HALF || info->float16;
    b.tune.prefill = how;
    b.tune.prefill_plain = how == LG_PRODUCT_INT8 ? LG_PRODUCT_FLOAT32 : how;
    if (!runs || !products[how].candidate(info, argc > 3 ? (uint32_t)atoi(argv[3]) : 0, &b.tune)) {
        fprintf(stderr, "%s has no such candidate\n", b.dev->info.id);
        return 2;
    }
    printf("%s, %s\n", b.dev->info.name, b.dev->info.driver);
    b.dims = new_buffer(&b, LG_N_DIMS * 4, LG_MEM_SHARED);
    b.weights = new_buffer(&b, (uint64_t)M * K * 4, LG_MEM_DEVICE);
    b.x = new_buffer(&b, (uint64_t)SQUARE * K * 4, LG_MEM_DEVICE);
    b.packed = new_buffer(&b, (uint64_t)SQUARE * (LG_HALF_ROW_BYTES(K) + LG_I8_ROW_BYTES(K)), LG_MEM_DEVICE);
    b.y = new_buffer(&b, (uint64_t)SQUARE * M * 4, LG_MEM_DEVICE);
    square(&b);
    columns(&b, type_of(argc > 2 ? argv[2] : "q8_0"));
    lg_buffer_destroy(b.dims);
    lg_buffer_destroy(b.weights);
    lg_buffer_destroy(b.x);
    lg_buffer_destroy(b.packed);
    lg_buffer_destroy(b.y);
    lg_device_close(b.dev);
    return 0;
}
