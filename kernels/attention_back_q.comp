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
layout(binding = 2) readonly buffer Q4 { vec4 q4[]; };
layout(binding = 3) readonly buffer K { float k[]; };
layout(binding = 3) readonly buffer K4 { vec4 k4[]; };
layout(binding = 4) readonly buffer V { float v[]; };
layout(binding = 4) readonly buffer V4 { vec4 v4[]; };
layout(binding = 5) readonly buffer A { float a[]; };
layout(binding = 5) readonly buffer A4 { vec4 a4[]; };
layout(binding = 6) readonly buffer LSE { float lse[]; };
layout(binding = 7) readonly buffer DA { float da[]; };
layout(binding = 7) readonly buffer DA4 { vec4 da4[]; };
layout(binding = 8) writeonly buffer DQ { float dq[]; };
layout(binding = 8) writeonly buffer DQ4 { vec4 dq4[]; };
layout(binding = 9) writeonly buffer Delta { float delta_buf[]; };

const uint PARTS = (LG_MAX_HEAD_DIM + gl_WorkGroupSize.x - 1) / gl_WorkGroupSize.x; // numbers of a head

float acc[PARTS];

void back(uint row, uint head, uint kv_head)
{
    uint lane = gl_LocalInvocationIndex, at = head_at(row, head);
    float sum = 0, offset = lse[row * p.n_heads + head];
    barrier(); // the unit before is done with
    for (uint i = lane; i < p.head_dim; i += WG) {
        mine_a[i / 4][i % 4] = q[at + i] * p.scale;
        mine_b[i / 4][i % 4] = da[at + i];
        sum = fma(da[at + i], a[at + i], sum);
    }
    [[unroll]] for (uint i = 0; i < PARTS; i++)
        acc[i] = 0;
    float delta = group_add(sum); // its barriers are the query's, too
    for (uint begin = sample_begin(row); begin <= row; begin += WG) {
        uint n = min(WG, row + 1 - begin), key = key_at(begin + min(lane, n - 1), kv_head);
        float score = 0, d_weight = 0;
        for (uint i = 0; lane < n && i < p.head_dim; i++) {
            score = fma(mine_a[i / 4][i % 4], k[key + i], score);
            d_weight = fma(mine_b[i / 4][i % 4], v[key + i], d_weight);
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

// ---- tiles ------------------------------------------------------------------------------------------------------------

float offset[OWN], delta[OWN];
vec4 sums[OWN][TURNS];

// lse of the units and what da . a is, of which each of the neighbours adds a part
void begin_units(uint first, uint last, uint head)
{
    for (uint i = 0; i < OWN; i++) {
        uint row = min(first + own + i, last - 1), at = head_at(row, head) / 4;
        float part = 0;
        for (uint v = lane; v < vecs; v += NEIGHBOURS)
            part += dot(da4[at + v], a4[at + v]);
        weights[(own + i) * LINE + lane] = part;
        offset[i] = lse[row * p.n_heads + head];
        for (uint j = 0; j < TURNS; j++)
            sums[i][j] = vec4(0);
    }
    barrier();
    for (uint i = 0; i < OWN; i++) {
        delta[i] = 0;
        for (uint j = 0; j < NEIGHBOURS; j++)
            delta[i] += weights[(own + i) * LINE + j];
    }
}

// Rows [first, last) of a sample, at most UNITS.
void back_tile(uint first, uint last, uint head, uint kv_head)
{
    uint q_stride = p.n_heads * vecs, k_stride = p.n_kv * vecs;
    barrier(); // the tile before is done with
    LOAD_UNITS(mine_a, q4, head_at(first, head) / 4, q_stride, last - first, p.scale)
    LOAD_UNITS(mine_b, da4, head_at(first, head) / 4, q_stride, last - first, 1)
    begin_units(first, last, head);
    for (uint begin = sample_begin(first); begin < last; begin += per_block) {
        uint n = min(per_block, last - begin), at = key_at(begin, kv_head) / 4;
        float scores[OWN][TURNS], d_weights[OWN][TURNS];
        LOAD_BLOCK(k4, at, k_stride, n)
        barrier();
        products(false, scores);
        barrier();
        LOAD_BLOCK(v4, at, k_stride, n)
        barrier();
        products(true, d_weights);
        for (uint i = 0; i < OWN; i++)
            for (uint j = 0; j < TURNS; j++) {
                uint key = lane + j * NEIGHBOURS;
                float slope = exp(scores[i][j] - offset[i]) * (d_weights[i][j] - delta[i]) * p.scale;
                if (key < n)
                    slopes[(own + i) * LINE + key] = begin + key <= first + own + i ? slope : 0;
            }
        barrier();
        LOAD_BLOCK(k4, at, k_stride, n)
        barrier();
        gather(true, n, sums);
        barrier(); // the block has been read
    }
    for (uint i = 0; i < OWN && first + own + i < last; i++) {
        uint row = first + own + i;
        for (uint j = 0, at = lane; j < TURNS && at < vecs; j++, at += NEIGHBOURS)
            dq4[head_at(row, head) / 4 + at] = sums[i][j];
        if (lane == 0)
            delta_buf[row * p.n_heads + head] = delta[i];
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
                back_tile(begin, last, head, heads.kv_head);
        }
        return;
    }
    for (uint row = begin; row < end; row++)
        for (uint head = heads.begin; head < heads.end; head++)
            back(row, head, heads.kv_head);
}
