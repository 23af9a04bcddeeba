/* SPDX-License-Identifier: MIT
 *
 * Agents, on the device that the first argument names: in which order requests are served, what bounds them,
 * how they end, what agents remember, and that fifty at once answer what each answers alone.
 */
#include "api.h"
#include "api/handles.h"
#include "heap.h"
#include "runtime/requests.h"

enum { N_FIFTY = 50, N_ANSWER = 12, TEXT = 4096 };

/* ---- the parts, on made-up data */

static void test_latency(void)
{
    static struct lg_latency l;
    struct test_rng rng = {3};
    static uint64_t values[5000];
    REQUIRE_INT(lg_latency_percentile(&l, 50), ==, 0);
    for (uint64_t i = 1; i <= 31; i++)
        lg_latency_add(&l, i);
    REQUIRE_INT(lg_latency_percentile(&l, 50), ==, 16); // small ones exactly
    REQUIRE_INT(lg_latency_percentile(&l, 100), ==, 31);
    REQUIRE_INT(lg_latency_percentile(&l, 0), ==, 1);
    memset(&l, 0, sizeof(l));
    for (int i = 0; i < 5000; i++) {
        values[i] = (uint64_t)test_randu(&rng, 0, 1 << 30) >> test_randu(&rng, 0, 30);
        lg_latency_add(&l, values[i]);
    }
    qsort(values, 5000, sizeof(*values), compare_u64);
    for (int p = 1; p <= 100; p++) {
        uint64_t exact = values[50 * p - 1], found = lg_latency_percentile(&l, (unsigned)p);
        REQUIRE_INT(found, >=, exact);
        REQUIRE_INT(found, <=, exact + exact / 32);
    }
    lg_latency_add(&l, UINT64_MAX);
    REQUIRE(l.max == UINT64_MAX && lg_latency_percentile(&l, 100) == UINT64_MAX);
}

#define SECOND UINT64_C(1000000000)

static void test_owners(void)
{
    struct lg_env env;
    struct test_heap heap;
    struct lg_owners owners = {0};
    test_heap_env(&env, &heap, 0);
    REQUIRE_INT(lg_owners_init(&owners, &env, 2), ==, 0);
    struct lg_owner *a = lg_owners_get(&owners, "a", SECOND), *b = lg_owners_get(&owners, "b", SECOND);
    a->n_active = b->n_active = 1;
    REQUIRE(a && b && a != b && lg_owners_get(&owners, "a", SECOND) == a);
    REQUIRE(!lg_owners_get(&owners, "c", SECOND)); // both have something to do
    struct lg_quota quota = {.tokens_per_minute = 60};
    lg_owners_set_quota(&owners, NULL, &quota, SECOND);
    REQUIRE_INT(lg_owner_free_at(a, SECOND), ==, SECOND);
    lg_owner_charge(a, 59, SECOND);
    REQUIRE_INT(lg_owner_free_at(a, SECOND), ==, SECOND);
    lg_owner_charge(a, 11, SECOND); // ten too many: one comes back each second
    uint64_t at = lg_owner_free_at(a, SECOND);
    REQUIRE(at > 11 * SECOND - SECOND / 100 && at < 11 * SECOND + SECOND / 100);
    REQUIRE_INT(lg_owner_free_at(a, at + SECOND / 100), ==, at + SECOND / 100);
    a->n_active = 0;
    REQUIRE(!lg_owners_get(&owners, "c", 12 * SECOND)); // its debts would be forgotten
    REQUIRE(lg_owners_get(&owners, "c", 90 * SECOND) == a);
    quota = (struct lg_quota){.max_active = 1};
    lg_owners_set_quota(&owners, b, &quota, 90 * SECOND);
    REQUIRE(lg_owner_free_at(b, 90 * SECOND) == UINT64_MAX);
    lg_owners_finish(&owners, &env);
    REQUIRE_INT(heap.live, ==, 0);
}

/** Requests of growing age and any priority: the order is that of the policy, and nobody waits longer than it
 * says. */
static void test_ageing(void)
{
    enum { N = 200, AGEING_S = 10 };
    static struct lg_requests q;
    struct lg_env env;
    struct test_heap heap;
    struct test_rng rng = {9};
    int priorities[N + 1];
    uint64_t next = UINT64_MAX;
    test_heap_env(&env, &heap, 0);
    REQUIRE_INT(lg_requests_init(&q, &env, N, 1), ==, 0);
    q.ageing_ns = AGEING_S * SECOND;
    struct lg_owner *owner = lg_owners_get(&q.owners, "", 0);
    for (int i = 0; i < N; i++) {
        struct lg_request *r = lg_requests_place(&q);
        priorities[i + 1] = (int)test_randu(&rng, 0, 32) - 16;
        r->agent = LG_ANYBODY;
        r->expires_ns = UINT64_MAX;
        lg_requests_add(&q, r, owner, priorities[i + 1], (uint64_t)i * SECOND);
    }
    REQUIRE(!lg_requests_place(&q));
    int64_t last = INT64_MIN;
    for (int i = 0; i < N; i++) {
        struct lg_request *r = lg_requests_begin(&q, 6, 12, N * SECOND, &next);
        REQUIRE_INT(r->agent, ==, 2); // the only one that is idle and serves anybody
        int64_t due = (int64_t)r->id - 1 - (int64_t)AGEING_S * priorities[r->id];
        REQUIRE_INT(due, >=, last);
        last = due;
        lg_requests_end(&q, r, 0, 0, N * SECOND);
    }
    REQUIRE(!lg_requests_begin(&q, 6, 12, N * SECOND, &next));
    REQUIRE_INT(q.n_ended, ==, N);
    lg_requests_finish(&q);
    REQUIRE_INT(heap.live, ==, 0);
}

