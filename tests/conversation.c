/* SPDX-License-Identifier: MIT
 *
 * What can be done to a conversation, on the device that the first argument names: forks, rewinding, growing neighbours,
 * stop tokens. Whatever was done, it goes on as one would that was only ever told what is in it now, to the bit.
 */
#include "api.h"

enum { N_TAIL = 8, PAGE = 32 };

/** The tokens of a session. */
static int read_tokens(const llmgpu_session *s, int32_t *out, size_t capacity)
{
    size_t n;
    REQUIRE_INT(llmgpu_session_get_tokens(s, out, capacity, &n), ==, 0);
    return (int)n;
}

static llmgpu_session *fork_of(llmgpu_session *original)
{
    llmgpu_session *s;
    REQUIRE_INT(llmgpu_session_fork(&s, original), ==, 0);
    return s;
}

static void step_through(struct api *f)
{
    while (llmgpu_context_step(f->ctx, UINT32_MAX) > 0)
        ;
}

/** What the prompt's first n tokens are answered with. */
static void answer_to(struct api *f, size_t n, uint64_t seed, int32_t *out, int n_out)
{
    llmgpu_session *s = api_session(f, 256, seed);
    REQUIRE_INT(llmgpu_session_feed(s, f->ids, n), ==, 0);
    api_take(s, out, n_out);
    llmgpu_session_free(s);
}

/* ---- forks */

/** Where a session stands when it is forked. */
struct point {
    const char *name;
    int n_steps;    // of 100 us, after it was fed
    int n_taken;    // before
    bool fed;
    bool ahead;     // with a token that was not taken
};

static const struct point points[] = {
    {"before anything", 0, 0, false, false}, {"when fed", 0, 0, true, false},
    {"inside the prompt", 2, 0, true, false}, {"before the answer", 1000, 0, true, true},
    {"inside the answer", 0, 5, true, false},  {"inside a token", 1, 5, true, false},
    {"with a token ahead", 1000, 5, true, true},
};

static void check_fork(struct api *f, const struct point *p)
{
    int32_t expected[2 * N_TAIL], a[2 * N_TAIL], b[2 * N_TAIL], tokens[256];
    answer_to(f, f->n, DRAWN, expected, 2 * N_TAIL);
    llmgpu_session *s = api_session(f, 256, DRAWN);
    if (p->fed)
        REQUIRE_INT(llmgpu_session_feed(s, f->ids, f->n), ==, 0);
    api_take(s, a, p->n_taken);
    memcpy(b, a, sizeof(b));
    for (int i = 0; i < p->n_steps && llmgpu_context_step(f->ctx, 100) > 0; i++)
        ;
    llmgpu_session *fork = fork_of(s);
    REQUIRE_INT(read_tokens(fork, tokens, 256), ==, (int)(p->fed ? f->n : 0) + p->n_taken);
    REQUIRE_INT(api_stats(fork).n_generated, ==, p->n_taken);
    if (!p->fed) {
        REQUIRE_INT(llmgpu_session_next(fork, b), ==, LLMGPU_E_INVALID);
        REQUIRE_INT(llmgpu_session_feed(fork, f->ids, f->n), ==, 0);
        REQUIRE_INT(llmgpu_session_next(s, a), ==, LLMGPU_E_INVALID);
        REQUIRE_INT(llmgpu_session_feed(s, f->ids, f->n), ==, 0);
    }
    // What was computed and not given stays with the original.
    REQUIRE_INT(llmgpu_session_next(fork, b + p->n_taken), ==, LLMGPU_AGAIN);
    if (p->ahead)
        REQUIRE_INT(llmgpu_session_next(s, a + p->n_taken), ==, LLMGPU_TOKEN);
    for (int i = p->n_taken + p->ahead; i < 2 * N_TAIL; i++)
        api_take(s, a + i, 1);
    for (int i = p->n_taken; i < 2 * N_TAIL; i++)
        api_take(fork, b + i, 1);
    require_same(a, expected, 2 * N_TAIL);
    require_same(b, expected, 2 * N_TAIL);
    llmgpu_session_free(s);
    llmgpu_session_free(fork);
}

