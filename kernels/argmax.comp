// SPDX-License-Identifier: MIT
//
// best[r] = (index, value) of the largest logit of row r, the lowest index among equals; NaN is never the largest
//
//     logits  float32 [rows][n_cols]
//     best    {uint32 index; float32 value} [rows]
//
// Grid {rows, 1, 1}: a workgroup searches one row.
#version 450
#define USE_REDUCTIONS
#include "common.glsl"

layout(push_constant) uniform Push { lg_rowwise_push p; };
layout(binding = 0) readonly buffer Logits { float logits[]; };
layout(binding = 1) writeonly buffer Best { uint best[]; };

void main()
{
    uint row = gl_WorkGroupID.x * p.n_cols, index = NO_INDEX;
    float top = -INFINITY;
    for (uint i = gl_LocalInvocationIndex; i < p.n_cols; i += WG) {
        float v = logits[row + i];
        if (v > top || v == top && index == NO_INDEX) {
            top = v;
            index = i;
        }
    }
    float row_top = group_max(top);
    index = group_min(top == row_top ? index : NO_INDEX);
    if (gl_LocalInvocationIndex == 0) {
        best[2 * gl_WorkGroupID.x] = index == NO_INDEX ? 0 : index; // a row of nothing but NaN
        best[2 * gl_WorkGroupID.x + 1] = floatBitsToUint(row_top);
    }
}
