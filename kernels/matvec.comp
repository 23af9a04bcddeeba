// SPDX-License-Identifier: MIT
//
// y[t][row_begin + m] = sum over k of x[t][k] * w[m][k], m < n_rows: for few rows of x
//
//     w  weights [n_rows][n_cols], rows of row_bytes bytes
//     x  float32 [T][n_cols]
//     y  float32 [T][y_stride]
//
// Grid {ceil(n_rows / (subgroups * ROWS)), T, 1}: each subgroup of a workgroup owns ROWS rows of w and one of x. Its
// lanes share K out in units of GROUPS * 32; a lane holds its unit of x in registers for all its rows.
//
// GPUs want few rows (1 to 4), unrolled. A driver on a CPU wants many (32), and a loop: it compiles a long shader for
// seconds, and its registers are memory anyway.
#version 450
#include "common.glsl"

layout(constant_id = 1) const uint ROWS = 4;
layout(constant_id = 2) const uint UNIT_GROUPS = 1; // 1, 2 or 4; 0 is 1

layout(push_constant) uniform Push { lg_matmul_push p; };
const uint GROUPS = UNIT_GROUPS == 0 ? 1 : UNIT_GROUPS;
#define W_BINDING 0
#include "weights.glsl"
#define X_BINDING 1
#include "activations.glsl"
layout(binding = 2) writeonly buffer Y { float y[]; };

vec4 x[GROUPS * 8];
vec2 x_sum[GROUPS];

uint first_row, n_groups, lanes;

// where row r of the subgroup's begins; rows past the end repeat the last
uint row_byte(uint r)
{
    return min(first_row + r, p.n_rows - 1) * p.row_bytes;
}

float unit_product(uint r, uint u)
{
    float sum = 0;
    load_unit(row_byte(r), u);
    [[unroll]] for (uint c = 0; c < GROUPS; c++) {
        vec4 xc[8] = vec4[](x[c * 8], x[c * 8 + 1], x[c * 8 + 2], x[c * 8 + 3], x[c * 8 + 4], x[c * 8 + 5],
                            x[c * 8 + 6], x[c * 8 + 7]);
        float v = dot32(decode(u, c), xc, x_sum[c]);
        sum += u * GROUPS + c < n_groups ? v : 0; // a row may end within a unit
    }
    return sum;
}

void finish(uint r, float sum)
{
    uint t = gl_WorkGroupID.y;
#ifdef HAS_TAIL
    for (uint k = n_groups * 32 + gl_SubgroupInvocationID; k < p.n_cols; k += lanes)
        sum += load_weight(row_byte(r), k) * x_buf[t * p.n_cols + k];
#endif
    sum = subgroupAdd(sum);
    if (subgroupElect() && first_row + r < p.n_rows)
        y[t * p.y_stride + p.row_begin + first_row + r] = sum;
}

void main()
{
    first_row = (gl_WorkGroupID.x * gl_NumSubgroups + gl_SubgroupID) * ROWS;
    n_groups = p.n_cols / 32;
    lanes = WG / gl_NumSubgroups;
    if (first_row >= p.n_rows)
        return;

    float acc[ROWS];
    [[unroll]] for (uint r = 0; r < ROWS; r++)
        acc[r] = 0;
    for (uint u = gl_SubgroupInvocationID; u * GROUPS < n_groups; u += lanes) {
        [[unroll]] for (uint c = 0; c < GROUPS; c++) {
            vec4 v[8];
            load_x(gl_WorkGroupID.y * p.n_cols + min(u * GROUPS + c, n_groups - 1) * 32, v);
            [[unroll]] for (uint i = 0; i < 8; i++)
                x[c * 8 + i] = v[i];
            x_sum[c] = half_sums(v);
        }
        if (GROUPS == 1) {
            [[unroll]] for (uint r = 0; r < ROWS; r++)
                acc[r] += unit_product(r, u);
        } else {
            [[dont_unroll]] for (uint r = 0; r < ROWS; r++)
                acc[r] += unit_product(r, u);
        }
    }
    if (GROUPS == 1) {
        [[unroll]] for (uint r = 0; r < ROWS; r++)
            finish(r, acc[r]);
    } else {
        [[dont_unroll]] for (uint r = 0; r < ROWS; r++)
            finish(r, acc[r]);
    }
}
