// SPDX-License-Identifier: MIT
//
// x[t][m] += bias[m] + sum over k of y[t][k] * w[m][k], m < n_rows: a projection back into the residual stream, for few
// rows of x
//
//     w     weights [n_rows][n_cols], rows of row_bytes bytes
//     y     float32 [T][n_cols]
//     bias  float32 [n_rows]; not read without one
//     x     float32 [T][n_rows]
//
// Grid {ceil(n_rows / (subgroups * ROWS)), T, 1}: each subgroup of a workgroup owns ROWS rows of w and one of y.
#version 450
#include "common.glsl"

layout(push_constant) uniform Push { lg_project_push p; };
#define W_BINDING 0
#define X_BINDING 1
#include "products.glsl"
layout(binding = 2) readonly buffer Bias { float bias[]; };
layout(binding = 3) buffer Stream { float stream[]; };

uint first_row;

uint row_byte(uint r)
{
    return min(first_row + r, p.n_rows - 1) * p.row_bytes;
}

void finish(uint r)
{
    float sum = row_sum(r);
    uint m = first_row + r;
    if (!subgroupElect() || m >= p.n_rows)
        return;
    if (p.bias != 0)
        sum += bias[m];
    stream[gl_WorkGroupID.y * p.n_rows + m] += sum;
}

void main()
{
    first_row = (gl_WorkGroupID.x * gl_NumSubgroups + gl_SubgroupID) * ROWS;
    if (first_row >= p.n_rows)
        return;
    add_products(gl_WorkGroupID.y, p.n_cols);
    FOR_ROWS(1, finish)
}
