// SPDX-License-Identifier: MIT
//
// Rows of x in float16, each with a power of two: y[r][i] = x[r][i] / scale[r], where the largest element of a row becomes
// one of [2^14, 2^15). So no number is too large for float16, and one is too small only when it is nothing beside the
// largest; rows of any size lose equally little.
//
//     x  float32 [rows][n_cols]
//     y  [rows] of LG_HALF_ROW_BYTES(n_cols) bytes: scale, float16 [n_cols], zeros up to a multiple of 32
//
// Grid {rows, 1, 1}: a workgroup converts one row.
#version 450
#define USE_REDUCTIONS
#include "common.glsl"

layout(push_constant) uniform Push { lg_rowwise_push p; };
layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) writeonly buffer Y { uvec4 y[]; };

float element(uint i)
{
    return i < p.n_cols ? x[gl_WorkGroupID.x * p.n_cols + i] : 0;
}

void main()
{
    float largest = 0;
    for (uint i = gl_LocalInvocationIndex; i < p.n_cols; i += WG)
        largest = max(largest, abs(element(i)));
    // By its exponent e the row is multiplied by 2^(14 - e); the ends are those of float32's own range.
    uint e = clamp(floatBitsToUint(group_max(largest)) >> 23, 15, 254);
    float factor = uintBitsToFloat((268 - e) << 23), scale = uintBitsToFloat((e - 14) << 23);
    uint at = gl_WorkGroupID.x * (LG_HALF_ROW_BYTES(p.n_cols) / 16);
    if (gl_LocalInvocationIndex == 0)
        y[at] = uvec4(floatBitsToUint(scale), 0, 0, 0);
    for (uint i = gl_LocalInvocationIndex; i < LG_HALF_PADDED(p.n_cols) / 8; i += WG) {
        uvec4 v;
        [[unroll]] for (uint j = 0; j < 4; j++)
            v[j] = packHalf2x16(vec2(element(i * 8 + j * 2), element(i * 8 + j * 2 + 1)) * factor);
        y[at + 1 + i] = v;
    }
}
