/* SPDX-License-Identifier: MIT */
#include "runtime/scheduler.h"

#include <signal.h>
#include <string.h>

#include "runtime/pass.h"
#include "runtime/run.h"
#include "util/checked.h"
#include "util/clock.h"

enum {
    AHEAD = 4, // tokens that the thread in the background samples before they are taken
};

/** A request to stop may come from a signal handler, which cannot wake anybody. */
#define LOOK_NS UINT64_C(20000000)

int lg_scheduler_init(struct lg_scheduler *sched, struct lg_env *env, struct lg_device *dev)
{
    memset(sched, 0, sizeof(*sched));
    sched->env = env;
    sched->dev = dev;
    LG_TRY(lg_turn_init(&sched->turn));
    if (pthread_mutex_init(&sched->lock, NULL) != 0) {
        lg_turn_finish(&sched->turn);
        return LLMGPU_E_NOMEM;
    }
    if (lg_cond_init(&sched->changed) == 0)
        return 0;
    pthread_mutex_destroy(&sched->lock);
    lg_turn_finish(&sched->turn);
    return LLMGPU_E_NOMEM;
}

void lg_scheduler_finish(struct lg_scheduler *sched)
{
    pthread_cond_destroy(&sched->changed);
    pthread_mutex_destroy(&sched->lock);
    lg_turn_finish(&sched->turn);
}

void lg_scheduler_give(struct lg_scheduler *sched)
{
    while (sched->later) {
        struct lg_later *later = sched->later;
        sched->later = later->next;
        later->run(later);
    }
    lg_turn_give(&sched->turn);
}

bool lg_scheduler_now_or_later(struct lg_scheduler *sched, struct lg_later *later)
{
    if (lg_turn_take(&sched->turn, UINT64_MAX) == 0)
        return true;
    later->next = sched->later;
    sched->later = later;
    return false;
}

void lg_scheduler_wake(struct lg_scheduler *sched)
{
    sched->n_calls++;
    pthread_cond_broadcast(&sched->changed);
}

/* ---- one session's pass */

/** Ends a change made while working: tells who waits, and calls who asked to be called. Releases the lock. */
static void unlock_changed(struct lg_scheduler *sched, struct lg_session *s)
{
    bool call = lg_session_update_ready(s) || s->owes_call;
    void (*notify)(void *) = s->notify;
    void *user = s->notify_user;
    s->owes_call = false;
    pthread_cond_broadcast(&sched->changed);
    pthread_mutex_unlock(&sched->lock);
    if (call && notify)
        notify(user);
}

static void fail_session(struct lg_scheduler *sched, struct lg_session *s, int code)
{
    pthread_mutex_lock(&sched->lock);
    lg_session_set_failure(s, code, sched->env->error);
    unlock_changed(sched, s);
}

/** Whether what runs still means something to its owner. Needs the lock. */
static bool still_wanted(const struct lg_run *run)
{
    const struct lg_session *s = run->owner;
    if (s->epoch != run->epoch)
        return false;
    return run->kind == LG_RUN_DECODE ? s->inputs == run->inputs && lg_session_wants_decode(s, UINT32_MAX)
                                      : lg_session_wants_prefill(s);
}

/** Of a session whose slot's record is written. */
static struct lg_pass *decode_pass(const struct lg_session *s)
{
    struct lg_passes *passes = lg_engine_passes(s->engine, s->slot);
    return s->params.n_candidates ? &passes->decode_top : &passes->decode;
}

