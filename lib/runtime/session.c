/* SPDX-License-Identifier: MIT */
#include "runtime/session.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "runtime/mask.h"
#include "runtime/run.h"
#include "runtime/scheduler.h"
#include "runtime/sharing.h"
#include "runtime/state.h"
#include "util/checked.h"
#include "util/clock.h"

/** What was not asked for by calls, such as a deadline that passed, is told by who works next. */
static void lock(struct lg_session *s)
{
    pthread_mutex_lock(&s->sched->lock);
    if (lg_session_update_ready(s))
        s->owes_call = true;
}

/** Ends a call that may have changed what there is to tell or to do. Failures in between are noted, and logged here. */
static int unlock(struct lg_session *s, int rc)
{
    lg_session_update_ready(s); // who calls knows; nobody else needs to be told
    lg_scheduler_wake(s->sched);
    pthread_mutex_unlock(&s->sched->lock);
    if (rc < 0)
        lg_log(s->env, LG_LOG_DEBUG, "%s", s->env->error);
    return rc;
}

/* ---- beginning and ending */

/** The vocabulary's end tokens, for the sampler to stop at; what does not fit is stopped at on the host. */
static void set_end_tokens(struct lg_session *s)
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

static int begin(struct lg_session *s, struct lg_env *env, struct lg_scheduler *sched, struct lg_engine *engine,
                 const struct lg_session_params *params)
{
    *s = (struct lg_session){.env = env, .sched = sched, .engine = engine, .model = engine->model, .params = *params};
    s->remaining = UINT32_MAX;
    s->deadline_ns = UINT64_MAX;
    s->fd = -1;
    size_t n = (size_t)params->n_ctx + 1;
    s->tokens = lg_alloc_array(env, n, sizeof(*s->tokens) + sizeof(*s->decoded));
    if (!s->tokens)
        return lg_fail_nomem(env, "a session's tokens", n * (sizeof(*s->tokens) + sizeof(*s->decoded)));
    s->decoded = (uint8_t *)(s->tokens + n);
    return 0;
}

static void join(struct lg_session *s)
{
    struct lg_scheduler *sched = s->sched;
    pthread_mutex_lock(&sched->lock);
    s->ticket = ++sched->n_tickets;
    s->asked = sched->n_passes;
    s->next = sched->sessions;
    s->link = &sched->sessions;
    if (s->next)
        s->next->link = &s->next;
    sched->sessions = s;
    sched->n_sessions++;
    s->ready = lg_session_look(s) != LLMGPU_AGAIN;
    pthread_mutex_unlock(&sched->lock);
}

int lg_session_init(struct lg_session *s, struct lg_env *env, struct lg_scheduler *sched, struct lg_engine *engine,
                    const struct lg_session_params *params)
{
    LG_TRY(begin(s, env, sched, engine, params));
    set_end_tokens(s);
    s->params.n_batch = lg_min_u32(params->n_batch, lg_engine_rows_limit(engine));
    int rc = lg_session_revive(s);
    if (rc < 0) {
        lg_session_finish(s);
        return rc;
    }
    join(s);
    return 0;
}

/** How many tokens are there for good: those that were computed at some time, and the one behind them. */
static uint32_t count_kept(const struct lg_session *s)
{
    uint32_t n = s->n_past + 1 < s->n_tokens ? s->n_past : s->n_tokens;
    return lg_max_u32(n, s->n_kept);
}

int lg_session_revive(struct lg_session *s)
{
    int slot = lg_engine_take_slot(s->engine, s->params.n_ctx, s->params.n_batch);
    LG_TRY(slot);
    lock(s);
    lg_share_forget(s);
    s->slot = (uint32_t)slot;
    s->has_slot = true;
    s->n_kept = count_kept(s);
    s->n_past = 0;
    s->epoch++;
    s->inputs++;
    if (s->failure == LLMGPU_E_DEVICE_LOST)
        s->failure = 0;
    return unlock(s, 0);
}

