/* SPDX-License-Identifier: MIT
 *
 * The Vulkan device, under validation with synchronisation checks: no test may leave a message.
 * LLMGPU_TEST_DEVICE chooses the device.
 */
#include <dirent.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "device/vulkan/vk.h"
#include "push.h"
#include "llmgpu/context.h"
#include "test.h"
#include "util/checked.h"
#include "util/clock.h"

static void print_log(void *user, int level, const char *text)
{
    (void)user;
    if (level <= LG_LOG_WARN)
        fprintf(stderr, "%s\n", text);
}

static struct lg_env env;
static const char *device_name;
static bool validate = true;

static struct lg_device *open_device(const char *cache_dir)
{
    struct lg_device_options options = {.name = device_name, .cache_dir = cache_dir, .check = validate};
    struct lg_device *dev;
    int rc = lg_device_open(&env, &options, &dev);
    if (rc == LLMGPU_E_UNSUPPORTED && validate) {
        fprintf(stderr, "%s; going on without\n", env.error);
        options.check = validate = false;
        rc = lg_device_open(&env, &options, &dev);
    }
    if (rc < 0)
        fprintf(stderr, "%s\n", env.error);
    REQUIRE_INT(rc, ==, 0);
    return dev;
}

static struct lg_buffer *new_buffer(struct lg_device *dev, uint64_t size, enum lg_mem mem)
{
    struct lg_buffer *buf;
    REQUIRE_INT(lg_buffer_create(dev, size, mem, &buf), ==, 0);
    REQUIRE_INT(buf->size, ==, size);
    REQUIRE((buf->map != NULL) == (mem == LG_MEM_SHARED || mem == LG_MEM_READBACK));
    return buf;
}

static struct lg_program *new_program(struct lg_device *dev, const struct lg_program_desc *desc)
{
    struct lg_program *prog;
    int rc = lg_program_create(dev, desc, &prog);
    if (rc < 0)
        fprintf(stderr, "%s\n", env.error);
    REQUIRE_INT(rc, ==, 0);
    return prog;
}

static void run(struct lg_program *prog, uint32_t first, uint32_t n, uint32_t repeat)
{
    uint64_t ticket;
    REQUIRE_INT(lg_program_submit(prog, first, n, repeat, &ticket), ==, 0);
    REQUIRE_INT(lg_device_wait(prog->dev, ticket, UINT64_MAX), ==, 0);
}

/* ---- names and lists
 * -------------------------------------------------------------------------------------------- */

static void check_names(void)
{
    struct lg_device_info *infos;
    uint32_t n;
    REQUIRE_INT(lg_device_list(&env, &infos, &n), ==, 0);
    REQUIRE_INT(n, >=, 2);
    REQUIRE_STR(infos[0].id, "cpu");
    for (uint32_t i = 1; i < n; i++)
        printf("%s: %s, %s\n", infos[i].id, infos[i].name, infos[i].driver);

    struct lg_device *dev;
    const char *const wrong[] = {"vulkan:99", "vulkan:", "gpu", ""};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct lg_device_options options = {.name = wrong[i]};
        REQUIRE_INT(lg_device_open(&env, &options, &dev), ==, LLMGPU_E_NO_DEVICE);
        REQUIRE(dev == NULL);
        REQUIRE(strstr(env.error, infos[n - 1].id));
    }
    struct lg_device_options options = {.name = infos[1].id};
    REQUIRE_INT(lg_device_open(&env, &options, &dev), ==, 0);
    REQUIRE_STR(dev->info.id, infos[1].id);
    REQUIRE_STR(dev->info.name, infos[1].name);
    lg_device_close(dev);
    lg_free(&env, infos);
}

static void check_info(const struct lg_device_info *info)
{
    REQUIRE(info->kind != LG_DEVICE_CPU);
    REQUIRE_INT(info->memory, >, 0);
    REQUIRE_INT(info->max_view_size % 256, ==, 0);
    REQUIRE_INT(info->max_view_size, >=, (128 << 20) - 256);
    REQUIRE_INT(info->max_buffer_size, >=, 1 << 30);
    REQUIRE(info->view_align >= 16 && (info->view_align & (info->view_align - 1)) == 0);
    REQUIRE(info->subgroup_size >= 1 && (info->subgroup_size & (info->subgroup_size - 1)) == 0);
    REQUIRE_INT(info->max_workgroup, >=, 128);
    REQUIRE_INT(info->shared_memory, >=, 16384);
    REQUIRE(!info->imports_host);
}

/* ---- buffers and copies
 * ----------------------------------------------------------------------------------------- */

static void require_bytes(struct lg_device *dev, struct lg_buffer *buf, uint8_t value)
{
    uint8_t *bytes = malloc(buf->size);
    memset(bytes, ~value, buf->size);
    REQUIRE_INT(lg_download(dev, lg_view_all(buf), bytes), ==, 0);
    for (uint64_t i = 0; i < buf->size; i++)
        if (bytes[i] != value)
            REQUIRE_INT(i, ==, -1);
    free(bytes);
}

