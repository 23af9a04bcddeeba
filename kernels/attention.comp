// SPDX-License-Identifier: MIT
//
// y[r][h] = sum over keys j <= pos of softmax_j(scale * q[r][h] . k[j][g]) * v[j][g], g = h / (n_heads / n_kv)
//
//     rows              struct lg_row [rows]
//     pages             uint32 [slots][max_pages]
//     q                 float32 [rows][n_heads][head_dim]
//     k_cache, v_cache  float32 [pages * page_size][n_kv][head_dim]
//     y                 float32 [rows][n_heads][head_dim]
//
// Grid {n_heads, rows, 1}: a workgroup computes one head of one row. Its subgroups share the keys 0 .. pos out in turns
// of four; the lanes of a subgroup share the head's elements out, DIMS = ceil(head_dim / subgroup size) each. Every
// subgroup runs a softmax of its own that is rescaled when a larger score appears; in the end they are brought to the
// same scale and added in the order of the subgroups. Nothing depends on other rows.
#version 450
#define USE_REDUCTIONS
#include "common.glsl"

layout(constant_id = 1) const uint DIMS = 8;

layout(push_constant) uniform Push { lg_attention_push p; };
layout(binding = 0) readonly buffer Rows { uvec4 rows[]; };
layout(binding = 1) readonly buffer Pages { uint pages[]; };
layout(binding = 2) readonly buffer Q { float q[]; };
layout(binding = 3) readonly buffer KCache { float k_cache[]; };
layout(binding = 4) readonly buffer VCache { float v_cache[]; };
layout(binding = 5) writeonly buffer Y { float y[]; };

const uint MAX_HEAD_DIM = 256;
shared float total[MAX_HEAD_DIM];

// where a key's elements begin in the caches
uint cache_at(uint slot, uint key, uint kv_head)
{
    uint page = pages[slot * p.max_pages + key / p.page_size];
    return ((page * p.page_size + key % p.page_size) * p.n_kv + kv_head) * p.head_dim;
}

void main()
{
    uint head = gl_WorkGroupID.x, r = gl_WorkGroupID.y;
    uint n_keys = rows[r].y + 1, slot = rows[r].z, kv_head = head / (p.n_heads / p.n_kv);
    uint lanes = WG / gl_NumSubgroups;
    uint q_at = (r * p.n_heads + head) * p.head_dim;

    uint dim[DIMS]; // a lane without an element repeats the last with a query of 0
    float query[DIMS], acc[DIMS];
    for (uint i = 0; i < DIMS; i++) {
        uint d = gl_SubgroupInvocationID + i * lanes;
        dim[i] = min(d, p.head_dim - 1);
        query[i] = d < p.head_dim ? q[q_at + dim[i]] * p.scale : 0;
        acc[i] = 0;
    }

    float top = -INFINITY, sum = 0;
    for (uint first = gl_SubgroupID * 4; first < n_keys; first += gl_NumSubgroups * 4) {
        uvec4 key = first + uvec4(0, 1, 2, 3), at;
        vec4 score = vec4(0);
        for (uint b = 0; b < 4; b++)
            at[b] = cache_at(slot, min(key[b], n_keys - 1), kv_head);
        for (uint i = 0; i < DIMS; i++)
            score += query[i] * vec4(k_cache[at.x + dim[i]], k_cache[at.y + dim[i]], k_cache[at.z + dim[i]],
                                     k_cache[at.w + dim[i]]);
        score = mix(vec4(-INFINITY), subgroupAdd(score), lessThan(key, uvec4(n_keys)));
        float new_top = max(top, max(max(score.x, score.y), max(score.z, score.w)));
        float factor = exp(top - new_top);
        vec4 weight = exp(score - new_top);
        top = new_top;
        sum = sum * factor + (weight.x + weight.y + weight.z + weight.w);
        for (uint i = 0; i < DIMS; i++)
            acc[i] = acc[i] * factor + dot(weight, vec4(v_cache[at.x + dim[i]], v_cache[at.y + dim[i]],
                                                        v_cache[at.z + dim[i]], v_cache[at.w + dim[i]]));
    }

    float factor = exp(top - group_max(top));
    sum = group_add(subgroupElect() ? sum * factor : 0);
    for (uint turn = 0; turn < gl_NumSubgroups; turn++) {
        if (turn == gl_SubgroupID) {
            for (uint i = 0; i < DIMS; i++) {
                uint d = gl_SubgroupInvocationID + i * lanes;
                if (d < p.head_dim)
                    total[d] = (turn == 0 ? 0 : total[d]) + acc[i] * factor;
            }
        }
        barrier();
    }
    for (uint d = gl_LocalInvocationIndex; d < p.head_dim; d += WG)
        y[q_at + d] = total[d] / sum;
}
