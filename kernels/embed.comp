// SPDX-License-Identifier: MIT
//
// y[r] = table[id - row_begin] decoded, id = ids[r * id_stride + id_offset]; where id is outside [row_begin, row_end)
// the row is left as it is: another part of the table has it
//
//     ids    uint32 (the batch's rows, or any array of ids)
//     table  weights [row_end - row_begin][n_cols], rows of row_bytes bytes
//     y      float32 [rows][n_cols]
//
// Grid {ceil(ceil(n_cols / 32) / WG), rows, 1}: an invocation decodes 32 weights.
#version 450
#include "common.glsl"

layout(push_constant) uniform Push { lg_embed_push p; };
layout(binding = 0) readonly buffer Ids { uint ids[]; };
#define W_BINDING 1
#define GROUPS 1
#include "weights.glsl"
layout(binding = 2) buffer Y { float y[]; };

void main()
{
    uint g = gl_GlobalInvocationID.x, r = gl_WorkGroupID.y;
    uint id = ids[r * p.id_stride + p.id_offset];
    if (g * 32 >= p.n_cols || id < p.row_begin || id >= p.row_end)
        return;
    vec4 v[8];
    decode32((id - p.row_begin) * p.row_bytes, g, p.n_cols, v);
    uint at = r * p.n_cols + g * 32, n = min(32, p.n_cols - g * 32);
    for (uint i = 0; i < n; i++)
        y[at + i] = v[i / 4][i % 4];
}
