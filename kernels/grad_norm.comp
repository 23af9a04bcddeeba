// SPDX-License-Identifier: MIT
//
// The norm of all gradients and what they are to be multiplied by for it not to exceed step.clip:
// norm = sqrt(sum of sums), factor = min(1, clip / (norm + 1e-6)), 1 where clip is 0
//
//     step  struct lg_train_step
//     sums  float32 [n], those of sum_squares
//     norm  struct lg_train_norm
//
// Grid {1, 1, 1}: one workgroup.
#version 450
#define USE_REDUCTIONS
#include "common.glsl"

layout(push_constant) uniform Push { lg_grad_norm_push p; };
layout(binding = 0) readonly buffer Step { lg_train_step step; };
layout(binding = 1) readonly buffer Sums { float sums[]; };
layout(binding = 2) writeonly buffer Norm { lg_train_norm norm; };

void main()
{
    float sum = 0;
    for (uint i = gl_LocalInvocationIndex; i < p.n; i += WG)
        sum += sums[i];
    sum = sqrt(group_add(sum));
    if (gl_LocalInvocationIndex > 0)
        return;
    float factor = step.clip / (sum + 1e-6);
    norm.norm = sum;
    norm.factor = step.clip > 0 && factor < 1 ? factor : 1;
}
