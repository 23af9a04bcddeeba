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
// left of them) of ROWS rows, one after the other, in tiles where attention_train.glsl has them. Of a row on its own, keys come
// in blocks, one for each invocation.
#version 450
#define USE_REDUCTIONS
#include "common.glsl"

layout(constant_id = 2) const uint ROWS = 1;
layout(constant_id = 3) const uint HEADS = 1;

layout(push_constant) uniform Push { lg_attention_train_push p; };
#include "attention_train.glsl"
#include "attention.glsl"
layout(binding = 2) readonly buffer Q { float q[]; };
layout(binding = 2) readonly buffer Q4 { vec4 q4[]; };
layout(binding = 3) readonly buffer K { float k[]; };
layout(binding = 3) readonly buffer K4 { vec4 k4[]; };
layout(binding = 4) readonly buffer V { float v[]; };
layout(binding = 4) readonly buffer V4 { vec4 v4[]; };
layout(binding = 5) writeonly buffer A { float a[]; };
layout(binding = 5) writeonly buffer A4 { vec4 a4[]; };
layout(binding = 6) writeonly buffer LSE { float lse[]; };

const uint PARTS = (LG_MAX_HEAD_DIM + gl_WorkGroupSize.x - 1) / gl_WorkGroupSize.x; // numbers of a head

float acc[PARTS];

void attend(uint row, uint head, uint kv_head)
{
    uint lane = gl_LocalInvocationIndex;
    barrier(); // the unit before is done with
    for (uint i = lane; i < p.head_dim; i += WG)
        mine_a[i / 4][i % 4] = q[head_at(row, head) + i] * p.scale;
    [[unroll]] for (uint i = 0; i < PARTS; i++)
        acc[i] = 0;
    barrier();
    float top = -INFINITY, sum = 0;
    for (uint begin = sample_begin(row); begin <= row; begin += WG) {
        uint n = min(WG, row + 1 - begin);
        float score = 0;
        for (uint i = 0; lane < n && i < p.head_dim; i++)
            score = fma(mine_a[i / 4][i % 4], k[key_at(begin + lane, kv_head) + i], score);
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

// ---- tiles ------------------------------------------------------------------------------------------------------------

float top[OWN], sum[OWN];
vec4 sums[OWN][TURNS];

// Scores of n keys of the block, of which rows see those up to themselves, become weights.
void soften(uint n)
{
    for (uint i = 0; i < OWN; i++) {
        float before = top[i];
        for (uint r = 0; r < n; r++)
            top[i] = max(top[i], slopes[(own + i) * LINE + r]);
        float shrink = exp(before - top[i]);
        for (uint r = lane; r < n; r += NEIGHBOURS)
            weights[(own + i) * LINE + r] = exp(slopes[(own + i) * LINE + r] - top[i]);
        sum[i] *= shrink;
        for (uint j = 0; j < TURNS; j++)
            sums[i][j] *= shrink;
    }
}

// Rows [first, last) of a sample, at most UNITS.
void attend_tile(uint first, uint last, uint head, uint kv_head)
{
    uint q_stride = p.n_heads * vecs, k_stride = p.n_kv * vecs;
    barrier(); // the tile before is done with
    LOAD_UNITS(mine_a, q4, head_at(first, head) / 4, q_stride, last - first, p.scale)
    for (uint i = 0; i < OWN; i++) {
        top[i] = -INFINITY;
        sum[i] = 0;
        for (uint j = 0; j < TURNS; j++)
            sums[i][j] = vec4(0);
    }
    for (uint begin = sample_begin(first); begin < last; begin += per_block) {
        uint n = min(per_block, last - begin);
        float scores[OWN][TURNS];
        LOAD_BLOCK(k4, key_at(begin, kv_head) / 4, k_stride, n)
        barrier();
        products(false, scores);
        for (uint i = 0; i < OWN; i++)
            for (uint j = 0; j < TURNS; j++) {
                uint key = lane + j * NEIGHBOURS;
                // what is not there sees everything, and is not kept
                bool seen = begin + key <= first + own + i || first + own + i >= last;
                if (key < n)
                    slopes[(own + i) * LINE + key] = seen ? scores[i][j] : -INFINITY;
            }
        barrier();
        LOAD_BLOCK(v4, key_at(begin, kv_head) / 4, k_stride, n)
        soften(n);
        barrier();
        gather(false, n, sums);
        for (uint i = 0; i < OWN; i++)
            for (uint r = 0; r < n; r++)
                sum[i] += weights[(own + i) * LINE + r];
        barrier(); // the block and the weights have been read
    }
    for (uint i = 0; i < OWN && first + own + i < last; i++) {
        uint row = first + own + i;
        for (uint j = 0, at = lane; j < TURNS && at < vecs; j++, at += NEIGHBOURS)
            a4[head_at(row, head) / 4 + at] = sums[i][j] / sum[i];
        if (lane == 0)
            lse[row * p.n_heads + head] = top[i] + log(sum[i]);
    }
}

void main()
{
    Heads heads = heads_of(gl_WorkGroupID.x);
    uint begin = gl_WorkGroupID.y * ROWS, n = dims[p.dim], end = min(begin + ROWS, n);
    if (goes_in_tiles()) {
        begin_tiles();
        for (uint last; begin < end; begin = last) {
            last = min(min(begin + UNITS, end), sample_end(begin, n));
            for (uint head = heads.begin; head < heads.end; head++)
                attend_tile(begin, last, head, heads.kv_head);
        }
        return;
    }
    for (uint row = begin; row < end; row++)
        for (uint head = heads.begin; head < heads.end; head++)
            attend(row, head, heads.kv_head);
}
