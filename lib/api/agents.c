/* SPDX-License-Identifier: MIT
 *
 * The public side of agents: making them, asking, and taking results.
 */
#include "api/agents.h"

#include <string.h>
#include <time.h>

#include "api/params.h"
#include "util/checked.h"
#include "util/clock.h"

/** Priorities, and the agents' numbers that requests name. */
enum { MAX_PRIORITY = 16, MAX_TEXT = 1 << 24 };

/** The time until somebody who waits looks whether the thread in the background is still there. */
#define LOOK_NS UINT64_C(20000000)

_Static_assert(LG_MAX_OUTCOMES >= (int)LLMGPU_N_OUTCOMES, "each is counted");
_Static_assert(sizeof(((llmgpu_agents_stats *)0)->outcomes) == LG_MAX_OUTCOMES * sizeof(uint64_t),
               "they are copied");
_Static_assert(LG_OWNER_NAME == sizeof(((llmgpu_result *)0)->owner), "names are copied");

#define PARAMS_LEAST LG_SIZE_TO(llmgpu_agents_params, notify_user)
#define AGENT_LEAST LG_SIZE_TO(llmgpu_agent_params, persona)
#define REQUEST_LEAST LG_SIZE_TO(llmgpu_request, sampler)

static const llmgpu_agents_params defaults = {
    .size = sizeof(llmgpu_agents_params),
    .max_requests = 256,
    .max_owners = 256,
    .max_mail = 16,
    .max_text = 65536,
    .ageing_ms = 1000,
};

static const llmgpu_agent_params agent_defaults = {.size = sizeof(llmgpu_agent_params)};

static const llmgpu_request request_defaults = {
    .size = sizeof(llmgpu_request), .agent = LG_ANYBODY, .mail_to = LG_ANYBODY};

int llmgpu_agents_params_init(llmgpu_agents_params *params, size_t size)
{
    return lg_api_params_init(params, size, &defaults, sizeof(defaults), PARAMS_LEAST);
}

int llmgpu_agent_params_init(llmgpu_agent_params *params, size_t size)
{
    return lg_api_params_init(params, size, &agent_defaults, sizeof(agent_defaults), AGENT_LEAST);
}

int llmgpu_request_init(llmgpu_request *request, size_t size)
{
    return lg_api_params_init(request, size, &request_defaults, sizeof(request_defaults), REQUEST_LEAST);
}

/* ---- what calls have in common */

/** Makes a failure's sentence the handle's; a call that did not fail has none. Returns rc. */
static int report(llmgpu_agents *a, const struct lg_env *env, int rc)
{
    pthread_mutex_lock(&a->lock);
    memcpy(a->env.error, rc < 0 ? env->error : "", rc < 0 ? sizeof(a->env.error) : 1);
    pthread_mutex_unlock(&a->lock);
    return rc;
}

static struct lg_scheduler *sched_of(const llmgpu_agents *a)
{
    return &a->model->ctx->sched;
}

static int take_turn(struct lg_env *env, struct lg_scheduler *sched)
{
    return lg_turn_take(&sched->turn, UINT64_MAX) < 0
               ? lg_fail(env, LLMGPU_E_BUSY, "called from within a callback")
               : 0;
}

static void wake(const llmgpu_agents *a)
{
    struct lg_scheduler *sched = sched_of(a);
    pthread_mutex_lock(&sched->lock);
    lg_scheduler_wake(sched);
    pthread_mutex_unlock(&sched->lock);
}

static bool is_agent(const llmgpu_agents *a, int32_t index)
{
    return index >= 0 && index < LG_MAX_SLOTS && a->list[index].session;
}

/* ---- creating, freeing */

static int check_range(struct lg_env *env, const char *what, uint32_t value, uint32_t least, uint32_t most)
{
    return value >= least && value <= most
               ? 0
               : lg_fail(env, LLMGPU_E_INVALID, "%s of %u is not in %u .. %u", what, value, least, most);
}

