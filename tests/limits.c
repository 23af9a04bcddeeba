/* SPDX-License-Identifier: MIT
 *
 * Every limit of a context and of a session, on the device that the first argument names: what would pass it answers
 * LLMGPU_E_LIMIT with its name, changes nothing, and leaves everything usable. Deadlines, and the context's end.
 */
#include <poll.h>

#include "api.h"

enum { N_CTX = 256 };

static void require_named(const char *sentence, const char *limit)
{
    if (!strstr(sentence, limit)) {
        fprintf(stderr, "'%s' does not name %s\n", sentence, limit);
        exit(1);
    }
}

static void require_limit(int rc, const llmgpu_session *s, const char *limit)
{
    REQUIRE_INT(rc, ==, LLMGPU_E_LIMIT);
    require_named(llmgpu_session_error(s), limit);
}

/** A limit of the same kind on the context and on the session; the narrower one counts. 0: none. */
static const struct both {
    uint32_t context, session, narrower;
} boths[] = {{5, 0, 5}, {0, 5, 5}, {5, 9, 5}, {9, 5, 5}, {5, 5, 5}};

enum { N_BOTHS = sizeof(boths) / sizeof(boths[0]) };

static llmgpu_context_params context_params(void)
{
    llmgpu_context_params p;
    REQUIRE_INT(llmgpu_context_params_init(&p, sizeof(p)), ==, 0);
    return p;
}

/* ---- tokens */

static void check_prompt_tokens(struct api *f, const struct both *b)
{
    int32_t token;
    float log_probs[8];
    llmgpu_session_params p = api_params(N_CTX);
    p.max_prompt_tokens = b->session;
    llmgpu_session *s = api_session_with(f, &p, GREEDY);
    require_limit(llmgpu_session_feed(s, f->ids, b->narrower + 1), s, "max_prompt_tokens");
    REQUIRE_INT(api_stats(s).n_tokens, ==, 0);
    REQUIRE_INT(llmgpu_session_next(s, &token), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_session_feed(s, f->ids, b->narrower - 1), ==, 0);
    REQUIRE_INT(llmgpu_session_feed(s, f->ids, 1), ==, 0);
    REQUIRE_INT(llmgpu_session_feed(s, NULL, 0), ==, 0);
    require_limit(llmgpu_session_feed(s, f->ids, 1), s, "max_prompt_tokens");
    require_limit(llmgpu_session_feed_text(s, "smith", 5, 0), s, "max_prompt_tokens");
    api_take(s, &token, 1); // what is in it is answered
    REQUIRE_INT(llmgpu_session_rewind(s, 0), ==, 0); // which does not give them back
    require_limit(llmgpu_session_feed(s, f->ids, 1), s, "max_prompt_tokens");
    llmgpu_session *fork;
    REQUIRE_INT(llmgpu_session_fork(&fork, s), ==, 0);
    require_limit(llmgpu_session_feed(fork, f->ids, 1), fork, "max_prompt_tokens");
    llmgpu_session_free(fork);
    REQUIRE_INT(llmgpu_session_reset(s), ==, 0);
    REQUIRE_INT(llmgpu_session_feed(s, f->ids, b->narrower), ==, 0);
    require_limit(llmgpu_session_score(s, f->ids, b->narrower + 1, log_probs, NULL), s, "max_prompt_tokens");
    REQUIRE_INT(llmgpu_session_score(s, f->ids, b->narrower, log_probs, NULL), ==, 0);
    llmgpu_session_free(s);
}

