/* SPDX-License-Identifier: MIT */
#include "check.h"

#include <stdarg.h>

#include "util/checked.h"
#include "util/clock.h"

enum {
    GUARD = 4096, // bytes on both sides of each binding; a multiple of every view alignment
    GUARD_BYTE = 0xff,
    MAX_SHOWN = 10, // mismatches
};

uint32_t check_int(struct check *c, uint32_t lo, uint32_t hi)
{
    return test_randu(&c->rng, lo, hi);
}

uint32_t check_workgroup(struct check *c)
{
    static const uint32_t sizes[] = {32, 64, 128, 256};
    uint32_t size = sizes[check_int(c, 0, 3)];
    return lg_max_u32(lg_min_u32(size, c->dev->info.max_workgroup), c->dev->info.subgroup_size);
}

void *check_zeros(size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size);
    REQUIRE(p);
    return p;
}

float *check_floats(struct check *c, size_t n, float lo, float hi)
{
    float *p = check_zeros(n, sizeof(*p));
    for (size_t i = 0; i < n; i++)
        p[i] = test_randf(&c->rng, lo, hi);
    return p;
}

uint32_t *check_words(struct check *c, size_t n, uint32_t below)
{
    uint32_t *p = check_zeros(n, sizeof(*p));
    for (size_t i = 0; i < n; i++)
        p[i] = check_int(c, 0, below - 1);
    return p;
}

void check_fail(struct check *c, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fprintf(stderr, "FAILED: ");
    vfprintf(stderr, fmt, args);
    fprintf(stderr, "\n");
    va_end(args);
    c->n_failed++;
}

/* ---- the device's run
 * ------------------------------------------------------------------------------------------- */

/* A binding on the device, between two guards. */
struct guarded {
    struct lg_buffer *buf;
    uint8_t *host; // the whole buffer
    size_t size;   // of the binding
};

static int guarded_create(struct check *c, struct guarded *g, const void *data, size_t size)
{
    g->size = size;
    size_t total = size + 2 * GUARD;
    g->host = check_zeros(1, total);
    memset(g->host, GUARD_BYTE, total);
    if (data)
        memcpy(g->host + GUARD, data, size);
    LG_TRY(lg_buffer_create(c->dev, total, LG_MEM_DEVICE, &g->buf));
    return lg_upload(c->dev, lg_view_all(g->buf), g->host);
}

static int guarded_download(struct check *c, struct guarded *g)
{
    memset(g->host, 0, g->size + 2 * GUARD);
    return lg_download(c->dev, lg_view_all(g->buf), g->host);
}

static void guarded_destroy(struct guarded *g)
{
    lg_buffer_destroy(g->buf);
    free(g->host);
}

static bool guards_whole(const struct guarded *g)
{
    bool whole = true;
    for (size_t i = 0; i < GUARD; i++)
        whole &= g->host[i] == GUARD_BYTE && g->host[GUARD + g->size + i] == GUARD_BYTE;
    return whole;
}

static int submit(struct lg_program *prog, uint32_t repeat)
{
    uint64_t ticket;
    LG_TRY(lg_program_submit(prog, 0, 1, repeat, &ticket));
    return lg_device_wait(prog->dev, ticket, UINT64_MAX);
}

/* The fastest of several rounds, each long enough for the clock. */
static int time_program(struct check *c, struct lg_program *prog, const struct check_case *k,
                        const char *name)
{
    uint64_t best = UINT64_MAX, spent = 0;
    uint32_t repeat = 1;
    for (int round = 0; round < 20 && (round < 3 || spent < 1000000000u); round++) {
        uint64_t start = lg_now_ns();
        LG_TRY(submit(prog, repeat));
        uint64_t ns = lg_now_ns() - start;
        spent += ns;
        best = ns / repeat < best ? ns / repeat : best;
        if (ns < 2000000u && repeat < 64)
            repeat *= 2;
    }
    printf("%-48s %10.3f ms", name, (double)best * 1e-6);
    if (k->bytes > 0)
        printf(" %8.2f GB/s", k->bytes / (double)best);
    if (k->flops > 0)
        printf(" %8.2f GFLOP/s", k->flops / (double)best);
    printf("\n");
    (void)c;
    return 0;
}

static int run_device(struct check *c, struct check_case *k, struct guarded *g, const char *name)
{
    const struct lg_kernel_info *info = &lg_kernel_infos[k->kernel];
    struct lg_dispatch op = {.kernel = k->kernel, .push_size = (uint8_t)k->push_size};
    memcpy(op.spec, k->spec, sizeof(op.spec));
    memcpy(op.grid, k->grid, sizeof(op.grid));
    if (k->push_size)
        memcpy(op.push, k->push, k->push_size);
    for (uint32_t i = 0; i < info->n_views; i++) {
        LG_TRY(guarded_create(c, &g[i], k->data[i], k->size[i]));
        op.views[i] = (struct lg_view){.buf = g[i].buf, .offset = GUARD, .size = k->size[i]};
    }
    struct lg_program *prog;
    LG_TRY(lg_program_create(c->dev, &(struct lg_program_desc){.ops = &op, .n_ops = 1}, &prog));
    int rc = submit(prog, 1);
    for (uint32_t i = 0; i < info->n_views && rc == 0; i++)
        rc = guarded_download(c, &g[i]);
    if (c->bench && rc == 0)
        rc = time_program(c, prog, k, name);
    lg_program_destroy(prog);
    return rc;
}

