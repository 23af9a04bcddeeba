/* SPDX-License-Identifier: MIT */
#include "runtime/speculate.h"

#include <string.h>

#include "util/checked.h"

enum { LONGEST = 4, SHORTEST = 2 }; // tokens that must have been said before

/* ---- from the conversation itself */

/** The latest place before the end where the last n tokens stand as well; where what follows them begins, 0: nowhere. */
static uint32_t find_last(const struct lg_session *s, uint32_t n)
{
    const int32_t *end = s->tokens + s->n_tokens - n;
    for (uint32_t i = s->n_tokens - n; i-- > 0;)
        if (s->tokens[i] == *end && memcmp(s->tokens + i, end, n * sizeof(*end)) == 0)
            return i + n;
    return 0;
}

static uint32_t search(struct lg_session *s)
{
    for (uint32_t n = LONGEST; n >= SHORTEST; n--) {
        uint32_t at = s->n_tokens > n ? find_last(s, n) : 0;
        if (at == 0)
            continue;
        // What runs into the end goes round: a loop is taken to go on.
        for (uint32_t i = 0, period = s->n_tokens - at; i < LG_MAX_DRAFT; i++)
            s->drafts[i] = s->tokens[at + i % period];
        return LG_MAX_DRAFT;
    }
    return 0;
}

/** The same once for each token, however often it is asked. */
static uint32_t look_up(struct lg_session *s, uint32_t most)
{
    if (s->found_behind != s->n_tokens || s->found_epoch != s->epoch) {
        s->n_found = search(s);
        s->found_behind = s->n_tokens;
        s->found_epoch = s->epoch;
    }
    return lg_min_u32(most, s->n_found);
}

/* ---- from a session of another model, the drafter */

/** Tokens that the two conversations begin with alike. */
static uint32_t count_common(const struct lg_session *a, const struct lg_session *b)
{
    uint32_t n = lg_min_u32(a->n_tokens, b->n_tokens), i = 0;
    while (i < n && a->tokens[i] == b->tokens[i])
        i++;
    return i;
}

/** How many tokens are drafted next at the most. */
static uint32_t draft_room(const struct lg_session *s)
{
    uint32_t room = lg_session_decode_room(s);
    return room > 0 ? lg_min_u32(s->n_draft, room - 1) : 0;
}

struct lg_session *lg_speculate_waits_for(struct lg_session *s)
{
    struct lg_session *d = s->drafter;
    if (s->speculation != LLMGPU_SPECULATION_DRAFT || !d || s->mask.ask || !lg_session_wants_decode(s, UINT32_MAX))
        return NULL;
    uint32_t common = count_common(s, d), n = draft_room(s);
    if (common < s->n_tokens && !lg_session_follow(d, s->tokens, s->n_tokens, common))
        return NULL;
    d->n_visible = s->n_tokens; // what is behind that is drafted
    bool works = lg_session_wants_prefill(d) || lg_session_wants_decode(d, UINT32_MAX);
    return d->n_tokens < s->n_tokens + n && works ? d : NULL;
}

static uint32_t ask_drafter(struct lg_session *s, uint32_t most)
{
    const struct lg_session *d = s->drafter;
    if (!d || count_common(s, d) < s->n_tokens)
        return 0;
    uint32_t n = lg_min_u32(most, d->n_tokens - s->n_tokens);
    memcpy(s->drafts, d->tokens + s->n_tokens, n * sizeof(*s->drafts));
    return n;
}

/* ---- both */

uint32_t lg_speculate(struct lg_session *s, uint32_t n)
{
    const struct lg_sampler *sampler = &s->params.sampler;
    bool penalised = sampler->repeat_penalty != 1 || sampler->frequency_penalty != 0 || sampler->presence_penalty != 0;
    s->n_drafts = 0;
    n = lg_min_u32(n, draft_room(s));
    // Penalties look at a history that must hold the drafts too.
    if (n == 0 || s->params.n_candidates || s->mask.ask || (penalised && sampler->penalty_last_n + n > LG_HISTORY))
        return 0;
    if (s->speculation == LLMGPU_SPECULATION_LOOKUP)
        s->n_drafts = look_up(s, n);
    if (s->speculation == LLMGPU_SPECULATION_DRAFT)
        s->n_drafts = ask_drafter(s, n);
    return s->n_drafts;
}

void lg_speculate_take(struct lg_session *s, const uint32_t *drawn)
{
    uint32_t i = 0;
    bool right = true;
    for (; right && !s->closed; i++) {
        lg_session_append(s, (int32_t)drawn[i]);
        right = i < s->n_drafts && s->drafts[i] == (int32_t)drawn[i];
    }
    s->n_drafted += s->n_drafts;
    s->n_accepted += i - 1;
    s->n_drafts = 0;
    lg_session_look_for_room(s);
}
