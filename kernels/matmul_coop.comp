// SPDX-License-Identifier: MIT
//
// y[t][row_begin + m] = sum over k of x[t][k] * w[m][k], m < n_rows, t < T = dims[dim]: for many rows of x, by the
// cooperative matrices of a device, float16 with sums in float32
//
//     dims  uint32 [LG_N_DIMS]
//     w     weights [n_rows][n_cols], rows of row_bytes bytes
//     x     rows that `halve` made, LG_HALF_ROW_BYTES(n_cols) bytes each
//     y     float32 [T][y_stride]
//
// Grid {ceil(n_rows / TILE_M), ceil(T / TILE_N), 1}: a workgroup makes a tile of TILE_M rows of w by TILE_N rows of x, and
// each of its subgroups SUB_M by SUB_N of that, in matrices of COOP_M rows of x by COOP_N rows of w by COOP_K.
//
// K goes by in steps of GROUPS * 32. Of each step an invocation decodes one group of one row of w and copies a part of x
// into shared memory, where there are two steps at a time: what is loaded for the next one is on its way while the
// matrices of this one are multiplied. An element's sum runs over K in order, whatever the tile.
//
// TILE_M must divide WG and 4 * TILE_N, and COOP_K 32. WG / (subgroup size) = TILE_M / SUB_M * TILE_N / SUB_N.
#version 450
#include "common.glsl"
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require

layout(constant_id = 1) const uint TILE_M = 64;
layout(constant_id = 2) const uint TILE_N = 64;
layout(constant_id = 3) const uint SUB_M = 32;
layout(constant_id = 4) const uint SUB_N = 32;
layout(constant_id = 5) const uint COOP_M = 16;
layout(constant_id = 6) const uint COOP_N = 16;
layout(constant_id = 7) const uint COOP_K = 16;

layout(push_constant) uniform Push { lg_matmul_push p; };
layout(binding = 0) readonly buffer Dims { uint dims[]; };
const uint GROUPS = 1; // of a unit: an invocation's
#define W_BINDING 1
#include "weights.glsl"
layout(binding = 2) readonly buffer X { uvec4 x_buf[]; };
layout(binding = 3) writeonly buffer Y { float y[]; };

const uint STEP = WG / TILE_M;                // groups of a row in a step
const uint ROW = STEP * 8 + 2;                // f16vec4 of a row in shared memory; 16 bytes against bank conflicts
const uint X_LOADS = TILE_N * STEP * 4 / WG;  // 16 bytes each, of an invocation
const uint N_M = SUB_M / COOP_N, N_N = SUB_N / COOP_M;

shared f16vec4 w_tile[2][TILE_M * ROW];
shared f16vec4 x_tile[2][TILE_N * ROW];
shared float out_tile[TILE_M / SUB_M * (TILE_N / SUB_N)][COOP_M * COOP_N];

uint n_t, m_tile, t_tile, n_groups;
uint w_row, w_group; // what this invocation decodes of a step
uvec4 x_next[X_LOADS];

uint row_byte(uint m)
{
    return min(m_tile + m, p.n_rows - 1) * p.row_bytes;
}

// Whether a group is whole; the other one, the last of a row of plain numbers, is decoded number by number.
bool is_whole(uint g)
{
    return (g + 1) * 32 <= p.n_cols;
}

// Begins to load what belongs to the step at group g.
void load_step(uint g)
{
    if (is_whole(g + w_group))
        load_unit(row_byte(w_row), g + w_group);
    [[unroll]] for (uint i = 0; i < X_LOADS; i++) {
        uint at = i * WG + gl_LocalInvocationIndex, t = at / (STEP * 4), part = at % (STEP * 4);
        uint row = min(t_tile + t, n_t - 1) * (LG_HALF_ROW_BYTES(p.n_cols) / 16);
        x_next[i] = g * 4 + part < n_groups * 4 ? x_buf[row + 1 + g * 4 + part] : uvec4(0);
    }
}

void decode_group(uint g, out vec4 v[8])
{
    if (is_whole(g))
        decoded(g, 0, v);
    else if (g < n_groups)
        decode32(row_byte(w_row), g, p.n_cols, v);
    else
        [[unroll]] for (uint i = 0; i < 8; i++)
            v[i] = vec4(0);
}

