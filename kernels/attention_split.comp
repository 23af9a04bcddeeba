// SPDX-License-Identifier: MIT
//
// attention.comp's formula for few rows with many keys: the keys of a row are split over workgroups.
//
//     rows              struct lg_row [rows]
//     pages             uint32 [slots][max_pages]
//     q                 float32 [rows][n_heads][head_dim]
//     k_cache, v_cache  rows of KV_TYPE (push.h) [pages * page_size], of n_kv * head_dim numbers
//     y                 float32 [rows][n_heads][head_dim]
//     parts             float32 [rows][n_heads][SPLITS][head_dim + 4], for a sum of values, its largest score, its sum of
//                       exponentials and two unused: only for the kernel's own use
//     done              uint32 [rows][gl_NumWorkGroups.x], 0 before and after
//
// Grid {n_kv * ceil(n_heads / n_kv / HEADS), SPLITS, rows}: a workgroup takes HEADS heads that share keys (or what is left
// of them) and one part of the keys. How a row's keys are split depends on their number alone; up to LEAST keys are one
// part. The last workgroup of a row to finish adds the parts in their order. head_dim is 4 * VECS, VECS at most WG.
//
// Keys go by in steps of WG. An invocation computes all scores of a key, then each subgroup makes the exponentials of some
// of the heads; for the values, invocations are laid out as WG / VECS rows of VECS.
#version 450
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "push.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint VECS = 16;
layout(constant_id = 2) const uint SPLITS = 16;
layout(constant_id = 3) const uint HEADS = 7;

#define WG gl_WorkGroupSize.x
#define INFINITY uintBitsToFloat(0x7f800000u)
const uint LEAST = 128;
const uint LANES = gl_WorkGroupSize.x / VECS; // rows of invocations that take values

layout(push_constant) uniform Push { lg_attention_push p; };
layout(binding = 0) readonly buffer Rows { uvec4 rows[]; };
layout(binding = 1) readonly buffer Pages { uint pages[]; };
layout(binding = 2) readonly buffer Q4 { vec4 q4[]; };
layout(binding = 5) writeonly buffer Y4 { vec4 y4[]; };
layout(binding = 6) coherent buffer Parts4 { vec4 parts4[]; };
layout(binding = 7) coherent buffer Done { uint done[]; };

#define K_BINDING 3
#define V_BINDING 4
#define KV_CONSTANT 4
#include "kv.glsl"
#include "attention.glsl"

shared vec4 queries[HEADS][VECS];
shared float scores[HEADS][gl_WorkGroupSize.x];
shared uint cells[gl_WorkGroupSize.x]; // where the values of the step's keys are
shared float top[HEADS], sum[HEADS], factor[HEADS];
shared vec4 rest[gl_WorkGroupSize.x];
shared uint before; // workgroups of this row that were done earlier

Heads heads;
uint n_heads;
vec4 acc[HEADS];

void put_scores(uint slot, uint key, uint end)
{
    float score[HEADS];
    vec4 products[HEADS];
    [[unroll]] for (uint h = 0; h < HEADS; h++)
        products[h] = vec4(0);
    uint cell = cell_of(slot, min(key, end - 1));
    cells[gl_LocalInvocationIndex] = cell;
    for (uint v = 0; v < VECS; v++) {
        vec4 k = key4(cell, heads.kv_head * VECS + v);
        [[unroll]] for (uint h = 0; h < HEADS; h++)
            products[h] += queries[h][v] * k;
    }
    [[unroll]] for (uint h = 0; h < HEADS; h++) {
        vec4 s = products[h];
        scores[h][gl_LocalInvocationIndex] = key < end ? (s.x + s.y) + (s.z + s.w) : -INFINITY;
    }
}

void soften()
{
    for (uint h = gl_SubgroupID; h < n_heads; h += gl_NumSubgroups) {
        uint lanes = WG / gl_NumSubgroups;
        float most = -INFINITY, total = 0;
        for (uint k = gl_SubgroupInvocationID; k < WG; k += lanes)
            most = max(most, scores[h][k]);
        float old = top[h], new_top = max(old, subgroupMax(most));
        for (uint k = gl_SubgroupInvocationID; k < WG; k += lanes) {
            float weight = exp(scores[h][k] - new_top);
            scores[h][k] = weight;
            total += weight;
        }
        total = subgroupAdd(total);
        subgroupBarrier();
        if (subgroupElect()) {
            factor[h] = exp(old - new_top);
            sum[h] = sum[h] * factor[h] + total;
            top[h] = new_top;
        }
    }
}

