/* SPDX-License-Identifier: MIT
 *
 * Who has asked for something, and how much of it each may have: tokens per minute, requests at work, requests in the queue.
 * Tokens are a store that fills up evenly to those of a minute. A request may begin while there is anything in it, and what
 * it takes beyond that is a debt that the next one waits for: how long an answer gets is not known before.
 *
 * Thread-safety: one thread at a time. Moments are lg_now_ns()'s, and given by the caller.
 */
#ifndef LG_RUNTIME_OWNERS_H
#define LG_RUNTIME_OWNERS_H

#include <stdbool.h>

#include "util/env.h"

enum { LG_OWNER_NAME = 64 };

/** 0: none. */
struct lg_quota {
    uint32_t tokens_per_minute, max_active, max_queued;
};

struct lg_owner {
    char name[LG_OWNER_NAME];
    bool used;
    bool has_own; // quota, which is kept
    struct lg_quota quota;
    uint32_t n_active, n_queued;
    double tokens; // in the store; debts are below 0
    uint64_t filled_ns;
};

/** Zeroed to begin with. */
struct lg_owners {
    struct lg_quota quota; // of who has none of their own
    uint32_t n;            // in use
    uint32_t max;
    struct lg_owner *list; // [max]
};

int lg_owners_init(struct lg_owners *owners, struct lg_env *env, uint32_t max);
void lg_owners_finish(struct lg_owners *owners, struct lg_env *env);

/** The owner of that name, who is given the place of one at rest if need be. NULL when nobody is: LLMGPU_E_LIMIT. */
struct lg_owner *lg_owners_get(struct lg_owners *owners, const char *name, uint64_t now);
/** Gives an owner a quota; NULL: the others' quota is everybody's who has none of their own. */
void lg_owners_set_quota(struct lg_owners *owners, struct lg_owner *owner, const struct lg_quota *quota, uint64_t now);

/** When another request may begin: at or before `now`; UINT64_MAX: when one of its own ends. */
uint64_t lg_owner_free_at(struct lg_owner *owner, uint64_t now);
void lg_owner_charge(struct lg_owner *owner, uint32_t n_tokens, uint64_t now);

#endif
