/* SPDX-License-Identifier: MIT
 *
 * Training while sessions answer, on the device that the first argument names: steps that are left to whoever
 * works on the context. What is learned and what is answered is what it would be alone, to the last bit; a
 * step keeps to its budget, sessions come first, and a share is kept; and whatever ends a step is told in so
 * many words.
 */
#define LLMGPU_EXPERIMENTAL
#include <unistd.h>

#include "api/handles.h"
#include "trainers.h"
#include "util/clock.h"

enum { N_STEPS = 3, N_TOKENS = 24, BUDGET_US = 1500 };

/** What `n_steps` steps and an answer come to, each alone. */
struct alone {
    struct outcome learned;
    int32_t tokens[N_TOKENS];
};

static llmgpu_session *ask(struct tavern *t)
{
    llmgpu_session_params p = tavern_params(128);
    llmgpu_session *s = tavern_session(t, &p);
    tavern_feed(s, tavern_question);
    return s;
}

static struct alone alone_of(struct tavern *t, const llmgpu_trainer_params *p)
{
    struct alone a = {.learned = run_alone(t, p, N_STEPS)};
    llmgpu_session *s = ask(t);
    tavern_take(s, a.tokens, N_TOKENS);
    llmgpu_session_free(s);
    return a;
}

/** Adds the micro-batches of a step of all runs, and leaves it to others. */
static void start(const struct tavern *t, llmgpu_trainer *trainer, uint32_t i, uint32_t share)
{
    struct batch *b = batch_of(t, i, 1);
    add(trainer, b);
    REQUIRE_INT(llmgpu_trainer_start(trainer, share), ==, 0);
    free(b);
}

/** What has come of an answer; how many tokens. */
static uint32_t take_some(llmgpu_session *s, int32_t *out, uint32_t n)
{
    int rc;
    while (n < N_TOKENS && (rc = llmgpu_session_next(s, &out[n])) != LLMGPU_AGAIN) {
        REQUIRE_INT(rc, ==, LLMGPU_TOKEN);
        n++;
    }
    return n;
}

/** Looks whether a step is done, and starts the next one; how many are done. */
static uint32_t look(const struct tavern *t, llmgpu_trainer *trainer, const struct alone *alone,
                     uint32_t n_done, uint32_t share)
{
    llmgpu_train_result r;
    int rc = llmgpu_trainer_poll(trainer, &r, sizeof(r));
    if (rc < 0)
        fprintf(stderr, "%s\n", llmgpu_trainer_error(trainer));
    REQUIRE_INT(rc, >=, 0);
    if (rc == 0)
        return n_done;
    REQUIRE_INT(r.step, ==, n_done);
    REQUIRE(r.loss == alone->learned.losses[n_done]);
    if (n_done + 1 < N_STEPS)
        start(t, trainer, n_done + 1, share);
    return n_done + 1;
}

/** In frames: a step of the context, then a look at what has come. */
static void test_frames(struct tavern *t, uint32_t share)
{
    llmgpu_trainer_params p = plain();
    p.dropout = 0.1f;
    struct alone alone = alone_of(t, &p);
    llmgpu_trainer *trainer = make(t, &p);
    llmgpu_session *s = ask(t);
    int32_t tokens[N_TOKENS];
    uint32_t n_tokens = 0, n_done = 0, n_beside = 0, n_frames = 0;
    start(t, trainer, 0, share);
    while (n_tokens < N_TOKENS || n_done < N_STEPS) {
        REQUIRE_INT(llmgpu_context_step(t->ctx, BUDGET_US), >, 0);
        n_frames++;
        n_tokens = take_some(s, tokens, n_tokens);
        if (n_done < N_STEPS)
            n_done = look(t, trainer, &alone, n_done, share);
        n_beside = n_tokens < N_TOKENS ? n_done : n_beside;
    }
    printf("share %u: %u frames, %u steps before the answer was there\n", share, n_frames, n_beside);
    REQUIRE_INT(memcmp(tokens, alone.tokens, sizeof(tokens)), ==, 0);
    REQUIRE_INT(llmgpu_trainer_poll(trainer, NULL, 0), ==, LLMGPU_E_INVALID);
    require_same(trainer, &alone.learned);
    llmgpu_session_free(s);
    llmgpu_trainer_free(trainer);
    free(alone.learned.values);
}

