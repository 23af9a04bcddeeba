/* SPDX-License-Identifier: MIT */
#include "runtime/batching.h"

#include <string.h>

#include "runtime/mask.h"
#include "runtime/pass.h"
#include "runtime/sharing.h"
#include "runtime/speculate.h"
#include "util/checked.h"
#include "util/clock.h"

enum {
    TICKETS_PER_PRIORITY = 256, // some passes of all sessions
    STEP_TOKENS = 64,           // of a pass of prompts while others wait for their next tokens
};

/* ---- what a session wants */

/** A session's part of the next pass. */
struct wish {
    struct lg_session *s;
    enum lg_run_kind kind;
    bool replay;
    uint32_t first, n; // positions that it writes; of a decode pass n is how many tokens it may sample
    uint32_t n_drafts; // rows that follow the first in a decode pass
};

/** What is worked under, for all sessions alike. */
struct terms {
    bool budgeted;
    bool all; // sessions for which nobody waits, too
    uint32_t ahead;
};

/** Rows of a pass. */
static uint32_t rows_of(const struct wish *w)
{
    return w->kind == LG_RUN_PREFILL ? w->n : 1 + w->n_drafts;
}

/** Needs the lock. False when there is nothing that it wants. */
static bool own_wish(struct lg_session *s, const struct terms *terms, struct wish *w)
{
    *w = (struct wish){.s = s, .kind = LG_RUN_PREFILL, .first = s->n_past};
    if (lg_session_wants_prefill(s)) {
        w->n = lg_session_prefill_room(s, s->params.n_batch, &w->replay);
        w->kind = w->replay ? LG_RUN_DECODE : LG_RUN_PREFILL;
        return true;
    }
    w->kind = LG_RUN_DECODE;
    if (!lg_session_wants_decode(s, terms->ahead))
        return false;
    w->n = terms->budgeted || s->mask.ask ? 1 : lg_min_u32(s->params.tokens_per_submit, lg_session_decode_room(s));
    w->n_drafts = lg_speculate(s, LG_MAX_DRAFT);
    if (w->n_drafts)
        w->n = 1 + w->n_drafts;
    return true;
}

/** The same, or what another session has to do before. Needs the lock. */
static bool wish_of(struct lg_session *s, const struct terms *terms, struct wish *w)
{
    if (s->drafts_for || lg_run_has(s->engine, s))
        return false;
    struct lg_session *drafter = lg_session_wants_decode(s, terms->ahead) ? lg_speculate_waits_for(s) : NULL;
    struct terms drafting = {.budgeted = terms->budgeted, .all = true, .ahead = s->n_draft};
    return drafter ? own_wish(drafter, &drafting, w) : own_wish(s, terms, w);
}

/** Whether a session that is not the first may come along. Needs the lock. */
static bool may_join(const struct lg_session *s, const struct terms *terms)
{
    return terms->all || s->waits_for == LG_WAIT_NEXT ||
           (s->waits_for == LG_WAIT_PREFILL && lg_session_wants_prefill(s));
}

/* ---- choosing */

/** The next pass. */
struct plan {
    struct lg_engine *engine;
    enum lg_run_kind kind;
    bool top;     // one of them is told candidates
    bool drafted; // one of them has drafts
    uint32_t repeat;
    uint32_t n_rows, max_rows;
    uint32_t n;
    struct wish wishes[LG_MAX_SLOTS];
};

/**
 * Whose turn is before whose. A priority is worth so many tickets: whoever waits is before everybody in the end.
 */
static bool is_before(const struct lg_session *a, const struct lg_session *b)
{
    int64_t ahead = (int64_t)TICKETS_PER_PRIORITY * (a->params.priority - b->params.priority);
    return (int64_t)(b->ticket - a->ticket) + ahead > 0;
}

/** Who has waited longest among all sessions that want something. Needs the lock. */
static bool choose_first(struct lg_scheduler *sched, const struct terms *terms, struct wish *first)
{
    struct wish w;
    bool any = false;
    for (struct lg_session *s = sched->sessions; s; s = s->next) {
        if ((any && !is_before(s, first->s)) || !wish_of(s, terms, &w))
            continue;
        *first = w;
        any = true;
    }
    return any;
}

