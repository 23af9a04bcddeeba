/* SPDX-License-Identifier: MIT
 *
 * A program is one descriptor set for each dispatch and one command buffer for each slice, recorded once.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/vulkan/vk.h"

/* ---- checks
 * ----------------------------------------------------------------------------------------------------- */

static int check_view(struct lg_vk_device *dev, const struct lg_view *view, uint32_t op, const char *kernel,
                      const char *what)
{
    const struct lg_device_info *info = &dev->base.info;
    const char *problem;
    if (!view->buf)
        return lg_fail(dev->base.env, LLMGPU_E_INTERNAL, "op %u (%s): %s has no buffer", op, kernel, what);
    if (view->buf->dev != &dev->base)
        problem = "is of another device";
    else if (!view->size)
        problem = "is empty";
    else if (!lg_vk_view_fits(view))
        problem = "reaches over its buffer's end";
    else if (view->offset % info->view_align)
        problem = "does not begin at a multiple of view_align";
    else if (view->size > info->max_view_size)
        problem = "is larger than max_view_size";
    else
        return 0;
    return lg_fail(dev->base.env, LLMGPU_E_INTERNAL,
                   "op %u (%s): %s [%" PRIu64 ", +%" PRIu64 ") of %" PRIu64 " %s", op, kernel, what,
                   view->offset, view->size, view->buf->size, problem);
}

static int check_grid(struct lg_vk_device *dev, const struct lg_dispatch *op, uint32_t index,
                      const char *kernel)
{
    if (op->indirect.buf) {
        const struct lg_view *view = &op->indirect;
        bool right = view->buf->dev == &dev->base && lg_vk_view_fits(view) && view->offset % 4 == 0 &&
                     view->size >= sizeof(VkDispatchIndirectCommand);
        return right ? 0
                     : lg_fail(dev->base.env, LLMGPU_E_INTERNAL,
                               "op %u (%s): its indirect grid at [%" PRIu64 ", +%" PRIu64
                               ") is not three words",
                               index, kernel, view->offset, view->size);
    }
    const uint32_t *max = dev->probe.props.properties.limits.maxComputeWorkGroupCount;
    for (uint32_t i = 0; i < 3; i++)
        if (op->grid[i] > max[i])
            return lg_fail(dev->base.env, LLMGPU_E_INTERNAL,
                           "op %u (%s): grid[%u] is %u, the device's most is %u", index, kernel, i,
                           op->grid[i], max[i]);
    return 0;
}

static int check_op(struct lg_vk_device *dev, const struct lg_dispatch *op, uint32_t index)
{
    struct lg_env *env = dev->base.env;
    if ((uint32_t)op->kernel >= LG_K_COUNT)
        return lg_fail(env, LLMGPU_E_INTERNAL, "op %u: there is no kernel %u", index, (uint32_t)op->kernel);
    const struct lg_kernel_info *info = &lg_kernel_infos[op->kernel];
    for (uint32_t i = 0; i < LG_MAX_VIEWS; i++) {
        char what[16];
        snprintf(what, sizeof(what), "view %u", i);
        if (i < info->n_views)
            LG_TRY(check_view(dev, &op->views[i], index, info->name, what));
        else if (op->views[i].buf)
            return lg_fail(env, LLMGPU_E_INTERNAL, "op %u (%s): %s is given, the kernel has %u", index,
                           info->name, what, info->n_views);
    }
    if (op->push_size > LG_MAX_PUSH || op->push_size % 4)
        return lg_fail(env, LLMGPU_E_INTERNAL, "op %u (%s): %u bytes of push constants", index, info->name,
                       op->push_size);
    if (!op->spec[0] || op->spec[0] > dev->base.info.max_workgroup)
        return lg_fail(env, LLMGPU_E_INTERNAL, "op %u (%s): a workgroup of %u, the device's largest is %u",
                       index, info->name, op->spec[0], dev->base.info.max_workgroup);
    return check_grid(dev, op, index, info->name);
}

static int check_desc(struct lg_vk_device *dev, const struct lg_program_desc *desc)
{
    struct lg_env *env = dev->base.env;
    if (!desc->n_ops)
        return lg_fail(env, LLMGPU_E_INTERNAL, "a program without dispatches");
    for (uint32_t i = 0; i < desc->n_cuts; i++)
        if (desc->cuts[i] <= (i ? desc->cuts[i - 1] : 0) || desc->cuts[i] >= desc->n_ops)
            return lg_fail(env, LLMGPU_E_INTERNAL, "cut %u at op %u of %u does not ascend", i, desc->cuts[i],
                           desc->n_ops);
    for (uint32_t i = 0; i < desc->n_ops; i++)
        LG_TRY(check_op(dev, &desc->ops[i], i));
    return 0;
}

/* ---- creation
 * --------------------------------------------------------------------------------------------------- */

