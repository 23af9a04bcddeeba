/* SPDX-License-Identifier: MIT
 *
 * Two contexts in one process, each used by several threads at once, on the device that the first argument names: every
 * answer is what one thread alone gets, and neither context sees the other. Built with -Db_sanitize=thread, it is also
 * free of races.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#define LLMGPU_EXPERIMENTAL
#include "llmgpu/llmgpu.h"
#include "model_build.h"

enum { N_CONTEXTS = 2, N_THREADS = 3, N_ROUNDS = 4, N_PROMPT = 24, N_ANSWER = 16, N_SEEDS = 5 };

/* Written before there are threads: a small model, and what one thread alone gets of it for each seed. */
static struct model_build file;
static int32_t prompt[N_PROMPT];
static int32_t expected[N_SEEDS][N_ANSWER];
static struct text {
    char at[1024];
    size_t len;
} texts[N_SEEDS]; // the same as text

/** A context, and what the threads that work on it share. */
struct shared {
    const char *device;
    llmgpu_context *ctx;
    llmgpu_model *model;
    llmgpu_agents *agents;
    atomic_uint n_logged;
};

static void count_line(void *user, int level, const char *text)
{
    atomic_uint *n = user;
    REQUIRE(level >= LLMGPU_LOG_ERROR && level <= LLMGPU_LOG_DEBUG && text[0] != '\0');
    atomic_fetch_add(n, 1);
}

static void open_context(struct shared *c, const char *device, uint32_t max_sessions)
{
    char error[512];
    llmgpu_context_params p;
    REQUIRE_INT(llmgpu_context_params_init(&p, sizeof(p)), ==, 0);
    p.device = device;
    p.n_threads = 2;
    p.log = count_line;
    p.log_user = &c->n_logged;
    p.max_sessions = max_sessions;
    p.error = error;
    p.error_size = sizeof(error);
    int rc = llmgpu_context_create(&c->ctx, &p);
    if (rc == LLMGPU_E_NO_DEVICE) {
        fprintf(stderr, "%s\n", error);
        exit(TEST_SKIP);
    }
    REQUIRE_INT(rc, ==, 0);
    c->device = device;
}

static llmgpu_model *load(llmgpu_context *ctx)
{
    llmgpu_model *model;
    REQUIRE_INT(llmgpu_model_load_memory(&model, ctx, file.file.data, file.file.size, NULL), ==, 0);
    return model;
}

static llmgpu_session *open_session(llmgpu_model *model, int seed)
{
    llmgpu_session_params p;
    llmgpu_sampler_params sampler;
    llmgpu_session *s;
    REQUIRE_INT(llmgpu_session_params_init(&p, sizeof(p)), ==, 0);
    REQUIRE_INT(llmgpu_sampler_params_init(&sampler, sizeof(sampler)), ==, 0);
    p.n_ctx = 64;
    p.ignore_end = 1;
    sampler.temperature = 1;
    sampler.seed = (uint64_t)seed;
    REQUIRE_INT(llmgpu_session_create(&s, model, &p), ==, 0);
    REQUIRE_INT(llmgpu_session_set_sampler(s, &sampler), ==, 0);
    return s;
}

/** Takes tokens; stops at the first failure, which it returns. */
static int take(llmgpu_session *s, int32_t *out, int n)
{
    int rc = 0;
    for (int i = 0; rc >= 0 && i < n;) {
        rc = llmgpu_session_next(s, &out[i]);
        if (rc == LLMGPU_AGAIN)
            rc = llmgpu_session_wait(s, UINT64_MAX);
        else
            i++;
    }
    return rc < 0 ? rc : 0;
}

static int answer(llmgpu_session *s, int32_t *out)
{
    int rc = llmgpu_session_feed(s, prompt, N_PROMPT);
    return rc < 0 ? rc : take(s, out, N_ANSWER);
}

static void require_answer(llmgpu_session *s, int seed)
{
    int32_t found[N_ANSWER];
    REQUIRE_INT(answer(s, found), ==, 0);
    REQUIRE(memcmp(found, expected[seed], sizeof(found)) == 0);
}

static int add_text(void *user, const char *text, size_t len)
{
    struct text *t = user;
    REQUIRE(t->len + len <= sizeof(t->at));
    memcpy(t->at + t->len, text, len);
    t->len += len;
    return 0;
}

