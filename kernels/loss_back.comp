// SPDX-License-Identifier: MIT
//
// dlogits[r][i] = loss_scale * (softmax(logits[r])[first + i] - (first + i == targets[r])), 0 without a target
//
//     step             struct lg_train_step
//     logits, dlogits  float32 [rows][n_cols], of tokens first .. first + n_cols - 1; they may be the same
//     targets          uint32 [rows]
//     state            struct lg_loss_state [rows], after all parts of the vocabulary
//
// Grid {ceil(n_cols / WG), rows, 1}: an invocation computes one element.
#version 450
#include "common.glsl"

layout(push_constant) uniform Push { lg_loss_push p; };
layout(binding = 0) readonly buffer Step { lg_train_step step; };
layout(binding = 1) readonly buffer Logits { float logits[]; };
layout(binding = 2) readonly buffer Targets { uint targets[]; };
layout(binding = 3) readonly buffer State { lg_loss_state state[]; };
layout(binding = 4) writeonly buffer DLogits { float dlogits[]; };

void main()
{
    uint i = gl_GlobalInvocationID.x, r = gl_WorkGroupID.y, target = targets[r];
    if (i >= p.n_cols)
        return;
    float weight = step.loss_scale / state[r].sum * exp(logits[r * p.n_cols + i] - state[r].top);
    if (p.first + i == target)
        weight -= step.loss_scale;
    dlogits[r * p.n_cols + i] = target == LG_NO_TARGET ? 0 : weight;
}
