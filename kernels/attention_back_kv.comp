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
// Grid {n_kv, ceil(T / ROWS), 1}: a workgroup takes ROWS keys, one after the other, and all that see them; in tiles where
// attention_train.glsl has them. Of a key on its own, queries come in blocks, one for each invocation, the heads of a row before
// the next row's; in tiles, the rows of a block before the next head's.
#version 450
#define USE_REDUCTIONS
#include "common.glsl"

layout(constant_id = 2) const uint ROWS = 1;

layout(push_constant) uniform Push { lg_attention_train_push p; };
#include "attention_train.glsl"
layout(binding = 2) readonly buffer Q { float q[]; };
layout(binding = 2) readonly buffer Q4 { vec4 q4[]; };
layout(binding = 3) readonly buffer K { float k[]; };
layout(binding = 3) readonly buffer K4 { vec4 k4[]; };
layout(binding = 4) readonly buffer V { float v[]; };
layout(binding = 4) readonly buffer V4 { vec4 v4[]; };
layout(binding = 5) readonly buffer LSE { float lse[]; };
layout(binding = 6) readonly buffer Delta { float delta[]; };
layout(binding = 7) readonly buffer DA { float da[]; };
layout(binding = 7) readonly buffer DA4 { vec4 da4[]; };
layout(binding = 8) writeonly buffer DK { float dk[]; };
layout(binding = 8) writeonly buffer DK4 { vec4 dk4[]; };
layout(binding = 9) writeonly buffer DV { float dv[]; };
layout(binding = 9) writeonly buffer DV4 { vec4 dv4[]; };

const uint PARTS = (LG_MAX_HEAD_DIM + gl_WorkGroupSize.x - 1) / gl_WorkGroupSize.x; // numbers of a head

float acc_k[PARTS], acc_v[PARTS];

void back(uint row, uint kv_head)
{
    uint lane = gl_LocalInvocationIndex, at = key_at(row, kv_head), sharing = p.n_heads / p.n_kv;
    uint n_queries = (sample_end(row, dims[p.dim]) - row) * sharing;
    barrier(); // the key before is done with
    for (uint i = lane; i < p.head_dim; i += WG) {
        mine_a[i / 4][i % 4] = k[at + i] * p.scale;
        mine_b[i / 4][i % 4] = v[at + i];
    }
    [[unroll]] for (uint i = 0; i < PARTS; i++)
        acc_k[i] = acc_v[i] = 0;
    barrier();
    for (uint begin = 0; begin < n_queries; begin += WG) {
        uint n = min(WG, n_queries - begin), query = begin + min(lane, n - 1);
        uint number = (row + query / sharing) * p.n_heads + kv_head * sharing + query % sharing;
        float score = 0, d_weight = 0;
        for (uint i = 0; lane < n && i < p.head_dim; i++) {
            score = fma(mine_a[i / 4][i % 4], q[number * p.head_dim + i], score);
            d_weight = fma(mine_b[i / 4][i % 4], da[number * p.head_dim + i], d_weight);
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

// ---- tiles ------------------------------------------------------------------------------------------------------------

vec4 sums_k[OWN][TURNS], sums_v[OWN][TURNS];

// The queries of a head in rows [begin, begin + n), and the keys from row `first` on.
void back_from_block(uint first, uint begin, uint n, uint head)
{
    uint at = head_at(begin, head) / 4, stride = p.n_heads * vecs;
    float scores[OWN][TURNS], d_weights[OWN][TURNS], weight[OWN][TURNS];
    LOAD_BLOCK(q4, at, stride, n)
    barrier();
    products(false, scores);
    for (uint i = 0; i < OWN; i++)
        for (uint j = 0; j < TURNS; j++) {
            uint r = lane + j * NEIGHBOURS, number = (begin + min(r, n - 1)) * p.n_heads + head;
            bool sees = begin + r >= first + own + i;
            weight[i][j] = sees ? exp(scores[i][j] - lse[number]) : 0;
            if (r < n)
                weights[(own + i) * LINE + r] = weight[i][j];
        }
    barrier();
    LOAD_BLOCK(da4, at, stride, n)
    barrier();
    products(true, d_weights);
    for (uint i = 0; i < OWN; i++)
        for (uint j = 0; j < TURNS; j++) {
            uint r = lane + j * NEIGHBOURS, number = (begin + min(r, n - 1)) * p.n_heads + head;
            bool sees = begin + r >= first + own + i;
            if (r < n)
                slopes[(own + i) * LINE + r] = sees ? weight[i][j] * (d_weights[i][j] - delta[number]) * p.scale : 0;
        }
    gather(false, n, sums_v);
    barrier();
    LOAD_BLOCK(q4, at, stride, n)
    barrier();
    gather(true, n, sums_k);
    barrier(); // the block has been read
}

// Keys [first, last) of a sample that ends at `end`, at most UNITS.
void back_tile(uint first, uint last, uint end, uint kv_head)
{
    uint stride = p.n_kv * vecs, sharing = p.n_heads / p.n_kv, begin = sample_begin(first);
    barrier(); // the tile before is done with
    LOAD_UNITS(mine_a, k4, key_at(first, kv_head) / 4, stride, last - first, p.scale)
    LOAD_UNITS(mine_b, v4, key_at(first, kv_head) / 4, stride, last - first, 1)
    for (uint i = 0; i < OWN; i++)
        for (uint j = 0; j < TURNS; j++)
            sums_k[i][j] = sums_v[i][j] = vec4(0);
    for (begin += (first - begin) / per_block * per_block; begin < end; begin += per_block)
        for (uint head = 0; head < sharing; head++)
            back_from_block(first, begin, min(per_block, end - begin), kv_head * sharing + head);
    for (uint i = 0; i < OWN && first + own + i < last; i++)
        for (uint j = 0, v = lane; j < TURNS && v < vecs; j++, v += NEIGHBOURS) {
            dk4[key_at(first + own + i, kv_head) / 4 + v] = sums_k[i][j];
            dv4[key_at(first + own + i, kv_head) / 4 + v] = sums_v[i][j];
        }
}

void main()
{
    uint begin = gl_WorkGroupID.y * ROWS, n = dims[p.dim], end = min(begin + ROWS, n);
    if (goes_in_tiles()) {
        begin_tiles();
        for (uint last; begin < end; begin = last) {
            uint behind = sample_end(begin, n);
            last = min(min(begin + UNITS, end), behind);
            back_tile(begin, last, behind, gl_WorkGroupID.x);
        }
        return;
    }
    for (uint row = begin; row < end; row++)
        back(row, gl_WorkGroupID.x);
}
