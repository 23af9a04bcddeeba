/* SPDX-License-Identifier: MIT
 * The compiled kernels that the build embeds. */
#ifndef LG_DEVICE_VULKAN_SPIRV_H
#define LG_DEVICE_VULKAN_SPIRV_H

#include <stddef.h>
#include <stdint.h>

#include "kernels_gen.h"

/* Of each word seven bits in a byte, the lowest first; the eighth is set while there are more. */
struct lg_spirv {
    const uint8_t *packed; // NULL: there is no such kernel in this build
    uint32_t size;         // bytes
    uint32_t n_words;
};

extern const struct lg_spirv lg_spirv_modules[LG_K_COUNT];

/** The first n words of a module that has as many. */
void lg_spirv_unpack(const struct lg_spirv *module, uint32_t *words, uint32_t n);

#endif