static void fill(struct lg_device *dev, struct lg_buffer *buf, uint8_t value)
{
    uint8_t *bytes = malloc(buf->size);
    memset(bytes, value, buf->size);
    REQUIRE_INT(lg_upload(dev, lg_view_all(buf), bytes), ==, 0);
    free(bytes);
}

/* Memory that had other bytes in it comes back as zeros, and ranges beside it keep theirs. */
static void check_zeroed(struct lg_device *dev, enum lg_mem mem)
{
    static const uint64_t sizes[] = {1, 4, 17, 1000, 65537, 3 << 20};
    struct lg_buffer *guard = new_buffer(dev, 777, mem);
    fill(dev, guard, 0x5a);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        for (int round = 0; round < 2; round++) {
            struct lg_buffer *buf = new_buffer(dev, sizes[i], mem);
            require_bytes(dev, buf, 0);
            fill(dev, buf, 0xff);
            require_bytes(dev, buf, 0xff);
            lg_buffer_destroy(buf);
        }
    require_bytes(dev, guard, 0x5a);
    lg_buffer_destroy(guard);
}

/* Copies of all sorts of sizes and places, some over one another, against a shadow. */
static void check_copies(struct lg_device *dev, enum lg_mem mem)
{
    const uint64_t chunk = LG_VK_CHUNK_SIZE, size = 5 * chunk + 13;
    const uint64_t sizes[] = {1,   3, 4, 15, 4097, chunk - 1, chunk, chunk + 1, 2 * chunk - 7, 4 * chunk + 5,
                              size};
    struct lg_buffer *buf = new_buffer(dev, size, mem);
    uint8_t *shadow = calloc(1, size), *bytes = malloc(size);
    struct test_rng rng = {1};
    for (uint32_t i = 0; i < 40; i++) {
        uint64_t n = sizes[test_rand(&rng) % (sizeof(sizes) / sizeof(sizes[0]))];
        uint64_t offset = test_rand(&rng) % (size - n + 1);
        memset(bytes, (int)test_randu(&rng, 1, 255), n);
        bytes[0] = bytes[n - 1] = (uint8_t)i;
        memcpy(shadow + offset, bytes, n);
        REQUIRE_INT(lg_upload(dev, (struct lg_view){buf, offset, n}, bytes), ==, 0);
        memset(bytes, 0, n); // it may be reused at once
        if (i % 8 == 7)
            REQUIRE_INT(lg_device_flush(dev), ==, 0);
    }
    REQUIRE_INT(lg_download(dev, lg_view_all(buf), bytes), ==, 0);
    REQUIRE(memcmp(bytes, shadow, size) == 0);
    REQUIRE_INT(lg_download(dev, (struct lg_view){buf, chunk - 3, chunk + 5}, bytes), ==, 0);
    REQUIRE(memcmp(bytes, shadow + chunk - 3, chunk + 5) == 0);

    struct lg_view beyond = {buf, size - 1, 2};
    REQUIRE_INT(lg_upload(dev, beyond, bytes), ==, LLMGPU_E_INTERNAL);
    REQUIRE_INT(lg_download(dev, beyond, bytes), ==, LLMGPU_E_INTERNAL);
    lg_buffer_destroy(buf);
    free(shadow);
    free(bytes);
}

/* Uploads and copies in random order, within a buffer and between kinds of memory, against a shadow. */
static void check_device_copies(struct lg_device *dev)
{
    enum { N = 3, SIZE = 3000 };
    static const enum lg_mem mems[N] = {LG_MEM_DEVICE, LG_MEM_DEVICE, LG_MEM_READBACK};
    struct lg_buffer *bufs[N];
    uint8_t shadow[N][SIZE] = {{0}}, bytes[SIZE];
    struct test_rng rng = {3};
    for (uint32_t i = 0; i < N; i++)
        bufs[i] = new_buffer(dev, SIZE, mems[i]);
    uint64_t allocs = env.stats->n_allocs, submits = dev->stats.submits;
    for (uint32_t i = 0; i < 400; i++) {
        uint32_t a = test_rand(&rng) % N, b = test_rand(&rng) % N, n = test_randu(&rng, 0, 300);
        uint32_t to = test_rand(&rng) % (SIZE - n), from = test_rand(&rng) % (SIZE - n);
        struct lg_view dst = {bufs[a], to, n}, src = {bufs[b], from, n};
        memset(bytes, (int)i, n);
        if (i % 4 == 0) {
            REQUIRE_INT(lg_upload(dev, dst, bytes), ==, 0);
            memcpy(shadow[a] + to, bytes, n);
        } else if (a == b && to < from + n && from < to + n && n) {
            REQUIRE_INT(lg_buffer_copy(dev, dst, src), ==, LLMGPU_E_INTERNAL);
        } else {
            REQUIRE_INT(lg_buffer_copy(dev, dst, src), ==, 0);
            memcpy(shadow[a] + to, shadow[b] + from, n);
        }
        if (i == 20) { // what is read and then written, in copies that nothing else keeps apart
            REQUIRE_INT(lg_device_flush(dev), ==, 0);
            REQUIRE_INT(lg_buffer_copy(dev, lg_view_all(bufs[1]), lg_view_all(bufs[0])), ==, 0);
            REQUIRE_INT(lg_buffer_copy(dev, lg_view_all(bufs[0]), lg_view_all(bufs[2])), ==, 0);
            memcpy(shadow[1], shadow[0], SIZE);
            memcpy(shadow[0], shadow[2], SIZE);
        }
    }
    REQUIRE_INT(env.stats->n_allocs, ==, allocs);
    REQUIRE_INT(dev->stats.submits, ==, submits);
    REQUIRE_INT(lg_device_flush(dev), ==, 0);
    REQUIRE(memcmp(bufs[2]->map, shadow[2], SIZE) == 0);
    for (uint32_t i = 0; i < N; i++) {
        REQUIRE_INT(lg_download(dev, lg_view_all(bufs[i]), bytes), ==, 0);
        REQUIRE(memcmp(bytes, shadow[i], SIZE) == 0);
    }
    struct lg_view whole = lg_view_all(bufs[0]), beyond = {bufs[1], 1, SIZE};
    REQUIRE_INT(lg_buffer_copy(dev, whole, beyond), ==, LLMGPU_E_INTERNAL);
    REQUIRE_INT(lg_buffer_copy(dev, beyond, whole), ==, LLMGPU_E_INTERNAL);
    for (uint32_t i = 0; i < N; i++)
        lg_buffer_destroy(bufs[i]);
}

