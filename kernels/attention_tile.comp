// SPDX-License-Identifier: MIT
//
// attention.comp's formula for many rows.
//
//     dims              uint32 [LG_N_DIMS]
//     rows              struct lg_row [T], T = dims[p.dim]
//     pages             uint32 [slots][max_pages]
//     q                 float32 [T][n_heads][head_dim]
//     k_cache, v_cache  rows of KV_TYPE (push.h) [pages * page_size], of n_kv * head_dim numbers
//     y                 float32 [T][n_heads][head_dim]
//
// Grid {n_kv * ceil(n_heads / n_kv / HEADS), ceil(T / ROWS), 1}: a workgroup takes HEADS heads that share keys (or what
// is left of them) of ROWS rows. Each (row, head) is a unit of its tile; HEADS * ROWS is at most 32, WG is 128 and
// head_dim 4 * VECS, at most 128.
//
// Rows of one slot go together, one such run after the other. Keys come in blocks through shared memory, then the values
// of the block through the same place; 16 neighbouring invocations own 4 units. Blocks begin at multiples of KEYS, and
// what a row does not see is not added to it, so nothing depends on the other rows.
#version 450
#include "common.glsl"

layout(constant_id = 1) const uint VECS = 16;
layout(constant_id = 2) const uint ROWS = 4;
layout(constant_id = 3) const uint HEADS = 7;

const uint UNITS = 32;
const uint OWN = 4;                         // units of an invocation
const uint NEIGHBOURS = 16;                 // that share them
const uint KEYS = VECS <= 16 ? 32 : 16;     // of a block
const uint KEY_TURNS = KEYS / NEIGHBOURS;
const uint VEC_TURNS = (VECS + NEIGHBOURS - 1) / NEIGHBOURS;

layout(push_constant) uniform Push { lg_attention_push p; };
layout(binding = 0) readonly buffer Dims { uint dims[]; };
layout(binding = 1) readonly buffer Rows { uvec4 rows[]; };
layout(binding = 2) readonly buffer Pages { uint pages[]; };
layout(binding = 3) readonly buffer Q4 { vec4 q4[]; };
layout(binding = 6) writeonly buffer Y4 { vec4 y4[]; };

#define K_BINDING 4
#define V_BINDING 5
#define KV_CONSTANT 4
#include "kv.glsl"
#include "attention.glsl"

// Rows are one vector longer than they need be, against bank conflicts.
shared vec4 queries[UNITS][VECS];
shared vec4 block[KEYS][VECS + 1];
shared float scores[UNITS][KEYS + 4];
shared float weights[UNITS][KEYS + 4];

// a run of rows [first, last) of one slot
uint first, last, slot;
Heads heads;

uint lane;          // among the neighbours
uint own;           // the first of its units
uint n_keys[OWN];   // that its units see; 0 for a unit that is not there
vec4 acc[OWN][VEC_TURNS];
float top[OWN], sum[OWN];

// where unit u begins in q4 and y4
uint unit_at(uint u)
{
    return ((first + u / HEADS) * p.n_heads + heads.begin + u % HEADS) * VECS;
}

bool is_there(uint u)
{
    return u < ROWS * HEADS && first + u / HEADS < last && heads.begin + u % HEADS < heads.end;
}

void begin_run()
{
    for (uint i = gl_LocalInvocationIndex; i < UNITS * VECS; i += WG) {
        uint u = i / VECS;
        queries[u][i % VECS] = is_there(u) ? q4[unit_at(u) + i % VECS] * p.scale : vec4(0);
    }
    for (uint i = 0; i < OWN; i++) {
        n_keys[i] = is_there(own + i) ? rows[first + (own + i) / HEADS].y + 1 : 0;
        top[i] = -INFINITY;
        sum[i] = 0;
        for (uint j = 0; j < VEC_TURNS; j++)
            acc[i][j] = vec4(0);
    }
}