static int check_params(struct lg_env *env, const llmgpu_agents_params *p)
{
    LG_TRY(check_range(env, "max_requests", p->max_requests, 1, 65536));
    LG_TRY(check_range(env, "max_owners", p->max_owners, 1, 65536));
    LG_TRY(check_range(env, "max_mail", p->max_mail, 1, 4096));
    LG_TRY(check_range(env, "max_text", p->max_text, 1, MAX_TEXT));
    LG_TRY(check_range(env, "ageing_ms", p->ageing_ms, 0, 1 << 24));
    return lg_api_check_reserved(env, p->reserved);
}

static int init_locks(llmgpu_agents *a)
{
    if (pthread_mutex_init(&a->lock, NULL) != 0)
        return LLMGPU_E_NOMEM;
    if (lg_cond_init(&a->came) == 0)
        return 0;
    pthread_mutex_destroy(&a->lock);
    return LLMGPU_E_NOMEM;
}

/** A handle that nobody tends yet. */
static int make(struct lg_env *env, llmgpu_model *model, const llmgpu_agents_params *from,
                llmgpu_agents **out)
{
    llmgpu_agents_params p = defaults;
    if (from)
        LG_TRY(lg_api_params_in(env, &p, sizeof(p), PARAMS_LEAST, from));
    LG_TRY(check_params(env, &p));
    if (p.audit)
        LG_TRY(lg_api_identify(env, model));
    llmgpu_agents *a = lg_alloc(env, sizeof(*a));
    if (!a || init_locks(a) < 0) {
        lg_free(env, a);
        return lg_fail_nomem(env, "a queue for agents", sizeof(*a));
    }
    lg_env_child(&a->env, env);
    a->params = p;
    a->model = model;
    a->requests.ageing_ns = p.ageing_ms * UINT64_C(1000000);
    a->tender.tend = lg_agents_tend;
    *out = a;
    return lg_requests_init(&a->requests, &a->env, p.max_requests, p.max_owners);
}

/** Empties an agent's place; its session and its conversation are the caller's to free. Needs the turn. */
static struct lg_agent take_out(llmgpu_agents *a, struct lg_agent *agent)
{
    pthread_mutex_lock(&a->lock);
    struct lg_agent old = *agent;
    for (uint32_t i = 0; agent->mail && i < a->params.max_mail; i++)
        lg_agents_free_mail(a, &agent->mail[i]);
    lg_free(&a->env, agent->mail);
    *agent = (struct lg_agent){0};
    a->n_agents--;
    pthread_mutex_unlock(&a->lock);
    return old;
}

/** The session is the caller's again, as it came. */
static void free_agent(struct lg_agent *old)
{
    lg_session_set_sampler(&old->session->session, &old->sampler);
    atomic_store(&old->session->is_agent, 0);
    llmgpu_chat_free(old->chat);
    lg_api_session_unref(old->session);
}

/** Needs the turn, if anybody tends it. */
static void destroy(llmgpu_agents *a)
{
    struct lg_env *env = &a->model->ctx->env;
    lg_scheduler_remove_tender(&a->tender);
    for (uint32_t i = 0; i < LG_MAX_SLOTS; i++) {
        if (!a->list[i].session)
            continue;
        struct lg_agent old = take_out(a, &a->list[i]);
        free_agent(&old);
    }
    lg_requests_finish(&a->requests);
    pthread_cond_destroy(&a->came);
    pthread_mutex_destroy(&a->lock);
    lg_free(env, a);
}

static void destroy_later(struct lg_later *later)
{
    llmgpu_agents *a = (llmgpu_agents *)((char *)later - offsetof(llmgpu_agents, later));
    llmgpu_model *model = a->model;
    destroy(a);
    lg_api_model_unref(model);
}

int llmgpu_agents_create(llmgpu_agents **out, llmgpu_model *model, const llmgpu_agents_params *params)
{
    if (!out)
        return LLMGPU_E_INVALID;
    *out = NULL;
    if (!model)
        return LLMGPU_E_INVALID;
    struct lg_env env;
    struct lg_scheduler *sched = &model->ctx->sched;
    llmgpu_agents *a = NULL;
    lg_env_child(&env, &model->ctx->env);
    int rc = make(&env, model, params, &a);
    if (rc == 0)
        rc = take_turn(&env, sched);
    if (rc == 0) {
        lg_scheduler_add_tender(sched, &a->tender);
        lg_scheduler_give(sched);
        lg_api_model_ref(model);
        *out = a;
    } else if (a) {
        destroy(a);
    }
    return lg_api_report(model->ctx, &env, rc);
}

