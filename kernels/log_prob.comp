// SPDX-License-Identifier: MIT
//
// out[r] = log(softmax(logits[r])[targets[r]])
//
//     logits     float32 [rows][n_cols]
//     targets    uint32 [rows]
//     log_probs  float32 [rows]
//
// Grid {rows, 1, 1}: a workgroup computes one row.
#version 450
#define USE_REDUCTIONS
#include "common.glsl"

layout(push_constant) uniform Push { lg_rowwise_push p; };
layout(binding = 0) readonly buffer Logits { float logits[]; };
layout(binding = 1) readonly buffer Targets { uint targets[]; };
layout(binding = 2) writeonly buffer LogProbs { float log_probs[]; };

void main()
{
    uint r = gl_WorkGroupID.x, row = r * p.n_cols;
    float top = -INFINITY, sum = 0;
    for (uint i = gl_LocalInvocationIndex; i < p.n_cols; i += WG)
        top = max(top, logits[row + i]);
    top = group_max(top);
    for (uint i = gl_LocalInvocationIndex; i < p.n_cols; i += WG)
        sum += exp(logits[row + i] - top);
    sum = group_add(sum);
    if (gl_LocalInvocationIndex == 0)
        log_probs[r] = logits[row + min(targets[r], p.n_cols - 1)] - top - log(sum);
}
