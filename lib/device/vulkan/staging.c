/* SPDX-License-Identifier: MIT
 *
 * Copies between the host and memory that it does not reach, and from buffer to buffer. The former go through
 * a ring of mapped memory in chunks: one is filled by the host while the device copies out of the others. What is
 * uploaded before the device knows of a buffer, such as weights, is written in place where the host reaches that.
 */
#include <string.h>

#include "device/vulkan/vk.h"

int lg_vk_staging_init(struct lg_vk_device *dev)
{
    struct lg_vk_staging *s = &dev->staging;
    LG_TRY(lg_vk_buffer_init(dev, &s->ring, (uint64_t)LG_VK_CHUNKS * LG_VK_CHUNK_SIZE, LG_MEM_READBACK));
    VkCommandPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT | VK_COMMAND_POOL_CREATE_TRANSIENT_BIT,
        .queueFamilyIndex = dev->probe.queue_family,
    };
    VK_CREATE(dev, vkCreateCommandPool, &pool, &s->pool);
    VkCommandBuffer cmds[LG_VK_CHUNKS];
    VkCommandBufferAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = s->pool,
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = LG_VK_CHUNKS,
    };
    VK(dev, vkAllocateCommandBuffers, dev->handle, &info, cmds);
    for (uint32_t i = 0; i < LG_VK_CHUNKS; i++)
        s->chunks[i].cmd = cmds[i];
    return 0;
}

void lg_vk_staging_finish(struct lg_vk_device *dev)
{
    struct lg_vk_staging *s = &dev->staging;
    if (s->pool)
        dev->vk.vkDestroyCommandPool(dev->handle, s->pool, NULL);
    lg_vk_buffer_finish(dev, &s->ring);
    memset(s, 0, sizeof(*s));
}

/* Makes sure that the current chunk can take commands. */
static int begin(struct lg_vk_device *dev)
{
    struct lg_vk_staging *s = &dev->staging;
    if (s->state == LG_VK_STAGING_RECORDING)
        return 0;
    LG_TRY(lg_vk_staging_submit(dev));
    struct lg_vk_chunk *chunk = &s->chunks[s->current];
    LG_TRY(lg_vk_wait(&dev->base, chunk->ticket, UINT64_MAX));
    VkCommandBufferBeginInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
        .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT,
    };
    VK(dev, vkBeginCommandBuffer, chunk->cmd, &info);
    s->state = LG_VK_STAGING_RECORDING;
    s->used = 0;
    s->segment++;
    return 0;
}

/* Copies that were taken on cannot be made any more, and only the device knew them: it must begin anew. */
static int lose_copies(struct lg_vk_device *dev)
{
    dev->base.lost = LLMGPU_E_DEVICE_LOST;
    return lg_fail(dev->base.env, LLMGPU_E_DEVICE_LOST,
                   "device '%s' is lost: the driver failed to record copies that were gathered",
                   dev->base.info.id);
}

int lg_vk_staging_submit(struct lg_vk_device *dev)
{
    struct lg_vk_staging *s = &dev->staging;
    struct lg_vk_chunk *chunk = &s->chunks[s->current];
    if (s->state == LG_VK_STAGING_EMPTY)
        return 0;
    if (s->state == LG_VK_STAGING_RECORDING) {
        s->state = LG_VK_STAGING_EMPTY;
        if (lg_vk_cmd_end(dev, chunk->cmd) < 0)
            return lose_copies(dev);
        s->state = LG_VK_STAGING_RECORDED;
    }
    LG_TRY(lg_vk_queue_submit(dev, &chunk->cmd, 1, &chunk->ticket));
    s->state = LG_VK_STAGING_EMPTY;
    s->last_ticket = chunk->ticket;
    s->current = (s->current + 1) % LG_VK_CHUNKS;
    return 0;
}

void lg_vk_staging_settle(struct lg_vk_device *dev)
{
    enum { TRIES = 4 };
    char sentence[sizeof(dev->base.env->error)];
    memcpy(sentence, dev->base.env->error, sizeof(sentence));
    int rc = dev->base.lost;
    for (int i = 0; i < TRIES && !dev->base.lost; i++) {
        rc = lg_vk_staging_submit(dev);
        if (rc == 0)
            break;
    }
    memcpy(dev->base.env->error, sentence, sizeof(sentence));
    if (rc < 0)
        dev->base.lost = LLMGPU_E_DEVICE_LOST;
    lg_vk_settle(dev, dev->staging.last_ticket);
}