/** The same with a thread in the background, and two trainers. */
static void test_background(struct tavern *t)
{
    enum { N = 2 };
    llmgpu_trainer_params p[N] = {plain(), plain()};
    llmgpu_trainer *trainers[N];
    struct alone alone[N];
    uint32_t n_done[N] = {0}, n_tokens = 0;
    int32_t tokens[N_TOKENS];
    p[1].rank = 7;
    p[1].optimizer = LLMGPU_OPTIMIZER_ADAMW8;
    for (int i = 0; i < N; i++)
        alone[i] = alone_of(t, &p[i]);
    llmgpu_session *s = ask(t);
    REQUIRE_INT(llmgpu_context_start(t->ctx), ==, 0);
    for (int i = 0; i < N; i++) {
        trainers[i] = make(t, &p[i]);
        start(t, trainers[i], 0, 20);
    }
    while (n_tokens < N_TOKENS || n_done[0] < N_STEPS || n_done[1] < N_STEPS) {
        n_tokens = take_some(s, tokens, n_tokens);
        for (int i = 0; i < N; i++) {
            llmgpu_trainer_info info;
            REQUIRE_INT(llmgpu_trainer_get_info(trainers[i], &info, sizeof(info)), ==, 0);
            REQUIRE(info.step == n_done[i] || info.step == n_done[i] + 1);
            if (n_done[i] < N_STEPS)
                n_done[i] = look(t, trainers[i], &alone[i], n_done[i], 20);
        }
        if (n_tokens == N_TOKENS && n_done[0] < N_STEPS)
            REQUIRE_INT(llmgpu_trainer_wait(trainers[0], UINT64_MAX), ==, 0);
        usleep(500);
    }
    REQUIRE_INT(llmgpu_context_stop(t->ctx), ==, 0);
    REQUIRE_INT(memcmp(tokens, alone[0].tokens, sizeof(tokens)), ==, 0);
    llmgpu_session_free(s);
    for (int i = 0; i < N; i++) {
        require_same(trainers[i], &alone[i].learned);
        llmgpu_trainer_free(trainers[i]);
        free(alone[i].learned.values);
    }
}

/* ---- whose turn it is -------------------------------------------------------------------------------------------- */

/** Steps of the context while a session that never ends wants all of them; the time that a trainer had, in
 * percent. */
static double percent_of(struct tavern *t, uint32_t share, uint32_t n_tokens)
{
    llmgpu_trainer_params p = plain();
    llmgpu_trainer *trainer = make(t, &p);
    llmgpu_trainer_info before, after;
    llmgpu_session_params sp = tavern_params(512);
    llmgpu_session *s = tavern_session(t, &sp);
    int32_t token;
    step(t, trainer, 0); // where a driver compiles
    tavern_feed(s, tavern_question);
    tavern_take(s, &token, 1);
    REQUIRE_INT(llmgpu_trainer_get_info(trainer, &before, sizeof(before)), ==, 0);
    uint64_t begin = lg_now_ns();
    start(t, trainer, 1, share);
    for (uint32_t n = 0; n < n_tokens;) {
        REQUIRE_INT(llmgpu_context_step(t->ctx, 1), >, 0); // one slice each
        n += llmgpu_session_next(s, &token) == LLMGPU_TOKEN;
        if (llmgpu_trainer_poll(trainer, NULL, 0) == 1)
            start(t, trainer, 2, share);
    }
    double ns = (double)(lg_now_ns() - begin);
    REQUIRE_INT(llmgpu_trainer_get_info(trainer, &after, sizeof(after)), ==, 0);
    llmgpu_session_free(s);
    llmgpu_trainer_free(trainer);
    return 100 * 1e3 * (double)(after.work_us - before.work_us) / ns;
}

/** Sessions that want all of the time have it, but for the share. */
static void test_share(struct tavern *t)
{
    double none = percent_of(t, 0, 16), some = percent_of(t, 30, 64), most = percent_of(t, 80, 64);
    printf("of the time a share of 0%% has %.1f%%, one of 30%% %.1f%%, one of 80%% %.1f%%\n", none, some,
           most);
    REQUIRE(none < 5); // where nothing of the session's fits into what is left of a step
    REQUIRE(some > 5 && some < 60);
    REQUIRE(most > some && most < 97);
}

/** A step passes its budget by a slice at the most, once all have been measured: most do not pass it at all.
 */
