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
    STEP_TOKENS = 96,           // of a step while somebody waits for a next token; prompts have what is left of them
    STEP_PART = 32,             // and that in such parts, of which there is one at least
    FLIGHT = 32,                // decode passes, at the most, that follow one another before the next step is planned
};

/** Who computes while the host looks at what came before. */
static bool works_alone(const struct lg_device *dev)
{
    return dev->info.kind != LG_DEVICE_CPU;
}

/* ---- what a session wants */

/** What is worked under, for all sessions alike. */
struct terms {
    bool budgeted;
    bool all; // sessions for which nobody waits, too
    uint32_t ahead;
};

/** Rows of a pass. */
static uint32_t rows_of(const struct lg_wish *w)
{
    return w->kind == LG_RUN_PREFILL ? w->n : 1 + w->n_drafts;
}

/** Needs the lock. False when there is nothing that it wants. */
static bool own_wish(struct lg_session *s, const struct terms *terms, struct lg_wish *w)
{
    *w = (struct lg_wish){.s = s, .kind = LG_RUN_PREFILL, .first = s->n_past};
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
    bool plain = !s->mask.ask && !s->params.n_candidates && s->speculation == LLMGPU_SPECULATION_NONE && !s->drafts_for;
    bool flies = plain && !terms->budgeted && terms->ahead > 1 && works_alone(s->sched->dev);
    w->most = flies ? lg_min_u32(FLIGHT, lg_session_decode_room(s)) : 1;
    return true;
}

/** The same, or what another session has to do before. Needs the lock. */
static bool wish_of(struct lg_session *s, const struct terms *terms, struct lg_wish *w)
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

/** Notes what all want, for the plan that is made next. Needs the lock. */
static void note_wishes(struct lg_scheduler *sched, const struct terms *terms)
{
    for (struct lg_session *s = sched->sessions; s; s = s->next)
        if (lg_session_wants_prefill(s))
            lg_share_adopt(s);
    for (struct lg_session *s = sched->sessions; s; s = s->next)
        s->wishes = wish_of(s, terms, &s->wish);
}

/* ---- choosing */

/** The next pass of a kind. */
struct part {
    enum lg_run_kind kind;
    bool top;     // one of them is told candidates
    bool drafted; // one of them has drafts
    uint32_t repeat, most;
    uint32_t n_rows, max_rows;
    uint32_t n; // 0: there is none
    struct lg_wish wishes[LG_MAX_SLOTS];
};

/** The next step. */
struct plan {
    struct lg_engine *engine;
    enum lg_run_kind first; // the part of whoever's turn it is
    struct part parts[LG_N_RUN_KINDS];
};

/**
 * Whose turn is before whose. A priority is worth so many tickets: whoever waits is before everybody in the end.
 */
static bool is_before(const struct lg_session *a, const struct lg_session *b)
{
    int64_t ahead = (int64_t)TICKETS_PER_PRIORITY * (a->params.priority - b->params.priority);
    return (int64_t)(b->ticket - a->ticket) + ahead > 0;
}

/** Who has waited longest among all sessions that want something; NULL. Needs the lock. */
static const struct lg_wish *choose_first(const struct lg_scheduler *sched)
{
    const struct lg_wish *first = NULL;
    for (const struct lg_session *s = sched->sessions; s; s = s->next)
        if (s->wishes && (!first || is_before(s, first->s)))
            first = &s->wish;
    return first;
}

/** The same among those that can have a part of a kind beside the first one. Needs the lock. */
static const struct lg_wish *choose_other(const struct lg_scheduler *sched, const struct lg_engine *e,
                                          enum lg_run_kind kind, const struct terms *terms)
{
    const struct lg_wish *first = NULL;
    for (const struct lg_session *s = sched->sessions; s; s = s->next)
        if (s->wishes && s->wish.kind == kind && s->wish.s->engine == e && s->wish.s->has_slot && may_join(s, terms) &&
            (!first || is_before(s, first->s)))
            first = &s->wish;
    return first;
}

/** In its place who is further with the page that it would compute: then it can take that over. Needs the lock. */
static const struct lg_wish *prefer_further(const struct lg_scheduler *sched, const struct terms *terms,
                                            const struct lg_wish *first)
{
    for (const struct lg_session *s = sched->sessions; first->kind == LG_RUN_PREFILL && s; s = s->next) {
        if (s->engine == first->s->engine && s->n_past > first->first && lg_share_same_page(s, first->s) && s->wishes &&
            s->wish.kind == LG_RUN_PREFILL && may_join(s, terms))
            first = &s->wish;
    }
    return first;
}

