// SPDX-License-Identifier: MIT
//
// What the loss of each row needs to know of its logits, over a part of the vocabulary: tokens first .. first + n_cols - 1
//
//     logits   float32 [rows][n_cols]
//     targets  uint32 [rows], tokens; LG_NO_TARGET: the row is not counted
//     state    struct lg_loss_state [rows]; it begins anew where first is 0
//
// Grid {rows, 1, 1}: a workgroup takes one row.
#version 450
#define USE_REDUCTIONS
#include "common.glsl"

layout(push_constant) uniform Push { lg_loss_push p; };
layout(binding = 0) readonly buffer Logits { float logits[]; };
layout(binding = 1) readonly buffer Targets { uint targets[]; };
layout(binding = 2) buffer State { lg_loss_state state[]; };

void main()
{
    uint r = gl_WorkGroupID.x, row = r * p.n_cols;
    lg_loss_state s = lg_loss_state(-INFINITY, 0, 0, 0);
    if (p.first != 0)
        s = state[r];
    float top = s.top, sum = 0;
    for (uint i = gl_LocalInvocationIndex; i < p.n_cols; i += WG)
        top = max(top, logits[row + i]);
    top = group_max(top);
    for (uint i = gl_LocalInvocationIndex; i < p.n_cols; i += WG)
        sum += exp(logits[row + i] - top);
    s.sum = s.sum * exp(s.top - top) + group_add(sum);
    s.top = top;
    uint target = targets[r] - p.first;
    if (target < p.n_cols)
        s.logit = logits[row + target];
    if (gl_LocalInvocationIndex == 0)
        state[r] = s;
}
