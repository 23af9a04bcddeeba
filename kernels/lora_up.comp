// SPDX-License-Identifier: MIT
//
// y[r][j] += scale * factor * sum over i of B[j][i] * t[r][m][i], i < rank, for matrices m of [first, first + n), where B is
// what the row's own adapter has for the matrix; a row without one stays as it is. With LG_LORA_WHOLE y[r][j] becomes the sum
// of that and bias[j] in all rows.
//
//     rows     struct lg_row [rows]
//     slots    struct lg_slot_lora [slots]
//     pairs    struct lg_lora_pair [adapters][n_targets]
//     weights  of all adapters, for the layer of the matrices; B is transposed there
//     t        float32 [rows][LG_LORA_MATRICES][t_stride]
//     bias m   float32 [n_rows[m]]; not read without LG_LORA_BIAS(m)
//     y        of each matrix float32 [rows][n_rows[m]] from y_at[m] on
//
// Grid {sum over m of ceil(ceil(n_rows[m] / 4) / WG), rows, 1}: an invocation makes four neighbouring elements.
#version 450
#include "common.glsl"

layout(push_constant) uniform Push { lg_lora_push p; };
#include "lora.glsl"
layout(binding = 4) readonly buffer T { float t[]; };
layout(binding = 5) readonly buffer Bias0 { float bias_0[]; };
layout(binding = 6) readonly buffer Bias1 { float bias_1[]; };
layout(binding = 7) readonly buffer Bias2 { float bias_2[]; };
layout(binding = 8) buffer Y { float y[]; };

float bias_of(uint m, uint j)
{
    if ((p.flags & LG_LORA_BIAS(m)) == 0)
        return 0;
    return m == 0 ? bias_0[j] : m == 1 ? bias_1[j] : bias_2[j];
}

uint units_of(uint m)
{
    return (p.n_rows[m] + 3) / 4;
}

vec4 product(lg_lora_pair pair, uint r, uint m, uint u, const bool half_size)
{
    vec4 sum = vec4(0);
    for (uint i = 0; i < pair.rank; i++)
        sum += load4(pair.b_at, i * units_of(m) + u, half_size) * t[t_at(r, m) + i];
    return sum;
}

void main()
{
    uint r = gl_WorkGroupID.y, group = gl_WorkGroupID.x, m = p.first;
    for (; group >= (units_of(m) + WG - 1) / WG; m++)
        group -= (units_of(m) + WG - 1) / WG;
    uint u = group * WG + gl_LocalInvocationID.x, n_units = units_of(m), n_cols = p.n_rows[m];
    bool whole = (p.flags & LG_LORA_WHOLE) != 0;
    lg_slot_lora slot = slots[rows[r].z];
    lg_lora_pair pair = pair_of(slot.seat, m);
    if (u >= n_units || (pair.rank == 0 && !whole))
        return;
    vec4 sum;
    if (pair.half_size != 0)
        sum = product(pair, r, m, u, true);
    else
        sum = product(pair, r, m, u, false);
    sum *= slot.scale * pair.factor;
    uint at = p.y_at[m] + r * n_cols + u * 4, n = min(4, n_cols - u * 4);
    for (uint j = 0; j < n; j++) {
        float before = whole ? bias_of(m, u * 4 + j) : y[at + j];
        y[at + j] = pair.rank == 0 ? before : before + sum[j];
    }
}
