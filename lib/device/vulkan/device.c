/* SPDX-License-Identifier: MIT */
#include "device/vulkan/vk.h"

static void destroy(struct lg_device *base)
{
    struct lg_vk_device *dev = lg_vk_device(base);
    struct lg_env *env = base->env;
    if (dev->handle) {
        dev->vk.vkDeviceWaitIdle(dev->handle);
        lg_vk_cache_save(dev);
        lg_vk_pipelines_finish(dev);
        lg_vk_staging_finish(dev);
        dev->vk.vkDestroySemaphore(dev->handle, dev->timeline, NULL);
        dev->vk.vkDestroyDevice(dev->handle, NULL);
    }
    lg_vk_instance_finish(&dev->inst);
    lg_free(env, dev->submit_list);
    lg_free(env, dev);
}

static const struct lg_device_ops ops = {
    .destroy = destroy,
    .buffer_create = lg_vk_buffer_create,
    .buffer_import = lg_vk_buffer_import,
    .buffer_destroy = lg_vk_buffer_destroy,
    .upload = lg_vk_upload,
    .download = lg_vk_download,
    .copy = lg_vk_copy,
    .flush = lg_vk_flush,
    .program_create = lg_vk_program_create,
    .program_destroy = lg_vk_program_destroy,
    .submit = lg_vk_program_submit,
    .wait = lg_vk_wait,
    .cancel = lg_vk_cancel,
    .program_times = lg_vk_program_times,
    .memory_budget = lg_vk_memory_budget,
};

static int create_device(struct lg_vk_device *dev)
{
    const struct lg_vk_probe *probe = &dev->probe;
    const char *extensions[3];
    uint32_t n_extensions = 0;
    if (probe->has_memory_budget)
        extensions[n_extensions++] = VK_EXT_MEMORY_BUDGET_EXTENSION_NAME;
    if (probe->subgroup_size_extension)
        extensions[n_extensions++] = VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME;
    if (probe->has_portability_subset)
        extensions[n_extensions++] = "VK_KHR_portability_subset";

    VkPhysicalDeviceSubgroupSizeControlFeatures sizes = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES,
        .subgroupSizeControl = probe->pins_subgroup_size || probe->full_subgroups,
        .computeFullSubgroups = probe->full_subgroups,
    };
    VkPhysicalDeviceVulkan12Features features = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
        .pNext = sizes.subgroupSizeControl ? &sizes : NULL,
        .timelineSemaphore = VK_TRUE,
    };
    VkDeviceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
        .pNext = &features,
        .queueCreateInfoCount = 1,
        .pQueueCreateInfos =
            &(VkDeviceQueueCreateInfo){
                .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                .queueFamilyIndex = probe->queue_family,
                .queueCount = 1,
                .pQueuePriorities = (const float[]){1.0f},
            },
        .enabledExtensionCount = n_extensions,
        .ppEnabledExtensionNames = extensions,
    };
    VkResult result = dev->inst.fn.vkCreateDevice(dev->physical, &info, NULL, &dev->handle);
    if (result < 0)
        dev->handle = VK_NULL_HANDLE;
    LG_TRY(lg_vk_result(dev->base.env, result, "vkCreateDevice"));
    lg_vk_load_device_table(&dev->inst, dev->handle, &dev->vk);
    dev->vk.vkGetDeviceQueue(dev->handle, probe->queue_family, 0, &dev->queue);
    return 0;
}

static int create_timeline(struct lg_vk_device *dev)
{
    VkSemaphoreTypeCreateInfo type = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
        .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE,
    };
    VkSemaphoreCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO,
        .pNext = &type,
    };
    VK_CREATE(dev, vkCreateSemaphore, &info, &dev->timeline);
    return 0;
}

static int open_device(struct lg_vk_device *dev, const struct lg_device_options *options, uint32_t index)
{
    struct lg_env *env = dev->base.env;
    LG_TRY(lg_vk_instance_init(&dev->inst, env, options->check ? &dev->base.check_messages : NULL));
    if (index >= dev->inst.n_physical)
        return lg_fail(env, LLMGPU_E_NO_DEVICE, "no device 'vulkan:%u': Vulkan has %u here", index,
                       dev->inst.n_physical);
    dev->physical = dev->inst.physical[index];
    LG_TRY(lg_vk_probe(&dev->inst, dev->physical, &dev->probe));
    lg_vk_describe(&dev->probe, index, &dev->base.info);
    LG_TRY(create_device(dev));
    LG_TRY(create_timeline(dev));
    LG_TRY(lg_vk_staging_init(dev));
    return lg_vk_cache_open(dev, options->cache_dir);
}

int lg_vk_device_open(struct lg_env *env, const struct lg_device_options *options, uint32_t index,
                      struct lg_device **out)
{
    *out = NULL;
    struct lg_vk_device *dev = lg_alloc(env, sizeof(*dev));
    if (!dev)
        return lg_fail_nomem(env, "a Vulkan device", sizeof(*dev));
    dev->base.ops = &ops;
    dev->base.env = env;
    int rc = open_device(dev, options, index);
    if (rc < 0) {
        destroy(&dev->base);
        return rc;
    }
    lg_log(env, LG_LOG_INFO, "opened %s: %s, %s", dev->base.info.id, dev->base.info.name,
           dev->base.info.driver);
    *out = &dev->base;
    return 0;
}

static int describe_all(const struct lg_vk_instance *inst, struct lg_device_info **infos, uint32_t *n_infos)
{
    struct lg_env *env = inst->env;
    struct lg_device_info *list = lg_alloc_array(env, inst->n_physical, sizeof(*list));
    if (!list)
        return lg_fail_nomem(env, "the list of Vulkan devices", inst->n_physical * sizeof(*list));
    uint32_t n = 0;
    for (uint32_t i = 0; i < inst->n_physical; i++) {
        struct lg_vk_probe probe;
        int rc = lg_vk_probe(inst, inst->physical[i], &probe);
        if (rc == LLMGPU_E_UNSUPPORTED)
            lg_log(env, LG_LOG_INFO, "vulkan:%u left out: %s", i, env->error);
        else if (rc < 0) {
            lg_free(env, list);
            return rc;
        } else
            lg_vk_describe(&probe, i, &list[n++]);
    }
    env->error[0] = '\0';
    *infos = list;
    *n_infos = n;
    return 0;
}

int lg_vk_device_list(struct lg_env *env, struct lg_device_info **infos, uint32_t *n_infos)
{
    *infos = NULL;
    *n_infos = 0;
    struct lg_vk_instance inst;
    int rc = lg_vk_instance_init(&inst, env, NULL);
    if (rc == 0 && inst.n_physical)
        rc = describe_all(&inst, infos, n_infos);
    lg_vk_instance_finish(&inst);
    return rc;
}
