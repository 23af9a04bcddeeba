// SPDX-License-Identifier: MIT
//
// Puts the keys and values of a batch into the cache: row r belongs at its position in its sequence, which the page
// table of its slot maps to a row of the cache.
//
//     rows              struct lg_row [rows]
//     pages             uint32 [slots][max_pages]
//     k, v              float32 [rows][n_cols]
//     k_cache, v_cache  float32 [pages * page_size][n_cols]
//
// Grid {ceil(n_cols / WG), rows, 1}: an invocation copies one element of each.
#version 450
#include "common.glsl"

layout(push_constant) uniform Push { lg_kv_write_push p; };
layout(binding = 0) readonly buffer Rows { uvec4 rows[]; };
layout(binding = 1) readonly buffer Pages { uint pages[]; };
layout(binding = 2) readonly buffer K { float k[]; };
layout(binding = 3) readonly buffer V { float v[]; };
layout(binding = 4) buffer KCache { float k_cache[]; };
layout(binding = 5) buffer VCache { float v_cache[]; };

void main()
{
    uint i = gl_GlobalInvocationID.x, r = gl_WorkGroupID.y;
    if (i >= p.n_cols)
        return;
    uint pos = rows[r].y, slot = rows[r].z;
    uint page = pages[slot * p.max_pages + pos / p.page_size];
    uint at = (page * p.page_size + pos % p.page_size) * p.n_cols + i;
    k_cache[at] = k[r * p.n_cols + i];
    v_cache[at] = v[r * p.n_cols + i];
}