static bool overlap(struct lg_vk_span a, struct lg_vk_span b)
{
    return a.begin < b.end && b.begin < a.end;
}

static struct lg_vk_span join(struct lg_vk_span a, struct lg_vk_span b)
{
    if (a.begin == a.end)
        return b;
    return (struct lg_vk_span){a.begin < b.begin ? a.begin : b.begin, a.end > b.end ? a.end : b.end};
}

/* Whether a copy that reads or writes these bytes must wait for others of the segment. */
static bool conflicts(const struct lg_vk_device *dev, const struct lg_vk_buffer *buf, struct lg_vk_span span,
                      bool writes)
{
    return buf->segment == dev->staging.segment &&
           (overlap(buf->written, span) || (writes && overlap(buf->read, span)));
}

static void touch(const struct lg_vk_device *dev, struct lg_vk_buffer *buf, struct lg_vk_span span,
                  bool writes)
{
    if (buf->segment != dev->staging.segment)
        buf->read = buf->written = (struct lg_vk_span){0, 0};
    buf->segment = dev->staging.segment;
    struct lg_vk_span *touched = writes ? &buf->written : &buf->read;
    *touched = join(*touched, span);
}

static void begin_segment(struct lg_vk_device *dev)
{
    struct lg_vk_staging *s = &dev->staging;
    VkMemoryBarrier barrier = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
    };
    dev->vk.vkCmdPipelineBarrier(s->chunks[s->current].cmd, VK_PIPELINE_STAGE_TRANSFER_BIT,
                                 VK_PIPELINE_STAGE_TRANSFER_BIT, 0, 1, &barrier, 0, NULL, 0, NULL);
    s->segment++;
}

/* Keeps writes in order that touch the same bytes of a buffer; others may overlap in time. */
static void order_write(struct lg_vk_device *dev, struct lg_vk_buffer *buf, uint64_t offset, uint64_t size)
{
    struct lg_vk_span span = {offset, offset + size};
    if (conflicts(dev, buf, span, true))
        begin_segment(dev);
    touch(dev, buf, span, true);
}

int lg_vk_staging_zero(struct lg_vk_device *dev, struct lg_vk_buffer *buf)
{
    LG_TRY(begin(dev));
    order_write(dev, buf, 0, buf->base.size);
    dev->vk.vkCmdFillBuffer(dev->staging.chunks[dev->staging.current].cmd, buf->handle, 0, VK_WHOLE_SIZE, 0);
    return 0;
}

/* Puts a piece of an upload into the current chunk. Returns its size. */
static uint64_t stage_piece(struct lg_vk_device *dev, struct lg_vk_buffer *dst, uint64_t offset,
                            const uint8_t *src, uint64_t size)
{
    struct lg_vk_staging *s = &dev->staging;
    uint64_t room = LG_VK_CHUNK_SIZE - s->used;
    uint64_t n = size < room ? size : room;
    uint64_t at = (uint64_t)s->current * LG_VK_CHUNK_SIZE + s->used;
    memcpy((uint8_t *)s->ring.base.map + at, src, n);
    order_write(dev, dst, offset, n);
    VkBufferCopy copy = {.srcOffset = at, .dstOffset = offset, .size = n};
    dev->vk.vkCmdCopyBuffer(s->chunks[s->current].cmd, s->ring.handle, dst->handle, 1, &copy);
    s->used = (s->used + n + 15) & ~UINT64_C(15); // copies of whole vectors are the fast ones
    return n;
}

static int check_view(struct lg_vk_device *dev, const struct lg_view *view, const char *what)
{
    if (!lg_vk_view_fits(view))
        return lg_fail(dev->base.env, LLMGPU_E_INTERNAL, "%s of bytes [%llu, +%llu) of a buffer of %llu",
                       what, (unsigned long long)view->offset, (unsigned long long)view->size,
                       (unsigned long long)view->buf->size);
    return lg_vk_alive(dev);
}

/* Waits for everything that was submitted, so that the host may touch mapped buffers. */
static int wait_all(struct lg_vk_device *dev)
{
    LG_TRY(lg_vk_staging_submit(dev));
    return lg_vk_wait(&dev->base, dev->last_ticket, UINT64_MAX);
}

