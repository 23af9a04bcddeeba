/* SPDX-License-Identifier: MIT
 * The fast versions of training's kernels against their references, for every instruction set of this machine, bit for bit, and
 * whatever the tiles. */
#include "test.h"

#include "device/cpu/fast.h"
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

/* Calls the reference, then the fast version, if there is one, with a grid of its own; `out` are views that they write. */
static void compare(enum lg_cpu_isa isa, enum lg_kernel kernel, struct lg_cpu_args args, const uint32_t *grid,
                    const uint32_t *spec, const int *out, int n_out)
{
    lg_cpu_kernel_fn *fast = lg_cpu_isa_kernel(isa, kernel);
    void *expected[LG_MAX_VIEWS] = {0}, *got[LG_MAX_VIEWS] = {0};
    if (!fast)
        return;
    struct lg_cpu_args again = args;
    memcpy(again.grid, grid, sizeof(again.grid));
    again.spec = spec;
    for (int i = 0; i < n_out; i++) {
        size_t size = args.view_size[out[i]];
        expected[i] = malloc(size);
        got[i] = malloc(size);
        REQUIRE(expected[i] && got[i]);
        memcpy(expected[i], args.view[out[i]], size);
        memcpy(got[i], args.view[out[i]], size);
        args.view[out[i]] = expected[i];
        again.view[out[i]] = got[i];
    }
    lg_cpu_kernels[kernel](&args, 0, args.grid[0] * args.grid[1]);
    for (uint32_t i = 0; i < again.grid[0] * again.grid[1]; i++) // one by one, and the last first
        fast(&again, again.grid[0] * again.grid[1] - 1 - i, again.grid[0] * again.grid[1] - i);
    for (int i = 0; i < n_out; i++) {
        const float *a = expected[i], *b = got[i];
        for (size_t j = 0; j < args.view_size[out[i]] / 4; j++) {
            if (memcmp(&a[j], &b[j], 4) == 0)
                continue;
            fprintf(stderr, "%s, %s: view %d [%zu] is %a, not %a\n", lg_cpu_isa_name(isa), lg_kernel_infos[kernel].name, out[i],
                    j, (double)b[j], (double)a[j]);
            exit(1);
        }
        free(expected[i]);
        free(got[i]);
    }
}

static uint32_t up(uint32_t n, uint32_t by)
{
    return (n + by - 1) / by;
}

static void check_product(enum lg_cpu_isa isa, enum lg_kernel kernel, enum lg_type type)
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
    float *dy = random_floats((size_t)n_t * push.y_stride), *dx = random_floats((size_t)n_t * k);
    struct lg_cpu_args args = {
        .view = {dims, dy, w, dx},
        .view_size = {[3] = (size_t)n_t * k * 4},
        .push = &push,
        .spec = spec,
        .grid = {up(k, 32), up(n_t, 7), 1},
    };
    compare(isa, kernel, args, (uint32_t[3]){up(k, other[1]), up(n_t, other[2]) + 1, 1}, other, (int[]){3}, 1);
    free(w);
    free(dy);
    free(dx);
}

static void check_weights(enum lg_cpu_isa isa)
{
    uint32_t n_t = test_randu(&rng, 1, 150), m = test_randu(&rng, 1, 130), k = test_randu(&rng, 1, 200);
    struct lg_weight_back_push push = {.n_cols = k, .n_rows = m, .y_stride = m + 3, .row_begin = 2, .scale = 0.7f};
    uint32_t dims[LG_N_DIMS] = {n_t}, spec[LG_MAX_SPEC] = {1, 5, 9};
    uint32_t other[LG_MAX_SPEC] = {1, test_randu(&rng, 1, 130), test_randu(&rng, 1, 200)};
    float *x = random_floats((size_t)n_t * k), *dy = random_floats((size_t)n_t * push.y_stride), *dw = random_floats((size_t)m * k);
    struct lg_cpu_args args = {
        .view = {dims, x, dy, dw},
        .view_size = {[3] = (size_t)m * k * 4},
        .push = &push,
        .spec = spec,
        .grid = {up(k, 9), up(m, 5), 1},
    };
    compare(isa, LG_K_WEIGHT_BACK, args, (uint32_t[3]){up(k, other[2]), up(m, other[1]), 1}, other, (int[]){3}, 1);
    free(x);
    free(dy);
    free(dw);
}

int main(void)
{
    for (int isa = 0; isa < LG_CPU_ISA_COUNT; isa++) {
        if (!lg_cpu_isa_kernel(isa, LG_K_WEIGHT_BACK))
            continue;
        for (int round = 0; round < 30; round++) {
#define CHECK(lower, UPPER) check_product(isa, LG_K_MATMUL_BACK_##UPPER, LG_TYPE_##UPPER);
            LG_WEIGHT_TYPES(CHECK)
            check_weights(isa);
        }
        printf("%s: the same bits as the reference\n", lg_cpu_isa_name(isa));
    }
    return 0;
}