/** Puts a wish where those stand that have waited as long. */
static void enqueue(struct part *p, const struct lg_wish *w)
{
    uint32_t at = p->n++;
    for (; at > 1 && is_before(w->s, p->wishes[at - 1].s); at--) // the first stays that
        p->wishes[at] = p->wishes[at - 1];
    p->wishes[at] = *w;
}

/** Cuts a part off where its rows are full. */
static void fill_rows(struct part *p)
{
    uint32_t n = 0;
    p->repeat = 1;
    p->most = FLIGHT;
    for (; n < p->n && p->n_rows < p->max_rows; n++) {
        struct lg_wish *w = &p->wishes[n];
        uint32_t room = p->max_rows - p->n_rows;
        if (p->kind == LG_RUN_PREFILL)
            w->n = lg_min_u32(w->n, room);
        w->n_drafts = lg_min_u32(w->n_drafts, (room - 1) / (p->n - n)); // the others have theirs too
        if (p->kind == LG_RUN_DECODE && !w->replay && !w->n_drafts)
            p->repeat = lg_max_u32(p->repeat, w->n);
        p->drafted |= w->n_drafts > 0;
        p->n_rows += rows_of(w);
        p->top |= p->kind == LG_RUN_DECODE && !w->replay && w->s->params.n_candidates;
        if (w->most <= 1) // who wants one token more only has its place for so long
            p->most = 1;
    }
    p->n = n;
    if (p->drafted) // what is drawn is looked at before there is more
        p->repeat = 1;
    if (p->repeat > 1)
        p->most = 1;
}

/** Whether what it wants to compute first is in the plan already, for another session. */
static bool somebody_computes(const struct part *p, const struct lg_wish *w)
{
    for (uint32_t i = 0; p->kind == LG_RUN_PREFILL && i < p->n; i++)
        if (lg_share_same_page(p->wishes[i].s, w->s))
            return true;
    return false;
}

/** Whether a session waits for its next token. Needs the lock. */
static bool somebody_decodes(const struct lg_scheduler *sched, const struct terms *terms)
{
    for (const struct lg_session *s = sched->sessions; s; s = s->next)
        if (s->wishes && s->wish.kind == LG_RUN_DECODE && may_join(s, terms))
            return true;
    return false;
}

/** Most rows of a step's part for prompts, beside so many others. */
static uint32_t limit_prompts(const struct lg_scheduler *sched, const struct lg_engine *e, uint32_t n_rows,
                              const struct terms *terms)
{
    if (terms->budgeted)
        return lg_max_u32(1, e->step_rows);
    if (!somebody_decodes(sched, terms))
        return e->prefill_rows;
    uint32_t left = n_rows < STEP_TOKENS ? (STEP_TOKENS - n_rows) / STEP_PART * STEP_PART : 0;
    return lg_min_u32(e->prefill_rows, lg_max_u32(left, STEP_PART));
}

/** Whether a session can be in the same pass. */
static bool fits(const struct plan *plan, const struct part *p, const struct lg_wish *w)
{
    const struct lg_session *s = w->s;
    return s != p->wishes[0].s && s->engine == plan->engine && s->has_slot && w->kind == p->kind;
}

/** The part that begins with a wish. Needs the lock. */
static void plan_part(const struct lg_scheduler *sched, const struct terms *terms, struct plan *plan,
                      const struct lg_wish *first)
{
    struct part *p = &plan->parts[first->kind];
    const struct lg_engine *e = plan->engine;
    if (!e->dev) // it is lost, which each is told
        p->max_rows = 1;
    else if (p->kind == LG_RUN_DECODE)
        p->max_rows = lg_engine_decode_rows(e, LG_MAX_SLOTS);
    else
        p->max_rows = limit_prompts(sched, e, plan->parts[LG_RUN_DECODE].n_rows, terms);
    enqueue(p, first);
    for (const struct lg_session *s = sched->sessions; s; s = s->next)
        if (s->wishes && fits(plan, p, &s->wish) && may_join(s, terms) && !somebody_computes(p, &s->wish))
            enqueue(p, &s->wish);
    fill_rows(p);
}

