// SPDX-License-Identifier: MIT
//
// y[r][m] += scale * factor * sum over i of B[m][i] * t[r][i], i < rank, where B is that of the row's own adapter; a row
// without one stays as it is
//
//     rows     struct lg_row [rows]
//     slots    struct lg_slot_lora [slots]
//     pairs    struct lg_lora_pair [adapters][n_targets]
//     weights  of all adapters, for the layer of the matrix; B is transposed there
//     t        float32 [rows][t_stride]
//     y        float32 [rows][n_cols]
//
// Grid {ceil(ceil(n_cols / 4) / WG), rows, 1}: an invocation makes four neighbouring elements.
#version 450
#include "common.glsl"

layout(push_constant) uniform Push { lg_lora_push p; };
#include "lora.glsl"
layout(binding = 4) readonly buffer T { float t[]; };
layout(binding = 5) buffer Y { float y[]; };

void main()
{
    uint u = gl_GlobalInvocationID.x, r = gl_WorkGroupID.y, n_units = (p.n_cols + 3) / 4;
    lg_slot_lora slot = slots[rows[r].z];
    lg_lora_pair pair = pair_of(slot.seat);
    if (u >= n_units || pair.rank == 0)
        return;
    vec4 sum = vec4(0);
    for (uint i = 0; i < pair.rank; i++)
        sum += load4(pair.b_at, i * n_units + u, pair.half_size != 0) * t[r * p.t_stride + i];
    sum *= slot.scale * pair.factor;
    uint at = r * p.n_cols + u * 4, n = min(4, p.n_cols - u * 4);
    for (uint j = 0; j < n; j++)
        y[at + j] += sum[j];
}
