// SPDX-License-Identifier: MIT
//
// y[t][row_begin + m] = sum over k of x[t][k] * w[m][k], m < n_rows, t < T = dims[dim]: for many rows of x that were packed,
// on GPUs. With X_INT8 the products are integer ones, and x is rows that `quantize` made; otherwise both factors are float16,
// and x is rows that `halve` made. Sums are float32.
//
//     dims  uint32 [LG_N_DIMS]
//     w     weights [n_rows][n_cols], rows of row_bytes bytes
//     x     [T] rows of LG_I8_ROW_BYTES(n_cols) or LG_HALF_ROW_BYTES(n_cols) bytes
//     y     float32 [T][y_stride]
//
// Grid {ceil(n_rows / TILE_M), ceil(T / TILE_N), 1}: a workgroup makes a tile of TILE_M rows of w by TILE_N rows of x. K goes
// by in steps of 32: the group of each row of the tile is put into shared memory, then each invocation multiplies 4 rows of w
// and BLOCK_N rows of x, while the next groups are on their way from memory. An element's sum runs over K in order, whatever
// the tile.
//
// 4 * WG must divide TILE_M * TILE_N, and TILE_M / 4 WG; WG is at least TILE_M and TILE_N.
#version 450
#include "common.glsl"
#ifndef X_INT8
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#endif

layout(constant_id = 1) const uint TILE_M = 64;
layout(constant_id = 2) const uint TILE_N = 64;

layout(push_constant) uniform Push { lg_matmul_push p; };
layout(binding = 0) readonly buffer Dims { uint dims[]; };
const uint GROUPS = 1;
#define W_BINDING 1
#include "weights.glsl"
layout(binding = 2) readonly buffer X { uvec4 x_buf[]; };
layout(binding = 3) writeonly buffer Y { float y[]; };

const uint M4 = TILE_M / 4;
const uint BLOCK_N = TILE_M * TILE_N / (4 * gl_WorkGroupSize.x);

uint n_t, m_tile, t_tile;
uint m_own, t_own; // where the invocation's part of the tile begins
vec4 acc[BLOCK_N];

uint row_byte(uint m)
{
    return min(m_tile + m, p.n_rows - 1) * p.row_bytes;
}

#ifdef X_INT8
// ---- integers -------------------------------------------------------------------------------------------------------
#include "int_dot.glsl"
layout(binding = 2) readonly buffer XPairs { vec2 x_pairs[]; };

const uint X_UNITS = 2; // of 16 bytes that a group of x has

// One more in a row keeps columns out of one bank.
shared uvec4 w_tile[8][TILE_M / 4 + 1];
shared vec4 w_scale[2][TILE_M / 4];
shared uvec4 x_tile[TILE_N][X_UNITS];
shared vec3 x_scale[TILE_N]; // d, and the sums of both halves
#ifdef HAS_INT_OFFSET
shared vec4 w_offset[2][TILE_M / 4];
#endif
vec3 x_scale_next;

uint x_row_at(uint t)
{
    return min(t_tile + t, n_t - 1) * (LG_I8_ROW_BYTES(p.n_cols) / 16);
}

uvec4 load_x_unit(uint t, uint g, uint part)
{
    return x_buf[x_row_at(t) + g * 2 + part];
}

void load_more(uint g)
{
    uint pairs = LG_I8_PADDED(p.n_cols) / 8, at = x_row_at(gl_LocalInvocationIndex) * 2 + pairs + g;
    x_scale_next = vec3(x_pairs[at].x, x_pairs[at + pairs / 4]);
}

void store_more()
{
    x_scale[gl_LocalInvocationIndex] = x_scale_next;
}

void store_w(uint m, uint g)
{
    Group r = decode(g, 0);
    [[unroll]] for (uint k = 0; k < 8; k++)
        w_tile[k][m / 4][m % 4] = r.quant[k];
    [[unroll]] for (uint h = 0; h < 2; h++) {
        w_scale[h][m / 4][m % 4] = r.scale[h];
#ifdef HAS_INT_OFFSET
        w_offset[h][m / 4][m % 4] = r.offset[h];
#endif
    }
}

// The products of a word of 4 rows of w with one of a row of x
ivec4 dots(uvec4 a, uint b)
{
    return ivec4(DOT4(a.x, b), DOT4(a.y, b), DOT4(a.z, b), DOT4(a.w, b));
}

void multiply()
{
    uvec4 a[8];
    [[unroll]] for (uint k = 0; k < 8; k++)
        a[k] = w_tile[k][m_own];
    [[unroll]] for (uint j = 0; j < BLOCK_N; j++) {
        uvec4 b0 = x_tile[t_own + j][0], b1 = x_tile[t_own + j][1];
        vec3 x = x_scale[t_own + j];
        ivec4 low = ivec4(0), high = ivec4(0);
        [[unroll]] for (uint k = 0; k < 4; k++) {
            low += dots(a[k], b0[k]);
            high += dots(a[k + 4], b1[k]);
        }
#ifdef TWO_SCALES
        vec4 v = fma(w_scale[0][m_own], vec4(low), w_scale[1][m_own] * vec4(high));
#else
        vec4 v = w_scale[0][m_own] * vec4(low + high);
#endif
        acc[j] = fma(v, vec4(x.x), acc[j]);
#ifdef HAS_INT_OFFSET
        acc[j] = fma(w_offset[0][m_own], vec4(x.y), fma(w_offset[1][m_own], vec4(x.z), acc[j]));
#endif
    }
}

