/* SPDX-License-Identifier: MIT
 * The CPU device against the contract of lib/device/device.h. */
#include "test.h"

#include <pthread.h>
#include <unistd.h>

#include "device/device.h"
#include "push.h"
#include "util/clock.h"

static struct lg_env env;

static struct lg_device *open_device(uint32_t n_threads, bool check)
{
    struct lg_device *dev = NULL;
    struct lg_device_options options = {.name = "cpu", .n_threads = n_threads, .check = check};
    REQUIRE_INT(lg_device_open(&env, &options, &dev), ==, 0);
    return dev;
}

static struct lg_buffer *new_buffer(struct lg_device *dev, uint64_t size)
{
    struct lg_buffer *buf = NULL;
    REQUIRE_INT(lg_buffer_create(dev, size, LG_MEM_SHARED, &buf), ==, 0);
    return buf;
}

static struct lg_program *new_program(struct lg_device *dev, const struct lg_dispatch *ops, uint32_t n_ops)
{
    struct lg_program *prog = NULL;
    struct lg_program_desc desc = {.ops = ops, .n_ops = n_ops, .timestamps = true};
    REQUIRE_INT(lg_program_create(dev, &desc, &prog), ==, 0);
    return prog;
}

static int submit(struct lg_program *prog, uint32_t repeat)
{
    uint64_t ticket = 0;
    return lg_program_submit(prog, 0, prog->n_slices, repeat, &ticket);
}

/* x += b on rows of n floats. */
static struct lg_dispatch add_op(struct lg_view x, struct lg_view b, uint32_t n, uint32_t group)
{
    struct lg_dispatch op = {
        .kernel = LG_K_ADD,
        .views = {x, b},
        .spec = {group},
        .grid = {(n + group - 1) / group, 1, 1},
        .push_size = sizeof(struct lg_add_push),
        .barrier = true,
    };
    memcpy(op.push, &(struct lg_add_push){.n_cols = n, .b_stride = n}, op.push_size);
    return op;
}

static void test_info(void)
{
    struct lg_device *dev = open_device(3, false);
    REQUIRE_STR(dev->info.id, "cpu");
    REQUIRE(dev->info.name[0] && dev->info.driver[0]);
    REQUIRE_INT(dev->info.n_threads, ==, 3);
    REQUIRE_INT(dev->info.kind, ==, LG_DEVICE_CPU);
    REQUIRE_INT(dev->info.subgroup_size, ==, 1);
    REQUIRE(dev->info.imports_host && dev->info.timestamps);
    REQUIRE(dev->info.memory >= (64 << 20));
    uint64_t available = 0;
    int rc = lg_device_memory_budget(dev, &available);
    REQUIRE(rc == LLMGPU_E_UNSUPPORTED || (rc == 0 && available > 0 && available <= dev->info.memory));
    lg_device_close(dev);
    lg_device_close(NULL);
}

static void test_options(void)
{
    struct lg_device *dev;
    struct lg_device_options options = {.name = "cpu", .priority = LG_PRIORITY_REALTIME};
    REQUIRE_INT(lg_device_open(&env, &options, &dev), ==, 0);
    lg_device_close(dev);
    options.priority = LG_PRIORITY_REALTIME + 1;
    REQUIRE_INT(lg_device_open(&env, &options, &dev), ==, LLMGPU_E_INVALID);
    REQUIRE(!dev && strstr(env.error, "no priority 5"));

    struct lg_vk_host host = {0}; // incomplete, or of no use in a build without Vulkan; never the CPU
    options = (struct lg_device_options){.name = "cpu", .host = &host};
    int rc = lg_device_open(&env, &options, &dev);
    REQUIRE(rc == LLMGPU_E_INVALID || rc == LLMGPU_E_UNSUPPORTED);
    REQUIRE(!dev && strstr(env.error, "the host's"));
}

