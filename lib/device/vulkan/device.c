/* SPDX-License-Identifier: MIT */
#include <stdio.h>

#include "device/vulkan/vk.h"
#include "llmgpu/context.h"

static void destroy(struct lg_device *base)
{
    struct lg_vk_device *dev = lg_vk_device(base);
    struct lg_env *env = base->env;
    if (dev->handle) {
        lg_vk_settle(dev, dev->last_ticket);
        lg_vk_cache_save(dev);
        lg_vk_pipelines_finish(dev);
        lg_vk_staging_finish(dev);
        dev->vk.vkDestroySemaphore(dev->handle, dev->timeline, NULL);
        if (!dev->is_hosts)
            dev->vk.vkDestroyDevice(dev->handle, NULL);
    }
    lg_vk_instance_finish(&dev->inst);
    lg_free(env, dev->submit_list);
    lg_free(env, base->tuning_path);
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
    .submit = lg_vk_submit,
    .wait = lg_vk_wait,
    .program_times = lg_vk_program_times,
    .memory_budget = lg_vk_memory_budget,
};

static VkResult create_handle(struct lg_vk_device *dev, const VkDeviceQueueCreateInfo *queue)
{
    const struct lg_vk_probe *probe = &dev->probe;
    const char *extensions[7];
    uint32_t n_extensions = 0;
    if (probe->has_memory_budget)
        extensions[n_extensions++] = VK_EXT_MEMORY_BUDGET_EXTENSION_NAME;
    if (probe->subgroup_size_extension)
        extensions[n_extensions++] = VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME;
    if (probe->feedback_extension)
        extensions[n_extensions++] = VK_EXT_PIPELINE_CREATION_FEEDBACK_EXTENSION_NAME;
    if (probe->has_portability_subset)
        extensions[n_extensions++] = "VK_KHR_portability_subset";
    if (probe->int_dot_extension)
        extensions[n_extensions++] = VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME;
    if (probe->cooperative_matrix)
        extensions[n_extensions++] = VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME;
    if (queue->pNext)
        extensions[n_extensions++] = probe->global_priority_khr ? VK_KHR_GLOBAL_PRIORITY_EXTENSION_NAME
                                                                : VK_EXT_GLOBAL_PRIORITY_EXTENSION_NAME;

    VkPhysicalDeviceSubgroupSizeControlFeatures sizes = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES,
        .subgroupSizeControl = probe->pins_subgroup_size || probe->full_subgroups,
        .computeFullSubgroups = probe->full_subgroups,
    };
    VkPhysicalDeviceShaderIntegerDotProductFeatures int_dot = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES,
        .pNext = sizes.subgroupSizeControl ? &sizes : NULL,
        .shaderIntegerDotProduct = VK_TRUE,
    };
    VkPhysicalDeviceVulkan12Features features = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
        .pNext = probe->int_dot ? (void *)&int_dot : int_dot.pNext,
        .timelineSemaphore = VK_TRUE,
        .shaderFloat16 = probe->float16,
        .vulkanMemoryModel = probe->cooperative_matrix,
        .vulkanMemoryModelDeviceScope = probe->cooperative_matrix, // some kernels have atomics of that scope
    };
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrices = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR,
        .pNext = &features,
        .cooperativeMatrix = VK_TRUE,
    };
    VkDeviceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
        .pNext = probe->cooperative_matrix ? (void *)&matrices : &features,
        .queueCreateInfoCount = 1,
        .pQueueCreateInfos = queue,
        .enabledExtensionCount = n_extensions,
        .ppEnabledExtensionNames = extensions,
    };
    VkResult result = dev->inst.fn.vkCreateDevice(dev->physical, &info, NULL, &dev->handle);
    if (result < 0)
        dev->handle = VK_NULL_HANDLE;
    return result;
}

/* What a priority is among the queues of this device, and among those of all. */
static const struct {
    float queue;
    VkQueueGlobalPriorityKHR global;
} priorities[] = {
    [LG_PRIORITY_DEFAULT] = {1, 0}, // the global one is not set
    [LG_PRIORITY_LOW] = {0, VK_QUEUE_GLOBAL_PRIORITY_LOW_KHR},
    [LG_PRIORITY_MEDIUM] = {0.5f, VK_QUEUE_GLOBAL_PRIORITY_MEDIUM_KHR},
    [LG_PRIORITY_HIGH] = {1, VK_QUEUE_GLOBAL_PRIORITY_HIGH_KHR},
    [LG_PRIORITY_REALTIME] = {1, VK_QUEUE_GLOBAL_PRIORITY_REALTIME_KHR},
};

static int create_device(struct lg_vk_device *dev, int priority)
{
    const struct lg_vk_probe *probe = &dev->probe;
    struct lg_env *env = dev->base.env;
    VkDeviceQueueGlobalPriorityCreateInfoKHR global = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_GLOBAL_PRIORITY_CREATE_INFO_KHR,
        .globalPriority = priorities[priority].global,
    };
    bool wanted = priority != LG_PRIORITY_DEFAULT;
    bool has_global = probe->global_priority_khr || probe->global_priority_ext;
    VkDeviceQueueCreateInfo queue = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
        .pNext = wanted && has_global ? &global : NULL,
        .queueFamilyIndex = probe->queue_family,
        .queueCount = 1,
        .pQueuePriorities = &priorities[priority].queue,
    };
    if (wanted && !has_global)
        lg_log(env, LG_LOG_WARN, "%s has no global priorities: the queue's counts on this device alone",
               dev->base.info.id);
    VkResult result = create_handle(dev, &queue);
    if (queue.pNext && (result == VK_ERROR_NOT_PERMITTED_KHR || result == VK_ERROR_INITIALIZATION_FAILED)) {
        lg_log(env, LG_LOG_WARN, "%s does not grant the priority %d (VkResult %d); the default is taken",
               dev->base.info.id, priority, result);
        queue.pNext = NULL;
        result = create_handle(dev, &queue);
    }
    return lg_vk_result(env, result, "vkCreateDevice");
}

