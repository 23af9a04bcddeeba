// SPDX-License-Identifier: MIT
//
// y[t][row_begin + m] = sum over k of x[t][k] * w[m][k], m < n_rows, t < T = dims[dim]: for many rows of x
//
//     dims  uint32 [LG_N_DIMS]
//     w     weights [n_rows][n_cols], rows of row_bytes bytes
//     x     float32 [T][n_cols]
//     y     float32 [T][y_stride]
//
// Grid {ceil(n_rows / TILE_M), ceil(T / TILE_N), 1}: a workgroup makes a tile of TILE_M rows of w by TILE_N rows of x,
// in one of three forms. In each, an element's sum runs over K in order, whatever the tile.
//
// FORM 0, for GPUs: K goes by in steps of 32. The group of each row of the tile is put into shared memory, decoded, K
// first; then each invocation adds the products for 4 rows of w and BLOCK_N rows of x in registers, while the next groups
// are on their way from memory. 4 * WG must divide TILE_M * TILE_N, TILE_M / 4 divide WG, and WG 8 * TILE_N; WG is at
// least TILE_M.
//
// FORM 1, for a driver that runs on a CPU, where each load is a loop over the lanes and shared memory is no faster: a
// lane owns BLOCK_N rows of x and all TILE_M rows of w. Its part of x stays in registers for a step of 64 while the
// rows of w go by, each decoded by one lane for all. A workgroup is one subgroup. WG must divide TILE_N, and the lesser of
// WG and 16 TILE_M.
//
// FORM 2, the same for plain numbers, where nothing has to be decoded: all sums of a tile stay in registers while K goes by in
// steps of 16 bytes of w, and nothing is indexed by what is not a constant. WG must divide TILE_N, TILE_M the lesser of WG
// and 16, both 4; rows of w are a multiple of 16 bytes, n_rows, row_begin and y_stride multiples of 4.
#version 450
#include "common.glsl"
#extension GL_KHR_shader_subgroup_shuffle : require

layout(constant_id = 1) const uint TILE_M = 64;
layout(constant_id = 2) const uint TILE_N = 64;
layout(constant_id = 3) const uint FORM = 0;

layout(push_constant) uniform Push { lg_matmul_push p; };
layout(binding = 0) readonly buffer Dims { uint dims[]; };
const uint GROUPS = FORM == 0 ? 1 : 2;
#define W_BINDING 1
#include "weights.glsl"
#define X_BINDING 2
#include "activations.glsl"
layout(binding = 3) writeonly buffer Y { float y[]; };
layout(binding = 3) writeonly buffer Y4 { vec4 y4[]; };

uint n_t, m_tile, t_tile;

uint row_byte(uint m)
{
    return min(m_tile + m, p.n_rows - 1) * p.row_bytes;
}

void put(uint m, uint t, float sum)
{
    if (m_tile + m < p.n_rows && t_tile + t < n_t)
        y[(t_tile + t) * p.y_stride + p.row_begin + m_tile + m] = sum;
}

// ---- shared tiles ---------------------------------------------------------------------------------------------------

const uint M4 = TILE_M / 4;
const uint BLOCK_N = FORM == 0 ? TILE_M * TILE_N / (4 * gl_WorkGroupSize.x) : TILE_N / gl_WorkGroupSize.x;
const uint X_LOADS = FORM == 0 ? TILE_N * 8 / gl_WorkGroupSize.x : 1; // 16 bytes each, of an invocation

// One more vec4 in a row of each keeps columns out of one bank.
shared vec4 w_tile[32][FORM == 0 ? TILE_M / 4 + 1 : 1];
shared vec4 x_tile[32][FORM == 0 ? TILE_N / 4 + 1 : 1];
vec4 x_next[X_LOADS];

vec4 load_x4(uint t, uint k)
{
    uint at = min(t_tile + t, n_t - 1) * p.n_cols + k;
#ifdef HAS_TAIL
    vec4 v;
    [[unroll]] for (uint i = 0; i < 4; i++)
        v[i] = k + i < p.n_cols ? x_buf[min(at + i, n_t * p.n_cols - 1)] : 0;
    return v;
#else
    return x_buf[at / 4];
#endif
}

// Begins to load group g of each row: an invocation takes one row of w, and some parts of rows of x.
void load_step(uint g)
{
    if (gl_LocalInvocationIndex < TILE_M && is_whole(g, p.n_cols))
        load_unit(row_byte(gl_LocalInvocationIndex), g);
    [[unroll]] for (uint i = 0; i < X_LOADS; i++) {
        uint at = i * WG + gl_LocalInvocationIndex;
        x_next[i] = load_x4(at / 8, g * 32 + at % 8 * 4);
    }
}