/* What is uploaded before the device knows the buffer, in place or not, and what is uploaded after. */
static void check_filled(struct lg_device *dev, bool in_place)
{
    enum { SIZE = 3 * LG_VK_CHUNK_SIZE + 48 };
    VkPhysicalDeviceMemoryProperties *memory = &lg_vk_device(dev)->probe.memory, real = *memory;
    for (uint32_t i = 0; i < memory->memoryTypeCount && !in_place; i++)
        memory->memoryTypes[i].propertyFlags &= ~(VkMemoryPropertyFlags)VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT;
    struct lg_buffer *buf = new_buffer(dev, SIZE, LG_MEM_FILLED);
    *memory = real;
    struct lg_buffer *copy = new_buffer(dev, SIZE, LG_MEM_DEVICE);
    uint8_t *bytes = malloc(SIZE);
    for (uint32_t i = 0; i < SIZE; i++)
        bytes[i] = (uint8_t)(i * 2654435761u >> 24);
    uint64_t before = lg_vk_device(dev)->last_ticket;
    bool written = lg_vk_buffer(buf)->fill != NULL;
    REQUIRE(in_place || !written);
    if (dev->info.kind == LG_DEVICE_SOFTWARE)
        REQUIRE(written == in_place);
    REQUIRE_INT(lg_upload(dev, (struct lg_view){buf, 5, SIZE - 5}, bytes + 5), ==, 0);
    REQUIRE_INT(lg_upload(dev, (struct lg_view){buf, 0, 5}, bytes), ==, 0);
    REQUIRE((lg_vk_device(dev)->last_ticket == before) == written);
    REQUIRE_INT(lg_buffer_copy(dev, lg_view_all(copy), lg_view_all(buf)), ==, 0);
    fill(dev, buf, 0x77); // which comes after the copy
    uint8_t *back = malloc(SIZE);
    REQUIRE_INT(lg_download(dev, lg_view_all(copy), back), ==, 0);
    REQUIRE(memcmp(back, bytes, SIZE) == 0);
    require_bytes(dev, buf, 0x77);
    lg_buffer_destroy(buf);
    lg_buffer_destroy(copy);
    free(bytes);
    free(back);
}