/* ---- what tests share */

static llmgpu_agents *make(struct api *a, const llmgpu_agents_params *params)
{
    llmgpu_agents *agents;
    REQUIRE_INT(llmgpu_agents_create(&agents, a->model, params), ==, 0);
    return agents;
}

static llmgpu_agents_params make_params(void)
{
    llmgpu_agents_params p;
    REQUIRE_INT(llmgpu_agents_params_init(&p, sizeof(p)), ==, 0);
    return p;
}

/** A session that is nobody's but the agent's. */
static int add(struct api *a, llmgpu_agents *agents, uint64_t seed, bool keep)
{
    llmgpu_agent_params p;
    llmgpu_session *s = api_session(a, 256, seed);
    REQUIRE_INT(llmgpu_agent_params_init(&p, sizeof(p)), ==, 0);
    p.keep = keep;
    int index = llmgpu_agents_add(agents, s, &p);
    REQUIRE_INT(index, >=, 0);
    llmgpu_session_free(s);
    return index;
}

/** Asks with the prompt's tokens, of which the first is `first`. */
static llmgpu_request make_request(struct api *a, int32_t first)
{
    static int32_t tokens[64][128];
    static int n;
    llmgpu_request r;
    REQUIRE_INT(llmgpu_request_init(&r, sizeof(r)), ==, 0);
    int32_t *mine = tokens[n++ % 64];
    memcpy(mine, a->ids, a->n * sizeof(*mine));
    mine[0] = first;
    r.tokens = mine;
    r.n_tokens = a->n;
    r.max_tokens = N_ANSWER;
    return r;
}

static uint64_t submit(llmgpu_agents *agents, const llmgpu_request *r)
{
    uint64_t id;
    int rc = llmgpu_agents_submit(agents, r, &id);
    if (rc < 0)
        fprintf(stderr, "%s\n", llmgpu_agents_error(agents));
    REQUIRE_INT(rc, ==, 0);
    return id;
}

/** Made-up vocabularies have tokens with a NUL. */
static void show_nul(char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        text[i] = text[i] ? text[i] : '?';
}

static llmgpu_result take(llmgpu_agents *agents, char *text)
{
    llmgpu_result r;
    REQUIRE_INT(llmgpu_agents_wait(agents, 0, UINT64_MAX), ==, 0);
    REQUIRE_INT(llmgpu_agents_take(agents, 0, &r, sizeof(r), text, TEXT), ==, LLMGPU_TAKEN);
    show_nul(text, r.len);
    return r;
}

static llmgpu_agents_stats stats_of(const llmgpu_agents *agents)
{
    llmgpu_agents_stats s;
    REQUIRE_INT(llmgpu_agents_get_stats(agents, &s, sizeof(s)), ==, 0);
    return s;
}

static void refused(llmgpu_agents *agents, int rc, const char *word)
{
    REQUIRE_INT(rc, ==, LLMGPU_E_LIMIT);
    REQUIRE(strstr(llmgpu_agents_error(agents), word));
}

static int add_text(void *user, const char *text, size_t len)
{
    char *end = (char *)user + strlen(user);
    REQUIRE(end + len < (char *)user + TEXT);
    memcpy(end, text, len + 1);
    show_nul(end, len);
    return 0;
}

/** What a session answers to that request when nobody else is there. */
static void answer_alone(struct api *a, llmgpu_session *s, const llmgpu_request *r, char *text)
{
    (void)a;
    text[0] = '\0';
    REQUIRE_INT(llmgpu_session_feed(s, r->tokens, r->n_tokens), ==, 0);
    REQUIRE_INT(llmgpu_session_generate(s, r->max_tokens, add_text, text), ==, 0);
}

/* ---- fifty at once */

static void test_fifty(const char *device)
{
    static char alone[N_FIFTY][TEXT], text[TEXT];
    static bool seen[N_FIFTY];
    struct api a;
    llmgpu_request requests[N_FIFTY];
    llmgpu_sampler_params samplers[N_FIFTY];
    api_open_tiny(&a, device, NULL);
    for (int i = 0; i < N_FIFTY; i++) {
        llmgpu_session *s = api_session(&a, 256, GREEDY);
        requests[i] = make_request(&a, i);
        REQUIRE_INT(llmgpu_sampler_params_init(&samplers[i], sizeof(samplers[i])), ==, 0);
        samplers[i].temperature = 1;
        samplers[i].seed = (uint64_t)i;
        requests[i].sampler = &samplers[i];
        REQUIRE_INT(llmgpu_session_set_sampler(s, &samplers[i]), ==, 0);
        answer_alone(&a, s, &requests[i], alone[i]);
        llmgpu_session_free(s);
    }
    REQUIRE(strcmp(alone[0], alone[1]) != 0);
    llmgpu_agents *agents = make(&a, NULL);
    for (int i = 0; i < N_FIFTY; i++)
        REQUIRE_INT(add(&a, agents, DRAWN, false), ==, i);
    for (int round = 0; round < 2; round++) {
        uint64_t first = 0;
        memset(seen, 0, sizeof(seen));
        for (int i = 0; i < N_FIFTY; i++) {
            uint64_t id = submit(agents, &requests[i]);
            first = i ? first : id;
        }
        REQUIRE_INT(llmgpu_context_step(a.ctx, 1), >, 0);
        REQUIRE_INT(stats_of(agents).n_active, ==, N_FIFTY); // all at once
        for (int i = 0; i < N_FIFTY; i++) {
            llmgpu_result r = take(agents, text);
            uint64_t which = r.id - first;
            REQUIRE(which < N_FIFTY && !seen[which]);
            seen[which] = true;
            REQUIRE_INT(r.outcome, ==, LLMGPU_OUTCOME_LENGTH);
            REQUIRE_INT(r.n_prompt, ==, a.n);
            REQUIRE_INT(r.n_generated, ==, N_ANSWER);
            REQUIRE(r.first_us > 0 && r.first_us <= r.whole_us && r.wait_us <= r.first_us);
            REQUIRE_STR(text, alone[which]);
        }
    }
    llmgpu_agents_stats s = stats_of(agents);
    REQUIRE_INT(s.submitted, ==, 2 * N_FIFTY);
    REQUIRE_INT(s.outcomes[LLMGPU_OUTCOME_LENGTH], ==, 2 * N_FIFTY);
    REQUIRE_INT(s.generated_tokens, ==, 2 * N_FIFTY * N_ANSWER);
    REQUIRE_INT(s.prompt_tokens, ==, 2 * N_FIFTY * a.n);
    REQUIRE(s.whole.n == 2 * N_FIFTY && s.whole.p50_us <= s.whole.p95_us && s.whole.p99_us <= s.whole.max_us);
    REQUIRE_INT(llmgpu_agents_take(agents, 0, &(llmgpu_result){0}, sizeof(llmgpu_result), NULL, 0), ==,
                LLMGPU_TAKE_NOTHING);
    llmgpu_agents_free(agents);
    api_close(&a);
}

