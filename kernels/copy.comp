// SPDX-License-Identifier: MIT
//
// y[r][i] = x[r][i]
//
//     x, y  32-bit words [rows][n_cols]
//
// Grid {ceil(n_cols / WG), rows, 1}: an invocation copies one word.
#version 450
#include "common.glsl"

layout(push_constant) uniform Push { lg_rowwise_push p; };
layout(binding = 0) readonly buffer X { uint x[]; };
layout(binding = 1) writeonly buffer Y { uint y[]; };

void main()
{
    uint i = gl_GlobalInvocationID.x, row = gl_WorkGroupID.y * p.n_cols;
    if (i < p.n_cols)
        y[row + i] = x[row + i];
}
