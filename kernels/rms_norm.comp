// SPDX-License-Identifier: MIT
//
// y[r][i] = x[r][i] / sqrt(mean(x[r]^2) + eps) * weight[i]
//
//     x       float32 [rows][n_cols]
//     weight  float32 [n_cols]
//     y       float32 [rows][n_cols]
//
// Grid {rows, 1, 1}: a workgroup normalises one row.
#version 450
#define USE_REDUCTIONS
#include "common.glsl"

layout(push_constant) uniform Push { lg_norm_push p; };
layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) readonly buffer Weight { float weight[]; };
layout(binding = 2) writeonly buffer Y { float y[]; };

void main()
{
    uint row = gl_WorkGroupID.x * p.n_cols;
    float sum = 0;
    for (uint i = gl_LocalInvocationIndex; i < p.n_cols; i += WG)
        sum += x[row + i] * x[row + i];
    float factor = inversesqrt(group_add(sum) / float(p.n_cols) + p.eps);
    for (uint i = gl_LocalInvocationIndex; i < p.n_cols; i += WG)
        y[row + i] = x[row + i] * factor * weight[i];
}
