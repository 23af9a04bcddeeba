// SPDX-License-Identifier: MIT
//
// Gradient descent with momentum: with g scaled by the norm's factor,
//
//     buf = momentum buf + g, p = p (1 - lr weight_decay) - lr buf
//
// and then g = 0.
//
//     step       struct lg_train_step
//     norm       struct lg_train_norm
//     g, p, buf  float32 [n]
//
// Grid {ceil(n / per_group), 1, 1}: a workgroup takes per_group elements.
#version 450
#include "common.glsl"

layout(push_constant) uniform Push { lg_sgd_push p; };
layout(binding = 0) readonly buffer Step { lg_train_step step; };
layout(binding = 1) readonly buffer Norm { lg_train_norm norm; };
layout(binding = 2) buffer Grads { float grads[]; };
layout(binding = 3) buffer Weights { float weights[]; };
layout(binding = 4) buffer Momentum { float momentum[]; };

void main()
{
    uint begin = gl_WorkGroupID.x * p.per_group, end = min(begin + p.per_group, p.n);
    for (uint i = begin + gl_LocalInvocationIndex; i < end; i += WG) {
        float b = p.momentum * momentum[i] + grads[i] * norm.factor;
        weights[i] = weights[i] * (1 - step.lr * p.weight_decay) - step.lr * b;
        momentum[i] = b;
        grads[i] = 0;
    }
}