/* ---- order and bounds */

static void test_order(struct api *a)
{
    static const int priorities[] = {0, -3, 5, 5, 16, -16};
    static const int order[] = {4, 2, 3, 0, 1, 5};
    uint64_t ids[6];
    llmgpu_agents *agents = make(a, NULL);
    int first = add(a, agents, GREEDY, false), second = add(a, agents, GREEDY, false);
    for (int i = 0; i < 6; i++) {
        llmgpu_request r = make_request(a, i);
        r.priority = priorities[i];
        r.agent = second;
        ids[i] = submit(agents, &r);
    }
    char text[TEXT];
    llmgpu_result result;
    for (int i = 0; i < 6; i++) {
        result = take(agents, text);
        REQUIRE_INT(result.id, ==, ids[order[i]]);
        REQUIRE_INT(result.agent, ==, second); // the other one had nothing to do all the time
    }
    // One by its number, however many came before.
    llmgpu_request r = make_request(a, 1);
    ids[0] = submit(agents, &r);
    ids[1] = submit(agents, &r);
    REQUIRE_INT(llmgpu_agents_take(agents, ids[1], &result, sizeof(result), text, TEXT), ==,
                LLMGPU_TAKE_AGAIN);
    REQUIRE_INT(llmgpu_agents_wait(agents, ids[1], UINT64_MAX), ==, 0);
    REQUIRE_INT(llmgpu_agents_take(agents, ids[1], &result, sizeof(result), text, 1), ==, LLMGPU_E_RANGE);
    REQUIRE_INT(llmgpu_agents_take(agents, ids[1], &result, sizeof(result), text, result.len), ==,
                LLMGPU_TAKEN);
    REQUIRE_INT(result.id, ==, ids[1]);
    REQUIRE_INT(llmgpu_agents_take(agents, ids[1], &result, sizeof(result), text, TEXT), ==,
                LLMGPU_TAKE_NOTHING);
    REQUIRE_INT(take(agents, text).id, ==, ids[0]);
    REQUIRE_INT(llmgpu_agents_remove(agents, first), ==, 0);
    llmgpu_agents_free(agents);
}

static void test_bounds(struct api *a)
{
    llmgpu_agents_params p = make_params();
    p.max_requests = 5;
    p.max_owners = 2;
    p.max_mail = 2;
    p.max_text = 200;
    llmgpu_agents *agents = make(a, &p);
    int agent = add(a, agents, GREEDY, false);
    llmgpu_request r = make_request(a, 1), long_one = make_request(a, 1);
    char text[TEXT];
    long_one.tokens = NULL;
    long_one.text = text;
    long_one.len = 201;
    refused(agents, llmgpu_agents_submit(agents, &long_one, NULL), "max_text");
    refused(agents, llmgpu_agents_mail(agents, agent, NULL, text, 201), "max_text");
    REQUIRE_INT(llmgpu_agents_set_quota(agents, "guest", 0, 0, 1), ==, 0);
    r.owner = "guest";
    submit(agents, &r);
    refused(agents, llmgpu_agents_submit(agents, &r, NULL), "max_queued");
    r.owner = NULL;
    submit(agents, &r);
    r.owner = "third";
    refused(agents, llmgpu_agents_submit(agents, &r, NULL), "max_owners");
    refused(agents, llmgpu_agents_set_quota(agents, "third", 1, 1, 1), "max_owners");
    r.owner = NULL;
    for (int i = 0; i < 3; i++)
        submit(agents, &r);
    refused(agents, llmgpu_agents_submit(agents, &r, NULL), "max_requests");
    REQUIRE_INT(llmgpu_agents_mail(agents, agent, NULL, "a", 1), ==, 0);
    REQUIRE_INT(llmgpu_agents_mail(agents, agent, "tool", "b", 1), ==, 0);
    refused(agents, llmgpu_agents_mail(agents, agent, NULL, "c", 1), "max_mail");
    // Results hold their places until they are taken.
    REQUIRE_INT(llmgpu_context_step(a->ctx, UINT32_MAX), >, 0);
    REQUIRE_INT(stats_of(agents).n_results, ==, 5);
    refused(agents, llmgpu_agents_submit(agents, &r, NULL), "max_requests");
    take(agents, text);
    submit(agents, &r);
    llmgpu_agents_stats s = stats_of(agents);
    REQUIRE(s.refused == 5 && s.mail_refused == 1 && s.mail_delivered == 2 && s.n_owners == 2);
    llmgpu_agents_free(agents);
    // Sixty-four, and no more.
    agents = make(a, NULL);
    llmgpu_session *one = api_session(a, 32, GREEDY);
    for (int i = 0; i < 63; i++)
        add(a, agents, GREEDY, false);
    REQUIRE_INT(llmgpu_agents_add(agents, one, NULL), ==, 63);
    REQUIRE_INT(llmgpu_agents_add(agents, one, NULL), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_agents_remove(agents, 20), ==, 0);
    REQUIRE_INT(llmgpu_agents_remove(agents, 20), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_agents_remove(agents, 63), ==, 0);
    REQUIRE_INT(llmgpu_agents_add(agents, one, NULL), ==, 20);
    llmgpu_agents_free(agents);
    REQUIRE_INT(llmgpu_session_feed(one, a->ids, 5), ==, 0); // it is the caller's again
    llmgpu_session_free(one);
}

