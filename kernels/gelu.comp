// SPDX-License-Identifier: MIT
//
// y[r][i] = x/2 * (1 + tanh(z)), z = sqrt(2 / pi) * (x + 0.044715 x^3), x = x[r][i]
//
//     x, y  float32 [rows][n_cols]
//
// Grid {ceil(n_cols / WG), rows, 1}: an invocation computes one element. (1 + tanh(z)) / 2 is 1 / (1 + exp(-2z)), which
// is right for any z, while a driver's tanh may overflow.
#version 450
#include "common.glsl"

layout(push_constant) uniform Push { lg_rowwise_push p; };
layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) writeonly buffer Y { float y[]; };

void main()
{
    uint i = gl_GlobalInvocationID.x;
    if (i >= p.n_cols)
        return;
    i += gl_WorkGroupID.y * p.n_cols;
    float v = x[i];
    float z = 0.7978845608 * (v + 0.044715 * v * v * v);
    y[i] = v / (1 + exp(-2 * z));
}
