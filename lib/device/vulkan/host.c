/* SPDX-License-Identifier: MIT
 *
 * A device of the host: what it says of it is checked as far as Vulkan lets one ask, and nothing is used that
 * it has not turned on.
 */
#include <string.h>

#include "device/vulkan/vk.h"

static int check_host(struct lg_env *env, const struct lg_vk_host *host)
{
    const struct {
        const void *handle;
        const char *name;
    } handles[] = {
        {host->instance, "instance"},
        {host->physical_device, "physical device"},
        {host->device, "device"},
        {host->queue, "queue"},
    };
    for (size_t i = 0; i < sizeof(handles) / sizeof(handles[0]); i++)
        if (!handles[i].handle)
            return lg_fail(env, LLMGPU_E_INVALID, "the host's Vulkan device has no %s", handles[i].name);
    if (!host->extensions && host->n_extensions)
        return lg_fail(env, LLMGPU_E_INVALID, "the host's Vulkan device has %u extensions without a list",
                       host->n_extensions);
    for (uint32_t i = 0; i < host->n_extensions; i++)
        if (!host->extensions[i])
            return lg_fail(env, LLMGPU_E_INVALID, "extension %u of the host's Vulkan device has no name", i);
    if (!host->lock_queue != !host->unlock_queue)
        return lg_fail(
            env, LLMGPU_E_INVALID,
            "the host's queue has one of lock_queue and unlock_queue; both are needed, or neither");
    return 0;
}

int lg_vk_instance_adopt(struct lg_vk_instance *inst, struct lg_env *env, const struct lg_vk_host *host)
{
    memset(inst, 0, sizeof(*inst));
    inst->env = env;
    LG_TRY(check_host(env, host));
    inst->version = host->api_version ? host->api_version : VK_API_VERSION_1_2;
    if (inst->version < VK_API_VERSION_1_2)
        return lg_fail(env, LLMGPU_E_UNSUPPORTED, "the host's instance has Vulkan %u.%u, 1.2 is needed",
                       VK_API_VERSION_MAJOR(inst->version), VK_API_VERSION_MINOR(inst->version));
    if (!lg_vk_loader_open(&inst->loader, (PFN_vkGetInstanceProcAddr)host->get_instance_proc_addr))
        return lg_fail(env, LLMGPU_E_UNSUPPORTED,
                       "the system's Vulkan loader is not found; the host must give vkGetInstanceProcAddr");
    inst->handle = host->instance;
    inst->is_hosts = true;
    return lg_vk_load_instance(inst);
}

bool lg_vk_host_has(const struct lg_vk_host *host, const char *extension)
{
    for (uint32_t i = 0; i < host->n_extensions; i++)
        if (strcmp(host->extensions[i], extension) == 0)
            return true;
    return false;
}

void lg_vk_host_features(const struct lg_vk_host *host, struct lg_vk_features *features)
{
    *features = (struct lg_vk_features){.timeline_semaphore = !host->features};
    for (const VkBaseInStructure *item = host->features; item; item = item->pNext) {
        const void *as = item;
        if (item->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES) {
            const VkPhysicalDeviceVulkan12Features *f = as;
            features->timeline_semaphore |= f->timelineSemaphore;
            features->float16 |= f->shaderFloat16;
            features->memory_model |= f->vulkanMemoryModel && f->vulkanMemoryModelDeviceScope;
        } else if (item->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES) {
            const VkPhysicalDeviceTimelineSemaphoreFeatures *f = as;
            features->timeline_semaphore |= f->timelineSemaphore;
        } else if (item->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES) {
            const VkPhysicalDeviceShaderFloat16Int8Features *f = as;
            features->float16 |= f->shaderFloat16;
        } else if (item->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_MEMORY_MODEL_FEATURES) {
            const VkPhysicalDeviceVulkanMemoryModelFeatures *f = as;
            features->memory_model |= f->vulkanMemoryModel && f->vulkanMemoryModelDeviceScope;
        } else if (item->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR) {
            const VkPhysicalDeviceCooperativeMatrixFeaturesKHR *f = as;
            features->cooperative_matrix |= f->cooperativeMatrix;
        } else if (item->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES) {
            const VkPhysicalDeviceVulkan13Features *f = as;
            features->subgroup_size_control |= f->subgroupSizeControl;
            features->full_subgroups |= f->computeFullSubgroups;
            features->int_dot |= f->shaderIntegerDotProduct;
        } else if (item->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES) {
            const VkPhysicalDeviceShaderIntegerDotProductFeatures *f = as;
            features->int_dot |= f->shaderIntegerDotProduct;
        } else if (item->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES) {
            const VkPhysicalDeviceSubgroupSizeControlFeatures *f = as;
            features->subgroup_size_control |= f->subgroupSizeControl;
            features->full_subgroups |= f->computeFullSubgroups;
        }
    }
}