/* ---- ends */

static void test_times(struct api *a)
{
    llmgpu_agents *agents = make(a, NULL);
    llmgpu_request r = make_request(a, 1);
    char text[TEXT];
    r.max_wait_ms = 1;
    submit(agents, &r); // nobody is there to begin it
    llmgpu_result result = take(agents, text);
    REQUIRE(result.outcome == LLMGPU_OUTCOME_EXPIRED && result.agent == -1 && result.wait_us >= 1000);
    int agent = add(a, agents, GREEDY, true);
    r = make_request(a, 1);
    r.max_tokens = 200;
    r.max_run_ms = 1;
    submit(agents, &r);
    r.max_run_ms = 0;
    r.max_tokens = 2;
    submit(agents, &r);
    REQUIRE_INT(llmgpu_context_step(a->ctx, 1), >=,
                0); // where all is slow, its time is over before anything is done
    sleep_us(2000);
    result = take(agents, text);
    REQUIRE(result.outcome == LLMGPU_OUTCOME_TIMEOUT && result.agent == agent);
    REQUIRE_INT(result.n_generated, <, 200);
    result = take(agents, text); // the next one has its own time, and nothing of the other is remembered
    REQUIRE(result.outcome == LLMGPU_OUTCOME_LENGTH && result.n_prompt == a->n);
    // What does not fit ends as full.
    r.max_tokens = 0;
    submit(agents, &r);
    result = take(agents, text);
    REQUIRE_INT(result.outcome, ==, LLMGPU_OUTCOME_FULL);
    REQUIRE_INT(result.n_prompt + result.n_generated + a->n + 2, >=, 256);
    REQUIRE_INT(stats_of(agents).outcomes[LLMGPU_OUTCOME_FULL], ==, 1);
    REQUIRE_INT(llmgpu_agents_wait(agents, 0, 0), ==, 0); // nothing will come
    r.max_tokens = 2;
    r.agent = agent;
    submit(agents, &r);
    REQUIRE_INT(llmgpu_agents_wait(agents, 0, 0), ==, LLMGPU_E_TIMEOUT);
    llmgpu_agents_free(agents);
}

static void test_cancel(struct api *a)
{
    llmgpu_agents *agents = make(a, NULL);
    char text[TEXT], expected[TEXT];
    int agent = add(a, agents, GREEDY, true);
    llmgpu_request r = make_request(a, 1);
    r.max_tokens = 100;
    uint64_t active = submit(agents, &r), queued = submit(agents, &r);
    REQUIRE_INT(llmgpu_context_step(a->ctx, 1), >, 0);
    REQUIRE_INT(llmgpu_agents_cancel(agents, queued), ==, 0);
    llmgpu_result result;
    REQUIRE_INT(llmgpu_agents_take(agents, queued, &result, sizeof(result), text, TEXT), ==,
                LLMGPU_TAKEN); // at once
    REQUIRE(result.outcome == LLMGPU_OUTCOME_CANCELLED && result.agent == -1);
    REQUIRE_INT(llmgpu_agents_cancel(agents, active), ==, 0);
    result = take(agents, text);
    REQUIRE(result.id == active && result.outcome == LLMGPU_OUTCOME_CANCELLED && result.agent == agent);
    REQUIRE_INT(llmgpu_agents_cancel(agents, 99), ==, LLMGPU_E_INVALID);
    // The context's: what runs ends, what comes later does not.
    active = submit(agents, &r);
    REQUIRE_INT(llmgpu_context_step(a->ctx, 1), >, 0);
    llmgpu_context_cancel(a->ctx);
    REQUIRE_INT(take(agents, text).outcome, ==, LLMGPU_OUTCOME_CANCELLED);
    llmgpu_context_cancel(a->ctx);
    r.max_tokens = N_ANSWER;
    submit(agents, &r);
    REQUIRE_INT(take(agents, text).outcome, ==, LLMGPU_OUTCOME_LENGTH);
    llmgpu_session *s = api_session(a, 256, GREEDY);
    answer_alone(a, s, &r, expected);
    llmgpu_session_free(s);
    REQUIRE_STR(text, expected); // nothing was left of the others
    // An agent that goes takes what is its own with it.
    r.max_tokens = 100;
    r.agent = agent;
    submit(agents, &r);
    submit(agents, &r);
    r.agent = -1;
    submit(agents, &r);
    REQUIRE_INT(llmgpu_context_step(a->ctx, 1), >, 0);
    REQUIRE_INT(llmgpu_agents_mail(agents, agent, NULL, "x", 1), ==, 0);
    REQUIRE_INT(llmgpu_agents_remove(agents, agent), ==, 0);
    REQUIRE_INT(take(agents, text).outcome, ==, LLMGPU_OUTCOME_CANCELLED);
    REQUIRE_INT(take(agents, text).outcome, ==, LLMGPU_OUTCOME_CANCELLED);
    REQUIRE_INT(stats_of(agents).n_queued, ==, 1);
    REQUIRE_INT(llmgpu_agents_mail(agents, agent, NULL, "x", 1), ==, LLMGPU_E_INVALID);
    add(a, agents, GREEDY, false);
    REQUIRE_INT(take(agents, text).outcome, ==, LLMGPU_OUTCOME_LENGTH);
    llmgpu_agents_free(agents);
}

