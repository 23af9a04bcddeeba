// SPDX-License-Identifier: MIT
//
// y[t][row_begin + m] = sum over k of x[t][k] * w[m][k], m < n_rows: for few rows of x
//
//     w  weights [n_rows][n_cols], rows of row_bytes bytes
//     x  float32 [T][n_cols]
//     y  float32 [T][y_stride]
//
// Grid {ceil(n_rows / (subgroups * ROWS)), T, 1}: each subgroup of a workgroup owns ROWS rows of w and one of x. Its
// lanes share K out in groups of 32; a lane holds its group of x in registers for all its rows.
#version 450
#include "common.glsl"

layout(constant_id = 1) const uint ROWS = 4;

layout(push_constant) uniform Push { lg_matmul_push p; };
#define W_BINDING 0
#include "weights.glsl"
#define X_BINDING 1
#include "activations.glsl"
layout(binding = 2) writeonly buffer Y { float y[]; };

void main()
{
    uint lanes = WG / gl_NumSubgroups;
    uint first = (gl_WorkGroupID.x * gl_NumSubgroups + gl_SubgroupID) * ROWS, t = gl_WorkGroupID.y;
    if (first >= p.n_rows)
        return;

    float acc[ROWS];
    uint row_byte[ROWS]; // rows past the end repeat the last
    for (uint r = 0; r < ROWS; r++) {
        acc[r] = 0;
        row_byte[r] = min(first + r, p.n_rows - 1) * p.row_bytes;
    }
    uint n_groups = p.n_cols / 32;
    for (uint g = gl_SubgroupInvocationID; g < n_groups; g += lanes) {
        vec4 x[8];
        load_x(t * p.n_cols + g * 32, x);
        vec2 x_sum = half_sums(x);
        for (uint r = 0; r < ROWS; r++)
            acc[r] += dot32(decode(row_byte[r], g), x, x_sum);
    }
#ifdef HAS_TAIL
    uint n_tail = p.n_cols % 32;
    if (n_tail != 0 && gl_SubgroupInvocationID == 0) {
        vec4 x[8];
        load_x_tail(t * p.n_cols + n_groups * 32, n_tail, x);
        for (uint r = 0; r < ROWS; r++)
            acc[r] += dot32(decode_tail(row_byte[r], n_groups, n_tail), x, vec2(0));
    }
#endif
    for (uint r = 0; r < ROWS; r++) {
        float sum = subgroupAdd(acc[r]);
        if (subgroupElect() && first + r < p.n_rows)
            y[t * p.y_stride + p.row_begin + first + r] = sum;
    }
}
