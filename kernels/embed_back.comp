// SPDX-License-Identifier: MIT
//
// de[id - row_begin] += sum of dx[r] over the rows r whose id it is, id = ids[r * id_stride + id_offset]; where id is outside
// [row_begin, row_end) another part of the table has it
//
//     dims   uint32 [LG_N_DIMS]
//     order  uint32 [T], T = dims[dim]: the rows by ascending id, and those of an id in their order
//     ids    uint32 (the batch's rows, or any array of ids)
//     dx     float32 [T][n_cols]
//     de     float32 [row_end - row_begin][n_cols]
//
// Grid {ceil(n_cols / WG), T, 1}: an invocation takes a column of a row, and of all that have the same id if it is the first of
// them; otherwise nothing.
#version 450
#include "common.glsl"

layout(push_constant) uniform Push { lg_embed_back_push p; };
layout(binding = 0) readonly buffer Dims { uint dims[]; };
layout(binding = 1) readonly buffer Order { uint order[]; };
layout(binding = 2) readonly buffer Ids { uint ids[]; };
layout(binding = 3) readonly buffer DX { float dx[]; };
layout(binding = 4) buffer DE { float de[]; };

uint id_of(uint i)
{
    return ids[order[i] * p.id_stride + p.id_offset];
}

void main()
{
    uint col = gl_GlobalInvocationID.x, first = gl_WorkGroupID.y, id = id_of(first), n_t = dims[p.dim];
    bool begun = first > 0 && id_of(max(first, 1) - 1) == id;
    if (col >= p.n_cols || begun || id < p.row_begin || id >= p.row_end)
        return;
    uint at = (id - p.row_begin) * p.n_cols + col;
    float sum = de[at];
    for (uint i = first; i < n_t && id_of(i) == id; i++)
        sum += dx[order[i] * p.n_cols + col];
    de[at] = sum;
}
