// SPDX-License-Identifier: MIT
//
// What attention needs of x, for few rows of it: h = norm(x[t]), as FORM says; q = h Wq^T + bq, k = h Wk^T + bk and
// v = h Wv^T + bv. The heads of q and k are rotated by the row's position as rope.comp does it; k and v go to the cells of
// the caches where kv_write.comp would put them. Matrices of n_rows 0 are left out.
//
//     rows              struct lg_row [T]
//     pages             uint32 [slots][max_pages]
//     table             float32 [positions][n_rot / 2][2], cosine and sine; not read when n_rot is 0
//     x                 float32 [T][n_cols]
//     norm, its bias    float32 [n_cols]; the latter is read by LayerNorm only
//     w                 weights of each matrix m from byte at[m] on [n_rows[m]][n_cols], rows of row_bytes bytes
//     bq, bk, bv        float32 [n_rows[m]], with LG_QKV_EACH [T][n_rows[m]]; not read without them
//     q                 float32 [T][n_rows[0]]
//     k_cache, v_cache  float32 [pages * page_size][n_rows[m]]; with LG_QKV_APART [T][n_rows[m]]
//
// Grid {ceil(all rows / (subgroups * ROWS)), T, 1}: each subgroup of a workgroup owns ROWS rows of the matrices one below
// the other and COLS of x, as products.glsl shares them out. ROWS is even, and rows that are rotated together are put beside
// each other; head_dim is even where there is rotation.
#version 450
#include "common.glsl"

layout(push_constant) uniform Push { lg_qkv_push p; };
layout(binding = 0) readonly buffer Rows { uvec4 rows[]; };
layout(binding = 1) readonly buffer Pages { uint pages[]; };
layout(binding = 2) readonly buffer Table { float table[]; };
#define X_BINDING 3
#define NORM_BINDING 4
#define W_BINDING 6
#include "products.glsl"
layout(binding = 7) readonly buffer BiasQ { float bias_q[]; };
layout(binding = 8) readonly buffer BiasK { float bias_k[]; };
layout(binding = 9) readonly buffer BiasV { float bias_v[]; };
layout(binding = 10) writeonly buffer Q { float q[]; };
layout(binding = 11) buffer KCache { float k_cache[]; };
layout(binding = 12) buffer VCache { float v_cache[]; };

uint first_row, n_all, pos, cell;
uint row_at[ROWS];

// A row of the matrices one below the other: which matrix, and the row of it.
struct Place {
    uint matrix, row;
};

Place place_of(uint i)
{
    uint end_q = p.n_rows[0], end_k = end_q + p.n_rows[1];
    uint matrix = uint(i >= end_q) + uint(i >= end_k);
    uint row = i - (matrix == 0 ? 0 : matrix == 1 ? end_q : end_k);
    if (matrix < 2 && (p.flags & LG_QKV_HALVES) != 0) {
        uint j = row % p.head_dim;
        if (j < p.n_rot)
            row += j / 2 + j % 2 * (p.n_rot / 2) - j;
    }
    return Place(matrix, row);
}

uint row_byte(uint r)
{
    return row_at[r];
}

void find_row(uint r)
{
    Place place = place_of(min(first_row + r, n_all - 1));
    row_at[r] = p.at[place.matrix] + place.row * p.row_bytes;
}

float bias_of(Place place)
{
    if ((p.flags & LG_QKV_BIAS(place.matrix)) == 0)
        return 0;
    uint i = place.row;
    if ((p.flags & LG_QKV_EACH) != 0)
        i += (x_first + col) * p.n_rows[place.matrix];
    return place.matrix == 0 ? bias_q[i] : place.matrix == 1 ? bias_k[i] : bias_v[i];
}

void put(Place place, float v)
{
    if (place.matrix == 0)
        q[(x_first + col) * p.n_rows[0] + place.row] = v;
    else if (place.matrix == 1)
        k_cache[cell * p.n_rows[1] + place.row] = v;
    else
        v_cache[cell * p.n_rows[2] + place.row] = v;
}

void finish(uint r)
{
    float a = row_sum(r), b = row_sum(r + 1);
    uint i = first_row + r;
    if (!subgroupElect() || i >= n_all)
        return;
    Place at_a = place_of(i), at_b = place_of(min(i + 1, n_all - 1));
    a += bias_of(at_a);
    b += bias_of(at_b);
    uint j = at_a.row % p.head_dim;
    if (at_a.matrix < 2 && j < p.n_rot) {
        uint angle = (pos * (p.n_rot / 2) + ((p.flags & LG_QKV_HALVES) != 0 ? j : j / 2)) * 2;
        float c = table[angle], s = table[angle + 1], a_before = a;
        a = a * c - b * s;
        b = a_before * s + b * c;
    }
    put(at_a, a);
    if (i + 1 < n_all)
        put(at_b, b);
}

void main()
{
    n_all = p.n_rows[0] + p.n_rows[1] + p.n_rows[2];
    first_row = (gl_WorkGroupID.x * gl_NumSubgroups + gl_SubgroupID) * ROWS;
    if (first_row >= n_all || !find_x())
        return;
    FOR_ROWS(1, find_row)
    add_products(p.n_cols);
    FOR_X(j) {
        uvec4 row = rows[x_first + j];
        pos = row.y;
        cell = x_first + j;
        if ((p.flags & LG_QKV_APART) == 0)
            cell = pages[row.z * p.max_pages + pos / p.page_size] * p.page_size + pos % p.page_size;
        FOR_ROWS(2, finish)
    }
}
