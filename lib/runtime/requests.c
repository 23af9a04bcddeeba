/* SPDX-License-Identifier: MIT */
#include "runtime/requests.h"

#include <string.h>

/** A moment above which priorities are counted, so that keys do not pass 0. */
#define KEY_ZERO (UINT64_C(1) << 62)

int lg_requests_init(struct lg_requests *q, struct lg_env *env, uint32_t max, uint32_t max_owners)
{
    q->env = env;
    q->list = lg_alloc_array(env, max, sizeof(*q->list));
    q->max = max;
    if (!q->list)
        return lg_fail_nomem(env, "a queue of requests", (uint64_t)max * sizeof(*q->list));
    return lg_owners_init(&q->owners, env, max_owners);
}

static void clear(struct lg_requests *q, struct lg_request *r)
{
    lg_free(q->env, r->role);
    lg_free(q->env, r->text);
    lg_free(q->env, r->tokens);
    lg_free(q->env, r->answer);
    *r = (struct lg_request){.state = LG_REQUEST_FREE};
}

void lg_requests_finish(struct lg_requests *q)
{
    for (uint32_t i = 0; q->list && i < q->max; i++)
        clear(q, &q->list[i]);
    lg_free(q->env, q->list);
    q->list = NULL;
    lg_owners_finish(&q->owners, q->env);
}

struct lg_request *lg_requests_place(struct lg_requests *q)
{
    for (uint32_t i = 0; i < q->max; i++)
        if (q->list[i].state == LG_REQUEST_FREE)
            return &q->list[i];
    return NULL;
}

void lg_requests_add(struct lg_requests *q, struct lg_request *r, struct lg_owner *owner, int32_t priority,
                     uint64_t now)
{
    r->id = ++q->n_asked;
    r->key = KEY_ZERO + now - (uint64_t)(int64_t)priority * q->ageing_ns;
    r->owner = owner;
    memcpy(r->name, owner->name, sizeof(r->name));
    r->asked_ns = now;
    r->state = LG_REQUEST_QUEUED;
    q->n_queued++;
    owner->n_queued++;
}

struct lg_request *lg_requests_find(struct lg_requests *q, uint64_t id)
{
    for (uint32_t i = 0; i < q->max; i++)
        if (q->list[i].state != LG_REQUEST_FREE && q->list[i].id == id)
            return &q->list[i];
    return NULL;
}

/* ---- out of the queue */

void lg_requests_withdraw(struct lg_requests *q, struct lg_request *r)
{
    r->state = LG_REQUEST_ACTIVE;
    q->n_queued--;
    q->n_active++;
    r->owner->n_queued--;
    r->owner->n_active++;
}

static bool goes_before(const struct lg_request *a, const struct lg_request *b)
{
    return !b || a->key < b->key || (a->key == b->key && a->id < b->id);
}

/** Which of the idle agents would serve it. */
static uint64_t servers_of(const struct lg_request *r, uint64_t idle, uint64_t shared)
{
    return r->agent == LG_ANYBODY ? idle & shared : idle & UINT64_C(1) << r->agent;
}

struct lg_request *lg_requests_begin(struct lg_requests *q, uint64_t idle, uint64_t shared, uint64_t now,
                                     uint64_t *next)
{
    struct lg_request *best = NULL;
    for (uint32_t i = 0; q->n_queued && idle && i < q->max; i++) {
        struct lg_request *r = &q->list[i];
        if (r->state != LG_REQUEST_QUEUED || !servers_of(r, idle, shared) || !goes_before(r, best))
            continue;
        uint64_t at = lg_owner_free_at(r->owner, now);
        if (at <= now)
            best = r;
        else if (at < *next)
            *next = at;
    }
    if (best) {
        lg_requests_withdraw(q, best);
        best->agent = __builtin_ctzll(servers_of(best, idle, shared));
        best->begun_ns = now;
    }
    return best;
}

struct lg_request *lg_requests_expire(struct lg_requests *q, uint64_t now, uint64_t *next)
{
    for (uint32_t i = 0; q->n_queued && i < q->max; i++) {
        struct lg_request *r = &q->list[i];
        if (r->state != LG_REQUEST_QUEUED)
            continue;
        if (r->expires_ns <= now) {
            lg_requests_withdraw(q, r);
            return r;
        }
        if (r->expires_ns < *next)
            *next = r->expires_ns;
    }
    return NULL;
}

/* ---- results */

void lg_requests_charge(struct lg_request *r, uint32_t n_prompt, uint32_t n_generated, uint64_t now)
{
    r->n_prompt += n_prompt;
    r->n_generated += n_generated;
    if (n_generated && !r->first_ns)
        r->first_ns = now;
    lg_owner_charge(r->owner, n_prompt + n_generated, now);
}

static void count_latency(struct lg_latency *l, const struct lg_request *r, uint64_t at)
{
    if (at)
        lg_latency_add(l, (at - r->asked_ns) / 1000);
}

void lg_requests_end(struct lg_requests *q, struct lg_request *r, int outcome, int status, uint64_t now)
{
    r->state = LG_REQUEST_ENDED;
    r->outcome = outcome;
    r->status = status;
    r->ended_ns = now;
    r->ended_no = ++q->n_ends;
    r->owner->n_active--;
    r->owner = NULL;
    q->n_active--;
    q->n_ended++;
    q->n_outcomes[outcome]++;
    q->n_prompt += r->n_prompt;
    q->n_generated += r->n_generated;
    count_latency(&q->waiting, r, r->begun_ns);
    count_latency(&q->first, r, r->first_ns);
    count_latency(&q->whole, r, r->begun_ns ? now : 0);
}

struct lg_request *lg_requests_result(struct lg_requests *q, uint64_t id)
{
    struct lg_request *oldest = NULL;
    for (uint32_t i = 0; q->n_ended && i < q->max; i++) {
        struct lg_request *r = &q->list[i];
        if (r->state == LG_REQUEST_ENDED && (id == 0 || r->id == id) &&
            (!oldest || r->ended_no < oldest->ended_no))
            oldest = r;
    }
    return oldest;
}

void lg_requests_free(struct lg_requests *q, struct lg_request *r)
{
    q->n_ended -= r->state == LG_REQUEST_ENDED;
    clear(q, r);
}