/**
 * A step is for whoever's turn it is, and everybody else who fits: first those that are due for a token, then as much of
 * prompts as leaves these not waiting for long. Under a budget one of the two has to do. Needs the lock.
 */
static bool make_plan(struct lg_scheduler *sched, struct lg_session *s, const struct terms *terms, struct plan *p)
{
    note_wishes(sched, terms);
    const struct lg_wish *first = !s ? choose_first(sched) : s->wishes ? &s->wish : NULL;
    const struct lg_wish *parts[LG_N_RUN_KINDS] = {0};
    if (!first)
        return false;
    p->engine = first->s->engine;
    p->first = first->kind;
    for (int kind = LG_N_RUN_KINDS; kind-- > 0;) { // those of prompts have the rows that the others leave
        p->parts[kind].kind = (enum lg_run_kind)kind;
        p->parts[kind].n = p->parts[kind].n_rows = 0;
        p->parts[kind].top = p->parts[kind].drafted = false;
        if (kind == (int)p->first)
            parts[kind] = first;
        else if (!terms->budgeted && p->engine->dev)
            parts[kind] = choose_other(sched, p->engine, (enum lg_run_kind)kind, terms);
        if (parts[kind])
            plan_part(sched, terms, p, prefer_further(sched, terms, parts[kind]));
    }
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
static int prepare_session(const struct lg_wish *w, bool force)
{
    struct lg_session *s = w->s;
    LG_TRY(check_device(s));
    int rc = lg_share_make_room(s, w->first, w->replay ? 1 : lg_max_u32(w->n, rows_of(w)), force);
    *lg_engine_lora(s->engine, s->slot) = s->lora;
    return rc == 0 && w->kind == LG_RUN_DECODE && !w->replay ? lg_mask_ask(s) : rc;
}

/**
 * Takes out those that cannot be made ready: who failed is told why, and who finds no pages waits for another pass. The first
 * of the plan takes them from whom it must.
 */
static void prepare_sessions(struct lg_scheduler *sched, struct plan *plan, struct part *p)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->n; i++) {
        struct lg_wish *w = &p->wishes[i];
        bool first = i == 0 && p->kind == plan->first;
        int rc = prepare_session(w, first);
        if (rc > 0 && first)
            rc = lg_fail(sched->env, LLMGPU_E_NOMEM, "the pool of %u tokens is full",
                         plan->engine->n_pages * LG_PAGE_SIZE);
        if (rc < 0)
            fail_session(sched, w->s, rc);
        w->s->planned = rc == 0;
        if (rc == 0)
            p->wishes[n++] = *w;
    }
    p->n = n;
}