static void check_generated_tokens(struct api *f, const struct both *b, uint32_t per_submit)
{
    int32_t token, expected[5];
    api_answer(f, GREEDY, expected, 5);
    llmgpu_session_params p = api_params(N_CTX);
    p.max_generated_tokens = b->session;
    p.tokens_per_submit = per_submit;
    llmgpu_session *s = api_session_with(f, &p, GREEDY);
    REQUIRE_INT(llmgpu_session_feed(s, f->ids, f->n), ==, 0);
    for (uint32_t i = 0; i < b->narrower; i++) {
        api_take(s, &token, 1);
        REQUIRE_INT(token, ==, expected[i]);
    }
    require_limit(llmgpu_session_next(s, &token), s, "max_generated_tokens");
    require_limit(llmgpu_session_next(s, &token), s, "max_generated_tokens");
    require_limit(llmgpu_session_generate(s, 3, NULL, NULL), s, "max_generated_tokens");
    REQUIRE_INT(llmgpu_session_wait(s, UINT64_MAX), ==, 0);
    REQUIRE_INT(llmgpu_context_step(f->ctx, UINT32_MAX), ==, 0);
    REQUIRE_INT(llmgpu_session_feed(s, f->ids, 2), ==, 0); // it listens, and says no more
    REQUIRE_INT(llmgpu_session_prefill(s), ==, 0);
    require_limit(llmgpu_session_next(s, &token), s, "max_generated_tokens");
    REQUIRE_INT(llmgpu_session_rewind(s, (uint32_t)f->n), ==, 0);
    require_limit(llmgpu_session_next(s, &token), s, "max_generated_tokens");
    REQUIRE_INT(llmgpu_session_reset(s), ==, 0);
    REQUIRE_INT(llmgpu_session_feed(s, f->ids, f->n), ==, 0);
    require_limit(llmgpu_session_generate(s, UINT32_MAX, NULL, NULL), s, "max_generated_tokens");
    REQUIRE_INT(api_stats(s).n_generated, ==, b->narrower);
    llmgpu_session_free(s);
}

/* ---- time */

/** Work whose time is limited to a millisecond; it takes longer. */
static void check_time(struct api *f, const llmgpu_session_params *p)
{
    enum { N = 1000 };
    int32_t ids[N], token;
    float log_probs[N];
    for (int i = 0; i < N; i++)
        ids[i] = f->ids[(size_t)i % f->n];
    llmgpu_session *s = api_session_with(f, p, GREEDY);
    for (int i = 0; i < 2; i++) {
        REQUIRE_INT(llmgpu_session_feed(s, ids, N), ==, 0);
        require_limit(llmgpu_session_prefill(s), s, "max_time_ms");
        require_limit(llmgpu_session_next(s, &token), s, "max_time_ms");
        require_limit(llmgpu_session_generate(s, 1, NULL, NULL), s, "max_time_ms");
        REQUIRE_INT(llmgpu_session_set_remaining(s, 0), ==, 0); // also when nothing more is wanted of it
        require_limit(llmgpu_session_prefill(s), s, "max_time_ms");
        REQUIRE_INT(llmgpu_context_step(f->ctx, UINT32_MAX), ==, 0);
        REQUIRE_INT(llmgpu_session_reset(s), ==, 0);
        require_limit(llmgpu_session_score(s, ids, N, log_probs, NULL), s, "max_time_ms");
        REQUIRE_INT(llmgpu_session_reset(s), ==, 0);
    }
    REQUIRE_INT(llmgpu_session_feed(s, ids, 2), ==, 0);
    int rc = api_next(s, &token);
    REQUIRE(rc == LLMGPU_TOKEN || rc == LLMGPU_E_LIMIT); // which may fit
    llmgpu_session_free(s);
}

static void test_time(const char *device)
{
    struct api f;
    llmgpu_context_params p = context_params();
    llmgpu_session_params sp = api_params(1024);
    p.max_time_ms = 1;
    api_open(&f, device, &p);
    check_time(&f, &sp);
    sp.max_time_ms = 100000;
    check_time(&f, &sp);
    api_close(&f);
    p.max_time_ms = 100000;
    api_open(&f, device, &p);
    sp.max_time_ms = 1;
    check_time(&f, &sp);
    api_close(&f);
}

/* ---- sessions and memory */

