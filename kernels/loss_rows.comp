// SPDX-License-Identifier: MIT
//
// losses[r] = -log(softmax(logits[r])[targets[r]]), from what loss_part has kept; 0 without a target
//
//     targets  uint32 [rows]
//     state    struct lg_loss_state [rows]
//     losses   float32 [rows]
//
// Grid {rows, 1, 1}: a workgroup takes one row.
#version 450
#include "common.glsl"

layout(push_constant) uniform Push { lg_rowwise_push p; };
layout(binding = 0) readonly buffer Targets { uint targets[]; };
layout(binding = 1) readonly buffer State { lg_loss_state state[]; };
layout(binding = 2) writeonly buffer Losses { float losses[]; };

void main()
{
    uint r = gl_WorkGroupID.x;
    lg_loss_state s = state[r];
    if (gl_LocalInvocationIndex == 0)
        losses[r] = targets[r] == LG_NO_TARGET ? 0 : s.top - s.logit + log(s.sum);
}
