/* SPDX-License-Identifier: MIT */
#include "runtime/scheduler.h"

#include <signal.h>
#include <string.h>

#include "runtime/batching.h"
#include "runtime/run.h"
#include "util/checked.h"
#include "util/clock.h"

enum {
    AHEAD = 4, // tokens that the thread in the background samples before they are taken
};

/** What fills the time that sessions leave does it in such pieces, where there is no budget. */
#define FILL_NS UINT64_C(10000000)

/** More than this of a share is not made up for. */
#define OWED_NS INT64_C(100000000)

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

void lg_scheduler_unlock_changed(struct lg_scheduler *sched, struct lg_session *s)
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

/* ---- who sees to sessions between pieces of work */

void lg_scheduler_add_tender(struct lg_scheduler *sched, struct lg_tender *tender)
{
    tender->next = sched->tenders;
    tender->link = &sched->tenders;
    if (tender->next)
        tender->next->link = &tender->next;
    sched->tenders = tender;
}

void lg_scheduler_remove_tender(struct lg_tender *tender)
{
    if (!tender->link)
        return;
    *tender->link = tender->next;
    if (tender->next)
        tender->next->link = tender->link;
    tender->link = NULL;
}

/** The moment when one of them wants to be asked again. Needs the turn. */
static uint64_t tend(struct lg_scheduler *sched)
{
    uint64_t next = UINT64_MAX;
    for (struct lg_tender *t = sched->tenders; t; t = t->next) {
        uint64_t at = t->tend(t);
        next = at < next ? at : next;
    }
    return next;
}

/* ---- who fills the time that sessions leave */

/** Needs turn and lock. */
static void unlink_filler(struct lg_filler *f)
{
    *f->link = f->next;
    if (f->next)
        f->next->link = f->link;
    f->link = NULL;
}

/** The same: behind all others. */
static void link_filler(struct lg_scheduler *sched, struct lg_filler *f)
{
    struct lg_filler **last = &sched->fillers;
    while (*last)
        last = &(*last)->next;
    f->next = NULL;
    f->link = last;
    *last = f;
}

void lg_scheduler_add_filler(struct lg_scheduler *sched, struct lg_filler *f)
{
    pthread_mutex_lock(&sched->lock);
    f->owed_ns = 0;
    link_filler(sched, f);
    lg_scheduler_wake(sched);
    pthread_mutex_unlock(&sched->lock);
}

void lg_scheduler_remove_filler(struct lg_scheduler *sched, struct lg_filler *f)
{
    pthread_mutex_lock(&sched->lock);
    if (f->link)
        unlink_filler(f);
    pthread_cond_broadcast(&sched->changed);
    pthread_mutex_unlock(&sched->lock);
}

/** What it had of its share. Time that nobody else wanted is no debt. */
static void charge(struct lg_filler *f, uint64_t ns, bool owed)
{
    int64_t left = f->owed_ns - (int64_t)(ns / 100 * (100 - f->share));
    int64_t least = f->owed_ns < 0 ? f->owed_ns : 0;
    f->owed_ns = owed || left > least ? left : least;
}

/** Has one of them do a piece, among all or those that are owed time; false when none did. Needs the turn. */
static bool fill(struct lg_scheduler *sched, const struct lg_gap *gap, bool owed)
{
    for (struct lg_filler *f = sched->fillers, *next; f; f = next) {
        uint64_t begin = lg_now_ns();
        next = f->next;
        if ((owed && f->owed_ns <= 0) || !f->fill(f, gap))
            continue;
        charge(f, lg_now_ns() - begin, owed);
        pthread_mutex_lock(&sched->lock);
        sched->fill_slice_ns = f->slice_ns;
        if (f->link) {
            unlink_filler(f);
            link_filler(sched, f);
        }
        pthread_mutex_unlock(&sched->lock);
        return true;
    }
    return false;
}

/** Sessions have worked for so long. */
static void promise(struct lg_scheduler *sched, uint64_t ns)
{
    for (struct lg_filler *f = sched->fillers; f; f = f->next) {
        f->owed_ns += (int64_t)(ns / 100 * f->share);
        f->owed_ns = f->owed_ns < OWED_NS ? f->owed_ns : OWED_NS;
    }
}

