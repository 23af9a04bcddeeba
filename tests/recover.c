/* SPDX-License-Identifier: MIT
 *
 * A device is lost, on the device that the first argument names: every call says so and none does harm; one call opens
 * it anew, and sessions go on from their history. That a driver's loss comes to be known is tests/faults_vulkan.c's.
 */
#include "api/handles.h"
#include "test.h"

enum { N_BEFORE = 8, N_AFTER = 12, N_SESSIONS = 3 };

static const char prompt[] = "<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n";

struct fixture {
    const char *device;
    llmgpu_context *ctx;
    llmgpu_model *model;
    llmgpu_session *sessions[N_SESSIONS]; // the last one is fed and not computed yet
};

static void open_all(struct fixture *f)
{
    char error[512], path[1024];
    llmgpu_context_params p;
    llmgpu_context_params_init(&p, sizeof(p));
    p.device = f->device;
    p.error = error;
    p.error_size = sizeof(error);
    int rc = llmgpu_context_create(&f->ctx, &p);
    if (rc == LLMGPU_E_NO_DEVICE) {
        fprintf(stderr, "%s\n", error);
        exit(TEST_SKIP);
    }
    REQUIRE_INT(rc, ==, 0);
    REQUIRE(getenv("LLMGPU_BUNDLED"));
    snprintf(path, sizeof(path), "%s/tavern-3.7m-q8_0.gguf", getenv("LLMGPU_BUNDLED"));
    REQUIRE_INT(llmgpu_model_load(&f->model, f->ctx, path, NULL), ==, 0);
    llmgpu_session_params sp;
    llmgpu_session_params_init(&sp, sizeof(sp));
    sp.n_ctx = 128;
    sp.ignore_end = 1;
    for (int i = 0; i < N_SESSIONS; i++) {
        REQUIRE_INT(llmgpu_session_create(&f->sessions[i], f->model, &sp), ==, 0);
        REQUIRE_INT(llmgpu_session_feed_text(f->sessions[i], prompt, strlen(prompt) - (size_t)i,
                                             LLMGPU_TOKENIZE_PARSE_SPECIAL), ==, 0);
    }
}

static void close_all(struct fixture *f)
{
    for (int i = 0; i < N_SESSIONS; i++)
        llmgpu_session_free(f->sessions[i]);
    llmgpu_model_free(f->model);
    llmgpu_context_stats stats;
    llmgpu_context_get_stats(f->ctx, &stats, sizeof(stats));
    REQUIRE_INT(stats.device_bytes, ==, 0);
    llmgpu_context_free(f->ctx);
}

static void take(llmgpu_session *s, int32_t *out, int n)
{
    for (int i = 0; i < n; i++) {
        int rc;
        while ((rc = llmgpu_session_next(s, &out[i])) == LLMGPU_AGAIN)
            REQUIRE_INT(llmgpu_session_wait(s, UINT64_MAX), ==, 0);
        REQUIRE_INT(rc, ==, LLMGPU_TOKEN);
    }
}

static void take_before(struct fixture *f, int32_t out[][N_BEFORE + N_AFTER])
{
    for (int i = 0; i + 1 < N_SESSIONS; i++)
        take(f->sessions[i], out[i], N_BEFORE);
}

static void take_after(struct fixture *f, int32_t out[][N_BEFORE + N_AFTER])
{
    for (int i = 0; i < N_SESSIONS; i++)
        take(f->sessions[i], out[i] + N_BEFORE, N_AFTER);
}

