/* SPDX-License-Identifier: MIT
 *
 * Structs that both sides of the ABI know, perhaps at different lengths. Private to lib/api.
 */
#ifndef LG_API_PARAMS_H
#define LG_API_PARAMS_H

#include <stddef.h>
#include <stdint.h>

#include <stdbool.h>

#include "device/device.h"
#include "llmgpu/context.h"

/** Bytes of `type` up to and with `member`: of the struct as a version had it whose last member that was. */
#define LG_SIZE_TO(type, member) (offsetof(type, member) + sizeof(((type *)0)->member))

/**
 * Fills a caller's parameter struct of `size` bytes from `defaults`, of `own` bytes; what it has beyond is zeroed. `least`
 * is the struct's size in the first version. LLMGPU_E_INVALID for NULL and impossible sizes.
 */
int lg_api_params_init(void *params, size_t size, const void *defaults, size_t own, size_t least);

/**
 * Copies a caller's struct, which begins with its size, over the defaults in `to`, of `own` bytes.
 *
 * @return 0; LLMGPU_E_INVALID for an impossible size; LLMGPU_E_UNSUPPORTED when it sets what this library does not have
 */
int lg_api_params_in(struct lg_env *env, void *to, size_t own, size_t least, const void *from);

/** The host's device as the device layer takes it; what is pointed to is not copied. Fails as lg_api_params_in(). */
int lg_api_vulkan_in(struct lg_env *env, struct lg_vk_host *to, const llmgpu_vulkan_device *from);

/** Gives facts, `own` bytes, to a caller who has room for `size`; what it has beyond is zeroed. */
int lg_api_info_out(void *out, size_t size, const void *info, size_t own, size_t least);

#endif