static void test_buffers(void)
{
    struct lg_device *dev = open_device(1, false);
    const uint64_t sizes[] = {1, 63, 4096, (1 << 20) - 1, 1 << 20, (5 << 20) + 3};
    uint64_t sum = 0;
    struct lg_buffer *bufs[6];
    for (int i = 0; i < 6; i++) {
        bufs[i] = new_buffer(dev, sizes[i]);
        const uint8_t *bytes = bufs[i]->map;
        REQUIRE_INT((uintptr_t)bytes % 64, ==, 0);
        for (uint64_t j = 0; j < sizes[i]; j++)
            REQUIRE(bytes[j] == 0);
        sum += sizes[i];
    }
    REQUIRE_INT(dev->stats.memory_used, ==, sum);
    uint8_t in[100], out[100] = {0};
    memset(in, 7, sizeof(in));
    REQUIRE_INT(lg_upload(dev, (struct lg_view){bufs[2], 64, 100}, in), ==, 0);
    REQUIRE_INT(lg_device_flush(dev), ==, 0);
    REQUIRE_INT(lg_download(dev, (struct lg_view){bufs[2], 64, 100}, out), ==, 0);
    REQUIRE(memcmp(in, out, 100) == 0);
    REQUIRE_INT(lg_upload(dev, (struct lg_view){bufs[2], 4000, 100}, in), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(lg_download(dev, (struct lg_view){bufs[2], UINT64_MAX - 10, 100}, out), ==, LLMGPU_E_INVALID);
    for (int i = 0; i < 6; i++)
        lg_buffer_destroy(bufs[i]);
    REQUIRE_INT(dev->stats.memory_used, ==, 0);
    REQUIRE_INT(dev->stats.memory_peak, ==, sum);

    struct lg_buffer *buf = NULL;
    REQUIRE_INT(lg_buffer_create(dev, 0, LG_MEM_DEVICE, &buf), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(lg_buffer_create(dev, UINT64_MAX, LG_MEM_DEVICE, &buf), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(lg_buffer_create(dev, (uint64_t)1 << 46, LG_MEM_DEVICE, &buf), ==, LLMGPU_E_NOMEM);
    REQUIRE(strstr(env.error, "70368744177664"));
    REQUIRE(!buf);
    lg_device_close(dev);
}

static void test_copy(void)
{
    struct lg_device *dev = open_device(1, false);
    struct lg_buffer *a = new_buffer(dev, 1000), *b = new_buffer(dev, 1000), *imported = NULL;
    uint8_t host[100], out[100];
    for (int i = 0; i < 100; i++)
        host[i] = (uint8_t)i;
    REQUIRE_INT(lg_upload(dev, (struct lg_view){a, 64, 100}, host), ==, 0);
    REQUIRE_INT(lg_buffer_copy(dev, (struct lg_view){b, 900, 100}, (struct lg_view){a, 64, 1}), ==, 0);
    REQUIRE_INT(lg_buffer_copy(dev, (struct lg_view){b, 800, 100}, (struct lg_view){b, 900, 100}), ==, 0);
    REQUIRE_INT(lg_download(dev, (struct lg_view){b, 800, 100}, out), ==, 0);
    REQUIRE(memcmp(out, host, 100) == 0);
    REQUIRE_INT(lg_buffer_copy(dev, (struct lg_view){b, 801, 100}, (struct lg_view){b, 900, 100}), ==,
                LLMGPU_E_INVALID);
    REQUIRE(strstr(env.error, "overlap"));
    REQUIRE_INT(lg_buffer_copy(dev, (struct lg_view){b, 901, 100}, (struct lg_view){a, 0, 100}), ==,
                LLMGPU_E_INVALID);
    REQUIRE_INT(lg_buffer_copy(dev, (struct lg_view){b, 0, 100}, (struct lg_view){a, UINT64_MAX - 9, 100}),
                ==, LLMGPU_E_INVALID);
    REQUIRE_INT(lg_buffer_import(dev, host, sizeof(host), &imported), ==, 0);
    REQUIRE_INT(lg_buffer_copy(dev, lg_view_all(imported), lg_view_all(a)), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(lg_buffer_copy(dev, (struct lg_view){a, 0, 100}, lg_view_all(imported)), ==, 0);
    REQUIRE(memcmp(a->map, host, 100) == 0);
    lg_buffer_destroy(imported);
    lg_buffer_destroy(a);
    lg_buffer_destroy(b);
    lg_device_close(dev);
}

/* Imported memory is read in place, at any alignment, and never written. */
static void test_import(void)
{
    struct lg_device *dev = open_device(1, false);
    float *host = malloc(64 * sizeof(*host));
    for (int i = 0; i < 64; i++)
        host[i] = (float)i;
    struct lg_buffer *weights = NULL, *x = new_buffer(dev, 256), *y = new_buffer(dev, 256);
    REQUIRE_INT(lg_buffer_import(dev, host, 64 * sizeof(*host), &weights), ==, 0);
    REQUIRE(weights->map == host);
    REQUIRE_INT(dev->stats.memory_used, ==, 512);
    ((float *)x->map)[0] = 1;
    struct lg_dispatch op = {
        .kernel = LG_K_MATVEC_F32,
        .views = {{weights, 4, 8 * sizeof(float)}, lg_view_all(x), lg_view_all(y)},
        .spec = {1, 1},
        .grid = {4, 1, 1},
        .push_size = sizeof(struct lg_matmul_push),
    };
    struct lg_matmul_push push = {.n_cols = 2, .n_rows = 4, .row_bytes = 8, .y_stride = 4};
    memcpy(op.push, &push, sizeof(push));
    struct lg_program *prog = new_program(dev, &op, 1);
    REQUIRE_INT(submit(prog, 1), ==, 0);
    for (int i = 0; i < 4; i++)
        REQUIRE(((float *)y->map)[i] == (float)(1 + 2 * i));
    lg_program_destroy(prog);

    REQUIRE_INT(lg_upload(dev, lg_view_all(weights), host), ==, LLMGPU_E_INVALID);
    op = add_op(lg_view_all(weights), lg_view_all(x), 1, 1);
    REQUIRE_INT(lg_program_create(dev, &(struct lg_program_desc){.ops = &op, .n_ops = 1}, &prog), ==,
                LLMGPU_E_INVALID);
    lg_buffer_destroy(weights);
    lg_buffer_destroy(x);
    lg_buffer_destroy(y);
    lg_device_close(dev);
    free(host);
}

static void test_bad_programs(void)
{
    struct lg_device *dev = open_device(1, false), *other = open_device(1, false);
    struct lg_buffer *buf = new_buffer(dev, 1024), *foreign = new_buffer(other, 1024);
    const struct lg_dispatch good = add_op(lg_view_all(buf), lg_view_all(buf), 4, 4);
    struct lg_dispatch bad[8];
    for (int i = 0; i < 8; i++)
        bad[i] = good;
    bad[0].kernel = LG_K_COUNT;
    bad[1].views[1].buf = NULL;
    bad[2].views[1] = lg_view_all(foreign);
    bad[3].views[0] = (struct lg_view){buf, 4, 4};
    bad[4].views[0] = (struct lg_view){buf, 64, 1000};
    bad[5].push_size = LG_MAX_PUSH + 4;
    bad[6].indirect = (struct lg_view){buf, 0, 8};
    bad[7].grid[1] = bad[7].grid[2] = 1 << 20;
    struct lg_program *prog = NULL;
    for (int i = 0; i < 8; i++) {
        REQUIRE_INT(lg_program_create(dev, &(struct lg_program_desc){.ops = &bad[i], .n_ops = 1}, &prog), ==,
                    LLMGPU_E_INVALID);
        REQUIRE(env.error[0] && !prog);
    }
    struct lg_dispatch ops[3] = {good, good, good};
    const uint32_t bad_cuts[][2] = {{0, 1}, {1, 1}, {2, 1}, {1, 3}};
    for (int i = 0; i < 4; i++) {
        struct lg_program_desc desc = {.ops = ops, .n_ops = 3, .cuts = bad_cuts[i], .n_cuts = 2};
        REQUIRE_INT(lg_program_create(dev, &desc, &prog), ==, LLMGPU_E_INVALID);
    }
    lg_buffer_destroy(buf);
    lg_buffer_destroy(foreign);
    lg_device_close(dev);
    lg_device_close(other);
}

/* Slices, repetition, tickets, statistics and times of: x[i] += b[i], one op for each i. */
static void test_submit(bool check)
{
    enum { N = 6 };
    struct lg_device *dev = open_device(2, check);
    struct lg_buffer *x = new_buffer(dev, N * 64), *b = new_buffer(dev, 64);
    *(float *)b->map = 1;
    struct lg_dispatch ops[N];
    for (int i = 0; i < N; i++)
        ops[i] = add_op((struct lg_view){x, (uint64_t)i * 64, 4}, lg_view_all(b), 1, 1);
    struct lg_program *prog = NULL;
    uint32_t cuts[] = {1, 4};
    struct lg_program_desc desc = {.ops = ops, .n_ops = N, .cuts = cuts, .n_cuts = 2, .timestamps = true};
    REQUIRE_INT(lg_program_create(dev, &desc, &prog), ==, 0);
    memset(ops, 0xff, sizeof(ops)); // the program keeps no pointer into its description
    REQUIRE_INT(prog->n_slices, ==, 3);
    REQUIRE_INT(prog->n_ops, ==, N);

    uint64_t first = 0, second = 0, ns[N];
    REQUIRE_INT(lg_program_submit(prog, 1, 1, 5, &first), ==, 0);
    REQUIRE_INT(lg_device_wait(dev, first, UINT64_MAX), ==, 0);
    REQUIRE_INT(lg_program_times(prog, ns), ==, 0);
    for (int i = 0; i < N; i++)
        REQUIRE((ns[i] > 0) == (i >= 1 && i < 4));
    REQUIRE_INT(lg_program_submit(prog, 0, 3, 1, &second), ==, 0);
    REQUIRE_INT(second, >, first);
    REQUIRE_INT(lg_device_wait(dev, second + 1, 0), ==, LLMGPU_E_INVALID);
    for (int i = 0; i < N; i++)
        REQUIRE(((float *)x->map)[i * 16] == (i >= 1 && i < 4 ? 6.0f : 1.0f));
    REQUIRE_INT(dev->stats.submits, ==, 2);
    REQUIRE_INT(dev->stats.dispatches, ==, 5 * 3 + N);
    REQUIRE_INT(dev->stats.barriers, ==, 5 * 3 + N);
    const struct lg_piece pieces[] = {{prog, 1, 1, 1}, {prog, 0, 3, 2}}; // together
    REQUIRE_INT(lg_device_submit(dev, pieces, 2, &first), ==, 0);
    REQUIRE_INT(lg_device_wait(dev, first, UINT64_MAX), ==, 0);
    for (int i = 0; i < N; i++)
        REQUIRE(((float *)x->map)[i * 16] == (i >= 1 && i < 4 ? 9.0f : 3.0f));
    REQUIRE_INT(dev->stats.submits, ==, 3);
    REQUIRE_INT(dev->stats.dispatches, ==, 5 * 3 + N + 3 + 2 * N);
    REQUIRE_INT(lg_program_submit(prog, 2, 2, 1, &first), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(dev->check_messages, ==, 0);
    lg_program_destroy(prog);
    lg_program_destroy(NULL);
    lg_buffer_destroy(x);
    lg_buffer_destroy(b);
    lg_device_close(dev);
}

/* The grid is what the buffer holds when the dispatch starts: an earlier dispatch of the same submission may
 * write it. */
static void test_indirect(bool check)
{
    enum { N = 8 };
    struct lg_device *dev = open_device(2, check);
    struct lg_buffer *x = new_buffer(dev, N * 4), *b = new_buffer(dev, N * 4),
                     *dims = new_buffer(dev, 4 * LG_N_DIMS);
    struct lg_buffer *rules = new_buffer(dev, 2 * sizeof(struct lg_grid_rule)), *grids = new_buffer(dev, 32);
    for (int i = 0; i < N; i++)
        ((float *)b->map)[i] = 1;
    struct lg_grid_rule *rule = rules->map;
    rule[0] = (struct lg_grid_rule){.grid = {7, 8, 9}, .dim = LG_DIM_NONE};
    rule[1] = (struct lg_grid_rule){.grid = {0, 1, 1}, .dim = LG_DIM_OUT, .axis = 0, .per_group = 2};
    struct lg_dispatch plan = {
        .kernel = LG_K_PLAN,
        .views = {lg_view_all(dims), lg_view_all(rules), lg_view_all(grids)},
        .grid = {1, 1, 1},
        .push_size = sizeof(struct lg_plan_push),
    };
    memcpy(plan.push, &(struct lg_plan_push){.n_rules = 2}, plan.push_size);
    struct lg_dispatch ops[2] = {plan, add_op(lg_view_all(x), lg_view_all(b), N, 2)};
    ops[1].indirect = (struct lg_view){grids, 16, 12};
    struct lg_program *prog = new_program(dev, ops, 2);

    ((uint32_t *)dims->map)[LG_DIM_OUT] = 3;
    REQUIRE_INT(submit(prog, 1), ==, 0);
    REQUIRE(memcmp(grids->map, (uint32_t[8]){7, 8, 9, 0, 2, 1, 1, 0}, 32) == 0);
    for (int i = 0; i < N; i++)
        REQUIRE(((float *)x->map)[i] == (i < 4 ? 1.0f : 0.0f));
    ((uint32_t *)dims->map)[LG_DIM_OUT] = 0; // an empty grid is a dispatch all the same
    REQUIRE_INT(submit(prog, 1), ==, 0);
    REQUIRE(((float *)x->map)[0] == 1.0f);
    REQUIRE_INT(dev->stats.dispatches, ==, 4);

    rule[1] = (struct lg_grid_rule){.grid = {1u << 31, 2, 1}, .dim = LG_DIM_NONE};
    REQUIRE_INT(submit(prog, 1), ==, LLMGPU_E_INVALID);
    lg_program_destroy(prog);
    lg_buffer_destroy(x);
    lg_buffer_destroy(b);
    lg_buffer_destroy(dims);
    lg_buffer_destroy(rules);
    lg_buffer_destroy(grids);
    lg_device_close(dev);
}

static void *stop_soon(void *stop)
{
    usleep(30000);
    *(_Atomic int *)stop = 1;
    return NULL;
}

/* A submission of minutes ends soon after another thread asked for it, and the next one runs. */
static void test_cancel(uint32_t n_threads)
{
    enum { N = 1 << 16 };
    struct lg_device *dev = open_device(n_threads, false);
    struct lg_buffer *x = new_buffer(dev, N * 4), *b = new_buffer(dev, N * 4);
    struct lg_dispatch op = add_op(lg_view_all(x), lg_view_all(b), N, 64);
    struct lg_program *prog = new_program(dev, &op, 1);
    pthread_t thread;
    _Atomic int stop = 0;
    dev->stop = &stop;
    REQUIRE_INT(pthread_create(&thread, NULL, stop_soon, &stop), ==, 0);
    uint64_t start = lg_now_ns();
    REQUIRE_INT(submit(prog, 50000000), ==, LLMGPU_E_CANCELLED);
    REQUIRE(lg_now_ns() - start < 5000000000u);
    pthread_join(thread, NULL);
    REQUIRE_INT(submit(prog, 1), ==, LLMGPU_E_CANCELLED);
    stop = 0;
    REQUIRE_INT(submit(prog, 1), ==, 0);
    lg_program_destroy(prog);
    lg_buffer_destroy(x);
    lg_buffer_destroy(b);
    lg_device_close(dev);
}

/* y += x; x += b: with the barrier between them left out, the debug mode gives another result. */
static float run_dependent(bool check, bool barrier)
{
    struct lg_device *dev = open_device(1, check);
    struct lg_buffer *x = new_buffer(dev, 4), *y = new_buffer(dev, 4), *b = new_buffer(dev, 4);
    *(float *)x->map = 1;
    *(float *)b->map = 10;
    struct lg_dispatch ops[2] = {
        add_op(lg_view_all(x), lg_view_all(b), 1, 1),
        add_op(lg_view_all(y), lg_view_all(x), 1, 1),
    };
    ops[1].barrier = barrier;
    struct lg_program *prog = new_program(dev, ops, 2);
    REQUIRE_INT(submit(prog, 1), ==, 0);
    float result = *(float *)y->map;
    REQUIRE_INT(dev->check_messages, ==, 0);
    lg_program_destroy(prog);
    lg_buffer_destroy(x);
    lg_buffer_destroy(y);
    lg_buffer_destroy(b);
    lg_device_close(dev);
    return result;
}

static void test_missing_barrier(void)
{
    REQUIRE(run_dependent(false, true) == 11.0f);
    REQUIRE(run_dependent(false, false) == 11.0f);
    REQUIRE(run_dependent(true, true) == 11.0f);
    REQUIRE(run_dependent(true, false) == 1.0f);
}

/* A dispatch whose push constants promise more than its view holds: the guard behind the view's copy notices.
 */
static void test_overrun(void)
{
#if !defined(__SANITIZE_ADDRESS__) // which would end the test here, as it should
    struct lg_device *dev = open_device(1, true);
    struct lg_buffer *x = new_buffer(dev, 1024), *b = new_buffer(dev, 1024);
    for (int i = 0; i < 256; i++)
        ((float *)b->map)[i] = 1;
    struct lg_dispatch op = add_op((struct lg_view){x, 0, 16}, lg_view_all(b), 8, 8);
    struct lg_program *prog = new_program(dev, &op, 1);
    REQUIRE_INT(submit(prog, 1), ==, 0);
    REQUIRE_INT(dev->check_messages, ==, 1);
    REQUIRE(((float *)x->map)[3] == 1.0f && ((float *)x->map)[4] == 0.0f);
    lg_program_destroy(prog);
    lg_buffer_destroy(x);
    lg_buffer_destroy(b);
    lg_device_close(dev);
#endif
}

static void test_no_allocations(void)
{
    enum { N = 1 << 16 };
    struct lg_device *dev = open_device(2, false);
    struct lg_buffer *x = new_buffer(dev, N * 4), *b = new_buffer(dev, N * 4);
    struct lg_dispatch op = add_op(lg_view_all(x), lg_view_all(b), N, 64);
    struct lg_program *prog = new_program(dev, &op, 1);
    uint64_t before = env.stats->n_allocs;
    REQUIRE_INT(submit(prog, 100), ==, 0);
    REQUIRE_INT(env.stats->n_allocs, ==, before);
    lg_program_destroy(prog);
    lg_buffer_destroy(x);
    lg_buffer_destroy(b);
    lg_device_close(dev);
}

/* Every allocation may fail: each failure is an error, and nothing leaks (a leak checker sees it). */
static uint64_t allocations_left;

static void *failing_alloc(void *user, size_t size)
{
    (void)user;
    return allocations_left-- ? malloc(size) : NULL;
}

static int build_all(struct lg_env *failing)
{
    struct lg_device *dev = NULL;
    struct lg_buffer *x = NULL;
    struct lg_program *prog = NULL;
    int rc = lg_device_open(failing, &(struct lg_device_options){.name = "cpu", .n_threads = 2}, &dev);
    if (rc == 0)
        rc = lg_buffer_create(dev, 64, LG_MEM_DEVICE, &x);
    if (rc == 0) {
        struct lg_dispatch op = add_op(lg_view_all(x), lg_view_all(x), 1, 1);
        rc = lg_program_create(dev, &(struct lg_program_desc){.ops = &op, .n_ops = 1, .timestamps = true},
                               &prog);
    }
    lg_program_destroy(prog);
    lg_buffer_destroy(x);
    lg_device_close(dev);
    return rc;
}

static void test_failing_allocations(void)
{
    int rc = -1, n = 0;
    for (; rc != 0; n++) {
        struct lg_env failing;
        lg_env_init(&failing);
        failing.alloc = failing_alloc;
        allocations_left = (uint64_t)n;
        rc = build_all(&failing);
        REQUIRE(rc == 0 || (rc == LLMGPU_E_NOMEM && failing.error[0]));
        allocations_left = 0;
    }
    REQUIRE_INT(n, >, 5);
}

int main(void)
{
    lg_env_init(&env);
    test_info();
    test_options();
    test_buffers();
    test_copy();
    test_import();
    test_bad_programs();
    test_submit(false);
    test_submit(true);
    test_indirect(false);
    test_indirect(true);
    test_cancel(1);
    test_cancel(3);
    test_missing_barrier();
    test_overrun();
    test_no_allocations();
    test_failing_allocations();
    return 0;
}