/** In its place who is further with the page that it would compute: then it can take that over. Needs the lock. */
static void prefer_further(struct lg_scheduler *sched, const struct terms *terms, struct wish *first)
{
    struct wish w;
    for (struct lg_session *s = sched->sessions; first->kind == LG_RUN_PREFILL && s; s = s->next) {
        if (s->engine == first->s->engine && s->n_past > first->first && lg_share_same_page(s, first->s) &&
            wish_of(s, terms, &w) && w.kind == LG_RUN_PREFILL && may_join(s, terms))
            *first = w;
    }
}

/** Puts a wish where those stand that have waited as long. */
static void enqueue(struct plan *p, const struct wish *w)
{
    uint32_t at = p->n++;
    for (; at > 1 && is_before(w->s, p->wishes[at - 1].s); at--) // the first stays that
        p->wishes[at] = p->wishes[at - 1];
    p->wishes[at] = *w;
}

/** Cuts the plan off where its rows are full. */
static void fill_rows(struct plan *p)
{
    uint32_t n = 0;
    for (; n < p->n && p->n_rows < p->max_rows; n++) {
        struct wish *w = &p->wishes[n];
        uint32_t room = p->max_rows - p->n_rows;
        if (p->kind == LG_RUN_PREFILL)
            w->n = lg_min_u32(w->n, room);
        w->n_drafts = lg_min_u32(w->n_drafts, (room - 1) / (p->n - n)); // the others have theirs too
        if (p->kind == LG_RUN_DECODE && !w->replay && !w->n_drafts)
            p->repeat = lg_max_u32(p->repeat, w->n);
        p->drafted |= w->n_drafts > 0;
        p->n_rows += rows_of(w);
        p->top |= p->kind == LG_RUN_DECODE && !w->replay && w->s->params.n_candidates;
    }
    p->n = n;
    if (p->drafted) // what is drawn is looked at before there is more
        p->repeat = 1;
}

/** Whether what it wants to compute first is in the plan already, for another session. */
static bool somebody_computes(const struct plan *p, const struct wish *w)
{
    for (uint32_t i = 0; p->kind == LG_RUN_PREFILL && i < p->n; i++)
        if (lg_share_same_page(p->wishes[i].s, w->s))
            return true;
    return false;
}

/** Whether a session waits for its next token. Needs the lock. */
static bool somebody_decodes(const struct lg_scheduler *sched, const struct terms *terms)
{
    struct wish w;
    for (struct lg_session *s = sched->sessions; s; s = s->next)
        if (wish_of(s, terms, &w) && w.kind == LG_RUN_DECODE && may_join(s, terms))
            return true;
    return false;
}

/** Most rows of the pass. */
static uint32_t limit_rows(const struct lg_scheduler *sched, const struct lg_engine *e, enum lg_run_kind kind,
                           const struct terms *terms)
{
    if (!e->dev) // it is lost, which each is told
        return 1;
    if (kind == LG_RUN_DECODE)
        return lg_engine_decode_rows(e, LG_MAX_SLOTS);
    if (terms->budgeted)
        return lg_max_u32(1, e->step_rows);
    return somebody_decodes(sched, terms) ? lg_min_u32(e->prefill_rows, STEP_TOKENS) : e->prefill_rows;
}

/** Whether a session can be in the same pass. */
static bool fits(const struct plan *p, const struct wish *w)
{
    const struct lg_session *s = w->s;
    return s != p->wishes[0].s && s->engine == p->engine && s->has_slot && w->kind == p->kind;
}

/** Needs the lock. */
static bool make_plan(struct lg_scheduler *sched, struct lg_session *s, const struct terms *terms, struct plan *p)
{
    struct wish first;
    for (struct lg_session *t = sched->sessions; t; t = t->next)
        if (lg_session_wants_prefill(t))
            lg_share_adopt(t);
    if (!(s ? wish_of(s, terms, &first) : choose_first(sched, terms, &first)))
        return false;
    prefer_further(sched, terms, &first);
    struct lg_engine *e = first.s->engine;
    *p = (struct plan){.engine = e, .kind = first.kind, .repeat = 1};
    p->max_rows = limit_rows(sched, e, p->kind, terms);
    enqueue(p, &first);
    for (struct lg_session *other = sched->sessions; other; other = other->next) {
        struct wish w;
        if (wish_of(other, terms, &w) && fits(p, &w) && may_join(other, terms) && !somebody_computes(p, &w))
            enqueue(p, &w);
    }
    fill_rows(p);
    return true;
}