/* Small buffers share allocations, holes are filled again, and all goes back to the driver in the end. */
static void check_memory(struct lg_device *dev)
{
    enum { N = 200 };
    struct lg_vk_device *vk = lg_vk_device(dev);
    struct lg_buffer *bufs[N];
    struct test_rng rng = {2};
    uint32_t n_before = vk->n_blocks;
    REQUIRE_INT(dev->stats.memory_used, ==, 0);
    uint64_t used = 0;
    for (uint32_t i = 0; i < N; i++) {
        bufs[i] = new_buffer(dev, test_randu(&rng, 1, 100000), LG_MEM_DEVICE);
        used += bufs[i]->size;
    }
    REQUIRE_INT(dev->stats.memory_used, ==, used);
    REQUIRE_INT(vk->n_blocks, ==, n_before + 1);
    for (uint32_t round = 0; round < 2000; round++) {
        uint32_t i = test_rand(&rng) % N;
        lg_buffer_destroy(bufs[i]);
        bufs[i] = new_buffer(dev, test_randu(&rng, 1, 100000), LG_MEM_DEVICE);
    }
    REQUIRE_INT(vk->n_blocks, ==, n_before + 1);
    struct lg_buffer *large = new_buffer(dev, 100 << 20, LG_MEM_DEVICE);
    REQUIRE_INT(vk->n_blocks, ==, n_before + 2);
    lg_buffer_destroy(large);
    for (uint32_t i = 0; i < N; i++)
        lg_buffer_destroy(bufs[(i * 37) % N]);
    REQUIRE_INT(vk->n_blocks, ==, n_before);
    REQUIRE_INT(dev->stats.memory_used, ==, 0);
    REQUIRE_INT(dev->stats.memory_peak, >=, 100 << 20);

    struct lg_buffer *buf;
    REQUIRE_INT(lg_buffer_create(dev, UINT64_MAX, LG_MEM_DEVICE, &buf), ==, LLMGPU_E_NOMEM);
    REQUIRE(buf == NULL && strstr(env.error, "18446744073709551615"));
    REQUIRE_INT(lg_buffer_create(dev, 0, LG_MEM_DEVICE, &buf), ==, LLMGPU_E_INTERNAL);
    REQUIRE_INT(lg_buffer_import(dev, &buf, sizeof(buf), &buf), ==, LLMGPU_E_UNSUPPORTED);
    uint64_t available = 0;
    int rc = lg_device_memory_budget(dev, &available);
    REQUIRE(rc == LLMGPU_E_UNSUPPORTED || (rc == 0 && available > 0 && available <= dev->info.memory));
}

/* ---- programs
 * --------------------------------------------------------------------------------------------------- */

enum { COLS = 300, ROWS = 5, N_OPS = 4, WG = 64 };

/* plan: grid = rows of dims; x += one; y += x; out += y, so after k rounds x = k, y = k (k + 1) / 2, ... */
struct world {
    struct lg_device *dev;
    struct lg_buffer *dims, *rules, *grids, *one, *x, *y, *out;
    struct lg_dispatch ops[N_OPS];
};

static struct lg_dispatch add_op(const struct world *w, struct lg_buffer *x, struct lg_buffer *b,
                                 uint32_t b_stride)
{
    struct lg_dispatch op = {
        .kernel = LG_K_ADD,
        .views = {lg_view_all(x), lg_view_all(b)},
        .spec = {WG},
        .indirect = {w->grids, 16, 12},
        .push_size = sizeof(struct lg_add_push),
        .barrier = true,
    };
    memcpy(op.push, &(struct lg_add_push){.n_cols = COLS, .b_stride = b_stride}, sizeof(struct lg_add_push));
    return op;
}

static void world_init(struct world *w, struct lg_device *dev)
{
    const uint64_t size = sizeof(float) * COLS * ROWS;
    struct lg_grid_rule rules[2] = {
        {.grid = {9, 9, 9}, .dim = LG_DIM_NONE},
        {.grid = {lg_div_up(COLS, WG), 1, 1}, .dim = LG_DIM_ROWS, .axis = 1, .per_group = 1},
    };
    float ones[COLS];
    for (uint32_t i = 0; i < COLS; i++)
        ones[i] = 1;
    w->dev = dev;
    w->dims = new_buffer(dev, LG_N_DIMS * sizeof(uint32_t), LG_MEM_SHARED);
    w->rules = new_buffer(dev, sizeof(rules), LG_MEM_DEVICE);
    w->grids = new_buffer(dev, 2 * 16, LG_MEM_DEVICE);
    w->one = new_buffer(dev, sizeof(ones), LG_MEM_DEVICE);
    w->x = new_buffer(dev, size, LG_MEM_DEVICE);
    w->y = new_buffer(dev, size, LG_MEM_DEVICE);
    w->out = new_buffer(dev, size, LG_MEM_READBACK);
    REQUIRE_INT(lg_upload(dev, lg_view_all(w->rules), rules), ==, 0);
    REQUIRE_INT(lg_upload(dev, lg_view_all(w->one), ones), ==, 0);

    w->ops[0] = (struct lg_dispatch){
        .kernel = LG_K_PLAN,
        .views = {lg_view_all(w->dims), lg_view_all(w->rules), lg_view_all(w->grids)},
        .spec = {WG},
        .grid = {1, 1, 1},
        .push_size = sizeof(struct lg_plan_push),
        .barrier = true,
    };
    memcpy(w->ops[0].push, &(struct lg_plan_push){.n_rules = 2}, sizeof(struct lg_plan_push));
    w->ops[1] = add_op(w, w->x, w->one, 0);
    w->ops[2] = add_op(w, w->y, w->x, COLS);
    w->ops[3] = add_op(w, w->out, w->y, COLS);
}

static void world_finish(struct world *w)
{
    struct lg_buffer *bufs[] = {w->dims, w->rules, w->grids, w->one, w->x, w->y, w->out};
    for (size_t i = 0; i < sizeof(bufs) / sizeof(bufs[0]); i++)
        lg_buffer_destroy(bufs[i]);
}

static void set_rows(struct world *w, uint32_t rows)
{
    ((uint32_t *)w->dims->map)[LG_DIM_ROWS] = rows;
}

