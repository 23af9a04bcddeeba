/* SPDX-License-Identifier: MIT
 * The CPU as a device: buffers are host memory, submissions run on the caller's thread and a pool. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "device/backends.h"
#include "device/cpu/cpu.h"
#include "device/cpu/fast.h"
#include "llmgpu/context.h"
#include "util/checked.h"

enum {
    ALIGN = 64, // bytes, of buffers and views
    LARGE =
        1
        << 20, // bytes from which on a buffer is a map of its own: zeroed by the system, page by page as used
    MAX_THREADS = 1024,
};

/* ---- the machine --------------------------------------------------------------------------------- */

/* The text behind `key` in a file of "key: value" lines, from its first 4 KiB. */
static bool read_value(const char *path, const char *key, char *value, size_t size)
{
    char text[4096];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t len = read(fd, text, sizeof(text) - 1);
    close(fd);
    text[len > 0 ? len : 0] = '\0';
    const char *line = strstr(text, key);
    const char *at = line ? strchr(line, ':') : NULL;
    if (!at)
        return false;
    at += 1 + strspn(at + 1, " \t");
    snprintf(value, size, "%.*s", (int)strcspn(at, "\n"), at);
    return true;
}

static bool read_available(uint64_t *bytes)
{
    char value[64];
    if (!read_value("/proc/meminfo", "MemAvailable", value, sizeof(value)))
        return false;
    *bytes = strtoull(value, NULL, 10) * 1024;
    return true;
}

void lg_cpu_device_describe(struct lg_device_info *info, uint32_t n_threads)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    *info = (struct lg_device_info){
        .id = "cpu",
        .name = "CPU",
        .kind = LG_DEVICE_CPU,
        .memory = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0,
        .max_view_size = INT64_MAX,
        .max_buffer_size = INT64_MAX,
        .view_align = ALIGN,
        .max_views = LG_MAX_VIEWS,
        .subgroup_size = 1,
        .max_workgroup = 1024,
        .n_threads = lg_min_u32(n_threads ? n_threads : lg_pool_processors(), MAX_THREADS),
        .timestamps = true,
        .imports_host = true,
        .int8 = lg_cpu_fast(LG_K_MATMUL_I8_Q8_0) ? LG_INT8_GENERATION : LG_INT8_NONE,
        .int8_prefill = !lg_cpu_fast(LG_K_MATVEC_I8_Q8_0),
    };
    read_value("/proc/cpuinfo", "model name", info->name, sizeof(info->name));
    snprintf(info->driver, sizeof(info->driver), "C, %s", lg_cpu_isa_name(lg_cpu_best_isa()));
}

/* ---- buffers ------------------------------------------------------------------------------------- */

int lg_cpu_check_view(struct lg_device *dev, const struct lg_view *view, const char *what)
{
    if (!view->buf || view->buf->dev != dev)
        return lg_fail(dev->env, LLMGPU_E_INVALID, "%s: a view has no buffer of this device", what);
    if (view->size > view->buf->size || view->offset > view->buf->size - view->size)
        return lg_fail(dev->env, LLMGPU_E_INVALID,
                       "%s: a view of %llu bytes at %llu is outside its buffer of %llu", what,
                       (unsigned long long)view->size, (unsigned long long)view->offset,
                       (unsigned long long)view->buf->size);
    return 0;
}

/* Of huge pages only where all of it is used: a short text uses the beginning of each cache, and would pay for 2 MiB of each. */
static int map_block(struct lg_env *env, struct lg_cpu_buffer *buf)
{
    uint64_t available, size = buf->base.size;
    if (read_available(&available) && size > available)
        return lg_fail(env, LLMGPU_E_NOMEM, "out of memory: a buffer of %llu bytes, %llu are available",
                       (unsigned long long)size, (unsigned long long)available);
    void *block = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED)
        return lg_fail_nomem(env, "a buffer", size);
    if (buf->base.mem == LG_MEM_FILLED)
        madvise(block, size, MADV_HUGEPAGE); // fewer page faults and TLB misses; only a hint
    buf->block = buf->base.map = block;
    buf->mapped = size;
    return 0;
}

static int alloc_block(struct lg_env *env, struct lg_cpu_buffer *buf)
{
    buf->block = lg_alloc(env, buf->base.size + ALIGN);
    if (!buf->block)
        return lg_fail_nomem(env, "a buffer", buf->base.size);
    buf->base.map = (void *)(((uintptr_t)buf->block + ALIGN - 1) / ALIGN * ALIGN);
    return 0;
}

static void buffer_destroy(struct lg_buffer *base)
{
    struct lg_cpu_buffer *buf = (struct lg_cpu_buffer *)base;
    struct lg_device *dev = base->dev;
    if (buf->mapped)
        munmap(buf->block, buf->mapped);
    else
        lg_free(dev->env, buf->block);
    if (buf->block)
        atomic_fetch_sub(&dev->stats.memory_used, base->size);
    lg_free(dev->env, buf);
}

static struct lg_cpu_buffer *new_buffer(struct lg_device *dev, uint64_t size, enum lg_mem mem)
{
    struct lg_cpu_buffer *buf = lg_alloc(dev->env, sizeof(*buf));
    if (buf)
        buf->base = (struct lg_buffer){.dev = dev, .size = size, .mem = mem};
    return buf;
}