/* Creates the device and fills its table; dev->handle stays null on failure. */
static int own_device(struct lg_vk_device *dev, int priority)
{
    LG_TRY(create_device(dev, priority));
    int rc = lg_vk_load_device(&dev->inst, dev->handle, &dev->vk);
    if (rc < 0 && dev->vk.vkDestroyDevice)
        dev->vk.vkDestroyDevice(dev->handle, NULL);
    if (rc < 0) {
        dev->handle = VK_NULL_HANDLE;
        return rc;
    }
    dev->vk.vkGetDeviceQueue(dev->handle, dev->probe.queue_family, 0, &dev->queue);
    return 0;
}

static int adopt_device(struct lg_vk_device *dev, const struct lg_device_options *options)
{
    const struct lg_vk_host *host = options->host;
    LG_TRY(lg_vk_load_device(&dev->inst, host->device, &dev->vk));
    dev->handle = host->device;
    dev->queue = host->queue;
    dev->is_hosts = true;
    dev->lock_queue = host->lock_queue;
    dev->unlock_queue = host->unlock_queue;
    dev->queue_user = host->queue_user;
    if (options->check)
        lg_log(dev->base.env, LG_LOG_INFO, "validation of the host's device is the host's; none is added");
    if (options->priority != LG_PRIORITY_DEFAULT)
        lg_log(dev->base.env, LG_LOG_WARN, "the priority of the host's queue is the host's; %d is ignored",
               options->priority);
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

/* Finds the physical device in an instance of our own, or takes the host's. */
static int open_instance(struct lg_vk_device *dev, const struct lg_device_options *options, uint32_t index)
{
    struct lg_env *env = dev->base.env;
    if (options->host) {
        LG_TRY(lg_vk_instance_adopt(&dev->inst, env, options->host));
        dev->physical = options->host->physical_device;
        snprintf(dev->base.info.id, sizeof(dev->base.info.id), "vulkan:host");
    } else {
        LG_TRY(lg_vk_instance_init(&dev->inst, env,
                                   (PFN_vkGetInstanceProcAddr)options->get_instance_proc_addr,
                                   options->check ? &dev->base.check_messages : NULL));
        if (index >= dev->inst.n_physical)
            return lg_fail(env, LLMGPU_E_NO_DEVICE, "no device 'vulkan:%u': Vulkan has %u here", index,
                           dev->inst.n_physical);
        dev->physical = dev->inst.physical[index];
        snprintf(dev->base.info.id, sizeof(dev->base.info.id), "vulkan:%u", index);
    }
    LG_TRY(lg_vk_probe(&dev->inst, dev->physical, options->host, &dev->probe));
    lg_vk_describe(&dev->probe, &dev->base.info);
    enum lg_int8 allowed = options->precision == LLMGPU_PRECISION_FLOAT32 ? LG_INT8_NONE
                           : options->precision == LLMGPU_PRECISION_FAST  ? LG_INT8_ALL
                                                                          : LG_INT8_GENERATION;
    dev->base.info.int8 = dev->probe.int_dot ? allowed : LG_INT8_NONE;
    dev->base.info.half = dev->probe.float16 ? allowed : LG_INT8_NONE;
    return 0;
}

static int open_device(struct lg_vk_device *dev, const struct lg_device_options *options, uint32_t index)
{
    LG_TRY(open_instance(dev, options, index));
    LG_TRY(options->host ? adopt_device(dev, options) : own_device(dev, options->priority));
    LG_TRY(create_timeline(dev));
    LG_TRY(lg_vk_staging_init(dev));
    return lg_vk_cache_open(dev, options);
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
        int rc = lg_vk_probe(inst, inst->physical[i], NULL, &probe);
        if (rc == LLMGPU_E_UNSUPPORTED)
            lg_log(env, LG_LOG_INFO, "vulkan:%u left out: %s", i, env->error);
        else if (rc < 0) {
            lg_free(env, list);
            return rc;
        } else {
            lg_vk_describe(&probe, &list[n]);
            snprintf(list[n++].id, sizeof(list->id), "vulkan:%u", i);
        }
    }
    env->error[0] = '\0';
    *infos = list;
    *n_infos = n;
    return 0;
}

int lg_vk_device_list(struct lg_env *env, const struct lg_device_options *options,
                      struct lg_device_info **infos, uint32_t *n_infos)
{
    *infos = NULL;
    *n_infos = 0;
    struct lg_vk_instance inst;
    int rc =
        lg_vk_instance_init(&inst, env, (PFN_vkGetInstanceProcAddr)options->get_instance_proc_addr, NULL);
    if (rc == 0 && inst.n_physical)
        rc = describe_all(&inst, infos, n_infos);
    lg_vk_instance_finish(&inst);
    return rc;
}
