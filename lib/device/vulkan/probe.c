/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "device/vulkan/spirv.h"
#include "device/vulkan/vk.h"
#include "util/checked.h"

enum { MAX_QUEUE_FAMILIES = 32, MAX_MATRICES = 64 };

/* A device of the host has what it was created with; what only tells of it needs not be turned on. */
static int find_extensions(const struct lg_vk_instance *inst, VkPhysicalDevice physical,
                           const struct lg_vk_host *host, struct lg_vk_probe *probe)
{
    static const char what[] = "vkEnumerateDeviceExtensionProperties";
    struct {
        const char *name;
        bool *found;
    } wanted[] = {
        {VK_EXT_PCI_BUS_INFO_EXTENSION_NAME, &probe->has_pci},
        {VK_EXT_MEMORY_BUDGET_EXTENSION_NAME, &probe->has_memory_budget},
        {VK_EXT_PIPELINE_CREATION_FEEDBACK_EXTENSION_NAME, &probe->feedback_extension},
        {VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME, &probe->subgroup_size_extension},
        {VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME, &probe->int_dot_extension},
        {VK_KHR_GLOBAL_PRIORITY_EXTENSION_NAME, &probe->global_priority_khr},
        {VK_EXT_GLOBAL_PRIORITY_EXTENSION_NAME, &probe->global_priority_ext},
        {VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME, &probe->cooperative_matrix},
        {"VK_KHR_portability_subset", &probe->has_portability_subset}, // its macro is among the beta ones
    };
    const size_t n_wanted = host ? 1 : sizeof(wanted) / sizeof(wanted[0]);
    for (size_t k = 1; host && k < sizeof(wanted) / sizeof(wanted[0]); k++)
        *wanted[k].found = lg_vk_host_has(host, wanted[k].name);
    uint32_t n = 0;
    VkResult result = inst->fn.vkEnumerateDeviceExtensionProperties(physical, NULL, &n, NULL);
    LG_TRY(lg_vk_result(inst->env, result, what));
    VkExtensionProperties *extensions = lg_alloc_array(inst->env, n, sizeof(*extensions));
    if (!extensions)
        return lg_fail_nomem(inst->env, "the list of Vulkan extensions", n * sizeof(*extensions));
    result = inst->fn.vkEnumerateDeviceExtensionProperties(physical, NULL, &n, extensions);
    for (uint32_t i = 0; result >= 0 && i < n; i++)
        for (size_t k = 0; k < n_wanted; k++)
            *wanted[k].found |= strcmp(extensions[i].extensionName, wanted[k].name) == 0;
    lg_free(inst->env, extensions);
    return lg_vk_result(inst->env, result, what);
}

/* A family of its own for compute, so that a host's graphics need not wait behind ours, else any that
 * computes. */
static uint32_t choose_family(const VkQueueFamilyProperties *families, uint32_t n)
{
    uint32_t chosen = n;
    for (uint32_t i = 0; i < n; i++) {
        bool draws = families[i].queueFlags & VK_QUEUE_GRAPHICS_BIT;
        if (!(families[i].queueFlags & VK_QUEUE_COMPUTE_BIT))
            continue;
        if (!draws)
            return i;
        if (chosen == n)
            chosen = i;
    }
    return chosen;
}

static int find_queue_family(const struct lg_vk_instance *inst, VkPhysicalDevice physical,
                             const struct lg_vk_host *host, struct lg_vk_probe *probe)
{
    const char *name = probe->props.properties.deviceName;
    VkQueueFamilyProperties families[MAX_QUEUE_FAMILIES];
    uint32_t n = MAX_QUEUE_FAMILIES;
    inst->fn.vkGetPhysicalDeviceQueueFamilyProperties(physical, &n, families);
    uint32_t family = host ? host->queue_family : choose_family(families, n);
    if (!host && family == n)
        return lg_fail(inst->env, LLMGPU_E_UNSUPPORTED, "'%s' has no compute queue", name);
    if (family >= n)
        return lg_fail(inst->env, LLMGPU_E_INVALID, "the host's queue is of family %u; '%s' has %u", family,
                       name, n);
    if (!(families[family].queueFlags & VK_QUEUE_COMPUTE_BIT))
        return lg_fail(inst->env, LLMGPU_E_UNSUPPORTED,
                       "the host's queue, of family %u of '%s', cannot compute", family, name);
    probe->queue_family = family;
    probe->timestamp_bits = families[family].timestampValidBits;
    return 0;
}