void llmgpu_agents_free(llmgpu_agents *a)
{
    if (!a)
        return;
    llmgpu_model *model = a->model;
    a->later.run = destroy_later;
    if (!lg_scheduler_now_or_later(&model->ctx->sched, &a->later))
        return;
    destroy(a);
    lg_scheduler_give(&model->ctx->sched);
    lg_api_model_unref(model);
}

const char *llmgpu_agents_error(const llmgpu_agents *a)
{
    return a ? a->env.error : "";
}

/* ---- agents */

/** An agent of a session, which is marked as one. */
static int make_agent(struct lg_env *env, llmgpu_agents *a, llmgpu_session *s, const llmgpu_agent_params *p,
                      struct lg_agent *out)
{
    *out = (struct lg_agent){.session = s, .keep = p->keep != 0, .shared = p->own_only == 0};
    out->mail = lg_alloc_array(env, a->params.max_mail, sizeof(*out->mail));
    int rc = out->mail ? llmgpu_chat_create(&out->chat, a->model, NULL, 0) : LLMGPU_E_NOMEM;
    if (rc == 0 && p->persona)
        rc = llmgpu_chat_add(out->chat, "system", p->persona);
    if (rc < 0) {
        llmgpu_chat_free(out->chat);
        lg_free(env, out->mail);
        return lg_fail_nomem(env, "an agent", a->params.max_mail * sizeof(*out->mail));
    }
    out->n_base_messages = llmgpu_chat_count(out->chat);
    pthread_mutex_lock(&s->session.sched->lock);
    out->n_base = s->session.n_visible;
    out->sampler = s->session.params.sampler;
    pthread_mutex_unlock(&s->session.sched->lock);
    lg_api_session_ref(s);
    return 0;
}

/** The number of a free place that the agent has now. Needs the turn. */
static int put_agent(struct lg_env *env, llmgpu_agents *a, const struct lg_agent *agent)
{
    int found = -1;
    pthread_mutex_lock(&a->lock);
    for (int i = LG_MAX_SLOTS; i-- > 0;)
        found = a->list[i].session ? found : i;
    if (found >= 0) {
        a->list[found] = *agent;
        a->n_agents++;
    }
    pthread_mutex_unlock(&a->lock);
    return found >= 0 ? found : lg_fail(env, LLMGPU_E_LIMIT, "there are %d agents already", LG_MAX_SLOTS);
}

static int add(struct lg_env *env, llmgpu_agents *a, llmgpu_session *s, const llmgpu_agent_params *from)
{
    llmgpu_agent_params p = agent_defaults;
    struct lg_agent agent;
    if (from)
        LG_TRY(lg_api_params_in(env, &p, sizeof(p), AGENT_LEAST, from));
    LG_TRY(lg_api_check_reserved(env, p.reserved));
    if (s->model != a->model)
        return lg_fail(env, LLMGPU_E_INVALID, "the session is of another model");
    LG_TRY(take_turn(env, sched_of(a)));
    int rc = atomic_exchange(&s->is_agent, 1)
                 ? lg_fail(env, LLMGPU_E_INVALID, "the session is an agent's already")
                 : make_agent(env, a, s, &p, &agent);
    if (rc == 0) {
        rc = put_agent(env, a, &agent);
        if (rc < 0) {
            lg_free(env, agent.mail);
            free_agent(&agent);
        }
    }
    lg_scheduler_give(sched_of(a));
    return rc;
}

int llmgpu_agents_add(llmgpu_agents *a, llmgpu_session *session, const llmgpu_agent_params *params)
{
    if (!a || !session)
        return LLMGPU_E_INVALID;
    struct lg_env env;
    lg_env_child(&env, &a->env);
    int rc = add(&env, a, session, params);
    if (rc >= 0)
        wake(a);
    return report(a, &env, rc);
}

/** Takes a request out of the queue that is addressed to an agent. */
static struct lg_request *withdraw_of(llmgpu_agents *a, int32_t agent)
{
    struct lg_request *found = NULL;
    pthread_mutex_lock(&a->lock);
    for (uint32_t i = 0; !found && i < a->requests.max; i++) {
        struct lg_request *r = &a->requests.list[i];
        if (r->state == LG_REQUEST_QUEUED && r->agent == agent)
            found = r;
    }
    if (found)
        lg_requests_withdraw(&a->requests, found);
    pthread_mutex_unlock(&a->lock);
    return found;
}