/** A piece of work for whoever's turn it is among all. As lg_work(). */
static int work(struct lg_scheduler *sched, const struct lg_room *room, uint32_t ahead)
{
    struct lg_gap gap = {.left_ns = FILL_NS, .budget_ns = FILL_NS, .first = true};
    if (room->budgeted)
        gap = (struct lg_gap){.left_ns = room->left_ns, .budget_ns = room->budget_ns, .first = room->first};
    if (fill(sched, &gap, true))
        return LG_RUN_GOES_ON;
    uint64_t begin = lg_now_ns();
    int rc = lg_work(sched, NULL, room, ahead);
    if (rc == LG_WORK_NONE || rc == LG_RUN_NO_ROOM)
        return fill(sched, &gap, false) ? LG_RUN_GOES_ON : rc;
    promise(sched, lg_now_ns() - begin);
    return rc;
}

/* ---- steps */

/** Has sessions seen to, and tells who asked for it what has come without any work; the moment of the next deadline. Needs
 * the turn. */
static uint64_t look_at_all(struct lg_scheduler *sched)
{
    uint64_t next = tend(sched), now = lg_now_ns();
    for (struct lg_session *s = sched->sessions; s; s = s->next) {
        pthread_mutex_lock(&sched->lock);
        if (s->deadline_ns > now && s->deadline_ns < next)
            next = s->deadline_ns;
        lg_scheduler_unlock_changed(sched, s);
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
        int rc = work(sched, &room, 1);
        tend(sched);
        if (sched->dev->lost)
            return sched->dev->lost;
        if (rc == LG_WORK_NONE || rc == LG_RUN_NO_ROOM)
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
    for (struct lg_filler *f = sched->fillers; f; f = f->next)
        f->cancel(f);
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
    struct lg_pass *decode;
    LG_TRY(lg_batching_prepare(s, n_past, rows, &decode));
    sched->dev->stop = &s->cancelled;
    int rc = lg_run_warm_up(s->engine, decode, s->slot, n_past, rows);
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
    lg_work(sched, s, &room, 1);
    tend(sched);
    lg_scheduler_give(sched);
    return 0;
}

static int wait_for(struct lg_scheduler *sched, struct lg_session *s, enum lg_wait what, uint64_t until_ns)
{
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

static void set_waits_for(struct lg_session *s, enum lg_wait what)
{
    pthread_mutex_lock(&s->sched->lock);
    s->waits_for = what;
    pthread_mutex_unlock(&s->sched->lock);
}

int lg_scheduler_wait(struct lg_scheduler *sched, struct lg_session *s, enum lg_wait what, uint64_t until_ns)
{
    if (lg_turn_is_mine(&sched->turn)) // the thread in the background cannot wait for itself
        return LLMGPU_E_BUSY;
    set_waits_for(s, what);
    int rc = wait_for(sched, s, what, until_ns);
    set_waits_for(s, LG_WAIT_NOTHING);
    return rc;
}

int lg_scheduler_work(struct lg_scheduler *sched, uint64_t *next_ns)
{
    const struct lg_room room = {.budgeted = false};
    if (lg_turn_is_mine(&sched->turn))
        return LLMGPU_E_BUSY;
    pthread_mutex_lock(&sched->lock);
    bool background = sched->thread_runs;
    pthread_mutex_unlock(&sched->lock);
    if (background || lg_turn_take(&sched->turn, *next_ns) < 0)
        return 0;
    look_at_all(sched);
    int rc = work(sched, &room, 1);
    uint64_t at = look_at_all(sched);
    lg_scheduler_give(sched);
    *next_ns = at < *next_ns ? at : *next_ns;
    return rc != LG_WORK_NONE;
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
        rc = work(sched, &room, AHEAD); // on a lost device each session is told so
        lg_scheduler_give(sched);
        pthread_mutex_lock(&sched->lock);
        ends = sched->thread_ends;
        pthread_mutex_unlock(&sched->lock);
    } while (rc != LG_WORK_NONE && !ends);
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