/** Writing on either side does not show on the other; forks of forks; freed in any order. */
static void test_copy_on_write(struct api *f)
{
    static const int orders[][4] = {{0, 1, 2, 3}, {3, 2, 1, 0}, {1, 3, 0, 2}};
    int32_t alone[2][N_TAIL], found[4][N_TAIL];
    int32_t ids[200];
    for (int i = 0; i < 200; i++)
        ids[i] = f->ids[(size_t)i % f->n];
    for (int i = 0; i < 2; i++) { // what follows 150 tokens, and 70 and then 40 of others
        llmgpu_session *s = api_session(f, 256, DRAWN);
        REQUIRE_INT(llmgpu_session_feed(s, ids, i ? 70 : 150), ==, 0);
        if (i)
            REQUIRE_INT(llmgpu_session_feed(s, ids + 3, 40), ==, 0);
        api_take(s, alone[i], N_TAIL);
        llmgpu_session_free(s);
    }
    for (size_t o = 0; o < sizeof(orders) / sizeof(orders[0]); o++) {
        llmgpu_session *s[4];
        s[0] = api_session(f, 256, DRAWN);
        REQUIRE_INT(llmgpu_session_feed(s[0], ids, 150), ==, 0);
        REQUIRE_INT(llmgpu_session_prefill(s[0]), ==, 0);
        s[1] = fork_of(s[0]);
        s[2] = fork_of(s[1]);
        s[3] = fork_of(s[2]);
        REQUIRE_INT(api_stats(s[3]).n_shared, ==, 128);
        REQUIRE_INT(api_stats(s[0]).n_shared, ==, 128);
        for (int i = 0; i < 4; i += 2) { // the original, and a fork of a fork
            REQUIRE_INT(llmgpu_session_rewind(s[i], 70), ==, 0);
            REQUIRE_INT(llmgpu_session_feed(s[i], ids + 3, 40), ==, 0);
        }
        for (int k = 0; k < N_TAIL; k++)
            for (int i = 0; i < 4; i++)
                api_take(s[i], &found[i][k], 1);
        for (int i = 0; i < 4; i++)
            require_same(found[i], alone[i % 2 == 0], N_TAIL);
        // The two that were rewound wrote into the third page: it is their own now.
        REQUIRE_INT(api_stats(s[0]).n_shared, ==, 64);
        REQUIRE_INT(api_stats(s[3]).n_shared, ==, 128);
        for (int i = 0; i < 4; i++) {
            llmgpu_session_free(s[orders[o][i]]);
            for (int k = i + 1; k < 4; k++) { // the rest goes on
                REQUIRE_INT(llmgpu_session_rewind(s[orders[o][k]], (uint32_t)(orders[o][k] % 2 ? 150 : 110)), ==, 0);
                api_take(s[orders[o][k]], found[0], N_TAIL);
                require_same(found[0], alone[orders[o][k] % 2 == 0], N_TAIL);
            }
        }
    }
}

/** Bytes on the device once a session has all that it works with. */
static uint64_t bytes_with(struct api *f, llmgpu_session *s)
{
    int32_t token;
    REQUIRE_INT(llmgpu_session_feed(s, f->ids, 3), ==, 0);
    api_take(s, &token, 1);
    return api_device_bytes(f);
}

/** A fork takes the pages that it does not share. In a new pool, where none is free. */
static void test_fork_memory(struct api *f)
{
    enum { N_CTX = 512, N = 480 };
    int32_t ids[N];
    for (int i = 0; i < N; i++)
        ids[i] = f->ids[(size_t)i % f->n];
    llmgpu_session *s = api_session(f, N_CTX, GREEDY);
    REQUIRE_INT(llmgpu_session_feed(s, ids, N), ==, 0);
    uint64_t one = bytes_with(f, s);
    llmgpu_session *fork = fork_of(s);
    uint64_t forked = bytes_with(f, fork) - one;
    llmgpu_session *other = api_session(f, N_CTX, GREEDY);
    uint64_t whole = bytes_with(f, other) - one - forked;
    fprintf(stderr, "a session takes %llu bytes, a fork of %d tokens %llu\n", (unsigned long long)whole, N,
            (unsigned long long)forked);
    REQUIRE_INT(forked * 16, ==, whole); // of 16 pages, 15 are shared
    REQUIRE_INT(api_stats(fork).n_shared, ==, N / PAGE * PAGE);
    llmgpu_session_free(s);
    llmgpu_session_free(fork);
    llmgpu_session_free(other);
}

