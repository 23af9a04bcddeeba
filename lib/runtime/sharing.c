/* SPDX-License-Identifier: MIT */
#include "runtime/sharing.h"

#include <string.h>

#include "runtime/kv.h"
#include "runtime/run.h"
#include "util/checked.h"

/* ---- beginnings */

/** The hash of a session's first n pages, each of which is hashed once while it stays as it is. */
static struct lg_prefix_hash hash_pages(struct lg_session *s, uint32_t n)
{
    const struct lg_engine *e = s->engine;
    struct lg_hashed *h = &s->hashed;
    uint64_t seating = s->lora.seat ? e->bank.seats[s->lora.seat - 1].seating : 0;
    struct lg_prefix_hash begin = lg_prefix_begin(e->prefix_seed, seating, seating ? s->lora.scale : 0);
    if (h->n > n || h->begin.low != begin.low || h->begin.high != begin.high)
        *h = (struct lg_hashed){.begin = begin, .hash = begin};
    for (; h->n < n; h->n++)
        h->hash = lg_prefix_append(h->hash, s->tokens + (size_t)h->n * LG_PAGE_SIZE);
    return h->hash;
}

/** Whether prefill passes compute a session's first n tokens: decode passes round in another way. */
static bool only_prefilled(const struct lg_session *s, uint32_t n)
{
    return memchr(s->decoded, 1, n) == NULL;
}

void lg_share_publish(struct lg_session *s, uint32_t first)
{
    struct lg_engine *e = s->engine;
    uint32_t end = s->n_past / LG_PAGE_SIZE;
    if (first >= end || !only_prefilled(s, end * LG_PAGE_SIZE))
        return;
    for (; first < end; first++)
        lg_prefix_add(&e->prefix, lg_engine_page(e, s->slot, first), hash_pages(s, first + 1),
                      s->tokens + (size_t)first * LG_PAGE_SIZE);
}

void lg_share_adopt(struct lg_session *s)
{
    struct lg_engine *e = s->engine;
    uint32_t index = s->n_past / LG_PAGE_SIZE, end = s->n_past + LG_PAGE_SIZE;
    if (!s->has_slot || lg_run_has(e, s) || s->n_past % LG_PAGE_SIZE || end >= s->n_tokens || !only_prefilled(s, end))
        return;
    uint32_t before = s->n_past;
    for (; end < s->n_tokens && only_prefilled(s, end); index++, end += LG_PAGE_SIZE) {
        uint32_t page = lg_prefix_find(&e->prefix, hash_pages(s, index + 1), s->tokens + (size_t)index * LG_PAGE_SIZE);
        if (page == LG_NO_PAGE)
            break;
        lg_engine_set_page(e, s->slot, index, page);
        s->n_past = end;
    }
    if (s->n_past == before)
        return;
    s->n_adopted += s->n_past - before;
    s->sched->n_adopted += s->n_past - before;
    s->sched->n_hits++;
    lg_engine_publish(e, s->slot);
}

bool lg_share_same_page(const struct lg_session *a, const struct lg_session *b)
{
    uint32_t page = b->n_past / LG_PAGE_SIZE, end = (page + 1) * LG_PAGE_SIZE;
    return a->n_past / LG_PAGE_SIZE == page && end < a->n_tokens && end < b->n_tokens &&
           a->lora.seat == b->lora.seat && a->lora.scale == b->lora.scale && only_prefilled(a, end) &&
           only_prefilled(b, end) && memcmp(a->tokens, b->tokens, end * sizeof(*a->tokens)) == 0;
}

/* ---- pages on the host */

static size_t page_bytes(const struct lg_engine *e)
{
    return (size_t)lg_engine_cache_bytes(e, LG_PAGE_SIZE);
}

/** Whether a page of a session is its own, so that the pool has it back when it goes. */
static bool is_alone(const struct lg_session *s, uint32_t index)
{
    uint32_t page = lg_engine_page(s->engine, s->slot, index);
    return page != LG_NO_PAGE && s->engine->pool[page].refs == 1;
}

static uint32_t count_alone(const struct lg_session *s)
{
    uint32_t n = 0;
    for (uint32_t i = 0; s->has_slot && i < s->engine->slot_pages[s->slot]; i++)
        n += is_alone(s, i);
    return n;
}

static uint32_t locked_past(const struct lg_session *s)
{
    pthread_mutex_lock(&s->sched->lock);
    uint32_t n_past = s->n_past;
    pthread_mutex_unlock(&s->sched->lock);
    return n_past;
}

static void count_moved(struct lg_session *s, bool out)
{
    pthread_mutex_lock(&s->sched->lock);
    *(out ? &s->sched->n_moved_out : &s->sched->n_moved_in) += 1;
    pthread_mutex_unlock(&s->sched->lock);
}