/* After k rounds with these rows, counted from zeroed buffers. */
static void require_rounds(const struct world *w, uint32_t row_begin, uint32_t row_end, uint64_t k)
{
    const float *out = w->out->map;
    const float expected = (float)(k * (k + 1) * (k + 2) / 6);
    for (uint32_t i = row_begin * COLS; i < row_end * COLS; i++)
        if (out[i] != expected) {
            fprintf(stderr, "out[%u] = %g, not %g\n", i, out[i], expected);
            exit(1);
        }
}

static void check_replay(struct lg_device *dev)
{
    struct world w;
    world_init(&w, dev);
    struct lg_program *prog = new_program(dev, &(struct lg_program_desc){.ops = w.ops, .n_ops = N_OPS});
    REQUIRE_INT(prog->n_slices, ==, 1);

    set_rows(&w, 3);
    run(prog, 0, 1, 1);
    require_rounds(&w, 0, 3, 1);
    require_rounds(&w, 3, ROWS, 0);
    run(prog, 0, 1, 8);
    require_rounds(&w, 0, 3, 9);
    uint64_t submits = dev->stats.submits, dispatches = dev->stats.dispatches, barriers = dev->stats.barriers;
    run(prog, 0, 1, 200);
    require_rounds(&w, 0, 3, 209);
    REQUIRE_INT(dev->stats.submits - submits, ==, 1);
    REQUIRE_INT(dev->stats.dispatches - dispatches, ==, 200 * N_OPS);
    REQUIRE_INT(dev->stats.barriers - barriers, ==, 200 * N_OPS);

    /* pieces of two programs, together */
    struct lg_program *second = new_program(dev, &(struct lg_program_desc){.ops = w.ops, .n_ops = N_OPS});
    const struct lg_piece pieces[] = {{prog, 0, 1, 3}, {second, 0, 1, 2}};
    uint64_t both;
    submits = dev->stats.submits;
    dispatches = dev->stats.dispatches;
    REQUIRE_INT(lg_device_submit(dev, pieces, 2, &both), ==, 0);
    REQUIRE_INT(lg_device_wait(dev, both, UINT64_MAX), ==, 0);
    require_rounds(&w, 0, 3, 214);
    REQUIRE_INT(dev->stats.submits - submits, ==, 1);
    REQUIRE_INT(dev->stats.dispatches - dispatches, ==, 5 * N_OPS);
    lg_program_destroy(second);

    set_rows(&w, 0); // empty grids
    run(prog, 0, 1, 5);
    require_rounds(&w, 0, 3, 214);
    require_rounds(&w, 3, ROWS, 0);

    /* several in flight; nothing is allocated any more */
    set_rows(&w, 3);
    uint64_t allocs = env.stats->n_allocs, ticket = 0;
    for (uint32_t i = 0; i < 20; i++) {
        uint64_t before = ticket;
        REQUIRE_INT(lg_program_submit(prog, 0, 1, i % 3 + 1, &ticket), ==, 0);
        REQUIRE_INT(ticket, >, before);
    }
    int rc = lg_device_wait(dev, ticket, 0);
    REQUIRE(rc == 0 || rc == LLMGPU_E_TIMEOUT);
    REQUIRE_INT(lg_device_wait(dev, ticket, UINT64_MAX), ==, 0);
    REQUIRE_INT(env.stats->n_allocs, ==, allocs);
    require_rounds(&w, 0, 3, 214 + 39);
    REQUIRE_INT(lg_device_wait(dev, ticket + 1, 0), ==, LLMGPU_E_INTERNAL);

    _Atomic int stop = 1;
    dev->stop = &stop;
    REQUIRE_INT(lg_program_submit(prog, 0, 1, 1, &ticket), ==, LLMGPU_E_CANCELLED);
    dev->stop = NULL;
    run(prog, 0, 1, 1);
    require_rounds(&w, 0, 3, 254);
    lg_program_destroy(prog);
    world_finish(&w);
}