static void test_budget(struct tavern *t)
{
    enum { N_FRAMES = 300, MOST_FRAMES = 20000 };
    llmgpu_trainer_params p = plain();
    llmgpu_trainer *trainer = make(t, &p);
    llmgpu_session_params sp = tavern_params(512);
    llmgpu_session *s = tavern_session(t, &sp);
    llmgpu_context_stats stats;
    uint32_t n_steps = 0, n_frames = 0, n_over = 0, n_worst = 0;
    int32_t token;
    REQUIRE_INT(llmgpu_session_warm_up(s), ==, 0);
    tavern_feed(s, tavern_question);
    start(t, trainer, 0, 10);
    REQUIRE_INT(llmgpu_trainer_wait(trainer, UINT64_MAX), ==, 0);
    for (; n_frames < N_FRAMES || (n_steps < 2 && n_frames < MOST_FRAMES); n_frames++) {
        if (llmgpu_trainer_poll(trainer, NULL, 0) == 1) {
            start(t, trainer, 0, 10);
            n_steps++;
        }
        uint64_t begin = lg_now_ns();
        REQUIRE_INT(llmgpu_context_step(t->ctx, BUDGET_US), >, 0);
        uint64_t us = (lg_now_ns() - begin) / 1000;
        REQUIRE_INT(llmgpu_context_get_stats(t->ctx, &stats, sizeof(stats)), ==, 0);
        n_over += us > BUDGET_US + BUDGET_US / 10;
        n_worst += us > BUDGET_US + stats.slice_us + 1000;
        while (n_frames % 4 == 0 && llmgpu_session_next(s, &token) == LLMGPU_TOKEN) { // idle in between
        }
    }
    printf("%u steps in %u frames of %d us; the longest slice has %llu us, %u frames were longer, %u by more "
           "than a slice\n",
           n_steps, n_frames, BUDGET_US, (unsigned long long)stats.slice_us, n_over, n_worst);
    REQUIRE(n_steps > 1);
    REQUIRE(n_over < n_frames / 4 * 3 && n_worst < n_frames / 3); // the machine has other things to do
    llmgpu_session_free(s);
    llmgpu_trainer_free(trainer);
}

/* ---- how it ends ------------------------------------------------------------------------------------------------- */

static void require_told(llmgpu_trainer *trainer, int status, const char *word)
{
    int rc;
    while ((rc = llmgpu_trainer_poll(trainer, NULL, 0)) == 0)
        usleep(1000);
    REQUIRE_INT(rc, ==, status);
    REQUIRE(strstr(llmgpu_trainer_error(trainer), word));
    REQUIRE_INT(llmgpu_trainer_poll(trainer, NULL, 0), ==, LLMGPU_E_INVALID); // once
}

/** Cancelled by its own call or the context's, with nobody working, in steps and in the background; it is as
 * if it had not begun. */
static void test_cancel(struct tavern *t)
{
    llmgpu_trainer_params p = plain();
    struct outcome alone = run_alone(t, &p, 2);
    for (int i = 0; i < 6; i++) {
        llmgpu_trainer *trainer = make(t, &p);
        start(t, trainer, 0, 50);
        if (i >= 4)
            REQUIRE_INT(llmgpu_context_start(t->ctx), ==, 0);
        else if (i >= 2)
            REQUIRE_INT(llmgpu_context_step(t->ctx, 200), >, 0);
        i % 2 ? llmgpu_context_cancel(t->ctx) : llmgpu_trainer_cancel(trainer);
        require_told(trainer, LLMGPU_E_CANCELLED, "cancelled");
        REQUIRE_INT(llmgpu_context_stop(t->ctx), ==, 0);
        for (uint32_t k = 0; k < 2; k++)
            REQUIRE(step(t, trainer, k).loss == alone.losses[k]);
        require_same(trainer, &alone);
        llmgpu_trainer_free(trainer);
    }
    free(alone.values);
}

/** Taken back in the middle, and gone on with in every way. */
static void test_stop(struct tavern *t)
{
    llmgpu_trainer_params p = plain();
    struct outcome alone = run_alone(t, &p, 2);
    llmgpu_trainer *trainer = make(t, &p);
    llmgpu_train_result r;
    REQUIRE_INT(llmgpu_trainer_start(trainer, 0), ==, LLMGPU_E_INVALID); // nothing was added
    REQUIRE_INT(llmgpu_trainer_start(trainer, 100), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_trainer_wait(trainer, 0), ==, LLMGPU_E_INVALID);
    struct batch *b = batch_of(t, 0, 1);
    add(trainer, b);
    REQUIRE_INT(llmgpu_trainer_step_some(trainer, 1, NULL, 0), ==, 0); // in layers
    REQUIRE_INT(llmgpu_trainer_start(trainer, 0), ==, 0);              // and on in dispatches
    REQUIRE_INT(llmgpu_context_step(t->ctx, 1), >, 0);
    REQUIRE_INT(llmgpu_trainer_start(trainer, 0), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_trainer_add(trainer, &b->b, sizeof(b->b)), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_trainer_step(trainer, NULL, 0), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_trainer_save(trainer, "none.gguf", LLMGPU_SAVE_GGUF), ==, LLMGPU_E_INVALID);
    REQUIRE(strstr(llmgpu_trainer_error(trainer), "started"));
    REQUIRE_INT(llmgpu_trainer_wait(trainer, 0), ==, LLMGPU_E_TIMEOUT);
    REQUIRE_INT(llmgpu_trainer_stop(trainer), ==, 0);
    REQUIRE_INT(llmgpu_trainer_stop(trainer), ==, 0);
    REQUIRE_INT(llmgpu_context_step(t->ctx, 1000), ==, 0);
    REQUIRE_INT(llmgpu_trainer_poll(trainer, NULL, 0), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_trainer_step_some(trainer, 1, NULL, 0), ==, 0);
    REQUIRE_INT(llmgpu_trainer_step(trainer, &r, sizeof(r)), ==, 0);
    REQUIRE(r.step == 0 && r.loss == alone.losses[0]);
    start(t, trainer, 1, 0);
    REQUIRE_INT(llmgpu_context_step(t->ctx, UINT32_MAX), >, 0); // until nothing is left to do
    REQUIRE_INT(llmgpu_trainer_wait(trainer, 0), ==, 0);
    REQUIRE_INT(llmgpu_trainer_stop(trainer), ==, 0); // too late
    REQUIRE_INT(llmgpu_trainer_poll(trainer, &r, sizeof(r)), ==, 1);
    REQUIRE(r.step == 1 && r.loss == alone.losses[1]);
    require_same(trainer, &alone);
    add(trainer, b);
    REQUIRE_INT(llmgpu_trainer_start(trainer, 0), ==, 0);
    llmgpu_trainer_free(trainer); // in the middle
    REQUIRE_INT(llmgpu_context_step(t->ctx, 1000), ==, 0);
    free(alone.values);
    free(b);
}

