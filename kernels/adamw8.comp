// SPDX-License-Identifier: MIT
//
// adamw.comp with both moments in 8 bits (adam8.h).
//
//     step     struct lg_train_step
//     norm     struct lg_train_norm
//     g, p     float32 [n]
//     m, v     uint8 [n], rounded up to whole blocks of LG_ADAM8_BLOCK
//     factors  float32 [blocks][2], powers of two of m and of v
//
// Grid {ceil(n / per_group), 1, 1}: a workgroup takes per_group elements, whole blocks, one after the other. The codes of a
// block depend on its largest moments, so the moments are computed twice: it costs less than to keep them.
#version 450
#define USE_REDUCTIONS
#include "common.glsl"
#include "adam8.h"

layout(push_constant) uniform Push { lg_adamw_push p; };
layout(binding = 0) readonly buffer Step { lg_train_step step; };
layout(binding = 1) readonly buffer Norm { lg_train_norm norm; };
layout(binding = 2) buffer Grads { float grads[]; };
layout(binding = 3) buffer Weights { float weights[]; };
layout(binding = 4) buffer First { uint first[]; };
layout(binding = 5) buffer Second { uint second[]; };
layout(binding = 6) buffer Factors { vec2 factors[]; };

struct Moments {
    float g, m, v;
};

// those of element i, which is byte `lane` of the words
Moments moments(uint i, uint lane, uint word_m, uint word_v, vec2 factor)
{
    uint code_m = bitfieldExtract(word_m, int(lane * 8), 8), code_v = bitfieldExtract(word_v, int(lane * 8), 8);
    float m = uintBitsToFloat(lg_adam8_bits(code_m & 127u, LG_ADAM8_FIRST)) * factor.x;
    float v = uintBitsToFloat(lg_adam8_bits(code_v, LG_ADAM8_SECOND)) * factor.y;
    float g = grads[i] * norm.factor;
    m = (code_m & 128u) != 0 ? -m : m;
    return Moments(g, p.beta1 * m + (1 - p.beta1) * g, p.beta2 * v + (1 - p.beta2) * (g * g));
}

void step_block(uint block, uint draw)
{
    const uint WORDS = LG_ADAM8_BLOCK / 4;
    vec2 factor = factors[block], top = vec2(0);
    for (uint w = gl_LocalInvocationIndex; w < WORDS; w += WG) {
        uint at = block * WORDS + w;
        for (uint j = 0; j < 4 && at * 4 + j < p.n; j++) {
            Moments now = moments(at * 4 + j, j, first[at], second[at], factor);
            top = max(top, vec2(abs(now.m), now.v));
        }
    }
    top = vec2(group_max(top.x), group_max(top.y));
    uint e_m = lg_adam8_exponent(floatBitsToUint(top.x)), e_v = lg_adam8_exponent(floatBitsToUint(top.y));
    if (gl_LocalInvocationIndex == 0)
        factors[block] = vec2(uintBitsToFloat(e_m << 23), uintBitsToFloat(e_v << 23));
    float less_m = uintBitsToFloat((254 - e_m) << 23), less_v = uintBitsToFloat((254 - e_v) << 23);
    for (uint w = gl_LocalInvocationIndex; w < WORDS; w += WG) {
        uint at = block * WORDS + w, word_m = first[at], word_v = second[at];
        for (uint j = 0; j < 4 && at * 4 + j < p.n; j++) {
            uint i = at * 4 + j;
            Moments now = moments(i, j, word_m, word_v, factor);
            float kept = weights[i] * (1 - step.lr * p.weight_decay);
            weights[i] = kept - step.lr * (now.m * step.correct1) / (sqrt(now.v * step.correct2) + p.eps);
            uint chance = lg_adam8_chance(draw, i);
            uint m = lg_adam8_code(floatBitsToUint(abs(now.m) * less_m), chance, LG_ADAM8_FIRST);
            uint v = lg_adam8_code(floatBitsToUint(now.v * less_v), lg_random_mix(chance), LG_ADAM8_SECOND);
            m |= now.m < 0 ? 128u : 0u;
            v = now.v > 0 ? max(v, 1) : v; // never nothing: it is divided by
            word_m = bitfieldInsert(word_m, m, int(j * 8), 8);
            word_v = bitfieldInsert(word_v, v, int(j * 8), 8);
            grads[i] = 0;
        }
        first[at] = word_m;
        second[at] = word_v;
    }
}

void main()
{
    uint begin = gl_WorkGroupID.x * p.per_group, end = min(begin + p.per_group, p.n);
    uint draw = lg_random_draw(step.seed_lo, step.seed_hi, step.draw);
    for (uint at = begin; at < end; at += LG_ADAM8_BLOCK)
        step_block(at / LG_ADAM8_BLOCK, draw);
}