/** Makes pages ready for passes behind the first one as well, where there are any to be had. */
static void prepare_flight(struct plan *plan, struct part *p)
{
    for (uint32_t i = 0; i < p->n && p->most > 1; i++) {
        const struct lg_wish *w = &p->wishes[i];
        if (lg_engine_own_pages(plan->engine, w->s->slot, w->first, w->most) != 0)
            p->most = 1;
    }
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

/** Has a part's pass built, which takes long when it has to be recorded. A part that fails is empty, and those were told. */
static void build_part(struct lg_scheduler *sched, struct plan *plan, struct part *p, struct lg_pass **pass)
{
    bool adapted = false;
    for (uint32_t i = 0; i < p->n; i++)
        adapted |= lg_engine_lora(plan->engine, p->wishes[i].s->slot)->seat > 0;
    int rc = build_pass(plan->engine, adapted, p->kind, p->top, p->n_rows, pass);
    if (rc == LLMGPU_E_NOMEM && p->kind != plan->first) { // alone, then
        p->n = 0;
        return;
    }
    if (rc == LLMGPU_E_NOMEM && p->n_rows > 1) { // one by one, then
        p->n = 1;
        p->wishes[0].n_drafts = 0;
        adapted = lg_engine_lora(plan->engine, p->wishes[0].s->slot)->seat > 0;
        rc = build_pass(plan->engine, adapted, p->kind, p->top, 1, pass);
    }
    for (uint32_t i = 0; rc < 0 && i < p->n; i++)
        fail_session(sched, p->wishes[i].s, rc);
    if (rc < 0)
        p->n = 0;
}

/** Makes all of it ready: first what may make the engine's buffers anew. */
static void prepare(struct lg_scheduler *sched, struct plan *p, struct lg_pass *passes[LG_N_RUN_KINDS])
{
    prepare_sessions(sched, p, &p->parts[p->first]);
    for (int kind = 0; kind < LG_N_RUN_KINDS; kind++)
        if (kind != (int)p->first)
            prepare_sessions(sched, p, &p->parts[kind]);
    for (int kind = 0; kind < LG_N_RUN_KINDS; kind++)
        for (uint32_t i = 0; i < p->parts[kind].n; i++)
            p->parts[kind].wishes[i].s->planned = false;
    prepare_flight(p, &p->parts[LG_RUN_DECODE]);
    if (p->parts[p->first].n)
        build_part(sched, p, &p->parts[p->first], &passes[p->first]);
    for (int kind = 0; kind < LG_N_RUN_KINDS; kind++)
        if (kind != (int)p->first && p->parts[kind].n)
            build_part(sched, p, &p->parts[kind], &passes[kind]);
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
static bool add_member(const struct terms *terms, const struct part *p, const struct lg_wish *planned,
                       struct lg_member *m)
{
    struct lg_wish now;
    struct lg_session *s = planned->s;
    struct terms own = *terms;
    if (s->drafts_for)
        own.ahead = UINT32_MAX;
    if (!own_wish(s, &own, &now) || now.kind != planned->kind || now.replay != planned->replay ||
        now.first != planned->first)
        return false;
    uint32_t n = lg_min_u32(planned->n, now.n), most = n;
    if (p->most > 1) // pages are there for so many
        most = lg_min_u32(planned->most, now.most);
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
        .most = most,
    };
    if (decode && !now.replay)
        lg_session_set_up_sampler(s, most);
    return true;
}

/** Begins a part of the next step; how many sessions are in it. Needs the lock. */
static uint32_t begin_part(struct lg_scheduler *sched, const struct terms *terms, const struct plan *plan,
                           const struct part *p, struct lg_pass *pass)
{
    struct lg_member members[LG_MAX_SLOTS];
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->n; i++) {
        if (!add_member(terms, p, &p->wishes[i], &members[n]))
            continue;
        struct lg_session *served = p->wishes[i].s;
        uint64_t waited = sched->n_passes - 1 - served->asked;
        sched->longest_wait = waited > sched->longest_wait ? waited : sched->longest_wait;
        served->ticket = ++sched->n_tickets;
        served->asked = sched->n_passes;
        n++;
    }
    if (n > 0)
        lg_run_begin(plan->engine, pass, p->kind, members, n, p->repeat, p->most);
    return n;
}

/** Begins the next step. LG_WORK_NONE when there is nothing to do; LG_RUN_NO_ROOM when nothing came of it, as whoever it was
 * for failed, and was told, or wants something else by now. */
static int begin(struct lg_scheduler *sched, struct lg_session *s, const struct terms *terms, struct lg_engine **e)
{
    struct plan p;
    struct lg_pass *passes[LG_N_RUN_KINDS] = {0};
    uint32_t n = 0;
    pthread_mutex_lock(&sched->lock);
    bool any = make_plan(sched, s, terms, &p);
    pthread_mutex_unlock(&sched->lock);
    if (!any)
        return LG_WORK_NONE;
    prepare(sched, &p, passes);
    if (p.parts[LG_RUN_PREFILL].n + p.parts[LG_RUN_DECODE].n == 0)
        return LG_RUN_NO_ROOM;
    *e = p.engine;
    pthread_mutex_lock(&sched->lock);
    sched->n_passes++;
    for (int kind = LG_N_RUN_KINDS; kind-- > 0;)
        n += begin_part(sched, terms, &p, &p.parts[kind], passes[kind]);
    sched->n_running = n;
    pthread_mutex_unlock(&sched->lock);
    return n > 0 ? LG_RUN_GOES_ON : LG_RUN_NO_ROOM;
}

/** Whether what runs still means something to a member. Needs the lock. */
static bool still_wanted(const struct lg_run *run, const struct lg_member *m)
{
    const struct lg_session *s = m->owner;
    if (m->left || s->epoch != m->epoch)
        return false;
    return run->kind == LG_RUN_DECODE && !m->replay ? s->inputs == m->inputs && lg_session_wants_decode(s, UINT32_MAX)
                                                    : lg_session_wants_prefill(s);
}

