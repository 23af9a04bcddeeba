/* SPDX-License-Identifier: MIT
 * Lowers the logits of tokens that the slot's recent history has, a workgroup per output row. */
#include "device/cpu/grid.h"

static float penalise(float logit, const struct lg_sampler *s, uint32_t count)
{
    logit = logit > 0 ? logit / s->repeat_penalty : logit * s->repeat_penalty;
    return logit - ((float)count * s->frequency_penalty + s->presence_penalty);
}

static void penalise_row(const struct lg_sampler *s, const uint32_t *history, uint32_t n_guessed, float *logits,
                         uint32_t n_vocab)
{
    if (s->repeat_penalty == 1 && s->frequency_penalty == 0 && s->presence_penalty == 0)
        return;
    uint32_t n_history = s->n_history + n_guessed;
    uint32_t n = lg_min_u32(lg_min_u32(s->penalty_last_n, n_history), LG_HISTORY);
    uint32_t begin = n_history - n;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t token = history[(begin + i) % LG_HISTORY], before = 0, count = 0;
        for (uint32_t j = 0; j < n; j++) {
            bool same = history[(begin + j) % LG_HISTORY] == token;
            before += same && j < i;
            count += same;
        }
        if (before == 0 && token < n_vocab)
            logits[token] = penalise(logits[token], s, count);
    }
}

void lg_cpu_penalties(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_sample_push *push = args->push;
    const struct lg_row *rows = args->view[0];
    const uint32_t *out_ids = args->view[1];
    const struct lg_sampler *samplers = args->view[2];
    const uint32_t *history = args->view[3];
    for (uint32_t o = first; o < last; o++) {
        const struct lg_row *row = &rows[out_ids[o]];
        uint32_t slot = row->slot;
        float *logits = (float *)args->view[4] + (size_t)o * push->n_vocab;
        penalise_row(&samplers[slot], history + (size_t)slot * LG_HISTORY, row->draft ? row->draft - 1 : 0,
                     logits, push->n_vocab);
    }
}