int lg_vk_upload(struct lg_device *base, struct lg_view dst, const void *src)
{
    struct lg_vk_device *dev = lg_vk_device(base);
    LG_TRY(check_view(dev, &dst, "upload"));
    if (dst.buf->map) {
        LG_TRY(wait_all(dev));
        memcpy((uint8_t *)dst.buf->map + dst.offset, src, dst.size);
        return 0;
    }
    if (lg_vk_buffer(dst.buf)->fill) {
        memcpy(lg_vk_buffer(dst.buf)->fill + dst.offset, src, dst.size);
        return 0;
    }
    for (uint64_t done = 0; done < dst.size;) {
        LG_TRY(begin(dev));
        done += stage_piece(dev, lg_vk_buffer(dst.buf), dst.offset + done, (const uint8_t *)src + done,
                            dst.size - done);
        if (dev->staging.used >= LG_VK_CHUNK_SIZE)
            LG_TRY(lg_vk_staging_submit(dev));
    }
    return 0;
}

int lg_vk_download(struct lg_device *base, struct lg_view src, void *dst)
{
    struct lg_vk_device *dev = lg_vk_device(base);
    struct lg_vk_staging *s = &dev->staging;
    LG_TRY(check_view(dev, &src, "download"));
    LG_TRY(wait_all(dev));
    if (src.buf->map) {
        memcpy(dst, (uint8_t *)src.buf->map + src.offset, src.size);
        return 0;
    }
    lg_vk_buffer(src.buf)->fill = NULL;
    for (uint64_t done = 0; done < src.size;) {
        uint64_t rest = src.size - done;
        uint64_t n = rest < LG_VK_CHUNK_SIZE ? rest : LG_VK_CHUNK_SIZE;
        LG_TRY(begin(dev));
        uint32_t chunk = s->current;
        uint64_t at = (uint64_t)chunk * LG_VK_CHUNK_SIZE;
        VkBufferCopy copy = {.srcOffset = src.offset + done, .dstOffset = at, .size = n};
        dev->vk.vkCmdCopyBuffer(s->chunks[chunk].cmd, lg_vk_buffer(src.buf)->handle, s->ring.handle, 1,
                                &copy);
        LG_TRY(lg_vk_staging_submit(dev));
        LG_TRY(lg_vk_wait(base, s->chunks[chunk].ticket, UINT64_MAX));
        memcpy((uint8_t *)dst + done, (uint8_t *)s->ring.base.map + at, n);
        done += n;
    }
    return 0;
}

int lg_vk_copy(struct lg_device *base, struct lg_view dst, struct lg_view src)
{
    struct lg_vk_device *dev = lg_vk_device(base);
    src.size = dst.size;
    LG_TRY(check_view(dev, &dst, "copy to"));
    LG_TRY(check_view(dev, &src, "copy from"));
    if (lg_views_overlap(&dst, &src))
        return lg_fail(base->env, LLMGPU_E_INTERNAL, "source and destination of a copy overlap");
    if (!dst.size)
        return 0;
    LG_TRY(begin(dev));
    struct lg_vk_buffer *to = lg_vk_buffer(dst.buf), *from = lg_vk_buffer(src.buf);
    to->fill = from->fill = NULL;
    struct lg_vk_span written = {dst.offset, dst.offset + dst.size};
    struct lg_vk_span read = {src.offset, src.offset + src.size};
    if (conflicts(dev, to, written, true) || conflicts(dev, from, read, false))
        begin_segment(dev);
    touch(dev, to, written, true);
    touch(dev, from, read, false);
    VkBufferCopy copy = {.srcOffset = src.offset, .dstOffset = dst.offset, .size = dst.size};
    dev->vk.vkCmdCopyBuffer(dev->staging.chunks[dev->staging.current].cmd, from->handle, to->handle, 1,
                            &copy);
    return 0;
}

int lg_vk_flush(struct lg_device *base)
{
    struct lg_vk_device *dev = lg_vk_device(base);
    LG_TRY(lg_vk_alive(dev));
    LG_TRY(lg_vk_staging_submit(dev));
    return lg_vk_wait(base, dev->staging.last_ticket, UINT64_MAX);
}