static void test_sessions(const char *device)
{
    struct api f;
    llmgpu_context_params p = context_params();
    llmgpu_session *s[3] = {0};
    int32_t token;
    p.max_sessions = 2;
    api_open_tiny(&f, device, &p);
    for (int round = 0; round < 3; round++) {
        s[0] = api_session(&f, 64, GREEDY);
        s[1] = api_session(&f, 64, GREEDY);
        REQUIRE_INT(llmgpu_session_create(&s[2], f.model, NULL), ==, LLMGPU_E_LIMIT);
        REQUIRE(!s[2]);
        require_named(llmgpu_context_error(f.ctx), "max_sessions");
        REQUIRE_INT(llmgpu_session_fork(&s[2], s[0]), ==, LLMGPU_E_LIMIT);
        REQUIRE(!s[2]);
        require_named(llmgpu_context_error(f.ctx), "max_sessions");
        REQUIRE_INT(llmgpu_session_feed(s[0], f.ids, 5), ==, 0);
        api_take(s[0], &token, 1);
        llmgpu_session_free(s[1]);
        REQUIRE_INT(llmgpu_session_fork(&s[2], s[0]), ==, 0);
        api_take(s[2], &token, 1);
        llmgpu_session_free(s[0]);
        llmgpu_session_free(s[2]);
    }
    api_close(&f);
}

static uint64_t bytes_of(const struct api *f)
{
    return api_device_bytes(f);
}

/** What a model, one session and its work take, and then a byte less. */
static void test_context_memory(const char *device)
{
    struct api f;
    int32_t token, expected[4], found[4];
    api_open_tiny(&f, device, NULL);
    uint64_t model = bytes_of(&f);
    llmgpu_session *s = api_session(&f, 64, GREEDY);
    uint64_t session = bytes_of(&f);
    REQUIRE_INT(llmgpu_session_feed(s, f.ids, 40), ==, 0);
    api_take(s, expected, 4);
    uint64_t all = bytes_of(&f);
    REQUIRE(model < session && session < all);
    llmgpu_session_free(s);
    api_close(&f);

    // Just enough, and a second one is too much.
    llmgpu_context_params p = context_params();
    p.max_memory = all;
    api_open_tiny(&f, device, &p);
    s = api_session(&f, 64, GREEDY);
    REQUIRE_INT(llmgpu_session_feed(s, f.ids, 40), ==, 0);
    api_take(s, found, 2);
    llmgpu_session *other;
    llmgpu_session_params large = api_params(256);
    REQUIRE_INT(llmgpu_session_create(&other, f.model, &large), ==, LLMGPU_E_LIMIT);
    REQUIRE(!other);
    require_named(llmgpu_context_error(f.ctx), "max_memory");
    REQUIRE_INT(bytes_of(&f), ==, all);
    api_take(s, found + 2, 2);
    require_same(found, expected, 4);
    llmgpu_session_free(s);
    api_close(&f);

    // No room to work: told by the call that wants it, and nothing is lost.
    p.max_memory = all - 1;
    api_open_tiny(&f, device, &p);
    s = api_session(&f, 64, GREEDY);
    REQUIRE_INT(llmgpu_session_feed(s, f.ids, 40), ==, 0);
    REQUIRE_INT(api_next(s, &token), ==, LLMGPU_E_LIMIT);
    require_named(llmgpu_session_error(s), "max_memory");
    REQUIRE_INT(llmgpu_session_next(s, &token), ==, LLMGPU_AGAIN);
    REQUIRE_INT(llmgpu_session_generate(s, 1, NULL, NULL), ==, LLMGPU_E_LIMIT);
    require_named(llmgpu_session_error(s), "max_memory");
    llmgpu_session_free(s);
    api_close(&f);

    p.max_memory = session - 1;
    api_open_tiny(&f, device, &p);
    REQUIRE_INT(llmgpu_session_create(&s, f.model, &(llmgpu_session_params){.size = sizeof(large), .n_ctx = 64,
                                                                           .n_batch = 64, .tokens_per_submit = 1}),
                ==, LLMGPU_E_LIMIT);
    require_named(llmgpu_context_error(f.ctx), "max_memory");
    REQUIRE_INT(bytes_of(&f), ==, model);
    api_close(&f);

    // A model whose weights the device has to hold.
    llmgpu_model *m;
    p.max_memory = model > 1 ? model - 1 : 1;
    llmgpu_context *ctx = api_context(device, &p);
    int rc = llmgpu_model_load(&m, ctx, api_bundled(), NULL);
    REQUIRE(rc == LLMGPU_E_LIMIT || strcmp(device, "cpu") == 0); // where the file is read in place
    if (rc < 0)
        require_named(llmgpu_context_error(ctx), "max_memory");
    llmgpu_model_free(m);
    llmgpu_context_free(ctx);
}

