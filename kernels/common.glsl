// SPDX-License-Identifier: MIT
//
// What every kernel begins with: the workgroup size as specialisation constant 0, the push constants, and reductions
// over a workgroup.
//
// The reductions hold for any subgroup size and any number of subgroups: a subgroup operation, one value per subgroup
// in shared memory, and then each invocation folds these in their order, so that all get the same bits. Every invocation
// of the workgroup must call them.
//
// Mesa's lavapipe ends a shader's loops after 65535 iterations of an invocation, all its loops together: rows as long as
// a vocabulary need workgroups of 64 or more there.
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require

#include "push.h"

layout(local_size_x_id = 0) in;

#define WG gl_WorkGroupSize.x
#define NO_INDEX 0xffffffffu
#define INFINITY uintBitsToFloat(0x7f800000u)

#ifdef USE_REDUCTIONS
const uint MAX_SUBGROUPS = 256; // 1024 invocations in subgroups of 4

shared float partial_float[MAX_SUBGROUPS];
shared uint partial_uint[MAX_SUBGROUPS];

float group_add(float v)
{
    v = subgroupAdd(v);
    barrier(); // the previous reduction has been read
    if (subgroupElect())
        partial_float[gl_SubgroupID] = v;
    barrier();
    v = partial_float[0];
    for (uint i = 1; i < gl_NumSubgroups; i++)
        v += partial_float[i];
    return v;
}

float group_max(float v)
{
    v = subgroupMax(v);
    barrier();
    if (subgroupElect())
        partial_float[gl_SubgroupID] = v;
    barrier();
    v = partial_float[0];
    for (uint i = 1; i < gl_NumSubgroups; i++)
        v = max(v, partial_float[i]);
    return v;
}

uint group_min(uint v)
{
    v = subgroupMin(v);
    barrier();
    if (subgroupElect())
        partial_uint[gl_SubgroupID] = v;
    barrier();
    v = partial_uint[0];
    for (uint i = 1; i < gl_NumSubgroups; i++)
        v = min(v, partial_uint[i]);
    return v;
}
#endif
