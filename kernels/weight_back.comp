// SPDX-License-Identifier: MIT
//
// dw[m][k] += scale * sum over t of dy[t][row_begin + m] * x[t][k], m < n_rows, t < T = dims[dim]
//
//     dims  uint32 [LG_N_DIMS]
//     x     float32 [T][n_cols]
//     dy    float32 [T][y_stride]
//     dw    float32 [n_rows][n_cols]
//
// Grid {ceil(n_cols / TILE_A), ceil(n_rows / TILE_B), 1}: a workgroup makes a tile of TILE_B rows by TILE_A columns of dw;
// the rows of x and dy go by. The forms of a tile are in outer.glsl.
#version 450
#include "common.glsl"

layout(constant_id = 1) const uint TILE_B = 64;
layout(constant_id = 2) const uint TILE_A = 64;

layout(push_constant) uniform Push { lg_weight_back_push p; };
layout(binding = 0) readonly buffer Dims { uint dims[]; };
layout(binding = 1) readonly buffer X { float x[]; };
layout(binding = 2) readonly buffer DY { float dy[]; };
layout(binding = 3) buffer DW { float dw[]; };
#include "outer.glsl"

void load_steps(uint t, uint m_tile, uint k_tile, uint n_t)
{
    for (uint i = gl_LocalInvocationIndex; i < STEP * TILE_A; i += WG) {
        uint s = i / TILE_A, k = i % TILE_A;
        bool inside = t + s < n_t && k_tile + k < p.n_cols;
        a_tile[s][k / 4][k % 4] = inside ? x[(t + s) * p.n_cols + k_tile + k] : 0;
    }
    for (uint i = gl_LocalInvocationIndex; i < STEP * TILE_B; i += WG) {
        uint s = i / TILE_B, m = i % TILE_B;
        bool inside = t + s < n_t && m_tile + m < p.n_rows;
        b_tile[s][m / 4][m % 4] = inside ? dy[(t + s) * p.y_stride + p.row_begin + m_tile + m] : 0;
    }
}

// The same, a row of x for each lane, and its own columns of dy.
void load_lanes(uint t, uint m_tile, uint k_tile, uint n_t)
{
    uint own = t + gl_LocalInvocationIndex;
    [[unroll]] for (uint k = 0; k < 32; k++)
        lane_a[k / 4][k % 4] = own < n_t && k_tile + k < p.n_cols ? x[own * p.n_cols + k_tile + k] : 0;
    [[unroll]] for (uint j = 0; j < LANES_B; j++) {
        uint m = m_tile + j * WG + gl_LocalInvocationIndex;
        [[unroll]] for (uint i = 0; i < 16; i++)
            lane_b[j * 16 + i] = i < WG && t + i < n_t && m < p.n_rows ? dy[(t + i) * p.y_stride + p.row_begin + m] : 0;
    }
}

void put(uint m, uint k, float sum)
{
    if (m < p.n_rows && k < p.n_cols)
        dw[m * p.n_cols + k] += p.scale * sum;
}

void main()
{
    uint n_t = dims[p.dim], k_tile = gl_WorkGroupID.x * TILE_A, m_tile = gl_WorkGroupID.y * TILE_B;
    begin_tile();
    if (by_lanes()) {
        [[dont_unroll]] for (uint t = 0; t < n_t; t += WG) {
            load_lanes(t, m_tile, k_tile, n_t);
            multiply_lanes();
        }
        [[unroll]] for (uint j = 0; j < LANES_B; j++)
            [[unroll]] for (uint i = 0; i < 32; i++)
                put(m_tile + j * WG + gl_LocalInvocationIndex, k_tile + i, acc[j * 8 + i / 4][i % 4]);
        return;
    }
    for (uint t = 0; t < n_t; t += STEP) {
        barrier(); // the steps before have been multiplied
        load_steps(t, m_tile, k_tile, n_t);
        barrier();
        multiply_steps();
    }
    [[unroll]] for (uint j = 0; j < BLOCK_B; j++)
        [[unroll]] for (uint i = 0; i < 4; i++)
            put(m_tile + own_b() + j, k_tile + own_a() + i, acc[j][i]);
}