/* ---- rewinding */

static void test_rewind(struct api *f)
{
    enum { N = 70, N_TAKEN = 40 };
    static const uint32_t places[] = {109, 97, 96, 95, 90, 71, 70, 69, 65, 64, 63, 40, 33, 32, 31, 2, 1};
    int32_t ids[N], taken[N_TAKEN], found[N_TAIL], expected[N_TAIL], tokens[128];
    for (int i = 0; i < N; i++)
        ids[i] = f->ids[(size_t)i % f->n];
    llmgpu_session *s = api_session(f, 128, DRAWN);
    REQUIRE_INT(llmgpu_session_feed(s, ids, N), ==, 0);
    api_take(s, taken, N_TAKEN);
    REQUIRE_INT(llmgpu_session_rewind(s, N + N_TAKEN + 1), ==, LLMGPU_E_INVALID);
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        uint32_t n = places[i];
        REQUIRE_INT(llmgpu_session_rewind(s, n), ==, 0);
        REQUIRE_INT(read_tokens(s, tokens, 128), ==, (int)n);
        require_same(tokens, ids, (int)(n < N ? n : N));
        require_same(tokens + N, taken, n > N ? (int)n - N : 0);
        // The same beginning without a past.
        llmgpu_session *fresh = api_session(f, 128, DRAWN);
        REQUIRE_INT(llmgpu_session_feed(fresh, ids, n < N ? n : N), ==, 0);
        api_take(fresh, tokens, n > N ? (int)n - N : 0);
        api_take(fresh, expected, N_TAIL);
        api_take(s, found, N_TAIL);
        require_same(found, expected, N_TAIL);
        llmgpu_session_free(fresh);
    }
    REQUIRE_INT(llmgpu_session_rewind(s, 0), ==, 0);
    REQUIRE_INT(llmgpu_session_next(s, tokens), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_session_feed(s, ids, N), ==, 0);
    api_take(s, found, N_TAIL);
    require_same(found, taken, N_TAIL);

    // Borders of pages, with what is fed behind them.
    for (uint32_t n = PAGE - 1; n <= PAGE + 1; n++) {
        llmgpu_session *fresh = api_session(f, 128, DRAWN);
        REQUIRE_INT(llmgpu_session_rewind(s, n), ==, 0);
        REQUIRE_INT(llmgpu_session_feed(s, ids + 5, 9), ==, 0);
        REQUIRE_INT(llmgpu_session_feed(fresh, ids, n), ==, 0);
        REQUIRE_INT(llmgpu_session_feed(fresh, ids + 5, 9), ==, 0);
        api_take(s, found, N_TAIL);
        api_take(fresh, expected, N_TAIL);
        require_same(found, expected, N_TAIL);
        llmgpu_session_free(fresh);
        REQUIRE_INT(llmgpu_session_rewind(s, n), ==, 0);
        REQUIRE_INT(llmgpu_session_feed(s, ids + n, N - n), ==, 0);
        REQUIRE_INT(llmgpu_session_prefill(s), ==, 0);
    }
    api_take(s, found, N_TAIL);

    // An answer that is over stays so, unless some of it is taken back.
    REQUIRE_INT(llmgpu_session_add_stop_token(s, found[N_TAIL - 1]), ==, 0);
    int32_t token;
    int rc = 0;
    uint32_t before = api_stats(s).n_tokens;
    REQUIRE_INT(llmgpu_session_rewind(s, before - N_TAIL), ==, 0);
    while ((rc = api_next(s, &token)) == LLMGPU_TOKEN)
        ;
    REQUIRE_INT(rc, ==, LLMGPU_DONE);
    uint32_t n = api_stats(s).n_tokens;
    REQUIRE_INT(n, <=, before);
    REQUIRE_INT(llmgpu_session_rewind(s, n), ==, 0);
    REQUIRE_INT(api_next(s, &token), ==, LLMGPU_DONE);
    REQUIRE_INT(llmgpu_session_rewind(s, n - 1), ==, 0);
    REQUIRE_INT(api_next(s, &token), ==, LLMGPU_TOKEN);
    llmgpu_session_free(s);
}

