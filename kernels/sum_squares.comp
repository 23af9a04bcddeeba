// SPDX-License-Identifier: MIT
//
// sums[first + g] = sum of the squares of elements g * per_group .. (g + 1) * per_group - 1 of x
//
//     x     float32 [n]
//     sums  float32, of all tensors whose norm is wanted
//
// Grid {ceil(n / per_group), 1, 1}: a workgroup makes one of the sums.
#version 450
#define USE_REDUCTIONS
#include "common.glsl"

layout(push_constant) uniform Push { lg_sum_squares_push p; };
layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) buffer Sums { float sums[]; };

void main()
{
    uint begin = gl_WorkGroupID.x * p.per_group, end = min(begin + p.per_group, p.n);
    float sum = 0;
    for (uint i = begin + gl_LocalInvocationIndex; i < end; i += WG)
        sum = fma(x[i], x[i], sum);
    sum = group_add(sum);
    if (gl_LocalInvocationIndex == 0)
        sums[p.first + gl_WorkGroupID.x] = sum;
}