static void check_slices(struct lg_device *dev)
{
    struct world w;
    world_init(&w, dev);
    const uint32_t cuts[] = {1, 3};
    struct lg_program_desc desc = {
        .ops = w.ops, .n_ops = N_OPS, .cuts = cuts, .n_cuts = 2, .timestamps = dev->info.timestamps};
    struct lg_program *prog = new_program(dev, &desc);
    REQUIRE_INT(prog->n_slices, ==, 3);
    set_rows(&w, ROWS);
    for (uint32_t i = 0; i < 4; i++)
        for (uint32_t slice = 0; slice < 3; slice++)
            run(prog, slice, 1, 1);
    require_rounds(&w, 0, ROWS, 4);
    run(prog, 0, 1, 1);
    run(prog, 1, 2, 6);
    require_rounds(&w, 0, ROWS, 10);
    uint64_t begin = lg_now_ns();
    run(prog, 0, 3, 2);
    uint64_t wall = lg_now_ns() - begin;
    require_rounds(&w, 0, ROWS, 12);

    uint64_t ns[N_OPS], sum = 0, ticket;
    if (!dev->info.timestamps) {
        REQUIRE_INT(lg_program_times(prog, ns), ==, LLMGPU_E_UNSUPPORTED);
    } else {
        REQUIRE_INT(lg_program_times(prog, ns), ==, 0);
        for (uint32_t i = 0; i < N_OPS; i++)
            sum += ns[i];
        REQUIRE_INT(sum, >, 0);
        REQUIRE_INT(sum, <=, wall);
        run(prog, 1, 1, 1);
        REQUIRE_INT(lg_program_times(prog, ns), ==, 0);
        REQUIRE(ns[0] == 0 && ns[1] + ns[2] > 0 && ns[3] == 0);
    }
    REQUIRE_INT(lg_program_submit(prog, 2, 2, 1, &ticket), ==, LLMGPU_E_INTERNAL);
    REQUIRE_INT(lg_program_submit(prog, 0, 0, 1, &ticket), ==, LLMGPU_E_INTERNAL);
    REQUIRE_INT(lg_program_submit(prog, 0, 1, 0, &ticket), ==, LLMGPU_E_INTERNAL);
    REQUIRE_INT(lg_program_submit(prog, 0, 3, UINT32_MAX / 2, &ticket), ==, LLMGPU_E_INTERNAL);
    lg_program_destroy(prog);
    world_finish(&w);
}

/* Uploads, programs, copies and downloads follow one another as they were called, with no wait between them.
 */
static void check_order(struct lg_device *dev)
{
    struct world w;
    world_init(&w, dev);
    struct lg_program *prog = new_program(dev, &(struct lg_program_desc){.ops = w.ops, .n_ops = N_OPS});
    set_rows(&w, ROWS);
    float row[COLS], got[COLS];
    for (uint32_t i = 0; i < COLS; i++)
        row[i] = (float)i;
    for (uint32_t round = 0; round < 10; round++) {
        uint64_t ticket;
        struct lg_view first_row = {w.x, 0, sizeof(row)};
        struct lg_view second_row = {w.x, sizeof(row), sizeof(row)};
        REQUIRE_INT(lg_upload(dev, first_row, row), ==, 0);
        REQUIRE_INT(lg_program_submit(prog, 0, 1, 3, &ticket), ==, 0);
        REQUIRE_INT(lg_buffer_copy(dev, second_row, first_row), ==, 0);
        REQUIRE_INT(lg_program_submit(prog, 0, 1, 2, &ticket), ==, 0);
        REQUIRE_INT(lg_download(dev, second_row, got), ==, 0);
        for (uint32_t i = 0; i < COLS; i++)
            REQUIRE(got[i] == (float)(i + 5));
    }
    lg_program_destroy(prog);
    world_finish(&w);
}

/* ---- what is refused
 * -------------------------------------------------------------------------------------------- */

static void require_refused(struct world *w, const struct lg_dispatch *op, const char *part)
{
    struct lg_program *prog;
    struct lg_program_desc desc = {.ops = op, .n_ops = 1};
    REQUIRE_INT(lg_program_create(w->dev, &desc, &prog), ==, LLMGPU_E_INTERNAL);
    REQUIRE(prog == NULL);
    if (!strstr(env.error, part)) {
        fprintf(stderr, "'%s' does not say '%s'\n", env.error, part);
        exit(1);
    }
}

static void check_refusals(struct lg_device *dev)
{
    struct world w;
    world_init(&w, dev);
    struct lg_dispatch op = w.ops[1];
#define REFUSED(change, part)           \
    do {                                \
        op = w.ops[1];                  \
        change;                         \
        require_refused(&w, &op, part); \
    } while (0)
    REFUSED(op.kernel = LG_K_COUNT, "op 0: there is no kernel");
    REFUSED(op.views[1].buf = NULL, "op 0 (add): view 1 has no buffer");
    REFUSED(op.views[0].size = 0, "view 0 [0, +0) of 6000 is empty");
    REFUSED(op.views[0].size = 6001, "view 0 [0, +6001) of 6000 reaches over its buffer's end");
    REFUSED(op.views[0].offset = UINT64_MAX - 15, "reaches over its buffer's end");
    REFUSED((op.views[0].offset = 4, op.views[0].size = 4), "does not begin at a multiple of view_align");
    REFUSED(op.views[2] = lg_view_all(w.x), "view 2 is given, the kernel has 2");
    REFUSED(op.push_size = 3, "3 bytes of push constants");
    REFUSED(op.spec[0] = 1 << 20, "a workgroup of 1048576");
    REFUSED(op.spec[0] = 0, "a workgroup of 0");
    REFUSED(op.indirect.size = 8, "indirect grid");
    REFUSED(op.indirect.offset = 18, "indirect grid");
    REFUSED((op.indirect.buf = NULL, op.grid[2] = UINT32_MAX), "grid[2] is 4294967295");
#undef REFUSED
    struct lg_program *prog;
    struct lg_program_desc desc = {.ops = w.ops, .n_ops = N_OPS, .cuts = (uint32_t[]){2, 2}, .n_cuts = 2};
    REQUIRE_INT(lg_program_create(dev, &desc, &prog), ==, LLMGPU_E_INTERNAL);
    desc.n_ops = 0;
    REQUIRE_INT(lg_program_create(dev, &desc, &prog), ==, LLMGPU_E_INTERNAL);

    if (dev->info.max_buffer_size > dev->info.max_view_size) {
        struct lg_buffer *large = new_buffer(dev, dev->info.max_view_size + 256, LG_MEM_DEVICE);
        op = w.ops[1];
        op.views[0] = lg_view_all(large);
        require_refused(&w, &op, "is larger than max_view_size");
        lg_buffer_destroy(large);
    }
    world_finish(&w);
}

