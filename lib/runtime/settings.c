/* SPDX-License-Identifier: MIT
 *
 * What a session is told of how it is to go on. What was sampled under other settings and not given is forgotten.
 */
#include <string.h>

#include "runtime/mask.h"
#include "runtime/scheduler.h"
#include "runtime/session_parts.h"
#include "util/clock.h"

void lg_session_set_end_tokens(struct lg_session *s)
{
    struct lg_sampler *sampler = &s->params.sampler;
    const struct lg_vocab *vocab = s->model->vocab;
    sampler->n_end = 0;
    for (uint32_t i = 0; i < s->n_stop_tokens; i++)
        sampler->end[sampler->n_end++] = (uint32_t)s->stop_tokens[i];
    for (uint32_t id = 0; !s->params.ignore_end && id < lg_vocab_size(vocab) && sampler->n_end < LG_MAX_END; id++)
        if (lg_vocab_is_end(vocab, (int32_t)id))
            sampler->end[sampler->n_end++] = id;
}

int lg_session_set_sampler(struct lg_session *s, const struct lg_sampler *sampler)
{
    lg_session_lock(s);
    lg_session_drop_unread(s);
    s->params.sampler = *sampler;
    lg_session_set_end_tokens(s);
    return lg_session_unlock(s, 0);
}

int lg_session_set_biases(struct lg_session *s, const struct lg_bias *biases, uint32_t n)
{
    lg_session_lock(s);
    lg_session_drop_unread(s);
    if (n)
        memcpy(s->biases, biases, n * sizeof(*biases));
    s->n_biases = n;
    return lg_session_unlock(s, 0);
}

int lg_session_set_mask(struct lg_session *s,
                        int (*ask)(void *user, const int32_t *tokens, size_t n_tokens, uint32_t *mask, size_t n_words),
                        void *user)
{
    if (ask)
        LG_TRY(lg_mask_reserve(s));
    lg_session_lock(s);
    lg_session_drop_unread(s);
    s->mask.ask = ask;
    s->mask.user = user;
    return lg_session_unlock(s, 0);
}

void lg_session_set_lora(struct lg_session *s, uint32_t seat, float scale)
{
    lg_session_lock(s);
    if (s->lora.seat != seat || s->lora.scale != scale) {
        lg_session_drop_unread(s);
        s->epoch++; // what is being computed begins again
        s->lora = (struct lg_slot_lora){seat, scale};
    }
    lg_session_unlock(s, 0);
}

int lg_session_set_remaining(struct lg_session *s, uint32_t n)
{
    lg_session_lock(s);
    if (s->remaining == 0)
        s->asked = s->sched->n_passes;
    s->remaining = n;
    return lg_session_unlock(s, 0);
}

int lg_session_add_stop_token(struct lg_session *s, int32_t token)
{
    lg_session_lock(s);
    int rc = 0;
    if (s->n_stop_tokens == LG_MAX_STOP_TOKENS)
        rc = lg_note(s->env, LLMGPU_E_LIMIT, "a session has at most %d stop tokens", LG_MAX_STOP_TOKENS);
    else
        s->stop_tokens[s->n_stop_tokens++] = token;
    lg_session_drop_unread(s); // they may lie behind a token that now ends the answer
    lg_session_set_end_tokens(s);
    return lg_session_unlock(s, rc);
}

void lg_session_clear_stop_tokens(struct lg_session *s)
{
    lg_session_lock(s);
    s->n_stop_tokens = 0;
    lg_session_drop_unread(s);
    lg_session_set_end_tokens(s);
    lg_session_unlock(s, 0);
}

int lg_session_set_priority(struct lg_session *s, int priority)
{
    lg_session_lock(s);
    s->params.priority = priority;
    return lg_session_unlock(s, 0);
}

int lg_session_set_speculation(struct lg_session *s, enum llmgpu_speculation kind, uint32_t n, struct lg_session *drafter)
{
    lg_session_lock(s);
    int rc = 0;
    if (drafter && (drafter->drafts_for || drafter->drafter) && drafter != s->drafter)
        rc = lg_note(s->env, LLMGPU_E_INVALID, "the drafter drafts for another session, or has one itself");
    if (rc == 0) {
        if (s->drafter)
            s->drafter->drafts_for = false;
        if (drafter)
            drafter->drafts_for = true;
        s->drafter = drafter;
        s->speculation = kind;
        s->found_behind = 0; // another kind drafts in the same place
        s->n_draft = n;
    }
    return lg_session_unlock(s, rc);
}

int lg_session_set_deadline(struct lg_session *s, uint32_t ms)
{
    lg_session_lock(s);
    s->deadline_ns = ms ? lg_now_ns() + ms * UINT64_C(1000000) : UINT64_MAX;
    return lg_session_unlock(s, 0);
}
