/* SPDX-License-Identifier: MIT
 * Programs of the CPU device: an array of dispatches whose pointers are resolved, walked on the caller's
 * thread. */
#include <string.h>

#include "device/cpu/cpu.h"
#include "device/cpu/fast.h"
#include "util/checked.h"
#include "util/clock.h"

enum {
    CHUNK_COST =
        1
        << 15, // multiplications between two looks at the stop flag, and what is worth waking a thread for
};

static int check_indirect(struct lg_device *dev, const struct lg_dispatch *d)
{
    LG_TRY(lg_cpu_check_view(dev, &d->indirect, "the indirect grid"));
    if (d->indirect.size < 3 * sizeof(uint32_t) || d->indirect.offset % sizeof(uint32_t))
        return lg_fail(dev->env, LLMGPU_E_INVALID, "the indirect grid is %llu bytes at offset %llu",
                       (unsigned long long)d->indirect.size, (unsigned long long)d->indirect.offset);
    return 0;
}

static int check_dispatch(struct lg_device *dev, const struct lg_dispatch *d)
{
    if ((unsigned)d->kernel >= LG_K_COUNT)
        return lg_fail(dev->env, LLMGPU_E_INVALID, "there is no kernel %u", (unsigned)d->kernel);
    const struct lg_kernel_info *info = &lg_kernel_infos[d->kernel];
    if (d->push_size > LG_MAX_PUSH || d->push_size % 4)
        return lg_fail(dev->env, LLMGPU_E_INVALID, "%s: %u bytes of push constants", info->name,
                       d->push_size);
    for (uint32_t i = 0; i < info->n_views; i++) {
        LG_TRY(lg_cpu_check_view(dev, &d->views[i], info->name));
        const struct lg_cpu_buffer *buf = (const struct lg_cpu_buffer *)d->views[i].buf;
        if (!buf->imported && d->views[i].offset % dev->info.view_align)
            return lg_fail(dev->env, LLMGPU_E_INVALID, "%s: view %u is not aligned", info->name, i);
        if (buf->imported && (info->access[i] & LG_WRITE))
            return lg_fail(dev->env, LLMGPU_E_INVALID, "%s: view %u would write to imported memory",
                           info->name, i);
    }
    return d->indirect.buf ? check_indirect(dev, d) : 0;
}

static int init_op(struct lg_cpu_device *cpu, struct lg_cpu_op *op, const struct lg_dispatch *d)
{
    LG_TRY(check_dispatch(&cpu->base, d));
    lg_cpu_kernel_fn *fast = cpu->check ? NULL : lg_cpu_fast(d->kernel);
    op->kernel = d->kernel;
    op->run = fast ? fast : lg_cpu_kernels[d->kernel];
    op->cost = lg_cpu_cost(d);
    op->barrier = d->barrier;
    memcpy(op->push, d->push, sizeof(op->push));
    memcpy(op->spec, d->spec, sizeof(op->spec));
    memcpy(op->args.grid, d->grid, sizeof(op->args.grid));
    op->args.push = op->push;
    op->args.spec = op->spec;
    for (uint32_t i = 0; i < lg_kernel_infos[d->kernel].n_views; i++) {
        const struct lg_view *view = &d->views[i];
        op->args.view[i] = (uint8_t *)view->buf->map + view->offset;
        op->args.view_size[i] = view->size;
        op->imported |= (uint32_t)((const struct lg_cpu_buffer *)view->buf)->imported << i;
    }
    if (d->indirect.buf)
        op->indirect = (const uint32_t *)((const uint8_t *)d->indirect.buf->map + d->indirect.offset);
    struct lg_cpu_args args;
    return d->indirect.buf ? 0 : lg_cpu_resolve(cpu, op, &args);
}

