// SPDX-License-Identifier: MIT
//
// y[t][row_begin + m] = sum over k of x[t][k] * w[m][k], m < n_rows, t < T = dims[dim]: for many rows of x
//
//     dims  uint32 [LG_N_DIMS]
//     w     weights [n_rows][n_cols], rows of row_bytes bytes
//     x     float32 [T][n_cols]
//     y     float32 [T][y_stride]
//
// Grid {ceil(n_rows / TILE_M), ceil(T / TILE_N), 1}: a workgroup makes a tile of TILE_M rows of w by TILE_N rows of x.
// K goes by in steps of 32: the group of each row of the tile is put into shared memory, decoded, K first; then each
// invocation adds the products for 4 rows of w and BLOCK_N rows of x in registers. An element's sum runs over K in
// order, whatever the tile.
//
// WG * 4 must divide TILE_M * TILE_N, and TILE_M / 4 must divide WG.
#version 450
#include "common.glsl"

layout(constant_id = 1) const uint TILE_M = 64;
layout(constant_id = 2) const uint TILE_N = 64;

layout(push_constant) uniform Push { lg_matmul_push p; };
layout(binding = 0) readonly buffer Dims { uint dims[]; };
#define W_BINDING 1
#include "weights.glsl"
#define X_BINDING 2
#include "activations.glsl"
layout(binding = 3) writeonly buffer Y { float y[]; };

const uint M4 = TILE_M / 4;
const uint BLOCK_N = TILE_M * TILE_N / (4 * gl_WorkGroupSize.x);

shared float w_tile[32][TILE_M];
shared float x_tile[32][TILE_N];

void stage_w(uint i, uint m, uint g)
{
    vec4 v[8];
    decode32(min(m, p.n_rows - 1) * p.row_bytes, g, p.n_cols, v);
    for (uint k = 0; k < 32; k++)
        w_tile[k][i] = v[k / 4][k % 4];
}

void stage_x(uint i, uint t, uint n_t, uint g)
{
    vec4 v[8];
    uint at = min(t, n_t - 1) * p.n_cols + g * 32;
#ifdef HAS_TAIL
    if ((g + 1) * 32 > p.n_cols)
        load_x_tail(at, p.n_cols - g * 32, v);
    else
#endif
        load_x(at, v);
    for (uint k = 0; k < 32; k++)
        x_tile[k][i] = v[k / 4][k % 4];
}

void main()
{
    uint n_t = dims[p.dim], m_tile = gl_WorkGroupID.x * TILE_M, t_tile = gl_WorkGroupID.y * TILE_N;
    uint m_own = gl_LocalInvocationIndex % M4 * 4, t_own = gl_LocalInvocationIndex / M4 * BLOCK_N;
    if (t_tile >= n_t)
        return;

    vec4 acc[BLOCK_N];
    for (uint j = 0; j < BLOCK_N; j++)
        acc[j] = vec4(0);
    for (uint g = 0; g * 32 < p.n_cols; g++) {
        for (uint i = gl_LocalInvocationIndex; i < TILE_M + TILE_N; i += WG) {
            if (i < TILE_M)
                stage_w(i, m_tile + i, g);
            else
                stage_x(i - TILE_M, t_tile + i - TILE_M, n_t, g);
        }
        barrier();
        for (uint k = 0; k < 32; k++) {
            vec4 a = vec4(w_tile[k][m_own], w_tile[k][m_own + 1], w_tile[k][m_own + 2], w_tile[k][m_own + 3]);
            for (uint j = 0; j < BLOCK_N; j++)
                acc[j] += a * x_tile[k][t_own + j];
        }
        barrier();
    }
    for (uint j = 0; j < BLOCK_N; j++)
        for (uint i = 0; i < 4; i++)
            if (t_tile + t_own + j < n_t && m_tile + m_own + i < p.n_rows)
                y[(t_tile + t_own + j) * p.y_stride + p.row_begin + m_tile + m_own + i] = acc[j][i];
}
