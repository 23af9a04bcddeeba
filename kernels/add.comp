// SPDX-License-Identifier: MIT
//
// x[r][i] += b[r * b_stride + i]
//
//     x  float32 [rows][n_cols]
//     b  float32 [rows][n_cols], or [n_cols] when b_stride is 0
//
// Grid {ceil(n_cols / WG), rows, 1}: an invocation adds one element.
#version 450
#include "common.glsl"

layout(push_constant) uniform Push { lg_add_push p; };
layout(binding = 0) buffer X { float x[]; };
layout(binding = 1) readonly buffer B { float b[]; };

void main()
{
    uint i = gl_GlobalInvocationID.x, r = gl_WorkGroupID.y;
    if (i < p.n_cols)
        x[r * p.n_cols + i] += b[r * p.b_stride + i];
}
