// SPDX-License-Identifier: MIT
//
// Rotary position embedding, in place: each pair (a, b) of the first n_rot elements of a head becomes
// (a cos - b sin, a sin + b cos) with the cosine and sine of its position and index j. Pair j is elements
// (j, j + n_rot / 2), or (2j, 2j + 1) when `halves` is 0; the rest of the head stays.
//
// BACK: the other way, with the sine's opposite; what flows back through it.
//
//     rows   struct lg_row [rows]
//     table  float32 [positions][n_rot / 2][2], cosine and sine
//     x      float32 [rows][n_heads][head_dim]
//
// Grid {ceil(n_heads * n_rot / 2 / WG), rows, 1}: an invocation rotates one pair.
#version 450
#include "common.glsl"

layout(push_constant) uniform Push { lg_rope_push p; };
layout(binding = 0) readonly buffer Rows { uvec4 rows[]; };
layout(binding = 1) readonly buffer Table { float table[]; };
layout(binding = 2) buffer X { float x[]; };

void main()
{
    uint i = gl_GlobalInvocationID.x, r = gl_WorkGroupID.y;
    uint n_pairs = p.n_rot / 2, head = i / n_pairs, j = i % n_pairs;
    if (head >= p.n_heads)
        return;
    uint angle = (rows[r].y * n_pairs + j) * 2;
    float c = table[angle], s = table[angle + 1];
#ifdef BACK
    s = -s;
#endif
    uint at = (r * p.n_heads + head) * p.head_dim;
    uint at_a = at + (p.halves != 0 ? j : 2 * j);
    uint at_b = at + (p.halves != 0 ? j + n_pairs : 2 * j + 1);
    float a = x[at_a], b = x[at_b];
    x[at_a] = a * c - b * s;
    x[at_b] = a * s + b * c;
}
