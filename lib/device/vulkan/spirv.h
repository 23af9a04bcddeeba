/* SPDX-License-Identifier: MIT
 * The compiled kernels that the build embeds. */
#ifndef LG_DEVICE_VULKAN_SPIRV_H
#define LG_DEVICE_VULKAN_SPIRV_H

#include <stddef.h>
#include <stdint.h>

#include "kernels_gen.h"

struct lg_spirv {
    const uint32_t *words;
    size_t size; // bytes
};

extern const struct lg_spirv lg_spirv_modules[LG_K_COUNT];

#endif
