/* SPDX-License-Identifier: MIT
 * Activations of one element. Private to lib/device/cpu. */
#ifndef LG_DEVICE_CPU_ACTIVATION_H
#define LG_DEVICE_CPU_ACTIVATION_H

#include <math.h>

static inline float lg_cpu_silu(float x)
{
    return x / (1.0f + expf(-x));
}

static inline float lg_cpu_gelu_of(float x)
{
    float inner = 0.7978845608f * (x + 0.044715f * x * x * x);
    return 0.5f * x * (1.0f + tanhf(inner));
}

#endif
