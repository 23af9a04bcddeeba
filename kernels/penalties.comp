// SPDX-License-Identifier: MIT
//
// What is done to logits before a token is chosen, in place, and in this order:
//
//   - Biases: logit += bias for each of the slot's n_bias, which are distinct tokens.
//   - Penalties for what was said: each distinct token among the last min(penalty_last_n, n_history, LG_HISTORY) of the
//     slot's history, with the count c of its appearances, once:
//     logit = logit > 0 ? logit / repeat : logit * repeat, then logit -= c * frequency + presence
//   - The mask of a slot that is masked: logit = -infinity where the token's bit is 0.
//
//     rows      struct lg_row [rows]
//     out_ids   uint32 [outs], the row of each output row
//     samplers  struct lg_sampler [slots]
//     history   uint32 [slots][LG_HISTORY], a ring
//     biases    struct lg_bias [slots][LG_MAX_BIAS]
//     masks     uint32 [slots][LG_MASK_WORDS(n_vocab)]; not read when no slot is masked
//     logits    float32 [outs][n_vocab]
//
// Grid {outs, 1, 1}: a workgroup handles one output row.
#version 450
#include "common.glsl"

layout(push_constant) uniform Push { lg_sample_push p; };
layout(binding = 0) readonly buffer Rows { uvec4 rows[]; };
layout(binding = 1) readonly buffer OutIds { uint out_ids[]; };
layout(binding = 2) readonly buffer Samplers { lg_sampler samplers[]; };
layout(binding = 3) readonly buffer History { uint history[]; };
layout(binding = 4) readonly buffer Biases { lg_bias biases[]; };
layout(binding = 5) readonly buffer Masks { uint masks[]; };
layout(binding = 6) buffer Logits { float logits[]; };

shared uint said[LG_HISTORY];

// What one step has written the next one reads, in another invocation.
void finish_step()
{
    memoryBarrierBuffer();
    barrier();
}

void add_biases(uint row, uint slot, uint n)
{
    for (uint i = gl_LocalInvocationIndex; i < n; i += WG) {
        lg_bias b = biases[slot * LG_MAX_BIAS + i];
        if (b.token < p.n_vocab)
            logits[row + b.token] += b.bias;
    }
    finish_step();
}

void penalise(uint row, uint slot, uint n_guessed)
{
    float repeat = samplers[slot].repeat_penalty;
    float frequency = samplers[slot].frequency_penalty, presence = samplers[slot].presence_penalty;
    if (repeat == 1 && frequency == 0 && presence == 0)
        return;
    uint n_history = samplers[slot].n_history + n_guessed;
    uint n = min(min(samplers[slot].penalty_last_n, n_history), LG_HISTORY);
    for (uint i = gl_LocalInvocationIndex; i < n; i += WG)
        said[i] = history[slot * LG_HISTORY + (n_history - n + i) % LG_HISTORY];
    barrier();
    for (uint i = gl_LocalInvocationIndex; i < n; i += WG) {
        uint token = said[i], count = 0, before = 0;
        for (uint j = 0; j < n; j++) {
            count += uint(said[j] == token);
            before += uint(said[j] == token && j < i);
        }
        if (before != 0 || token >= p.n_vocab)
            continue; // another invocation's
        float logit = logits[row + token];
        logit = logit > 0 ? logit / repeat : logit * repeat;
        logits[row + token] = logit - (float(count) * frequency + presence);
    }
    finish_step();
}

void mask_out(uint row, uint slot)
{
    uint mask = slot * LG_MASK_WORDS(p.n_vocab);
    for (uint i = gl_LocalInvocationIndex; i < p.n_vocab; i += WG)
        if ((masks[mask + i / 32] >> i % 32 & 1) == 0)
            logits[row + i] = -INFINITY;
}

void main()
{
    uint o = gl_WorkGroupID.x, row = o * p.n_vocab;
    uvec4 r = rows[out_ids[o]];
    uint slot = r.z;
    uint n_bias = min(samplers[slot].n_bias, LG_MAX_BIAS);
    if (n_bias > 0)
        add_biases(row, slot, n_bias);
    penalise(row, slot, max(r.w, 1) - 1);
    if (samplers[slot].masked != 0)
        mask_out(row, slot);
}
