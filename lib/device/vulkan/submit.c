/* SPDX-License-Identifier: MIT */
#include <inttypes.h>

#include "device/vulkan/vk.h"

int lg_vk_cmd_end(struct lg_vk_device *dev, VkCommandBuffer cmd)
{
    const VkPipelineStageFlags device_stages = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT |
                                               VK_PIPELINE_STAGE_DRAW_INDIRECT_BIT |
                                               VK_PIPELINE_STAGE_TRANSFER_BIT;
    VkMemoryBarrier barrier = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT |
                         VK_ACCESS_INDIRECT_COMMAND_READ_BIT | VK_ACCESS_TRANSFER_READ_BIT |
                         VK_ACCESS_TRANSFER_WRITE_BIT | VK_ACCESS_HOST_READ_BIT | VK_ACCESS_HOST_WRITE_BIT,
    };
    dev->vk.vkCmdPipelineBarrier(cmd, device_stages, device_stages | VK_PIPELINE_STAGE_HOST_BIT, 0, 1,
                                 &barrier, 0, NULL, 0, NULL);
    VK(dev, vkEndCommandBuffer, cmd);
    return 0;
}

int lg_vk_queue_submit(struct lg_vk_device *dev, const VkCommandBuffer *cmds, uint32_t n, uint64_t *ticket)
{
    uint64_t value = dev->last_ticket + 1;
    VkTimelineSemaphoreSubmitInfo timeline = {
        .sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
        .signalSemaphoreValueCount = 1,
        .pSignalSemaphoreValues = &value,
    };
    VkSubmitInfo info = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .pNext = &timeline,
        .commandBufferCount = n,
        .pCommandBuffers = cmds,
        .signalSemaphoreCount = 1,
        .pSignalSemaphores = &dev->timeline,
    };
    if (dev->lock_queue)
        dev->lock_queue(dev->queue_user);
    VkResult result = dev->vk.vkQueueSubmit(dev->queue, 1, &info, VK_NULL_HANDLE);
    if (dev->unlock_queue)
        dev->unlock_queue(dev->queue_user);
    LG_TRY(lg_vk_device_result(dev, result, "vkQueueSubmit"));
    dev->last_ticket = *ticket = value;
    return 0;
}

static int check_piece(const struct lg_vk_device *dev, const struct lg_piece *piece)
{
    uint32_t n_slices = piece->program->n_slices;
    if (!piece->n || !piece->repeat || piece->first > n_slices || piece->n > n_slices - piece->first)
        return lg_fail(dev->base.env, LLMGPU_E_INTERNAL, "submit of slices [%u, +%u), %u times, of a program of %u",
                       piece->first, piece->n, piece->repeat, n_slices);
    return 0;
}

static int reserve(struct lg_vk_device *dev, uint32_t n)
{
    if (n <= dev->submit_cap)
        return 0;
    void *grown = lg_resize(dev->base.env, dev->submit_list, n * sizeof(*dev->submit_list));
    if (!grown)
        return lg_fail_nomem(dev->base.env, "a list of command buffers", n * sizeof(*dev->submit_list));
    dev->submit_list = grown;
    dev->submit_cap = n;
    return 0;
}

/* The command buffers of the pieces' slices, each as often as it is repeated, and how many. Each ends with a barrier, so
 * that nothing more has to stand between those of two programs. */
static int list_commands(struct lg_vk_device *dev, const struct lg_piece *pieces, uint32_t n_pieces,
                         const VkCommandBuffer **out, uint32_t *n)
{
    uint64_t total = 0, most = UINT32_MAX / sizeof(VkCommandBuffer);
    for (uint32_t i = 0; i < n_pieces; i++) {
        LG_TRY(check_piece(dev, &pieces[i]));
        total += (uint64_t)pieces[i].n * pieces[i].repeat;
        if (total > most)
            return lg_fail(dev->base.env, LLMGPU_E_INTERNAL, "submit of %u slices %u times is too much", pieces[i].n,
                           pieces[i].repeat);
    }
    *n = (uint32_t)total;
    *out = lg_vk_program(pieces->program)->cmds + pieces->first;
    if (n_pieces == 1 && pieces->repeat == 1)
        return 0;
    LG_TRY(reserve(dev, *n));
    VkCommandBuffer *next = dev->submit_list;
    for (uint32_t i = 0; i < n_pieces; i++) {
        const struct lg_vk_program *prog = lg_vk_program(pieces[i].program);
        for (uint32_t k = 0; k < pieces[i].n * pieces[i].repeat; k++)
            *next++ = prog->cmds[pieces[i].first + k % pieces[i].n];
    }
    *out = dev->submit_list;
    return 0;
}

/* What was submitted of a program. */
static void note_piece(struct lg_vk_device *dev, const struct lg_piece *piece, uint64_t ticket)
{
    struct lg_vk_program *prog = lg_vk_program(piece->program);
    uint64_t n_ops = 0, n_barriers = 0;
    prog->last_ticket = ticket;
    prog->last_first = piece->first;
    prog->last_n = piece->n;
    for (uint32_t i = piece->first; i < piece->first + piece->n; i++) {
        n_ops += prog->slices[i].n_ops;
        n_barriers += prog->slices[i].n_barriers;
    }
    struct lg_device_stats *stats = &dev->base.stats;
    atomic_fetch_add_explicit(&stats->dispatches, n_ops * piece->repeat, memory_order_relaxed);
    atomic_fetch_add_explicit(&stats->barriers, n_barriers * piece->repeat, memory_order_relaxed);
}