static void test_session_memory(const char *device)
{
    struct api f;
    llmgpu_session *s, *fork;
    int32_t token;
    api_open_tiny(&f, device, NULL);
    // Keys and values of 2 layers, 2 heads of 8, 64 tokens.
    uint64_t cache = UINT64_C(2) * 2 * 2 * 8 * 4 * 64;
    llmgpu_session_params p = api_params(64);
    p.max_memory = cache - 1;
    REQUIRE_INT(llmgpu_session_create(&s, f.model, &p), ==, LLMGPU_E_LIMIT);
    require_named(llmgpu_context_error(f.ctx), "max_memory");
    p.max_memory = cache;
    s = api_session_with(&f, &p, GREEDY);
    REQUIRE_INT(llmgpu_session_feed(s, f.ids, 40), ==, 0);
    api_take(s, &token, 1);
    REQUIRE_INT(llmgpu_session_fork(&fork, s), ==, 0);
    llmgpu_session_free(fork);
    llmgpu_session_free(s);
    api_close(&f);
}

/* ---- deadlines */

/** Every call that may work says that the time is over; with another time all is as before. */
static void test_deadline(struct api *f)
{
    int32_t token, expected[6], found[6];
    float log_probs[4], vector[4096];
    api_answer(f, GREEDY, expected, 6);
    llmgpu_session *s = api_asked(f, N_CTX, GREEDY);
    api_take(s, found, 2);
    REQUIRE_INT(llmgpu_session_set_deadline(s, 1), ==, 0);
    sleep_us(5000);
    REQUIRE_INT(llmgpu_session_next(s, &token), ==, LLMGPU_E_TIMEOUT);
    require_named(llmgpu_session_error(s), "deadline");
    REQUIRE_INT(llmgpu_session_wait(s, UINT64_MAX), ==, 0);
    REQUIRE_INT(llmgpu_session_next(s, &token), ==, LLMGPU_E_TIMEOUT);
    REQUIRE_INT(llmgpu_session_feed(s, f->ids, 3), ==, LLMGPU_E_TIMEOUT);
    REQUIRE_INT(llmgpu_session_feed_text(s, "smith", 5, 0), ==, LLMGPU_E_TIMEOUT);
    REQUIRE_INT(llmgpu_session_generate(s, 3, NULL, NULL), ==, LLMGPU_E_TIMEOUT);
    REQUIRE_INT(llmgpu_context_step(f->ctx, UINT32_MAX), ==, 0);
    REQUIRE_INT(llmgpu_session_set_deadline(s, 0), ==, 0);
    REQUIRE_INT(llmgpu_session_set_remaining(s, UINT32_MAX), ==, 0); // generate() wanted three
    api_take(s, found + 2, 2);
    REQUIRE_INT(llmgpu_session_set_deadline(s, 3600000), ==, 0);
    api_take(s, found + 4, 2);
    require_same(found, expected, 6);

    // What was not computed waits for another time.
    REQUIRE_INT(llmgpu_session_set_deadline(s, 0), ==, 0);
    REQUIRE_INT(llmgpu_session_feed(s, f->ids, f->n), ==, 0);
    REQUIRE_INT(llmgpu_session_set_deadline(s, 1), ==, 0);
    sleep_us(5000);
    REQUIRE_INT(llmgpu_session_prefill(s), ==, LLMGPU_E_TIMEOUT);
    REQUIRE_INT(llmgpu_session_set_remaining(s, 0), ==, 0);
    REQUIRE_INT(llmgpu_session_prefill(s), ==, LLMGPU_E_TIMEOUT);
    REQUIRE_INT(llmgpu_session_set_remaining(s, UINT32_MAX), ==, 0);
    REQUIRE_INT(llmgpu_session_score(s, f->ids, 4, log_probs, NULL), ==, LLMGPU_E_TIMEOUT);
    REQUIRE_INT(llmgpu_session_embed(s, f->ids, 4, LLMGPU_POOLING_LAST, 0, vector), ==, LLMGPU_E_TIMEOUT);
    REQUIRE_INT(llmgpu_session_set_deadline(s, 0), ==, 0);
    REQUIRE_INT(llmgpu_session_score(s, f->ids, 4, log_probs, NULL), ==, 0);
    REQUIRE_INT(llmgpu_session_reset(s), ==, 0);
    REQUIRE_INT(llmgpu_session_feed(s, f->ids, f->n), ==, 0);
    api_take(s, found, 6);
    require_same(found, expected, 6);

    // A token that is there is given.
    REQUIRE_INT(llmgpu_session_wait(s, UINT64_MAX), ==, 0);
    REQUIRE_INT(llmgpu_session_set_deadline(s, 1), ==, 0);
    sleep_us(5000);
    REQUIRE_INT(llmgpu_session_next(s, &token), ==, LLMGPU_TOKEN);
    REQUIRE_INT(llmgpu_session_next(s, &token), ==, LLMGPU_E_TIMEOUT);
    llmgpu_session_free(s);
}