void add_values(uint lane, uint v, uint n)
{
    [[unroll]] for (uint h = 0; h < HEADS; h++)
        acc[h] *= factor[min(h, n_heads - 1)];
    for (uint k = lane; k < n; k += LANES) {
        vec4 value = value4(cells[k], heads.kv_head * VECS + v);
        [[unroll]] for (uint h = 0; h < HEADS; h++)
            acc[h] += scores[h][k] * value;
    }
}

// The first VECS invocations get what all have for a head.
vec4 gather(vec4 mine, uint v)
{
    barrier();
    rest[gl_LocalInvocationIndex] = mine;
    barrier();
    vec4 all = vec4(0);
    if (gl_LocalInvocationIndex < VECS)
        for (uint lane = 0; lane < LANES; lane++)
            all += rest[lane * VECS + v];
    return all;
}

uint part_at(uint r, uint head, uint split)
{
    return ((r * p.n_heads + head) * SPLITS + split) * (VECS + 1);
}

// The parts of this workgroup's heads, in their order.
void combine(uint r, uint n_parts)
{
    for (uint i = gl_LocalInvocationIndex; i < n_heads * VECS; i += WG) {
        uint head = heads.begin + i / VECS, v = i % VECS;
        float most = -INFINITY, total = 0;
        for (uint s = 0; s < n_parts; s++)
            most = max(most, parts4[part_at(r, head, s) + VECS].x);
        vec4 all = vec4(0);
        for (uint s = 0; s < n_parts; s++) {
            uint at = part_at(r, head, s);
            float scale = exp(parts4[at + VECS].x - most);
            total += parts4[at + VECS].y * scale;
            all += parts4[at + v] * scale;
        }
        y4[(r * p.n_heads + head) * VECS + v] = all / total;
    }
}

void main()
{
    uint split = gl_WorkGroupID.y, r = gl_WorkGroupID.z, slot = rows[r].z, n_keys = rows[r].y + 1;
    uint span = max(LEAST, ((n_keys + SPLITS - 1) / SPLITS + 31) / 32 * 32), n_parts = (n_keys + span - 1) / span;
    if (split >= n_parts)
        return;
    uint end = min(split * span + span, n_keys);
    heads = heads_of(gl_WorkGroupID.x);
    n_heads = heads.end - heads.begin;
    uint q_at = (r * p.n_heads + heads.begin) * VECS;
    for (uint i = gl_LocalInvocationIndex; i < HEADS * VECS; i += WG)
        queries[i / VECS][i % VECS] = i < n_heads * VECS ? q4[q_at + i] * p.scale : vec4(0);
    for (uint h = gl_LocalInvocationIndex; h < HEADS; h += WG) {
        top[h] = -INFINITY;
        sum[h] = 0;
    }
    [[unroll]] for (uint h = 0; h < HEADS; h++)
        acc[h] = vec4(0);
    uint lane = gl_LocalInvocationIndex / VECS, v = gl_LocalInvocationIndex % VECS;
    for (uint begin = split * span; begin < end; begin += WG) {
        barrier();
        put_scores(slot, begin + gl_LocalInvocationIndex, end);
        barrier();
        soften();
        barrier();
        if (lane < LANES)
            add_values(lane, v, min(WG, end - begin));
    }
    [[unroll]] for (uint h = 0; h < HEADS; h++) {
        vec4 all = gather(acc[h], v);
        if (gl_LocalInvocationIndex >= VECS || h >= n_heads)
            continue;
        if (n_parts == 1) {
            y4[q_at + h * VECS + v] = all / sum[h];
        } else {
            uint at = part_at(r, heads.begin + h, split);
            parts4[at + v] = all;
            if (v == 0)
                parts4[at + VECS] = vec4(top[h], sum[h], 0, 0);
        }
    }
    if (n_parts == 1)
        return;

    uint counter = r * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    memoryBarrierBuffer();
    barrier(); // all of the workgroup's parts are written
    if (gl_LocalInvocationIndex == 0)
        before = atomicAdd(done[counter], 1);
    barrier();
    if (before + 1 < n_parts)
        return;
    memoryBarrierBuffer();
    combine(r, n_parts);
    if (gl_LocalInvocationIndex == 0)
        done[counter] = 0;
}
