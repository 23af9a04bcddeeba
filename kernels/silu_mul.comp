// SPDX-License-Identifier: MIT
//
// y[r][i] = gate / (1 + exp(-gate)) * up[r][i], gate = gate[r][i]
//
//     gate, up, y  float32 [rows][n_cols]
//
// Grid {ceil(n_cols / WG), rows, 1}: an invocation computes one element.
#version 450
#include "common.glsl"

layout(push_constant) uniform Push { lg_rowwise_push p; };
layout(binding = 0) readonly buffer Gate { float gate[]; };
layout(binding = 1) readonly buffer Up { float up[]; };
layout(binding = 2) writeonly buffer Y { float y[]; };

void main()
{
    uint i = gl_GlobalInvocationID.x;
    if (i >= p.n_cols)
        return;
    i += gl_WorkGroupID.y * p.n_cols;
    y[i] = gate[i] / (1 + exp(-gate[i])) * up[i];
}
