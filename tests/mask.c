/* SPDX-License-Identifier: MIT
 *
 * Logit biases and masks through the public API, on the device that the first argument names: what they do to the tokens of a
 * session, what they leave alone, and what happens when nothing is left to draw.
 */
#include "api.h"

enum { N_ANSWER = 10, N_CTX = 128, N_TOP = 8, MAX_WORDS = 64 };

/** A mask of some tokens, and what it was asked. */
struct rule {
    struct api *a;
    llmgpu_session *s;
    int32_t allowed[4];
    uint32_t n_allowed; // 0: none is
    bool refuses;       // answers with a failure
    bool calls_back;
    uint32_t n_asked;
    size_t n_tokens; // that it was asked about last
};

static int ask(void *user, const int32_t *tokens, size_t n_tokens, uint32_t *mask, size_t n_words)
{
    struct rule *r = user;
    int32_t last = tokens[n_tokens - 1];
    r->n_asked++;
    r->n_tokens = n_tokens;
    REQUIRE(last >= 0 && (uint32_t)last < r->a->n_vocab);
    REQUIRE_INT(n_words, ==, (r->a->n_vocab + 31) / 32);
    for (size_t i = 0; i < n_words; i++) {
        REQUIRE_INT(mask[i], ==, UINT32_MAX);
        mask[i] = 0;
    }
    for (uint32_t i = 0; i < r->n_allowed; i++)
        mask[r->allowed[i] / 32] |= 1u << r->allowed[i] % 32;
    if (r->calls_back) {
        REQUIRE_INT(llmgpu_context_step(r->a->ctx, 1000), ==, LLMGPU_E_BUSY);
        REQUIRE_INT(llmgpu_session_wait(r->s, UINT64_MAX), ==, LLMGPU_E_BUSY);
        REQUIRE_INT(llmgpu_session_set_mask(r->s, NULL, NULL), ==, LLMGPU_E_BUSY);
    }
    return r->refuses;
}

/** The mask itself does nothing. */
static int allow_all(void *user, const int32_t *tokens, size_t n_tokens, uint32_t *mask, size_t n_words)
{
    (void)tokens;
    (void)n_tokens;
    memset(mask, 0xff, n_words * sizeof(*mask));
    (*(uint32_t *)user)++;
    return 0;
}

/* ---- biases */

static void test_biases(struct api *a, uint64_t seed)
{
    int32_t usual[N_ANSWER], got[N_ANSWER];
    llmgpu_session *s = api_asked(a, N_CTX, seed);
    api_take(s, usual, N_ANSWER);
    for (int round = 0; round < 3; round++) {
        llmgpu_logit_bias b = {usual[0], round == 1 ? -INFINITY : 0};
        REQUIRE_INT(llmgpu_session_set_logit_bias(s, &b, 1), ==, 0);
        REQUIRE_INT(llmgpu_session_reset(s), ==, 0);
        REQUIRE_INT(llmgpu_session_feed(s, a->ids, a->n), ==, 0);
        api_take(s, got, N_ANSWER);
        for (int i = 0; i < N_ANSWER && round == 1; i++)
            REQUIRE_INT(got[i], !=, usual[0]); // a reset keeps it
        if (round != 1)
            require_same(got, usual, N_ANSWER);
    }
    llmgpu_logit_bias sure = {5, 1000};
    REQUIRE_INT(llmgpu_session_set_logit_bias(s, &sure, 1), ==, 0);
    llmgpu_session *fork;
    REQUIRE_INT(llmgpu_session_fork(&fork, s), ==, 0);
    llmgpu_session *both[] = {s, fork};
    for (int k = 0; k < 2; k++) {
        api_take(both[k], got, 4);
        for (int i = 0; i < 4; i++)
            REQUIRE_INT(got[i], ==, 5);
    }
    REQUIRE_INT(llmgpu_session_set_logit_bias(s, NULL, 0), ==, 0);
    REQUIRE_INT(llmgpu_session_rewind(s, (uint32_t)a->n), ==, 0);
    api_take(s, got, N_ANSWER);
    require_same(got, usual, N_ANSWER);
    llmgpu_session_free(fork);
    llmgpu_session_free(s);
}

static void test_bad_biases(struct api *a)
{
    static llmgpu_logit_bias all[257];
    llmgpu_session *s = api_asked(a, N_CTX, GREEDY);
    const llmgpu_logit_bias twice[] = {{3, 1}, {4, 1}, {3, 1}};
    REQUIRE_INT(llmgpu_session_set_logit_bias(s, twice, 3), ==, LLMGPU_E_INVALID);
    REQUIRE(strstr(llmgpu_session_error(s), "token 3"));
    for (int i = 0; i < 257; i++)
        all[i] = (llmgpu_logit_bias){i, -INFINITY};
    if (a->n_vocab <= 256) {
        REQUIRE_INT(llmgpu_session_set_logit_bias(s, all, a->n_vocab), ==, LLMGPU_E_INVALID);
        REQUIRE_INT(llmgpu_session_set_logit_bias(s, all, a->n_vocab - 1), ==, 0);
    } else
        REQUIRE_INT(llmgpu_session_set_logit_bias(s, all, 256), ==, 0);
    int32_t token;
    REQUIRE_INT(api_next(s, &token), ==, LLMGPU_TOKEN);
    REQUIRE_INT(token, >=, a->n_vocab <= 256 ? (int32_t)a->n_vocab - 1 : 256);
    llmgpu_session_free(s);
}