/* A priority is granted or logged; the device computes. */
static void check_priorities(void)
{
    for (int p = LG_PRIORITY_DEFAULT; p <= LG_PRIORITY_REALTIME; p++) {
        struct lg_device_options options = {.name = device_name, .priority = p, .check = validate};
        struct lg_device *dev;
        REQUIRE_INT(lg_device_open(&env, &options, &dev), ==, 0);
        check_order(dev);
        REQUIRE_INT(dev->check_messages, ==, 0);
        lg_device_close(dev);
    }
}

/* Fewer bits are for what the precision says, as far as the device has them. */
static void check_precisions(void)
{
    static const enum lg_int8 allowed[] = {
        [LLMGPU_PRECISION_AUTO] = LG_INT8_GENERATION,
        [LLMGPU_PRECISION_FAST] = LG_INT8_ALL,
        [LLMGPU_PRECISION_FLOAT32] = LG_INT8_NONE,
    };
    for (int p = LLMGPU_PRECISION_AUTO; p <= LLMGPU_PRECISION_FLOAT32; p++) {
        struct lg_device_options options = {.name = device_name, .precision = p};
        struct lg_device *dev;
        REQUIRE_INT(lg_device_open(&env, &options, &dev), ==, 0);
        REQUIRE_INT(dev->info.int8, ==, dev->info.int_dot ? allowed[p] : LG_INT8_NONE);
        REQUIRE_INT(dev->info.half, ==, dev->info.float16 ? allowed[p] : LG_INT8_NONE);
        REQUIRE(dev->info.int_dot || !dev->info.fast_int_dot);
        REQUIRE(dev->info.float16 || dev->info.coop_m == 0);
        lg_device_close(dev);
    }
}

/* A host's device has of this what it was created with. */
static void check_host_features(void)
{
    VkPhysicalDeviceShaderIntegerDotProductFeatures alone = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES,
    };
    VkPhysicalDeviceVulkan13Features in_1_3 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES};
    struct lg_vk_features found;
    lg_vk_host_features(&(struct lg_vk_host){0}, &found);
    REQUIRE(!found.int_dot && !found.float16 && found.timeline_semaphore);
    for (VkBool32 on = VK_FALSE; on <= VK_TRUE; on++) {
        alone.shaderIntegerDotProduct = on;
        lg_vk_host_features(&(struct lg_vk_host){.features = &alone}, &found);
        REQUIRE_INT(found.int_dot, ==, on);
        in_1_3.shaderIntegerDotProduct = on;
        lg_vk_host_features(&(struct lg_vk_host){.features = &in_1_3}, &found);
        REQUIRE_INT(found.int_dot, ==, on);
    }
}

/* ---- several at once
 * -------------------------------------------------------------------------------------------- */

/* Opens and closes devices of its own; each adds one to a buffer as often as it was asked. */
static void *use_own_devices(void *arg)
{
    struct lg_env own;
    lg_env_init(&own);
    for (uint32_t round = 0; round < 3; round++) {
        struct lg_device_options options = {.name = device_name};
        struct lg_device *dev;
        REQUIRE_INT(lg_device_open(&own, &options, &dev), ==, 0);
        struct world w;
        world_init(&w, dev);
        struct lg_program *prog = new_program(dev, &(struct lg_program_desc){.ops = w.ops, .n_ops = N_OPS});
        set_rows(&w, ROWS);
        run(prog, 0, 1, *(const uint32_t *)arg);
        require_rounds(&w, 0, ROWS, *(const uint32_t *)arg);
        lg_program_destroy(prog);
        world_finish(&w);
        lg_device_close(dev);
    }
    return NULL;
}

static void check_threads(void)
{
    enum { N = 3 };
    pthread_t threads[N];
    uint32_t repeats[N] = {1, 2, 3};
    for (uint32_t i = 0; i < N; i++)
        REQUIRE_INT(pthread_create(&threads[i], NULL, use_own_devices, &repeats[i]), ==, 0);
    for (uint32_t i = 0; i < N; i++)
        REQUIRE_INT(pthread_join(threads[i], NULL), ==, 0);
}

