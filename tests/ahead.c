/* SPDX-License-Identifier: MIT
 *
 * Answers of the thread in the background, on the device that the first argument names. Where that works by itself, passes are
 * submitted before the tokens of the last one were seen: it happens, and whatever is done to sessions meanwhile, each says
 * what it says alone.
 */
#include <stdatomic.h>
#include <unistd.h>

#include "api/handles.h"
#include "llmgpu/llmgpu.h"
#include "model_build.h"
#include "runtime/run.h"

enum { N = 6, N_CTX = 96, N_PROMPT = 5, N_ANSWER = 60, N_FIRST = 9, N_LAST = 25 };

static struct model_build build;

static struct fixture {
    llmgpu_context *ctx;
    llmgpu_model *model;
    atomic_uint n_flown; // calls while a pass was under way
    int32_t expected[N][N_ANSWER];
    int32_t changed[N_ANSWER]; // of session 2, which gets another sampler for each token from N_FIRST on until N_LAST
} f;

static void open_all(const char *device)
{
    char error[512];
    llmgpu_context_params p;
    llmgpu_context_params_init(&p, sizeof(p));
    p.device = device;
    p.check = 1;
    p.error = error;
    p.error_size = sizeof(error);
    int rc = llmgpu_context_create(&f.ctx, &p);
    if (rc == LLMGPU_E_NO_DEVICE) {
        fprintf(stderr, "%s\n", error);
        exit(TEST_SKIP);
    }
    REQUIRE_INT(rc, ==, 0);
    struct model_shape shape = model_tiny("llama");
    model_init(&build, &shape);
    model_write(&build);
    REQUIRE_INT(llmgpu_model_load_memory(&f.model, f.ctx, build.file.data, build.file.size, NULL), ==, 0);
}

static void close_all(void)
{
    llmgpu_context_stats stats;
    REQUIRE_INT(llmgpu_context_get_stats(f.ctx, &stats, sizeof(stats)), ==, 0);
    REQUIRE_INT(stats.check_messages, ==, 0);
    REQUIRE_INT(stats.kv_pages_used, ==, 0);
    llmgpu_model_free(f.model);
    llmgpu_context_free(f.ctx);
}

/** Who calls has the turn. */
static void look(void *user)
{
    llmgpu_model *model = user;
    if (lg_run_flies(&model->engine))
        atomic_fetch_add(&f.n_flown, 1);
}

static llmgpu_sampler_params sampler_of(int i)
{
    llmgpu_sampler_params sampler;
    llmgpu_sampler_params_init(&sampler, sizeof(sampler));
    sampler.temperature = i % 3 ? 1 : 0;
    sampler.repeat_penalty = i % 2 ? 1.2f : 1;
    sampler.seed = (uint64_t)i;
    return sampler;
}

static void feed(llmgpu_session *s, int i)
{
    int32_t prompt[N_PROMPT];
    for (int k = 0; k < N_PROMPT; k++)
        prompt[k] = 3 + (i * 31 + k * 7) % 150;
    REQUIRE_INT(llmgpu_session_feed(s, prompt, N_PROMPT), ==, 0);
}

static llmgpu_session *begin(int i)
{
    llmgpu_session *s;
    llmgpu_session_params p;
    llmgpu_sampler_params sampler = sampler_of(i);
    llmgpu_session_params_init(&p, sizeof(p));
    p.n_ctx = N_CTX;
    p.ignore_end = 1;
    REQUIRE_INT(llmgpu_session_create(&s, f.model, &p), ==, 0);
    REQUIRE_INT(llmgpu_session_set_sampler(s, &sampler), ==, 0);
    REQUIRE_INT(llmgpu_session_set_notify(s, look, f.model), ==, 0);
    feed(s, i);
    return s;
}

static int32_t next(llmgpu_session *s)
{
    int32_t token;
    int rc;
    while ((rc = llmgpu_session_next(s, &token)) == LLMGPU_AGAIN)
        REQUIRE_INT(llmgpu_session_wait(s, UINT64_MAX), ==, 0);
    REQUIRE_INT(rc, ==, LLMGPU_TOKEN);
    return token;
}

