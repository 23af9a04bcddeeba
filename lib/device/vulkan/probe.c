/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "device/vulkan/spirv.h"
#include "device/vulkan/vk.h"
#include "util/checked.h"

enum { MAX_QUEUE_FAMILIES = 32 };

static int find_extensions(const struct lg_vk_instance *inst, VkPhysicalDevice physical,
                           struct lg_vk_probe *probe)
{
    struct {
        const char *name;
        bool *found;
    } wanted[] = {
        {VK_EXT_MEMORY_BUDGET_EXTENSION_NAME, &probe->has_memory_budget},
        {VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME, &probe->subgroup_size_extension},
        {"VK_KHR_portability_subset", &probe->has_portability_subset}, // its macro is among the beta ones
    };
    uint32_t n = 0;
    VkResult result = inst->fn.vkEnumerateDeviceExtensionProperties(physical, NULL, &n, NULL);
    if (n == 0)
        return lg_vk_result(inst->env, result, "vkEnumerateDeviceExtensionProperties");
    VkExtensionProperties *extensions = lg_alloc_array(inst->env, n, sizeof(*extensions));
    if (!extensions)
        return lg_fail_nomem(inst->env, "the list of Vulkan extensions", n * sizeof(*extensions));
    result = inst->fn.vkEnumerateDeviceExtensionProperties(physical, NULL, &n, extensions);
    for (uint32_t i = 0; result >= 0 && i < n; i++)
        for (size_t k = 0; k < sizeof(wanted) / sizeof(wanted[0]); k++)
            *wanted[k].found |= strcmp(extensions[i].extensionName, wanted[k].name) == 0;
    lg_free(inst->env, extensions);
    return lg_vk_result(inst->env, result, "vkEnumerateDeviceExtensionProperties");
}

/* A family of its own for compute, so that a host's graphics need not wait behind ours, else any that
 * computes. */
static bool find_queue_family(const struct lg_vk_instance *inst, VkPhysicalDevice physical,
                              struct lg_vk_probe *probe)
{
    VkQueueFamilyProperties families[MAX_QUEUE_FAMILIES];
    uint32_t n = MAX_QUEUE_FAMILIES;
    inst->fn.vkGetPhysicalDeviceQueueFamilyProperties(physical, &n, families);
    bool found = false;
    for (uint32_t i = 0; i < n; i++) {
        bool computes = families[i].queueFlags & VK_QUEUE_COMPUTE_BIT;
        bool draws = families[i].queueFlags & VK_QUEUE_GRAPHICS_BIT;
        if (!computes || (found && draws))
            continue;
        probe->queue_family = i;
        probe->timestamp_bits = families[i].timestampValidBits;
        found = true;
        if (!draws)
            break;
    }
    return found;
}

/*
 * The subgroup operations that the kernels use, as they declare it: SPIR-V's capabilities from
 * GroupNonUniform on are in the order of Vulkan's bits.
 */
static VkSubgroupFeatureFlags needed_operations(void)
{
    enum { HEADER_WORDS = 5, OP_CAPABILITY = 17, FIRST = 61, LAST = 68 };
    VkSubgroupFeatureFlags needed = VK_SUBGROUP_FEATURE_BASIC_BIT;
    for (uint32_t i = 0; i < LG_K_COUNT; i++) {
        const uint32_t *words = lg_spirv_modules[i].words + HEADER_WORDS;
        for (; *words == (2 << 16 | OP_CAPABILITY); words += 2) // they come before all else
            if (words[1] >= FIRST && words[1] <= LAST)
                needed |= 1u << (words[1] - FIRST);
    }
    return needed;
}

static int check_features(const struct lg_vk_instance *inst, VkPhysicalDevice physical,
                          struct lg_vk_probe *probe)
{
    bool is_1_3 = probe->props.properties.apiVersion >= VK_API_VERSION_1_3;
    VkPhysicalDeviceSubgroupSizeControlFeatures sizes = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES,
    };
    VkPhysicalDeviceVulkan12Features features12 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
        .pNext = is_1_3 || probe->subgroup_size_extension ? &sizes : NULL,
    };
    VkPhysicalDeviceFeatures2 features = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
        .pNext = &features12,
    };
    inst->fn.vkGetPhysicalDeviceFeatures2(physical, &features);
    probe->subgroup_size_extension &= !is_1_3 && sizes.subgroupSizeControl;
    const VkPhysicalDeviceSubgroupSizeControlProperties *range = &probe->subgroup_sizes;
    probe->pins_subgroup_size = sizes.subgroupSizeControl &&
                                range->minSubgroupSize != range->maxSubgroupSize &&
                                range->requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT;
    probe->full_subgroups = sizes.subgroupSizeControl && sizes.computeFullSubgroups;

    const VkPhysicalDeviceVulkan11Properties *p11 = &probe->props11;
    const char *name = probe->props.properties.deviceName;
    VkSubgroupFeatureFlags needed = needed_operations();
    if (!(p11->subgroupSupportedStages & VK_SHADER_STAGE_COMPUTE_BIT) ||
        (p11->subgroupSupportedOperations & needed) != needed)
        return lg_fail(
            inst->env, LLMGPU_E_UNSUPPORTED,
            "'%s' has the subgroup operations 0x%x in compute shaders, 0x%x are needed", name,
            p11->subgroupSupportedStages & VK_SHADER_STAGE_COMPUTE_BIT ? p11->subgroupSupportedOperations : 0,
            needed);
    if (!features12.timelineSemaphore)
        return lg_fail(inst->env, LLMGPU_E_UNSUPPORTED, "'%s' lacks timeline semaphores", name);
    return 0;
}

