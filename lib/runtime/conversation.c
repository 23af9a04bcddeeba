/* SPDX-License-Identifier: MIT
 *
 * What is in a conversation: how it grows by what is fed and sampled, what of it is told, and what it wants next.
 */
#include <string.h>

#include "runtime/mask.h"
#include "runtime/scheduler.h"
#include "runtime/session_parts.h"
#include "util/checked.h"
#include "util/clock.h"

/* ---- what stays of it */

void lg_session_change_from(struct lg_session *s, uint32_t n)
{
    if (n < s->hashed.n * LG_PAGE_SIZE)
        s->hashed.n = 0;
    if (s->hashed.n == 0)
        s->hashed.hash = s->hashed.begin;
}

uint32_t lg_session_count_kept(const struct lg_session *s)
{
    uint32_t n = s->n_past + 1 < s->n_tokens ? s->n_past : s->n_tokens;
    return lg_max_u32(n, s->n_kept);
}

void lg_session_cut(struct lg_session *s, uint32_t n)
{
    uint32_t last = n ? n - 1 : 0; // what comes next says how it is computed
    if (last < s->n_tokens)
        memset(s->decoded + last, 0, s->n_tokens - last);
    lg_session_change_from(s, n);
    s->n_generated -= s->n_tokens - s->n_visible; // those were not given
    s->n_tokens = s->n_visible = n;
    s->n_past = n == 0 ? 0 : lg_min_u32(s->n_past, n - 1);
    s->n_kept = lg_min_u32(s->n_kept, n);
    s->closed = false;
    s->epoch++;
    s->inputs++;
}

void lg_session_drop_unread(struct lg_session *s)
{
    bool closed = s->closed && s->n_tokens == s->n_visible;
    s->inputs++;
    if (s->n_tokens == s->n_visible)
        return;
    lg_session_cut(s, s->n_visible);
    s->closed = closed;
}

int lg_session_answer_cancel(struct lg_session *s)
{
    if (!atomic_exchange(&s->cancelled, 0))
        return 0;
    lg_session_drop_unread(s);
    uint32_t kept = lg_session_count_kept(s);
    if (kept < s->n_tokens) {
        lg_session_cut(s, kept);
        s->closed = true;
    }
    return lg_note(s->env, LLMGPU_E_CANCELLED, "cancelled");
}

/* ---- what it wants */

static uint64_t time_limit_ns(const struct lg_session *s)
{
    return s->params.limits.time_ms ? s->params.limits.time_ms * UINT64_C(1000000) : UINT64_MAX;
}

bool lg_session_out_of_time(const struct lg_session *s)
{
    return s->prompt_ns + s->decode_ns >= time_limit_ns(s);
}

static bool generated_all(const struct lg_session *s)
{
    return s->params.limits.generated_tokens && s->n_generated >= s->params.limits.generated_tokens;
}

bool lg_session_past_deadline(const struct lg_session *s)
{
    return s->deadline_ns != UINT64_MAX && lg_now_ns() >= s->deadline_ns;
}

static bool may_work(const struct lg_session *s)
{
    return !atomic_load(&s->cancelled) && !s->failure && s->n_tokens > 0 && !lg_session_out_of_time(s) &&
           !lg_session_past_deadline(s);
}

bool lg_session_wants_prefill(const struct lg_session *s)
{
    return s->n_past + 1 < s->n_tokens && may_work(s);
}

uint32_t lg_session_prefill_room(const struct lg_session *s, uint32_t most, bool *decoded)
{
    *decoded = s->decoded[s->n_past];
    if (*decoded)
        return 1;
    most = lg_min_u32(most, s->n_tokens - 1 - s->n_past);
    const uint8_t *end = memchr(s->decoded + s->n_past, 1, most);
    return end ? (uint32_t)(end - (s->decoded + s->n_past)) : most;
}

bool lg_session_wants_decode(const struct lg_session *s, uint32_t ahead)
{
    ahead = s->params.n_candidates ? 1 : ahead; // one token's candidates are kept
    return s->n_past + 1 == s->n_tokens && !s->closed && s->n_tokens - s->n_visible < lg_min_u32(ahead, s->remaining) &&
           s->n_tokens <= s->params.n_ctx && !generated_all(s) && may_work(s);
}

int lg_session_look(const struct lg_session *s)
{
    if (atomic_load(&s->cancelled))
        return LLMGPU_E_CANCELLED;
    if (s->failure)
        return s->failure;
    if (s->n_tokens > s->n_visible)
        return s->remaining ? LLMGPU_TOKEN : LLMGPU_DONE;
    if (s->n_tokens == 0 && !s->closed)
        return LLMGPU_E_INVALID;
    if (s->closed || s->remaining == 0)
        return LLMGPU_DONE;
    if (lg_session_past_deadline(s))
        return LLMGPU_E_TIMEOUT;
    if (s->n_tokens > s->params.n_ctx)
        return LLMGPU_E_CONTEXT_FULL;
    return generated_all(s) || lg_session_out_of_time(s) ? LLMGPU_E_LIMIT : LLMGPU_AGAIN;
}

