// SPDX-License-Identifier: MIT
//
// dw[i] += sum over t of dy[t][i] * (x[t][i] - mean[t]) * factor[t], and with LAYER db[i] += sum over t of dy[t][i],
// t < T = dims[dim]
//
//     dims    uint32 [LG_N_DIMS]
//     x, dy   float32 [T][n_cols]
//     kept    float32 [T][2], mean and factor, as norm_back leaves them
//     dw, db  float32 [n_cols]
//
// Grid {ceil(n_cols / WG), 1, 1}: an invocation takes a column.
#version 450
#include "common.glsl"

layout(push_constant) uniform Push { lg_column_push p; };
layout(binding = 0) readonly buffer Dims { uint dims[]; };
layout(binding = 1) readonly buffer X { float x[]; };
layout(binding = 2) readonly buffer DY { float dy[]; };
layout(binding = 3) readonly buffer Kept { vec2 kept[]; };
layout(binding = 4) buffer DW { float dw[]; };
#ifdef LAYER
layout(binding = 5) buffer DB { float db[]; };
#endif

void main()
{
    uint i = gl_GlobalInvocationID.x, n_t = dims[p.dim];
    if (i >= p.n_cols)
        return;
    float sum = 0, plain = 0;
    for (uint t = 0; t < n_t; t++) {
        vec2 k = kept[t];
        float d = dy[t * p.n_cols + i];
        sum += d * ((x[t * p.n_cols + i] - k.x) * k.y);
        plain += d;
    }
    dw[i] += sum;
#ifdef LAYER
    db[i] += plain;
#endif
}
