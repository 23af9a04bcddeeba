// SPDX-License-Identifier: MIT
//
// y[r][i] += scale * x[r][i]
//
//     x, y  float32 [rows][n_cols]
//
// Grid {ceil(n_cols / WG), rows, 1}: an invocation adds one element.
#version 450
#include "common.glsl"

layout(push_constant) uniform Push { lg_scale_add_push p; };
layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) buffer Y { float y[]; };

void main()
{
    uint i = gl_GlobalInvocationID.x;
    if (i < p.n_cols)
        y[gl_WorkGroupID.y * p.n_cols + i] += p.scale * x[gl_WorkGroupID.y * p.n_cols + i];
}
