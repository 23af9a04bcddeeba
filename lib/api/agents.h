/* SPDX-License-Identifier: MIT
 *
 * Agents and their queue. The queue, the mailboxes and the counters are under `lock`; agents and their sessions are seen to
 * by whoever has the turn of their context, between two pieces of work. Who needs both takes the turn first, and the lock
 * before a session's or the scheduler's never. Private to lib/api.
 */
#ifndef LG_API_AGENTS_H
#define LG_API_AGENTS_H

#include "api/handles.h"
#include "runtime/requests.h"

struct lg_mail {
    char *role, *text; // role NULL: "user"
    size_t len;
};

struct lg_agent {
    llmgpu_session *session; // NULL: there is none; changed with both
    llmgpu_chat *chat;
    bool keep, shared;
    uint32_t n_base, n_base_messages; // that it begins with
    struct lg_sampler sampler;
    struct lg_request *request;     // that is being answered; needs the turn
    uint32_t n_before, n_messages;  // that it had before
    uint32_t n_given;               // tokens by the session, as far as they were charged
    struct lg_mail *mail;           // [max_mail], a ring
    uint32_t first_mail, n_mail;
};

struct llmgpu_agents {
    llmgpu_model *model;
    struct lg_env env; // its error is the handle's, under `lock`
    pthread_mutex_t lock;
    pthread_cond_t came; // a result
    llmgpu_agents_params params;
    struct lg_requests requests;
    struct lg_agent list[LG_MAX_SLOTS];
    uint32_t n_agents;
    uint64_t n_delivered, n_refused; // messages
    struct lg_tender tender;
    struct lg_later later; // its destruction
};

/** Sees to all agents: what a lg_tender does. */
uint64_t lg_agents_tend(struct lg_tender *tender);
/** Ends a request that is out of the queue; `agent`: who answered it, with the turn, or NULL. Needs no lock. */
void lg_agents_end(llmgpu_agents *agents, struct lg_agent *agent, struct lg_request *r, int outcome, int status);

/** Needs the lock. 0; LLMGPU_E_LIMIT; LLMGPU_E_INVALID when there is no such agent; LLMGPU_E_NOMEM; without a sentence. */
int lg_agents_put_mail(llmgpu_agents *agents, int32_t agent, const char *role, const char *text, size_t len);
void lg_agents_free_mail(llmgpu_agents *agents, struct lg_mail *mail);

#endif
