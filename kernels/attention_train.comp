// SPDX-License-Identifier: MIT
//
// a[i] = sum over keys j of p[j] v[j], p = softmax(scale q[i] . k[j]), for each head of row i over the rows j <= i of its
// sample; lse = log(sum over j of exp(scale q[i] . k[j])) is kept for the way back
//
//     dims  uint32 [LG_N_DIMS]
//     rows  struct lg_row [T], T = dims[p.dim]
//     q     float32 [T][n_heads][head_dim]
//     k, v  float32 [T][n_kv][head_dim]
//     a     float32 [T][n_heads][head_dim]
//     lse   float32 [T][n_heads]
//
// Grid {n_kv * ceil(n_heads / n_kv / HEADS), ceil(T / ROWS), 1}: a workgroup takes HEADS heads that share keys (or what is
// left of them) of ROWS rows, one after the other. Keys come in blocks, one for each invocation.
#version 450
#define USE_REDUCTIONS
#include "common.glsl"

layout(constant_id = 2) const uint ROWS = 1;
layout(constant_id = 3) const uint HEADS = 1;

layout(push_constant) uniform Push { lg_attention_train_push p; };
#include "attention_train.glsl"
#include "attention.glsl"
layout(binding = 2) readonly buffer Q { float q[]; };
layout(binding = 3) readonly buffer K { float k[]; };
layout(binding = 4) readonly buffer V { float v[]; };
layout(binding = 5) writeonly buffer A { float a[]; };
layout(binding = 6) writeonly buffer LSE { float lse[]; };

const uint OWN = (LG_MAX_HEAD_DIM + gl_WorkGroupSize.x - 1) / gl_WorkGroupSize.x; // numbers of a head

shared float query[LG_MAX_HEAD_DIM];
shared float weights[gl_WorkGroupSize.x];
float acc[OWN];

void attend(uint row, uint head, uint kv_head)
{
    uint lane = gl_LocalInvocationIndex;
    barrier(); // the unit before is done with
    for (uint i = lane; i < p.head_dim; i += WG)
        query[i] = q[head_at(row, head) + i] * p.scale;
    [[unroll]] for (uint i = 0; i < OWN; i++)
        acc[i] = 0;
    barrier();
    float top = -INFINITY, sum = 0;
    for (uint begin = sample_begin(row); begin <= row; begin += WG) {
        uint n = min(WG, row + 1 - begin);
        float score = 0;
        for (uint i = 0; lane < n && i < p.head_dim; i++)
            score = fma(query[i], k[key_at(begin + lane, kv_head) + i], score);
        float before = top;
        top = max(top, group_max(lane < n ? score : -INFINITY));
        float weight = lane < n ? exp(score - top) : 0, shrink = exp(before - top);
        weights[lane] = weight;
        sum = sum * shrink + group_add(weight); // its barriers are the weights', too
        for (uint i = 0, at = lane; at < p.head_dim; i++, at += WG) {
            acc[i] *= shrink;
            for (uint j = 0; j < n; j++)
                acc[i] = fma(weights[j], v[key_at(begin + j, kv_head) + at], acc[i]);
        }
        barrier(); // the weights have been read
    }
    for (uint i = 0, at = lane; at < p.head_dim; i++, at += WG)
        a[head_at(row, head) + at] = acc[i] / sum;
    if (lane == 0)
        lse[row * p.n_heads + head] = top + log(sum);
}

void main()
{
    Heads heads = heads_of(gl_WorkGroupID.x);
    uint begin = gl_WorkGroupID.y * ROWS, end = min(begin + ROWS, dims[p.dim]);
    for (uint row = begin; row < end; row++)
        for (uint head = heads.begin; head < heads.end; head++)
            attend(row, head, heads.kv_head);
}
