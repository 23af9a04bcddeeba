/* SPDX-License-Identifier: MIT
 *
 * What agents do between two pieces of work: begin requests, take what was generated, end them.
 */
#include <string.h>

#include "api/agents.h"
#include "util/checked.h"
#include "util/clock.h"

/** Tokens of a session, and those that were fed to it and given by it so far. */
struct counts {
    uint32_t n_tokens, n_fed, n_given;
};

static struct counts count(const llmgpu_session *s)
{
    const struct lg_session *in = &s->session;
    pthread_mutex_lock(&in->sched->lock);
    struct counts counts = {
        .n_tokens = in->n_visible,
        .n_fed = in->n_prompt,
        .n_given = in->n_generated - (in->n_tokens - in->n_visible),
    };
    pthread_mutex_unlock(&in->sched->lock);
    return counts;
}

/* ---- mail */

void lg_agents_free_mail(llmgpu_agents *a, struct lg_mail *mail)
{
    lg_free(&a->env, mail->role);
    lg_free(&a->env, mail->text);
    *mail = (struct lg_mail){0};
}

int lg_agents_put_mail(llmgpu_agents *a, int32_t index, const char *role, const char *text, size_t len)
{
    struct lg_agent *agent = index >= 0 && index < LG_MAX_SLOTS ? &a->list[index] : NULL;
    int rc = !agent || !agent->session             ? LLMGPU_E_INVALID
             : agent->n_mail == a->params.max_mail ? LLMGPU_E_LIMIT
                                                   : 0;
    struct lg_mail mail = {.len = len};
    if (rc == 0)
        mail.text = lg_strndup(&a->env, text, len);
    if (rc == 0 && role)
        mail.role = lg_strndup(&a->env, role, strlen(role));
    if (rc == 0 && (!mail.text || (role && !mail.role)))
        rc = LLMGPU_E_NOMEM;
    if (rc < 0) {
        lg_agents_free_mail(a, &mail);
        a->n_refused++;
        return rc;
    }
    agent->mail[(agent->first_mail + agent->n_mail++) % a->params.max_mail] = mail;
    return 0;
}

static bool take_mail(llmgpu_agents *a, struct lg_agent *agent, struct lg_mail *mail)
{
    pthread_mutex_lock(&a->lock);
    bool any = agent->n_mail > 0;
    if (any) {
        *mail = agent->mail[agent->first_mail];
        agent->mail[agent->first_mail] = (struct lg_mail){0};
        agent->first_mail = (agent->first_mail + 1) % a->params.max_mail;
        agent->n_mail--;
        a->n_delivered++;
    }
    pthread_mutex_unlock(&a->lock);
    return any;
}

/** Puts what has come in front of a request. */
static int deliver(llmgpu_agents *a, struct lg_agent *agent, const struct lg_request *r)
{
    struct lg_mail mail;
    int rc = 0;
    while (rc == 0 && take_mail(a, agent, &mail)) {
        rc = r->role ? llmgpu_chat_add(agent->chat, mail.role ? mail.role : "user", mail.text)
                     : llmgpu_session_feed_text(agent->session, mail.text, mail.len, 0);
        lg_agents_free_mail(a, &mail);
    }
    return rc;
}

/* ---- beginning */

/** Goes back to so many tokens and messages, as far as there are more. */
static void go_back(struct lg_agent *agent, uint32_t n_tokens, uint32_t n_messages)
{
    uint32_t n = count(agent->session).n_tokens;
    llmgpu_chat_truncate(agent->chat, lg_min_u32(n_messages, llmgpu_chat_count(agent->chat)));
    if (n_tokens == 0)
        llmgpu_session_reset(agent->session);
    else
        llmgpu_session_rewind(agent->session, lg_min_u32(n_tokens, n));
}

static int feed(llmgpu_agents *a, struct lg_agent *agent, const struct lg_request *r)
{
    llmgpu_session *s = agent->session;
    lg_session_set_deadline(&s->session, r->max_run_ms);
    LG_TRY(lg_session_set_sampler(&s->session, r->has_sampler ? &r->sampler : &agent->sampler));
    LG_TRY(deliver(a, agent, r));
    if (r->role) {
        LG_TRY(llmgpu_chat_add(agent->chat, r->role, r->text));
        LG_TRY(llmgpu_chat_feed(agent->chat, s, LLMGPU_CHAT_ANSWER | LLMGPU_CHAT_FALLBACK));
    } else
        LG_TRY(llmgpu_session_feed(s, r->tokens, r->n_tokens));
    return lg_api_answer_limit(s, r->max_tokens ? r->max_tokens : UINT32_MAX, r->max_tokens > 0);
}