// Puts it into shared memory, K first.
void store_step(uint g)
{
    uint m = gl_LocalInvocationIndex;
    if (m < TILE_M) {
        vec4 v[8];
        if (is_whole(g, p.n_cols))
            decoded(g, 0, v);
        else
            decode32(row_byte(m), g, p.n_cols, v);
        [[unroll]] for (uint k = 0; k < 32; k++)
            w_tile[k][m / 4][m % 4] = v[k / 4][k % 4];
    }
    [[unroll]] for (uint i = 0; i < X_LOADS; i++) {
        uint at = i * WG + gl_LocalInvocationIndex, t = at / 8;
        [[unroll]] for (uint k = 0; k < 4; k++)
            x_tile[at % 8 * 4 + k][t / 4][t % 4] = x_next[i][k];
    }
}

void shared_tiles()
{
    uint m_own = gl_LocalInvocationIndex % M4, t_own = gl_LocalInvocationIndex / M4 * BLOCK_N;
    vec4 acc[BLOCK_N];
    [[unroll]] for (uint j = 0; j < BLOCK_N; j++)
        acc[j] = vec4(0);
    load_step(0);
    for (uint g = 0; g * 32 < p.n_cols; g++) {
        barrier(); // the step before has been multiplied
        store_step(g);
        barrier();
        if ((g + 1) * 32 < p.n_cols)
            load_step(g + 1); // on its way while this one is multiplied
        for (uint k = 0; k < 32; k++) {
            vec4 a = w_tile[k][m_own];
            if (BLOCK_N % 4 == 0) {
                [[unroll]] for (uint j = 0; j < BLOCK_N; j += 4) {
                    vec4 b = x_tile[k][t_own / 4 + j / 4];
                    [[unroll]] for (uint i = 0; i < 4; i++)
                        acc[j + i] = fma(a, vec4(b[i]), acc[j + i]);
                }
            } else {
                [[unroll]] for (uint j = 0; j < BLOCK_N; j++)
                    acc[j] = fma(a, vec4(x_tile[k][(t_own + j) / 4][(t_own + j) % 4]), acc[j]);
            }
        }
    }
    [[unroll]] for (uint j = 0; j < BLOCK_N; j++)
        [[unroll]] for (uint i = 0; i < 4; i++)
            put(m_own * 4 + i, t_own + j, acc[j][i]);
}

// ---- lanes own rows of x --------------------------------------------------------------------------------------------

const uint ROWS = WG < 16 ? WG : 16; // of w at a time
vec4 x_own[FORM == 0 ? 1 : BLOCK_N * GROUPS * 8];
float sums[FORM == 1 ? TILE_M * BLOCK_N : 1];

// the row of x of a lane's block
uint own_t(uint j)
{
    return j * WG + gl_LocalInvocationIndex;
}

void load_own_x(uint u, uint n_groups)
{
    [[unroll]] for (uint i = 0; i < BLOCK_N * GROUPS; i++) {
        uint t = min(t_tile + own_t(i / GROUPS), n_t - 1), g = min(u * GROUPS + i % GROUPS, n_groups - 1);
        vec4 v[8];
        load_x(t * p.n_cols + g * 32, v);
        [[unroll]] for (uint j = 0; j < 8; j++)
            x_own[i * 8 + j] = v[j];
    }
}

// Lane i of the subgroup has a unit of row m + i of w, and all multiply it. A macro, so that i is a constant, which a driver
// makes one instruction of.
#define ADD_ROW(i)                                                                                  \
    if (i < ROWS) {                                                                                 \
        vec4 sum[BLOCK_N];                                                                          \
        [[unroll]] for (uint j = 0; j < BLOCK_N; j++)                                               \
            sum[j] = vec4(0);                                                                       \
        [[unroll]] for (uint k = 0; k < GROUPS * 8; k++) {                                          \
            vec4 w4 = subgroupShuffle(w_own[k], i);                                                 \
            [[unroll]] for (uint j = 0; j < BLOCK_N; j++)                                           \
                sum[j] = fma(w4, x_own[j * GROUPS * 8 + k], sum[j]);                                \
        }                                                                                           \
        [[unroll]] for (uint j = 0; j < BLOCK_N; j++)                                               \
            sums[(m + i) * BLOCK_N + j] += (sum[j].x + sum[j].y) + (sum[j].z + sum[j].w);           \
    }

void add_unit(uint m, uint u, uint n_groups)
{
    vec4 w_own[GROUPS * 8];
    load_unit(row_byte(m + min(gl_SubgroupInvocationID, ROWS - 1)), u);
    [[unroll]] for (uint c = 0; c < GROUPS; c++) {
        vec4 v[8];
        decoded(u, c, v);
        bool inside = u * GROUPS + c < n_groups; // a row may end within a unit
        [[unroll]] for (uint i = 0; i < 8; i++)
            w_own[c * 8 + i] = inside ? v[i] : vec4(0);
    }
    ADD_ROW(0) ADD_ROW(1) ADD_ROW(2) ADD_ROW(3) ADD_ROW(4) ADD_ROW(5) ADD_ROW(6) ADD_ROW(7)
    ADD_ROW(8) ADD_ROW(9) ADD_ROW(10) ADD_ROW(11) ADD_ROW(12) ADD_ROW(13) ADD_ROW(14) ADD_ROW(15)
}

