// SPDX-License-Identifier: MIT
//
// The products of ROWS rows of weights, which a subgroup owns, with one row of x: what the kernels for few rows of x
// share. The subgroup's lanes share K out in units of GROUPS * 32; a lane holds its unit of x in registers for all rows.
//
// GPUs want few rows (1 to 4), unrolled. A driver on a CPU wants many (32), and a loop: it compiles a long shader for
// seconds, and its registers are memory anyway.
//
// Before the inclusion: common.glsl, W_BINDING and X_BINDING. With NORM_BINDING x is normalised as it is loaded (norm.glsl),
// and the push constants, p, have the norm's eps. The kernel then has row_byte().
//
// With X_INT8 the products are integer ones, for GPUs that are fast at them. Lanes then round x to 8 bits as they load it; or,
// with X_PACKED, its rows are what `quantize` made.
layout(constant_id = 1) const uint ROWS = 4;

#ifdef X_INT8
const uint GROUPS = 1;
#else
layout(constant_id = 2) const uint UNIT_GROUPS = 1; // 1, 2 or 4; 0 is 1
const uint GROUPS = UNIT_GROUPS == 0 ? 1 : UNIT_GROUPS;
#endif
#include "weights.glsl"
#ifdef X_PACKED
layout(binding = X_BINDING) readonly buffer X { uvec4 x_buf[]; };
layout(binding = X_BINDING) readonly buffer XPairs { vec2 x_pairs[]; };
#else
#include "activations.glsl"
#endif
#ifdef X_INT8
#include "int_dot.glsl"
#include "quantize.glsl"
#endif
#ifdef NORM_BINDING
#include "norm.glsl"
#endif

// where row r of the subgroup's begins in the weights
uint row_byte(uint r);

#ifdef X_INT8
uint x_unit[8];
float x_d;
vec2 x_sum;
#else
vec4 x_unit[GROUPS * 8];
vec2 x_sum[GROUPS];
#endif
float sums[ROWS];
uint x_row, n_groups, n_x;

uint lanes()
{
    return WG / gl_NumSubgroups;
}

#ifdef X_INT8
void load_x_unit(uint u)
{
#ifdef X_PACKED
    uvec4 a = x_buf[x_row + u * 2], b = x_buf[x_row + u * 2 + 1];
    x_unit = uint[](a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w);
    uint pair = x_row * 2 + LG_I8_PADDED(n_x) / 8 + u;
    x_d = x_pairs[pair].x;
    x_sum = x_pairs[pair + LG_I8_PADDED(n_x) / 32];
#else
    vec4 v[8];
    load_x(x_row + u * 32, v);
#ifdef NORM_BINDING
    normalise(u * 32, true, v);
#endif
    quantize32(v, x_unit, x_d, x_sum);
#endif
}

float unit_product(uint r, uint u)
{
    load_unit(row_byte(r), u);
    return int_dot32(decode(u, 0), x_unit, x_d, x_sum);
}
#else
void load_x_unit(uint u)
{
    [[unroll]] for (uint c = 0; c < GROUPS; c++) {
        uint k = min(u * GROUPS + c, n_groups - 1) * 32;
        vec4 v[8];
        load_x(x_row + k, v);
#ifdef NORM_BINDING
        normalise(k, u * GROUPS + c < n_groups, v);
#endif
        [[unroll]] for (uint i = 0; i < 8; i++)
            x_unit[c * 8 + i] = v[i];
        x_sum[c] = half_sums(v);
    }
}

float unit_product(uint r, uint u)
{
    float sum = 0;
    load_unit(row_byte(r), u);
    [[unroll]] for (uint c = 0; c < GROUPS; c++) {
        vec4 xc[8] = vec4[](x_unit[c * 8], x_unit[c * 8 + 1], x_unit[c * 8 + 2], x_unit[c * 8 + 3], x_unit[c * 8 + 4],
                            x_unit[c * 8 + 5], x_unit[c * 8 + 6], x_unit[c * 8 + 7]);
        float v = dot32(decode(u, c), xc, x_sum[c]);
        sum += u * GROUPS + c < n_groups ? v : 0; // a row may end within a unit
    }
    return sum;
}
#endif

// Does something for every row, or every second one.
#define FOR_ROWS(step, what)                                      \
    if (GROUPS == 1) {                                            \
        [[unroll]] for (uint r = 0; r < ROWS; r += (step))        \
            what(r);                                              \
    } else {                                                      \
        [[dont_unroll]] for (uint r = 0; r < ROWS; r += (step))   \
            what(r);                                              \
    }

// Every lane's share of the products with row t of x, of n_cols elements.
void add_products(uint t, uint n_cols)
{
#ifdef X_PACKED
    x_row = t * (LG_I8_ROW_BYTES(n_cols) / 16);
#else
    x_row = t * n_cols;
#endif
    n_x = n_cols;
    n_groups = n_cols / 32;
#ifdef NORM_BINDING
    norm_begin(x_row, n_cols, p.eps, lanes());
#endif
    [[unroll]] for (uint r = 0; r < ROWS; r++)
        sums[r] = 0;
    for (uint u = gl_SubgroupInvocationID; u * GROUPS < n_groups; u += lanes()) {
        load_x_unit(u);
#define ADD_UNIT(r) sums[r] += unit_product(r, u)
        FOR_ROWS(1, ADD_UNIT)
    }
#ifdef NORM_BINDING
#ifdef HAS_TAIL
    for (uint k = n_groups * 32 + gl_SubgroupInvocationID; k < n_x; k += lanes())
        norm_squares += x_buf[x_row + k] * x_buf[x_row + k];
#endif
    norm_end(n_cols, p.eps);
#endif
}

// the whole sum of row r, in every lane; all of them must ask
float row_sum(uint r)
{
    float sum = sums[r];
#ifdef HAS_TAIL
    for (uint k = n_groups * 32 + gl_SubgroupInvocationID; k < n_x; k += lanes()) {
#ifdef NORM_BINDING
        sum += load_weight(row_byte(r), k) * normalised(x_buf[x_row + k], k);
#else
        sum += load_weight(row_byte(r), k) * x_buf[x_row + k];
#endif
    }
#endif
#ifdef NORM_BINDING
    return subgroupAdd(sum) * norm_factor;
#else
    return subgroupAdd(sum);
#endif
}
