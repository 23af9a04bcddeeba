// SPDX-License-Identifier: MIT
//
// Of gelu(x) = x s, s = 1 / (1 + exp(-2z)), z = sqrt(2 / pi) * (x + 0.044715 x^3):
//
//     dx[r][i] = dy * s * (1 + 2 x (1 - s) z')
//
//     x, dy, dx  float32 [rows][n_cols]; dx may be dy
//
// Grid {ceil(n_cols / WG), rows, 1}: an invocation computes one element.
#version 450
#include "common.glsl"

layout(push_constant) uniform Push { lg_rowwise_push p; };
layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) readonly buffer DY { float dy[]; };
layout(binding = 2) writeonly buffer DX { float dx[]; };

void main()
{
    uint i = gl_GlobalInvocationID.x;
    if (i >= p.n_cols)
        return;
    i += gl_WorkGroupID.y * p.n_cols;
    float v = x[i], z = 0.7978845608 * (v + 0.044715 * v * v * v), s = 1 / (1 + exp(-2 * z));
    dx[i] = dy[i] * (s * (1 + 2 * v * (1 - s) * (0.7978845608 * (1 + 0.134145 * v * v))));
}