/* ---- getting ready */

static void fail_session(struct lg_scheduler *sched, struct lg_session *s, int code)
{
    pthread_mutex_lock(&sched->lock);
    lg_session_set_failure(s, code, sched->env->error);
    lg_scheduler_unlock_changed(sched, s);
}

static int check_device(const struct lg_session *s)
{
    int lost = s->sched->dev->lost;
    return lost ? lg_fail(s->sched->env, lost, "the device is lost until the context is recovered") : 0;
}

/** Makes positions of a session ready to be written, tells the engine of its adapter, and asks for its mask. As
 * lg_share_make_room(). */
static int prepare_session(const struct wish *w, bool force)
{
    struct lg_session *s = w->s;
    LG_TRY(check_device(s));
    int rc = lg_share_make_room(s, w->first, w->replay ? 1 : lg_max_u32(w->n, rows_of(w)), force);
    *lg_engine_lora(s->engine, s->slot) = s->lora;
    return rc == 0 && w->kind == LG_RUN_DECODE && !w->replay ? lg_mask_ask(s) : rc;
}

/**
 * Takes out those that cannot be made ready: who failed is told why, and who finds no pages waits for another pass. The first
 * takes them from whom it must.
 */
static void prepare_sessions(struct lg_scheduler *sched, struct plan *p)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->n; i++) {
        struct wish *w = &p->wishes[i];
        int rc = prepare_session(w, i == 0);
        if (rc > 0 && i == 0)
            rc = lg_fail(sched->env, LLMGPU_E_NOMEM, "the pool of %u tokens is full", p->engine->n_pages * LG_PAGE_SIZE);
        if (rc < 0)
            fail_session(sched, w->s, rc);
        w->s->planned = rc == 0;
        if (rc == 0)
            p->wishes[n++] = *w;
    }
    for (uint32_t i = 0; i < n; i++)
        p->wishes[i].s->planned = false;
    p->n = n;
}

/** `adapted`: of sessions some of which have adapters. */
static int build_pass(struct lg_engine *e, bool adapted, enum lg_run_kind kind, bool top, uint32_t n_rows,
                      struct lg_pass **out)
{
    struct lg_passes *passes = adapted ? &e->adapted : &e->plain;
    const struct lg_adapters *adapters = adapted ? &e->bank.adapters : NULL;
    *out = kind == LG_RUN_PREFILL ? &passes->prefill : top ? &passes->decode_top : &passes->decode;
    if (kind == LG_RUN_PREFILL)
        return lg_pass_build(e, *out, adapters, LG_PREFILL, LG_TAIL_NONE, e->prefill_rows);
    if ((*out)->chain.program && (*out)->max_rows >= n_rows)
        return 0;
    // For all that there are, so that it need not be made again when the others come along.
    uint32_t n_slots = n_rows > 1 ? (uint32_t)__builtin_popcountll(e->slots) : 1;
    uint32_t rows = lg_engine_decode_rows(e, lg_max_u32(n_rows, n_slots));
    return lg_pass_build(e, *out, adapters, LG_DECODE, top ? LG_TAIL_SAMPLE_TOP : LG_TAIL_SAMPLE, rows);
}

/** Makes all of it ready, which takes long when something has to be recorded. NULL: it failed, and those were told. */
static struct lg_pass *prepare(struct lg_scheduler *sched, struct plan *p)
{
    struct lg_pass *pass = NULL;
    prepare_sessions(sched, p);
    if (p->n == 0)
        return NULL;
    bool adapted = false;
    for (uint32_t i = 0; i < p->n; i++)
        adapted |= lg_engine_lora(p->engine, p->wishes[i].s->slot)->seat > 0;
    int rc = build_pass(p->engine, adapted, p->kind, p->top, p->n_rows, &pass);
    if (rc == LLMGPU_E_NOMEM && p->n_rows > 1) { // one by one, then
        p->n = 1;
        p->wishes[0].n_drafts = 0;
        rc = build_pass(p->engine, lg_engine_adapters(p->engine, p->wishes[0].s->slot), p->kind, p->top, 1, &pass);
    }
    for (uint32_t i = 0; rc < 0 && i < p->n; i++)
        fail_session(sched, p->wishes[i].s, rc);
    return rc < 0 ? NULL : pass;
}

