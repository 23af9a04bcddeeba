/* SPDX-License-Identifier: MIT
 *
 * A bounded queue of requests, from being asked to their results being taken. Which is served first: what has waited longest,
 * where each step of priority counts as so much waiting. So all grow older at the same rate, their order never changes, and
 * one is passed only by what comes less than that later.
 *
 * Thread-safety: one thread at a time; who begins a request has it to itself until it ends it. Moments are lg_now_ns()'s, and
 * given by the caller.
 */
#ifndef LG_RUNTIME_REQUESTS_H
#define LG_RUNTIME_REQUESTS_H

#include <stdatomic.h>

#include "graph/graph.h"
#include "runtime/latency.h"
#include "runtime/owners.h"

enum lg_request_state { LG_REQUEST_FREE, LG_REQUEST_QUEUED, LG_REQUEST_ACTIVE, LG_REQUEST_ENDED };

enum { LG_MAX_OUTCOMES = 8, LG_ANYBODY = -1 };

/** Strings and tokens are its own. */
struct lg_request {
    int state; // an lg_request_state
    uint64_t id;
    uint64_t key; // the least is served first
    struct lg_owner *owner; // until it has ended
    char name[LG_OWNER_NAME]; // the owner's
    int32_t agent;   // who is to serve it, and later who did; LG_ANYBODY
    int32_t mail_to; // LG_ANYBODY: nobody
    char *role;      // NULL: it is text as it is, in tokens
    char *text;      // of a message, or for the audit; NULL
    size_t text_len;
    int32_t *tokens;
    size_t n_tokens;
    bool has_sampler;
    struct lg_sampler sampler;
    uint32_t max_tokens, max_run_ms;
    _Atomic bool cancelled;
    int64_t asked_unix_ms;
    uint64_t asked_ns, expires_ns, begun_ns, first_ns, ended_ns; // 0: it never was; expires_ns UINT64_MAX: never

    char *answer;
    size_t len, cap;
    uint32_t n_prompt, n_generated;
    int outcome, status, mail_status;
    uint64_t ended_no; // which of all that ended
};

/** Zeroed to begin with. */
struct lg_requests {
    struct lg_env *env;
    struct lg_request *list; // [max]
    uint32_t max, n_queued, n_active, n_ended;
    uint64_t ageing_ns; // that a step of priority is worth
    uint64_t n_asked, n_refused, n_ends;
    uint64_t n_outcomes[LG_MAX_OUTCOMES];
    uint64_t n_prompt, n_generated; // tokens of those that ended
    struct lg_owners owners;
    struct lg_latency waiting, first, whole;
};

int lg_requests_init(struct lg_requests *q, struct lg_env *env, uint32_t max, uint32_t max_owners);
void lg_requests_finish(struct lg_requests *q);

/** A free place, or NULL. Who fills it in adds it, or frees it. */
struct lg_request *lg_requests_place(struct lg_requests *q);
void lg_requests_add(struct lg_requests *q, struct lg_request *r, struct lg_owner *owner, int32_t priority, uint64_t now);
struct lg_request *lg_requests_find(struct lg_requests *q, uint64_t id);

/**
 * Begins the request whose turn it is among those that an idle agent serves and their owners' quotas allow.
 *
 * @param idle   bit i: agent i has nothing to do
 * @param shared bit i: it serves what is for anybody
 * @param next   lowered to the moment when a quota may allow another one
 * @return NULL when there is none; otherwise its `agent` is who serves it
 */
struct lg_request *lg_requests_begin(struct lg_requests *q, uint64_t idle, uint64_t shared, uint64_t now, uint64_t *next);
/** Takes one out of the queue to end it: one whose time is over. `next`: lowered to the moment when another one's is. NULL. */
struct lg_request *lg_requests_expire(struct lg_requests *q, uint64_t now, uint64_t *next);
/** The same for one that is queued. */
void lg_requests_withdraw(struct lg_requests *q, struct lg_request *r);

/** Charges its owner for tokens. */
void lg_requests_charge(struct lg_request *r, uint32_t n_prompt, uint32_t n_generated, uint64_t now);
/** It has a result, which stays until it is freed. */
void lg_requests_end(struct lg_requests *q, struct lg_request *r, int outcome, int status, uint64_t now);
/** The result that has waited longest, or that of one request; NULL. */
struct lg_request *lg_requests_result(struct lg_requests *q, uint64_t id);
/** Of one that was not added, or has ended. */
void lg_requests_free(struct lg_requests *q, struct lg_request *r);

#endif
