/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <string.h>

#include "device/vulkan/vk.h"

/* Kernels read whole words and vectors, so a buffer's bytes are padded to a multiple of this. */
static const uint64_t padding = 16;

bool lg_vk_view_fits(const struct lg_view *view)
{
    return view->offset <= view->buf->size && view->size <= view->buf->size - view->offset;
}

int lg_vk_buffer_init(struct lg_vk_device *dev, struct lg_vk_buffer *buf, uint64_t size, enum lg_mem mem)
{
    buf->base = (struct lg_buffer){.dev = &dev->base, .size = size, .mem = mem};
    VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .size = (size + padding - 1) & ~(padding - 1),
        .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_INDIRECT_BUFFER_BIT |
                 VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT,
        .sharingMode = VK_SHARING_MODE_EXCLUSIVE,
    };
    VK_CREATE(dev, vkCreateBuffer, &info, &buf->handle);
    VkMemoryRequirements req;
    dev->vk.vkGetBufferMemoryRequirements(dev->handle, buf->handle, &req);
    LG_TRY(lg_vk_range_alloc(dev, &req, mem, &buf->range));
    VK(dev, vkBindBufferMemory, dev->handle, buf->handle, buf->range.block->memory, buf->range.offset);
    if (lg_mem_is_mapped(mem))
        buf->base.map = buf->range.block->map + buf->range.offset;
    else if (mem == LG_MEM_FILLED && lg_vk_is_coherent(dev, buf->range.block))
        buf->fill = buf->range.block->map + buf->range.offset;
    return 0;
}

void lg_vk_buffer_finish(struct lg_vk_device *dev, struct lg_vk_buffer *buf)
{
    if (buf->handle)
        dev->vk.vkDestroyBuffer(dev->handle, buf->handle, NULL);
    lg_vk_range_free(dev, &buf->range);
    buf->handle = VK_NULL_HANDLE;
}

static int zero(struct lg_vk_device *dev, struct lg_vk_buffer *buf)
{
    if (buf->base.mem == LG_MEM_FILLED)
        return 0;
    if (!buf->base.map)
        return lg_vk_staging_zero(dev, buf);
    memset(buf->base.map, 0, buf->base.size);
    return 0;
}

int lg_vk_buffer_create(struct lg_device *base, uint64_t size, enum lg_mem mem, struct lg_buffer **out)
{
    struct lg_vk_device *dev = lg_vk_device(base);
    *out = NULL;
    LG_TRY(lg_vk_alive(dev));
    if (size == 0)
        return lg_fail(base->env, LLMGPU_E_INTERNAL, "a buffer of 0 bytes was asked for");
    if (size > base->info.max_buffer_size)
        return lg_fail(base->env, LLMGPU_E_NOMEM,
                       "out of memory on %s: a buffer of %" PRIu64 " bytes is wanted, one may have %" PRIu64,
                       base->info.id, size, base->info.max_buffer_size);
    struct lg_vk_buffer *buf = lg_alloc(base->env, sizeof(*buf));
    if (!buf)
        return lg_fail_nomem(base->env, "a buffer's description", sizeof(*buf));
    int rc = lg_vk_buffer_init(dev, buf, size, mem);
    if (rc == 0)
        rc = zero(dev, buf);
    if (rc < 0) {
        lg_vk_buffer_finish(dev, buf);
        lg_free(base->env, buf);
        return rc;
    }
    uint64_t used = atomic_fetch_add_explicit(&base->stats.memory_used, size, memory_order_relaxed) + size;
    if (used > base->stats.memory_peak)
        base->stats.memory_peak = used;
    *out = &buf->base;
    return 0;
}

int lg_vk_buffer_import(struct lg_device *base, const void *host, uint64_t size, struct lg_buffer **out)
{
    (void)host;
    (void)size;
    *out = NULL;
    return lg_fail(base->env, LLMGPU_E_UNSUPPORTED, "%s cannot use host memory as a buffer", base->info.id);
}

void lg_vk_buffer_destroy(struct lg_buffer *base)
{
    struct lg_vk_device *dev = lg_vk_device(base->dev);
    lg_vk_staging_settle(dev); // gathered copies may still name it
    atomic_fetch_sub_explicit(&dev->base.stats.memory_used, base->size, memory_order_relaxed);
    lg_vk_buffer_finish(dev, lg_vk_buffer(base));
    lg_free(dev->base.env, base);
}