int llmgpu_agents_remove(llmgpu_agents *a, int32_t index)
{
    if (!a)
        return LLMGPU_E_INVALID;
    struct lg_env env;
    struct lg_request *r;
    lg_env_child(&env, &a->env);
    int rc = take_turn(&env, sched_of(a));
    if (rc < 0)
        return report(a, &env, rc);
    if (!is_agent(a, index)) {
        lg_scheduler_give(sched_of(a));
        return report(a, &env, lg_fail(&env, LLMGPU_E_INVALID, "there is no agent %d", index));
    }
    struct lg_agent *agent = &a->list[index];
    if (agent->request)
        lg_agents_end(a, agent, agent->request, LLMGPU_OUTCOME_CANCELLED, 0);
    struct lg_agent old = take_out(a, agent);
    while ((r = withdraw_of(a, index)))
        lg_agents_end(a, NULL, r, LLMGPU_OUTCOME_CANCELLED, 0);
    free_agent(&old);
    lg_scheduler_give(sched_of(a));
    return report(a, &env, 0);
}

static int tell_mail(struct lg_env *env, const llmgpu_agents *a, int32_t agent, int rc)
{
    return rc == LLMGPU_E_LIMIT
               ? lg_fail(env, rc, "limit max_mail: %u messages wait for agent %d", a->params.max_mail, agent)
           : rc == LLMGPU_E_INVALID ? lg_fail(env, rc, "there is no agent %d", agent)
           : rc < 0                 ? lg_fail(env, rc, "no memory for a message")
                                    : 0;
}

static int check_text(struct lg_env *env, const llmgpu_agents *a, size_t len)
{
    return len <= a->params.max_text ? 0
                                     : lg_fail(env, LLMGPU_E_LIMIT, "limit max_text: %zu are more than %u",
                                               len, a->params.max_text);
}

int llmgpu_agents_mail(llmgpu_agents *a, int32_t agent, const char *role, const char *text, size_t len)
{
    if (!a || !text)
        return LLMGPU_E_INVALID;
    struct lg_env env;
    lg_env_child(&env, &a->env);
    int rc = check_text(&env, a, len);
    if (rc == 0 && role)
        rc = check_text(&env, a, strlen(role));
    if (rc == 0) {
        pthread_mutex_lock(&a->lock);
        rc = lg_agents_put_mail(a, agent, role, text, len);
        pthread_mutex_unlock(&a->lock);
        rc = tell_mail(&env, a, agent, rc);
    }
    return report(a, &env, rc);
}

/* ---- requests */

static int check_request(struct lg_env *env, const llmgpu_agents *a, const llmgpu_request *p)
{
    if (p->priority < -MAX_PRIORITY || p->priority > MAX_PRIORITY)
        return lg_fail(env, LLMGPU_E_INVALID, "a priority of %d is not in -16 .. 16", p->priority);
    if (p->owner && strnlen(p->owner, LG_OWNER_NAME) == LG_OWNER_NAME)
        return lg_fail(env, LLMGPU_E_INVALID, "an owner's name has at most %d bytes", LG_OWNER_NAME - 1);
    if (p->tokens ? p->role || p->flags : p->role ? p->flags || !p->text : !p->text && p->len)
        return lg_fail(env, LLMGPU_E_INVALID,
                       "a request is a message, a text or tokens, and flags are a text's");
    return check_text(env, a, p->tokens ? p->n_tokens : p->len);
}