int lg_session_fork(struct lg_session *s, struct lg_env *env, struct lg_session *original)
{
    lock(original);
    struct lg_session_params params = original->params;
    pthread_mutex_unlock(&original->sched->lock);
    if (original->has_slot)
        LG_TRY(lg_share_need_room(original, 0, 0));
    LG_TRY(begin(s, env, original->sched, original->engine, &params));
    pthread_mutex_lock(&s->sched->lock);
    s->n_tokens = s->n_visible = original->n_visible;
    s->n_past = original->n_past < s->n_tokens ? original->n_past : s->n_tokens ? s->n_tokens - 1 : 0;
    s->n_kept = lg_min_u32(count_kept(original), s->n_tokens);
    s->closed = original->closed && original->n_tokens == original->n_visible;
    s->remaining = original->remaining;
    s->n_prompt = original->n_prompt;
    s->n_forgotten = original->n_forgotten;
    s->n_generated = original->n_generated - (original->n_tokens - original->n_visible);
    s->lora = original->lora;
    s->n_stop_tokens = original->n_stop_tokens;
    memcpy(s->stop_tokens, original->stop_tokens, sizeof(s->stop_tokens));
    s->n_biases = original->n_biases;
    memcpy(s->biases, original->biases, sizeof(s->biases));
    memcpy(s->tokens, original->tokens, s->n_tokens * sizeof(*s->tokens));
    memcpy(s->decoded, original->decoded, s->n_tokens ? s->n_tokens - 1 : 0);
    pthread_mutex_unlock(&s->sched->lock);
    int slot = lg_engine_fork_slot(s->engine, original->slot, s->n_past, s->params.n_ctx, s->params.n_batch, &s->n_past);
    if (slot < 0) {
        lg_session_finish(s);
        return slot;
    }
    s->slot = (uint32_t)slot;
    s->has_slot = true;
    join(s);
    return 0;
}

static void leave(struct lg_session *s)
{
    struct lg_scheduler *sched = s->sched;
    pthread_mutex_lock(&sched->lock);
    for (struct lg_session *other = sched->sessions; other; other = other->next)
        if (other->drafter == s)
            other->drafter = NULL;
    if (s->drafter)
        s->drafter->drafts_for = false;
    *s->link = s->next;
    if (s->next)
        s->next->link = s->link;
    sched->n_sessions--;
    pthread_mutex_unlock(&sched->lock);
}

void lg_session_finish(struct lg_session *s)
{
    if (s->link)
        leave(s);
    if (s->has_slot) {
        if (lg_run_has(s->engine, s))
            lg_run_drop(s->engine);
        lg_engine_drop_slot(s->engine, s->slot);
    }
    if (s->tokens) {
        lg_share_forget(s);
        if (s->fd >= 0)
            close(s->fd);
        lg_free(s->env, s->mask.words);
        lg_free(s->env, s->tokens);
    }
    memset(s, 0, sizeof(*s));
}

/* ---- the conversation */

/** Cuts it off behind n tokens. Nothing that runs for it means anything any more. */
static void cut(struct lg_session *s, uint32_t n)
{
    uint32_t last = n ? n - 1 : 0; // what comes next says how it is computed
    if (last < s->n_tokens)
        memset(s->decoded + last, 0, s->n_tokens - last);
    s->n_generated -= s->n_tokens - s->n_visible; // those were not given
    s->n_tokens = s->n_visible = n;
    s->n_past = n == 0 ? 0 : lg_min_u32(s->n_past, n - 1);
    s->n_kept = lg_min_u32(s->n_kept, n);
    s->closed = false;
    s->epoch++;
    s->inputs++;
}

/** Forgets sampled tokens that were not given. A prefill that runs is not touched by that. */
static void drop_unread(struct lg_session *s)
{
    bool closed = s->closed && s->n_tokens == s->n_visible;
    s->inputs++;
    if (s->n_tokens == s->n_visible)
        return;
    cut(s, s->n_visible);
    s->closed = closed;
}

/** Answers a request to stop, once: what was fed and never computed is forgotten. */
static int take_cancel(struct lg_session *s)
{
    if (!atomic_exchange(&s->cancelled, 0))
        return 0;
    drop_unread(s);
    uint32_t kept = count_kept(s);
    if (kept < s->n_tokens) {
        cut(s, kept);
        s->closed = true;
    }
    return lg_note(s->env, LLMGPU_E_CANCELLED, "cancelled");
}

static uint64_t time_limit_ns(const struct lg_session *s)
{
    return s->params.limits.time_ms ? s->params.limits.time_ms * UINT64_C(1000000) : UINT64_MAX;
}

static bool out_of_time(const struct lg_session *s)
{
    return s->prompt_ns + s->decode_ns >= time_limit_ns(s);
}

static bool generated_all(const struct lg_session *s)
{
    return s->params.limits.generated_tokens && s->n_generated >= s->params.limits.generated_tokens;
}

static bool past_deadline(const struct lg_session *s)
{
    return s->deadline_ns != UINT64_MAX && lg_now_ns() >= s->deadline_ns;
}

