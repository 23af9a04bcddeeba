/* SPDX-License-Identifier: MIT
 * What the versions of sampling share: all but the passes over a row of logits. Private to lib/device/cpu. */
#ifndef LG_DEVICE_CPU_SAMPLE_H
#define LG_DEVICE_CPU_SAMPLE_H

#include "device/cpu/grid.h"

struct lg_cpu_draw {
    const float *logits;
    uint32_t n;
    float max;
    uint32_t threshold; // of the keys: what is below is cut away
};

struct lg_cpu_draw_passes {
    /**
     * Sets hist to what the candidates weigh: 1 each, or their masses. Only keys are looked at whose bits
     * above `shift` + 8 are those of `prefix`; the next 8 bits are the index.
     */
    void (*count)(const struct lg_cpu_draw *d, bool by_mass, uint32_t prefix, uint32_t shift,
                  uint64_t hist[256]);
    /** The candidate with the largest (logit - max) / temperature + noise; `otherwise` where there is none.
     */
    uint32_t (*race)(const struct lg_cpu_draw *d, float temperature, uint32_t random, uint32_t otherwise);
};

/** The kernel, with these passes. */
void lg_cpu_sample_with(const struct lg_cpu_draw_passes *passes, const struct lg_cpu_args *args,
                        uint32_t first, uint32_t last);

#endif