static int buffer_create(struct lg_device *dev, uint64_t size, enum lg_mem mem, struct lg_buffer **out)
{
    if (size == 0 || size > dev->info.max_buffer_size)
        return lg_fail(dev->env, LLMGPU_E_INVALID, "a buffer cannot have %llu bytes",
                       (unsigned long long)size);
    struct lg_cpu_buffer *buf = new_buffer(dev, size, mem);
    if (!buf)
        return lg_fail_nomem(dev->env, "a buffer", sizeof(*buf));
    int rc = size >= LARGE ? map_block(dev->env, buf) : alloc_block(dev->env, buf);
    if (rc < 0) {
        buffer_destroy(&buf->base);
        return rc;
    }
    uint64_t used = atomic_fetch_add(&dev->stats.memory_used, size) + size;
    if (used > atomic_load(&dev->stats.memory_peak))
        atomic_store(&dev->stats.memory_peak, used);
    *out = &buf->base;
    return 0;
}

static int buffer_import(struct lg_device *dev, const void *host, uint64_t size, struct lg_buffer **out)
{
    if (!host || size == 0)
        return lg_fail(dev->env, LLMGPU_E_INVALID, "there is nothing to import");
    struct lg_cpu_buffer *buf = new_buffer(dev, size, LG_MEM_DEVICE);
    if (!buf)
        return lg_fail_nomem(dev->env, "a buffer", sizeof(*buf));
    buf->base.map = (void *)host; // never written: programs that would are refused
    buf->imported = true;
    *out = &buf->base;
    return 0;
}

static int upload(struct lg_device *dev, struct lg_view dst, const void *src)
{
    LG_TRY(lg_cpu_check_view(dev, &dst, "upload"));
    if (((const struct lg_cpu_buffer *)dst.buf)->imported)
        return lg_fail(dev->env, LLMGPU_E_INVALID, "upload: the buffer is imported memory");
    memcpy((uint8_t *)dst.buf->map + dst.offset, src, dst.size);
    return 0;
}

static int download(struct lg_device *dev, struct lg_view src, void *dst)
{
    LG_TRY(lg_cpu_check_view(dev, &src, "download"));
    memcpy(dst, (const uint8_t *)src.buf->map + src.offset, src.size);
    return 0;
}

static int copy(struct lg_device *dev, struct lg_view dst, struct lg_view src)
{
    src.size = dst.size;
    LG_TRY(lg_cpu_check_view(dev, &dst, "copy"));
    LG_TRY(lg_cpu_check_view(dev, &src, "copy"));
    if (((const struct lg_cpu_buffer *)dst.buf)->imported)
        return lg_fail(dev->env, LLMGPU_E_INVALID, "copy: the buffer is imported memory");
    if (lg_views_overlap(&dst, &src))
        return lg_fail(dev->env, LLMGPU_E_INVALID, "copy: source and destination overlap");
    memcpy((uint8_t *)dst.buf->map + dst.offset, (const uint8_t *)src.buf->map + src.offset, dst.size);
    return 0;
}

static int flush(struct lg_device *dev)
{
    (void)dev; // uploads are copies that are done
    return 0;
}

static int memory_budget(struct lg_device *dev, uint64_t *available)
{
    if (!read_available(available))
        return lg_fail(dev->env, LLMGPU_E_UNSUPPORTED,
                       "the system does not say how much memory is available");
    return 0;
}

/* ---- the device ---------------------------------------------------------------------------------- */

/* A submission is finished when submit returns. */
static int wait_ticket(struct lg_device *dev, uint64_t ticket, uint64_t timeout_ns)
{
    (void)timeout_ns;
    uint64_t last = ((const struct lg_cpu_device *)dev)->last_ticket;
    if (ticket > last)
        return lg_fail(dev->env, LLMGPU_E_INVALID, "ticket %llu was not given out yet",
                       (unsigned long long)ticket);
    return 0;
}

static void destroy(struct lg_device *dev)
{
    struct lg_cpu_device *cpu = (struct lg_cpu_device *)dev;
    lg_pool_destroy(cpu->pool);
    lg_free(dev->env, cpu);
}

static const struct lg_device_ops cpu_ops = {
    .destroy = destroy,
    .buffer_create = buffer_create,
    .buffer_import = buffer_import,
    .buffer_destroy = buffer_destroy,
    .upload = upload,
    .download = download,
    .copy = copy,
    .flush = flush,
    .program_create = lg_cpu_program_create,
    .program_destroy = lg_cpu_program_destroy,
    .submit = lg_cpu_submit,
    .wait = wait_ticket,
    .program_times = lg_cpu_program_times,
    .memory_budget = memory_budget,
};

int lg_cpu_device_open(struct lg_env *env, const struct lg_device_options *options, struct lg_device **out)
{
    struct lg_cpu_device *cpu = lg_alloc(env, sizeof(*cpu));
    if (!cpu)
        return lg_fail_nomem(env, "the CPU device", sizeof(*cpu));
    cpu->base.ops = &cpu_ops;
    cpu->base.env = env;
    cpu->check = options->check;
    lg_cpu_device_describe(&cpu->base.info, options->n_threads);
    if (cpu->base.info.int8 && options->precision == LLMGPU_PRECISION_FAST)
        cpu->base.info.int8 = LG_INT8_ALL;
    else if (options->precision == LLMGPU_PRECISION_FLOAT32)
        cpu->base.info.int8 = LG_INT8_NONE;
    int rc = lg_pool_create(env, cpu->base.info.n_threads, &cpu->pool);
    if (rc < 0) {
        destroy(&cpu->base);
        return rc;
    }
    *out = &cpu->base;
    return 0;
}