/** Makes what a pass needs ready: its own pages, and the pass. It takes long when something has to be recorded. */
static int prepare(struct lg_session *s, enum lg_run_kind kind, uint32_t first, uint32_t n)
{
    struct lg_engine *e = s->engine;
    if (s->sched->dev->lost)
        return lg_fail(s->sched->env, s->sched->dev->lost, "the device is lost until the context is recovered");
    LG_TRY(lg_engine_own_pages(e, s->slot, first, n));
    *lg_engine_lora(e, s->slot) = s->lora;
    const struct lg_adapters *adapters = lg_engine_adapters(e, s->slot);
    if (kind == LG_RUN_PREFILL)
        return lg_pass_build(e, &lg_engine_passes(e, s->slot)->prefill, adapters, LG_PREFILL, LG_TAIL_NONE,
                             e->batch.max_rows);
    return lg_pass_build(e, decode_pass(s), adapters, LG_DECODE,
                         s->params.n_candidates ? LG_TAIL_SAMPLE_TOP : LG_TAIL_SAMPLE, 1);
}

/** What a session's next pass is. */
struct plan {
    enum lg_run_kind kind;
    uint32_t first, n; // positions that it writes
};

/** Needs the lock. False when there is nothing to do. */
static bool plan(const struct lg_session *s, bool budgeted, uint32_t ahead, struct plan *out)
{
    const struct lg_engine *e = s->engine;
    out->first = s->n_past;
    if (lg_session_wants_prefill(s)) {
        uint32_t most = s->params.n_batch;
        if (budgeted)
            most = lg_min_u32(most, e->step_rows ? e->step_rows : 1);
        bool decoded;
        out->n = lg_session_prefill_room(s, most, &decoded);
        out->kind = decoded ? LG_RUN_REPLAY : LG_RUN_PREFILL;
        return true;
    }
    out->kind = LG_RUN_DECODE;
    out->n = budgeted ? 1 : lg_min_u32(s->params.tokens_per_submit, lg_session_decode_room(s));
    return lg_session_wants_decode(s, ahead);
}

/** Needs the lock; the pass is prepared. */
static void start(struct lg_session *s, const struct plan *p)
{
    struct lg_engine *e = s->engine;
    const int32_t *tokens = s->tokens + p->first;
    if (p->kind == LG_RUN_PREFILL)
        lg_run_prefill(e, s->slot, tokens, p->n, p->first);
    if (p->kind == LG_RUN_REPLAY)
        lg_run_replay(e, decode_pass(s), s->slot, *tokens, p->first);
    if (p->kind == LG_RUN_DECODE) {
        lg_session_set_up_sampler(s, p->n);
        lg_run_decode(e, decode_pass(s), s->slot, *tokens, p->first, p->n);
    }
    e->run.owner = s;
    e->run.epoch = s->epoch;
    e->run.inputs = s->inputs;
}

/** Begins the next pass of a session. False when it has nothing to do, or failed and was told. */
static bool begin(struct lg_scheduler *sched, struct lg_session *s, bool budgeted, uint32_t ahead)
{
    struct plan p;
    pthread_mutex_lock(&sched->lock);
    bool any = plan(s, budgeted, ahead, &p);
    pthread_mutex_unlock(&sched->lock);
    if (!any)
        return false;
    int rc = prepare(s, p.kind, p.first, p.n);
    if (rc < 0) {
        fail_session(sched, s, rc);
        return false;
    }
    pthread_mutex_lock(&sched->lock);
    struct plan now;
    any = plan(s, budgeted, ahead, &now) && now.kind == p.kind && now.first == p.first;
    if (any) {
        now.n = lg_min_u32(p.n, now.n);
        start(s, &now);
        sched->last = s;
    }
    pthread_mutex_unlock(&sched->lock);
    return any;
}

/** Counts what a piece of a pass took. Needs the lock. */
static void count(struct lg_session *s, enum lg_run_kind kind, uint64_t ns, uint64_t submits)
{
    *(kind == LG_RUN_DECODE ? &s->decode_ns : &s->prompt_ns) += ns;
    *(kind == LG_RUN_DECODE ? &s->decode_submits : &s->prompt_submits) += submits;
}

/** Takes the results of a finished pass. Needs the lock. */
static void finish(struct lg_session *s, const struct lg_run *run)
{
    if (!still_wanted(run))
        return;
    if (run->kind == LG_RUN_DECODE)
        lg_session_take_samples(s);
    else
        s->n_past += run->rows;
}

