/* SPDX-License-Identifier: MIT
 *
 * Contexts that are full. Of a session that goes on, the oldest tokens behind its head are forgotten, half of what is there at
 * once, and what stays moves to the positions where it would be had the others never been said: it is computed again, so keys
 * and values hold nothing of what is gone, learned positions work as rotary ones do, and the model never sees a position that
 * it was not trained for. That costs a prefill of half a context for each half context that is generated. (Xiao et al. 2024
 * show what keeping the head is good for.)
 */
#include <string.h>

#include "runtime/session.h"
#include "util/checked.h"

static bool slides(const struct lg_session *s)
{
    return s->params.when_full == LLMGPU_WHEN_FULL_RING || s->params.when_full == LLMGPU_WHEN_FULL_SLIDE;
}

static uint32_t head_of(const struct lg_session *s)
{
    return s->params.when_full == LLMGPU_WHEN_FULL_SLIDE ? lg_min_u32(s->params.n_keep, s->n_visible) : 0;
}

/** Forgets n tokens behind the head. */
static void forget(struct lg_session *s, uint32_t head, uint32_t n)
{
    uint32_t rest = s->n_tokens - head - n;
    memmove(s->tokens + head, s->tokens + head + n, rest * sizeof(*s->tokens));
    memset(s->decoded + head, 0, s->n_tokens - head);
    lg_session_change_from(s, head);
    s->n_tokens -= n;
    s->n_visible -= n;
    s->n_past = lg_min_u32(s->n_past, head);
    s->n_kept = s->n_tokens;
    s->n_forgotten += n;
    s->epoch++;
    s->inputs++;
}

bool lg_session_make_room(struct lg_session *s, size_t n)
{
    if (!slides(s) || n > s->params.n_ctx)
        return false;
    // Tokens that were sampled and not given go when something is fed.
    uint32_t n_ctx = s->params.n_ctx, head = head_of(s), after = (n ? s->n_visible : s->n_tokens) + (uint32_t)n;
    if (after <= n_ctx)
        return true;
    uint32_t least = after - n_ctx, most = s->n_visible > head ? s->n_visible - head : 0;
    if (n == 0 && most > 0)
        most--; // a token to go on from
    if (least > most)
        return false;
    forget(s, head, lg_min_u32(most, lg_max_u32(least, (n_ctx - lg_min_u32(head, n_ctx)) / 2)));
    return true;
}

void lg_session_look_for_room(struct lg_session *s)
{
    if (s->closed || s->n_tokens <= s->params.n_ctx)
        return;
    if (s->params.when_full == LLMGPU_WHEN_FULL_STOP)
        s->closed = true;
    else
        lg_session_make_room(s, 0);
}
