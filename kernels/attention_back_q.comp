// SPDX-License-Identifier: MIT
//
// Attention backwards, to the queries: with delta = da . a and, for each key j that row i sees,
// ds[j] = exp(scale q . k[j] - lse) * (da . v[j] - delta) * scale,
//
//     dq = sum over j of ds[j] k[j]
//
//     dims          uint32 [LG_N_DIMS]
//     rows          struct lg_row [T], T = dims[p.dim]
//     q             float32 [T][n_heads][head_dim]
//     k, v          float32 [T][n_kv][head_dim]
//     a             float32 [T][n_heads][head_dim]
//     lse           float32 [T][n_heads]
//     da, dq        float32 [T][n_heads][head_dim]
//     delta         float32 [T][n_heads], for attention_back_kv
//
// Grid {n_kv * ceil(n_heads / n_kv / HEADS), ceil(T / ROWS), 1}, as of attention_train.
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
layout(binding = 5) readonly buffer A { float a[]; };
layout(binding = 6) readonly buffer LSE { float lse[]; };
layout(binding = 7) readonly buffer DA { float da[]; };
layout(binding = 8) writeonly buffer DQ { float dq[]; };
layout(binding = 9) writeonly buffer Delta { float delta_buf[]; };

const uint OWN = (LG_MAX_HEAD_DIM + gl_WorkGroupSize.x - 1) / gl_WorkGroupSize.x; // numbers of a head

shared float query[LG_MAX_HEAD_DIM];
shared float d_out[LG_MAX_HEAD_DIM];
shared float slopes[gl_WorkGroupSize.x];
float acc[OWN];

void back(uint row, uint head, uint kv_head)
{
    uint lane = gl_LocalInvocationIndex, at = head_at(row, head);
    float sum = 0, offset = lse[row * p.n_heads + head];
    barrier(); // the unit before is done with
    for (uint i = lane; i < p.head_dim; i += WG) {
        query[i] = q[at + i] * p.scale;
        d_out[i] = da[at + i];
        sum = fma(da[at + i], a[at + i], sum);
    }
    [[unroll]] for (uint i = 0; i < OWN; i++)
        acc[i] = 0;
    float delta = group_add(sum); // its barriers are the query's, too
    for (uint begin = sample_begin(row); begin <= row; begin += WG) {
        uint n = min(WG, row + 1 - begin), key = key_at(begin + min(lane, n - 1), kv_head);
        float score = 0, d_weight = 0;
        for (uint i = 0; lane < n && i < p.head_dim; i++) {
            score = fma(query[i], k[key + i], score);
            d_weight = fma(d_out[i], v[key + i], d_weight);
        }
        slopes[lane] = exp(score - offset) * (d_weight - delta) * p.scale;
        barrier();
        for (uint i = 0, own = lane; own < p.head_dim; i++, own += WG)
            for (uint j = 0; j < n; j++)
                acc[i] = fma(slopes[j], k[key_at(begin + j, kv_head) + own], acc[i]);
        barrier(); // the slopes have been read
    }
    for (uint i = 0, own = lane; own < p.head_dim; i++, own += WG)
        dq[at + own] = acc[i];
    if (lane == 0)
        delta_buf[row * p.n_heads + head] = delta;
}

void main()
{
    Heads heads = heads_of(gl_WorkGroupID.x);
    uint begin = gl_WorkGroupID.y * ROWS, end = min(begin + ROWS, dims[p.dim]);
    for (uint row = begin; row < end; row++)
        for (uint head = heads.begin; head < heads.end; head++)
            back(row, head, heads.kv_head);
}