/** Forgets the pass that runs on an engine, if its owner's mind has changed. */
static void drop_unwanted(struct lg_scheduler *sched, struct lg_engine *e)
{
    pthread_mutex_lock(&sched->lock);
    bool wanted = !e->run.owner || still_wanted(&e->run);
    pthread_mutex_unlock(&sched->lock);
    if (!wanted)
        lg_run_drop(e);
}

/** A piece of the pass that runs on an engine. As lg_run_advance(), but failures go to the session. */
static int advance(struct lg_scheduler *sched, struct lg_engine *e, const struct lg_room *room)
{
    struct lg_run *run = &e->run;
    struct lg_session *s = run->owner;
    uint64_t begin_ns = lg_now_ns(), submits = sched->dev->stats.submits;
    enum lg_run_kind kind = run->kind;
    sched->dev->stop = &s->cancelled;
    int rc = lg_run_advance(e, room);
    sched->dev->stop = NULL;
    pthread_mutex_lock(&sched->lock);
    count(s, kind, lg_now_ns() - begin_ns, sched->dev->stats.submits - submits);
    if (rc == LG_RUN_FINISHED) {
        finish(s, run);
        sched->slice_ns = run->fine ? run->pass->longest_ns : sched->slice_ns;
    } else if (rc < 0 && rc != LLMGPU_E_CANCELLED) // its own next call says that it was cancelled
        lg_session_set_failure(s, rc, sched->env->error);
    if (rc == LG_RUN_FINISHED || rc < 0)
        lg_run_drop(e);
    unlock_changed(sched, s);
    return rc < 0 ? LG_RUN_FINISHED : rc;
}

enum { IDLE = 100 }; // beside the values of lg_progress: there was nothing to do

/** A piece of work for a session: of its pass, or of the one that runs on its engine. An lg_progress, or IDLE. */
static int work_for(struct lg_scheduler *sched, struct lg_session *s, const struct lg_room *room, uint32_t ahead)
{
    struct lg_engine *e = s->engine;
    sched->env->error[0] = '\0';
    drop_unwanted(sched, e);
    if (!e->run.owner && !begin(sched, s, room->budgeted, ahead))
        return IDLE;
    return advance(sched, e, room);
}

/** A piece of work for whoever's turn it is among all sessions. */
static int work_for_any(struct lg_scheduler *sched, const struct lg_room *room, uint32_t ahead)
{
    // The list changes only with the turn, which is held.
    struct lg_session *first = sched->last ? sched->last->next : NULL;
    if (!first)
        first = sched->sessions;
    struct lg_session *s = first;
    while (s) {
        int rc = work_for(sched, s, room, ahead);
        if (rc != IDLE)
            return rc;
        s = s->next ? s->next : sched->sessions;
        if (s == first)
            break;
    }
    return IDLE;
}

/* ---- steps */

/** Tells who asked for it what has come without any work; the moment of the next deadline. Needs the turn. */
static uint64_t look_at_all(struct lg_scheduler *sched)
{
    uint64_t next = UINT64_MAX, now = lg_now_ns();
    for (struct lg_session *s = sched->sessions; s; s = s->next) {
        pthread_mutex_lock(&sched->lock);
        if (s->deadline_ns > now && s->deadline_ns < next)
            next = s->deadline_ns;
        unlock_changed(sched, s);
    }
    return next;
}

static int step(struct lg_scheduler *sched, uint64_t budget_ns, uint64_t begin_ns)
{
    struct lg_room room = {.budgeted = budget_ns != UINT64_MAX, .budget_ns = budget_ns, .first = true};
    for (;;) {
        uint64_t used = lg_now_ns() - begin_ns;
        if (!room.first && used >= budget_ns)
            return 1;
        if (atomic_exchange(&sched->step_cancelled, 0))
            return LLMGPU_E_CANCELLED;
        room.left_ns = used < budget_ns ? budget_ns - used : 0;
        int rc = work_for_any(sched, &room, 1);
        if (sched->dev->lost)
            return sched->dev->lost;
        if (rc == IDLE || rc == LG_RUN_NO_ROOM)
            return !room.first;
        room.first = false;
    }
}