static void count_call(void *user)
{
    atomic_fetch_add((atomic_int *)user, 1);
}

/** Waits for a while until the count is more than n. */
static void require_called(atomic_int *count, int n)
{
    for (int i = 0; i < 5000 && atomic_load(count) <= n; i++)
        sleep_us(2000);
    REQUIRE_INT(atomic_load(count), >, n);
}

/** A thread in the background tells when the time is over, whether it works or sleeps. */
static void test_deadline_in_background(struct api *f)
{
    enum { N = 1500 };
    int32_t ids[N], token;
    atomic_int n_calls = 0;
    for (int i = 0; i < N; i++)
        ids[i] = f->ids[(size_t)i % f->n];
    llmgpu_session *s = api_session(f, 2048, GREEDY);
    struct pollfd fd = {.fd = llmgpu_session_fd(s), .events = POLLIN};
    REQUIRE_INT(llmgpu_session_set_notify(s, count_call, &n_calls), ==, 0);
    REQUIRE_INT(llmgpu_context_start(f->ctx), ==, 0);
    REQUIRE_INT(llmgpu_session_feed(s, ids, N), ==, 0);
    REQUIRE_INT(llmgpu_session_set_deadline(s, 10), ==, 0); // the prompt takes longer
    REQUIRE_INT(poll(&fd, 1, 10000), ==, 1);
    REQUIRE_INT(llmgpu_session_next(s, &token), ==, LLMGPU_E_TIMEOUT);
    require_called(&n_calls, 0);
    REQUIRE_INT(llmgpu_session_prefill(s), ==, LLMGPU_E_TIMEOUT);
    REQUIRE_INT(llmgpu_session_generate(s, 1, NULL, NULL), ==, LLMGPU_E_TIMEOUT);
    REQUIRE_INT(atomic_load(&n_calls), <=, 3); // each of the three asked anew
    REQUIRE_INT(llmgpu_session_set_deadline(s, 0), ==, 0);
    REQUIRE_INT(llmgpu_session_next(s, &token), ==, LLMGPU_AGAIN);
    REQUIRE_INT(poll(&fd, 1, 0), ==, 0);

    // While it waits: from the session's own thread and out of a call that is under way.
    REQUIRE_INT(llmgpu_session_set_deadline(s, 20), ==, 0);
    uint64_t begin = lg_now_ns();
    REQUIRE_INT(llmgpu_session_wait(s, UINT64_MAX), ==, 0);
    REQUIRE(lg_now_ns() - begin < UINT64_C(5000000000));
    REQUIRE_INT(llmgpu_session_next(s, &token), ==, LLMGPU_E_TIMEOUT);
    REQUIRE_INT(llmgpu_session_set_deadline(s, 0), ==, 0);
    REQUIRE_INT(llmgpu_session_wait(s, UINT64_MAX), ==, 0);
    REQUIRE_INT(llmgpu_session_next(s, &token), ==, LLMGPU_TOKEN);
    REQUIRE_INT(llmgpu_context_stop(f->ctx), ==, 0);
    llmgpu_session_free(s);
}

