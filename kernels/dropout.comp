// SPDX-License-Identifier: MIT
//
// y[r][i] = scale * x[r][i], or 0 for a part of drop / 2^32 of the elements: those whose hash of (seed, draw, site, r, i) is
// below `drop`, so that the way back leaves out the same ones
//
//     step  struct lg_train_step
//     x, y  float32 [rows][n_cols]; they may be the same
//
// Grid {ceil(n_cols / WG), rows, 1}: an invocation computes one element.
#version 450
#include "common.glsl"
#include "random.h"

layout(push_constant) uniform Push { lg_dropout_push p; };
layout(binding = 0) readonly buffer Step { lg_train_step step; };
layout(binding = 1) readonly buffer X { float x[]; };
layout(binding = 2) writeonly buffer Y { float y[]; };

void main()
{
    uint i = gl_GlobalInvocationID.x, r = gl_WorkGroupID.y;
    if (i >= p.n_cols)
        return;
    uint row = lg_random_row(lg_random_draw(step.seed_lo, step.seed_hi, step.draw), p.site, r);
    float kept = x[r * p.n_cols + i] * p.scale;
    y[r * p.n_cols + i] = lg_random_mix(row + i) < p.drop ? 0 : kept;
}