static bool may_work(const struct lg_session *s)
{
    return !atomic_load(&s->cancelled) && !s->failure && s->n_tokens > 0 && !out_of_time(s) && !past_deadline(s);
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
    if (past_deadline(s))
        return LLMGPU_E_TIMEOUT;
    if (s->n_tokens > s->params.n_ctx)
        return LLMGPU_E_CONTEXT_FULL;
    return generated_all(s) || out_of_time(s) ? LLMGPU_E_LIMIT : LLMGPU_AGAIN;
}

/** The sentence for what lg_session_look() found. */
static int tell(struct lg_session *s, int code)
{
    struct lg_env *env = s->env;
    switch (code) {
    case LLMGPU_E_INVALID: return lg_note(env, code, "no token was fed to continue from");
    case LLMGPU_E_TIMEOUT: return lg_note(env, code, "the session's deadline has passed");
    case LLMGPU_E_CONTEXT_FULL: return lg_note(env, code, "the context of %u tokens is full", s->params.n_ctx);
    case LLMGPU_E_LIMIT:
        if (!out_of_time(s))
            return lg_note(env, code, "limit max_generated_tokens: %u tokens were generated", s->n_generated);
        return lg_note(env, code, "limit max_time_ms: %u ms were worked", s->params.limits.time_ms);
    default: return code;
    }
}

int lg_session_feed(struct lg_session *s, const int32_t *tokens, size_t n)
{
    const struct lg_limits *limits = &s->params.limits;
    lock(s);
    int rc = take_cancel(s);
    if (rc == 0 && past_deadline(s))
        rc = tell(s, LLMGPU_E_TIMEOUT);
    if (rc == 0 && n > 0 && (s->n_visible > s->params.n_ctx || n > s->params.n_ctx - s->n_visible) &&
        !lg_session_make_room(s, n))
        rc = lg_note(s->env, LLMGPU_E_CONTEXT_FULL, "%zu tokens do not fit: %u of the context's %u are taken", n,
                     s->n_visible, s->params.n_ctx);
    if (rc == 0 && limits->prompt_tokens && n > limits->prompt_tokens - s->n_prompt)
        rc = lg_note(s->env, LLMGPU_E_LIMIT, "limit max_prompt_tokens: %zu tokens on %u are more than %u", n,
                     s->n_prompt, limits->prompt_tokens);
    if (rc < 0 || n == 0)
        return unlock(s, rc);
    drop_unread(s);
    if (!lg_session_wants_prefill(s)) {
        s->ticket = ++s->sched->n_tickets;
        s->asked = s->sched->n_passes;
    }
    memcpy(s->tokens + s->n_tokens, tokens, n * sizeof(*tokens));
    s->n_tokens += (uint32_t)n;
    s->n_visible = s->n_tokens;
    s->n_prompt += (uint32_t)n;
    s->closed = false;
    s->failure = 0;
    return unlock(s, 0);
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
    lock(s);
    int rc = take_cancel(s);
    if (rc == 0)
        rc = take_failure(s);
    if (rc == 0 && s->n_past + 1 < s->n_tokens)
        rc = past_deadline(s) ? tell(s, LLMGPU_E_TIMEOUT) : out_of_time(s) ? tell(s, LLMGPU_E_LIMIT) : LLMGPU_AGAIN;
    return unlock(s, rc);
}

static int give(struct lg_session *s, int32_t *token)
{
    LG_TRY(take_cancel(s));
    LG_TRY(take_failure(s));
    int rc = lg_session_look(s);
    if (rc != LLMGPU_TOKEN)
        return tell(s, rc);
    if (s->n_visible + 1 == s->n_tokens)
        s->asked = s->sched->n_passes; // for the next one
    *token = s->tokens[s->n_visible++];
    s->given = s->sampled;
    if (s->remaining != UINT32_MAX)
        s->remaining--;
    return LLMGPU_TOKEN;
}

int lg_session_next(struct lg_session *s, int32_t *token)
{
    lock(s);
    return unlock(s, give(s, token));
}

void lg_session_close(struct lg_session *s)
{
    lock(s);
    drop_unread(s);
    s->closed = true;
    unlock(s, 0);
}

void lg_session_reset(struct lg_session *s)
{
    lock(s);
    cut(s, 0);
    s->given.known = false;
    s->remaining = UINT32_MAX;
    s->failure = 0;
    s->n_prompt = s->n_generated = s->n_forgotten = 0;
    s->prompt_ns = s->decode_ns = s->prompt_submits = s->decode_submits = 0;
    unlock(s, 0);
}

