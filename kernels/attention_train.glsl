// SPDX-License-Identifier: MIT
//
// What the kernels of attention in training share. Rows of a sample are neighbours, and their positions ascend; a row sees
// those of its sample up to itself. The kernel declares the push constants `p`.

layout(binding = 0) readonly buffer Dims { uint dims[]; };
layout(binding = 1) readonly buffer Rows { uvec4 rows[]; };

// the first row of the sample that row i is of
uint sample_begin(uint i)
{
    uint low = i - min(i, rows[i].y), high = i, slot = rows[i].z;
    while (low < high) {
        uint middle = low + (high - low) / 2;
        if (rows[middle].z == slot)
            high = middle;
        else
            low = middle + 1;
    }
    return high;
}

// the row behind its last, of n in all
uint sample_end(uint i, uint n)
{
    uint low = i + 1, high = n, slot = rows[i].z;
    while (low < high) {
        uint middle = low + (high - low) / 2;
        if (rows[middle].z == slot)
            low = middle + 1;
        else
            high = middle;
    }
    return high;
}

// where a row of q, a or their gradients has a head's numbers, and where one of k, v or theirs has them
uint head_at(uint row, uint head)
{
    return (row * p.n_heads + head) * p.head_dim;
}

uint key_at(uint row, uint kv_head)
{
    return (row * p.n_kv + kv_head) * p.head_dim;
}