/** Tokens can be read in pieces of room, also while some are ahead; a reset leaves none. */
static void test_history(struct api *f)
{
    int32_t taken[6], tokens[64];
    size_t n = 99;
    llmgpu_session *s = api_session(f, 128, DRAWN);
    REQUIRE_INT(llmgpu_session_get_tokens(s, NULL, 0, &n), ==, 0);
    REQUIRE_INT(n, ==, 0);
    REQUIRE_INT(llmgpu_session_feed(s, f->ids, 20), ==, 0);
    api_take(s, taken, 6);
    step_through(f); // one more is there
    REQUIRE_INT(llmgpu_session_get_tokens(s, NULL, 0, &n), ==, LLMGPU_E_RANGE);
    REQUIRE_INT(n, ==, 26);
    REQUIRE_INT(llmgpu_session_get_tokens(s, tokens, 25, &n), ==, LLMGPU_E_RANGE);
    REQUIRE_INT(llmgpu_session_get_tokens(s, tokens, 26, &n), ==, 0);
    require_same(tokens, f->ids, 20);
    require_same(tokens + 20, taken, 6);
    llmgpu_session_stats stats = api_stats(s);
    REQUIRE_INT(stats.n_tokens, ==, 26);
    REQUIRE_INT(stats.n_computed, ==, 26);
    REQUIRE_INT(stats.n_prompt, ==, 20);
    REQUIRE_INT(stats.n_generated, ==, 6);
    REQUIRE_INT(stats.n_shared, ==, 0);
    REQUIRE_INT(stats.decode_submits, ==, 7);
    REQUIRE_INT(stats.prompt_submits, >=, 1);
    REQUIRE(stats.prompt_ns > 0 && stats.decode_ns > 0);
    REQUIRE_INT(llmgpu_session_reset(s), ==, 0);
    stats = api_stats(s);
    REQUIRE(stats.n_tokens == 0 && stats.n_computed == 0 && stats.n_prompt == 0 && stats.n_generated == 0);
    REQUIRE(stats.prompt_ns == 0 && stats.decode_ns == 0 && stats.decode_submits == 0 && stats.prompt_submits == 0);
    REQUIRE_INT(llmgpu_session_feed(s, f->ids, 20), ==, 0);
    api_take(s, tokens, 6);
    require_same(tokens, taken, 6);
    llmgpu_session_free(s);
}

/* ---- neighbours */

/** Everything moves to larger buffers while passes are half done. */
static void test_growth(struct api *f)
{
    enum { N = 3 };
    int32_t expected[N][N_TAIL], found[N][N_TAIL];
    for (int i = 0; i < N; i++)
        answer_to(f, f->n - (size_t)i, DRAWN, expected[i], N_TAIL);
    llmgpu_session *s[N], *large[N_TAIL];
    int n_grown = 0;
    for (int i = 0; i < N; i++) {
        s[i] = api_session(f, 64, DRAWN);
        REQUIRE_INT(llmgpu_session_feed(s[i], f->ids, f->n - (size_t)i), ==, 0);
    }
    for (int k = 0; k < N_TAIL; k++) {
        uint64_t before = api_device_bytes(f);
        REQUIRE_INT(llmgpu_context_step(f->ctx, 1), >=, 1); // leaves a pass in its middle
        llmgpu_session_params p = api_params(64 + 32 * (uint32_t)k);
        p.n_batch = 20 + (uint32_t)k;
        large[k] = api_session_with(f, &p, GREEDY);
        n_grown += api_device_bytes(f) > before;
        for (int i = 0; i < N; i++) {
            api_take(s[i], &found[i][k], 1);
            REQUIRE_INT(llmgpu_context_step(f->ctx, 1), >=, 1);
        }
    }
    REQUIRE_INT(n_grown, >=, N_TAIL - 2);
    for (int i = 0; i < N; i++)
        require_same(found[i], expected[i], N_TAIL);
    for (int k = 0; k < N_TAIL; k++)
        llmgpu_session_free(large[k]);
    for (int i = 0; i < N; i++)
        llmgpu_session_free(s[i]);
}

/* ---- ends */

/** How many tokens come before the answer is over, at most n. */
static int count_answer(llmgpu_session *s, int32_t *out, int n)
{
    int i = 0, rc = LLMGPU_TOKEN;
    while (i < n && (rc = api_next(s, &out[i])) == LLMGPU_TOKEN)
        i++;
    REQUIRE(i == n || rc == LLMGPU_DONE);
    return i;
}

