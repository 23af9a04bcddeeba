// SPDX-License-Identifier: MIT
//
// Puts the keys and values of a batch into the cache: row r belongs at its position in its sequence, which the page
// table of its slot maps to a row of the cache.
//
//     rows              struct lg_row [rows]
//     pages             uint32 [slots][max_pages]
//     k, v              float32 [rows][n_cols]
//     k_cache, v_cache  rows of KV_TYPE (push.h) [pages * page_size], of n_cols numbers
//
// Grid {ceil(n_cols / LG_KV_UNIT(KV_TYPE) / WG), rows, 1}: an invocation takes LG_KV_UNIT elements of each. In blocks the
// factor makes the largest of 32 elements the outermost number, so that a block that is read and rounded again stays as it
// is; WG is a multiple of 16 then.
#version 450
#include "common.glsl"

layout(constant_id = 1) const uint KV_TYPE = LG_KV_F32;

layout(push_constant) uniform Push { lg_kv_write_push p; };
layout(binding = 0) readonly buffer Rows { uvec4 rows[]; };
layout(binding = 1) readonly buffer Pages { uint pages[]; };
layout(binding = 2) readonly buffer K { float k[]; };
layout(binding = 3) readonly buffer V { float v[]; };
layout(binding = 2) readonly buffer K4 { vec4 k4[]; };
layout(binding = 3) readonly buffer V4 { vec4 v4[]; };
layout(binding = 4) buffer KCache { uint k_cache[]; };
layout(binding = 5) buffer VCache { uint v_cache[]; };

const float MAX_HALF = 65504;

shared vec2 most[gl_WorkGroupSize.x];   // of each invocation's keys and values, the largest with its sign
shared uvec2 quants[gl_WorkGroupSize.x]; // four of either

float largest(vec4 x)
{
    float high = max(max(x.x, x.y), max(x.z, x.w)), low = min(min(x.x, x.y), min(x.z, x.w));
    return high >= -low ? high : low;
}

// The factors of a block of keys and one of values, which 8 invocations have.
vec2 factors(uint first)
{
    vec2 m = vec2(0);
    for (uint i = 0; i < 8; i++)
        m = mix(m, most[first + i], greaterThan(abs(most[first + i]), abs(m)));
    m = KV_TYPE == LG_KV_Q8_0 ? abs(m) / 127 : m / -8;
    bvec2 is_zero = equal(unpackHalf2x16(packHalf2x16(min(abs(m), vec2(1)))), vec2(0)); // as it will be read
    return mix(m, vec2(0), is_zero);
}

uint quantize(vec4 x, float factor)
{
    vec4 scaled = x * (factor == 0 ? 0 : 1 / factor);
    uvec4 q = KV_TYPE == LG_KV_Q8_0 ? uvec4(ivec4(clamp(roundEven(scaled), -127, 127))) & 255
                                    : uvec4(clamp(scaled + 8.5, 0, 15));
    return q.x | q.y << 8 | q.z << 16 | q.w << 24;
}

uint scales(float a, float b)
{
    return packHalf2x16(clamp(vec2(a, b), -MAX_HALF, MAX_HALF));
}

void write_blocks(uint row, uint r)
{
    uint i = gl_GlobalInvocationID.x, lane = gl_LocalInvocationIndex, n = p.n_cols / 4;
    bool there = i < n;
    vec4 keys = vec4(0), values = vec4(0);
    if (there) {
        keys = k4[r * n + i];
        values = v4[r * n + i];
    }
    most[lane] = vec2(largest(keys), largest(values));
    barrier();
    vec2 factor = factors(lane & ~7);
    quants[lane] = uvec2(quantize(keys, factor.x), quantize(values, factor.y));
    barrier();
    bool writes = KV_TYPE == LG_KV_Q8_0 || i % 8 < 4;
    if (there && writes) {
        uvec2 words = quants[lane];
        if (KV_TYPE == LG_KV_Q4_0)
            words |= quants[lane + 4] << 4;
        uint at = row + (KV_TYPE == LG_KV_Q8_0 ? i : i / 8 * 4 + i % 4);
        k_cache[at] = words.x;
        v_cache[at] = words.y;
    }
    if (there && i % 16 == 0) {
        vec2 next = factors(lane + 8);
        uint at = row + LG_KV_SCALES_AT(KV_TYPE, p.n_cols) + i / 16;
        k_cache[at] = scales(factor.x, next.x);
        v_cache[at] = scales(factor.y, next.y);
    }
}

void write_halves(uint row, uint r)
{
    uint i = gl_GlobalInvocationID.x, from = r * p.n_cols + i * 2;
    if (i * 2 >= p.n_cols)
        return;
    bool both = i * 2 + 1 < p.n_cols;
    k_cache[row + i] = scales(k[from], both ? k[from + 1] : 0);
    v_cache[row + i] = scales(v[from], both ? v[from + 1] : 0);
}

void main()
{
    uint i = gl_GlobalInvocationID.x, r = gl_WorkGroupID.y, pos = rows[r].y;
    uint cell = pages[rows[r].z * p.max_pages + pos / p.page_size] * p.page_size + pos % p.page_size;
    uint row = cell * LG_KV_ROW_WORDS(KV_TYPE, p.n_cols);
    if (KV_TYPE == LG_KV_F16) {
        write_halves(row, r);
    } else if (KV_TYPE != LG_KV_F32) {
        write_blocks(row, r);
    } else if (i < p.n_cols) {
        k_cache[row + i] = floatBitsToUint(k[r * p.n_cols + i]);
        v_cache[row + i] = floatBitsToUint(v[r * p.n_cols + i]);
    }
}