void load_block(bool values, uint begin, uint n)
{
    for (uint i = gl_LocalInvocationIndex; i < n * VECS; i += WG) {
        uint key = i / VECS, cell = cell_of(slot, begin + key), at = heads.kv_head * VECS + i % VECS;
        block[key][i % VECS] = values ? value4(cell, at) : key4(cell, at);
    }
}

void put_scores(uint begin)
{
    vec4 products[OWN][KEY_TURNS];
    for (uint i = 0; i < OWN; i++)
        for (uint k = 0; k < KEY_TURNS; k++)
            products[i][k] = vec4(0);
    for (uint v = 0; v < VECS; v++) {
        vec4 keys[KEY_TURNS];
        for (uint k = 0; k < KEY_TURNS; k++)
            keys[k] = block[lane + k * NEIGHBOURS][v];
        for (uint i = 0; i < OWN; i++) {
            vec4 query = queries[own + i][v];
            for (uint k = 0; k < KEY_TURNS; k++)
                products[i][k] += query * keys[k];
        }
    }
    for (uint i = 0; i < OWN; i++)
        for (uint k = 0; k < KEY_TURNS; k++) {
            vec4 s = products[i][k];
            uint key = lane + k * NEIGHBOURS;
            scores[own + i][key] = begin + key < n_keys[i] ? (s.x + s.y) + (s.z + s.w) : -INFINITY;
        }
}

// Each of the neighbours finds the same maximum and makes its share of the weights.
void soften(uint begin)
{
    for (uint i = 0; i < OWN; i++) {
        if (begin >= n_keys[i])
            continue;
        float new_top = top[i];
        for (uint k = 0; k < KEYS; k++)
            new_top = max(new_top, scores[own + i][k]);
        float factor = exp(top[i] - new_top);
        top[i] = new_top;
        sum[i] *= factor;
        for (uint j = 0; j < VEC_TURNS; j++)
            acc[i][j] *= factor;
        for (uint k = lane; k < KEYS; k += NEIGHBOURS)
            weights[own + i][k] = exp(scores[own + i][k] - new_top);
    }
}

void add_values(uint begin, uint n)
{
    for (uint k = 0; k < n; k++) {
        vec4 values[VEC_TURNS];
        for (uint j = 0; j < VEC_TURNS; j++)
            values[j] = block[k][min(lane + j * NEIGHBOURS, VECS - 1)];
        for (uint i = 0; i < OWN; i++) {
            if (begin + k >= n_keys[i])
                continue;
            float weight = weights[own + i][k];
            sum[i] += weight;
            for (uint j = 0; j < VEC_TURNS; j++)
                acc[i][j] += weight * values[j];
        }
    }
}

void end_run()
{
    for (uint i = 0; i < OWN; i++)
        for (uint j = 0; j < VEC_TURNS; j++) {
            uint v = lane + j * NEIGHBOURS;
            if (n_keys[i] > 0 && v < VECS)
                y4[unit_at(own + i) + v] = acc[i][j] / sum[i];
        }
}

void main()
{
    uint end = min(gl_WorkGroupID.y * ROWS + ROWS, dims[p.dim]);
    heads = heads_of(gl_WorkGroupID.x);
    lane = gl_LocalInvocationIndex % NEIGHBOURS;
    own = gl_LocalInvocationIndex / NEIGHBOURS * OWN;
    for (last = gl_WorkGroupID.y * ROWS; last < end;) {
        first = last;
        slot = rows[first].z;
        uint most = 0; // keys that some row of the run sees
        for (; last < end && rows[last].z == slot; last++)
            most = max(most, rows[last].y + 1);
        begin_run();
        for (uint begin = 0; begin < most; begin += KEYS) {
            uint n = min(KEYS, most - begin);
            load_block(false, begin, n);
            barrier();
            put_scores(begin);
            barrier();
            load_block(true, begin, n);
            soften(begin);
            barrier();
            add_values(begin, n);
            barrier();
        }
        end_run();
    }
}
