// SPDX-License-Identifier: MIT
//
// sums[g] = sum of workgroup g's share of the words, modulo 2^32: nothing but reading, to measure the bandwidth
//
//     data  uint32 [n_words], n_words a multiple of 4
//     sums  uint32 [workgroups]
//
// Grid {any, 1, 1}: a workgroup reads one contiguous share, 16 bytes per invocation and step.
#version 450
#include "common.glsl"

layout(push_constant) uniform Push { lg_read_sum_push p; };
layout(binding = 0) readonly buffer Data { uvec4 data[]; };
layout(binding = 1) writeonly buffer Sums { uint sums[]; };

shared uint partial[256];

void main()
{
    uint n = p.n_words / 4;
    uint share = n / gl_NumWorkGroups.x + uint(n % gl_NumWorkGroups.x != 0);
    uint first = min(gl_WorkGroupID.x * share, n), last = min(first + share, n);
    uvec4 sum4 = uvec4(0);
    for (uint i = first + gl_LocalInvocationIndex; i < last; i += WG)
        sum4 += data[i];
    uint sum = subgroupAdd(sum4.x + sum4.y + sum4.z + sum4.w);
    if (subgroupElect())
        partial[gl_SubgroupID] = sum;
    barrier();
    if (gl_LocalInvocationIndex == 0) {
        sum = 0;
        for (uint i = 0; i < gl_NumSubgroups; i++)
            sum += partial[i];
        sums[gl_WorkGroupID.x] = sum;
    }
}
