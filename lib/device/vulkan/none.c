/* SPDX-License-Identifier: MIT
 * Stands in for the Vulkan backend in builds without it: there are no such devices. */
#include "device/backends.h"

int lg_vk_device_list(struct lg_env *env, const struct lg_device_options *options,
                      struct lg_device_info **infos, uint32_t *n_infos)
{
    (void)env;
    (void)options;
    *infos = NULL;
    *n_infos = 0;
    return 0;
}

int lg_vk_device_open(struct lg_env *env, const struct lg_device_options *options, uint32_t index,
                      struct lg_device **out)
{
    *out = NULL;
    if (options->host)
        return lg_fail(env, LLMGPU_E_UNSUPPORTED,
                       "this build has no Vulkan, and cannot use the host's device");
    return lg_fail(env, LLMGPU_E_NO_DEVICE, "no device 'vulkan:%u': this build has no Vulkan", index);
}