/* ---- masks */

static void test_mask(struct api *a, uint64_t seed)
{
    struct rule rule = {.a = a, .allowed = {7, 33, 64, (int32_t)a->n_vocab - 1}, .n_allowed = 4, .calls_back = true};
    int32_t usual[N_ANSWER], got[N_ANSWER];
    llmgpu_session_params p = api_params(N_CTX);
    p.tokens_per_submit = 4;
    api_answer(a, seed, usual, N_ANSWER);
    llmgpu_session *s = api_session_with(a, &p, seed), *fork;
    rule.s = s;
    REQUIRE_INT(llmgpu_session_set_mask(s, ask, &rule), ==, 0);
    REQUIRE_INT(llmgpu_session_warm_up(s), ==, 0); // asks nothing
    REQUIRE_INT(rule.n_asked, ==, 0);
    REQUIRE_INT(llmgpu_session_feed(s, a->ids, a->n), ==, 0);
    api_take(s, got, N_ANSWER);
    for (int i = 0; i < N_ANSWER; i++)
        REQUIRE(got[i] == 7 || got[i] == 33 || got[i] == 64 || got[i] == (int32_t)a->n_vocab - 1);
    REQUIRE_INT(rule.n_asked, ==, N_ANSWER);
    REQUIRE_INT(rule.n_tokens, ==, a->n + N_ANSWER - 1);

    REQUIRE_INT(llmgpu_session_reset(s), ==, 0); // keeps it
    REQUIRE_INT(llmgpu_session_feed(s, a->ids, a->n), ==, 0);
    REQUIRE_INT(llmgpu_session_fork(&fork, s), ==, 0); // has none
    api_take(fork, got, N_ANSWER);
    require_same(got, usual, N_ANSWER);
    REQUIRE_INT(rule.n_asked, ==, N_ANSWER);
    uint32_t n_calls = 0;
    REQUIRE_INT(llmgpu_session_set_mask(s, allow_all, &n_calls), ==, 0);
    api_take(s, got, N_ANSWER);
    require_same(got, usual, N_ANSWER);
    REQUIRE_INT(n_calls, ==, N_ANSWER);
    REQUIRE_INT(llmgpu_session_set_mask(s, NULL, NULL), ==, 0);
    REQUIRE_INT(llmgpu_session_rewind(s, (uint32_t)a->n), ==, 0);
    api_take(s, got, N_ANSWER);
    require_same(got, usual, N_ANSWER);
    REQUIRE_INT(n_calls, ==, N_ANSWER);
    llmgpu_session_free(fork);
    llmgpu_session_free(s);
}

/** Nothing is left: a failure of that session, and of no other. */
static void test_nothing_left(struct api *a)
{
    struct rule rule = {.a = a};
    int32_t usual[N_ANSWER], got[N_ANSWER];
    api_answer(a, DRAWN, usual, N_ANSWER);
    llmgpu_session *s = api_asked(a, N_CTX, DRAWN), *other = api_asked(a, N_CTX, DRAWN);
    REQUIRE_INT(llmgpu_session_set_mask(s, ask, &rule), ==, 0);
    for (int i = 0; i < N_ANSWER; i++) {
        REQUIRE_INT(llmgpu_context_step(a->ctx, UINT32_MAX), >=, 0);
        REQUIRE_INT(llmgpu_session_next(other, &got[i]), ==, LLMGPU_TOKEN);
        REQUIRE_INT(llmgpu_session_next(s, &got[i]), ==, LLMGPU_E_INVALID);
        REQUIRE(strstr(llmgpu_session_error(s), "mask leaves no token"));
        REQUIRE_INT(api_stats(s).n_tokens, ==, a->n);
    }
    llmgpu_session_reset(other);
    llmgpu_session_free(other);

    const llmgpu_logit_bias never[] = {{7, -INFINITY}, {9, 1}, {33, -INFINITY}};
    rule.allowed[0] = 7;
    rule.allowed[1] = 33;
    rule.n_allowed = 2;
    REQUIRE_INT(llmgpu_session_set_logit_bias(s, never, 3), ==, 0);
    REQUIRE_INT(api_next(s, got), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_session_set_logit_bias(s, never, 2), ==, 0); // 33 is left
    REQUIRE_INT(api_next(s, got), ==, LLMGPU_TOKEN);
    REQUIRE_INT(got[0], ==, 33);
    rule.refuses = true;
    REQUIRE_INT(api_next(s, got), ==, LLMGPU_E_CANCELLED);
    REQUIRE_INT(llmgpu_session_set_mask(s, NULL, NULL), ==, 0);
    REQUIRE_INT(llmgpu_session_set_logit_bias(s, NULL, 0), ==, 0);
    REQUIRE_INT(llmgpu_session_rewind(s, (uint32_t)a->n), ==, 0);
    api_take(s, got, N_ANSWER);
    require_same(got, usual, N_ANSWER);
    llmgpu_session_free(s);
}