static int create_pools(struct lg_vk_device *dev, struct lg_vk_program *prog,
                        const struct lg_program_desc *desc)
{
    uint32_t n_views = 0;
    for (uint32_t i = 0; i < desc->n_ops; i++)
        n_views += lg_kernel_infos[desc->ops[i].kernel].n_views;
    VkDescriptorPoolCreateInfo sets = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
        .maxSets = desc->n_ops,
        .poolSizeCount = n_views > 0,
        .pPoolSizes = &(VkDescriptorPoolSize){VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, n_views},
    };
    VK_CREATE(dev, vkCreateDescriptorPool, &sets, &prog->sets);
    VkCommandPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .queueFamilyIndex = dev->probe.queue_family,
    };
    VK_CREATE(dev, vkCreateCommandPool, &pool, &prog->pool);
    if (!desc->timestamps)
        return 0;
    prog->n_queries = desc->n_ops + prog->base.n_slices;
    VkQueryPoolCreateInfo queries = {
        .sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
        .queryType = VK_QUERY_TYPE_TIMESTAMP,
        .queryCount = prog->n_queries,
    };
    VK_CREATE(dev, vkCreateQueryPool, &queries, &prog->queries);
    return 0;
}

static int create_set(struct lg_vk_device *dev, struct lg_vk_program *prog, const struct lg_dispatch *op,
                      VkDescriptorSetLayout layout, VkDescriptorSet *out)
{
    VkDescriptorSetAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
        .descriptorPool = prog->sets,
        .descriptorSetCount = 1,
        .pSetLayouts = &layout,
    };
    VK(dev, vkAllocateDescriptorSets, dev->handle, &info, out);
    VkDescriptorBufferInfo buffers[LG_MAX_VIEWS];
    VkWriteDescriptorSet writes[LG_MAX_VIEWS];
    uint32_t n = lg_kernel_infos[op->kernel].n_views;
    for (uint32_t i = 0; i < n; i++) {
        const struct lg_view *view = &op->views[i];
        lg_vk_buffer(view->buf)->fill = NULL;
        buffers[i] = (VkDescriptorBufferInfo){
            .buffer = lg_vk_buffer(view->buf)->handle,
            .offset = view->offset,
            .range = (view->size + 3) & ~UINT64_C(3), // whole words; buffers are padded
        };
        writes[i] = (VkWriteDescriptorSet){
            .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
            .dstSet = *out,
            .dstBinding = i,
            .descriptorCount = 1,
            .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
            .pBufferInfo = &buffers[i],
        };
    }
    dev->vk.vkUpdateDescriptorSets(dev->handle, n, writes, 0, NULL);
    return 0;
}

/* What recording remembers from one dispatch to the next. */
struct recorder {
    struct lg_vk_device *dev;
    struct lg_vk_program *prog;
    VkCommandBuffer cmd;
    VkPipeline bound;
    uint32_t query;     // the next one
    bool grids_pending; // a dispatch wrote indirect grids and no barrier has shown them to the command
                        // processor yet
};

static void record_barrier(struct recorder *rec)
{
    VkMemoryBarrier barrier = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT,
    };
    VkPipelineStageFlags after = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT;
    if (rec->grids_pending) {
        barrier.dstAccessMask |= VK_ACCESS_INDIRECT_COMMAND_READ_BIT;
        after |= VK_PIPELINE_STAGE_DRAW_INDIRECT_BIT;
        rec->grids_pending = false;
    }
    rec->dev->vk.vkCmdPipelineBarrier(rec->cmd, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, after, 0, 1, &barrier,
                                      0, NULL, 0, NULL);
}

/* Stamps when everything before is done, so that the differences add up to the time of the slice. */
static void record_stamp(struct recorder *rec)
{
    if (rec->prog->queries)
        rec->dev->vk.vkCmdWriteTimestamp(rec->cmd, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, rec->prog->queries,
                                         rec->query++);
}

static int record_op(struct recorder *rec, const struct lg_dispatch *op)
{
    struct lg_vk_device *dev = rec->dev;
    const struct lg_kernel_info *info = &lg_kernel_infos[op->kernel];
    VkDescriptorSetLayout set_layout;
    VkPipelineLayout layout;
    VkPipeline pipeline = lg_vk_pipeline_get(dev, op->kernel, op->spec);
    VkDescriptorSet set;
    LG_TRY(lg_vk_layout_get(dev, info->n_views, &set_layout, &layout));
    LG_TRY(create_set(dev, rec->prog, op, set_layout, &set));

    if (pipeline != rec->bound)
        dev->vk.vkCmdBindPipeline(rec->cmd, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline);
    rec->bound = pipeline;
    dev->vk.vkCmdBindDescriptorSets(rec->cmd, VK_PIPELINE_BIND_POINT_COMPUTE, layout, 0, 1, &set, 0, NULL);
    if (op->push_size)
        dev->vk.vkCmdPushConstants(rec->cmd, layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, op->push_size, op->push);
    if (op->indirect.buf)
        dev->vk.vkCmdDispatchIndirect(rec->cmd, lg_vk_buffer(op->indirect.buf)->handle, op->indirect.offset);
    else
        dev->vk.vkCmdDispatch(rec->cmd, op->grid[0], op->grid[1], op->grid[2]);
    for (uint32_t i = 0; i < info->n_views; i++)
        rec->grids_pending |= info->access[i] & LG_WRITE && lg_vk_buffer(op->views[i].buf)->holds_grids;
    return 0;
}