static void set_stepping(struct lg_scheduler *sched, bool stepping)
{
    pthread_mutex_lock(&sched->lock);
    sched->stepping = stepping;
    atomic_store(&sched->step_cancelled, 0);
    pthread_mutex_unlock(&sched->lock);
}

int lg_scheduler_step(struct lg_scheduler *sched, uint64_t budget_ns, uint64_t *used)
{
    uint64_t begin_ns = lg_now_ns();
    *used = 0;
    int rc = lg_turn_take(&sched->turn, budget_ns == UINT64_MAX ? UINT64_MAX : begin_ns + budget_ns);
    if (rc == LLMGPU_E_TIMEOUT) { // somebody else works
        *used = lg_now_ns() - begin_ns;
        return 0;
    }
    LG_TRY(rc);
    set_stepping(sched, true);
    look_at_all(sched);
    rc = step(sched, budget_ns, begin_ns);
    set_stepping(sched, false);
    uint64_t ns = lg_now_ns() - begin_ns;
    if (rc == 1) {
        *used = ns;
        pthread_mutex_lock(&sched->lock);
        sched->n_steps++;
        if (ns > budget_ns && ns - budget_ns > sched->overrun_ns)
            sched->overrun_ns = ns - budget_ns;
        pthread_mutex_unlock(&sched->lock);
    }
    lg_scheduler_give(sched);
    return rc < 0 ? rc : 0;
}

void lg_scheduler_cancel(struct lg_scheduler *sched)
{
    pthread_mutex_lock(&sched->lock);
    if (sched->stepping)
        atomic_store(&sched->step_cancelled, 1);
    for (struct lg_session *s = sched->sessions; s; s = s->next) {
        lg_session_cancel(s);
        if (lg_session_update_ready(s))
            s->owes_call = true;
    }
    lg_scheduler_wake(sched);
    pthread_mutex_unlock(&sched->lock);
}

int lg_scheduler_warm_up(struct lg_scheduler *sched, struct lg_session *s)
{
    pthread_mutex_lock(&sched->lock);
    uint32_t n_past = s->n_past;
    pthread_mutex_unlock(&sched->lock);
    if (n_past >= s->params.n_ctx)
        return lg_fail(sched->env, LLMGPU_E_CONTEXT_FULL, "the context of %u tokens is full", s->params.n_ctx);
    uint32_t rows = lg_min_u32(lg_run_first_rows(s->engine), s->params.n_ctx - n_past);
    LG_TRY(prepare(s, LG_RUN_PREFILL, n_past, rows));
    LG_TRY(prepare(s, LG_RUN_DECODE, n_past, 1));
    sched->dev->stop = &s->cancelled;
    int rc = lg_run_warm_up(s->engine, decode_pass(s), s->slot, n_past, rows);
    return lg_session_end_work(s, rc);
}

/* ---- waiting */

static bool has_come(const struct lg_session *s, enum lg_wait what)
{
    return what == LG_WAIT_NEXT ? lg_session_look(s) != LLMGPU_AGAIN : !lg_session_wants_prefill(s);
}

/** Works on it for a moment; not for long where another thread works. */
static int work_or_look(struct lg_scheduler *sched, struct lg_session *s, uint64_t until_ns)
{
    const struct lg_room room = {.budgeted = false};
    int rc = lg_turn_take(&sched->turn, until_ns);
    if (rc < 0)
        return rc == LLMGPU_E_TIMEOUT ? 0 : rc;
    work_for(sched, s, &room, 1);
    lg_scheduler_give(sched);
    return 0;
}

