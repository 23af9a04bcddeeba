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

/** An activation and its derivative. */
struct lg_cpu_slope {
    float value, slope;
};

static inline struct lg_cpu_slope lg_cpu_silu_slope(float x)
{
    float s = 1.0f / (1.0f + lg_exp(-x));
    return (struct lg_cpu_slope){.value = x * s, .slope = s * (1.0f + x * (1.0f - s))};
}

/** With s = 1 / (1 + exp(-2 u)), gelu(x) = x s and s' = 2 s (1 - s) u'. */
static inline float lg_cpu_gelu_slope(float x)
{
    float u = 0.7978845608f * (x + 0.044715f * x * x * x);
    float s = 1.0f / (1.0f + lg_exp(-2.0f * u));
    return s * (1.0f + 2.0f * x * (1.0f - s) * (0.7978845608f * (1.0f + 0.134145f * x * x)));
}

#endif