#else
// ---- float16 --------------------------------------------------------------------------------------------------------
const uint X_UNITS = 4;

shared f16vec4 w_tile[32][TILE_M / 4 + 1];
shared uvec4 x_tile[TILE_N][X_UNITS];

uvec4 load_x_unit(uint t, uint g, uint part)
{
    return x_buf[min(t_tile + t, n_t - 1) * (LG_HALF_ROW_BYTES(p.n_cols) / 16) + 1 + g * 4 + part];
}

void load_more(uint g)
{
}

void store_more()
{
}

// Weights beyond the range of float16 become its largest numbers, never infinite.
void store_w(uint m, uint g)
{
    vec4 v[8];
    if (is_whole(g, p.n_cols))
        decoded(g, 0, v);
    else
        decode32(row_byte(m), g, p.n_cols, v);
    [[unroll]] for (uint k = 0; k < 32; k++)
        w_tile[k][m / 4][m % 4] = float16_t(clamp(v[k / 4][k % 4], -65504, 65504));
}

void multiply()
{
    [[unroll]] for (uint part = 0; part < X_UNITS; part++) {
        f16vec4 a[8];
        [[unroll]] for (uint k = 0; k < 8; k++)
            a[k] = w_tile[part * 8 + k][m_own];
        [[unroll]] for (uint j = 0; j < BLOCK_N; j++) {
            uvec4 b = x_tile[t_own + j][part];
            [[unroll]] for (uint k = 0; k < 4; k++) {
                vec2 b2 = vec2(unpackFloat2x16(b[k]));
                acc[j] = fma(vec4(a[k * 2]), vec4(b2.x), acc[j]);
                acc[j] = fma(vec4(a[k * 2 + 1]), vec4(b2.y), acc[j]);
            }
        }
    }
}
#endif

// ---- tiles ----------------------------------------------------------------------------------------------------------

const uint X_LOADS = (TILE_N * X_UNITS + gl_WorkGroupSize.x - 1) / gl_WorkGroupSize.x; // 16 bytes each, of an invocation
uvec4 x_next[X_LOADS];

// Begins to load group g of each row: an invocation takes one row of w, and some parts of rows of x.
void load_step(uint g)
{
    uint own = gl_LocalInvocationIndex;
    if (own < TILE_M && is_whole(g, p.n_cols))
        load_unit(row_byte(own), g);
    [[unroll]] for (uint i = 0; i < X_LOADS; i++) {
        uint at = i * WG + own;
        if (at < TILE_N * X_UNITS)
            x_next[i] = load_x_unit(at / X_UNITS, g, at % X_UNITS);
    }
    if (own < TILE_N)
        load_more(g);
}

void store_step(uint g)
{
    uint own = gl_LocalInvocationIndex;
    if (own < TILE_M)
        store_w(own, g);
    [[unroll]] for (uint i = 0; i < X_LOADS; i++) {
        uint at = i * WG + own;
        if (at < TILE_N * X_UNITS)
            x_tile[at / X_UNITS][at % X_UNITS] = x_next[i];
    }
    if (own < TILE_N)
        store_more();
}

void put(uint j, uint i)
{
    uint m = m_tile + m_own * 4 + i, t = t_tile + t_own + j;
    if (m >= p.n_rows || t >= n_t)
        return;
    float v = acc[j][i];
#ifndef X_INT8
    v *= uintBitsToFloat(x_buf[t * (LG_HALF_ROW_BYTES(p.n_cols) / 16)].x);
#endif
    y[t * p.y_stride + p.row_begin + m] = v;
}

void main()
{
    n_t = dims[p.dim];
    m_tile = gl_WorkGroupID.x * TILE_M;
    t_tile = gl_WorkGroupID.y * TILE_N;
    if (t_tile >= n_t)
        return;
    m_own = gl_LocalInvocationIndex % M4;
    t_own = gl_LocalInvocationIndex / M4 * BLOCK_N;
    [[unroll]] for (uint j = 0; j < BLOCK_N; j++)
        acc[j] = vec4(0);
    load_step(0);
    for (uint g = 0; g * 32 < p.n_cols; g++) {
        barrier(); // the step before has been multiplied
        store_step(g);
        barrier();
        if ((g + 1) * 32 < p.n_cols)
            load_step(g + 1); // on its way while this one is multiplied
        multiply();
    }
    [[unroll]] for (uint j = 0; j < BLOCK_N; j++)
        [[unroll]] for (uint i = 0; i < 4; i++)
            put(j, i);
}
