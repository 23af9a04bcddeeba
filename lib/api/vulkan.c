/* SPDX-License-Identifier: MIT */
#include "api/params.h"

int lg_api_vulkan_in(struct lg_env *env, struct lg_vk_host *to, const llmgpu_vulkan_device *from)
{
    llmgpu_vulkan_device d = {0};
    LG_TRY(lg_api_params_in(env, &d, sizeof(d), LG_SIZE_TO(llmgpu_vulkan_device, queue_user), from));
    *to = (struct lg_vk_host){
        .get_instance_proc_addr = d.get_instance_proc_addr,
        .instance = d.instance,
        .physical_device = d.physical_device,
        .device = d.device,
        .queue = d.queue,
        .queue_family = d.queue_family,
        .api_version = d.api_version,
        .extensions = d.extensions,
        .n_extensions = d.n_extensions,
        .features = d.features,
        .lock_queue = d.lock_queue,
        .unlock_queue = d.unlock_queue,
        .queue_user = d.queue_user,
    };
    return 0;
}