static void charge(llmgpu_agents *a, struct lg_request *r, uint32_t n_prompt, uint32_t n_generated)
{
    pthread_mutex_lock(&a->lock);
    lg_requests_charge(r, n_prompt, n_generated, lg_now_ns());
    pthread_mutex_unlock(&a->lock);
}

/** Has an agent begin a request; 0, or why it cannot. */
static int begin(llmgpu_agents *a, struct lg_agent *agent, struct lg_request *r)
{
    agent->request = r;
    if (!agent->keep)
        go_back(agent, agent->n_base, agent->n_base_messages);
    lg_session_take_cancel(&agent->session->session); // what was cancelled before is not this
    struct counts before = count(agent->session);
    agent->n_before = before.n_tokens;
    agent->n_messages = llmgpu_chat_count(agent->chat);
    int rc = feed(a, agent, r);
    struct counts fed = count(agent->session);
    agent->n_given = fed.n_given;
    charge(a, r, fed.n_fed - before.n_fed, 0);
    return rc;
}

/* ---- ending */

static const struct {
    int status, outcome;
} outcomes[] = {
    {LLMGPU_E_CONTEXT_FULL, LLMGPU_OUTCOME_FULL},
    {LLMGPU_E_CANCELLED, LLMGPU_OUTCOME_CANCELLED},
    {LLMGPU_E_TIMEOUT, LLMGPU_OUTCOME_TIMEOUT},
};

static int outcome_of(const struct lg_agent *agent, int rc)
{
    const struct lg_session *s = &agent->session->session;
    for (size_t i = 0; i < sizeof(outcomes) / sizeof(outcomes[0]); i++)
        if (outcomes[i].status == rc)
            return outcomes[i].outcome;
    if (rc < 0)
        return LLMGPU_OUTCOME_FAILED;
    pthread_mutex_lock(&s->sched->lock);
    bool cut = s->remaining == 0 && !s->closed;
    pthread_mutex_unlock(&s->sched->lock);
    return cut ? LLMGPU_OUTCOME_LENGTH : LLMGPU_OUTCOME_DONE;
}

static bool is_whole(int outcome)
{
    return outcome == LLMGPU_OUTCOME_DONE || outcome == LLMGPU_OUTCOME_LENGTH;
}

/** Leaves the agent's memory as it is to be. */
static void remember(struct lg_agent *agent, const struct lg_request *r, int outcome)
{
    lg_session_set_deadline(&agent->session->session, 0);
    bool whole = is_whole(outcome);
    if (whole && agent->keep && r->role)
        whole = llmgpu_chat_add(agent->chat, "assistant", r->answer ? r->answer : "") == 0;
    if (!whole)
        go_back(agent, agent->n_before, agent->n_messages);
}

static void audit(const llmgpu_agents *a, const struct lg_request *r, int outcome, int status)
{
    uint64_t now = lg_now_ns(), begun = r->begun_ns ? r->begun_ns : now;
    bool text = a->params.audit_text;
    llmgpu_audit what = {
        .owner = r->name,
        .id = r->id,
        .model = a->model->identity.fingerprint,
        .asked_unix_ms = r->asked_unix_ms,
        .wait_us = (begun - r->asked_ns) / 1000,
        .run_us = (now - begun) / 1000,
        .n_prompt = r->n_prompt,
        .n_generated = r->n_generated,
        .outcome = outcome,
        .status = status,
        .agent = r->begun_ns ? r->agent : LG_ANYBODY,
        .prompt = text ? r->text : NULL,
        .prompt_len = text ? r->text_len : 0,
        .answer = text ? r->answer : NULL,
        .answer_len = text ? r->len : 0,
    };
    if (a->params.audit)
        a->params.audit(a->params.audit_user, &what);
}

