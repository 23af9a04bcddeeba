// SPDX-License-Identifier: MIT
//
// db[i] += sum over t of dy[t][i], t < T = dims[dim]
//
//     dims  uint32 [LG_N_DIMS]
//     dy    float32 [T][n_cols]
//     db    float32 [n_cols]
//
// Grid {ceil(n_cols / WG), 1, 1}: an invocation takes a column.
#version 450
#include "common.glsl"

layout(push_constant) uniform Push { lg_column_push p; };
layout(binding = 0) readonly buffer Dims { uint dims[]; };
layout(binding = 1) readonly buffer DY { float dy[]; };
layout(binding = 2) buffer DB { float db[]; };

void main()
{
    uint i = gl_GlobalInvocationID.x, n_t = dims[p.dim];
    if (i >= p.n_cols)
        return;
    float sum = 0;
    for (uint t = 0; t < n_t; t++)
        sum += dy[t * p.n_cols + i];
    db[i] += sum;
}
