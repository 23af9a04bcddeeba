// SPDX-License-Identifier: MIT
//
// Penalties for what was said, in place: each distinct token among the last min(penalty_last_n, n_history, LG_HISTORY)
// of the slot's history, with the count c of its appearances, once:
//     logit = logit > 0 ? logit / repeat : logit * repeat, then logit -= c * frequency + presence
//
//     rows      struct lg_row [rows]
//     out_ids   uint32 [outs], the row of each output row
//     samplers  struct lg_sampler [slots]
//     history   uint32 [slots][LG_HISTORY], a ring
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
layout(binding = 4) buffer Logits { float logits[]; };

shared uint said[LG_HISTORY];

void main()
{
    uint o = gl_WorkGroupID.x;
    uvec4 row = rows[out_ids[o]];
    uint slot = row.z;
    float repeat = samplers[slot].repeat_penalty;
    float frequency = samplers[slot].frequency_penalty, presence = samplers[slot].presence_penalty;
    if (repeat == 1 && frequency == 0 && presence == 0)
        return;
    uint n_history = samplers[slot].n_history + max(row.w, 1) - 1; // with what was guessed
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
        uint at = o * p.n_vocab + token;
        float logit = logits[at];
        logit = logit > 0 ? logit / repeat : logit * repeat;
        logits[at] = logit - (float(count) * frequency + presence);
    }
}
