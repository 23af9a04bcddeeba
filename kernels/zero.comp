// SPDX-License-Identifier: MIT
//
// x[r][i] = 0
//
//     x  32-bit words [rows][n_cols]
//
// Grid {ceil(n_cols / WG), rows, 1}: an invocation writes one word.
#version 450
#include "common.glsl"

layout(push_constant) uniform Push { lg_rowwise_push p; };
layout(binding = 0) writeonly buffer X { uint x[]; };

void main()
{
    uint i = gl_GlobalInvocationID.x;
    if (i < p.n_cols)
        x[gl_WorkGroupID.y * p.n_cols + i] = 0;
}
