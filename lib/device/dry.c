/* SPDX-License-Identifier: MIT
 *
 * A device that has the properties of another one and counts what its buffers would take there, but holds
 * nothing and computes nothing. What runs on it is the same code that runs on the real one, so the count
 * cannot differ.
 */
#include <string.h>

#include "device/device.h"

/* The host's side of a buffer is real, because code writes to it; what only the device reaches is not. */
static int buffer_create(struct lg_device *dev, uint64_t size, enum lg_mem mem, struct lg_buffer **out)
{
    *out = NULL;
    if (size == 0)
        return lg_fail(dev->env, LLMGPU_E_INTERNAL, "a buffer of 0 bytes was asked for");
    struct lg_buffer *buf = lg_alloc(dev->env, sizeof(*buf));
    if (!buf)
        return lg_fail_nomem(dev->env, "a buffer's description", sizeof(*buf));
    *buf = (struct lg_buffer){.dev = dev, .size = size, .mem = mem};
    if (lg_mem_is_mapped(mem) && !(buf->map = lg_alloc(dev->env, size))) {
        lg_free(dev->env, buf);
        return lg_fail_nomem(dev->env, "a buffer", size);
    }
    uint64_t used = atomic_fetch_add(&dev->stats.memory_used, size) + size;
    if (used > atomic_load(&dev->stats.memory_peak))
        atomic_store(&dev->stats.memory_peak, used);
    *out = buf;
    return 0;
}

/* An imported buffer has `map` set and takes nothing; no other of LG_MEM_DEVICE has. */
static int buffer_import(struct lg_device *dev, const void *host, uint64_t size, struct lg_buffer **out)
{
    *out = lg_alloc(dev->env, sizeof(**out));
    if (!*out)
        return lg_fail_nomem(dev->env, "a buffer's description", sizeof(**out));
    **out = (struct lg_buffer){.dev = dev, .size = size, .mem = LG_MEM_DEVICE, .map = (void *)host};
    return 0;
}

static void buffer_destroy(struct lg_buffer *buf)
{
    struct lg_device *dev = buf->dev;
    bool imported = !lg_mem_is_mapped(buf->mem) && buf->map;
    if (!imported) {
        atomic_fetch_sub(&dev->stats.memory_used, buf->size);
        lg_free(dev->env, buf->map);
    }
    lg_free(dev->env, buf);
}

static int upload(struct lg_device *dev, struct lg_view dst, const void *src)
{
    (void)dev;
    (void)dst;
    (void)src;
    return 0;
}

static int download(struct lg_device *dev, struct lg_view src, void *dst)
{
    (void)dev;
    memset(dst, 0, src.size);
    return 0;
}

static int copy(struct lg_device *dev, struct lg_view dst, struct lg_view src)
{
    (void)dev;
    (void)dst;
    (void)src;
    return 0;
}

static int flush(struct lg_device *dev)
{
    (void)dev;
    return 0;
}

static int program_create(struct lg_device *dev, const struct lg_program_desc *desc, struct lg_program **out)
{
    *out = lg_alloc(dev->env, sizeof(**out));
    if (!*out)
        return lg_fail_nomem(dev->env, "a program", sizeof(**out));
    **out = (struct lg_program){.dev = dev, .n_ops = desc->n_ops, .n_slices = desc->n_cuts + 1};
    return 0;
}

static void program_destroy(struct lg_program *prog)
{
    lg_free(prog->dev->env, prog);
}

static int submit(struct lg_device *dev, const struct lg_piece *pieces, uint32_t n_pieces, uint64_t *ticket)
{
    (void)pieces;
    (void)n_pieces;
    (void)ticket;
    return lg_fail(dev->env, LLMGPU_E_UNSUPPORTED, "a dry device computes nothing");
}

static int wait_ticket(struct lg_device *dev, uint64_t ticket, uint64_t timeout_ns)
{
    (void)ticket;
    (void)timeout_ns;
    return lg_fail(dev->env, LLMGPU_E_UNSUPPORTED, "a dry device computes nothing");
}

static int program_times(struct lg_program *prog, uint64_t *ns)
{
    (void)ns;
    return lg_fail(prog->dev->env, LLMGPU_E_UNSUPPORTED, "a dry device computes nothing");
}

/* Nothing is too much for it: sizes are what is asked for here. */
static int memory_budget(struct lg_device *dev, uint64_t *available)
{
    (void)dev;
    *available = UINT64_MAX;
    return 0;
}

static void destroy(struct lg_device *dev)
{
    lg_free(dev->env, dev);
}

static const struct lg_device_ops ops = {
    .destroy = destroy,
    .buffer_create = buffer_create,
    .buffer_import = buffer_import,
    .buffer_destroy = buffer_destroy,
    .upload = upload,
    .download = download,
    .copy = copy,
    .flush = flush,
    .program_create = program_create,
    .program_destroy = program_destroy,
    .submit = submit,
    .wait = wait_ticket,
    .program_times = program_times,
    .memory_budget = memory_budget,
};

int lg_dry_device_open(struct lg_env *env, const struct lg_device_info *like, struct lg_device **out)
{
    struct lg_device *dev = *out = lg_alloc(env, sizeof(*dev));
    if (!dev)
        return lg_fail_nomem(env, "a dry device", sizeof(*dev));
    dev->ops = &ops;
    dev->env = env;
    dev->info = *like;
    return 0;
}
