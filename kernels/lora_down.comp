// SPDX-License-Identifier: MIT
//
// t[r][m][i] = sum over k of A[i][k] * x[r][k], i < rank, for matrices m of [first, first + n), where A is what the row's own
// adapter has for the matrix; a row without one leaves its t as it is
//
//     rows     struct lg_row [rows]
//     slots    struct lg_slot_lora [slots]
//     pairs    struct lg_lora_pair [adapters][n_targets]
//     weights  of all adapters, for the layer of the matrices
//     x        float32 [rows][n_cols]
//     t        float32 [rows][LG_LORA_MATRICES][t_stride]
//
// Grid {n * ceil(t_stride / (subgroups * RANKS)), rows, 1}: each subgroup of a workgroup makes RANKS elements of t, its lanes
// sharing K out in units of 4.
#version 450
#include "common.glsl"

layout(constant_id = 1) const uint RANKS = 1;

layout(push_constant) uniform Push { lg_lora_push p; };
#include "lora.glsl"
layout(binding = 4) readonly buffer X { float x[]; };
layout(binding = 4) readonly buffer X4 { vec4 x4[]; };
layout(binding = 5) writeonly buffer T { float t[]; };

// elements 4 * unit and on of row r, zeros beyond its end
vec4 load_x(uint r, uint unit)
{
    if (p.n_cols % 4 == 0)
        return x4[r * (p.n_cols / 4) + unit];
    vec4 v = vec4(0);
    [[unroll]] for (uint i = 0; i < 4; i++)
        if (unit * 4 + i < p.n_cols)
            v[i] = x[r * p.n_cols + unit * 4 + i];
    return v;
}

vec4 acc[RANKS];

void add_units(lg_lora_pair pair, uint first, uint r, const bool half_size)
{
    uint n_units = (p.n_cols + 3) / 4, lanes = WG / gl_NumSubgroups;
    for (uint u = gl_SubgroupInvocationID; u < n_units; u += lanes) {
        vec4 v = load_x(r, u);
        [[unroll]] for (uint i = 0; i < RANKS; i++)
            acc[i] += load4(pair.a_at, min(first + i, pair.rank - 1) * n_units + u, half_size) * v;
    }
}

void main()
{
    uint r = gl_WorkGroupID.y;
    uint each = gl_NumSubgroups * RANKS, groups = (p.t_stride + each - 1) / each;
    uint m = p.first + gl_WorkGroupID.x / groups;
    lg_lora_pair pair = pair_of(slots[rows[r].z].seat, m);
    uint first = gl_WorkGroupID.x % groups * each + gl_SubgroupID * RANKS;
    if (first >= pair.rank)
        return;
    [[unroll]] for (uint i = 0; i < RANKS; i++)
        acc[i] = vec4(0);
    if (pair.half_size != 0)
        add_units(pair, first, r, true);
    else
        add_units(pair, first, r, false);
    [[unroll]] for (uint i = 0; i < RANKS; i++) {
        float sum = subgroupAdd((acc[i].x + acc[i].y) + (acc[i].z + acc[i].w));
        if (subgroupElect() && first + i < pair.rank)
            t[t_at(r, m) + first + i] = sum;
    }
}