/* ---- both ways
 * -------------------------------------------------------------------------------------------------- */

/* What the reference leaves in the written bindings. */
static void run_reference(struct check_case *k)
{
    const struct lg_kernel_info *info = &lg_kernel_infos[k->kernel];
    struct lg_cpu_args args = {
        .push = k->push, .spec = k->spec, .grid = {k->grid[0], k->grid[1], k->grid[2]}};
    if (k->ref_grid_x)
        args.grid[0] = k->ref_grid_x;
    for (uint32_t i = 0; i < info->n_views; i++) {
        args.view_size[i] = k->size[i];
        args.view[i] = (void *)k->data[i];
        if (info->access[i] & LG_WRITE) {
            args.view[i] = k->ref[i] = check_zeros(1, k->size[i]);
            memset(k->ref[i], GUARD_BYTE, k->size[i]);
            if (k->data[i])
                memcpy(k->ref[i], k->data[i], k->size[i]);
        }
    }
    lg_cpu_kernels[k->kernel](&args, 0, args.grid[0] * args.grid[1] * args.grid[2]);
}

bool check_dispatch(struct check *c, struct check_case *k, const char *name)
{
    const struct lg_kernel_info *info = &lg_kernel_infos[k->kernel];
    struct guarded g[LG_MAX_VIEWS] = {0};
    uint32_t n_failed = c->n_failed, n_messages = c->dev->check_messages;
    c->n_cases++;
    if (run_device(c, k, g, name) < 0)
        check_fail(c, "%s: %s", name, c->env.error);
    if (c->dev->check_messages != n_messages)
        check_fail(c, "%s: the device's checks complain", name);
    bool good = c->n_failed == n_failed;
    for (uint32_t i = 0; i < info->n_views && good; i++) {
        if (!guards_whole(&g[i]))
            check_fail(c, "%s: written beyond binding %u", name, i);
        if (info->access[i] & LG_WRITE) {
            k->out[i] = check_zeros(1, k->size[i]);
            memcpy(k->out[i], g[i].host + GUARD, k->size[i]);
        } else if (k->data[i] && memcmp(g[i].host + GUARD, k->data[i], k->size[i]) != 0) {
            check_fail(c, "%s: binding %u, an input, was written", name, i);
        }
    }
    for (uint32_t i = 0; i < LG_MAX_VIEWS; i++)
        guarded_destroy(&g[i]);
    if (good)
        run_reference(k);
    return good;
}

static bool differs(const struct check_tolerance *t, size_t i, const uint32_t *got, const uint32_t *want)
{
    if (t->abs == 0 && t->rel == 0 && !t->scale)
        return got[i] != want[i];
    float a, b;
    memcpy(&a, &got[i], sizeof(a));
    memcpy(&b, &want[i], sizeof(b));
    if (got[i] == want[i] && isinf(a))
        return false;
    if (got[i] == want[i] && t->abs > 0 && !isfinite(a))
        return memcmp(&want[i], &(uint32_t){0xffffffffu}, 4) != 0; // unwritten on both sides, as it should be
    return !(fabsf(a - b) <= t->abs + t->rel * fabsf(b) + (t->scale ? t->scale[i] : 0));
}

void check_compare(struct check *c, const struct check_case *k, const char *name)
{
    const struct lg_kernel_info *info = &lg_kernel_infos[k->kernel];
    for (uint32_t v = 0; v < info->n_views; v++) {
        if (!(info->access[v] & LG_WRITE) || !k->out[v])
            continue;
        const uint32_t *got = k->out[v], *want = k->ref[v];
        size_t n_wrong = 0, n = k->size[v] / 4;
        for (size_t i = 0; i < n; i++) {
            if (!differs(&k->tolerance[v], i, got, want) || ++n_wrong > MAX_SHOWN)
                continue;
            float a, b;
            memcpy(&a, &got[i], sizeof(a));
            memcpy(&b, &want[i], sizeof(b));
            fprintf(stderr, "  binding %u [%zu]: %.9g (0x%08x), not %.9g (0x%08x)\n", v, i, (double)a, got[i],
                    (double)b, want[i]);
        }
        if (n_wrong)
            check_fail(c, "%s: binding %u: %zu of %zu elements", name, v, n_wrong, n);
    }
}

void check_release(struct check_case *k)
{
    for (uint32_t i = 0; i < LG_MAX_VIEWS; i++) {
        free(k->out[i]);
        free(k->ref[i]);
        k->out[i] = k->ref[i] = NULL;
    }
}

void check_run(struct check *c, struct check_case *k, const char *fmt, ...)
{
    char name[256];
    va_list args;
    va_start(args, fmt);
    int n = snprintf(name, sizeof(name), "%s ", lg_kernel_infos[k->kernel].name);
    vsnprintf(name + n, sizeof(name) - (size_t)n, fmt, args);
    va_end(args);
    if (check_dispatch(c, k, name))
        check_compare(c, k, name);
    check_release(k);
}