static void check_stop_tokens(struct api *f, uint32_t per_submit, bool background)
{
    enum { N = 24 };
    int32_t expected[N], found[N];
    answer_to(f, f->n, DRAWN, expected, N);
    int at = 6; // where a token comes for the first time
    for (bool first = false; !first; at += !first) {
        first = true;
        for (int i = 0; i < at; i++)
            first = first && expected[i] != expected[at];
    }
    REQUIRE_INT(at, <, N - 4);
    llmgpu_session_params p = api_params(256);
    p.tokens_per_submit = per_submit;
    llmgpu_session *s = api_session_with(f, &p, DRAWN);
    if (background)
        REQUIRE_INT(llmgpu_context_start(f->ctx), ==, 0);
    REQUIRE_INT(llmgpu_session_add_stop_token(s, expected[at]), ==, 0);
    REQUIRE_INT(llmgpu_session_feed(s, f->ids, f->n), ==, 0);
    REQUIRE_INT(count_answer(s, found, N), ==, at + 1);
    require_same(found, expected, at + 1);
    REQUIRE_INT(api_next(s, found), ==, LLMGPU_DONE);

    // Forks have them as well, and lose them alone.
    llmgpu_session *fork = fork_of(s);
    REQUIRE_INT(llmgpu_session_clear_stops(fork), ==, 0);
    REQUIRE_INT(llmgpu_session_rewind(fork, (uint32_t)f->n), ==, 0);
    REQUIRE_INT(count_answer(fork, found, N), ==, N);
    require_same(found, expected, N);
    REQUIRE_INT(llmgpu_session_rewind(s, (uint32_t)f->n), ==, 0);
    REQUIRE_INT(count_answer(s, found, N), ==, at + 1);
    llmgpu_session_free(fork);

    // One that is set, or taken back, when tokens were sampled ahead already.
    REQUIRE_INT(llmgpu_session_clear_stops(s), ==, 0);
    REQUIRE_INT(llmgpu_session_rewind(s, (uint32_t)f->n), ==, 0);
    api_take(s, found, at - 1);
    REQUIRE_INT(llmgpu_session_wait(s, UINT64_MAX), ==, 0);
    sleep_us(20000);
    REQUIRE_INT(llmgpu_session_add_stop_token(s, expected[at]), ==, 0);
    REQUIRE_INT(count_answer(s, found, N), ==, 2);
    REQUIRE_INT(llmgpu_session_rewind(s, (uint32_t)(f->n + (size_t)at - 1)), ==, 0);
    REQUIRE_INT(llmgpu_session_wait(s, UINT64_MAX), ==, 0);
    sleep_us(20000);
    REQUIRE_INT(llmgpu_session_clear_stops(s), ==, 0);
    REQUIRE_INT(count_answer(s, found, N - at), ==, N - at);
    require_same(found, expected + at - 1, N - at);

    for (int i = 0; i < 16; i++)
        REQUIRE_INT(llmgpu_session_add_stop_token(s, i), ==, 0);
    REQUIRE_INT(llmgpu_session_add_stop_token(s, 16), ==, LLMGPU_E_LIMIT);
    REQUIRE_INT(llmgpu_session_clear_stops(s), ==, 0);
    REQUIRE_INT(llmgpu_session_add_stop_token(s, (int32_t)f->n_vocab), ==, LLMGPU_E_INVALID);
    if (background)
        REQUIRE_INT(llmgpu_context_stop(f->ctx), ==, 0);
    llmgpu_session_free(s);
}

/** The model's own ends count, unless they are ignored. */
static void test_own_ends(struct api *f)
{
    enum { N = 100 };
    int32_t with[N], without[N];
    llmgpu_session_params p = api_params(256);
    for (int ignore = 0; ignore < 2; ignore++) {
        p.ignore_end = (uint32_t)ignore;
        llmgpu_session *s = api_session_with(f, &p, GREEDY);
        REQUIRE_INT(llmgpu_session_feed(s, f->ids, f->n), ==, 0);
        int n = count_answer(s, ignore ? without : with, N);
        if (ignore)
            REQUIRE_INT(n, ==, N);
        else
            REQUIRE(n > 3 && n < N && llmgpu_model_is_end(f->model, with[n - 1]));
        llmgpu_session_free(s);
    }
    int n = 0;
    while (!llmgpu_model_is_end(f->model, with[n]))
        n++;
    require_same(with, without, n + 1);
}

