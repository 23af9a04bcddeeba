// SPDX-License-Identifier: MIT
//
// Norms backwards. With x' = (x - mean) * factor and g = dy * weight,
//
//     dx[r][i] += factor * (g[i] - mean(g) - x'[i] * mean(g x'))
//
// where factor = 1 / sqrt(mean((x - mean)^2) + eps); RMSNorm is without the means of x and of g.
//
//     x       float32 [rows][n_cols]
//     weight  float32 [n_cols]
//     dy, dx  float32 [rows][n_cols]
//     kept    float32 [rows][2], mean and factor
//
// Grid {rows, 1, 1}: a workgroup takes one row. LAYER: LayerNorm, otherwise RMSNorm.
#version 450
#define USE_REDUCTIONS
#include "common.glsl"

layout(push_constant) uniform Push { lg_norm_push p; };
layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) readonly buffer Weight { float weight[]; };
layout(binding = 2) readonly buffer DY { float dy[]; };
layout(binding = 3) buffer DX { float dx[]; };
layout(binding = 4) writeonly buffer Kept { vec2 kept[]; };

void main()
{
    uint row = gl_WorkGroupID.x * p.n_cols;
    float n = float(p.n_cols), mean = 0, mean_g = 0, sum = 0;
#ifdef LAYER
    for (uint i = gl_LocalInvocationIndex; i < p.n_cols; i += WG)
        sum += x[row + i];
    mean = group_add(sum) / n;
    sum = 0;
#endif
    for (uint i = gl_LocalInvocationIndex; i < p.n_cols; i += WG) {
        float d = x[row + i] - mean;
        sum += d * d;
    }
    float factor = inversesqrt(group_add(sum) / n + p.eps), plain = 0, products = 0;
    for (uint i = gl_LocalInvocationIndex; i < p.n_cols; i += WG) {
        float g = dy[row + i] * weight[i];
        plain += g;
        products += g * ((x[row + i] - mean) * factor);
    }
#ifdef LAYER
    mean_g = group_add(plain) / n;
#endif
    float slope = group_add(products) / n;
    for (uint i = gl_LocalInvocationIndex; i < p.n_cols; i += WG)
        dx[row + i] += factor * (dy[row + i] * weight[i] - mean_g - (x[row + i] - mean) * factor * slope);
    if (gl_LocalInvocationIndex == 0)
        kept[gl_WorkGroupID.x] = vec2(mean, factor);
}