int lg_scheduler_wait(struct lg_scheduler *sched, struct lg_session *s, enum lg_wait what, uint64_t until_ns)
{
    if (lg_turn_is_mine(&sched->turn)) // the thread in the background cannot wait for itself
        return LLMGPU_E_BUSY;
    for (;;) {
        pthread_mutex_lock(&sched->lock);
        bool come = has_come(s, what), background = sched->thread_runs;
        uint64_t now = lg_now_ns(), look_ns = now + LOOK_NS < until_ns ? now + LOOK_NS : until_ns;
        if (!come && background && now < until_ns)
            lg_cond_wait(&sched->changed, &sched->lock, look_ns);
        pthread_mutex_unlock(&sched->lock);
        if (come)
            return 0;
        if (now >= until_ns)
            return LLMGPU_E_TIMEOUT;
        if (!background)
            LG_TRY(work_or_look(sched, s, look_ns));
    }
}

/* ---- the thread in the background */

/** Does pieces of work until there is none. */
static void work_through(struct lg_scheduler *sched, uint64_t *deadline_ns)
{
    const struct lg_room room = {.budgeted = false};
    int rc;
    bool ends;
    do {
        lg_turn_take(&sched->turn, UINT64_MAX);
        *deadline_ns = look_at_all(sched);
        rc = work_for_any(sched, &room, AHEAD); // on a lost device each session is told so
        lg_scheduler_give(sched);
        pthread_mutex_lock(&sched->lock);
        ends = sched->thread_ends;
        pthread_mutex_unlock(&sched->lock);
    } while (rc != IDLE && !ends);
}

static void *work_in_background(void *user)
{
    struct lg_scheduler *sched = user;
    pthread_mutex_lock(&sched->lock);
    while (!sched->thread_ends) {
        uint64_t n_calls = sched->n_calls, deadline_ns;
        pthread_mutex_unlock(&sched->lock);
        work_through(sched, &deadline_ns);
        pthread_mutex_lock(&sched->lock);
        while (!sched->thread_ends && sched->n_calls == n_calls && lg_now_ns() < deadline_ns)
            lg_cond_wait(&sched->changed, &sched->lock, deadline_ns);
    }
    pthread_mutex_unlock(&sched->lock);
    return NULL;
}

int lg_scheduler_start(struct lg_scheduler *sched)
{
    // Signals of the host are the host's.
    sigset_t all, before;
    sigfillset(&all);
    pthread_mutex_lock(&sched->lock);
    int rc = sched->thread_runs ? LLMGPU_E_INVALID : 0;
    if (rc == 0) {
        sched->thread_ends = false;
        pthread_sigmask(SIG_SETMASK, &all, &before);
        if (pthread_create(&sched->thread, NULL, work_in_background, sched) != 0)
            rc = LLMGPU_E_NOMEM;
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        sched->thread_runs = rc == 0;
    }
    pthread_mutex_unlock(&sched->lock);
    return rc;
}

int lg_scheduler_stop(struct lg_scheduler *sched)
{
    pthread_mutex_lock(&sched->lock);
    bool runs = sched->thread_runs;
    pthread_mutex_unlock(&sched->lock);
    if (!runs)
        return 0;
    if (lg_turn_is_mine(&sched->turn))
        return LLMGPU_E_BUSY; // it may be waiting for the turn, or be this one
    pthread_mutex_lock(&sched->lock);
    bool mine = sched->thread_runs && !sched->thread_ends; // otherwise another thread stops it already
    sched->thread_ends = sched->thread_runs;
    pthread_cond_broadcast(&sched->changed);
    while (!mine && sched->thread_ends)
        lg_cond_wait(&sched->changed, &sched->lock, UINT64_MAX);
    pthread_mutex_unlock(&sched->lock);
    if (!mine)
        return 0;
    pthread_join(sched->thread, NULL);
    pthread_mutex_lock(&sched->lock);
    sched->thread_runs = sched->thread_ends = false;
    pthread_cond_broadcast(&sched->changed);
    pthread_mutex_unlock(&sched->lock);
    return 0;
}