/* ---- at random */

enum { MAX_CTX = 320, MAX_ALIVE = 10, N_CANDIDATES = 4 };

/** A session, and what is in it. */
struct shadow {
    llmgpu_session *s;
    uint32_t n_ctx;
    uint64_t seed;
    int n;
    int32_t tokens[MAX_CTX + 1];
    bool taken[MAX_CTX + 1];
    uint64_t seeds[MAX_CTX + 1]; // that a token was drawn with
};

struct world {
    struct api *f;
    struct test_rng rng;
    struct shadow all[MAX_ALIVE];
    int n_alive;
    bool background;
    unsigned n_checks;
};

static void note_taken(struct shadow *x, int32_t token)
{
    x->tokens[x->n] = token;
    x->taken[x->n] = true;
    x->seeds[x->n++] = x->seed;
}

static void note_fed(struct shadow *x, const int32_t *tokens, int n)
{
    for (int i = 0; i < n; i++) {
        x->tokens[x->n] = tokens[i];
        x->taken[x->n++] = false;
    }
}

static void require_shadow(const struct shadow *x)
{
    int32_t tokens[MAX_CTX + 1];
    REQUIRE_INT(read_tokens(x->s, tokens, MAX_CTX + 1), ==, x->n);
    require_same(tokens, x->tokens, x->n);
}

/** A session that is told the same, with nothing else behind it. */
static llmgpu_session *tell_again(struct world *w, const struct shadow *x)
{
    llmgpu_session_params p = api_params(x->n_ctx);
    p.n_candidates = N_CANDIDATES;
    llmgpu_session *s = api_session_with(w->f, &p, x->seed);
    for (int i = 0, n; i < x->n; i += n) {
        n = 1;
        if (x->taken[i]) {
            int32_t token;
            if (i == 0 || !x->taken[i - 1] || x->seeds[i] != x->seeds[i - 1])
                api_set_seed(s, x->seeds[i]);
            api_take(s, &token, 1);
            REQUIRE_INT(token, ==, x->tokens[i]);
            continue;
        }
        while (i + n < x->n && !x->taken[i + n])
            n++;
        REQUIRE_INT(llmgpu_session_feed(s, x->tokens + i, (size_t)n), ==, 0);
    }
    api_set_seed(s, x->seed);
    return s;
}

/** A fork goes on with the same tokens, and thinks the same of others. */
static void check_shadow(struct world *w, const struct shadow *x)
{
    int most = (int)x->n_ctx - x->n;
    if (x->n == 0 || most < 1)
        return;
    llmgpu_session *both[2] = {fork_of(x->s), tell_again(w, x)};
    for (int i = 0; i < (most < 3 ? most : 3); i++) {
        int32_t token[2];
        llmgpu_candidate top[2][N_CANDIDATES];
        for (int k = 0; k < 2; k++) {
            size_t n;
            api_take(both[k], &token[k], 1);
            REQUIRE_INT(llmgpu_session_get_candidates(both[k], NULL, top[k], N_CANDIDATES, &n), ==, 0);
            REQUIRE_INT(n, ==, N_CANDIDATES);
        }
        REQUIRE_INT(token[0], ==, token[1]);
        REQUIRE(memcmp(top[0], top[1], sizeof(top[0])) == 0);
    }
    llmgpu_session_free(both[0]);
    llmgpu_session_free(both[1]);
    w->n_checks++;
}

static struct shadow *any(struct world *w)
{
    return w->n_alive ? &w->all[test_randu(&w->rng, 0, (uint32_t)w->n_alive - 1)] : NULL;
}

static void op_create(struct world *w, struct shadow *x)
{
    static const uint32_t sizes[] = {48, 64, 100, 192, MAX_CTX};
    (void)x;
    if (w->n_alive == MAX_ALIVE)
        return;
    llmgpu_session_params p = api_params(sizes[test_randu(&w->rng, 0, 4)]);
    p.n_batch = test_randu(&w->rng, 1, 60);
    p.n_candidates = N_CANDIDATES;
    struct shadow *made = &w->all[w->n_alive++];
    *made = (struct shadow){.n_ctx = p.n_ctx, .seed = DRAWN};
    made->s = api_session_with(w->f, &p, DRAWN);
}

