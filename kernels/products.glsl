// SPDX-License-Identifier: MIT
//
// The products of ROWS rows of weights, which a subgroup owns, with COLS rows of x: what the kernels for few rows of x share.
// The subgroup's lanes share K out in units of GROUPS * 32; a lane holds its unit of x in registers for all rows of weights.
// What a row of x comes to does not depend on COLS nor on its neighbours, bit for bit: its products are added in the same order,
// and nothing is left to a driver to contract.
//
// Of a grid's T workgroups in y, those that are below T / COLS have COLS rows of x each, from y * COLS on, or what there is of
// them; the others have none.
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
layout(constant_id = 4) const uint X_ROWS = 1; // 0 is 1
const uint COLS = X_ROWS == 0 ? 1 : X_ROWS;
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
uint x_unit[COLS * 8];
float x_d[COLS];
#else
vec4 x_unit[COLS * GROUPS * 8];
#endif
vec2 x_sum[COLS * GROUPS];
float sums[ROWS * COLS];
uint n_groups, n_k;
uint x_first, n_x, col; // the workgroup's rows of x, and which of them is asked for

uint lanes()
{
    return WG / gl_NumSubgroups;
}

// whether the workgroup has rows of x
bool find_x()
{
    x_first = gl_WorkGroupID.y * COLS;
    n_x = min(gl_NumWorkGroups.y - min(x_first, gl_NumWorkGroups.y), COLS);
    return n_x > 0;
}

bool choose_x(uint j)
{
    col = j;
    return j < n_x;
}

// Does something for every row of x, `col`, that there is.
#define FOR_X(j) [[unroll]] for (uint j = 0; j < COLS; j++) if (choose_x(j))

#ifdef X_INT8
void load_x_unit(uint u)
{
    [[unroll]] for (uint j = 0; j < COLS; j++) {
        uint row = x_first + min(j, n_x - 1);
#ifdef X_PACKED
        uint at = row * (LG_I8_ROW_BYTES(n_k) / 16);
        uvec4 a = x_buf[at + u * 2], b = x_buf[at + u * 2 + 1];
        uint q[8] = uint[](a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w);
        uint pair = at * 2 + LG_I8_PADDED(n_k) / 8 + u;
        x_d[j] = x_pairs[pair].x;
        x_sum[j] = x_pairs[pair + LG_I8_PADDED(n_k) / 32];
#else
        vec4 v[8];
        uint q[8];
        load_x(row * n_k + u * 32, v);
#ifdef NORM_BINDING
        normalise(j, u * 32, true, v);
#endif
        quantize32(v, q, x_d[j], x_sum[j]);
#endif
        [[unroll]] for (uint i = 0; i < 8; i++)
            x_unit[j * 8 + i] = q[i];
    }
}

void add_unit(uint r, uint u)
{
    load_unit(row_byte(r), u);
    Group g = decode(u, 0);
    [[unroll]] for (uint j = 0; j < COLS; j++) {
        uint i = j * 8;
        uint q[8] = uint[](x_unit[i], x_unit[i + 1], x_unit[i + 2], x_unit[i + 3], x_unit[i + 4], x_unit[i + 5],
                           x_unit[i + 6], x_unit[i + 7]);
        sums[r * COLS + j] += int_dot32(g, q, x_d[j], x_sum[j]);
    }
}
#else
void load_x_unit(uint u)
{
    [[unroll]] for (uint j = 0; j < COLS; j++) {
        uint row = x_first + min(j, n_x - 1);
        [[unroll]] for (uint c = 0; c < GROUPS; c++) {
            uint k = min(u * GROUPS + c, n_groups - 1) * 32, at = j * GROUPS + c;
            vec4 v[8];
            load_x(row * n_k + k, v);
#ifdef NORM_BINDING
            normalise(j, k, u * GROUPS + c < n_groups, v);
#endif
            [[unroll]] for (uint i = 0; i < 8; i++)
                x_unit[at * 8 + i] = v[i];
            x_sum[at] = half_sums(v);
        }
    }
}

void add_unit(uint r, uint u)
{
    float sum[COLS];
    [[unroll]] for (uint j = 0; j < COLS; j++)
        sum[j] = 0;
    load_unit(row_byte(r), u);
    [[unroll]] for (uint c = 0; c < GROUPS; c++) {
        Group g = decode(u, c);
        [[unroll]] for (uint j = 0; j < COLS; j++) {
            uint at = j * GROUPS + c, i = at * 8;
            vec4 xc[8] = vec4[](x_unit[i], x_unit[i + 1], x_unit[i + 2], x_unit[i + 3], x_unit[i + 4], x_unit[i + 5],
                                x_unit[i + 6], x_unit[i + 7]);
            float v = dot32(g, xc, x_sum[at]);
            sum[j] += u * GROUPS + c < n_groups ? v : 0; // a row may end within a unit
        }
    }
    [[unroll]] for (uint j = 0; j < COLS; j++)
        sums[r * COLS + j] += sum[j];
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

// Every lane's share of the products with the rows of x, of n_cols elements.
void add_products(uint n_cols)
{
    n_k = n_cols;
    n_groups = n_cols / 32;
#ifdef NORM_BINDING
    [[unroll]] for (uint j = 0; j < COLS; j++)
        norm_begin(j, (x_first + min(j, n_x - 1)) * n_k, n_k, p.eps, lanes());
#endif
    [[unroll]] for (uint i = 0; i < ROWS * COLS; i++)
        sums[i] = 0;
    for (uint u = gl_SubgroupInvocationID; u * GROUPS < n_groups; u += lanes()) {
        load_x_unit(u);
#define ADD_UNIT(r) add_unit(r, u)
        FOR_ROWS(1, ADD_UNIT)
    }
#ifdef NORM_BINDING
    [[unroll]] for (uint j = 0; j < COLS; j++) {
#ifdef HAS_TAIL
        uint row = x_first + min(j, n_x - 1);
        for (uint k = n_groups * 32 + gl_SubgroupInvocationID; k < n_k; k += lanes())
            norm_squares[j] += x_buf[row * n_k + k] * x_buf[row * n_k + k];
#endif
        norm_end(j, n_k, p.eps);
    }
#endif
}

// the whole sum of row r and of the row of x that was chosen, in every lane; all of them must ask
float row_sum(uint r)
{
    float sum = sums[r * COLS + col];
#ifdef HAS_TAIL
    for (uint k = n_groups * 32 + gl_SubgroupInvocationID; k < n_k; k += lanes()) {
        float x = x_buf[(x_first + col) * n_k + k];
#ifdef NORM_BINDING
        x = normalised(col, x, k);
#endif
        sum = fma(load_weight(row_byte(r), k), x, sum);
    }
#endif
#ifdef NORM_BINDING
    return subgroupAdd(sum) * norm_factor[col];
#else
    return subgroupAdd(sum);
#endif
}
