/* SPDX-License-Identifier: MIT
 * Changes logits before a token is chosen, a workgroup per output row: adds the slot's biases, lowers those of tokens that
 * its recent history has, and takes away what its mask does not allow. */
#include <math.h>

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

static void bias_row(const struct lg_sampler *s, const struct lg_bias *biases, float *logits, uint32_t n_vocab)
{
    for (uint32_t i = 0; i < s->n_bias && i < LG_MAX_BIAS; i++)
        if (biases[i].token < n_vocab)
            logits[biases[i].token] += biases[i].bias;
}

static void mask_row(const uint32_t *mask, float *logits, uint32_t n_vocab)
{
    for (uint32_t i = 0; i < n_vocab; i++)
        if ((mask[i / 32] >> i % 32 & 1) == 0)
            logits[i] = -INFINITY;
}

void lg_cpu_penalties(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_sample_push *push = args->push;
    const struct lg_row *rows = args->view[0];
    const uint32_t *out_ids = args->view[1];
    const struct lg_sampler *samplers = args->view[2];
    const uint32_t *history = args->view[3], *masks = args->view[5];
    const struct lg_bias *biases = args->view[4];
    for (uint32_t o = first; o < last; o++) {
        const struct lg_row *row = &rows[out_ids[o]];
        uint32_t slot = row->slot;
        float *logits = (float *)args->view[6] + (size_t)o * push->n_vocab;
        bias_row(&samplers[slot], biases + (size_t)slot * LG_MAX_BIAS, logits, push->n_vocab);
        penalise_row(&samplers[slot], history + (size_t)slot * LG_HISTORY, row->draft ? row->draft - 1 : 0,
                     logits, push->n_vocab);
        if (samplers[slot].masked)
            mask_row(masks + (size_t)slot * LG_MASK_WORDS(push->n_vocab), logits, push->n_vocab);
    }
}