static int init_slices(struct lg_cpu_program *prog, const struct lg_program_desc *desc)
{
    for (uint32_t i = 0; i < desc->n_cuts; i++) {
        uint32_t before = prog->slices[i];
        if (desc->cuts[i] <= before || desc->cuts[i] >= desc->n_ops)
            return lg_fail(prog->base.dev->env, LLMGPU_E_INVALID, "cut %u at op %u of %u, after one at %u", i,
                           desc->cuts[i], desc->n_ops, before);
        prog->slices[i + 1] = desc->cuts[i];
    }
    prog->slices[prog->base.n_slices] = desc->n_ops;
    return 0;
}

static int init_program(struct lg_cpu_program *prog, const struct lg_program_desc *desc)
{
    struct lg_env *env = prog->base.dev->env;
    prog->ops = lg_alloc_array(env, desc->n_ops, sizeof(*prog->ops));
    prog->slices = lg_alloc_array(env, (size_t)desc->n_cuts + 2, sizeof(*prog->slices));
    if (desc->timestamps)
        prog->times = lg_alloc_array(env, desc->n_ops, sizeof(*prog->times));
    if (!prog->ops || !prog->slices || (desc->timestamps && !prog->times))
        return lg_fail_nomem(env, "a program", (uint64_t)desc->n_ops * sizeof(*prog->ops));
    prog->base.n_ops = desc->n_ops;
    prog->base.n_slices = desc->n_cuts + 1;
    for (uint32_t i = 0; i < desc->n_ops; i++)
        LG_TRY(init_op((struct lg_cpu_device *)prog->base.dev, &prog->ops[i], &desc->ops[i]));
    return init_slices(prog, desc);
}

int lg_cpu_program_create(struct lg_device *dev, const struct lg_program_desc *desc, struct lg_program **out)
{
    struct lg_cpu_program *prog = lg_alloc(dev->env, sizeof(*prog));
    if (!prog)
        return lg_fail_nomem(dev->env, "a program", sizeof(*prog));
    prog->base.dev = dev;
    int rc = init_program(prog, desc);
    if (rc < 0) {
        lg_cpu_program_destroy(&prog->base);
        return rc;
    }
    *out = &prog->base;
    return 0;
}

void lg_cpu_program_destroy(struct lg_program *base)
{
    struct lg_cpu_program *prog = (struct lg_cpu_program *)base;
    struct lg_env *env = base->dev->env;
    lg_free(env, prog->times);
    lg_free(env, prog->slices);
    lg_free(env, prog->ops);
    lg_free(env, prog);
}

int lg_cpu_resolve(struct lg_cpu_device *cpu, const struct lg_cpu_op *op, struct lg_cpu_args *args)
{
    *args = op->args;
    if (op->indirect)
        memcpy(args->grid, op->indirect, sizeof(args->grid));
    uint64_t n;
    if (!lg_mul_u64((uint64_t)args->grid[0] * args->grid[1], args->grid[2], &n) || n > UINT32_MAX)
        return lg_fail(cpu->base.env, LLMGPU_E_INVALID, "%s: a grid of %u x %u x %u is too large",
                       lg_kernel_infos[op->kernel].name, args->grid[0], args->grid[1], args->grid[2]);
    return 0;
}

struct job {
    lg_cpu_kernel_fn *run;
    const struct lg_cpu_args *args;
    const _Atomic int *stop;
    _Atomic bool stopped; // some of it was left out, whatever `stop` says now
};

static void run_piece(void *user, uint32_t first, uint32_t last)
{
    struct job *job = user;
    if (job->stop && atomic_load_explicit(job->stop, memory_order_relaxed))
        atomic_store_explicit(&job->stopped, true, memory_order_relaxed);
    else
        job->run(job->args, first, last);
}