int lg_vk_submit(struct lg_device *base, const struct lg_piece *pieces, uint32_t n_pieces, uint64_t *ticket)
{
    struct lg_vk_device *dev = lg_vk_device(base);
    const VkCommandBuffer *cmds = NULL;
    uint32_t n = 0;
    *ticket = 0;
    LG_TRY(lg_vk_alive(dev));
    LG_TRY(list_commands(dev, pieces, n_pieces, &cmds, &n));
    if (base->stop && atomic_load(base->stop))
        return lg_fail(base->env, LLMGPU_E_CANCELLED, "the submission was cancelled before it began");
    LG_TRY(lg_vk_staging_submit(dev));
    LG_TRY(lg_vk_queue_submit(dev, cmds, n, ticket));
    atomic_fetch_add_explicit(&base->stats.submits, 1, memory_order_relaxed);
    for (uint32_t i = 0; i < n_pieces; i++)
        note_piece(dev, &pieces[i], *ticket);
    return 0;
}

/* Waits on the timeline and never on the queue, which may be the host's. */
static VkResult wait_timeline(struct lg_vk_device *dev, uint64_t ticket, uint64_t timeout_ns)
{
    VkSemaphoreWaitInfo info = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
        .semaphoreCount = 1,
        .pSemaphores = &dev->timeline,
        .pValues = &ticket,
    };
    VkResult result = dev->vk.vkWaitSemaphores(dev->handle, &info, timeout_ns);
    if (result == VK_SUCCESS && ticket > dev->done_ticket)
        dev->done_ticket = ticket;
    return result;
}

int lg_vk_wait(struct lg_device *base, uint64_t ticket, uint64_t timeout_ns)
{
    struct lg_vk_device *dev = lg_vk_device(base);
    LG_TRY(lg_vk_alive(dev));
    if (ticket <= dev->done_ticket)
        return 0;
    if (ticket > dev->last_ticket)
        return lg_fail(base->env, LLMGPU_E_INTERNAL, "wait for submission %" PRIu64 ", the last is %" PRIu64,
                       ticket, dev->last_ticket);
    VkResult result = wait_timeline(dev, ticket, timeout_ns);
    LG_TRY(lg_vk_device_result(dev, result, "vkWaitSemaphores"));
    if (result == VK_TIMEOUT)
        return lg_note(base->env, LLMGPU_E_TIMEOUT, "submission %" PRIu64 " is not finished yet", ticket);
    return 0;
}

void lg_vk_settle(struct lg_vk_device *dev, uint64_t ticket)
{
    enum { TRIES = 4 };
    const uint64_t lost_timeout = UINT64_C(10000000000); // ns; drivers come back from a loss by themselves
    for (int i = 0; i < TRIES && ticket > dev->done_ticket; i++) {
        VkResult result = wait_timeline(dev, ticket, dev->base.lost ? lost_timeout : UINT64_MAX);
        if (result == VK_ERROR_DEVICE_LOST || (dev->base.lost && result != VK_SUCCESS)) {
            dev->base.lost = LLMGPU_E_DEVICE_LOST;
            dev->done_ticket = dev->last_ticket; // what is lost uses nothing any more
        }
    }
    if (ticket > dev->done_ticket)
        dev->base.lost = LLMGPU_E_DEVICE_LOST;
}

/* Durations of a slice's dispatches out of its n_ops + 1 time stamps. */
static int read_slice(struct lg_vk_device *dev, const struct lg_vk_program *prog,
                      const struct lg_vk_slice *slice, uint64_t *ns)
{
    enum { BATCH = 64 };
    uint64_t stamps[BATCH + 1];
    uint64_t mask =
        dev->probe.timestamp_bits < 64 ? (UINT64_C(1) << dev->probe.timestamp_bits) - 1 : UINT64_MAX;
    double period = (double)dev->probe.props.properties.limits.timestampPeriod;
    for (uint32_t i = 0; i < slice->n_ops; i += BATCH) {
        uint32_t n = slice->n_ops - i < BATCH ? slice->n_ops - i : BATCH;
        VK(dev, vkGetQueryPoolResults, dev->handle, prog->queries, slice->first_query + i, n + 1,
           sizeof(stamps), stamps, sizeof(stamps[0]), VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT);
        for (uint32_t k = 0; k < n; k++)
            ns[i + k] = (uint64_t)((double)((stamps[k + 1] - stamps[k]) & mask) * period);
    }
    return 0;
}

int lg_vk_program_times(struct lg_program *base, uint64_t *ns)
{
    struct lg_vk_device *dev = lg_vk_device(base->dev);
    struct lg_vk_program *prog = lg_vk_program(base);
    if (!prog->queries)
        return lg_fail(dev->base.env, LLMGPU_E_UNSUPPORTED, "the program was made without time stamps");
    for (uint32_t i = 0; i < base->n_ops; i++)
        ns[i] = 0;
    LG_TRY(lg_vk_wait(base->dev, prog->last_ticket, UINT64_MAX));
    for (uint32_t i = prog->last_first; i < prog->last_first + prog->last_n; i++)
        LG_TRY(read_slice(dev, prog, &prog->slices[i], ns + prog->slices[i].first_op));
    return 0;
}