/** What can be asked of a context whose device is gone. */
static void require_lost(struct fixture *f)
{
    int32_t token, tokens[] = {5, 6, 7};
    float log_probs[2];
    llmgpu_session *s = f->sessions[0], *other;
    llmgpu_model *model;
    double speed;
    int rc;
    while ((rc = llmgpu_session_next(s, &token)) == LLMGPU_AGAIN)
        REQUIRE_INT(llmgpu_session_wait(s, UINT64_MAX), ==, 0);
    REQUIRE_INT(rc, ==, LLMGPU_E_DEVICE_LOST);
    REQUIRE(strstr(llmgpu_session_error(s), "lost"));
    REQUIRE_INT(llmgpu_context_step(f->ctx, 1000), ==, LLMGPU_E_DEVICE_LOST);
    REQUIRE_INT(llmgpu_session_create(&other, f->model, NULL), ==, LLMGPU_E_DEVICE_LOST);
    REQUIRE(!other && strstr(llmgpu_context_error(f->ctx), "recover"));
    REQUIRE_INT(llmgpu_session_fork(&other, s), ==, LLMGPU_E_DEVICE_LOST);
    REQUIRE_INT(llmgpu_session_score(s, tokens, 3, log_probs, NULL), ==, LLMGPU_E_DEVICE_LOST);
    REQUIRE_INT(llmgpu_session_warm_up(s), ==, LLMGPU_E_DEVICE_LOST);
    REQUIRE_INT(llmgpu_model_load(&model, f->ctx, "examples/none.gguf", NULL), <, 0);
    REQUIRE_INT(llmgpu_context_measure_bandwidth(f->ctx, &speed), ==, LLMGPU_E_DEVICE_LOST);
    llmgpu_context_stats stats;
    REQUIRE_INT(llmgpu_context_get_stats(f->ctx, &stats, sizeof(stats)), ==, 0);
    REQUIRE_INT(stats.lost, ==, 1);
}

/** Lost and recovered between tokens, with answers as if nothing had been. */
static void test_recover(const char *device, bool background)
{
    static int32_t expected[N_SESSIONS][N_BEFORE + N_AFTER], found[N_SESSIONS][N_BEFORE + N_AFTER];
    struct fixture f = {.device = device};
    open_all(&f);
    take_before(&f, expected);
    take_after(&f, expected);
    close_all(&f);

    open_all(&f);
    take_before(&f, found);
    if (background)
        REQUIRE_INT(llmgpu_context_start(f.ctx), ==, 0);
    lg_turn_take(&f.ctx->sched.turn, UINT64_MAX);
    f.ctx->dev->lost = LLMGPU_E_DEVICE_LOST;
    lg_turn_give(&f.ctx->sched.turn);
    if (!background)
        require_lost(&f);
    llmgpu_vulkan_device none = {.size = sizeof(none)};
    REQUIRE_INT(llmgpu_context_recover(f.ctx, &none), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_context_recover(f.ctx, NULL), ==, 0);
    // What had been computed is not forgotten when computing it again is cancelled.
    int32_t none_yet;
    llmgpu_session_cancel(f.sessions[0]);
    REQUIRE_INT(llmgpu_session_next(f.sessions[0], &none_yet), ==, LLMGPU_E_CANCELLED);
    take_after(&f, found);
    REQUIRE(memcmp(expected, found, sizeof(found)) == 0);

    // One in good health is opened anew in the same way.
    int32_t token;
    REQUIRE_INT(llmgpu_context_recover(f.ctx, NULL), ==, 0);
    take(f.sessions[1], &token, 1);
    close_all(&f);
}

/** A failed recovery leaves the context lost; handles can still be freed, and it can be tried again. */
static void test_failed(const char *device)
{
    struct fixture f = {.device = device};
    int32_t token;
    open_all(&f);
    take(f.sessions[0], &token, 1);
    const char *name = f.ctx->options.name;
    f.ctx->options.name = "vulkan:99";
    REQUIRE_INT(llmgpu_context_recover(f.ctx, NULL), ==, LLMGPU_E_NO_DEVICE);
    require_lost(&f);
    llmgpu_session_free(f.sessions[1]);
    f.sessions[1] = NULL;
    f.ctx->options.name = name;
    REQUIRE_INT(llmgpu_context_recover(f.ctx, NULL), ==, 0);
    take(f.sessions[0], &token, 1);
    f.ctx->options.name = "vulkan:99";
    REQUIRE_INT(llmgpu_context_recover(f.ctx, NULL), ==, LLMGPU_E_NO_DEVICE);
    f.ctx->options.name = name;
    close_all(&f);
}

int main(int argc, char **argv)
{
    const char *device = argc > 1 ? argv[1] : "cpu";
    test_recover(device, false);
    test_recover(device, true);
    test_failed(device);
    return 0;
}
