/* SPDX-License-Identifier: MIT */
#include "runtime/session_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "runtime/run.h"
#include "runtime/scheduler.h"
#include "runtime/sharing.h"
#include "util/checked.h"
#include "util/clock.h"

void lg_session_lock(struct lg_session *s)
{
    pthread_mutex_lock(&s->sched->lock);
    if (lg_session_update_ready(s))
        s->owes_call = true;
}

int lg_session_unlock(struct lg_session *s, int rc)
{
    lg_session_update_ready(s); // who calls knows; nobody else needs to be told
    lg_scheduler_wake(s->sched);
    pthread_mutex_unlock(&s->sched->lock);
    if (rc < 0)
        lg_log(s->env, LG_LOG_DEBUG, "%s", s->env->error);
    return rc;
}

/* ---- beginning and ending */

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
    lg_session_set_end_tokens(s);
    s->params.n_batch = lg_min_u32(params->n_batch, lg_engine_rows_limit(engine));
    int rc = lg_session_revive(s);
    if (rc < 0) {
        lg_session_finish(s);
        return rc;
    }
    join(s);
    return 0;
}

int lg_session_revive(struct lg_session *s)
{
    s->engine->counts = &s->sched->pools;
    int slot = lg_engine_take_slot(s->engine, s->params.n_ctx, s->params.n_batch);
    LG_TRY(slot);
    lg_session_lock(s);
    lg_share_forget(s);
    s->slot = (uint32_t)slot;
    s->has_slot = true;
    s->n_kept = lg_session_count_kept(s);
    s->n_past = 0;
    s->epoch++;
    s->inputs++;
    if (s->failure == LLMGPU_E_DEVICE_LOST)
        s->failure = 0;
    return lg_session_unlock(s, 0);
}

int lg_session_fork(struct lg_session *s, struct lg_env *env, struct lg_session *original)
{
    lg_session_lock(original);
    struct lg_session_params params = original->params;
    pthread_mutex_unlock(&original->sched->lock);
    if (original->has_slot)
        LG_TRY(lg_share_need_room(original, 0, 0));
    LG_TRY(begin(s, env, original->sched, original->engine, &params));
    pthread_mutex_lock(&s->sched->lock);
    s->n_tokens = s->n_visible = original->n_visible;
    s->n_past = original->n_past < s->n_tokens ? original->n_past : s->n_tokens ? s->n_tokens - 1 : 0;
    s->n_kept = lg_min_u32(lg_session_count_kept(original), s->n_tokens);
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
    lg_session_lock(s);
    s->notify = notify;
    s->notify_user = user;
    return lg_session_unlock(s, 0);
}

int lg_session_fd(struct lg_session *s)
{
    lg_session_lock(s);
    if (s->fd < 0) {
        int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (fd >= 0)
            set_readable(fd, s->ready);
        s->fd = fd;
    }
    int rc = s->fd >= 0 ? s->fd : lg_note(s->env, LLMGPU_E_NOMEM, "no file descriptor: %s", strerror(errno));
    return lg_session_unlock(s, rc);
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

/* ---- texts */

int lg_session_begin_text(struct lg_session *s, size_t n)
{
    uint32_t limit = s->params.limits.prompt_tokens;
    lg_session_reset(s);
    lg_session_lock(s);
    int rc = lg_session_answer_cancel(s);
    if (rc == 0 && n > s->params.n_ctx)
        rc = lg_note(s->env, LLMGPU_E_CONTEXT_FULL, "%zu tokens do not fit into a context of %u", n, s->params.n_ctx);
    if (rc == 0 && limit && n > limit)
        rc = lg_note(s->env, LLMGPU_E_LIMIT, "limit max_prompt_tokens: %zu tokens are more than %u", n, limit);
    s->sched->dev->stop = &s->cancelled;
    return lg_session_unlock(s, rc);
}

int lg_session_go_on(struct lg_session *s, uint64_t ns)
{
    lg_session_lock(s);
    s->prompt_ns += ns;
    s->prompt_submits += ns > 0;
    int rc = 0;
    if (atomic_load(&s->cancelled))
        rc = lg_note(s->env, LLMGPU_E_CANCELLED, "cancelled");
    else if (lg_session_past_deadline(s))
        rc = lg_session_tell(s, LLMGPU_E_TIMEOUT);
    else if (lg_session_out_of_time(s))
        rc = lg_session_tell(s, LLMGPU_E_LIMIT);
    return lg_session_unlock(s, rc);
}

int lg_session_take_cancel(struct lg_session *s)
{
    lg_session_lock(s);
    return lg_session_unlock(s, lg_session_answer_cancel(s));
}

int lg_session_end_work(struct lg_session *s, int rc)
{
    s->sched->dev->stop = NULL;
    if (rc != LLMGPU_E_CANCELLED)
        return rc;
    lg_session_lock(s);
    lg_session_answer_cancel(s); // unless it was told at the beginning
    return lg_session_unlock(s, rc);
}