static void expect(const char *device)
{
    struct model_shape shape = model_tiny("llama");
    model_init(&file, &shape);
    model_write(&file);
    for (int i = 0; i < N_PROMPT; i++)
        prompt[i] = 3 + 7 * i % 40;

    struct shared c = {0};
    open_context(&c, device, 0);
    c.model = load(c.ctx);
    for (int seed = 0; seed < N_SEEDS; seed++) {
        llmgpu_session *s = open_session(c.model, seed);
        REQUIRE_INT(answer(s, expected[seed]), ==, 0);
        REQUIRE_INT(llmgpu_session_reset(s), ==, 0);
        REQUIRE_INT(llmgpu_session_feed(s, prompt, N_PROMPT), ==, 0);
        REQUIRE_INT(llmgpu_session_generate(s, N_ANSWER, add_text, &texts[seed]), ==, 0);
        llmgpu_session_free(s);
    }
    REQUIRE(memcmp(expected[0], expected[1], sizeof(expected[0])) != 0);
    llmgpu_model_free(c.model);
    llmgpu_context_free(c.ctx);
}

/** Runs a function on some threads for each of the contexts, all at once. */
static void run(struct shared *contexts, void *(*function)(void *))
{
    pthread_t threads[N_CONTEXTS * N_THREADS];
    for (int i = 0; i < N_CONTEXTS * N_THREADS; i++)
        REQUIRE_INT(pthread_create(&threads[i], NULL, function, &contexts[i % N_CONTEXTS]), ==, 0);
    for (int i = 0; i < N_CONTEXTS * N_THREADS; i++)
        pthread_join(threads[i], NULL);
}

/** Sessions of a shared model and of one of its own, between what only reads. */
static void *converse(void *user)
{
    struct shared *c = user;
    for (int round = 0; round < N_ROUNDS; round++) {
        llmgpu_model *own = load(c->ctx);
        llmgpu_session *s = open_session(c->model, round), *t = open_session(own, round + 1);
        llmgpu_model_free(own);
        require_answer(s, round);
        require_answer(t, round + 1);
        REQUIRE_INT(llmgpu_session_reset(s), ==, 0);
        require_answer(s, round);

        char text[256];
        size_t len;
        llmgpu_context_stats stats;
        llmgpu_device_info info;
        REQUIRE_INT(llmgpu_detokenize(c->model, expected[round], N_ANSWER, 0, text, sizeof(text), &len), ==, 0);
        REQUIRE_INT(llmgpu_context_get_stats(c->ctx, &stats, sizeof(stats)), ==, 0);
        REQUIRE_INT(stats.n_sessions, >=, 2);
        REQUIRE_INT(llmgpu_context_get_device(c->ctx, &info, sizeof(info)), ==, 0);
        llmgpu_session_free(t);
        llmgpu_session_free(s);
    }
    return NULL;
}

/** Answers that go on in a fork, and in a session that was saved by another one. */
static void *branch(void *user)
{
    enum { HALF = N_ANSWER / 2 };
    struct shared *c = user;
    static _Thread_local uint8_t state[1 << 18];
    for (int seed = 0; seed < N_ROUNDS; seed++) {
        llmgpu_session *s[3] = {open_session(c->model, seed), NULL, open_session(c->model, 0)};
        int32_t found[HALF];
        size_t size;
        REQUIRE_INT(llmgpu_session_feed(s[0], prompt, N_PROMPT), ==, 0);
        REQUIRE_INT(take(s[0], found, HALF), ==, 0);
        REQUIRE_INT(llmgpu_session_fork(&s[1], s[0]), ==, 0);
        REQUIRE_INT(llmgpu_session_save(s[0], seed % 2, NULL, state, sizeof(state), &size), ==, 0);
        REQUIRE_INT(llmgpu_session_restore(s[2], state, size), ==, 0);
        for (int i = 0; i < 3; i++) {
            REQUIRE_INT(take(s[i], found, HALF), ==, 0);
            REQUIRE(memcmp(found, expected[seed] + HALF, sizeof(found)) == 0);
            llmgpu_session_free(s[i]);
        }
    }
    return NULL;
}

/** Steps work on everybody's sessions; so whoever steps, each answer is its own. */
static void *step(void *user)
{
    struct shared *c = user;
    for (int seed = 0; seed < N_SEEDS; seed++) {
        llmgpu_session *s = open_session(c->model, seed);
        int32_t found[N_ANSWER];
        REQUIRE_INT(llmgpu_session_feed(s, prompt, N_PROMPT), ==, 0);
        for (int i = 0; i < N_ANSWER;) {
            int rc = llmgpu_session_next(s, &found[i]);
            REQUIRE_INT(rc, >, 0);
            if (rc == LLMGPU_AGAIN)
                REQUIRE_INT(llmgpu_context_step(c->ctx, 500), >=, 0);
            else
                i++;
        }
        REQUIRE(memcmp(found, expected[seed], sizeof(found)) == 0);
        llmgpu_session_free(s);
    }
    return NULL;
}

struct cancelled {
    llmgpu_session *session;
    atomic_int done;
};

