/* SPDX-License-Identifier: MIT */
#include "runtime/mask.h"

#include <math.h>
#include <string.h>

#include "runtime/scheduler.h"

static uint32_t count_words(const struct lg_session *s)
{
    return LG_MASK_WORDS(s->model->hp.n_vocab);
}

int lg_mask_reserve(struct lg_session *s)
{
    struct lg_mask *m = &s->mask;
    size_t n = (size_t)count_words(s) + s->params.n_ctx + 1;
    if (m->words)
        return 0;
    m->words = lg_alloc_array(s->env, n, sizeof(*m->words));
    if (!m->words)
        return lg_fail_nomem(s->env, "a session's mask", n * sizeof(*m->words));
    m->tokens = (int32_t *)(m->words + count_words(s));
    return 0;
}

static bool has(const struct lg_mask *m, uint32_t token)
{
    return m->words[token / 32] >> token % 32 & 1;
}

/** How many tokens may be drawn. */
static uint32_t count_allowed(const struct lg_session *s)
{
    const struct lg_mask *m = &s->mask;
    uint32_t n_words = count_words(s), rest = s->model->hp.n_vocab % 32, n = 0;
    if (rest)
        m->words[n_words - 1] &= (UINT32_C(1) << rest) - 1;
    for (uint32_t i = 0; i < n_words; i++)
        n += (uint32_t)__builtin_popcount(m->words[i]);
    return n;
}

/** Of the tokens that the mask allows, how many the biases never let through. */
static uint32_t count_banned(const struct lg_session *s)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n_biases; i++)
        n += isinf(s->biases[i].bias) && has(&s->mask, s->biases[i].token);
    return n;
}

/** Notes what the answer will be to. False: there is nothing to ask. */
static bool begin(struct lg_session *s)
{
    struct lg_mask *m = &s->mask;
    pthread_mutex_lock(&s->sched->lock);
    m->n_tokens = s->n_tokens;
    m->epoch = s->epoch;
    m->inputs = s->inputs;
    if (m->ask)
        memcpy(m->tokens, s->tokens, s->n_tokens * sizeof(*m->tokens));
    pthread_mutex_unlock(&s->sched->lock);
    return m->ask != NULL;
}

int lg_mask_ask(struct lg_session *s)
{
    struct lg_mask *m = &s->mask;
    struct lg_env *env = s->sched->env;
    uint32_t n_words = count_words(s);
    if (!begin(s))
        return 0;
    memset(m->words, 0xff, n_words * sizeof(*m->words));
    if (m->ask(m->user, m->tokens, m->n_tokens, m->words, n_words) != 0)
        return lg_note(env, LLMGPU_E_CANCELLED, "cancelled by the session's mask");
    uint32_t n = count_allowed(s);
    m->all = n == s->model->hp.n_vocab;
    pthread_mutex_lock(&s->sched->lock);
    uint32_t banned = count_banned(s);
    pthread_mutex_unlock(&s->sched->lock);
    if (n == banned)
        return lg_note(env, LLMGPU_E_INVALID, "the session's mask leaves no token behind %u", m->n_tokens);
    return m->all ? 0 : lg_engine_make_masks(s->engine);
}

bool lg_mask_is_current(const struct lg_session *s)
{
    const struct lg_mask *m = &s->mask;
    return !m->ask || (m->n_tokens == s->n_tokens && m->epoch == s->epoch && m->inputs == s->inputs);
}

void lg_mask_write(const struct lg_session *s, struct lg_sampler *sampler)
{
    const struct lg_mask *m = &s->mask;
    sampler->masked = m->ask && !m->all;
    if (sampler->masked)
        memcpy(lg_engine_mask(s->engine, s->slot), m->words, count_words(s) * sizeof(*m->words));
}

bool lg_mask_allows(const struct lg_session *s, uint32_t token)
{
    const struct lg_mask *m = &s->mask;
    if (!m->ask || m->all || (token < s->model->hp.n_vocab && has(m, token)))
        return true;
    lg_note(s->sched->env, LLMGPU_E_INVALID, "the model gives no probability to what the session's mask leaves behind %u",
            s->n_tokens);
    return false;
}
