// SPDX-License-Identifier: MIT
//
// Makes the next pass's rows of what was sampled: of each output row whose sampler has not ended, in their order, the token
// at the next position. So a sequence that is over costs nothing more, however many passes were submitted at once.
//
//     samplers  struct lg_sampler [slots]
//     tokens    uint32 [outs], that were sampled
//     out_ids   uint32 [outs], the row of each output row, ascending; in the end those of the next pass
//     rows      struct lg_row [rows]
//     dims      uint32 [LG_N_DIMS]; all that count rows become the number of the next pass's
//
// Grid {1, 1, 1}: the only workgroup takes output rows in turns of its size, of at most MAX_WG. A turn only writes rows that
// no later one reads.
#version 450
#include "common.glsl"

layout(binding = 0) readonly buffer Samplers { lg_sampler samplers[]; };
layout(binding = 1) readonly buffer Tokens { uint tokens[]; };
layout(binding = 2) buffer OutIds { uint out_ids[]; };
layout(binding = 3) buffer Rows { uvec4 rows[]; };
layout(binding = 4) buffer Dims { uint dims[]; };

const uint MAX_WG = 1024;
shared uint live[MAX_WG];

void main()
{
    uint me = gl_LocalInvocationIndex, n_outs = dims[LG_DIM_SAMPLE], n_rows = 0;
    for (uint first = 0; first < n_outs; first += WG) {
        uint o = first + me;
        uvec4 row = o < n_outs ? rows[out_ids[o]] : uvec4(0);
        live[me] = uint(o < n_outs && samplers[row.z].ended == 0);
        barrier();
        uint before = 0, all = 0;
        for (uint i = 0; i < min(WG, n_outs - first); i++) {
            before += i < me ? live[i] : 0;
            all += live[i];
        }
        if (live[me] != 0) {
            rows[n_rows + before] = uvec4(tokens[o], row.y + 1, row.z, 0);
            out_ids[n_rows + before] = n_rows + before;
        }
        n_rows += all;
        barrier();
    }
    if (me != 0)
        return;
    dims[LG_DIM_ROWS] = n_rows;
    dims[LG_DIM_OUT] = n_rows;
    dims[LG_DIM_SAMPLE] = n_rows;
    dims[LG_DIM_SCORE] = 0;
    dims[LG_DIM_TOP] = 0;
}
