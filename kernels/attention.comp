// SPDX-License-Identifier: MIT
//
// y[r][h] = sum over keys j <= pos of softmax_j(scale * q[r][h] . k[j][g]) * v[j][g], g = h / (n_heads / n_kv)
//
//     rows              struct lg_row [rows]
//     pages             uint32 [slots][max_pages]
//     q                 float32 [rows][n_heads][head_dim]
//     k_cache, v_cache  rows of KV_TYPE (push.h) [pages * page_size], of n_kv * head_dim numbers
//     y                 float32 [rows][n_heads][head_dim]
//
// Grid {n_heads, rows, 1}: a workgroup computes one head of one row; nothing depends on other rows. Each part of the
// workgroup that sees keys in turn runs a softmax of its own over them, rescaled when a larger score appears; in the end
// all are brought to the same scale and added in a fixed order. What such a part is comes in two forms:
//
// VECS 0: a subgroup takes four keys at a time, its lanes share the head's elements out, DIMS = ceil(head_dim / subgroup
// size) each.
//
// VECS = head_dim / 4, for a driver that runs on a CPU, where 16-byte loads are the cheap ones and subgroup operations
// dear: each lane takes keys of its own. The workgroup is one subgroup.
#version 450
#define USE_REDUCTIONS
#include "common.glsl"

layout(constant_id = 1) const uint DIMS = 8;
layout(constant_id = 2) const uint VECS = 0;
const uint MAX_VECS = VECS == 0 ? 1 : VECS;

layout(push_constant) uniform Push { lg_attention_push p; };
layout(binding = 0) readonly buffer Rows { uvec4 rows[]; };
layout(binding = 1) readonly buffer Pages { uint pages[]; };
layout(binding = 2) readonly buffer Q { float q[]; };
layout(binding = 5) writeonly buffer Y { float y[]; };
layout(binding = 2) readonly buffer Q4 { vec4 q4[]; };
layout(binding = 5) writeonly buffer Y4 { vec4 y4[]; };

#define K_BINDING 3
#define V_BINDING 4
#define KV_CONSTANT 4
#define KV_ELEMENTS
#include "kv.glsl"

const uint MAX_HEAD_DIM = 256;
shared float total[MAX_HEAD_DIM];

void keys_by_subgroup(uint n_keys, uint slot, uint kv_head, uint q_at)
{
    uint lanes = WG / gl_NumSubgroups;

    uint first_dim = kv_head * p.head_dim;
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
        uvec4 key = first + uvec4(0, 1, 2, 3), cell;
        vec4 score = vec4(0);
        for (uint b = 0; b < 4; b++)
            cell[b] = cell_of(slot, min(key[b], n_keys - 1));
        for (uint i = 0; i < DIMS; i++) {
            uint at = first_dim + dim[i];
            score += query[i] * vec4(key1(cell.x, at), key1(cell.y, at), key1(cell.z, at), key1(cell.w, at));
        }
        score = mix(vec4(-INFINITY), subgroupAdd(score), lessThan(key, uvec4(n_keys)));
        float new_top = max(top, max(max(score.x, score.y), max(score.z, score.w)));
        float factor = exp(top - new_top);
        vec4 weight = exp(score - new_top);
        top = new_top;
        sum = sum * factor + (weight.x + weight.y + weight.z + weight.w);
        for (uint i = 0; i < DIMS; i++) {
            uint at = first_dim + dim[i];
            vec4 values = vec4(value1(cell.x, at), value1(cell.y, at), value1(cell.z, at), value1(cell.w, at));
            acc[i] = acc[i] * factor + dot(weight, values);
        }
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

void keys_by_lane(uint n_keys, uint slot, uint kv_head, uint q_at)
{
    vec4 query[MAX_VECS], acc[MAX_VECS];
    [[unroll]] for (uint i = 0; i < VECS; i++) {
        query[i] = q4[q_at / 4 + i] * p.scale;
        acc[i] = vec4(0);
    }
    float top = -INFINITY, sum = 0;
    for (uint key = gl_SubgroupInvocationID; key < n_keys; key += WG) {
        uint cell = cell_of(slot, key), at = kv_head * VECS;
        vec4 products = vec4(0);
        [[unroll]] for (uint i = 0; i < VECS; i++)
            products += query[i] * key4(cell, at + i);
        float score = (products.x + products.y) + (products.z + products.w);
        float new_top = max(top, score), factor = exp(top - new_top), weight = exp(score - new_top);
        top = new_top;
        sum = sum * factor + weight;
        [[unroll]] for (uint i = 0; i < VECS; i++)
            acc[i] = acc[i] * factor + weight * value4(cell, at + i);
    }
    float factor = exp(top - subgroupMax(top));
    sum = subgroupAdd(sum * factor);
    [[unroll]] for (uint i = 0; i < VECS; i++) {
        vec4 total = subgroupAdd(acc[i] * factor) / sum;
        if (subgroupElect())
            y4[q_at / 4 + i] = total;
    }
}

void main()
{
    uint head = gl_WorkGroupID.x, r = gl_WorkGroupID.y;
    uint n_keys = rows[r].y + 1, slot = rows[r].z, kv_head = head / (p.n_heads / p.n_kv);
    uint q_at = (r * p.n_heads + head) * p.head_dim;
    if (VECS == 0)
        keys_by_subgroup(n_keys, slot, kv_head, q_at);
    else
        keys_by_lane(n_keys, slot, kv_head, q_at);
}