static void *cancel(void *user)
{
    struct cancelled *c = user;
    for (int i = 0; i < 4; i++) {
        usleep(3000);
        llmgpu_session_cancel(c->session);
    }
    atomic_store(&c->done, 1);
    return NULL;
}

/** Answers that another thread cancels; once it is done with that, they are whole again. */
static void *be_cancelled(void *user)
{
    struct shared *shared = user;
    struct cancelled c = {.session = open_session(shared->model, 0)};
    int32_t found[N_ANSWER];
    int n = 0;
    pthread_t thread;
    REQUIRE_INT(pthread_create(&thread, NULL, cancel, &c), ==, 0);
    for (bool last = false; !last;) {
        last = atomic_load(&c.done);
        int rc = llmgpu_session_reset(c.session);
        if (rc == 0)
            rc = answer(c.session, found);
        REQUIRE(rc == 0 || rc == LLMGPU_E_CANCELLED);
        n += rc == LLMGPU_E_CANCELLED;
    }
    pthread_join(thread, NULL);
    REQUIRE_INT(n, >=, 1);
    REQUIRE_INT(llmgpu_session_reset(c.session), ==, 0);
    require_answer(c.session, 0);
    llmgpu_session_free(c.session);
    return NULL;
}

/** Contexts that come and go, their handles freed in any order. */
static void *come_and_go(void *user)
{
    struct shared *other = user;
    for (int round = 0; round < N_ROUNDS; round++) {
        struct shared c = {0};
        open_context(&c, other->device, 0);
        c.model = load(c.ctx);
        llmgpu_session *s = open_session(c.model, round);
        if (round % 2) {
            llmgpu_context_free(c.ctx);
            llmgpu_model_free(c.model);
            require_answer(s, round);
            llmgpu_session_free(s);
        } else {
            require_answer(s, round);
            llmgpu_session_free(s);
            llmgpu_model_free(c.model);
            llmgpu_context_free(c.ctx);
        }
    }
    return NULL;
}

/** Opens the device anew under everybody's feet. */
static void *recover(void *user)
{
    struct shared *c = user;
    for (int i = 0; i < 3; i++) {
        usleep(2000);
        REQUIRE_INT(llmgpu_context_recover(c->ctx, NULL), ==, 0);
    }
    return NULL;
}

/** What became of a request, which is waited for; whether it was answered. */
static bool require_result(llmgpu_agents *agents, uint64_t id, int seed)
{
    char text[1024];
    llmgpu_result r;
    int rc;
    while ((rc = llmgpu_agents_take(agents, id, &r, sizeof(r), text, sizeof(text))) == LLMGPU_TAKE_AGAIN)
        REQUIRE_INT(llmgpu_agents_wait(agents, id, UINT64_MAX), ==, 0);
    REQUIRE(rc == LLMGPU_TAKEN && r.id == id);
    if (r.outcome == LLMGPU_OUTCOME_CANCELLED) // or the agent went away with it
        return false;
    REQUIRE_INT(r.outcome, ==, LLMGPU_OUTCOME_LENGTH);
    REQUIRE(r.len == texts[seed].len && memcmp(text, texts[seed].at, r.len) == 0);
    return true;
}

/** Requests of everybody to the same agents, which come and go themselves; some are cancelled. */
static void *ask(void *user)
{
    struct shared *c = user;
    llmgpu_sampler_params sampler;
    llmgpu_agents_stats stats;
    REQUIRE_INT(llmgpu_sampler_params_init(&sampler, sizeof(sampler)), ==, 0);
    sampler.temperature = 1;
    int n_answered = 0;
    for (int round = 0; round < N_ROUNDS; round++) {
        uint64_t ids[N_SEEDS];
        llmgpu_session *s = open_session(c->model, 0);
        int agent = llmgpu_agents_add(c->agents, s, NULL);
        REQUIRE_INT(agent, >=, 0);
        llmgpu_session_free(s);
        for (int seed = 0; seed < N_SEEDS; seed++) {
            llmgpu_request r;
            REQUIRE_INT(llmgpu_request_init(&r, sizeof(r)), ==, 0);
            sampler.seed = (uint64_t)seed;
            r.tokens = prompt;
            r.n_tokens = N_PROMPT;
            r.max_tokens = N_ANSWER;
            r.sampler = &sampler;
            r.priority = seed;
            REQUIRE_INT(llmgpu_agents_submit(c->agents, &r, &ids[seed]), ==, 0);
        }
        REQUIRE_INT(llmgpu_agents_cancel(c->agents, ids[1]), ==, 0);
        REQUIRE_INT(llmgpu_agents_get_stats(c->agents, &stats, sizeof(stats)), ==, 0);
        for (int seed = 0; seed < N_SEEDS; seed++)
            n_answered += require_result(c->agents, ids[seed], seed);
        REQUIRE_INT(llmgpu_agents_remove(c->agents, agent), ==, 0); // others' requests may be its own just now
    }
    REQUIRE_INT(n_answered, >=, N_ROUNDS);
    return NULL;
}