/** Moves what is a session's own to the host; pages that hold nothing of it just go. */
static int move_out(struct lg_session *s)
{
    struct lg_engine *e = s->engine;
    uint32_t n = lg_div_up(locked_past(s), LG_PAGE_SIZE), n_all = e->slot_pages[s->slot];
    if (!s->moved) {
        s->moved = lg_alloc_array(e->env, n_all, sizeof(*s->moved));
        if (!s->moved)
            return lg_fail_nomem(e->env, "a list of pages", n_all * sizeof(*s->moved));
    }
    for (uint32_t i = 0; i < n_all; i++) {
        if (!is_alone(s, i))
            continue;
        if (i < n) {
            s->moved[i] = lg_alloc(e->env, page_bytes(e));
            if (!s->moved[i])
                return lg_fail_nomem(e->env, "a page on the host", page_bytes(e));
            int rc = lg_engine_move_page(e, s->slot, i, s->moved[i], true);
            if (rc < 0) {
                lg_free(e->env, s->moved[i]);
                s->moved[i] = NULL;
                return rc;
            }
            count_moved(s, true);
        }
        lg_engine_set_page(e, s->slot, i, LG_NO_PAGE);
    }
    lg_engine_publish(e, s->slot);
    return 0;
}

void lg_share_forget(struct lg_session *s)
{
    for (uint32_t i = 0; s->moved && i < lg_div_up(s->params.n_ctx, LG_PAGE_SIZE); i++)
        lg_free(s->engine->env, s->moved[i]);
    if (s->moved)
        lg_free(s->engine->env, s->moved);
    s->moved = NULL;
}

/* ---- room */

/** Who gives up pages for a session: among those that nobody waits for who was worked for longest ago. */
static struct lg_session *find_giver(const struct lg_session *s, bool force)
{
    struct lg_session *found = NULL;
    bool found_idle = false;
    for (struct lg_session *other = s->sched->sessions; other; other = other->next) {
        bool idle = !lg_session_wants_prefill(other) && !lg_session_wants_decode(other, 1);
        if (other == s || other->engine != s->engine || other->planned || lg_run_has(s->engine, other) ||
            !(idle || force) || count_alone(other) == 0)
            continue;
        if (!found || idle > found_idle || (idle == found_idle && other->ticket < found->ticket)) {
            found = other;
            found_idle = idle;
        }
    }
    return found;
}

/** Makes pages a session's own, taking them from others where there are none. */
static int own_pages(struct lg_session *s, uint32_t first, uint32_t n, bool force)
{
    for (;;) {
        int rc = lg_engine_own_pages(s->engine, s->slot, first, n);
        if (rc <= 0)
            return rc;
        pthread_mutex_lock(&s->sched->lock);
        struct lg_session *giver = find_giver(s, force);
        pthread_mutex_unlock(&s->sched->lock);
        if (!giver)
            return rc;
        LG_TRY(move_out(giver));
    }
}

/** Brings back the pages below position n. */
static int move_in(struct lg_session *s, uint32_t n, bool force)
{
    for (uint32_t i = 0; s->moved && i < lg_div_up(n, LG_PAGE_SIZE); i++) {
        if (!s->moved[i])
            continue;
        if (lg_engine_page(s->engine, s->slot, i) == LG_NO_PAGE) { // otherwise it was taken over from another session
            int rc = own_pages(s, i * LG_PAGE_SIZE, LG_PAGE_SIZE, force);
            if (rc != 0)
                return rc;
            LG_TRY(lg_engine_move_page(s->engine, s->slot, i, s->moved[i], false));
            count_moved(s, false);
        }
        lg_free(s->engine->env, s->moved[i]);
        s->moved[i] = NULL;
    }
    lg_share_forget(s); // what is behind n is not of this conversation any more
    return 0;
}

int lg_share_make_room(struct lg_session *s, uint32_t first, uint32_t n, bool force)
{
    int rc = s->moved ? move_in(s, locked_past(s), force) : 0;
    return rc == 0 ? own_pages(s, first, n, force) : rc;
}

int lg_share_need_room(struct lg_session *s, uint32_t first, uint32_t n)
{
    if (lg_run_flies(s->engine)) // it reads the pages that are about to change
        lg_run_drop_kind(s->engine, LG_RUN_DECODE);
    int rc = lg_share_make_room(s, first, n, true);
    return rc > 0 ? lg_fail(s->engine->env, LLMGPU_E_NOMEM, "the pool of %u tokens is full",
                            s->engine->n_pages * LG_PAGE_SIZE)
                  : rc;
}
