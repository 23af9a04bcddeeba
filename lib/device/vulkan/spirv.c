/* SPDX-License-Identifier: MIT */
#include "device/vulkan/spirv.h"

void lg_spirv_unpack(const struct lg_spirv *module, uint32_t *words, uint32_t n)
{
    const uint8_t *p = module->packed;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t word = *p & 127;
        for (uint32_t shift = 7; *p++ & 128; shift += 7)
            word |= (uint32_t)(*p & 127) << shift;
        words[i] = word;
    }
}
