// SPDX-License-Identifier: MIT
//
// The most probable tokens of each row, descending, the lower id first among equals, and one token that is asked for:
//     candidates[r][i] = {token, log(softmax(logits[r])[token])}, i < min(n, n_cols)
//     candidates[r][LG_MAX_CANDIDATES] = the same of the token ids[r * id_stride + id_offset]
// A NaN weighs nothing and comes behind everything else. Between i and LG_MAX_CANDIDATES nothing is written.
//
//     logits      float32 [rows][n_cols]
//     ids         uint32
//     candidates  struct lg_candidate [rows][LG_MAX_CANDIDATES + 1]
//
// Grid {rows, 1, 1}: a workgroup handles one row.
//
// The n-th largest logit is found by radix select: an order-preserving integer key of each logit, and four histograms of
// 8 bits each. What is larger is gathered in any order, as many equals of it as are missing in the order of their ids,
// and each one's rank is the number of those before it.
#version 450
#define USE_REDUCTIONS
#include "common.glsl"

layout(push_constant) uniform Push { lg_candidates_push p; };
layout(binding = 0) readonly buffer Logits { float logits[]; };
layout(binding = 1) readonly buffer Ids { uint ids[]; };
layout(binding = 2) writeonly buffer Candidates { lg_candidate candidates[]; };

shared uint count[256];
shared uint prefix, wanted; // the leading bits of the n-th largest key; how many of that key are among the n
shared uint found_key[LG_MAX_CANDIDATES], found_id[LG_MAX_CANDIDATES], n_found;

// Ascends with the logit, the same for both zeros; 0 for NaN.
uint key_at(uint at)
{
    uint bits = floatBitsToUint(logits[at]);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return 0;
    return bits == 0x80000000u ? bits : (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
}

// Leaves the n-th largest key of the row in `prefix`, and `wanted`.
void select(uint row, uint n)
{
    if (gl_LocalInvocationIndex == 0) {
        prefix = 0;
        wanted = n;
    }
    for (int shift = 24; shift >= 0; shift -= 8) {
        for (uint i = gl_LocalInvocationIndex; i < 256; i += WG)
            count[i] = 0;
        barrier();
        for (uint i = gl_LocalInvocationIndex; i < p.n_cols; i += WG) {
            uint key = key_at(row + i);
            if (shift == 24 || key >> (shift + 8) == prefix)
                atomicAdd(count[key >> shift & 255], 1);
        }
        barrier();
        if (gl_LocalInvocationIndex == 0) {
            uint digit = 255;
            for (; digit > 0 && count[digit] < wanted; digit--)
                wanted -= count[digit];
            prefix = prefix << 8 | digit;
        }
        barrier();
    }
}

// The first of this invocation's tokens from i on that has the key.
uint next_equal(uint row, uint i, uint key)
{
    while (i < p.n_cols && key_at(row + i) != key)
        i += WG;
    return i < p.n_cols ? i : NO_INDEX;
}

// Gathers the n tokens.
void gather(uint row, uint n)
{
    uint last = prefix, n_larger = n - wanted;
    if (gl_LocalInvocationIndex == 0)
        n_found = 0;
    barrier();
    for (uint i = gl_LocalInvocationIndex; i < p.n_cols; i += WG) {
        uint key = key_at(row + i);
        if (key > last) {
            uint at = atomicAdd(n_found, 1);
            found_key[at] = key;
            found_id[at] = i;
        }
    }
    uint mine = next_equal(row, gl_LocalInvocationIndex, last);
    for (uint i = n_larger; i < n; i++) {
        uint lowest = group_min(mine);
        if (mine == lowest) {
            found_key[i] = last;
            found_id[i] = mine;
            mine = next_equal(row, mine + WG, last);
        }
    }
    barrier();
}

lg_candidate candidate(uint row, uint token, float top, float log_sum)
{
    float logit = logits[row + token];
    float log_prob = (logit == top ? 0 : logit - top) - log_sum; // also where both are infinite
    return lg_candidate(token, key_at(row + token) == 0 ? -INFINITY : log_prob);
}

void main()
{
    uint r = gl_WorkGroupID.x, row = r * p.n_cols, out_row = r * (LG_MAX_CANDIDATES + 1);
    uint n = min(p.n, p.n_cols);
    float top = -INFINITY, sum = 0;
    for (uint i = gl_LocalInvocationIndex; i < p.n_cols; i += WG)
        top = key_at(row + i) == 0 ? top : max(top, logits[row + i]);
    top = group_max(top);
    for (uint i = gl_LocalInvocationIndex; i < p.n_cols; i += WG) {
        float logit = logits[row + i];
        sum += key_at(row + i) == 0 ? 0 : logit == top ? 1 : exp(logit - top);
    }
    float log_sum = log(group_add(sum));

    select(row, n);
    gather(row, n);
    for (uint i = gl_LocalInvocationIndex; i < n; i += WG) {
        uint rank = 0;
        for (uint j = 0; j < n; j++)
            rank += uint(found_key[j] > found_key[i] || found_key[j] == found_key[i] && found_id[j] < found_id[i]);
        candidates[out_row + rank] = candidate(row, found_id[i], top, log_sum);
    }
    if (gl_LocalInvocationIndex == 0) {
        uint id = min(ids[r * p.id_stride + p.id_offset], p.n_cols - 1);
        candidates[out_row + LG_MAX_CANDIDATES] = candidate(row, id, top, log_sum);
    }
}
