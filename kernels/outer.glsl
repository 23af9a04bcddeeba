// SPDX-License-Identifier: MIT
//
// A tile of sums over s of a[s][i] * b[s][j], i < TILE_A, j < TILE_B, in one of two forms. Each sum runs over s in order,
// whatever the tile.
//
// For GPUs, steps of both go through shared memory, STEP at a time, and an invocation owns 4 of i and BLOCK_B of j. 4 * WG
// divides TILE_A * TILE_B, and TILE_A / 4 divides WG.
//
// With a WG below 32, for a driver that runs on a CPU (see matmul.comp), TILE_A is 32, and a lane owns all of i and every WG-th
// of j. Each lane has the a of one step, which all multiply. A workgroup is one subgroup, and WG divides TILE_B.
//
// Before the inclusion: TILE_A and TILE_B.
#extension GL_KHR_shader_subgroup_shuffle : require

const uint STEP = 32;
const uint A4 = TILE_A / 4;
const uint BLOCK_B = TILE_A * TILE_B / (4 * gl_WorkGroupSize.x);

// One more vec4 in a row of each keeps columns out of one bank.
shared vec4 a_tile[gl_WorkGroupSize.x < 32 ? 1 : STEP][TILE_A / 4 + 1];
shared vec4 b_tile[gl_WorkGroupSize.x < 32 ? 1 : STEP][TILE_B / 4 + 1];
vec4 acc[BLOCK_B];

const uint LANES_B = gl_WorkGroupSize.x < 32 ? TILE_B / gl_WorkGroupSize.x : 1; // of j that a lane owns
vec4 lane_a[8];
float lane_b[16 * LANES_B];

bool by_lanes()
{
    return gl_WorkGroupSize.x < 32;
}

// what an invocation owns
uint own_a()
{
    return gl_LocalInvocationIndex % A4 * 4;
}

uint own_b()
{
    return gl_LocalInvocationIndex / A4 * BLOCK_B;
}

void begin_tile()
{
    [[unroll]] for (uint j = 0; j < BLOCK_B; j++)
        acc[j] = vec4(0);
}

// Adds the products of the steps in shared memory.
void multiply_steps()
{
    uint a4 = gl_LocalInvocationIndex % A4, b = own_b();
    [[unroll]] for (uint s = 0; s < STEP; s++) {
        vec4 a = a_tile[s][a4];
        if (BLOCK_B % 4 == 0) {
            [[unroll]] for (uint j = 0; j < BLOCK_B; j += 4) {
                vec4 v = b_tile[s][b / 4 + j / 4];
                [[unroll]] for (uint i = 0; i < 4; i++)
                    acc[j + i] = fma(a, vec4(v[i]), acc[j + i]);
            }
        } else {
            [[unroll]] for (uint j = 0; j < BLOCK_B; j++)
                acc[j] = fma(a, vec4(b_tile[s][(b + j) / 4][(b + j) % 4]), acc[j]);
        }
    }
}

// A macro, so that i is a constant, which a driver makes one instruction of.
#define ADD_LANE(i)                                                                       \
    if (i < gl_WorkGroupSize.x) {                                                         \
        [[unroll]] for (uint v = 0; v < 8; v++) {                                         \
            vec4 a = subgroupShuffle(lane_a[v], i);                                       \
            [[unroll]] for (uint j = 0; j < LANES_B; j++)                                 \
                acc[j * 8 + v] = fma(a, vec4(lane_b[j * 16 + i]), acc[j * 8 + v]);        \
        }                                                                                 \
    }

// Adds the products of WG steps: a lane has the a of one, and its own b of all.
void multiply_lanes()
{
    ADD_LANE(0) ADD_LANE(1) ADD_LANE(2) ADD_LANE(3) ADD_LANE(4) ADD_LANE(5) ADD_LANE(6) ADD_LANE(7)
    ADD_LANE(8) ADD_LANE(9) ADD_LANE(10) ADD_LANE(11) ADD_LANE(12) ADD_LANE(13) ADD_LANE(14) ADD_LANE(15)
}