void lg_agents_end(llmgpu_agents *a, struct lg_agent *agent, struct lg_request *r, int outcome, int status)
{
    if (agent)
        remember(agent, r, outcome);
    audit(a, r, outcome, status);
    pthread_mutex_lock(&a->lock);
    if (agent)
        agent->request = NULL;
    if (r->mail_to >= 0 && is_whole(outcome))
        r->mail_status = lg_agents_put_mail(a, r->mail_to, NULL, r->answer ? r->answer : "", r->len);
    lg_requests_end(&a->requests, r, outcome, status, lg_now_ns());
    pthread_cond_broadcast(&a->came);
    pthread_mutex_unlock(&a->lock);
    if (a->params.notify)
        a->params.notify(a->params.notify_user);
}

/* ---- answering */

static int append(llmgpu_agents *a, struct lg_request *r, const char *text, size_t len)
{
    size_t need, cap;
    if (!lg_add_size(r->len, len + 1, &need) || !lg_mul_size(need, 2, &cap))
        return LLMGPU_E_NOMEM;
    if (need > r->cap) {
        char *answer = lg_resize(&a->env, r->answer, cap);
        if (!answer)
            return LLMGPU_E_NOMEM;
        r->answer = answer;
        r->cap = cap;
    }
    memcpy(r->answer + r->len, text, len);
    r->len += len;
    r->answer[r->len] = '\0';
    return 0;
}

/** Takes what was generated; LLMGPU_AGAIN, LLMGPU_DONE or a failure. */
static int take(llmgpu_agents *a, struct lg_agent *agent)
{
    struct lg_request *r = agent->request;
    const char *text;
    size_t len;
    int rc;
    while ((rc = llmgpu_session_next_text(agent->session, &text, &len)) == LLMGPU_TOKEN)
        LG_TRY(append(a, r, text, len));
    uint32_t n = count(agent->session).n_given;
    if (n > agent->n_given)
        charge(a, r, 0, n - agent->n_given);
    agent->n_given = n;
    return rc;
}

/** Ends what an agent was to answer, or answers. */
static void end(llmgpu_agents *a, struct lg_agent *agent, int rc)
{
    int outcome = outcome_of(agent, rc);
    lg_agents_end(a, agent, agent->request, outcome, outcome == LLMGPU_OUTCOME_FAILED ? rc : 0);
}

/** Has an idle agent begin the next request; false when there is none for anybody. */
static bool begin_next(llmgpu_agents *a, uint64_t *next)
{
    uint64_t idle = 0, shared = 0;
    for (uint32_t i = 0; i < LG_MAX_SLOTS; i++) {
        const struct lg_agent *agent = &a->list[i];
        idle |= (uint64_t)(agent->session && !agent->request) << i;
        shared |= (uint64_t)agent->shared << i;
    }
    pthread_mutex_lock(&a->lock);
    struct lg_request *r = lg_requests_begin(&a->requests, idle, shared, lg_now_ns(), next);
    pthread_mutex_unlock(&a->lock);
    if (!r)
        return false;
    int rc = begin(a, &a->list[r->agent], r);
    if (rc < 0)
        end(a, &a->list[r->agent], rc);
    return true;
}

/** True when an agent's request has ended. */
static bool go_on(llmgpu_agents *a, struct lg_agent *agent)
{
    int rc = atomic_load(&agent->request->cancelled) ? LLMGPU_E_CANCELLED : take(a, agent);
    if (rc != LLMGPU_AGAIN)
        end(a, agent, rc);
    return rc != LLMGPU_AGAIN;
}

static struct lg_request *expired(llmgpu_agents *a, uint64_t *next)
{
    pthread_mutex_lock(&a->lock);
    struct lg_request *r = lg_requests_expire(&a->requests, lg_now_ns(), next);
    pthread_mutex_unlock(&a->lock);
    return r;
}

uint64_t lg_agents_tend(struct lg_tender *tender)
{
    llmgpu_agents *a = (llmgpu_agents *)((char *)tender - offsetof(llmgpu_agents, tender));
    struct lg_request *r;
    uint64_t next = UINT64_MAX;
    while ((r = expired(a, &next)))
        lg_agents_end(a, NULL, r, LLMGPU_OUTCOME_EXPIRED, 0);
    for (bool ended = true; ended;) {
        ended = false;
        while (begin_next(a, &next)) {
        }
        for (uint32_t i = 0; i < LG_MAX_SLOTS; i++)
            ended |= a->list[i].request && go_on(a, &a->list[i]);
    }
    return next;
}
