/* SPDX-License-Identifier: MIT */
#include "device/vulkan/vk.h"

struct result_row {
    VkResult result;
    const char *name;
    int code;
};

static const struct result_row results[] = {
    {VK_ERROR_OUT_OF_HOST_MEMORY, "VK_ERROR_OUT_OF_HOST_MEMORY", LLMGPU_E_NOMEM},
    {VK_ERROR_OUT_OF_DEVICE_MEMORY, "VK_ERROR_OUT_OF_DEVICE_MEMORY", LLMGPU_E_NOMEM},
    {VK_ERROR_OUT_OF_POOL_MEMORY, "VK_ERROR_OUT_OF_POOL_MEMORY", LLMGPU_E_NOMEM},
    {VK_ERROR_FRAGMENTED_POOL, "VK_ERROR_FRAGMENTED_POOL", LLMGPU_E_NOMEM},
    {VK_ERROR_TOO_MANY_OBJECTS, "VK_ERROR_TOO_MANY_OBJECTS", LLMGPU_E_NOMEM}, // a host's own count as well
    {VK_ERROR_DEVICE_LOST, "VK_ERROR_DEVICE_LOST", LLMGPU_E_DEVICE_LOST},
    {VK_ERROR_LAYER_NOT_PRESENT, "VK_ERROR_LAYER_NOT_PRESENT", LLMGPU_E_UNSUPPORTED},
    {VK_ERROR_EXTENSION_NOT_PRESENT, "VK_ERROR_EXTENSION_NOT_PRESENT", LLMGPU_E_UNSUPPORTED},
    {VK_ERROR_FEATURE_NOT_PRESENT, "VK_ERROR_FEATURE_NOT_PRESENT", LLMGPU_E_UNSUPPORTED},
    {VK_ERROR_INCOMPATIBLE_DRIVER, "VK_ERROR_INCOMPATIBLE_DRIVER", LLMGPU_E_DEVICE},
    {VK_ERROR_INITIALIZATION_FAILED, "VK_ERROR_INITIALIZATION_FAILED", LLMGPU_E_DEVICE},
    {VK_ERROR_MEMORY_MAP_FAILED, "VK_ERROR_MEMORY_MAP_FAILED", LLMGPU_E_DEVICE},
    {VK_ERROR_NOT_PERMITTED_KHR, "VK_ERROR_NOT_PERMITTED_KHR", LLMGPU_E_DEVICE},
    {VK_ERROR_INVALID_SHADER_NV, "VK_ERROR_INVALID_SHADER_NV", LLMGPU_E_DEVICE},
    {VK_ERROR_UNKNOWN, "VK_ERROR_UNKNOWN", LLMGPU_E_DEVICE},
};

int lg_vk_result(struct lg_env *env, VkResult result, const char *what)
{
    if (result >= 0)
        return 0;
    for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++)
        if (results[i].result == result)
            return lg_fail(env, results[i].code, "%s failed: %s", what, results[i].name);
    return lg_fail(env, LLMGPU_E_DEVICE, "%s failed: VkResult %d", what, result);
}

int lg_vk_device_result(struct lg_vk_device *dev, VkResult result, const char *what)
{
    if (result == VK_ERROR_DEVICE_LOST)
        dev->base.lost = LLMGPU_E_DEVICE_LOST;
    return lg_vk_result(dev->base.env, result, what);
}

int lg_vk_alive(struct lg_vk_device *dev)
{
    if (!dev->base.lost)
        return 0;
    return lg_fail(dev->base.env, dev->base.lost, "device '%s' is lost; open it again", dev->base.info.id);
}
