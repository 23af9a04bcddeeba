/* SPDX-License-Identifier: MIT */
#include "runtime/owners.h"

#include <string.h>

#define MINUTE_NS 60e9

int lg_owners_init(struct lg_owners *owners, struct lg_env *env, uint32_t max)
{
    owners->list = lg_alloc_array(env, max, sizeof(*owners->list));
    owners->max = max;
    return owners->list ? 0 : lg_fail_nomem(env, "a list of owners", (uint64_t)max * sizeof(*owners->list));
}

void lg_owners_finish(struct lg_owners *owners, struct lg_env *env)
{
    lg_free(env, owners->list);
    owners->list = NULL;
}

static void fill(struct lg_owner *o, uint64_t now)
{
    double most = o->quota.tokens_per_minute;
    if (now > o->filled_ns) {
        o->tokens += (double)(now - o->filled_ns) * most / MINUTE_NS;
        o->filled_ns = now;
    }
    if (o->tokens > most)
        o->tokens = most;
}

/** Whether nothing would be different if it were forgotten. */
static bool is_at_rest(struct lg_owner *o, uint64_t now)
{
    fill(o, now);
    return !o->has_own && o->n_active + o->n_queued == 0 && o->tokens >= o->quota.tokens_per_minute;
}

static struct lg_owner *find_place(struct lg_owners *owners, uint64_t now)
{
    for (uint32_t i = 0; i < owners->max; i++)
        if (!owners->list[i].used)
            return &owners->list[i];
    for (uint32_t i = 0; i < owners->max; i++)
        if (is_at_rest(&owners->list[i], now))
            return &owners->list[i];
    return NULL;
}

struct lg_owner *lg_owners_get(struct lg_owners *owners, const char *name, uint64_t now)
{
    for (uint32_t i = 0; i < owners->max; i++)
        if (owners->list[i].used && strcmp(owners->list[i].name, name) == 0)
            return &owners->list[i];
    struct lg_owner *o = find_place(owners, now);
    if (!o)
        return NULL;
    owners->n += !o->used;
    *o = (struct lg_owner){.used = true, .quota = owners->quota, .filled_ns = now};
    o->tokens = o->quota.tokens_per_minute;
    memcpy(o->name, name, strlen(name) + 1);
    return o;
}

/** A store keeps what is in it, and begins full. */
static void change(struct lg_owner *o, const struct lg_quota *quota, uint64_t now)
{
    fill(o, now);
    if (o->quota.tokens_per_minute == 0)
        o->tokens = quota->tokens_per_minute;
    o->quota = *quota;
    fill(o, now);
}

void lg_owners_set_quota(struct lg_owners *owners, struct lg_owner *owner, const struct lg_quota *quota,
                         uint64_t now)
{
    if (owner) {
        owner->has_own = true;
        change(owner, quota, now);
        return;
    }
    owners->quota = *quota;
    for (uint32_t i = 0; i < owners->max; i++)
        if (owners->list[i].used && !owners->list[i].has_own)
            change(&owners->list[i], quota, now);
}

uint64_t lg_owner_free_at(struct lg_owner *o, uint64_t now)
{
    if (o->quota.max_active && o->n_active >= o->quota.max_active)
        return UINT64_MAX;
    fill(o, now);
    if (o->quota.tokens_per_minute == 0 || o->tokens > 0)
        return now;
    return now + 1 + (uint64_t)(-o->tokens * MINUTE_NS / o->quota.tokens_per_minute);
}

void lg_owner_charge(struct lg_owner *o, uint32_t n_tokens, uint64_t now)
{
    fill(o, now);
    if (o->quota.tokens_per_minute)
        o->tokens -= n_tokens;
}