void own_rows()
{
    [[dont_unroll]] for (uint i = 0; i < TILE_M * BLOCK_N; i++)
        sums[i] = 0;
    uint n_groups = p.n_cols / 32;
    for (uint u = 0; u * GROUPS < n_groups; u++) {
        load_own_x(u, n_groups);
        [[dont_unroll]] for (uint m = 0; m < TILE_M; m += ROWS)
            add_unit(m, u, n_groups);
    }
    [[dont_unroll]] for (uint m = 0; m < TILE_M; m++) {
        [[dont_unroll]] for (uint j = 0; j < BLOCK_N; j++) {
            float sum = sums[m * BLOCK_N + j];
#ifdef HAS_TAIL
            uint t = min(t_tile + own_t(j), n_t - 1);
            for (uint k = n_groups * 32; k < p.n_cols; k++)
                sum += load_weight(row_byte(m), k) * x_buf[t * p.n_cols + k];
#endif
            put(m, own_t(j), sum);
        }
    }
}

// ---- the same, plain numbers ----------------------------------------------------------------------------------------

#ifdef HAS_TAIL
const uint STEP = 512 / GROUP_BYTES; // numbers in 16 bytes
float acc[FORM == 2 ? TILE_M * BLOCK_N : 1];

// Lane i of the subgroup has a step of row m + i of w; see ADD_ROW.
#define ADD_STEP(i)                                                               \
    if (i < ROWS) {                                                               \
        [[unroll]] for (uint k = 0; k < STEP / 4; k++) {                          \
            vec4 w4 = subgroupShuffle(v[k], i);                                   \
            [[unroll]] for (uint j = 0; j < BLOCK_N; j++) {                       \
                vec4 x4 = x_own[j * STEP / 4 + k];                                \
                [[unroll]] for (uint c = 0; c < 4; c++)                           \
                    acc[(m + i) * BLOCK_N + j] = fma(w4[c], x4[c], acc[(m + i) * BLOCK_N + j]); \
            }                                                                     \
        }                                                                         \
    }

void add_step(uint s, uint n_steps)
{
    [[unroll]] for (uint j = 0; j < BLOCK_N; j++)
        [[unroll]] for (uint k = 0; k < STEP / 4; k++)
            x_own[j * STEP / 4 + k] = x4_buf[(min(t_tile + own_t(j), n_t - 1) * n_steps + s) * (STEP / 4) + k];
    [[unroll]] for (uint m = 0; m < TILE_M; m += ROWS) {
        vec4 v[STEP / 4];
        plain16(w4[(row_byte(m + min(gl_SubgroupInvocationID, ROWS - 1)) >> 4) + s], v);
        ADD_STEP(0) ADD_STEP(1) ADD_STEP(2) ADD_STEP(3) ADD_STEP(4) ADD_STEP(5) ADD_STEP(6) ADD_STEP(7)
        ADD_STEP(8) ADD_STEP(9) ADD_STEP(10) ADD_STEP(11) ADD_STEP(12) ADD_STEP(13) ADD_STEP(14) ADD_STEP(15)
    }
}

void own_plain_rows()
{
    [[unroll]] for (uint i = 0; i < TILE_M * BLOCK_N; i++)
        acc[i] = 0;
    uint n_steps = p.n_cols / STEP;
    [[dont_unroll]] for (uint s = 0; s < n_steps; s++)
        add_step(s, n_steps);
    [[unroll]] for (uint j = 0; j < BLOCK_N; j++) {
        uint t = t_tile + own_t(j);
        [[unroll]] for (uint m = 0; m < TILE_M; m += 4) {
            uint a = m * BLOCK_N + j;
            if (m_tile + m < p.n_rows && t < n_t)
                y4[(t * p.y_stride + p.row_begin + m_tile + m) / 4] =
                    vec4(acc[a], acc[a + BLOCK_N], acc[a + 2 * BLOCK_N], acc[a + 3 * BLOCK_N]);
        }
    }
}
#else
void own_plain_rows()
{
}
#endif

void main()
{
    n_t = dims[p.dim];
    m_tile = gl_WorkGroupID.x * TILE_M;
    t_tile = gl_WorkGroupID.y * TILE_N;
    if (t_tile >= n_t)
        return;
    if (FORM == 0)
        shared_tiles();
    else if (FORM == 1)
        own_rows();
    else
        own_plain_rows();
}