/** Agents that threads work on, and then the library's own. */
static void test_agents(const char *device)
{
    struct shared c[N_CONTEXTS] = {0};
    for (int i = 0; i < N_CONTEXTS; i++) {
        open_context(&c[i], device, 0);
        c[i].model = load(c[i].ctx);
    }
    for (int background = 0; background < 2; background++) {
        for (int i = 0; i < N_CONTEXTS; i++) {
            REQUIRE_INT(llmgpu_agents_create(&c[i].agents, c[i].model, NULL), ==, 0);
            if (background)
                REQUIRE_INT(llmgpu_context_start(c[i].ctx), ==, 0);
        }
        run(c, ask);
        for (int i = 0; i < N_CONTEXTS; i++)
            llmgpu_agents_free(c[i].agents);
    }
    for (int i = 0; i < N_CONTEXTS; i++) {
        llmgpu_model_free(c[i].model);
        llmgpu_context_free(c[i].ctx);
    }
}

static void test_together(const char *device)
{
    struct shared c[N_CONTEXTS] = {0};
    for (int i = 0; i < N_CONTEXTS; i++) {
        open_context(&c[i], device, 0);
        c[i].model = load(c[i].ctx);
    }
    run(c, converse);
    run(c, branch);
    run(c, step);
    run(c, be_cancelled);
    run(c, come_and_go);

    pthread_t threads[N_CONTEXTS];
    for (int i = 0; i < N_CONTEXTS; i++)
        REQUIRE_INT(pthread_create(&threads[i], NULL, recover, &c[i]), ==, 0);
    run(c, converse);
    for (int i = 0; i < N_CONTEXTS; i++)
        pthread_join(threads[i], NULL);

    // The same with a thread of the library's that does the work.
    for (int i = 0; i < N_CONTEXTS; i++)
        REQUIRE_INT(llmgpu_context_start(c[i].ctx), ==, 0);
    run(c, converse);
    run(c, branch);
    run(c, be_cancelled);
    for (int i = 0; i < N_CONTEXTS; i++) {
        REQUIRE_INT(llmgpu_context_stop(c[i].ctx), ==, 0);
        llmgpu_model_free(c[i].model);
        llmgpu_context_free(c[i].ctx);
    }
}

/** What one context is told, limited to or counts does not reach the other. */
static void test_apart(const char *device)
{
    struct shared c[N_CONTEXTS] = {0};
    llmgpu_session *s[N_CONTEXTS], *more;
    llmgpu_context_stats before, after;
    for (int i = 0; i < N_CONTEXTS; i++) {
        open_context(&c[i], device, i == 0 ? 1 : 0);
        c[i].model = load(c[i].ctx);
        s[i] = open_session(c[i].model, 0);
    }
    REQUIRE_INT(llmgpu_session_create(&more, c[0].model, NULL), ==, LLMGPU_E_LIMIT);
    REQUIRE_INT(llmgpu_session_create(&more, c[1].model, NULL), ==, 0);
    llmgpu_session_free(more);
    REQUIRE(llmgpu_context_error(c[0].ctx)[0] != '\0');
    REQUIRE_STR(llmgpu_context_error(c[1].ctx), "");

    REQUIRE_INT(llmgpu_context_get_stats(c[0].ctx, &before, sizeof(before)), ==, 0);
    unsigned logged = c[0].n_logged;
    require_answer(s[1], 0);
    REQUIRE_INT(llmgpu_context_get_stats(c[0].ctx, &after, sizeof(after)), ==, 0);
    REQUIRE(memcmp(&before, &after, sizeof(before)) == 0);
    REQUIRE_INT(c[0].n_logged, ==, logged);

    llmgpu_context_cancel(c[0].ctx);
    int32_t token;
    REQUIRE_INT(answer(s[0], &token), ==, LLMGPU_E_CANCELLED);
    REQUIRE_INT(llmgpu_session_reset(s[1]), ==, 0);
    require_answer(s[1], 0);
    for (int i = 0; i < N_CONTEXTS; i++) {
        llmgpu_session_free(s[i]);
        llmgpu_model_free(c[i].model);
        llmgpu_context_free(c[i].ctx);
    }
}

int main(int argc, char **argv)
{
    const char *device = argc > 1 ? argv[1] : "cpu";
    expect(device);
    test_apart(device);
    test_together(device);
    test_agents(device);
    return 0;
}