/*
 * The subgroup operations that the kernels use, as they declare it before all else: SPIR-V's capabilities from
 * GroupNonUniform on are in the order of Vulkan's bits.
 */
static VkSubgroupFeatureFlags needed_operations(void)
{
    enum { HEADER_WORDS = 5, OP_CAPABILITY = 17, FIRST = 61, LAST = 68, N_HEAD = 64 };
    VkSubgroupFeatureFlags needed = VK_SUBGROUP_FEATURE_BASIC_BIT;
    for (uint32_t i = 0; i < LG_K_COUNT; i++) {
        const struct lg_spirv *module = &lg_spirv_modules[i];
        uint32_t head[N_HEAD] = {0};
        lg_spirv_unpack(module, head, lg_min_u32(module->n_words, N_HEAD));
        for (uint32_t k = HEADER_WORDS; k + 1 < N_HEAD && head[k] == (2 << 16 | OP_CAPABILITY); k += 2)
            if (head[k + 1] >= FIRST && head[k + 1] <= LAST)
                needed |= 1u << (head[k + 1] - FIRST);
    }
    return needed;
}

/* Whether the version has, or an extension brings, the structs of subgroup size control. */
static bool knows_subgroup_sizes(const struct lg_vk_probe *probe)
{
    return probe->version >= VK_API_VERSION_1_3 || probe->subgroup_size_extension;
}

/* The same of products of integers. */
static bool knows_int_dot(const struct lg_vk_probe *probe)
{
    return probe->version >= VK_API_VERSION_1_3 || probe->int_dot_extension;
}

static void read_features(const struct lg_vk_instance *inst, VkPhysicalDevice physical,
                          const struct lg_vk_probe *probe, struct lg_vk_features *out)
{
    VkPhysicalDeviceSubgroupSizeControlFeatures sizes = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES,
    };
    VkPhysicalDeviceVulkan12Features features12 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
        .pNext = knows_subgroup_sizes(probe) ? &sizes : NULL,
    };
    VkPhysicalDeviceShaderIntegerDotProductFeatures int_dot = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES,
        .pNext = &features12,
    };
    void *known = knows_int_dot(probe) ? (void *)&int_dot : &features12;
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrices = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR,
        .pNext = known,
    };
    VkPhysicalDeviceFeatures2 features = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
        .pNext = probe->cooperative_matrix ? (void *)&matrices : known,
    };
    inst->fn.vkGetPhysicalDeviceFeatures2(physical, &features);
    *out = (struct lg_vk_features){
        .timeline_semaphore = features12.timelineSemaphore,
        .subgroup_size_control = sizes.subgroupSizeControl,
        .full_subgroups = sizes.computeFullSubgroups,
        .cooperative_matrix = matrices.cooperativeMatrix,
        .float16 = features12.shaderFloat16,
        .memory_model = features12.vulkanMemoryModel && features12.vulkanMemoryModelDeviceScope,
        .int_dot = int_dot.shaderIntegerDotProduct,
    };
}

static bool is_usable(const VkCooperativeMatrixPropertiesKHR *m)
{
    return m->AType == VK_COMPONENT_TYPE_FLOAT16_KHR && m->BType == VK_COMPONENT_TYPE_FLOAT16_KHR &&
           m->CType == VK_COMPONENT_TYPE_FLOAT32_KHR && m->ResultType == VK_COMPONENT_TYPE_FLOAT32_KHR &&
           m->scope == VK_SCOPE_SUBGROUP_KHR && m->KSize && 32 % m->KSize == 0;
}