// Puts it into shared memory. Weights beyond the range of float16 become its largest numbers, never infinite.
void store_step(uint g, uint half_of)
{
    vec4 v[8];
    decode_group(g + w_group, v);
    [[unroll]] for (uint i = 0; i < 8; i++)
        w_tile[half_of][w_row * ROW + w_group * 8 + i] = f16vec4(clamp(v[i], -65504, 65504));
    [[unroll]] for (uint i = 0; i < X_LOADS; i++) {
        uint at = i * WG + gl_LocalInvocationIndex, t = at / (STEP * 4), part = at % (STEP * 4);
        uvec4 u = x_next[i];
        x_tile[half_of][t * ROW + part * 2] = f16vec4(unpackFloat2x16(u.x), unpackFloat2x16(u.y));
        x_tile[half_of][t * ROW + part * 2 + 1] = f16vec4(unpackFloat2x16(u.z), unpackFloat2x16(u.w));
    }
}

#define MATRIX(type, rows, cols, use) coopmat<type, gl_ScopeSubgroup, rows, cols, gl_MatrixUse##use>

void main()
{
    n_t = dims[p.dim];
    m_tile = gl_WorkGroupID.x * TILE_M;
    t_tile = gl_WorkGroupID.y * TILE_N;
    if (t_tile >= n_t)
        return;
    n_groups = (p.n_cols + 31) / 32;
    w_row = gl_LocalInvocationIndex / STEP;
    w_group = gl_LocalInvocationIndex % STEP;
    uint m_sub = gl_SubgroupID % (TILE_M / SUB_M) * SUB_M, t_sub = gl_SubgroupID / (TILE_M / SUB_M) * SUB_N;

    MATRIX(float, COOP_M, COOP_N, Accumulator) sum[N_M * N_N];
    [[unroll]] for (uint i = 0; i < N_M * N_N; i++)
        sum[i] = MATRIX(float, COOP_M, COOP_N, Accumulator)(0.0);

    load_step(0);
    store_step(0, 0);
    barrier();
    for (uint g = 0, now = 0; g < n_groups; g += STEP, now ^= 1) {
        bool more = g + STEP < n_groups;
        if (more)
            load_step(g + STEP);
        [[unroll]] for (uint k = 0; k < STEP * 32; k += COOP_K) {
            MATRIX(float16_t, COOP_K, COOP_N, B) b[N_M];
            [[unroll]] for (uint i = 0; i < N_M; i++)
                coopMatLoad(b[i], w_tile[now], (m_sub + i * COOP_N) * ROW + k / 4, ROW,
                            gl_CooperativeMatrixLayoutColumnMajor);
            [[unroll]] for (uint j = 0; j < N_N; j++) {
                MATRIX(float16_t, COOP_M, COOP_K, A) a;
                coopMatLoad(a, x_tile[now], (t_sub + j * COOP_M) * ROW + k / 4, ROW, gl_CooperativeMatrixLayoutRowMajor);
                [[unroll]] for (uint i = 0; i < N_M; i++)
                    sum[j * N_M + i] = coopMatMulAdd(a, b[i], sum[j * N_M + i]);
            }
        }
        if (more)
            store_step(g + STEP, now ^ 1);
        barrier();
    }

    // Matrices go through shared memory, since y has rows and columns where the tile reaches beyond it.
    [[unroll]] for (uint i = 0; i < N_M * N_N; i++) {
        coopMatStore(sum[i], out_tile[gl_SubgroupID], 0, COOP_N, gl_CooperativeMatrixLayoutRowMajor);
        barrier();
        for (uint e = gl_SubgroupInvocationID; e < COOP_M * COOP_N; e += gl_SubgroupSize) {
            uint t = t_tile + t_sub + i / N_M * COOP_M + e / COOP_N, m = m_tile + m_sub + i % N_M * COOP_N + e % COOP_N;
            if (t >= n_t || m >= p.n_rows)
                continue;
            float scale = uintBitsToFloat(x_buf[t * (LG_HALF_ROW_BYTES(p.n_cols) / 16)].x);
            y[t * p.y_stride + p.row_begin + m] = out_tile[gl_SubgroupID][e] * scale;
        }
        barrier();
    }
}