static void op_fork(struct world *w, struct shadow *x)
{
    if (w->n_alive == MAX_ALIVE)
        return;
    struct shadow *made = &w->all[w->n_alive++];
    *made = *x;
    made->s = fork_of(x->s);
}

static void op_feed(struct world *w, struct shadow *x)
{
    int32_t tokens[50];
    int n = (int)test_randu(&w->rng, 1, 50);
    for (int i = 0; i < n; i++)
        tokens[i] = (int32_t)test_randu(&w->rng, 0, w->f->n_vocab - 1);
    bool fits = x->n + n <= (int)x->n_ctx;
    REQUIRE_INT(llmgpu_session_feed(x->s, tokens, (size_t)n), ==, fits ? 0 : LLMGPU_E_CONTEXT_FULL);
    if (fits)
        note_fed(x, tokens, n);
}

static void op_take(struct world *w, struct shadow *x)
{
    int n = (int)test_randu(&w->rng, 1, 6);
    for (int i = 0; i < n && x->n && x->n <= (int)x->n_ctx; i++) {
        int32_t token;
        api_take(x->s, &token, 1);
        note_taken(x, token);
    }
}

static void op_rewind(struct world *w, struct shadow *x)
{
    int n = (int)test_randu(&w->rng, 0, (uint32_t)x->n);
    REQUIRE_INT(llmgpu_session_rewind(x->s, (uint32_t)n), ==, 0);
    x->n = n;
}

static void op_seed(struct world *w, struct shadow *x)
{
    x->seed = DRAWN + test_randu(&w->rng, 0, 3);
    api_set_seed(x->s, x->seed);
}

static void op_reset(struct world *w, struct shadow *x)
{
    (void)w;
    REQUIRE_INT(llmgpu_session_reset(x->s), ==, 0);
    x->n = 0;
}

static void op_step(struct world *w, struct shadow *x)
{
    (void)x;
    REQUIRE_INT(llmgpu_context_step(w->f->ctx, test_randu(&w->rng, 1, 200)), >=, 0);
}

static void op_warm_up(struct world *w, struct shadow *x)
{
    (void)w;
    int rc = llmgpu_session_warm_up(x->s);
    REQUIRE(rc == 0 || (rc == LLMGPU_E_CONTEXT_FULL && x->n >= (int)x->n_ctx));
}

/** What is left of a conversation is its beginning; it is over until more is fed. */
static void op_cancel(struct world *w, struct shadow *x)
{
    int32_t tokens[MAX_CTX + 1], token = (int32_t)test_randu(&w->rng, 0, w->f->n_vocab - 1);
    llmgpu_session_cancel(x->s);
    REQUIRE_INT(llmgpu_session_next(x->s, tokens), ==, LLMGPU_E_CANCELLED);
    int n = read_tokens(x->s, tokens, MAX_CTX + 1);
    REQUIRE_INT(n, <=, x->n);
    x->n = n;
    require_shadow(x);
    if (n >= (int)x->n_ctx)
        op_rewind(w, x);
    REQUIRE_INT(llmgpu_session_feed(x->s, &token, 1), ==, x->n < (int)x->n_ctx ? 0 : LLMGPU_E_CONTEXT_FULL);
    if (x->n < (int)x->n_ctx)
        note_fed(x, &token, 1);
}

/** Through memory into another session, perhaps only what is different from a third. */
static void op_save(struct world *w, struct shadow *x)
{
    static uint8_t state[1 << 20];
    size_t size;
    struct shadow *to = any(w), *base = any(w);
    int kind = (int)test_randu(&w->rng, 0, 1);
    bool delta = test_randu(&w->rng, 0, 1) && base != to;
    if (x->n > (int)to->n_ctx)
        return;
    REQUIRE_INT(llmgpu_session_save(x->s, kind, delta ? base->s : NULL, state, sizeof(state), &size), ==, 0);
    int rc = llmgpu_session_restore(to->s, state, size);
    REQUIRE(rc == 0 || (delta && rc == LLMGPU_E_INVALID)); // it does not begin with the same
    if (rc < 0)
        return;
    int n = x->n;
    to->seed = x->seed;
    memmove(to->tokens, x->tokens, (size_t)n * sizeof(x->tokens[0]));
    memmove(to->taken, x->taken, (size_t)n * sizeof(x->taken[0]));
    memmove(to->seeds, x->seeds, (size_t)n * sizeof(x->seeds[0]));
    to->n = n;
}

