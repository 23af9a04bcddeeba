// SPDX-License-Identifier: MIT
//
// Attention backwards, to keys and values: with weight[i] = exp(scale q[i] . k - lse[i]) of each query i (a row and a head)
// that sees key j, and ds[i] = weight[i] * (da[i] . v - delta[i]) * scale,
//
//     dk = sum over i of ds[i] q[i], dv = sum over i of weight[i] da[i]
//
//     dims          uint32 [LG_N_DIMS]
//     rows          struct lg_row [T], T = dims[p.dim]
//     q             float32 [T][n_heads][head_dim]
//     k, v          float32 [T][n_kv][head_dim]
//     lse, delta    float32 [T][n_heads], the latter as attention_back_q leaves it
//     da            float32 [T][n_heads][head_dim]
//     dk, dv        float32 [T][n_kv][head_dim]
//
// Grid {n_kv, ceil(T / ROWS), 1}: a workgroup takes ROWS keys, one after the other, and all that see them. Queries come in
// blocks, one for each invocation, the heads of a row before the next row's.
#version 450
#define USE_REDUCTIONS
#include "common.glsl"

layout(constant_id = 2) const uint ROWS = 1;

layout(push_constant) uniform Push { lg_attention_train_push p; };
#include "attention_train.glsl"
layout(binding = 2) readonly buffer Q { float q[]; };
layout(binding = 3) readonly buffer K { float k[]; };
layout(binding = 4) readonly buffer V { float v[]; };
layout(binding = 5) readonly buffer LSE { float lse[]; };
layout(binding = 6) readonly buffer Delta { float delta[]; };
layout(binding = 7) readonly buffer DA { float da[]; };
layout(binding = 8) writeonly buffer DK { float dk[]; };
layout(binding = 9) writeonly buffer DV { float dv[]; };

const uint OWN = (LG_MAX_HEAD_DIM + gl_WorkGroupSize.x - 1) / gl_WorkGroupSize.x; // numbers of a head

shared float key[LG_MAX_HEAD_DIM];
shared float value[LG_MAX_HEAD_DIM];
shared float weights[gl_WorkGroupSize.x];
shared float slopes[gl_WorkGroupSize.x];
float acc_k[OWN], acc_v[OWN];

void back(uint row, uint kv_head)
{
    uint lane = gl_LocalInvocationIndex, at = key_at(row, kv_head), sharing = p.n_heads / p.n_kv;
    uint n_queries = (sample_end(row, dims[p.dim]) - row) * sharing;
    barrier(); // the key before is done with
    for (uint i = lane; i < p.head_dim; i += WG) {
        key[i] = k[at + i] * p.scale;
        value[i] = v[at + i];
    }
    [[unroll]] for (uint i = 0; i < OWN; i++)
        acc_k[i] = acc_v[i] = 0;
    barrier();
    for (uint begin = 0; begin < n_queries; begin += WG) {
        uint n = min(WG, n_queries - begin), query = begin + min(lane, n - 1);
        uint number = (row + query / sharing) * p.n_heads + kv_head * sharing + query % sharing;
        float score = 0, d_weight = 0;
        for (uint i = 0; lane < n && i < p.head_dim; i++) {
            score = fma(key[i], q[number * p.head_dim + i], score);
            d_weight = fma(value[i], da[number * p.head_dim + i], d_weight);
        }
        weights[lane] = exp(score - lse[number]);
        slopes[lane] = weights[lane] * (d_weight - delta[number]) * p.scale;
        barrier();
        for (uint j = 0; j < n; j++) {
            uint from = head_at(row + (begin + j) / sharing, kv_head * sharing + (begin + j) % sharing);
            for (uint i = 0, own = lane; own < p.head_dim; i++, own += WG) {
                acc_k[i] = fma(slopes[j], q[from + own], acc_k[i]);
                acc_v[i] = fma(weights[j], da[from + own], acc_v[i]);
            }
        }
        barrier(); // both have been read
    }
    for (uint i = 0, own = lane; own < p.head_dim; i++, own += WG) {
        dk[at + own] = acc_k[i];
        dv[at + own] = acc_v[i];
    }
}

void main()
{
    uint begin = gl_WorkGroupID.y * ROWS, end = min(begin + ROWS, dims[p.dim]);
    for (uint row = begin; row < end; row++)
        back(row, gl_WorkGroupID.x);
}