static int copy_tokens(struct lg_env *env, const llmgpu_agents *a, const llmgpu_request *p,
                       struct lg_request *r)
{
    uint32_t n_vocab = a->model->model->hp.n_vocab;
    if (!p->tokens)
        return lg_api_encode(a->model, env, p->text ? p->text : "", p->len, p->flags, &r->tokens,
                             &r->n_tokens);
    for (size_t i = 0; i < p->n_tokens; i++)
        if (p->tokens[i] < 0 || (uint32_t)p->tokens[i] >= n_vocab)
            return lg_fail(env, LLMGPU_E_INVALID, "token %zu is %d, not in 0 .. %u", i, p->tokens[i],
                           n_vocab - 1);
    r->tokens = lg_alloc_array(env, p->n_tokens, sizeof(*r->tokens));
    if (!r->tokens)
        return lg_fail_nomem(env, "a request's tokens", p->n_tokens * sizeof(*r->tokens));
    memcpy(r->tokens, p->tokens, p->n_tokens * sizeof(*r->tokens));
    r->n_tokens = p->n_tokens;
    return 0;
}

static int copy_texts(struct lg_env *env, const llmgpu_agents *a, const llmgpu_request *p,
                      struct lg_request *r)
{
    if (p->role) {
        r->role = lg_strndup(env, p->role, strlen(p->role));
        if (!r->role)
            return lg_fail_nomem(env, "a request's role", strlen(p->role));
    }
    if (p->tokens || !(p->role || a->params.audit_text) || !p->text)
        return 0;
    r->text = lg_strndup(env, p->text, p->len);
    r->text_len = p->len;
    return r->text ? 0 : lg_fail_nomem(env, "a request's text", p->len);
}

