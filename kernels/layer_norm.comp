// SPDX-License-Identifier: MIT
//
// y[r][i] = (x[r][i] - mean(x[r])) / sqrt(variance(x[r]) + eps) * weight[i] + bias[i]
//
//     x             float32 [rows][n_cols]
//     weight, bias  float32 [n_cols]
//     y             float32 [rows][n_cols]
//
// Grid {rows, 1, 1}: a workgroup normalises one row. The variance is that of the differences from the mean, a second
// walk over the row: the difference of two large sums would lose it.
#version 450
#define USE_REDUCTIONS
#include "common.glsl"

layout(push_constant) uniform Push { lg_norm_push p; };
layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) readonly buffer Weight { float weight[]; };
layout(binding = 2) readonly buffer Bias { float bias[]; };
layout(binding = 3) writeonly buffer Y { float y[]; };

void main()
{
    uint row = gl_WorkGroupID.x * p.n_cols;
    float sum = 0;
    for (uint i = gl_LocalInvocationIndex; i < p.n_cols; i += WG)
        sum += x[row + i];
    float mean = group_add(sum) / float(p.n_cols);
    sum = 0;
    for (uint i = gl_LocalInvocationIndex; i < p.n_cols; i += WG) {
        float d = x[row + i] - mean;
        sum += d * d;
    }
    float factor = inversesqrt(group_add(sum) / float(p.n_cols) + p.eps);
    for (uint i = gl_LocalInvocationIndex; i < p.n_cols; i += WG)
        y[row + i] = (x[row + i] - mean) * factor * weight[i] + bias[i];
}