/**
 * Forgets a pass that runs on an engine if nobody wants it any more, or if it would go on writing to where a member has
 * begun anew; one that flies will not, as what is submitted is over before anything else begins.
 */
static void drop_unwanted(struct lg_scheduler *sched, struct lg_engine *e, enum lg_run_kind kind)
{
    const struct lg_run *run = &e->runs[kind];
    bool wanted = false, stale = false, flies = kind == LG_RUN_DECODE && lg_run_flies(e);
    pthread_mutex_lock(&sched->lock);
    for (uint32_t i = 0; i < run->n_members; i++) {
        wanted |= still_wanted(run, &run->members[i]);
        stale |= !flies && run->members[i].owner->epoch != run->members[i].epoch;
    }
    pthread_mutex_unlock(&sched->lock);
    if (run->pass && (stale || !wanted))
        lg_run_drop_kind(e, kind);
}

/** Whether a member of a pass that flies is as the next one expects it: it wants that token too, or none. Needs the lock. */
static bool goes_along(const struct lg_run *run, const struct lg_member *m, const struct terms *terms, bool *any)
{
    struct lg_session *s = m->owner;
    struct lg_wish unused;
    if (m->left)
        return !own_wish(s, terms, &unused);
    if (s->epoch != m->epoch || s->inputs != m->inputs)
        return false;
    if (run->n_begun >= m->most)
        return true;
    *any = true;
    return lg_session_wants_decode(s, terms->ahead - 1); // beside what is under way, or begins with it
}

/** Whether another decode pass would be for the same sessions: nobody of them has changed his mind or is told more than it
 * takes, and nobody else wants anything. */
static bool is_next_known(struct lg_scheduler *sched, const struct lg_engine *e, const struct terms *terms)
{
    const struct lg_run *run = &e->runs[LG_RUN_DECODE];
    bool known = terms->ahead > 1 && !terms->budgeted && lg_run_may_fly(e), any = false;
    if (!known)
        return false;
    pthread_mutex_lock(&sched->lock);
    for (uint32_t i = 0; known && i < run->n_members; i++)
        known = goes_along(run, &run->members[i], terms, &any);
    for (struct lg_session *s = sched->sessions; known && s; s = s->next) {
        struct lg_wish unused;
        known = !may_join(s, terms) || !wish_of(s, terms, &unused);
    }
    pthread_mutex_unlock(&sched->lock);
    return known && any;
}

/** What a member's token of the pass is that was waited for. Needs the lock. */
static void take_samples(const struct lg_run *run, struct lg_member *m)
{
    struct lg_session *s = m->owner;
    uint32_t n = run->n_done > 0 ? 1 : lg_engine_sampler(s->engine, s->slot)->n_sampled;
    uint32_t first = run->n_done > 0 ? run->n_done - 1 : 0;
    lg_session_take_samples(s, first, n, m->row);
    m->left = s->closed || s->failure || run->n_done >= m->most; // its sampler has ended, or what follows is not for it
}

/** What a piece of a pass took, by rows, and its results when they are there. Releases the lock. */
static void end_piece(struct lg_scheduler *sched, struct lg_engine *e, const struct lg_run *run, struct lg_member *m, int rc,
                      uint64_t ns, uint64_t submits)
{
    struct lg_session *s = m->owner;
    bool sampled = run->kind == LG_RUN_DECODE && !m->replay, told = run->finished || run->n_done > 0;
    *(sampled ? &s->decode_ns : &s->prompt_ns) += ns * m->n;
    *(sampled ? &s->decode_submits : &s->prompt_submits) += submits;
    if (run->n_done > 1)
        s->asked = sched->n_passes;
    if (rc >= 0 && told && still_wanted(run, m)) {
        if (m->drafted)
            lg_speculate_take(s, (const uint32_t *)e->batch.targets->map + m->row);
        else if (sampled)
            take_samples(run, m);
        else
            s->n_past += m->n;
        if (run->kind == LG_RUN_PREFILL) {
            sched->n_prefilled += m->n;
            lg_share_publish(s, m->pos / LG_PAGE_SIZE);
        }
    } else if (rc >= 0 && told)
        m->left = true;
    else if (rc < 0 && rc != LLMGPU_E_CANCELLED) // its own next call says that it was cancelled
        lg_session_set_failure(s, rc, sched->env->error);
    lg_scheduler_unlock_changed(sched, s);
}

