// SPDX-License-Identifier: MIT
//
// Draws the next token of each output row.
//
//     logits    float32 [outs][n_vocab]
//     best      {uint32 index; float32 value} [outs], of argmax
//     out_ids   uint32 [outs], the row of each output row; each row has a slot of its own
//     rows      struct lg_row [rows]
//     samplers  struct lg_sampler [slots]
//     history   uint32 [slots][LG_HISTORY], a ring
//     ring      uint32 [slots][LG_RING]
//     tokens    uint32 [outs]
//
// A row with guessed tokens, or one that they follow, leaves sampler, history and ring as they are: whether it counts is for
// the host to say.
//
// Grid {outs, 1, 1}: a workgroup handles one output row.
//
// Three filters choose the candidates: the top_k largest logits; of these the largest whose probability mass reaches
// top_p; of these the ones with at least min_p times the largest probability. Equals of the last one are kept. The
// first two are thresholds on the logit, found by radix select: an order-preserving integer key of each logit, and four
// histograms of 8 bits each, of counts or of probability mass. Mass is counted in integers, 2^24 for the most probable
// token, so it does not depend on the order of addition.
//
// The draw is a race: each candidate scores (logit - max) / temperature + Gumbel noise of its own, and the largest
// score wins, with the probabilities of the softmax. The noise depends on nothing but seed, the row's position and
// the token.
#version 450
#define USE_REDUCTIONS
#include "common.glsl"
#include "random.h"

layout(push_constant) uniform Push { lg_sample_push p; };
layout(binding = 0) readonly buffer Logits { float logits[]; };
layout(binding = 1) readonly buffer Best { uint best[]; };
layout(binding = 2) readonly buffer OutIds { uint out_ids[]; };
layout(binding = 3) readonly buffer Rows { uvec4 rows[]; };
layout(binding = 4) buffer Samplers { lg_sampler samplers[]; };
layout(binding = 5) buffer History { uint history[]; };
layout(binding = 6) buffer Ring { uint ring[]; };
layout(binding = 7) writeonly buffer Tokens { uint tokens[]; };

// Histogram: a sum of 24-bit masses in two limbs, the lower 12 bits of each mass and the rest.
shared uint low[256], high[256];
shared uint chosen;       // bin
shared uvec2 wanted;      // what the chosen bin must contribute, 64 bits

uvec2 add64(uvec2 a, uvec2 b)
{
    uint carry, lo = uaddCarry(a.x, b.x, carry);
    return uvec2(lo, a.y + b.y + carry);
}

uvec2 sub64(uvec2 a, uvec2 b)
{
    uint borrow, lo = usubBorrow(a.x, b.x, borrow);
    return uvec2(lo, a.y - b.y - borrow);
}

bool less64(uvec2 a, uvec2 b)
{
    return a.y < b.y || a.y == b.y && a.x < b.x;
}

uvec2 bin_sum(uint bin)
{
    return add64(uvec2(low[bin], 0), uvec2(high[bin] << 12, high[bin] >> 20));
}

// ceil(total * share) for a total below 2^44, share in units of 2^-16
uvec2 share_of(uvec2 total, float share)
{
    uint units = uint(share * 65536.0 + 0.5);
    uvec2 v;
    umulExtended(total.x, units, v.y, v.x);
    v.y += total.y * units;
    v = add64(v, uvec2(65535, 0));
    return uvec2(v.x >> 16 | v.y << 16, v.y >> 16);
}

