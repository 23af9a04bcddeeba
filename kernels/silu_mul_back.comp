// SPDX-License-Identifier: MIT
//
// Of f = silu(gate) * up, silu(x) = x s(x), s(x) = 1 / (1 + exp(-x)):
//
//     dgate[r][i] = df * up * s(gate) * (1 + gate * (1 - s(gate)))
//     dup[r][i] = df * silu(gate)
//
//     gate, up, df, dgate, dup  float32 [rows][n_cols]; dgate may be gate, and dup up
//
// Grid {ceil(n_cols / WG), rows, 1}: an invocation computes one element of both.
#version 450
#include "common.glsl"

layout(push_constant) uniform Push { lg_rowwise_push p; };
layout(binding = 0) readonly buffer Gate { float gate[]; };
layout(binding = 1) readonly buffer Up { float up[]; };
layout(binding = 2) readonly buffer DF { float df[]; };
layout(binding = 3) writeonly buffer DGate { float dgate[]; };
layout(binding = 4) writeonly buffer DUp { float dup[]; };

void main()
{
    uint i = gl_GlobalInvocationID.x;
    if (i >= p.n_cols)
        return;
    i += gl_WorkGroupID.y * p.n_cols;
    float x = gate[i], u = up[i], d = df[i], s = 1 / (1 + exp(-x));
    dgate[i] = d * u * (s * (1 + x * (1 - s)));
    dup[i] = d * (x * s);
}