/* ---- quotas */

static void test_quotas(struct api *a)
{
    llmgpu_agents *agents = make(a, NULL);
    char text[TEXT];
    for (int i = 0; i < 3; i++)
        add(a, agents, GREEDY, false);
    REQUIRE_INT(llmgpu_agents_set_quota(agents, "one", 0, 1, 0), ==, 0);
    llmgpu_request r = make_request(a, 1);
    r.owner = "one";
    for (int i = 0; i < 4; i++)
        submit(agents, &r);
    for (int n = 0; n < 4;) { // one at a time, though there are three agents
        llmgpu_agents_stats s = stats_of(agents);
        REQUIRE_INT(s.n_active, <=, 1);
        REQUIRE_INT(llmgpu_context_step(a->ctx, 1), >=, 0);
        llmgpu_result result;
        n += llmgpu_agents_take(agents, 0, &result, sizeof(result), text, TEXT) == LLMGPU_TAKEN;
    }
    REQUIRE_INT(llmgpu_agents_set_quota(agents, NULL, 30, 0, 0), ==, 0); // less than the prompt
    r.owner = "two";
    uint64_t first = submit(agents, &r), second = submit(agents, &r);
    while (stats_of(agents).n_results == 0)
        REQUIRE_INT(llmgpu_context_step(a->ctx, 1), >=, 0);
    REQUIRE_INT(stats_of(agents).n_active, <=, 1);
    r.owner = "one"; // who has a quota of their own
    uint64_t other = submit(agents, &r);
    REQUIRE_INT(llmgpu_context_step(a->ctx, UINT32_MAX), >=, 0);
    llmgpu_result result;
    REQUIRE_INT(llmgpu_agents_take(agents, first, &result, sizeof(result), text, TEXT), ==, LLMGPU_TAKEN);
    REQUIRE_STR(result.owner, "two");
    REQUIRE_INT(llmgpu_agents_take(agents, other, &result, sizeof(result), text, TEXT), ==, LLMGPU_TAKEN);
    int rc = llmgpu_agents_take(agents, second, &result, sizeof(result), text, TEXT);
    if (rc == LLMGPU_TAKE_AGAIN) { // both may have begun before the first token was counted
        REQUIRE_INT(llmgpu_agents_wait(agents, 0, 1000), ==, LLMGPU_E_TIMEOUT);
        REQUIRE_INT(llmgpu_agents_set_quota(agents, NULL, 0, 0, 0), ==, 0);
        REQUIRE_INT(take(agents, text).id, ==, second);
    }
    REQUIRE_INT(rc, ==, LLMGPU_TAKE_AGAIN);
    llmgpu_agents_free(agents);
}

/* ---- memory and mail */

static void test_memory(struct api *a)
{
    char text[TEXT], expected[3][TEXT];
    llmgpu_agents *agents = make(a, NULL);
    llmgpu_request r = make_request(a, 7);
    llmgpu_session *s = api_session(a, 256, DRAWN), *persona = api_session(a, 256, DRAWN);
    REQUIRE_INT(llmgpu_session_feed(s, a->ids, 20), ==, 0);
    REQUIRE_INT(llmgpu_session_feed(persona, a->ids, 20), ==, 0);
    for (int i = 0; i < 3; i++)
        answer_alone(a, s, &r, expected[i]);
    llmgpu_session_free(s);
    llmgpu_agent_params p;
    REQUIRE_INT(llmgpu_agent_params_init(&p, sizeof(p)), ==, 0);
    int agent = llmgpu_agents_add(agents, persona, &p);
    llmgpu_request other = r;
    llmgpu_sampler_params sampler;
    REQUIRE_INT(llmgpu_sampler_params_init(&sampler, sizeof(sampler)), ==, 0);
    sampler.seed = 99;
    other.sampler = &sampler;
    other.max_run_ms = 60000;
    for (int i = 0; i < 3; i++) { // forgets all but what it began with
        submit(agents, &other);
        take(agents, text);
        submit(agents, &r);
        llmgpu_result result = take(agents, text);
        REQUIRE_INT(result.n_prompt, ==, a->n);
        REQUIRE_STR(text, expected[0]);
    }
    submit(agents, &other);
    take(agents, text);
    REQUIRE_INT(llmgpu_agents_remove(agents, agent), ==, 0);
    REQUIRE(persona->session.deadline_ns == UINT64_MAX); // nothing of a request stays
    REQUIRE_INT(persona->session.params.sampler.seed_lo, ==, DRAWN);
    REQUIRE_INT(llmgpu_session_rewind(persona, 20), ==, 0);
    p.keep = 1;
    REQUIRE_INT(llmgpu_agents_add(agents, persona, &p), ==, agent);
    for (int i = 0; i < 3; i++) { // goes on
        submit(agents, &r);
        take(agents, text);
        REQUIRE_STR(text, expected[i]);
    }
    llmgpu_agents_free(agents);
    llmgpu_session_free(persona);
}

