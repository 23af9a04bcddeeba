// SPDX-License-Identifier: MIT
//
// y[r][i] = exp(x[r][i] - max(x[r])) / sum over j of exp(x[r][j] - max(x[r]))
//
//     x, y  float32 [rows][n_cols]
//
// Grid {rows, 1, 1}: a workgroup computes one row.
#version 450
#define USE_REDUCTIONS
#include "common.glsl"

layout(push_constant) uniform Push { lg_rowwise_push p; };
layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) writeonly buffer Y { float y[]; };

void main()
{
    uint row = gl_WorkGroupID.x * p.n_cols;
    float top = -INFINITY, sum = 0;
    for (uint i = gl_LocalInvocationIndex; i < p.n_cols; i += WG)
        top = max(top, x[row + i]);
    top = group_max(top);
    for (uint i = gl_LocalInvocationIndex; i < p.n_cols; i += WG)
        sum += exp(x[row + i] - top);
    sum = group_add(sum);
    for (uint i = gl_LocalInvocationIndex; i < p.n_cols; i += WG)
        y[row + i] = exp(x[row + i] - top) / sum;
}