/** Probabilities that are told are the model's own, whatever may be drawn. */
static void test_probabilities(struct api *a)
{
    llmgpu_candidate top[2][N_TOP], chosen;
    llmgpu_session_params p = api_params(N_CTX);
    struct rule rule = {.a = a, .allowed = {7}, .n_allowed = 1};
    const llmgpu_logit_bias bias = {9, 50};
    size_t n;
    int32_t token;
    p.n_candidates = N_TOP;
    for (int i = 0; i < 2; i++) {
        llmgpu_session *s = api_session_with(a, &p, DRAWN);
        if (i == 1) {
            REQUIRE_INT(llmgpu_session_set_logit_bias(s, &bias, 1), ==, 0);
            REQUIRE_INT(llmgpu_session_set_mask(s, ask, &rule), ==, 0);
        }
        REQUIRE_INT(llmgpu_session_feed(s, a->ids, a->n), ==, 0);
        REQUIRE_INT(api_next(s, &token), ==, LLMGPU_TOKEN);
        REQUIRE_INT(llmgpu_session_get_candidates(s, &chosen, top[i], N_TOP, &n), ==, 0);
        REQUIRE_INT(chosen.token, ==, token);
        llmgpu_session_free(s);
    }
    REQUIRE_INT(token, ==, 7);
    REQUIRE(isfinite(chosen.log_prob));
    REQUIRE(memcmp(top[0], top[1], sizeof(top[0])) == 0);
}

/** Biases change nothing about speculation, which sessions with a mask do without. */
static void test_speculation(struct api *a)
{
    const llmgpu_logit_bias loop = {a->ids[3], 4};
    struct rule rule = {.a = a, .allowed = {7, 33}, .n_allowed = 2};
    int32_t expected[2][N_ANSWER], got[N_ANSWER];
    for (int speculates = 0; speculates < 2; speculates++) {
        for (int masked = 0; masked < 2; masked++) {
            llmgpu_session *s = api_session(a, N_CTX, DRAWN);
            REQUIRE_INT(llmgpu_session_set_logit_bias(s, &loop, 1), ==, 0);
            REQUIRE_INT(llmgpu_session_set_mask(s, masked ? ask : NULL, &rule), ==, 0);
            if (speculates)
                REQUIRE_INT(llmgpu_session_set_speculation(s, LLMGPU_SPECULATION_LOOKUP, 4, NULL), ==, 0);
            for (int i = 0; i < 3; i++)
                REQUIRE_INT(llmgpu_session_feed(s, a->ids, 8), ==, 0);
            api_take(s, speculates ? got : expected[masked], N_ANSWER);
            if (speculates)
                require_same(got, expected[masked], N_ANSWER);
            REQUIRE((api_stats(s).n_drafted > 0) == (speculates && !masked));
            llmgpu_session_free(s);
        }
    }
}

/** With a thread in the background, while the conversation changes. */
static void test_background(struct api *a)
{
    struct rule rule = {.a = a, .allowed = {7, 33}, .n_allowed = 2};
    llmgpu_session *s = api_session(a, N_CTX, DRAWN);
    int32_t token;
    REQUIRE_INT(llmgpu_context_start(a->ctx), ==, 0);
    for (int round = 0; round < 20; round++) {
        REQUIRE_INT(llmgpu_session_reset(s), ==, 0);
        REQUIRE_INT(llmgpu_session_set_mask(s, round % 3 == 2 ? NULL : ask, &rule), ==, 0);
        for (int i = 0; i < 3; i++) {
            REQUIRE_INT(llmgpu_session_feed(s, a->ids, 1 + (size_t)(round + i) % 7), ==, 0);
            REQUIRE_INT(api_next(s, &token), ==, LLMGPU_TOKEN);
            REQUIRE(round % 3 == 2 || token == 7 || token == 33);
        }
    }
    REQUIRE_INT(llmgpu_context_stop(a->ctx), ==, 0);
    llmgpu_session_free(s);
}

int main(int argc, char **argv)
{
    struct api a;
    llmgpu_context_params p;
    llmgpu_context_params_init(&p, sizeof(p));
    p.check = 1;
    api_open_tiny(&a, argc > 1 ? argv[1] : "cpu", &p);
    test_biases(&a, GREEDY);
    test_biases(&a, DRAWN);
    test_bad_biases(&a);
    test_mask(&a, GREEDY);
    test_mask(&a, WILD);
    test_nothing_left(&a);
    test_probabilities(&a);
    test_speculation(&a);
    test_background(&a);
    api_close(&a);
    return 0;
}
