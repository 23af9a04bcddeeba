// SPDX-License-Identifier: MIT
//
// y[t][row_begin + m] = sum over k of x[t][k] * w[m][k], m < n_rows: for few rows of x
//
//     w  weights [n_rows][n_cols], rows of row_bytes bytes
//     x  float32 [T][n_cols]; with X_PACKED rows that `quantize` made, LG_I8_ROW_BYTES(n_cols) bytes each
//     y  float32 [T][y_stride]
//
// Grid {ceil(n_rows / (subgroups * ROWS)), T, 1}: each subgroup of a workgroup owns ROWS rows of w and COLS of x, as
// products.glsl shares them out.
#version 450
#include "common.glsl"

layout(push_constant) uniform Push { lg_matmul_push p; };
#define W_BINDING 0
#define X_BINDING 1
layout(binding = 2) writeonly buffer Y { float y[]; };

#include "products.glsl"

uint first_row;

// rows past the end repeat the last
uint row_byte(uint r)
{
    return min(first_row + r, p.n_rows - 1) * p.row_bytes;
}

void finish(uint r)
{
    float sum = row_sum(r);
    if (subgroupElect() && first_row + r < p.n_rows)
        y[(x_first + col) * p.y_stride + p.row_begin + first_row + r] = sum;
}

void main()
{
    first_row = (gl_WorkGroupID.x * gl_NumSubgroups + gl_SubgroupID) * ROWS;
    if (first_row >= p.n_rows || !find_x())
        return;
    add_products(p.n_cols);
    FOR_X(j) {
        FOR_ROWS(1, finish)
    }
}