/** Tokens [first, last) of some answers, all of them in turns. */
static void require_rest(llmgpu_session **sessions, int n, int first, int last)
{
    for (int k = first; k < last; k++)
        for (int i = 0; i < n; i++)
            REQUIRE_INT(next(sessions[i]), ==, f.expected[i][k]);
}

static void change_sampler(llmgpu_session *s, int i)
{
    llmgpu_sampler_params sampler = sampler_of(i);
    REQUIRE_INT(llmgpu_session_set_sampler(s, &sampler), ==, 0);
}

/** The same when it does not want one for a moment before. */
static int32_t next_after(llmgpu_session *s, int k)
{
    REQUIRE_INT(llmgpu_session_set_remaining(s, 0), ==, 0);
    usleep((useconds_t)k % 5 * 50);
    REQUIRE_INT(llmgpu_session_set_remaining(s, UINT32_MAX), ==, 0);
    return next(s);
}

/** Things that are done to sessions while passes for them are under way. */
static void disturb(llmgpu_session **sessions)
{
    int32_t token;
    llmgpu_session *fork;
    llmgpu_session_cancel(sessions[0]);
    REQUIRE_INT(llmgpu_session_next(sessions[0], &token), ==, LLMGPU_E_CANCELLED);
    require_rest(sessions, 1, N_FIRST, N_FIRST + 4); // it goes on all the same
    REQUIRE_INT(llmgpu_session_reset(sessions[1]), ==, 0);
    feed(sessions[1], 1);
    REQUIRE_INT(llmgpu_session_fork(&fork, sessions[3]), ==, 0);
    change_sampler(fork, 3); // what was sampled goes, and comes again
    llmgpu_session_free(sessions[4]);
    sessions[4] = NULL;
    REQUIRE_INT(llmgpu_session_rewind(sessions[5], N_PROMPT), ==, 0); // it is computed again
    for (int k = N_FIRST; k < N_ANSWER; k++) {
        REQUIRE_INT(next(fork), ==, f.expected[3][k]);
        REQUIRE_INT(next(sessions[3]), ==, f.expected[3][k]);
        if (k < N_LAST)
            change_sampler(sessions[2], k);
        else
            REQUIRE_INT(next_after(sessions[5], k), ==, f.expected[5][k - N_LAST]);
        REQUIRE_INT(next(sessions[2]), ==, f.changed[k]);
        REQUIRE_INT(next(sessions[1]), ==, f.expected[1][k - N_FIRST]);
    }
    llmgpu_session_free(fork);
}

int main(int argc, char **argv)
{
    const char *device = argc > 1 ? argv[1] : "cpu";
    llmgpu_session *sessions[N];
    open_all(device);
    for (int i = 0; i < N; i++) {
        llmgpu_session *s = begin(i);
        for (int k = 0; k < N_ANSWER; k++)
            f.expected[i][k] = next(s);
        llmgpu_session_free(s);
    }
    sessions[2] = begin(2);
    for (int k = 0; k < N_ANSWER; k++) {
        if (k >= N_FIRST && k < N_LAST)
            change_sampler(sessions[2], k);
        f.changed[k] = next(sessions[2]);
    }
    llmgpu_session_free(sessions[2]);
    REQUIRE_INT(f.n_flown, ==, 0); // a caller that wants one token gets one
    REQUIRE_INT(llmgpu_context_start(f.ctx), ==, 0);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < N; i++)
            sessions[i] = begin(i);
        require_rest(sessions, N, 0, N_FIRST);
        if (round > 0)
            disturb(sessions);
        else
            require_rest(sessions, N, N_FIRST, N_ANSWER);
        for (int i = 0; i < N; i++)
            llmgpu_session_free(sessions[i]);
    }
    REQUIRE_INT(llmgpu_context_stop(f.ctx), ==, 0);
    printf("%u calls while a pass was under way\n", f.n_flown);
    REQUIRE((f.n_flown > 0) == (strcmp(device, "cpu") != 0));
    close_all();
    return 0;
}