/* ---- the pipeline cache
 * ----------------------------------------------------------------------------------------- */

static char cache_dir[] = "/tmp/lg-cache-XXXXXX";
static char cache_sub[64], cache_file[512];

/* Finds the one file of the cache folder; false when there is none. */
static bool find_cache_file(struct stat *st)
{
    bool found = false;
    DIR *dir = opendir(cache_sub);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        if (entry->d_name[0] == '.')
            continue;
        REQUIRE(!found);
        snprintf(cache_file, sizeof(cache_file), "%s/%s", cache_sub, entry->d_name);
        REQUIRE_INT(stat(cache_file, st), ==, 0);
        found = true;
    }
    if (dir)
        closedir(dir);
    return found;
}

/* A hash (FNV-1a) of the file. */
static uint64_t cache_hash(void)
{
    uint64_t hash = 14695981039346656037u;
    FILE *file = fopen(cache_file, "rb");
    REQUIRE(file);
    for (int c; (c = fgetc(file)) != EOF;)
        hash = (hash ^ (uint64_t)c) * 1099511628211u;
    fclose(file);
    return hash;
}

static void use_cache(uint64_t expected_pipelines)
{
    struct lg_device *dev = open_device(cache_sub);
    if (expected_pipelines) {
        check_order(dev);
        REQUIRE_INT(dev->stats.pipelines, ==, expected_pipelines);
    }
    REQUIRE_INT(dev->check_messages, ==, 0);
    lg_device_close(dev);
}

static void check_cache(void)
{
    REQUIRE(mkdtemp(cache_dir));
    snprintf(cache_sub, sizeof(cache_sub), "%s/a/b", cache_dir);
    struct stat first, st;
    use_cache(0);
    REQUIRE(!find_cache_file(&st)); // nothing compiled, nothing written
    use_cache(2);
    REQUIRE(find_cache_file(&first));
    use_cache(2);
    REQUIRE(find_cache_file(&st));
    REQUIRE_INT(st.st_ino, ==, first.st_ino); // nothing new, so it was not written again
    const uint64_t hash = cache_hash();

    /* Damaged: each byte of the head and one of the data, cut short, emptied. Each is ignored and then
     * replaced. */
    const long places[] = {0, 8, 16, 24, 32, (long)first.st_size - 1};
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        FILE *file = fopen(cache_file, "r+b");
        REQUIRE(file && fseek(file, places[i], SEEK_SET) == 0);
        int c = fgetc(file);
        REQUIRE(fseek(file, places[i], SEEK_SET) == 0 && fputc(c ^ 0x41, file) != EOF && fclose(file) == 0);
        use_cache(2);
        REQUIRE(cache_hash() == hash);
    }
    for (off_t size = 0; size < first.st_size; size += 31) {
        REQUIRE_INT(truncate(cache_file, size), ==, 0);
        use_cache(0);
    }
    use_cache(2);
    REQUIRE(cache_hash() == hash);
    unlink(cache_file);
    rmdir(cache_sub);
    *strrchr(cache_sub, '/') = '\0';
    rmdir(cache_sub);
    REQUIRE_INT(rmdir(cache_dir), ==, 0);
}

int main(void)
{
    /* hazards between submissions too, where the layer does not look for them by itself */
    setenv("VK_LAYER_ENABLES", "VALIDATION_CHECK_ENABLE_SYNCHRONIZATION_VALIDATION_QUEUE_SUBMIT", 0);
    lg_env_init(&env);
    env.log = print_log;
    device_name = getenv("LLMGPU_TEST_DEVICE");
    if (!device_name)
        device_name = "vulkan";
    struct lg_device_info *infos;
    uint32_t n;
    REQUIRE_INT(lg_device_list(&env, &infos, &n), ==, 0);
    lg_free(&env, infos);
    if (n < 2 || strncmp(device_name, "vulkan", 6) != 0)
        return TEST_SKIP;

    check_names();
    struct lg_device *dev = open_device(NULL);
    struct lg_device *other = open_device(NULL); // two at once do not disturb one another
    check_info(&dev->info);
    check_memory(dev);
    check_memory(other);
    check_zeroed(dev, LG_MEM_DEVICE);
    check_zeroed(dev, LG_MEM_SHARED);
    check_zeroed(dev, LG_MEM_READBACK);
    check_copies(dev, LG_MEM_DEVICE);
    check_copies(dev, LG_MEM_READBACK);
    check_device_copies(dev);
    check_filled(dev, true);
    check_filled(dev, false);
    check_replay(dev);
    REQUIRE_INT(dev->check_messages, ==, 0);
    lg_device_close(dev);
    dev = other;
    check_replay(dev);
    check_slices(dev);
    check_order(dev);
    check_refusals(dev);
    REQUIRE_INT(dev->stats.memory_used, ==, 0);
    REQUIRE_INT(dev->check_messages, ==, 0);
    lg_device_close(dev);
    check_priorities();
    check_precisions();
    check_host_features();
    check_threads();
    check_cache();
    return 0;
}