static void test_mail(struct api *a)
{
    static const char *const mails[] = {"one", "two", "three"};
    char text[TEXT], expected[TEXT];
    size_t n_mail = 0;
    llmgpu_agents *agents = make(a, NULL);
    llmgpu_request r = make_request(a, 7);
    int first = add(a, agents, DRAWN, false), second = add(a, agents, DRAWN, false);
    llmgpu_session *s = api_session(a, 256, DRAWN);
    for (int i = 0; i < 3; i++) {
        size_t n;
        int32_t tokens[16];
        REQUIRE_INT(llmgpu_tokenize(a->model, mails[i], strlen(mails[i]), 0, tokens, 16, &n), ==, 0);
        REQUIRE_INT(llmgpu_session_feed(s, tokens, n), ==, 0);
        n_mail += n;
    }
    answer_alone(a, s, &r, expected);
    llmgpu_session_free(s);
    r.agent = first;
    submit(agents, &r);
    REQUIRE_INT(llmgpu_context_step(a->ctx, 1), >, 0); // it begins, and what comes now is for the next one
    for (int i = 0; i < 3; i++)
        REQUIRE_INT(llmgpu_agents_mail(agents, first, NULL, mails[i], strlen(mails[i])), ==, 0);
    REQUIRE_INT(stats_of(agents).n_mail, ==, 3);
    llmgpu_result result = take(agents, text);
    REQUIRE_INT(result.n_prompt, ==, a->n);
    REQUIRE_INT(stats_of(agents).n_mail, ==, 3);
    submit(agents, &r);
    result = take(agents, text);
    REQUIRE_INT(result.n_prompt, ==, a->n + n_mail);
    REQUIRE_STR(text, expected);
    // From one to the other.
    size_t n;
    int32_t tokens[TEXT];
    REQUIRE_INT(llmgpu_tokenize(a->model, expected, strlen(expected), 0, tokens, TEXT, &n), ==, 0);
    for (int i = 0; i < 3; i++)
        REQUIRE_INT(llmgpu_agents_mail(agents, first, NULL, mails[i], strlen(mails[i])), ==, 0);
    r.mail_to = second;
    submit(agents, &r);
    REQUIRE_INT(take(agents, text).mail_status, ==, 0);
    REQUIRE_STR(text, expected);
    r.mail_to = -1;
    r.agent = second;
    submit(agents, &r);
    REQUIRE_INT(take(agents, text).n_prompt, ==, a->n + n);
    for (int i = 0; i < 16; i++)
        REQUIRE_INT(llmgpu_agents_mail(agents, second, NULL, "", 0), ==, 0);
    r.agent = first;
    r.mail_to = second;
    submit(agents, &r);
    result = take(agents, text);
    REQUIRE(result.outcome == LLMGPU_OUTCOME_LENGTH && result.mail_status == LLMGPU_E_LIMIT);
    llmgpu_agents_free(agents);
}

/* ---- many requests, and all that can happen to them */

static void test_soak(struct api *a)
{
    enum { N = 400, N_KINDS = 6, N_AGENTS = 8, MOST = 40 };
    static char alone[N_KINDS][TEXT];
    static int kinds[N + 1];
    static bool taken[N + 1];
    struct test_rng rng = {11};
    llmgpu_request requests[N_KINDS];
    llmgpu_agents_params p = make_params();
    char text[TEXT], owner[2] = "a";
    p.max_requests = MOST;
    llmgpu_agents *agents = make(a, &p);
    REQUIRE_INT(llmgpu_agents_set_quota(agents, "b", 0, 2, 5), ==, 0);
    for (int i = 0; i < N_KINDS; i++) {
        llmgpu_session *s = api_session(a, 256, DRAWN);
        requests[i] = make_request(a, i);
        requests[i].max_tokens = 4 + 3 * (uint32_t)i;
        answer_alone(a, s, &requests[i], alone[i]);
        llmgpu_session_free(s);
    }
    for (int i = 0; i < N_AGENTS; i++)
        add(a, agents, DRAWN, false);
    int n_taken = 0, n_refused = 0;
    uint64_t n = 0, id;
    while (n < N || n_taken < N) {
        for (uint32_t k = test_randu(&rng, 0, 6); k-- > 0 && n < N;) {
            int kind = (int)test_randu(&rng, 0, N_KINDS - 1);
            llmgpu_request r = requests[kind];
            owner[0] = (char)('a' + test_randu(&rng, 0, 2));
            r.owner = owner;
            r.priority = (int32_t)test_randu(&rng, 0, 32) - 16;
            r.agent = (int32_t)test_randu(&rng, 0, 3 * N_AGENTS);
            r.agent = r.agent < N_AGENTS ? r.agent : -1;
            int rc = llmgpu_agents_submit(agents, &r, &id);
            REQUIRE(rc == 0 || rc == LLMGPU_E_LIMIT);
            n_refused += rc < 0;
            if (rc == 0) {
                REQUIRE_INT(id, ==, ++n);
                kinds[id] = kind;
            }
        }
        if (n > MOST && test_randu(&rng, 0, 4) == 0) { // some have ended
            int rc = llmgpu_agents_cancel(agents, n - test_randu(&rng, 0, MOST - 1));
            REQUIRE(rc == 0 || rc == LLMGPU_E_INVALID);
        }
        for (int k = 0; k < 40; k++) // slices
            REQUIRE_INT(llmgpu_context_step(a->ctx, 1), >=, 0);
        llmgpu_result r;
        while (llmgpu_agents_take(agents, 0, &r, sizeof(r), text, TEXT) == LLMGPU_TAKEN) {
            REQUIRE(r.id <= n && !taken[r.id]);
            taken[r.id] = true;
            n_taken++;
            show_nul(text, r.len);
            REQUIRE(r.outcome == LLMGPU_OUTCOME_LENGTH || r.outcome == LLMGPU_OUTCOME_CANCELLED);
            if (r.outcome == LLMGPU_OUTCOME_LENGTH)
                REQUIRE_STR(text, alone[kinds[r.id]]);
        }
        llmgpu_agents_stats s = stats_of(agents);
        REQUIRE_INT(s.n_queued + s.n_active + s.n_results + n_taken, ==, n);
        REQUIRE_INT(s.n_queued + s.n_active + s.n_results, <=, MOST);
    }
    llmgpu_agents_stats s = stats_of(agents);
    printf("%d requests, %llu cancelled, %d refused\n", N,
           (unsigned long long)s.outcomes[LLMGPU_OUTCOME_CANCELLED], n_refused);
    REQUIRE_INT(s.outcomes[LLMGPU_OUTCOME_LENGTH] + s.outcomes[LLMGPU_OUTCOME_CANCELLED], ==, N);
    REQUIRE(s.outcomes[LLMGPU_OUTCOME_CANCELLED] > 0 && n_refused > 0 && s.refused == (uint64_t)n_refused);
    llmgpu_agents_free(agents);
}

