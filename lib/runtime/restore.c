/* SPDX-License-Identifier: MIT
 *
 * Conversations that a saved state takes the place of.
 */
#include <string.h>

#include "runtime/scheduler.h"
#include "runtime/session_parts.h"
#include "runtime/state.h"
#include "util/checked.h"

static int check_replace(struct lg_session *s, const struct lg_state *state)
{
    const struct lg_limits *limits = &s->params.limits;
    uint32_t n_prefix = state->n_prefix;
    LG_TRY(lg_session_answer_cancel(s));
    if (n_prefix > s->n_visible || lg_state_hash(s->tokens, n_prefix) != state->prefix_hash)
        return lg_note(s->env, LLMGPU_E_INVALID, "the saved state goes on from %u tokens that the session does not "
                       "begin with", n_prefix);
    if (n_prefix > s->params.n_ctx + 1 || state->n_tokens > s->params.n_ctx + 1 - n_prefix)
        return lg_note(s->env, LLMGPU_E_CONTEXT_FULL, "a saved state of %llu tokens does not fit into a context of %u",
                       (unsigned long long)n_prefix + state->n_tokens, s->params.n_ctx);
    if (limits->prompt_tokens && state->n_prompt > limits->prompt_tokens)
        return lg_note(s->env, LLMGPU_E_LIMIT, "limit max_prompt_tokens: %u are in the saved state, more than %u",
                       state->n_prompt, limits->prompt_tokens);
    if (limits->generated_tokens && state->n_generated > limits->generated_tokens)
        return lg_note(s->env, LLMGPU_E_LIMIT, "limit max_generated_tokens: %u are in the saved state, more than %u",
                       state->n_generated, limits->generated_tokens);
    return 0;
}

int lg_session_can_replace(struct lg_session *s, const struct lg_state *state, uint32_t *n_past)
{
    lg_session_lock(s);
    int rc = check_replace(s, state);
    *n_past = s->n_past;
    return lg_session_unlock(s, rc);
}

void lg_session_lose_computed(struct lg_session *s, uint32_t n)
{
    lg_session_lock(s);
    s->n_past = lg_min_u32(s->n_past, n);
    s->epoch++;
    s->inputs++;
    lg_session_unlock(s, 0);
}

/** Notes of the tokens from `at` on how they are computed. */
static void set_runs(struct lg_session *s, uint32_t at, const struct lg_state *state)
{
    for (uint32_t i = 0, run; i < state->n_runs; i++, at += run) {
        memcpy(&run, (const uint8_t *)state->runs + i * sizeof(run), sizeof(run));
        memset(s->decoded + at, i % 2, run);
    }
}

static void replace(struct lg_session *s, const struct lg_state *state, uint32_t n_past)
{
    uint32_t n_prefix = state->n_prefix, n = n_prefix + state->n_tokens;
    if (n < s->n_tokens)
        memset(s->decoded + n, 0, s->n_tokens - n);
    n_past = lg_max_u32(n_past, lg_min_u32(s->n_past, n_prefix));
    lg_session_change_from(s, n_prefix);
    memcpy(s->tokens + n_prefix, state->tokens, state->n_tokens * sizeof(*s->tokens));
    set_runs(s, n_prefix, state);
    s->n_tokens = s->n_visible = n;
    s->n_past = n ? lg_min_u32(n_past, n - 1) : 0;
    s->n_kept = n;
    if (n)
        s->decoded[n - 1] = 0;
    s->closed = state->ended;
    s->failure = 0;
    s->given.known = false;
    s->n_prompt = state->n_prompt;
    s->n_generated = state->n_generated;
    s->params.sampler = state->sampler;
    lg_session_set_end_tokens(s);
    s->epoch++;
    s->inputs++;
}

int lg_session_replace(struct lg_session *s, const struct lg_state *state, uint32_t n_past)
{
    lg_session_lock(s);
    int rc = check_replace(s, state);
    if (rc == 0)
        replace(s, state, n_past);
    return lg_session_unlock(s, rc);
}