int lg_session_tell(struct lg_session *s, int code)
{
    struct lg_env *env = s->env;
    switch (code) {
    case LLMGPU_E_INVALID: return lg_note(env, code, "no token was fed to continue from");
    case LLMGPU_E_TIMEOUT: return lg_note(env, code, "the session's deadline has passed");
    case LLMGPU_E_CONTEXT_FULL: return lg_note(env, code, "the context of %u tokens is full", s->params.n_ctx);
    case LLMGPU_E_LIMIT:
        if (!lg_session_out_of_time(s))
            return lg_note(env, code, "limit max_generated_tokens: %u tokens were generated", s->n_generated);
        return lg_note(env, code, "limit max_time_ms: %u ms were worked", s->params.limits.time_ms);
    default: return code;
    }
}

/* ---- what is fed and given */

int lg_session_feed(struct lg_session *s, const int32_t *tokens, size_t n)
{
    const struct lg_limits *limits = &s->params.limits;
    lg_session_lock(s);
    int rc = lg_session_answer_cancel(s);
    if (rc == 0 && lg_session_past_deadline(s))
        rc = lg_session_tell(s, LLMGPU_E_TIMEOUT);
    if (rc == 0 && n > 0 && (s->n_visible > s->params.n_ctx || n > s->params.n_ctx - s->n_visible) &&
        !lg_session_make_room(s, n))
        rc = lg_note(s->env, LLMGPU_E_CONTEXT_FULL, "%zu tokens do not fit: %u of the context's %u are taken", n,
                     s->n_visible, s->params.n_ctx);
    if (rc == 0 && limits->prompt_tokens && n > limits->prompt_tokens - s->n_prompt)
        rc = lg_note(s->env, LLMGPU_E_LIMIT, "limit max_prompt_tokens: %zu tokens on %u are more than %u", n,
                     s->n_prompt, limits->prompt_tokens);
    if (rc < 0 || n == 0)
        return lg_session_unlock(s, rc);
    lg_session_drop_unread(s);
    if (!lg_session_wants_prefill(s)) {
        s->ticket = ++s->sched->n_tickets;
        s->asked = s->sched->n_passes;
    }
    memcpy(s->tokens + s->n_tokens, tokens, n * sizeof(*tokens));
    s->n_tokens += (uint32_t)n;
    s->n_visible = s->n_tokens;
    s->n_prompt += (uint32_t)n;
    if (!s->fed_ns)
        s->fed_ns = lg_now_ns();
    s->closed = false;
    s->failure = 0;
    return lg_session_unlock(s, 0);
}

/** Tells a failure of work, once: the next call tries again. */
static int take_failure(struct lg_session *s)
{
    int rc = s->failure;
    if (rc < 0)
        memcpy(s->env->error, s->failure_text, sizeof(s->failure_text));
    s->failure = 0;
    return rc;
}

int lg_session_settle(struct lg_session *s)
{
    lg_session_lock(s);
    int rc = lg_session_answer_cancel(s);
    if (rc == 0)
        rc = take_failure(s);
    if (rc == 0 && s->n_past + 1 < s->n_tokens)
        rc = lg_session_past_deadline(s)  ? lg_session_tell(s, LLMGPU_E_TIMEOUT)
             : lg_session_out_of_time(s) ? lg_session_tell(s, LLMGPU_E_LIMIT)
                                         : LLMGPU_AGAIN;
    return lg_session_unlock(s, rc);
}

static int give(struct lg_session *s, int32_t *token)
{
    LG_TRY(lg_session_answer_cancel(s));
    LG_TRY(take_failure(s));
    int rc = lg_session_look(s);
    if (rc != LLMGPU_TOKEN)
        return lg_session_tell(s, rc);
    if (s->n_visible + 1 == s->n_tokens) { // the next one is wanted from now on
        s->asked = s->sched->n_passes;
        s->token_ns = lg_now_ns();
    }
    *token = s->tokens[s->n_visible++];
    s->given = s->sampled;
    if (s->remaining != UINT32_MAX)
        s->remaining--;
    return LLMGPU_TOKEN;
}

int lg_session_next(struct lg_session *s, int32_t *token)
{
    lg_session_lock(s);
    return lg_session_unlock(s, give(s, token));
}

void lg_session_close(struct lg_session *s)
{
    lg_session_lock(s);
    lg_session_drop_unread(s);
    s->closed = true;
    lg_session_unlock(s, 0);
}