int lg_session_rewind(struct lg_session *s, uint32_t n)
{
    lock(s);
    int rc = 0;
    if (n > s->n_visible)
        rc = lg_note(s->env, LLMGPU_E_INVALID, "%u tokens cannot stay of %u", n, s->n_visible);
    else if (n == s->n_visible)
        drop_unread(s); // an answer that is over stays so
    else {
        cut(s, n);
        s->given.known = false;
    }
    return unlock(s, rc);
}

/* ---- restoring */

static int check_replace(struct lg_session *s, const struct lg_state *state)
{
    const struct lg_limits *limits = &s->params.limits;
    uint32_t n_prefix = state->n_prefix;
    LG_TRY(take_cancel(s));
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
    lock(s);
    int rc = check_replace(s, state);
    *n_past = s->n_past;
    return unlock(s, rc);
}

void lg_session_lose_computed(struct lg_session *s, uint32_t n)
{
    lock(s);
    s->n_past = lg_min_u32(s->n_past, n);
    s->epoch++;
    s->inputs++;
    unlock(s, 0);
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
    set_end_tokens(s);
    s->epoch++;
    s->inputs++;
}

int lg_session_replace(struct lg_session *s, const struct lg_state *state, uint32_t n_past)
{
    lock(s);
    int rc = check_replace(s, state);
    if (rc == 0)
        replace(s, state, n_past);
    return unlock(s, rc);
}

/* ---- settings */

int lg_session_set_sampler(struct lg_session *s, const struct lg_sampler *sampler)
{
    lock(s);
    drop_unread(s);
    s->params.sampler = *sampler;
    set_end_tokens(s);
    return unlock(s, 0);
}

int lg_session_set_biases(struct lg_session *s, const struct lg_bias *biases, uint32_t n)
{
    lock(s);
    drop_unread(s);
    if (n)
        memcpy(s->biases, biases, n * sizeof(*biases));
    s->n_biases = n;
    return unlock(s, 0);
}

int lg_session_set_mask(struct lg_session *s,
                        int (*ask)(void *user, const int32_t *tokens, size_t n_tokens, uint32_t *mask, size_t n_words),
                        void *user)
{
    if (ask)
        LG_TRY(lg_mask_reserve(s));
    lock(s);
    drop_unread(s);
    s->mask.ask = ask;
    s->mask.user = user;
    return unlock(s, 0);
}

void lg_session_set_lora(struct lg_session *s, uint32_t seat, float scale)
{
    lock(s);
    if (s->lora.seat != seat || s->lora.scale != scale) {
        drop_unread(s);
        s->epoch++; // what is being computed begins again
        s->lora = (struct lg_slot_lora){seat, scale};
    }
    unlock(s, 0);
}

int lg_session_set_remaining(struct lg_session *s, uint32_t n)
{
    lock(s);
    if (s->remaining == 0)
        s->asked = s->sched->n_passes;
    s->remaining = n;
    return unlock(s, 0);
}

int lg_session_add_stop_token(struct lg_session *s, int32_t token)
{
    lock(s);
    int rc = 0;
    if (s->n_stop_tokens == LG_MAX_STOP_TOKENS)
        rc = lg_note(s->env, LLMGPU_E_LIMIT, "a session has at most %d stop tokens", LG_MAX_STOP_TOKENS);
    else
        s->stop_tokens[s->n_stop_tokens++] = token;
    drop_unread(s); // they may lie behind a token that now ends the answer
    set_end_tokens(s);
    return unlock(s, rc);
}

void lg_session_clear_stop_tokens(struct lg_session *s)
{
    lock(s);
    s->n_stop_tokens = 0;
    drop_unread(s);
    set_end_tokens(s);
    unlock(s, 0);
}

int lg_session_set_priority(struct lg_session *s, int priority)
{
    lock(s);
    s->params.priority = priority;
    return unlock(s, 0);
}

int lg_session_set_speculation(struct lg_session *s, enum llmgpu_speculation kind, uint32_t n, struct lg_session *drafter)
{
    lock(s);
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
        s->n_draft = n;
    }
    return unlock(s, rc);
}

bool lg_session_follow(struct lg_session *s, const int32_t *tokens, uint32_t n, uint32_t n_common)
{
    if (n > s->params.n_ctx || atomic_load(&s->cancelled) || s->failure)
        return false;
    cut(s, n_common);
    memcpy(s->tokens + n_common, tokens + n_common, (n - n_common) * sizeof(*tokens));
    s->n_tokens = s->n_visible = n;
    return true;
}