int lg_batching_prepare(struct lg_session *s, uint32_t first, uint32_t n, struct lg_pass **decode)
{
    struct lg_pass *prefill;
    LG_TRY(check_device(s));
    LG_TRY(lg_share_need_room(s, first, n));
    if (s->mask.ask)
        LG_TRY(lg_engine_make_masks(s->engine)); // passes are recorded with it
    *lg_engine_lora(s->engine, s->slot) = s->lora;
    LG_TRY(build_pass(s->engine, s->lora.seat > 0, LG_RUN_PREFILL, false, 1, &prefill));
    uint32_t n_rows = lg_engine_decode_rows(s->engine, (uint32_t)__builtin_popcountll(s->engine->slots));
    return build_pass(s->engine, s->lora.seat > 0, LG_RUN_DECODE, s->params.n_candidates > 0, n_rows, decode);
}

/* ---- a pass */

/** Adds a session to a pass that is ready, unless its mind has changed meanwhile. Needs the lock. */
static bool add_member(const struct terms *terms, const struct wish *planned, struct lg_member *m)
{
    struct wish now;
    struct lg_session *s = planned->s;
    struct terms own = *terms;
    if (s->drafts_for)
        own.ahead = UINT32_MAX;
    if (!own_wish(s, &own, &now) || now.kind != planned->kind || now.replay != planned->replay ||
        now.first != planned->first)
        return false;
    uint32_t n = lg_min_u32(planned->n, now.n);
    bool decode = now.kind == LG_RUN_DECODE;
    if (decode && !now.replay && !lg_mask_is_current(s))
        return false;
    s->n_drafts = lg_min_u32(planned->n_drafts, now.n_drafts);
    memcpy(s->tokens + s->n_tokens, s->drafts, s->n_drafts * sizeof(*s->drafts)); // behind the end, where there is room
    *m = (struct lg_member){
        .owner = s,
        .slot = s->slot,
        .tokens = s->tokens + now.first,
        .n = decode ? 1 + s->n_drafts : n,
        .pos = now.first,
        .replay = now.replay,
        .drafted = decode && s->n_drafts > 0,
        .top = decode && !now.replay && s->params.n_candidates > 0,
        .epoch = s->epoch,
        .inputs = s->inputs,
    };
    if (decode && !now.replay)
        lg_session_set_up_sampler(s, n);
    return true;
}

/** Begins the next pass. LG_WORK_NONE when there is nothing to do; LG_RUN_NO_ROOM when nothing came of it, as whoever it was
 * for failed, and was told, or wants something else by now. */
static int begin(struct lg_scheduler *sched, struct lg_session *s, const struct terms *terms, struct lg_engine **e)
{
    struct plan p;
    struct lg_member members[LG_MAX_SLOTS];
    uint32_t n = 0;
    pthread_mutex_lock(&sched->lock);
    bool any = make_plan(sched, s, terms, &p);
    pthread_mutex_unlock(&sched->lock);
    if (!any)
        return LG_WORK_NONE;
    struct lg_pass *pass = prepare(sched, &p);
    if (!pass)
        return LG_RUN_NO_ROOM;
    *e = p.engine;
    pthread_mutex_lock(&sched->lock);
    sched->n_passes++;
    for (uint32_t i = 0; i < p.n; i++) {
        if (!add_member(terms, &p.wishes[i], &members[n]))
            continue;
        struct lg_session *served = p.wishes[i].s;
        uint64_t waited = sched->n_passes - 1 - served->asked;
        sched->longest_wait = waited > sched->longest_wait ? waited : sched->longest_wait;
        served->ticket = ++sched->n_tickets;
        served->asked = sched->n_passes;
        n++;
    }
    if (n > 0)
        lg_run_begin(p.engine, pass, p.kind, members, n, p.repeat);
    pthread_mutex_unlock(&sched->lock);
    return n > 0 ? LG_RUN_GOES_ON : LG_RUN_NO_ROOM;
}

/** Whether what runs still means something to a member. Needs the lock. */
static bool still_wanted(const struct lg_run *run, const struct lg_member *m)
{
    const struct lg_session *s = m->owner;
    if (s->epoch != m->epoch)
        return false;
    return run->kind == LG_RUN_DECODE && !m->replay ? s->inputs == m->inputs && lg_session_wants_decode(s, UINT32_MAX)
                                                    : lg_session_wants_prefill(s);
}

