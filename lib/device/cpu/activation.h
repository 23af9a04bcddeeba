/* SPDX-License-Identifier: MIT
 * Activations of one element. Private to lib/device/cpu. */
#ifndef LG_DEVICE_CPU_ACTIVATION_H
#define LG_DEVICE_CPU_ACTIVATION_H

#include "device/cpu/exp.h"

static inline float lg_cpu_silu(float x)
{
    return x / (1.0f + lg_exp(-x));
}

static inline float lg_cpu_gelu_of(float x)
{
    float u = 0.7978845608f * (x + 0.044715f * x * x * x);
    return x / (1.0f + lg_exp(-2.0f * u));
}

#endif
