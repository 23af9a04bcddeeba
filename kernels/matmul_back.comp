// SPDX-License-Identifier: MIT
//
// dx[t][k] = sum over m of dy[t][row_begin + m] * w[m][k], m < n_rows, t < T = dims[dim]; with p.add it is added
//
//     dims  uint32 [LG_N_DIMS]
//     dy    float32 [T][y_stride]
//     w     weights [n_rows][n_cols], rows of row_bytes bytes
//     dx    float32 [T][n_cols]
//
// Grid {ceil(n_cols / TILE_A), ceil(T / TILE_B), 1}: a workgroup makes a tile of TILE_A columns by TILE_B rows. The rows of w
// go by, decoded once for all rows of the tile. TILE_A is a multiple of 32. The forms of a tile are in outer.glsl.
#version 450
#include "common.glsl"

layout(constant_id = 1) const uint TILE_A = 64;
layout(constant_id = 2) const uint TILE_B = 64;

layout(push_constant) uniform Push { lg_matmul_back_push p; };
layout(binding = 0) readonly buffer Dims { uint dims[]; };
layout(binding = 1) readonly buffer DY { float dy[]; };
#define W_BINDING 2
#define GROUPS 1
#include "weights.glsl"
layout(binding = 3) buffer DX { float dx[]; };
#include "outer.glsl"

// Rows [m, m + STEP) of w, of which a group of 32 columns is an invocation's; and of dy, with zeros behind the last.
void load_steps(uint m, uint k_tile, uint t_tile, uint n_t)
{
    const uint ACROSS = TILE_A / 32;
    for (uint i = gl_LocalInvocationIndex; i < STEP * ACROSS; i += WG) {
        uint g = k_tile / 32 + i % ACROSS, row = min(m + i / ACROSS, p.n_rows - 1);
        vec4 v[8];
        [[unroll]] for (uint j = 0; j < 8; j++)
            v[j] = vec4(0);
        if (g * 32 < p.n_cols)
            decode32(row * p.row_bytes, g, p.n_cols, v);
        [[unroll]] for (uint j = 0; j < 8; j++)
            a_tile[i / ACROSS][i % ACROSS * 8 + j] = v[j];
    }
    for (uint i = gl_LocalInvocationIndex; i < STEP * TILE_B; i += WG) {
        uint s = i % STEP, t = i / STEP;
        bool inside = m + s < p.n_rows && t_tile + t < n_t;
        b_tile[s][t / 4][t % 4] = inside ? dy[(t_tile + t) * p.y_stride + p.row_begin + m + s] : 0;
    }
}

// The same, a row of w for each lane, and its own rows of dy.
void load_lanes(uint m, uint k_tile, uint t_tile, uint n_t)
{
    decode32(min(m + gl_LocalInvocationIndex, p.n_rows - 1) * p.row_bytes, k_tile / 32, p.n_cols, lane_a);
    [[unroll]] for (uint j = 0; j < LANES_B; j++) {
        uint t = t_tile + j * WG + gl_LocalInvocationIndex;
        [[unroll]] for (uint i = 0; i < 16; i++)
            lane_b[j * 16 + i] = i < WG && m + i < p.n_rows && t < n_t ? dy[t * p.y_stride + p.row_begin + m + i] : 0;
    }
}

void put(uint t, uint k, float sum)
{
    uint at = t * p.n_cols + k;
    if (k < p.n_cols)
        dx[at] = p.add != 0 ? dx[at] + sum : sum;
}

void lanes(uint k_tile, uint t_tile, uint n_t)
{
    [[dont_unroll]] for (uint m = 0; m < p.n_rows; m += WG) {
        load_lanes(m, k_tile, t_tile, n_t);
        multiply_lanes();
    }
    [[unroll]] for (uint j = 0; j < LANES_B; j++) {
        uint t = t_tile + j * WG + gl_LocalInvocationIndex;
        [[unroll]] for (uint i = 0; i < 32; i++)
            if (t < n_t)
                put(t, k_tile + i, acc[j * 8 + i / 4][i % 4]);
    }
}

void main()
{
    uint n_t = dims[p.dim], k_tile = gl_WorkGroupID.x * TILE_A, t_tile = gl_WorkGroupID.y * TILE_B;
    if (t_tile >= n_t)
        return;
    begin_tile();
    if (by_lanes()) {
        lanes(k_tile, t_tile, n_t);
        return;
    }
    for (uint m = 0; m < p.n_rows; m += STEP) {
        barrier(); // the steps before have been multiplied
        load_steps(m, k_tile, t_tile, n_t);
        barrier();
        multiply_steps();
    }
    [[unroll]] for (uint j = 0; j < BLOCK_B; j++) {
        uint t = t_tile + own_b() + j;
        [[unroll]] for (uint i = 0; i < 4; i++)
            if (t < n_t)
                put(t, k_tile + own_a() + i, acc[j][i]);
    }
}