// Ascends with the logit; 0 for NaN, which is never drawn.
uint key_of(float logit)
{
    uint bits = floatBitsToUint(logit);
    uint key = (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
    return (bits & 0x7fffffffu) > 0x7f800000u ? 0 : key;
}

uint mass_of(float logit, float top)
{
    return logit == top ? 1 << 24 : uint(exp(logit - top) * 16777216.0 + 0.5);
}

// The largest key such that the candidates with at least this key count `k` or more (by_mass false), or hold at least
// `share` of the mass of all with a key of at least `lowest`; `lowest` when all together do not.
uint select(uint row, uint lowest, float top, bool by_mass, uint k, float share)
{
    uint prefix = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        barrier();
        for (uint i = gl_LocalInvocationIndex; i < 256; i += WG) {
            low[i] = 0;
            high[i] = 0;
        }
        barrier();
        for (uint i = gl_LocalInvocationIndex; i < p.n_vocab; i += WG) {
            float logit = logits[row + i];
            uint key = key_of(logit);
            if (key < lowest || shift < 24 && key >> (shift + 8) != prefix)
                continue;
            uint amount = by_mass ? mass_of(logit, top) : 1;
            atomicAdd(low[key >> shift & 255], amount & 0xfff);
            if (amount >> 12 != 0)
                atomicAdd(high[key >> shift & 255], amount >> 12);
        }
        barrier();
        if (gl_LocalInvocationIndex == 0) {
            if (shift == 24) {
                wanted = uvec2(k, 0);
                if (by_mass) {
                    uvec2 all = uvec2(0);
                    for (uint i = 0; i < 256; i++)
                        all = add64(all, bin_sum(i));
                    wanted = share_of(all, share);
                }
            }
            chosen = NO_INDEX;
            for (uint i = 256; i > 0 && chosen == NO_INDEX; i--) {
                uvec2 here = bin_sum(i - 1);
                if (less64(here, wanted) || here == uvec2(0))
                    wanted = sub64(wanted, here);
                else
                    chosen = i - 1;
            }
        }
        barrier();
        if (chosen == NO_INDEX)
            return lowest;
        prefix = prefix << 8 | chosen;
    }
    return max(prefix, lowest);
}

uint draw(uint o, uint slot, uint pos)
{
    uint row = o * p.n_vocab, greedy = best[2 * o];
    float top = uintBitsToFloat(best[2 * o + 1]);
    float temperature = samplers[slot].temperature;
    if (temperature <= 0)
        return greedy;

    uint lowest = 1;
    if (samplers[slot].top_k > 0 && samplers[slot].top_k < p.n_vocab)
        lowest = select(row, lowest, top, false, samplers[slot].top_k, 0);
    if (samplers[slot].top_p < 1)
        lowest = select(row, lowest, top, true, 0, max(samplers[slot].top_p, 0));
    float min_p = samplers[slot].min_p;
    float min_logit = min_p > 0 ? top + log(min_p) : -INFINITY;

    uint random = lg_random_draw(samplers[slot].seed_lo, samplers[slot].seed_hi, pos);
    uint token = NO_INDEX;
    float score = -INFINITY;
    for (uint i = gl_LocalInvocationIndex; i < p.n_vocab; i += WG) {
        float logit = logits[row + i];
        if (key_of(logit) < lowest || logit < min_logit)
            continue;
        float below = logit == top ? 0 : logit - top; // also where both are infinite
        float s = below / temperature + lg_random_gumbel(random, i);
        if (s > score) {
            score = s;
            token = i;
        }
    }
    float winner = group_max(score);
    token = group_min(score == winner ? token : NO_INDEX);
    return token == NO_INDEX ? greedy : token;
}

bool is_end(uint slot, uint token)
{
    for (uint i = 0; i < min(samplers[slot].n_end, LG_MAX_END); i++)
        if (samplers[slot].end[i] == token)
            return true;
    return false;
}

void main()
{
    uint o = gl_WorkGroupID.x;
    uvec4 row = rows[out_ids[o]];
    uint slot = row.z, token = draw(o, slot, row.y);
    barrier(); // all have read the state
    if (gl_LocalInvocationIndex != 0)
        return;
    tokens[o] = token;
    if (row.w != 0)
        return;

    uint n_sampled = samplers[slot].n_sampled, n_history = samplers[slot].n_history;
    ring[slot * LG_RING + n_sampled % LG_RING] = token;
    history[slot * LG_HISTORY + n_history % LG_HISTORY] = token;
    samplers[slot].n_sampled = n_sampled + 1;
    samplers[slot].n_history = n_history + 1;
    samplers[slot].n_remaining--;
    if (is_end(slot, token) || samplers[slot].n_remaining == 0)
        samplers[slot].ended = 1;
}
