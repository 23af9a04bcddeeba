// SPDX-License-Identifier: MIT
//
// A tile of sums over s of a[s][i] * b[s][j], i < TILE_A, j < TILE_B: steps of both go through shared memory, STEP at a time,
// and an invocation owns 4 of i and BLOCK_B of j. Each sum runs over s in order, whatever the tile. 4 * WG divides
// TILE_A * TILE_B, and TILE_A / 4 divides WG.
//
// Before the inclusion: TILE_A and TILE_B.

const uint STEP = 32;
const uint A4 = TILE_A / 4;
const uint BLOCK_B = TILE_A * TILE_B / (4 * gl_WorkGroupSize.x);

// One more vec4 in a row of each keeps columns out of one bank.
shared vec4 a_tile[STEP][TILE_A / 4 + 1];
shared vec4 b_tile[STEP][TILE_B / 4 + 1];
vec4 acc[BLOCK_B];

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
