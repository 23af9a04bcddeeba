/* SPDX-License-Identifier: MIT
 *
 * Samples a token from each output row's logits and makes the row of the next pass from it. What is cut away
 * by top_k, top_p and min_p is a threshold on the logits, found by counting on integers, so that no order of
 * summation shows.
 */
#include "device/cpu/sample.h"

#include <math.h>
#include <string.h>

#include "device/cpu/exp.h"
#include "random.h"

/* ---- passes over the logits ---------------------------------------------------------------------- */

/* Logits as integers of the same order; NaN is below all. */
static uint32_t key_of(float logit)
{
    uint32_t bits;
    memcpy(&bits, &logit, sizeof(bits));
    if (logit != logit)
        return 0;
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

/* exp(logit - max) in units of 2^-24; NaN weighs nothing. */
static uint32_t mass_of(float logit, float max)
{
    if (logit == max)
        return 1u << 24;
    return logit < max ? (uint32_t)(lg_exp(logit - max) * 0x1p24f + 0.5f) : 0;
}

static void count(const struct lg_cpu_draw *d, bool by_mass, uint32_t prefix, uint32_t shift,
                  uint64_t hist[256])
{
    memset(hist, 0, 256 * sizeof(*hist));
    for (uint32_t i = 0; i < d->n; i++) {
        uint32_t key = key_of(d->logits[i]);
        if (key < d->threshold || (uint64_t)key >> (shift + 8) != (uint64_t)prefix >> (shift + 8))
            continue;
        hist[key >> shift & 255] += by_mass ? mass_of(d->logits[i], d->max) : 1;
    }
}

static uint32_t race(const struct lg_cpu_draw *d, float temperature, uint32_t random, uint32_t otherwise)
{
    uint32_t token = otherwise;
    float most = -INFINITY;
    for (uint32_t i = 0; i < d->n; i++) {
        if (key_of(d->logits[i]) < d->threshold)
            continue;
        float below = d->logits[i] == d->max ? 0 : d->logits[i] - d->max;
        float score = below / temperature + lg_random_gumbel(random, i);
        if (score > most) {
            most = score;
            token = i;
        }
    }
    return token;
}

/* ---- the rest ------------------------------------------------------------------------------------ */

/* top_p is taken in units of 2^-16: the product with the whole mass fits into 64 bits. */
static uint64_t wanted_mass(const uint64_t hist[256], float top_p)
{
    uint64_t total = 0, units = (uint64_t)(top_p * 65536.0f + 0.5f);
    for (int i = 0; i < 256; i++)
        total += hist[i];
    uint64_t wanted = (total * units + 65535) >> 16;
    return wanted ? wanted : 1;
}

/* The largest key such that the candidates of this key or above are top_k, or with top_k 0 have top_p of the
 * mass of all; 0 when all together do not. */
static uint32_t find_threshold(const struct lg_cpu_draw_passes *passes, const struct lg_cpu_draw *d,
                               uint32_t top_k, float top_p)
{
    uint32_t prefix = 0;
    uint64_t hist[256], wanted = top_k;
    for (int shift = 24; shift >= 0; shift -= 8) {
        passes->count(d, top_k == 0, prefix, (uint32_t)shift, hist);
        if (top_k == 0 && shift == 24)
            wanted = wanted_mass(hist, top_p);
        uint32_t digit = 255;
        for (; digit > 0 && hist[digit] < wanted; digit--)
            wanted -= hist[digit];
        prefix |= digit << shift;
    }
    return prefix;
}

static uint32_t draw(const struct lg_cpu_draw_passes *passes, const struct lg_sampler *s, uint32_t pos,
                     const float *logits, uint32_t n_vocab, struct lg_cpu_best best)
{
    struct lg_cpu_draw d = {.logits = logits, .n = n_vocab, .max = best.value};
    if (s->top_k > 0 && s->top_k < n_vocab)
        d.threshold = find_threshold(passes, &d, s->top_k, 1);
    if (s->top_p < 1)
        d.threshold = lg_max_u32(d.threshold, find_threshold(passes, &d, 0, s->top_p));
    if (s->min_p > 0)
        d.threshold = lg_max_u32(d.threshold, key_of(best.value + logf(s->min_p)));
    return passes->race(&d, s->temperature, lg_random_draw(s->seed_lo, s->seed_hi, pos), best.index);
}

/* The sampler's state after a token. */
static void accept(struct lg_sampler *s, uint32_t *history, uint32_t *ring, uint32_t token)
{
    history[s->n_history++ % LG_HISTORY] = token;
    ring[s->n_sampled++ % LG_RING] = token;
    s->n_remaining--;
    bool ended = s->n_remaining == 0;
    for (uint32_t i = 0; i < s->n_end && i < LG_MAX_END; i++)
        ended |= s->end[i] == token;
    s->ended = ended;
}

static void sample_row(const struct lg_cpu_draw_passes *passes, const struct lg_cpu_args *args, uint32_t o)
{
    const struct lg_sample_push *push = args->push;
    const float *logits = (const float *)args->view[0] + (size_t)o * push->n_vocab;
    struct lg_cpu_best best = ((const struct lg_cpu_best *)args->view[1])[o];
    const struct lg_row *row = (const struct lg_row *)args->view[3] + ((const uint32_t *)args->view[2])[o];
    struct lg_sampler *s = (struct lg_sampler *)args->view[4] + row->slot;
    uint32_t *history = (uint32_t *)args->view[5] + (size_t)row->slot * LG_HISTORY;
    uint32_t *ring = (uint32_t *)args->view[6] + (size_t)row->slot * LG_RING;

    bool greedy = s->temperature <= 0;
    uint32_t token = greedy ? best.index : draw(passes, s, row->pos, logits, push->n_vocab, best);
    ((uint32_t *)args->view[7])[o] = token;
    if (!row->draft)
        accept(s, history, ring, token);
}

void lg_cpu_sample_with(const struct lg_cpu_draw_passes *passes, const struct lg_cpu_args *args,
                        uint32_t first, uint32_t last)
{
    for (uint32_t o = first; o < last; o++)
        sample_row(passes, args, o);
}

void lg_cpu_sample(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    static const struct lg_cpu_draw_passes plain = {count, race};
    lg_cpu_sample_with(&plain, args, first, last);
}