/* The shape of matrices nearest to a square of 16, which most devices have. */
static int find_matrices(const struct lg_vk_instance *inst, VkPhysicalDevice physical, struct lg_vk_probe *probe)
{
    static const char what[] = "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR";
    VkCooperativeMatrixPropertiesKHR found[MAX_MATRICES];
    uint32_t n = MAX_MATRICES, best = UINT32_MAX;
    for (uint32_t i = 0; i < n; i++)
        found[i] = (VkCooperativeMatrixPropertiesKHR){.sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR};
    VkResult result = inst->fn.vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR(physical, &n, found);
    LG_TRY(lg_vk_result(inst->env, result, what));
    for (uint32_t i = 0; i < n; i++) {
        uint32_t m = found[i].MSize, k = found[i].NSize;
        uint32_t distance = (m > 16 ? m - 16 : 16 - m) + (k > 16 ? k - 16 : 16 - k);
        if (!is_usable(&found[i]) || distance >= best)
            continue;
        best = distance;
        probe->coop_m = m;
        probe->coop_n = k;
        probe->coop_k = found[i].KSize;
    }
    probe->cooperative_matrix = best != UINT32_MAX;
    return 0;
}

/* Cooperative matrices are used where the build has the kernels, and the device all that these declare. Their sizes go by
 * subgroups of one size that are full. */
static int check_matrices(const struct lg_vk_instance *inst, VkPhysicalDevice physical,
                          const struct lg_vk_features *features, struct lg_vk_probe *probe)
{
    probe->cooperative_matrix &= lg_spirv_modules[LG_K_MATMUL_COOP_F16].packed && features->cooperative_matrix &&
                                 features->float16 && features->memory_model && probe->full_subgroups &&
                                 inst->fn.vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR;
    return probe->cooperative_matrix ? find_matrices(inst, physical, probe) : 0;
}

static int check_features(const struct lg_vk_instance *inst, const struct lg_vk_features *features,
                          const struct lg_vk_host *host, struct lg_vk_probe *probe)
{
    bool controls_size = features->subgroup_size_control && knows_subgroup_sizes(probe);
    const VkPhysicalDeviceSubgroupSizeControlProperties *range = &probe->subgroup_sizes;
    probe->subgroup_size_extension &= probe->version < VK_API_VERSION_1_3 && controls_size;
    probe->pins_subgroup_size = controls_size && range->minSubgroupSize != range->maxSubgroupSize &&
                                range->requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT;
    probe->full_subgroups = controls_size && features->full_subgroups;
    probe->int_dot = features->int_dot && knows_int_dot(probe);
    probe->fast_int_dot &= probe->int_dot;
    probe->int_dot_extension &= probe->version < VK_API_VERSION_1_3 && probe->int_dot;
    probe->float16 = features->float16;

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
    if (!features->timeline_semaphore)
        return lg_fail(inst->env, LLMGPU_E_UNSUPPORTED, "%s'%s' lacks the feature timelineSemaphore",
                       host ? "the host's device on " : "", name);
    return 0;
}

static void read_properties(const struct lg_vk_instance *inst, VkPhysicalDevice physical,
                            struct lg_vk_probe *probe)
{
    bool is_1_3 = probe->version >= VK_API_VERSION_1_3;
    VkPhysicalDeviceMaintenance4Properties maintenance4 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_PROPERTIES,
        .pNext = &probe->subgroup_sizes,
        .maxBufferSize = UINT64_MAX,
    };
    VkPhysicalDeviceShaderIntegerDotProductProperties int_dot = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_PROPERTIES,
        .pNext = &probe->props11,
    };
    probe->subgroup_sizes.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES;
    probe->props12.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES;
    probe->props12.pNext = is_1_3                           ? (void *)&maintenance4
                           : probe->subgroup_size_extension ? (void *)&probe->subgroup_sizes
                                                            : NULL;
    probe->props11.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES;
    probe->props11.pNext = &probe->props12;
    probe->pci.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PCI_BUS_INFO_PROPERTIES_EXT;
    probe->pci.pNext = knows_int_dot(probe) ? (void *)&int_dot : &probe->props11;
    probe->props.pNext = probe->has_pci ? &probe->pci : probe->pci.pNext;
    inst->fn.vkGetPhysicalDeviceProperties2(physical, &probe->props);
    probe->props.pNext = probe->pci.pNext = probe->props11.pNext = probe->props12.pNext = NULL;
    probe->fast_int_dot = int_dot.integerDotProduct4x8BitPackedSignedAccelerated;
    probe->max_buffer_size = maintenance4.maxBufferSize < probe->props11.maxMemoryAllocationSize
                                 ? maintenance4.maxBufferSize
                                 : probe->props11.maxMemoryAllocationSize;

    VkPhysicalDeviceMemoryProperties2 memory = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2,
    };
    inst->fn.vkGetPhysicalDeviceMemoryProperties2(physical, &memory);
    probe->memory = memory.memoryProperties;
}