void lg_session_reset(struct lg_session *s)
{
    lg_session_lock(s);
    lg_session_cut(s, 0);
    s->given.known = false;
    s->remaining = UINT32_MAX;
    s->failure = 0;
    s->n_prompt = s->n_generated = s->n_forgotten = 0;
    s->fed_ns = s->token_ns = 0;
    s->prompt_ns = s->decode_ns = s->prompt_submits = s->decode_submits = 0;
    lg_session_unlock(s, 0);
}

int lg_session_rewind(struct lg_session *s, uint32_t n)
{
    lg_session_lock(s);
    int rc = 0;
    if (n > s->n_visible)
        rc = lg_note(s->env, LLMGPU_E_INVALID, "%u tokens cannot stay of %u", n, s->n_visible);
    else if (n == s->n_visible)
        lg_session_drop_unread(s); // an answer that is over stays so
    else {
        lg_session_cut(s, n);
        s->given.known = false;
    }
    return lg_session_unlock(s, rc);
}

bool lg_session_follow(struct lg_session *s, const int32_t *tokens, uint32_t n, uint32_t n_common)
{
    if (n > s->params.n_ctx || atomic_load(&s->cancelled) || s->failure)
        return false;
    lg_session_cut(s, n_common);
    memcpy(s->tokens + n_common, tokens + n_common, (n - n_common) * sizeof(*tokens));
    s->n_tokens = s->n_visible = n;
    return true;
}

/* ---- sampling */

uint32_t lg_session_decode_room(const struct lg_session *s)
{
    const struct lg_limits *limits = &s->params.limits;
    uint32_t room = lg_min_u32(s->params.n_ctx - s->n_past, s->remaining - (s->n_tokens - s->n_visible));
    if (limits->generated_tokens)
        room = lg_min_u32(room, limits->generated_tokens - s->n_generated);
    return room;
}

void lg_session_set_up_sampler(struct lg_session *s, uint32_t n)
{
    struct lg_sampler *sampler = lg_engine_sampler(s->engine, s->slot);
    uint32_t *history = lg_engine_history(s->engine, s->slot);
    *sampler = s->params.sampler;
    sampler->seed_hi += s->n_forgotten; // positions come again, what is drawn there must not
    sampler->n_history = s->n_tokens;
    sampler->n_remaining = n;
    sampler->n_bias = s->n_biases;
    memcpy(lg_engine_biases(s->engine, s->slot), s->biases, s->n_biases * sizeof(*s->biases));
    lg_mask_write(s, sampler);
    for (uint32_t i = s->n_tokens > LG_HISTORY ? s->n_tokens - LG_HISTORY : 0; i < s->n_tokens; i++)
        history[i % LG_HISTORY] = (uint32_t)s->tokens[i];
    for (uint32_t i = 0; i < s->n_drafts; i++)
        history[(s->n_tokens + i) % LG_HISTORY] = (uint32_t)s->drafts[i];
}

static bool ends_answer(const struct lg_session *s, int32_t token)
{
    for (uint32_t i = 0; i < s->n_stop_tokens; i++)
        if (s->stop_tokens[i] == token)
            return true;
    return !s->params.ignore_end && lg_vocab_is_end(s->model->vocab, token);
}

/** What the pass that sampled a token has told of it. */
static void read_choice(struct lg_session *s, uint32_t row)
{
    const struct lg_candidate *told = s->engine->runs[LG_RUN_DECODE].pass->top->map;
    told += (size_t)row * (LG_MAX_CANDIDATES + 1);
    s->sampled = (struct lg_choice){.known = true, .chosen = told[LG_MAX_CANDIDATES]};
    memcpy(s->sampled.top, told, s->params.n_candidates * sizeof(*told));
}

/** Counts how long a token was waited for. */
static void count_latency(struct lg_session *s)
{
    uint64_t now = lg_now_ns(), since = s->fed_ns ? s->fed_ns : s->token_ns;
    if (since && !s->drafts_for)
        lg_latency_add(s->fed_ns ? &s->sched->first : &s->sched->between, (now - since) / 1000);
    s->fed_ns = 0;
    s->token_ns = now;
}

void lg_session_append(struct lg_session *s, int32_t token)
{
    count_latency(s);
    s->tokens[s->n_tokens++] = token;
    s->decoded[s->n_past++] = 1;
    s->n_generated++;
    s->closed = ends_answer(s, token);
}

void lg_session_take_samples(struct lg_session *s, uint32_t first, uint32_t n, uint32_t row)
{
    const uint32_t *ring = lg_engine_ring(s->engine, s->slot) + first;
    if (n && !lg_mask_allows(s, ring[0])) {
        lg_session_set_failure(s, LLMGPU_E_INVALID, s->sched->env->error);
        return;
    }
    for (uint32_t i = 0; i < n && !s->closed; i++)
        lg_session_append(s, (int32_t)ring[i]);
    if (s->params.n_candidates && n)
        read_choice(s, row);
    lg_session_look_for_room(s);
}