static int record_slice(struct lg_vk_device *dev, struct lg_vk_program *prog, VkCommandBuffer cmd,
                        struct lg_vk_slice *slice, const struct lg_dispatch *ops)
{
    struct recorder rec = {.dev = dev, .prog = prog, .cmd = cmd, .query = slice->first_query};
    VkCommandBufferBeginInfo begin = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
        .flags = VK_COMMAND_BUFFER_USAGE_SIMULTANEOUS_USE_BIT,
    };
    VK(dev, vkBeginCommandBuffer, cmd, &begin);
    if (prog->queries)
        dev->vk.vkCmdResetQueryPool(cmd, prog->queries, slice->first_query, slice->n_ops + 1);
    record_stamp(&rec);
    for (uint32_t i = 0; i < slice->n_ops; i++) {
        slice->n_barriers += ops[i].barrier;
        if (ops[i].barrier && i > 0) // the command buffer before ended with a barrier
            record_barrier(&rec);
        LG_TRY(record_op(&rec, &ops[i]));
        record_stamp(&rec);
    }
    return lg_vk_cmd_end(dev, cmd);
}

static int init_program(struct lg_vk_device *dev, struct lg_vk_program *prog,
                        const struct lg_program_desc *desc)
{
    struct lg_env *env = dev->base.env;
    uint32_t n_slices = desc->n_cuts + 1;
    prog->base = (struct lg_program){.dev = &dev->base, .n_ops = desc->n_ops, .n_slices = n_slices};
    prog->cmds = lg_alloc_array(env, n_slices, sizeof(*prog->cmds));
    prog->slices = lg_alloc_array(env, n_slices, sizeof(*prog->slices));
    if (!prog->cmds || !prog->slices)
        return lg_fail_nomem(env, "the slices of a program", n_slices * sizeof(*prog->slices));
    LG_TRY(lg_vk_pipelines_make(dev, desc));
    LG_TRY(create_pools(dev, prog, desc));
    VkCommandBufferAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = prog->pool,
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = n_slices,
    };
    VK(dev, vkAllocateCommandBuffers, dev->handle, &info, prog->cmds);

    for (uint32_t i = 0; i < desc->n_ops; i++)
        if (desc->ops[i].indirect.buf) {
            lg_vk_buffer(desc->ops[i].indirect.buf)->holds_grids = true;
            lg_vk_buffer(desc->ops[i].indirect.buf)->fill = NULL;
        }
    for (uint32_t i = 0; i < n_slices; i++) {
        struct lg_vk_slice *slice = &prog->slices[i];
        slice->first_op = i ? desc->cuts[i - 1] : 0;
        slice->n_ops = (i < desc->n_cuts ? desc->cuts[i] : desc->n_ops) - slice->first_op;
        slice->first_query = slice->first_op + i;
        LG_TRY(record_slice(dev, prog, prog->cmds[i], slice, desc->ops + slice->first_op));
    }
    return 0;
}

static void finish_program(struct lg_vk_device *dev, struct lg_vk_program *prog)
{
    dev->vk.vkDestroyQueryPool(dev->handle, prog->queries, NULL);
    dev->vk.vkDestroyCommandPool(dev->handle, prog->pool, NULL);
    dev->vk.vkDestroyDescriptorPool(dev->handle, prog->sets, NULL);
    lg_free(dev->base.env, prog->slices);
    lg_free(dev->base.env, prog->cmds);
    lg_free(dev->base.env, prog);
}

int lg_vk_program_create(struct lg_device *base, const struct lg_program_desc *desc, struct lg_program **out)
{
    struct lg_vk_device *dev = lg_vk_device(base);
    *out = NULL;
    LG_TRY(lg_vk_alive(dev));
    if (desc->timestamps && !base->info.timestamps)
        return lg_fail(base->env, LLMGPU_E_UNSUPPORTED, "%s has no time stamps", base->info.id);
    LG_TRY(check_desc(dev, desc));
    struct lg_vk_program *prog = lg_alloc(base->env, sizeof(*prog));
    if (!prog)
        return lg_fail_nomem(base->env, "a program", sizeof(*prog));
    int rc = init_program(dev, prog, desc);
    if (rc < 0) {
        finish_program(dev, prog);
        return rc;
    }
    *out = &prog->base;
    return 0;
}

void lg_vk_program_destroy(struct lg_program *base)
{
    struct lg_vk_device *dev = lg_vk_device(base->dev);
    lg_vk_settle(dev, lg_vk_program(base)->last_ticket);
    finish_program(dev, lg_vk_program(base));
}
