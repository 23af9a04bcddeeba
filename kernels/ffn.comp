// SPDX-License-Identifier: MIT
//
// h = norm(x[t]), as FORM says, and of rows m < n_rows, for few rows of x:
//
//     y[t][m] = silu(h . gate[m] + gate_bias[m]) * (h . up[m] + up_bias[m])   with LG_FUSED_GATED
//               gelu(h . up[m] + up_bias[m])                                  with LG_FUSED_GELU
//               h . up[m] + up_bias[m]                                        otherwise
//
//     x                   float32 [T][n_cols]
//     norm, its bias      float32 [n_cols]; the latter is read by LayerNorm only
//     w                   weights gate[n_rows][n_cols] from byte gate_at on and up[n_rows][n_cols] from up_at on, rows of
//                         row_bytes bytes
//     gate_bias, up_bias  float32 [n_rows], or [T][n_rows] where the push constant is 2; not read without them
//     y                   float32 [T][n_rows]
//
// Grid {ceil(rows / (subgroups * ROWS)), T, 1}, where rows is n_rows, or with a gate twice that: each subgroup of a
// workgroup owns ROWS rows and COLS of x, as products.glsl shares them out. Rows of gate and up take turns, so that it has
// both of an m; ROWS is even then.
#version 450
#include "common.glsl"

layout(push_constant) uniform Push { lg_ffn_push p; };
#define X_BINDING 0
#define NORM_BINDING 1
#define W_BINDING 3
#include "products.glsl"
layout(binding = 4) readonly buffer GateBias { float gate_bias[]; };
layout(binding = 5) readonly buffer UpBias { float up_bias[]; };
layout(binding = 6) writeonly buffer Y { float y[]; };

const bool GATED = (FORM & LG_FUSED_GATED) != 0;
const bool GELU = (FORM & LG_FUSED_GELU) != 0;

uint first_row;

uint row_byte(uint r)
{
    uint i = first_row + r;
    uint begin = GATED && i % 2 == 0 ? p.gate_at : p.up_at;
    return begin + min(GATED ? i / 2 : i, p.n_rows - 1) * p.row_bytes;
}

void put(uint m, float v)
{
    y[(x_first + col) * p.n_rows + m] = v;
}

// where the bias of row m is
uint bias_at(uint kind, uint m)
{
    return kind == 2 ? (x_first + col) * p.n_rows + m : m;
}

void finish_gated(uint r)
{
    float gate = row_sum(r), up = row_sum(r + 1);
    uint m = (first_row + r) / 2;
    if (!subgroupElect() || m >= p.n_rows)
        return;
    if (p.gate_bias != 0)
        gate += gate_bias[bias_at(p.gate_bias, m)];
    if (p.up_bias != 0)
        up += up_bias[bias_at(p.up_bias, m)];
    put(m, gate / (1 + exp(-gate)) * up);
}

void finish(uint r)
{
    float v = row_sum(r);
    uint m = first_row + r;
    if (!subgroupElect() || m >= p.n_rows)
        return;
    if (p.up_bias != 0)
        v += up_bias[bias_at(p.up_bias, m)];
    float z = 0.7978845608 * (v + 0.044715 * v * v * v); // see gelu.comp
    put(m, GELU ? v / (1 + exp(-2 * z)) : v);
}

void main()
{
    first_row = (gl_WorkGroupID.x * gl_NumSubgroups + gl_SubgroupID) * ROWS;
    if (first_row >= (GATED ? 2 * p.n_rows : p.n_rows) || !find_x())
        return;
    add_products(p.n_cols);
    FOR_X(j) {
        if (GATED) {
            FOR_ROWS(2, finish_gated)
        } else {
            FOR_ROWS(1, finish)
        }
    }
}