/** The only session in all that runs; NULL: there are several. */
static struct lg_session *only_member(const struct lg_engine *e)
{
    const struct lg_run *prefill = &e->runs[LG_RUN_PREFILL], *decode = &e->runs[LG_RUN_DECODE];
    if (prefill->n_members + decode->n_members != 1)
        return NULL;
    return prefill->n_members ? prefill->members[0].owner : decode->members[0].owner;
}

/** Notes for how long the device worked. */
static void count_busy(struct lg_scheduler *sched, const struct lg_engine *e, uint64_t ns)
{
    pthread_mutex_lock(&sched->lock);
    sched->busy_ns += ns;
    sched->n_passes += e->runs[LG_RUN_DECODE].n_done > 1; // the first was counted when it began
    for (int kind = 0; kind < LG_N_RUN_KINDS; kind++)
        if (e->runs[kind].finished && e->runs[kind].fine)
            sched->slice_ns = e->runs[kind].pass->longest_ns;
    pthread_mutex_unlock(&sched->lock);
}

static void count_running(struct lg_scheduler *sched, const struct lg_engine *e)
{
    pthread_mutex_lock(&sched->lock);
    sched->n_running = 0;
    for (int kind = 0; kind < LG_N_RUN_KINDS; kind++)
        sched->n_running += e->runs[kind].n_members;
    pthread_mutex_unlock(&sched->lock);
}

/** A piece of the step that runs on an engine. As lg_run_advance(), but failures go to the sessions. */
static int advance(struct lg_scheduler *sched, struct lg_engine *e, const struct lg_room *room, const struct terms *terms)
{
    struct lg_session *only = only_member(e);
    struct lg_room now = *room;
    bool was_busy = lg_run_is_busy(e);
    now.n_ahead = is_next_known(sched, e, terms) ? LG_MAX_FLYING : 1;
    uint64_t submits = sched->dev->stats.submits;
    uint64_t begin_ns = was_busy ? e->runs[LG_RUN_DECODE].seen_ns : lg_now_ns();
    sched->dev->stop = only ? &only->cancelled : NULL;
    int rc = lg_run_advance(e, &now);
    sched->dev->stop = NULL;
    uint64_t ns = lg_now_ns() - begin_ns;
    submits = sched->dev->stats.submits - submits;
    count_busy(sched, e, ns);
    uint32_t rows = (e->runs[LG_RUN_PREFILL].pass ? e->runs[LG_RUN_PREFILL].rows : 0) +
                    (e->runs[LG_RUN_DECODE].pass ? e->runs[LG_RUN_DECODE].rows : 0);
    for (int kind = LG_N_RUN_KINDS; kind-- > 0;) {
        struct lg_run *run = &e->runs[kind];
        for (uint32_t i = 0; i < run->n_members; i++) {
            pthread_mutex_lock(&sched->lock);
            end_piece(sched, e, run, &run->members[i], rc, ns / rows, submits);
        }
        if (run->finished || rc < 0)
            lg_run_drop_kind(e, (enum lg_run_kind)kind);
    }
    count_running(sched, e);
    return rc < 0 ? LG_RUN_FINISHED : rc;
}

/** The engine whose step runs, which is finished before another one begins. */
static struct lg_engine *running(const struct lg_scheduler *sched)
{
    for (struct lg_session *s = sched->sessions; s; s = s->next)
        if (lg_run_any(s->engine))
            return s->engine;
    return NULL;
}

int lg_work(struct lg_scheduler *sched, struct lg_session *s, const struct lg_room *room, uint32_t ahead)
{
    struct terms terms = {.budgeted = room->budgeted, .all = !s, .ahead = ahead};
    struct lg_engine *e = running(sched);
    sched->env->error[0] = '\0';
    for (int kind = 0; e && kind < LG_N_RUN_KINDS; kind++)
        drop_unwanted(sched, e, (enum lg_run_kind)kind);
    int rc = e && lg_run_any(e) ? LG_RUN_GOES_ON : LG_RUN_NO_ROOM;
    while (rc == LG_RUN_NO_ROOM)
        rc = begin(sched, s, &terms, &e);
    return rc == LG_RUN_GOES_ON ? advance(sched, e, room, &terms) : rc;
}