/** All of a request that does not need the queue. */
static int make_request(struct lg_env *env, const llmgpu_agents *a, const llmgpu_request *p,
                        struct lg_request *r)
{
    struct timespec ts;
    LG_TRY(check_request(env, a, p));
    if (p->sampler)
        LG_TRY(lg_api_sampler(env, p->sampler, &r->sampler));
    LG_TRY(copy_texts(env, a, p, r));
    if (!p->role)
        LG_TRY(copy_tokens(env, a, p, r));
    clock_gettime(CLOCK_REALTIME, &ts);
    r->asked_unix_ms = (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
    r->has_sampler = p->sampler != NULL;
    r->agent = p->agent;
    r->mail_to = p->mail_to;
    r->max_tokens = p->max_tokens;
    r->max_run_ms = p->max_run_ms;
    return 0;
}

/** Needs the lock. The sentences are not logged: that would call the host. */
static int enqueue(struct lg_env *env, llmgpu_agents *a, const llmgpu_request *p, const struct lg_request *r,
                   uint64_t *id)
{
    uint64_t now = lg_now_ns();
    if ((p->agent != LG_ANYBODY && !is_agent(a, p->agent)) ||
        (p->mail_to != LG_ANYBODY && !is_agent(a, p->mail_to)))
        return lg_note(env, LLMGPU_E_INVALID, "there is no agent %d, or no agent %d", p->agent, p->mail_to);
    struct lg_request *place = lg_requests_place(&a->requests);
    if (!place)
        return lg_note(env, LLMGPU_E_LIMIT, "limit max_requests: there are %u", a->params.max_requests);
    struct lg_owner *owner = lg_owners_get(&a->requests.owners, p->owner ? p->owner : "", now);
    if (!owner)
        return lg_note(env, LLMGPU_E_LIMIT, "limit max_owners: %u have something to do",
                       a->params.max_owners);
    if (owner->quota.max_queued && owner->n_queued >= owner->quota.max_queued)
        return lg_note(env, LLMGPU_E_LIMIT, "limit max_queued: %u requests of \"%s\" wait", owner->n_queued,
                       owner->name);
    *place = *r;
    place->expires_ns = p->max_wait_ms ? now + p->max_wait_ms * UINT64_C(1000000) : UINT64_MAX;
    lg_requests_add(&a->requests, place, owner, p->priority, now);
    if (id)
        *id = place->id;
    return 0;
}

static int submit(struct lg_env *env, llmgpu_agents *a, const llmgpu_request *from, uint64_t *id)
{
    llmgpu_request p = request_defaults;
    struct lg_request r = {0};
    LG_TRY(lg_api_params_in(env, &p, sizeof(p), REQUEST_LEAST, from));
    int rc = make_request(env, a, &p, &r);
    pthread_mutex_lock(&a->lock);
    if (rc == 0)
        rc = enqueue(env, a, &p, &r, id);
    a->requests.n_refused += rc == LLMGPU_E_LIMIT;
    if (rc < 0)
        lg_requests_free(&a->requests, &r);
    pthread_mutex_unlock(&a->lock);
    return rc;
}

int llmgpu_agents_submit(llmgpu_agents *a, const llmgpu_request *request, uint64_t *id)
{
    if (!a || !request)
        return LLMGPU_E_INVALID;
    struct lg_env env;
    lg_env_child(&env, &a->env);
    int rc = submit(&env, a, request, id);
    if (rc == 0)
        wake(a);
    return report(a, &env, rc);
}

int llmgpu_agents_cancel(llmgpu_agents *a, uint64_t id)
{
    if (!a)
        return LLMGPU_E_INVALID;
    struct lg_env env;
    lg_env_child(&env, &a->env);
    pthread_mutex_lock(&a->lock);
    struct lg_request *r = lg_requests_find(&a->requests, id);
    bool queued = r && r->state == LG_REQUEST_QUEUED;
    if (queued)
        lg_requests_withdraw(&a->requests, r);
    else if (r)
        atomic_store(&r->cancelled, true);
    pthread_mutex_unlock(&a->lock);
    if (queued)
        lg_agents_end(a, NULL, r, LLMGPU_OUTCOME_CANCELLED, 0);
    wake(a);
    return report(
        a, &env, r ? 0 : lg_fail(&env, LLMGPU_E_INVALID, "there is no request %llu", (unsigned long long)id));
}

int llmgpu_agents_set_quota(llmgpu_agents *a, const char *owner, uint32_t tokens_per_minute,
                            uint32_t max_active, uint32_t max_queued)
{
    if (!a)
        return LLMGPU_E_INVALID;
    struct lg_env env;
    struct lg_quota quota = {tokens_per_minute, max_active, max_queued};
    struct lg_owner *who = NULL;
    uint64_t now = lg_now_ns();
    lg_env_child(&env, &a->env);
    if (owner && strnlen(owner, LG_OWNER_NAME) == LG_OWNER_NAME)
        return report(
            a, &env,
            lg_fail(&env, LLMGPU_E_INVALID, "an owner's name has at most %d bytes", LG_OWNER_NAME - 1));
    pthread_mutex_lock(&a->lock);
    if (owner)
        who = lg_owners_get(&a->requests.owners, owner, now);
    if (who || !owner)
        lg_owners_set_quota(&a->requests.owners, who, &quota, now);
    pthread_mutex_unlock(&a->lock);
    wake(a);
    return report(a, &env,
                  who || !owner ? 0
                                : lg_fail(&env, LLMGPU_E_LIMIT, "limit max_owners: there are %u",
                                          a->params.max_owners));
}

/* ---- results */

static llmgpu_result make_result(const struct lg_request *r)
{
    llmgpu_result result = {
        .id = r->id,
        .agent = r->begun_ns ? r->agent : LG_ANYBODY,
        .outcome = r->outcome,
        .status = r->status,
        .mail_status = r->mail_status,
        .n_prompt = r->n_prompt,
        .n_generated = r->n_generated,
        .len = r->len,
        .wait_us = ((r->begun_ns ? r->begun_ns : r->ended_ns) - r->asked_ns) / 1000,
        .first_us = r->first_ns ? (r->first_ns - r->asked_ns) / 1000 : 0,
        .whole_us = (r->ended_ns - r->asked_ns) / 1000,
    };
    memcpy(result.owner, r->name, sizeof(result.owner));
    return result;
}

/** Needs the lock. */
static bool has_more(llmgpu_agents *a, uint64_t id)
{
    return id ? lg_requests_find(&a->requests, id) != NULL : a->requests.n_queued + a->requests.n_active > 0;
}

/** Needs the lock. */
static int take(llmgpu_agents *a, uint64_t id, llmgpu_result *out, char *text, size_t capacity)
{
    struct lg_request *r = lg_requests_result(&a->requests, id);
    if (!r)
        return has_more(a, id) ? LLMGPU_TAKE_AGAIN : LLMGPU_TAKE_NOTHING;
    *out = make_result(r);
    if (r->len > capacity)
        return LLMGPU_E_RANGE;
    if (r->len)
        memcpy(text, r->answer, r->len);
    if (r->len < capacity)
        text[r->len] = '\0';
    lg_requests_free(&a->requests, r);
    return LLMGPU_TAKEN;
}

int llmgpu_agents_take(llmgpu_agents *a, uint64_t id, llmgpu_result *out, size_t size, char *text,
                       size_t capacity)
{
    llmgpu_result result = {0};
    if (!a || (!text && capacity))
        return LLMGPU_E_INVALID;
    LG_TRY(lg_api_info_out(out, size, &result, sizeof(result), LG_SIZE_TO(llmgpu_result, whole_us)));
    pthread_mutex_lock(&a->lock);
    int rc = take(a, id, &result, text, capacity);
    pthread_mutex_unlock(&a->lock);
    lg_api_info_out(out, size, &result, sizeof(result), LG_SIZE_TO(llmgpu_result, whole_us));
    return rc;
}

/** Whether there is something to tell of a request, or of any. Needs the lock. */
static bool has_come(llmgpu_agents *a, uint64_t id)
{
    return lg_requests_result(&a->requests, id) || !has_more(a, id);
}

/** Sleeps until a result comes, or a moment. */
static void sleep_until(llmgpu_agents *a, uint64_t id, uint64_t until_ns)
{
    pthread_mutex_lock(&a->lock);
    if (!has_come(a, id))
        lg_cond_wait(&a->came, &a->lock, until_ns);
    pthread_mutex_unlock(&a->lock);
}

static bool look(llmgpu_agents *a, uint64_t id)
{
    pthread_mutex_lock(&a->lock);
    bool come = has_come(a, id);
    pthread_mutex_unlock(&a->lock);
    return come;
}

static int wait_for(llmgpu_agents *a, uint64_t id, uint64_t until_ns)
{
    struct lg_scheduler *sched = sched_of(a);
    for (;;) {
        uint64_t now = lg_now_ns(), next = now + LOOK_NS < until_ns ? now + LOOK_NS : until_ns;
        if (look(a, id))
            return 0;
        if (now >= until_ns)
            return LLMGPU_E_TIMEOUT;
        int rc = lg_scheduler_work(sched, &next);
        LG_TRY(rc);
        if (rc == 0)
            sleep_until(a, id, next);
    }
}

int llmgpu_agents_wait(llmgpu_agents *a, uint64_t id, uint64_t timeout_us)
{
    if (!a)
        return LLMGPU_E_INVALID;
    struct lg_env env;
    uint64_t now = lg_now_ns();
    lg_env_child(&env, &a->env);
    int rc = wait_for(a, id, timeout_us < (UINT64_MAX - now) / 1000 ? now + timeout_us * 1000 : UINT64_MAX);
    if (rc == LLMGPU_E_BUSY)
        lg_fail(&env, rc, "called from within a callback");
    else if (rc == LLMGPU_E_TIMEOUT)
        lg_fail(&env, rc, "no result came in the time given");
    return report(a, &env, rc);
}

/* ---- counters */

int llmgpu_agents_get_stats(const llmgpu_agents *handle, llmgpu_agents_stats *out, size_t size)
{
    if (!handle)
        return LLMGPU_E_INVALID;
    llmgpu_agents *a = (llmgpu_agents *)handle;
    const struct lg_requests *q = &a->requests;
    pthread_mutex_lock(&a->lock);
    llmgpu_agents_stats stats = {
        .n_agents = a->n_agents,
        .n_queued = q->n_queued,
        .n_active = q->n_active,
        .n_results = q->n_ended,
        .n_owners = q->owners.n,
        .submitted = q->n_asked,
        .refused = q->n_refused,
        .prompt_tokens = q->n_prompt,
        .generated_tokens = q->n_generated,
        .mail_delivered = a->n_delivered,
        .mail_refused = a->n_refused,
        .waiting = lg_api_latency(&q->waiting),
        .first = lg_api_latency(&q->first),
        .whole = lg_api_latency(&q->whole),
    };
    for (uint32_t i = 0; i < LG_MAX_SLOTS; i++)
        stats.n_mail += a->list[i].n_mail;
    memcpy(stats.outcomes, q->n_outcomes, sizeof(stats.outcomes));
    pthread_mutex_unlock(&a->lock);
    return lg_api_info_out(out, size, &stats, sizeof(stats), LG_SIZE_TO(llmgpu_agents_stats, whole));
}