int lg_session_set_deadline(struct lg_session *s, uint32_t ms)
{
    lock(s);
    s->deadline_ns = ms ? lg_now_ns() + ms * UINT64_C(1000000) : UINT64_MAX;
    return unlock(s, 0);
}

/* ---- telling */

static void set_readable(int fd, bool readable)
{
    uint64_t count = 1;
    int saved = errno; // this runs in signal handlers
    ssize_t n = readable ? write(fd, &count, sizeof(count)) : read(fd, &count, sizeof(count));
    (void)n; // it is so already
    errno = saved;
}

int lg_session_set_notify(struct lg_session *s, void (*notify)(void *user), void *user)
{
    lock(s);
    s->notify = notify;
    s->notify_user = user;
    return unlock(s, 0);
}

int lg_session_fd(struct lg_session *s)
{
    lock(s);
    if (s->fd < 0) {
        int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (fd >= 0)
            set_readable(fd, s->ready);
        s->fd = fd;
    }
    int rc = s->fd >= 0 ? s->fd : lg_note(s->env, LLMGPU_E_NOMEM, "no file descriptor: %s", strerror(errno));
    return unlock(s, rc);
}

void lg_session_cancel(struct lg_session *s)
{
    atomic_store(&s->cancelled, 1);
    int fd = s->fd;
    if (fd >= 0)
        set_readable(fd, true);
}

bool lg_session_update_ready(struct lg_session *s)
{
    bool before = s->ready;
    s->ready = lg_session_look(s) != LLMGPU_AGAIN;
    if (s->fd >= 0 && !s->ready) {
        set_readable(s->fd, false); // a request to stop may have made it readable, and was told
        s->ready = atomic_load(&s->cancelled); // another may have come before the line above
    }
    if (s->fd >= 0 && s->ready && !before)
        set_readable(s->fd, true);
    s->owes_call = s->owes_call && s->ready;
    return s->ready && !before;
}

void lg_session_set_failure(struct lg_session *s, int code, const char *text)
{
    s->failure = code;
    memcpy(s->failure_text, text, sizeof(s->failure_text));
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
    const struct lg_candidate *told = s->engine->run.pass->top->map;
    told += (size_t)row * (LG_MAX_CANDIDATES + 1);
    s->sampled = (struct lg_choice){.known = true, .chosen = told[LG_MAX_CANDIDATES]};
    memcpy(s->sampled.top, told, s->params.n_candidates * sizeof(*told));
}

void lg_session_append(struct lg_session *s, int32_t token)
{
    s->tokens[s->n_tokens++] = token;
    s->decoded[s->n_past++] = 1;
    s->n_generated++;
    s->closed = ends_answer(s, token);
}

void lg_session_take_samples(struct lg_session *s, uint32_t row)
{
    const uint32_t *ring = lg_engine_ring(s->engine, s->slot);
    uint32_t n = lg_engine_sampler(s->engine, s->slot)->n_sampled;
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

/* ---- texts */

int lg_session_begin_text(struct lg_session *s, size_t n)
{
    uint32_t limit = s->params.limits.prompt_tokens;
    lg_session_reset(s);
    lock(s);
    int rc = take_cancel(s);
    if (rc == 0 && n > s->params.n_ctx)
        rc = lg_note(s->env, LLMGPU_E_CONTEXT_FULL, "%zu tokens do not fit into a context of %u", n, s->params.n_ctx);
    if (rc == 0 && limit && n > limit)
        rc = lg_note(s->env, LLMGPU_E_LIMIT, "limit max_prompt_tokens: %zu tokens are more than %u", n, limit);
    s->sched->dev->stop = &s->cancelled;
    return unlock(s, rc);
}

int lg_session_go_on(struct lg_session *s, uint64_t ns)
{
    lock(s);
    s->prompt_ns += ns;
    s->prompt_submits += ns > 0;
    int rc = 0;
    if (atomic_load(&s->cancelled))
        rc = lg_note(s->env, LLMGPU_E_CANCELLED, "cancelled");
    else if (past_deadline(s))
        rc = tell(s, LLMGPU_E_TIMEOUT);
    else if (out_of_time(s))
        rc = tell(s, LLMGPU_E_LIMIT);
    return unlock(s, rc);
}

int lg_session_take_cancel(struct lg_session *s)
{
    lock(s);
    return unlock(s, take_cancel(s));
}

int lg_session_end_work(struct lg_session *s, int rc)
{
    s->sched->dev->stop = NULL;
    if (rc != LLMGPU_E_CANCELLED)
        return rc;
    lock(s);
    take_cancel(s); // unless it was told at the beginning
    return unlock(s, rc);
}