static void op_free(struct world *w, struct shadow *x)
{
    llmgpu_session_free(x->s);
    *x = w->all[--w->n_alive];
}

static void op_thread(struct world *w, struct shadow *x)
{
    (void)x;
    if (!w->background)
        return;
    REQUIRE_INT(llmgpu_context_stop(w->f->ctx), ==, 0);
    REQUIRE_INT(llmgpu_context_start(w->f->ctx), ==, 0);
}

static const struct op {
    void (*run)(struct world *w, struct shadow *x);
    const char *name;
    uint32_t weight;
} ops[] = {
    {op_create, "create", 8},   {op_fork, "fork", 12}, {op_feed, "feed", 20},   {op_take, "take", 20},
    {op_rewind, "rewind", 10},  {op_seed, "seed", 4},  {op_reset, "reset", 2},  {op_step, "step", 14},
    {op_warm_up, "warm up", 2}, {op_save, "save", 8},  {op_cancel, "cancel", 4}, {op_free, "free", 8},
    {op_thread, "thread", 2},
};

static const struct op *pick(struct world *w)
{
    uint32_t sum = 0, at;
    for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
        sum += ops[i].weight;
    at = test_randu(&w->rng, 0, sum - 1);
    const struct op *op = ops;
    for (; at >= op->weight; op++)
        at -= op->weight;
    return op;
}

/** The same every time: what is left afterwards must be so too. */
static uint64_t run_at_random(struct api *f, uint64_t seed, unsigned n_ops, bool background)
{
    static struct world w;
    w = (struct world){.f = f, .rng = {seed}, .background = background};
    if (background)
        REQUIRE_INT(llmgpu_context_start(f->ctx), ==, 0);
    for (unsigned i = 0; i < n_ops; i++) {
        const struct op *op = pick(&w);
        struct shadow *x = any(&w);
        if (!x && op->run != op_create)
            continue;
        op->run(&w, x);
        if ((x = any(&w)) != NULL)
            require_shadow(x);
        if (x && i % 8 == 0)
            check_shadow(&w, x);
    }
    for (int i = 0; i < w.n_alive; i++)
        check_shadow(&w, &w.all[i]);
    while (w.n_alive)
        op_free(&w, any(&w));
    if (background)
        REQUIRE_INT(llmgpu_context_stop(f->ctx), ==, 0);
    fprintf(stderr, "seed %u: %u operations, %u of the sessions compared\n", (unsigned)seed, n_ops, w.n_checks);
    return api_device_bytes(f);
}

static void test_at_random(struct api *f)
{
    unsigned n = f->on_cpu ? 800 : 200;
    // How many sessions happened to share a pass decides how large it was made. If pages were lost, each would take more.
    uint64_t bytes = run_at_random(f, 1, n, false), again = run_at_random(f, 1, n, false);
    for (int i = 0; i < 4 && again != bytes; i++) {
        bytes = again;
        again = run_at_random(f, 1, n, false);
    }
    REQUIRE_INT(again, ==, bytes);
    for (uint64_t seed = 2; seed < (f->on_cpu ? 5 : 2); seed++)
        run_at_random(f, seed, n, false);
    run_at_random(f, 9, n, true);
}

int main(int argc, char **argv)
{
    const char *device = argc > 1 ? argv[1] : "cpu";
    struct api f;
    api_open_tiny(&f, device, NULL);
    test_growth(&f);
    for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
        fprintf(stderr, "forked %s\n", points[i].name);
        check_fork(&f, &points[i]);
    }
    test_copy_on_write(&f);
    test_rewind(&f);
    test_history(&f);
    check_stop_tokens(&f, 1, false);
    check_stop_tokens(&f, 10, false);
    check_stop_tokens(&f, 1, true);
    api_close(&f);

    api_open_tiny(&f, device, NULL);
    test_fork_memory(&f);
    test_at_random(&f);
    api_close(&f);

    api_open(&f, device, NULL);
    test_own_ends(&f);
    api_close(&f);
    return 0;
}
