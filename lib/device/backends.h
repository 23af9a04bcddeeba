/* SPDX-License-Identifier: MIT
 * How device.c reaches the backends. Private to lib/device. */
#ifndef LG_DEVICE_BACKENDS_H
#define LG_DEVICE_BACKENDS_H

#include "device/device.h"

int lg_cpu_device_open(struct lg_env *env, const struct lg_device_options *options, struct lg_device **out);
void lg_cpu_device_describe(struct lg_device_info *info, uint32_t n_threads);

/**
 * Vulkan's devices in the driver's order, ids "vulkan:0" and on; none is not a failure (no loader, no driver). Without
 * Vulkan in the build these two come from vulkan/none.c.
 *
 * @param options for get_instance_proc_addr
 */
int lg_vk_device_list(struct lg_env *env, const struct lg_device_options *options, struct lg_device_info **infos,
                      uint32_t *n_infos);
/** Opens the device of that index in the list, or options->host, for which the index does not matter. */
int lg_vk_device_open(struct lg_env *env, const struct lg_device_options *options, uint32_t index,
                      struct lg_device **out);

#endif
