// SPDX-License-Identifier: MIT
//
// AdamW. With g scaled by the norm's factor,
//
//     m = beta1 m + (1 - beta1) g, v = beta2 v + (1 - beta2) g^2
//     p = p (1 - lr weight_decay) - lr (m correct1) / (sqrt(v correct2) + eps)
//
// and then g = 0.
//
//     step        struct lg_train_step
//     norm        struct lg_train_norm
//     g, p, m, v  float32 [n]
//
// Grid {ceil(n / per_group), 1, 1}: a workgroup takes per_group elements.
#version 450
#include "common.glsl"

layout(push_constant) uniform Push { lg_adamw_push p; };
layout(binding = 0) readonly buffer Step { lg_train_step step; };
layout(binding = 1) readonly buffer Norm { lg_train_norm norm; };
layout(binding = 2) buffer Grads { float grads[]; };
layout(binding = 3) buffer Weights { float weights[]; };
layout(binding = 4) buffer First { float first[]; };
layout(binding = 5) buffer Second { float second[]; };

void main()
{
    uint begin = gl_WorkGroupID.x * p.per_group, end = min(begin + p.per_group, p.n);
    for (uint i = begin + gl_LocalInvocationIndex; i < end; i += WG) {
        float g = grads[i] * norm.factor;
        float m = p.beta1 * first[i] + (1 - p.beta1) * g, v = p.beta2 * second[i] + (1 - p.beta2) * (g * g);
        float kept = weights[i] * (1 - step.lr * p.weight_decay);
        weights[i] = kept - step.lr * (m * step.correct1) / (sqrt(v * step.correct2) + p.eps);
        first[i] = m;
        second[i] = v;
        grads[i] = 0;
    }
}