int lg_cpu_run(struct lg_cpu_device *cpu, const struct lg_cpu_op *op, const struct lg_cpu_args *args)
{
    uint32_t n = args->grid[0] * args->grid[1] * args->grid[2];
    uint64_t chunk = op->cost < CHUNK_COST ? CHUNK_COST / op->cost : 1;
    struct job job = {.run = op->run, .args = args, .stop = cpu->base.stop};
    if (lg_cpu_is_shared(op->kernel))
        chunk = chunk * args->grid[1] < n ? chunk * args->grid[1] : n;
    if (n > 0)
        lg_pool_run(cpu->pool, run_piece, &job, n, (uint32_t)chunk);
    if (job.stopped || (job.stop && atomic_load(job.stop)))
        return lg_fail(cpu->base.env, LLMGPU_E_CANCELLED,
                       "the submission was cancelled in the dispatch of %s",
                       lg_kernel_infos[op->kernel].name);
    return 0;
}

static int walk(struct lg_cpu_device *cpu, const struct lg_cpu_program *prog, uint32_t begin, uint32_t end)
{
    struct lg_cpu_args args;
    for (uint32_t i = begin; i < end; i++) {
        const struct lg_cpu_op *op = &prog->ops[i];
        uint64_t start = prog->times ? lg_now_ns() : 0;
        LG_TRY(lg_cpu_resolve(cpu, op, &args));
        LG_TRY(lg_cpu_run(cpu, op, &args));
        if (prog->times)
            prog->times[i] = lg_now_ns() - start;
    }
    return 0;
}

static void count(struct lg_cpu_device *cpu, const struct lg_cpu_program *prog, uint32_t begin, uint32_t end)
{
    uint64_t barriers = 0;
    for (uint32_t i = begin; i < end; i++)
        barriers += prog->ops[i].barrier;
    atomic_fetch_add_explicit(&cpu->base.stats.dispatches, end - begin, memory_order_relaxed);
    atomic_fetch_add_explicit(&cpu->base.stats.barriers, barriers, memory_order_relaxed);
}

static int check_piece(const struct lg_cpu_device *cpu, const struct lg_piece *piece)
{
    uint32_t n_slices = piece->program->n_slices;
    if (piece->first > n_slices || piece->n > n_slices - piece->first)
        return lg_fail(cpu->base.env, LLMGPU_E_INVALID, "slices %u to %u of a program that has %u",
                       piece->first, piece->first + piece->n, n_slices);
    return 0;
}

static int run_program(struct lg_cpu_device *cpu, const struct lg_piece *piece)
{
    struct lg_cpu_program *prog = (struct lg_cpu_program *)piece->program;
    uint32_t begin = prog->slices[piece->first], end = prog->slices[piece->first + piece->n];
    if (prog->times)
        memset(prog->times, 0, prog->base.n_ops * sizeof(*prog->times));
    for (uint32_t i = 0; i < piece->repeat; i++) {
        count(cpu, prog, begin, end);
        LG_TRY(cpu->check ? lg_cpu_check_walk(cpu, prog, begin, end) : walk(cpu, prog, begin, end));
    }
    return 0;
}

int lg_cpu_submit(struct lg_device *dev, const struct lg_piece *pieces, uint32_t n_pieces, uint64_t *ticket)
{
    struct lg_cpu_device *cpu = (struct lg_cpu_device *)dev;
    for (uint32_t i = 0; i < n_pieces; i++)
        LG_TRY(check_piece(cpu, &pieces[i]));
    *ticket = ++cpu->last_ticket;
    atomic_fetch_add_explicit(&dev->stats.submits, 1, memory_order_relaxed);
    for (uint32_t i = 0; i < n_pieces; i++)
        LG_TRY(run_program(cpu, &pieces[i]));
    return 0;
}

int lg_cpu_program_times(struct lg_program *base, uint64_t *ns)
{
    const struct lg_cpu_program *prog = (const struct lg_cpu_program *)base;
    if (!prog->times)
        return lg_fail(base->dev->env, LLMGPU_E_UNSUPPORTED, "the program was created without timestamps");
    memcpy(ns, prog->times, base->n_ops * sizeof(*ns));
    return 0;
}
