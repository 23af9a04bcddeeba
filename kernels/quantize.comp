// SPDX-License-Identifier: MIT
//
// Rows of x in 8 bits, in blocks of 32 with a scale each.
//
//     x  float32 [rows][n_cols]
//     y  [rows] of LG_I8_ROW_BYTES(n_cols) bytes: int8 q, for each 16 of them float d, for each 16 float d * (sum of q);
//        zeros up to a multiple of 256 elements
//
// Grid {rows, 1, 1}: a workgroup converts one row, an invocation a block of it.
#version 450
#include "common.glsl"
#include "quantize.glsl"

layout(push_constant) uniform Push { lg_rowwise_push p; };
layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) writeonly buffer Y { uvec4 y[]; };
layout(binding = 1) writeonly buffer YPairs { vec2 y_pairs[]; };

float element(uint i)
{
    return i < p.n_cols ? x[gl_WorkGroupID.x * p.n_cols + i] : 0;
}

void main()
{
    uint padded = LG_I8_PADDED(p.n_cols), row = gl_WorkGroupID.x * (LG_I8_ROW_BYTES(p.n_cols) / 16);
    for (uint block = gl_LocalInvocationIndex; block < padded / 32; block += WG) {
        vec4 v[8];
        uint q[8];
        float d;
        vec2 sums;
        [[unroll]] for (uint i = 0; i < 32; i++)
            v[i / 4][i % 4] = element(block * 32 + i);
        quantize32(v, q, d, sums);
        y[row + block * 2] = uvec4(q[0], q[1], q[2], q[3]);
        y[row + block * 2 + 1] = uvec4(q[4], q[5], q[6], q[7]);
        y_pairs[row * 2 + padded / 8 + block] = vec2(d);
        y_pairs[row * 2 + padded / 8 + padded / 32 + block] = sums;
    }
}