int lg_vk_probe(const struct lg_vk_instance *inst, VkPhysicalDevice physical, const struct lg_vk_host *host,
                struct lg_vk_probe *probe)
{
    memset(probe, 0, sizeof(*probe));
    probe->props.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2;
    inst->fn.vkGetPhysicalDeviceProperties2(physical, &probe->props);
    const VkPhysicalDeviceProperties *p = &probe->props.properties;
    if (p->apiVersion < VK_API_VERSION_1_2)
        return lg_fail(inst->env, LLMGPU_E_UNSUPPORTED, "'%s' has Vulkan %u.%u, 1.2 is needed", p->deviceName,
                       VK_API_VERSION_MAJOR(p->apiVersion), VK_API_VERSION_MINOR(p->apiVersion));
    probe->version = lg_min_u32(p->apiVersion, inst->version);
    LG_TRY(find_extensions(inst, physical, host, probe));
    LG_TRY(find_queue_family(inst, physical, host, probe));

    struct lg_vk_features features;
    read_properties(inst, physical, probe);
    if (host)
        lg_vk_host_features(host, &features);
    else
        read_features(inst, physical, probe, &features);
    LG_TRY(check_features(inst, &features, host, probe));
    return check_matrices(inst, physical, &features, probe);
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

void lg_vk_describe(const struct lg_vk_probe *probe, struct lg_device_info *info)
{
    const VkPhysicalDeviceProperties *p = &probe->props.properties;
    const VkPhysicalDeviceLimits *limits = &p->limits;
    snprintf(info->name, sizeof(info->name), "%s", p->deviceName);
    snprintf(info->driver, sizeof(info->driver), "%.100s %.150s", probe->props12.driverName,
             probe->props12.driverInfo);
    info->kind = kind_of(p->deviceType);
    info->vendor = p->vendorID;
    info->pci = (struct lg_pci){probe->has_pci, probe->pci.pciDomain, probe->pci.pciBus, probe->pci.pciDevice,
                                probe->pci.pciFunction};
    for (uint32_t i = 0; i < probe->memory.memoryHeapCount; i++) {
        const VkMemoryHeap *heap = &probe->memory.memoryHeaps[i];
        if (heap->flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT && heap->size > info->memory)
            info->memory = heap->size;
    }
    info->max_view_size = limits->maxStorageBufferRange & ~(uint32_t)255;
    info->max_buffer_size = probe->max_buffer_size & ~UINT64_C(255);
    info->view_align = lg_max_u32((uint32_t)limits->minStorageBufferOffsetAlignment, 16);
    info->max_views = lg_min_u32(limits->maxPerStageDescriptorStorageBuffers, limits->maxDescriptorSetStorageBuffers);
    info->subgroup_size = probe->props11.subgroupSize;
    info->max_workgroup =
        lg_min_u32(limits->maxComputeWorkGroupInvocations, limits->maxComputeWorkGroupSize[0]);
    info->shared_memory = limits->maxComputeSharedMemorySize;
    info->timestamps = probe->timestamp_bits > 0;
    info->int_dot = probe->int_dot;
    info->fast_int_dot = probe->fast_int_dot;
    info->float16 = probe->float16;
    info->coop_m = probe->coop_m;
    info->coop_n = probe->coop_n;
    info->coop_k = probe->coop_k;
}
