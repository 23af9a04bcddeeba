/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "device/vulkan/spirv.h"
#include "device/vulkan/vk.h"

static int create_layout(struct lg_vk_device *dev, uint32_t n_views)
{
    struct lg_vk_pipelines *p = &dev->pipelines;
    VkDescriptorSetLayoutBinding bindings[LG_MAX_VIEWS];
    for (uint32_t i = 0; i < n_views; i++)
        bindings[i] = (VkDescriptorSetLayoutBinding){
            .binding = i,
            .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
            .descriptorCount = 1,
            .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
        };
    VkDescriptorSetLayoutCreateInfo set = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
        .bindingCount = n_views,
        .pBindings = bindings,
    };
    if (!p->set_layouts[n_views])
        VK_CREATE(dev, vkCreateDescriptorSetLayout, &set, &p->set_layouts[n_views]);
    VkPipelineLayoutCreateInfo layout = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
        .setLayoutCount = 1,
        .pSetLayouts = &p->set_layouts[n_views],
        .pushConstantRangeCount = 1,
        .pPushConstantRanges = &(VkPushConstantRange){VK_SHADER_STAGE_COMPUTE_BIT, 0, LG_MAX_PUSH},
    };
    VK_CREATE(dev, vkCreatePipelineLayout, &layout, &p->layouts[n_views]);
    return 0;
}

int lg_vk_layout_get(struct lg_vk_device *dev, uint32_t n_views, VkDescriptorSetLayout *set,
                     VkPipelineLayout *layout)
{
    if (!dev->pipelines.layouts[n_views])
        LG_TRY(create_layout(dev, n_views));
    *set = dev->pipelines.set_layouts[n_views];
    *layout = dev->pipelines.layouts[n_views];
    return 0;
}

static int create_module(struct lg_vk_device *dev, enum lg_kernel kernel, VkShaderModule *out)
{
    if (!lg_spirv_modules[kernel].words)
        return lg_fail(dev->base.env, LLMGPU_E_UNSUPPORTED, "%s is a kernel of the CPU device",
                       lg_kernel_infos[kernel].name);
    VkShaderModuleCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
        .codeSize = lg_spirv_modules[kernel].size,
        .pCode = lg_spirv_modules[kernel].words,
    };
    VK_CREATE(dev, vkCreateShaderModule, &info, out);
    return 0;
}

static VkResult compile(struct lg_vk_device *dev, const struct lg_vk_pipeline *item, VkShaderModule module,
                        VkPipelineLayout layout, VkPipeline *out)
{
    VkSpecializationMapEntry entries[LG_MAX_SPEC];
    for (uint32_t i = 0; i < LG_MAX_SPEC; i++)
        entries[i] = (VkSpecializationMapEntry){i, i * sizeof(uint32_t), sizeof(uint32_t)};
    VkSpecializationInfo spec = {LG_MAX_SPEC, entries, sizeof(item->spec), item->spec};
    uint32_t subgroup_size = dev->base.info.subgroup_size;
    bool full = dev->probe.full_subgroups && item->spec[0] % subgroup_size == 0;
    VkPipelineShaderStageRequiredSubgroupSizeCreateInfo required = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO,
        .requiredSubgroupSize = subgroup_size,
    };
    VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .stage =
            {
                .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                .pNext = dev->probe.pins_subgroup_size ? &required : NULL,
                .flags = full ? VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT : 0,
                .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                .module = module,
                .pName = "main",
                .pSpecializationInfo = &spec,
            },
        .layout = layout,
    };
    return dev->vk.vkCreateComputePipelines(dev->handle, dev->pipelines.cache, 1, &info, NULL, out);
}

static int create_pipeline(struct lg_vk_device *dev, struct lg_vk_pipeline *item)
{
    VkDescriptorSetLayout set;
    VkPipelineLayout layout;
    VkShaderModule module;
    LG_TRY(lg_vk_layout_get(dev, lg_kernel_infos[item->kernel].n_views, &set, &layout));
    LG_TRY(create_module(dev, item->kernel, &module));
    VkResult result = compile(dev, item, module, layout, &item->handle);
    dev->vk.vkDestroyShaderModule(dev->handle, module, NULL);
    return lg_vk_device_result(dev, result, "vkCreateComputePipelines");
}

int lg_vk_pipeline_get(struct lg_vk_device *dev, enum lg_kernel kernel, const uint32_t spec[LG_MAX_SPEC],
                       VkPipeline *out)
{
    struct lg_vk_pipelines *p = &dev->pipelines;
    struct lg_vk_pipeline item = {.kernel = kernel};
    memcpy(item.spec, spec, sizeof(item.spec));
    for (uint32_t i = 0; i < p->n; i++)
        if (p->items[i].kernel == kernel && memcmp(p->items[i].spec, item.spec, sizeof(item.spec)) == 0) {
            *out = p->items[i].handle;
            return 0;
        }
    if (p->n == p->cap) {
        uint32_t cap = p->cap ? 2 * p->cap : 32;
        void *grown = lg_resize(dev->base.env, p->items, cap * sizeof(*p->items));
        if (!grown)
            return lg_fail_nomem(dev->base.env, "the list of pipelines", cap * sizeof(*p->items));
        p->items = grown;
        p->cap = cap;
    }
    LG_TRY(create_pipeline(dev, &item));
    p->items[p->n++] = item;
    atomic_fetch_add_explicit(&dev->base.stats.pipelines, 1, memory_order_relaxed);
    *out = item.handle;
    return 0;
}

void lg_vk_pipelines_finish(struct lg_vk_device *dev)
{
    struct lg_vk_pipelines *p = &dev->pipelines;
    for (uint32_t i = 0; i < p->n; i++)
        dev->vk.vkDestroyPipeline(dev->handle, p->items[i].handle, NULL);
    for (uint32_t i = 0; i <= LG_MAX_VIEWS; i++) {
        dev->vk.vkDestroyPipelineLayout(dev->handle, p->layouts[i], NULL);
        dev->vk.vkDestroyDescriptorSetLayout(dev->handle, p->set_layouts[i], NULL);
    }
    dev->vk.vkDestroyPipelineCache(dev->handle, p->cache, NULL);
    lg_free(dev->base.env, p->items);
    lg_free(dev->base.env, p->cache_path);
    memset(p, 0, sizeof(*p));
}