/** A lost device: what was learned since the last checkpoint is gone, and another trainer goes on from there.
 */
static void test_lost(struct tavern *t, bool background)
{
    llmgpu_trainer_params p = plain();
    struct outcome alone = run_alone(t, &p, 2);
    llmgpu_trainer *trainer = make(t, &p);
    llmgpu_trainer_info info;
    char path[64];
    snprintf(path, sizeof(path), "train_while-%d.tmp", (int)getpid());
    step(t, trainer, 0);
    REQUIRE_INT(llmgpu_trainer_save_checkpoint(trainer, path, NULL, 0), ==, 0);
    start(t, trainer, 1, 0);
    if (background)
        REQUIRE_INT(llmgpu_context_start(t->ctx), ==, 0);
    else
        REQUIRE_INT(llmgpu_context_step(t->ctx, 1), >, 0);
    lg_turn_take(&t->ctx->sched.turn, UINT64_MAX);
    t->ctx->dev->lost = LLMGPU_E_DEVICE_LOST;
    lg_turn_give(&t->ctx->sched.turn);
    require_told(trainer, LLMGPU_E_DEVICE_LOST, "lost");
    REQUIRE_INT(llmgpu_trainer_step(trainer, NULL, 0), ==, LLMGPU_E_DEVICE_LOST);
    REQUIRE_INT(llmgpu_trainer_start(trainer, 0), ==, LLMGPU_E_DEVICE_LOST);
    REQUIRE_INT(llmgpu_context_recover(t->ctx, NULL), ==, 0);
    REQUIRE_INT(llmgpu_trainer_start(trainer, 0), ==, LLMGPU_E_DEVICE_LOST);
    REQUIRE(strstr(llmgpu_trainer_error(trainer), "checkpoint"));
    REQUIRE_INT(llmgpu_trainer_get_info(trainer, &info, sizeof(info)), ==, 0);
    REQUIRE_INT(info.step, ==, 1);
    llmgpu_trainer_cancel(trainer);
    llmgpu_trainer_free(trainer);
    trainer = make(t, &p);
    REQUIRE_INT(llmgpu_trainer_load_checkpoint(trainer, path, NULL, 0, NULL), ==, 0);
    start(t, trainer, 1, 0);
    REQUIRE_INT(llmgpu_trainer_wait(trainer, UINT64_MAX), ==, 0);
    REQUIRE_INT(llmgpu_trainer_poll(trainer, NULL, 0), ==, 1);
    require_same(trainer, &alone);
    // One that is in good health is left in the same way.
    start(t, trainer, 2, 0);
    REQUIRE_INT(llmgpu_context_recover(t->ctx, NULL), ==, 0);
    require_told(trainer, LLMGPU_E_DEVICE_LOST, "checkpoint");
    llmgpu_trainer_free(trainer);
    REQUIRE_INT(llmgpu_context_stop(t->ctx), ==, 0);
    unlink(path);
    free(alone.values);
}

int main(int argc, char **argv)
{
    struct tavern t;
    REQUIRE_INT(argc, ==, 2);
    tavern_open(&t, argv[1], true);
    test_frames(&t, 0);
    test_frames(&t, 60);
    test_background(&t);
    test_stop(&t);
    test_cancel(&t);
    test_lost(&t, false);
    test_lost(&t, true);
    tavern_close(&t);
    // Without checks, which take their time.
    tavern_open(&t, argv[1], false);
    test_share(&t);
    test_budget(&t);
    tavern_close(&t);
    return 0;
}