/* ---- the context's end */

static void test_full(struct api *f)
{
    int32_t tokens[8], token;
    uint32_t n = (uint32_t)f->n;
    llmgpu_session *s = api_session(f, n + 4, GREEDY);
    REQUIRE_INT(llmgpu_session_feed(s, f->ids, n), ==, 0);
    REQUIRE_INT(llmgpu_session_feed(s, f->ids, 5), ==, LLMGPU_E_CONTEXT_FULL);
    REQUIRE_INT(api_stats(s).n_tokens, ==, n);
    REQUIRE_INT(llmgpu_session_generate(s, UINT32_MAX, NULL, NULL), ==, LLMGPU_E_CONTEXT_FULL);
    REQUIRE_INT(api_stats(s).n_tokens, ==, n + 5); // the last one has no successor
    REQUIRE_INT(llmgpu_session_next(s, &token), ==, LLMGPU_E_CONTEXT_FULL);
    REQUIRE_INT(llmgpu_session_feed(s, f->ids, 1), ==, LLMGPU_E_CONTEXT_FULL);
    REQUIRE_INT(llmgpu_session_wait(s, UINT64_MAX), ==, 0);
    REQUIRE_INT(llmgpu_context_step(f->ctx, UINT32_MAX), ==, 0);
    REQUIRE_INT(llmgpu_session_rewind(s, n), ==, 0);
    api_take(s, tokens, 5);
    REQUIRE_INT(llmgpu_session_next(s, &token), ==, LLMGPU_E_CONTEXT_FULL);
    REQUIRE_INT(llmgpu_session_rewind(s, n + 3), ==, 0);
    REQUIRE_INT(llmgpu_session_feed(s, f->ids, 1), ==, 0); // the last place
    api_take(s, tokens, 1);
    REQUIRE_INT(llmgpu_session_next(s, &token), ==, LLMGPU_E_CONTEXT_FULL);
    llmgpu_session_free(s);
}

int main(int argc, char **argv)
{
    const char *device = argc > 1 ? argv[1] : "cpu";
    struct api f;
    for (int i = 0; i < N_BOTHS; i++) {
        llmgpu_context_params p = context_params();
        p.max_prompt_tokens = boths[i].context;
        api_open_tiny(&f, device, &p);
        check_prompt_tokens(&f, &boths[i]);
        api_close(&f);
        p.max_prompt_tokens = 0;
        p.max_generated_tokens = boths[i].context;
        api_open_tiny(&f, device, &p);
        check_generated_tokens(&f, &boths[i], i % 2 ? 8 : 1);
        api_close(&f);
    }
    test_time(device);
    test_sessions(device);
    test_context_memory(device);
    test_session_memory(device);
    api_open(&f, device, NULL);
    test_deadline(&f);
    test_deadline_in_background(&f);
    test_full(&f);
    api_close(&f);
    return 0;
}
