// SPDX-License-Identifier: MIT
//
// What the kernels of attention in training share. Rows of a sample are neighbours, and their positions ascend; a row sees
// those of its sample up to itself. The kernel declares the push constants `p` and the constant ROWS, rows of a workgroup.
//
// With ROWS above 1 and a WG of 128, heads of whole vectors and at most 128 numbers go in tiles: UNITS rows of a sample and
// blocks of the others, one after the other, through the same shared memory. 16 neighbouring invocations own OWN of the units;
// of a block, each makes the products with one or two rows. Blocks begin at multiples of their size, counted from the sample's
// beginning, so that nothing depends on the other rows. Otherwise rows go one by one.

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

const uint UNITS = 16;
const uint OWN = 2;
const uint NEIGHBOURS = 16; // that own the same units
const uint TURNS = 2;       // rows of a block, or vectors of a head, for each of them
const uint LINE = 33;       // numbers of a unit, one more than a block has rows

const uint MINE_ROOM = ROWS > 1 ? 512 : LG_MAX_HEAD_DIM / 4;
const uint BLOCK_ROOM = ROWS > 1 ? 544 : 1;
const uint FACTOR_ROOM = ROWS > 1 ? UNITS * LINE : gl_WorkGroupSize.x;

shared vec4 mine_a[MINE_ROOM];
shared vec4 mine_b[MINE_ROOM];
shared vec4 block[BLOCK_ROOM]; // rows one vector longer than they need be, against bank conflicts
shared float weights[FACTOR_ROOM];
shared float slopes[FACTOR_ROOM];

uint vecs;      // of a head
uint per_block; // rows
uint lane, own; // among the neighbours, and the first of their units

bool goes_in_tiles()
{
    return ROWS > 1 && WG == 128 && p.head_dim % 4 == 0 && p.head_dim <= 128;
}

void begin_tiles()
{
    vecs = p.head_dim / 4;
    per_block = vecs <= 16 ? 32 : 16;
    lane = gl_LocalInvocationIndex % NEIGHBOURS;
    own = gl_LocalInvocationIndex / NEIGHBOURS * OWN;
}

// dot products of the units and the rows lane and lane + NEIGHBOURS of the block
void products(bool b, out float result[OWN][TURNS])
{
    vec4 sum[OWN][TURNS];
    for (uint i = 0; i < OWN; i++)
        for (uint j = 0; j < TURNS; j++)
            sum[i][j] = vec4(0);
    for (uint v = 0; v < vecs; v++) {
        vec4 x[TURNS];
        for (uint j = 0; j < TURNS; j++)
            x[j] = block[min(lane + j * NEIGHBOURS, per_block - 1) * (vecs + 1) + v];
        for (uint i = 0; i < OWN; i++) {
            uint at = (own + i) * vecs + v;
            vec4 m = b ? mine_b[at] : mine_a[at];
            for (uint j = 0; j < TURNS; j++)
                sum[i][j] += m * x[j];
        }
    }
    for (uint i = 0; i < OWN; i++)
        for (uint j = 0; j < TURNS; j++)
            result[i][j] = (sum[i][j].x + sum[i][j].y) + (sum[i][j].z + sum[i][j].w);
}

// Adds n rows of the block, each multiplied by its weight or slope.
void gather(bool by_slope, uint n, inout vec4 acc[OWN][TURNS])
{
    for (uint r = 0; r < n; r++) {
        vec4 x[TURNS];
        for (uint j = 0; j < TURNS; j++)
            x[j] = block[r * (vecs + 1) + min(lane + j * NEIGHBOURS, vecs - 1)];
        for (uint i = 0; i < OWN; i++) {
            uint at = (own + i) * LINE + r;
            float factor = by_slope ? slopes[at] : weights[at];
            for (uint j = 0; j < TURNS; j++)
                acc[i][j] += factor * x[j];
        }
    }
}

// Puts n rows of a buffer of vectors, each `stride` vectors after the one before, into the block or among the units.
#define LOAD_BLOCK(buf, at, stride, n)                                          \
    for (uint i_ = gl_LocalInvocationIndex; i_ < (n) * vecs; i_ += WG)          \
        block[i_ / vecs * (vecs + 1) + i_ % vecs] = buf[(at) + i_ / vecs * (stride) + i_ % vecs];
#define LOAD_UNITS(units, buf, at, stride, n, factor)                           \
    for (uint i_ = gl_LocalInvocationIndex; i_ < UNITS * vecs; i_ += WG)        \
        units[i_] = i_ / vecs < (n) ? buf[(at) + i_ / vecs * (stride) + i_ % vecs] * (factor) : vec4(0);