/* ---- a device that is opened anew */

static void test_recover(struct api *a)
{
    char text[TEXT], expected[TEXT];
    llmgpu_agents *agents = make(a, NULL);
    llmgpu_session *s = api_session(a, 256, DRAWN);
    llmgpu_request r = make_request(a, 7);
    answer_alone(a, s, &r, expected);
    llmgpu_session_free(s);
    add(a, agents, DRAWN, false);
    submit(agents, &r);
    submit(agents, &r);
    for (int i = 0; i < 2; i++) { // in the middle of each
        REQUIRE_INT(llmgpu_context_step(a->ctx, 1), >, 0);
        REQUIRE_INT(stats_of(agents).n_active, ==, 1);
        REQUIRE_INT(llmgpu_context_recover(a->ctx, NULL), ==, 0);
        REQUIRE_INT(take(agents, text).outcome, ==, LLMGPU_OUTCOME_LENGTH);
        REQUIRE_STR(text, expected);
    }
    llmgpu_agents_free(agents);
}

/* ---- conversations, on the model that comes with the library */

static void test_conversation(const char *device)
{
    static const char *const questions[] = {"Who are you?", "What do you sell?"};
    static const char persona[] = "Your name is Brenna. You are the blacksmith of Oakford. You are grumpy.";
    char expected[2][TEXT] = {"", ""}, text[TEXT];
    struct api a;
    llmgpu_chat *chat;
    api_open(&a, device, NULL);
    llmgpu_session_params sp = api_params(512);
    sp.ignore_end = 0;
    llmgpu_session *s = api_session_with(&a, &sp, GREEDY);
    REQUIRE_INT(llmgpu_chat_create(&chat, a.model, NULL, 0), ==, 0);
    REQUIRE_INT(llmgpu_chat_add(chat, "system", persona), ==, 0);
    for (int i = 0; i < 2; i++) {
        REQUIRE_INT(llmgpu_chat_add(chat, "user", questions[i]), ==, 0);
        REQUIRE_INT(llmgpu_chat_feed(chat, s, LLMGPU_CHAT_ANSWER | LLMGPU_CHAT_FALLBACK), ==, 0);
        REQUIRE_INT(llmgpu_session_generate(s, 100, add_text, expected[i]), ==, 0);
        REQUIRE_INT(llmgpu_chat_add(chat, "assistant", expected[i]), ==, 0);
    }
    llmgpu_chat_free(chat);
    REQUIRE_INT(llmgpu_session_reset(s), ==, 0);
    llmgpu_agents *agents = make(&a, NULL);
    llmgpu_agent_params p;
    llmgpu_request r;
    REQUIRE_INT(llmgpu_agent_params_init(&p, sizeof(p)), ==, 0);
    p.keep = 1;
    p.persona = persona;
    int agent = llmgpu_agents_add(agents, s, &p);
    REQUIRE_INT(llmgpu_request_init(&r, sizeof(r)), ==, 0);
    r.role = "user";
    r.agent = agent;
    for (int i = 0; i < 2; i++) {
        r.text = questions[i];
        r.len = strlen(r.text);
        r.max_tokens = 100;
        uint64_t id = submit(agents, &r); // one that is cancelled is not remembered
        REQUIRE_INT(llmgpu_context_step(a.ctx, 1), >, 0);
        REQUIRE_INT(llmgpu_agents_cancel(agents, id), ==, 0);
        REQUIRE_INT(take(agents, text).outcome, ==, LLMGPU_OUTCOME_CANCELLED);
        submit(agents, &r);
        llmgpu_result result = take(agents, text);
        REQUIRE_INT(result.outcome, ==, LLMGPU_OUTCOME_DONE);
        REQUIRE_STR(text, expected[i]);
    }
    REQUIRE_INT(llmgpu_agents_remove(agents, agent), ==, 0);
    llmgpu_agents_free(agents);
    llmgpu_session_free(s);
    api_close(&a);
}

/* ---- the audit */

struct audits {
    int n, n_notified;
    llmgpu_audit last;
    char owner[64], prompt[TEXT], answer[TEXT];
};

static void on_audit(void *user, const llmgpu_audit *audit)
{
    struct audits *a = user;
    a->n++;
    a->last = *audit;
    strcpy(a->owner, audit->owner);
    strcpy(a->prompt, audit->prompt ? audit->prompt : "none");
    strcpy(a->answer, audit->answer ? audit->answer : "none");
}

static void on_result(void *user)
{
    ((struct audits *)user)->n_notified++;
}