static void read_properties(const struct lg_vk_instance *inst, VkPhysicalDevice physical,
                            struct lg_vk_probe *probe)
{
    bool is_1_3 = probe->props.properties.apiVersion >= VK_API_VERSION_1_3;
    VkPhysicalDeviceMaintenance4Properties maintenance4 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_PROPERTIES,
        .pNext = &probe->subgroup_sizes,
        .maxBufferSize = UINT64_MAX,
    };
    probe->subgroup_sizes.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES;
    probe->props12.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES;
    probe->props12.pNext = is_1_3                           ? (void *)&maintenance4
                           : probe->subgroup_size_extension ? (void *)&probe->subgroup_sizes
                                                            : NULL;
    probe->props11.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES;
    probe->props11.pNext = &probe->props12;
    probe->props.pNext = &probe->props11;
    inst->fn.vkGetPhysicalDeviceProperties2(physical, &probe->props);
    probe->props.pNext = probe->props11.pNext = probe->props12.pNext = NULL;
    probe->max_buffer_size = maintenance4.maxBufferSize < probe->props11.maxMemoryAllocationSize
                                 ? maintenance4.maxBufferSize
                                 : probe->props11.maxMemoryAllocationSize;

    VkPhysicalDeviceMemoryProperties2 memory = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2,
    };
    inst->fn.vkGetPhysicalDeviceMemoryProperties2(physical, &memory);
    probe->memory = memory.memoryProperties;
}

int lg_vk_probe(const struct lg_vk_instance *inst, VkPhysicalDevice physical, struct lg_vk_probe *probe)
{
    memset(probe, 0, sizeof(*probe));
    probe->props.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2;
    inst->fn.vkGetPhysicalDeviceProperties2(physical, &probe->props);
    const VkPhysicalDeviceProperties *p = &probe->props.properties;
    if (p->apiVersion < VK_API_VERSION_1_2)
        return lg_fail(inst->env, LLMGPU_E_UNSUPPORTED, "'%s' has Vulkan %u.%u, 1.2 is needed", p->deviceName,
                       VK_API_VERSION_MAJOR(p->apiVersion), VK_API_VERSION_MINOR(p->apiVersion));
    LG_TRY(find_extensions(inst, physical, probe));
    if (!find_queue_family(inst, physical, probe))
        return lg_fail(inst->env, LLMGPU_E_UNSUPPORTED, "'%s' has no compute queue", p->deviceName);

    read_properties(inst, physical, probe);
    return check_features(inst, physical, probe);
}

static enum lg_device_kind kind_of(VkPhysicalDeviceType type)
{
    switch (type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU: return LG_DEVICE_DISCRETE;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU: return LG_DEVICE_INTEGRATED;
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU: return LG_DEVICE_VIRTUAL;
    case VK_PHYSICAL_DEVICE_TYPE_CPU: return LG_DEVICE_SOFTWARE;
    default: return LG_DEVICE_OTHER;
    }
}

void lg_vk_describe(const struct lg_vk_probe *probe, uint32_t index, struct lg_device_info *info)
{
    const VkPhysicalDeviceProperties *p = &probe->props.properties;
    const VkPhysicalDeviceLimits *limits = &p->limits;
    memset(info, 0, sizeof(*info));
    snprintf(info->id, sizeof(info->id), "vulkan:%" PRIu32, index);
    snprintf(info->name, sizeof(info->name), "%s", p->deviceName);
    snprintf(info->driver, sizeof(info->driver), "%.100s %.150s", probe->props12.driverName,
             probe->props12.driverInfo);
    info->kind = kind_of(p->deviceType);
    for (uint32_t i = 0; i < probe->memory.memoryHeapCount; i++) {
        const VkMemoryHeap *heap = &probe->memory.memoryHeaps[i];
        if (heap->flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT && heap->size > info->memory)
            info->memory = heap->size;
    }
    info->max_view_size = limits->maxStorageBufferRange & ~(uint32_t)255;
    info->max_buffer_size = probe->max_buffer_size & ~UINT64_C(255);
    info->view_align = lg_max_u32((uint32_t)limits->minStorageBufferOffsetAlignment, 16);
    info->subgroup_size = probe->props11.subgroupSize;
    info->max_workgroup =
        lg_min_u32(limits->maxComputeWorkGroupInvocations, limits->maxComputeWorkGroupSize[0]);
    info->shared_memory = limits->maxComputeSharedMemorySize;
    info->timestamps = probe->timestamp_bits > 0;
}