/**
 * Forgets the pass that runs on an engine if nobody wants it any more, or if it would go on writing to where a member has
 * begun anew.
 */
static void drop_unwanted(struct lg_scheduler *sched, struct lg_engine *e)
{
    const struct lg_run *run = &e->run;
    bool wanted = false, stale = false;
    pthread_mutex_lock(&sched->lock);
    for (uint32_t i = 0; i < run->n_members; i++) {
        wanted |= still_wanted(run, &run->members[i]);
        stale |= run->members[i].owner->epoch != run->members[i].epoch;
    }
    pthread_mutex_unlock(&sched->lock);
    if (run->pass && (stale || !wanted))
        lg_run_drop(e);
}

/** What a piece of a pass took, by rows, and its results when it is finished. Releases the lock. */
static void end_piece(struct lg_scheduler *sched, struct lg_engine *e, const struct lg_member *m, int rc, uint64_t ns,
                      uint64_t submits)
{
    struct lg_session *s = m->owner;
    bool sampled = e->run.kind == LG_RUN_DECODE && !m->replay;
    *(sampled ? &s->decode_ns : &s->prompt_ns) += ns * m->n / e->run.rows;
    *(sampled ? &s->decode_submits : &s->prompt_submits) += submits;
    if (rc == LG_RUN_FINISHED && still_wanted(&e->run, m)) {
        if (m->drafted)
            lg_speculate_take(s, (const uint32_t *)e->batch.targets->map + m->row);
        else if (sampled)
            lg_session_take_samples(s, m->row);
        else
            s->n_past += m->n;
        if (e->run.kind == LG_RUN_PREFILL) {
            sched->n_prefilled += m->n;
            lg_share_publish(s, m->pos / LG_PAGE_SIZE);
        }
    } else if (rc < 0 && rc != LLMGPU_E_CANCELLED) // its own next call says that it was cancelled
        lg_session_set_failure(s, rc, sched->env->error);
    lg_scheduler_unlock_changed(sched, s);
}

/** A piece of the pass that runs on an engine. As lg_run_advance(), but failures go to the sessions. */
static int advance(struct lg_scheduler *sched, struct lg_engine *e, const struct lg_room *room)
{
    struct lg_run *run = &e->run;
    uint64_t begin_ns = lg_now_ns(), submits = sched->dev->stats.submits;
    sched->dev->stop = run->n_members == 1 ? &run->members[0].owner->cancelled : NULL;
    int rc = lg_run_advance(e, room);
    sched->dev->stop = NULL;
    uint64_t ns = lg_now_ns() - begin_ns;
    submits = sched->dev->stats.submits - submits;
    pthread_mutex_lock(&sched->lock);
    sched->busy_ns += ns;
    if (rc == LG_RUN_FINISHED && run->fine)
        sched->slice_ns = run->pass->longest_ns;
    pthread_mutex_unlock(&sched->lock);
    for (uint32_t i = 0; i < run->n_members; i++) {
        pthread_mutex_lock(&sched->lock);
        end_piece(sched, e, &run->members[i], rc, ns, submits);
    }
    if (rc == LG_RUN_FINISHED || rc < 0)
        lg_run_drop(e);
    return rc < 0 ? LG_RUN_FINISHED : rc;
}

/** The engine whose pass runs, which is finished before another one begins. */
static struct lg_engine *running(const struct lg_scheduler *sched)
{
    for (struct lg_session *s = sched->sessions; s; s = s->next)
        if (s->engine->run.pass)
            return s->engine;
    return NULL;
}

int lg_work(struct lg_scheduler *sched, struct lg_session *s, const struct lg_room *room, uint32_t ahead)
{
    struct terms terms = {.budgeted = room->budgeted, .all = !s, .ahead = ahead};
    struct lg_engine *e = running(sched);
    sched->env->error[0] = '\0';
    if (e)
        drop_unwanted(sched, e);
    int rc = e && e->run.pass ? LG_RUN_GOES_ON : LG_RUN_NO_ROOM;
    while (rc == LG_RUN_NO_ROOM)
        rc = begin(sched, s, &terms, &e);
    return rc == LG_RUN_GOES_ON ? advance(sched, e, room) : rc;
}