static void test_audit(struct api *a)
{
    uint64_t hash = 0;
    for (int texts = 0; texts < 2; texts++) {
        struct audits audits = {0};
        llmgpu_agents_params p = make_params();
        p.audit = on_audit;
        p.audit_text = (uint32_t)texts;
        p.notify = on_result;
        p.audit_user = p.notify_user = &audits;
        llmgpu_agents *agents = make(a, &p);
        add(a, agents, GREEDY, false);
        llmgpu_request r = make_request(a, 1);
        char text[TEXT];
        r.tokens = NULL;
        r.n_tokens = 0;
        r.text = "a b c";
        r.len = 5;
        r.owner = "Tom";
        time_t before = time(NULL);
        uint64_t id = submit(agents, &r);
        REQUIRE_INT(audits.n, ==, 0);
        llmgpu_result result = take(agents, text);
        REQUIRE(audits.n == 1 && audits.n_notified == 1 && audits.last.id == id && audits.last.agent == 0);
        REQUIRE(audits.last.n_generated == N_ANSWER && audits.last.n_prompt == result.n_prompt &&
                result.n_prompt > 0);
        REQUIRE_INT(audits.last.outcome, ==, LLMGPU_OUTCOME_LENGTH);
        REQUIRE(audits.last.asked_unix_ms >= (before - 2) * 1000 &&
                audits.last.asked_unix_ms < (time(NULL) + 2) * 1000);
        REQUIRE_STR(audits.owner, "Tom");
        REQUIRE_STR(audits.prompt, texts ? "a b c" : "none");
        REQUIRE_STR(audits.answer, texts ? text : "none");
        REQUIRE(audits.last.model != 0 && (!hash || hash == audits.last.model));
        hash = audits.last.model;
        id = submit(agents, &r);
        REQUIRE_INT(llmgpu_agents_cancel(agents, id), ==, 0);
        REQUIRE(audits.n == 2 && audits.last.outcome == LLMGPU_OUTCOME_CANCELLED && audits.last.agent == -1);
        llmgpu_agents_free(agents);
    }
}

/* ---- handles in any order, and memory that fails */

static void test_free(const char *device)
{
    for (int order = 0; order < 4; order++) {
        struct api a;
        api_open_tiny(&a, device, NULL);
        llmgpu_agents *agents = make(&a, NULL), *second = make(&a, NULL);
        add(&a, agents, GREEDY, false);
        add(&a, second, GREEDY, false);
        llmgpu_request r = make_request(&a, 1);
        char text[TEXT];
        submit(agents, &r);
        submit(second, &r);
        if (order % 2)
            REQUIRE_INT(llmgpu_context_start(a.ctx), ==, 0);
        else
            REQUIRE_INT(llmgpu_context_step(a.ctx, 1), >, 0);
        if (order < 2) {
            llmgpu_agents_free(second); // with a request that is being answered
            take(agents, text);
            llmgpu_agents_free(agents);
            llmgpu_model_free(a.model);
            llmgpu_context_free(a.ctx);
        } else {
            llmgpu_model_free(a.model);
            llmgpu_context_free(a.ctx);
            take(agents, text); // they keep what they need
            llmgpu_agents_free(agents);
            take(second, text);
            llmgpu_agents_free(second);
        }
    }
}

/** Every allocation of making agents, asking and answering fails once: it is told, and the next request is
 * answered. */
static void test_memory_fails(const char *device)
{
    struct test_heap heap = {0};
    struct api a;
    llmgpu_context_params cp;
    uint64_t n_failed = 0;
    REQUIRE_INT(llmgpu_context_params_init(&cp, sizeof(cp)), ==, 0);
    cp.alloc = test_heap_alloc;
    cp.resize = test_heap_resize;
    cp.release = test_heap_release;
    cp.alloc_user = &heap;
    api_open_tiny(&a, device, &cp);
    llmgpu_request r = make_request(&a, 1);
    r.tokens = NULL;
    r.n_tokens = 0;
    r.text = "a b c";
    r.len = 5;
    for (uint64_t at = 1; n_failed + 1 == at; at++) {
        llmgpu_agents *agents = NULL;
        llmgpu_result result = {0};
        char text[TEXT];
        llmgpu_session *s = api_session(&a, 256, GREEDY);
        heap.n = 0;
        heap.fail_at = at;
        int rc = llmgpu_agents_create(&agents, a.model, NULL);
        if (rc == 0)
            rc = llmgpu_agents_add(agents, s, NULL);
        if (rc == 0)
            rc = llmgpu_agents_mail(agents, 0, "user", "x", 1);
        if (rc == 0)
            rc = llmgpu_agents_submit(agents, &r, NULL);
        if (rc == 0 && (rc = llmgpu_agents_wait(agents, 0, UINT64_MAX)) == 0 &&
            llmgpu_agents_take(agents, 0, &result, sizeof(result), text, TEXT) == LLMGPU_TAKEN)
            rc = result.outcome == LLMGPU_OUTCOME_FAILED ? result.status : 0;
        heap.fail_at = 0;
        REQUIRE(rc == 0 || rc == LLMGPU_E_NOMEM);
        n_failed += rc < 0;
        if (agents && stats_of(agents).n_agents) {
            submit(agents, &r);
            REQUIRE_INT(take(agents, text).outcome, ==, LLMGPU_OUTCOME_LENGTH);
        }
        llmgpu_agents_free(agents);
        llmgpu_session_free(s);
    }
    printf("%llu allocations failed\n", (unsigned long long)n_failed);
    REQUIRE_INT(n_failed, >=, 12);
    api_close(&a);
    REQUIRE_INT(heap.live, ==, 0);
}

int main(int argc, char **argv)
{
    const char *device = argc > 1 ? argv[1] : "cpu";
    struct api a;
    test_latency();
    test_owners();
    test_ageing();
    test_fifty(device);
    api_open_tiny(&a, device, NULL);
    test_order(&a);
    test_bounds(&a);
    test_times(&a);
    test_cancel(&a);
    test_quotas(&a);
    test_memory(&a);
    test_mail(&a);
    test_audit(&a);
    test_soak(&a);
    test_recover(&a);
    api_close(&a);
    test_conversation(device);
    test_free(device);
    test_memory_fails(device);
    return 0;
}
