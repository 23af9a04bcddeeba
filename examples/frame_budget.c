/* SPDX-License-Identifier: MIT
 *
 * A game's loop at 60 Hz in which characters talk: each frame gives the library two milliseconds. Prints percentiles of
 * the frames' times with and without generation, and by how much steps passed their budget.
 *
 *     frame_budget [MODEL [DEVICE [FRAMES [BUDGET_US]]]]
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <llmgpu/llmgpu.h>

enum { FRAME_US = 16667, GAME_US = 6000, N_NPCS = 3, MAX_FRAMES = 100000 };

static const char *const npcs[N_NPCS] = {
    "Your name is Brenna. You are the blacksmith of Oakford. You are grumpy.",
    "Your name is Tom. You are the innkeeper of Oakford. You are cheerful.",
    "Your name is Edda. You are a hunter of Oakford. You are calm.",
};

static double now_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return 1e6 * (double)ts.tv_sec + 1e-3 * (double)ts.tv_nsec;
}

/* What a game does in a frame besides talking: here it only takes its time. */
static void play(void)
{
    double end = now_us() + GAME_US;
    while (now_us() < end) {
    }
}

static void sleep_until(double us)
{
    double left = us - now_us();
    if (left > 0) {
        struct timespec ts = {.tv_sec = 0, .tv_nsec = (long)(left * 1e3)};
        nanosleep(&ts, NULL);
    }
}

/* Takes what a character has to say; a new question when it has finished. */
static int talk(llmgpu_session *session, const char *persona, unsigned long *n_tokens)
{
    int32_t token;
    int rc;
    while ((rc = llmgpu_session_next(session, &token)) == LLMGPU_TOKEN)
        ++*n_tokens;
    if (rc == LLMGPU_AGAIN || (rc < 0 && rc != LLMGPU_E_CONTEXT_FULL && rc != LLMGPU_E_INVALID))
        return rc;
    char prompt[512];
    int n = snprintf(prompt, sizeof(prompt),
                     "<|im_start|>system\n%s<|im_end|>\n<|im_start|>user\nWho are you?<|im_end|>\n"
                     "<|im_start|>assistant\n", persona);
    rc = llmgpu_session_reset(session);
    return rc < 0 ? rc : llmgpu_session_feed_text(session, prompt, (size_t)n, LLMGPU_TOKENIZE_PARSE_SPECIAL);
}

struct game {
    llmgpu_context *ctx;
    llmgpu_session *sessions[N_NPCS];
    unsigned n_frames;
    uint32_t budget_us; // 0: nobody talks
    double *frames, *over;
    unsigned long n_tokens;
    unsigned long long slice_us; // the longest in any frame
};

static int note_slice(struct game *g)
{
    llmgpu_context_stats stats;
    int rc = llmgpu_context_get_stats(g->ctx, &stats, sizeof(stats));
    if (rc == 0 && stats.slice_us > g->slice_us)
        g->slice_us = stats.slice_us;
    return rc;
}

static int play_frames(struct game *g)
{
    double next = now_us();
    for (unsigned i = 0; i < g->n_frames; i++) {
        double begin = now_us();
        play();
        for (int k = 0; g->budget_us && k < N_NPCS; k++) {
            int rc = talk(g->sessions[k], npcs[k], &g->n_tokens);
            if (rc < 0)
                return rc;
        }
        double step = now_us();
        int used = llmgpu_context_step(g->ctx, g->budget_us);
        if (used < 0)
            return used;
        g->over[i] = now_us() - step - g->budget_us;
        int rc = g->budget_us ? note_slice(g) : 0;
        if (rc < 0)
            return rc;
        g->frames[i] = now_us() - begin;
        next += FRAME_US;
        sleep_until(next);
    }
    return 0;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double percentile(const double *sorted, unsigned n, double p)
{
    return sorted[(unsigned)(p * (n - 1) + 0.5)];
}

static void print(const char *name, double *us, unsigned n)
{
    qsort(us, n, sizeof(*us), ascending);
    printf("%-28s p50 %8.0f  p95 %8.0f  p99 %8.0f  max %8.0f us\n", name, percentile(us, n, 0.5),
           percentile(us, n, 0.95), percentile(us, n, 0.99), us[n - 1]);
}

static int run(struct game *g, uint32_t budget_us)
{
    g->budget_us = 0;
    int rc = play_frames(g);
    if (rc < 0)
        return rc;
    print("frame without generation", g->frames, g->n_frames);
    g->budget_us = budget_us;
    rc = play_frames(g);
    if (rc < 0)
        return rc;
    print("frame with generation", g->frames, g->n_frames);
    print("step beyond its budget", g->over, g->n_frames);
    printf("budget %u us, longest slice %llu us, %lu tokens in %u frames\n", budget_us, g->slice_us, g->n_tokens, g->n_frames);
    return rc;
}

static int open_all(struct game *g, const char *path, const char *device, llmgpu_model **model)
{
    llmgpu_context_params params;
    llmgpu_context_params_init(&params, sizeof(params));
    params.device = device;
    params.priority = LLMGPU_PRIORITY_LOW;
    params.n_threads = 1; // of the CPU device; the others are the game's
    int rc = llmgpu_context_create(&g->ctx, &params);
    if (rc == 0)
        rc = llmgpu_model_load(model, g->ctx, path, NULL);
    llmgpu_session_params session;
    llmgpu_session_params_init(&session, sizeof(session));
    session.n_ctx = 256;
    for (int i = 0; rc == 0 && i < N_NPCS; i++)
        rc = llmgpu_session_create(&g->sessions[i], *model, &session);
    // Behind the loading screen: record, compile and measure, so that the first frame is like the others.
    return rc == 0 ? llmgpu_session_warm_up(g->sessions[0]) : rc;
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : "examples/models/tavern-3.7m-q8_0.gguf";
    const char *device = argc > 2 ? argv[2] : "auto";
    struct game g = {.n_frames = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 300};
    uint32_t budget_us = argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 10) : 2000;
    if (g.n_frames < 1 || g.n_frames > MAX_FRAMES || budget_us < 1) {
        fprintf(stderr, "usage: frame_budget [MODEL [DEVICE [FRAMES [BUDGET_US]]]]\n");
        return 2;
    }
    llmgpu_model *model = NULL;
    g.frames = malloc(g.n_frames * sizeof(double));
    g.over = malloc(g.n_frames * sizeof(double));
    int rc = g.frames && g.over ? open_all(&g, path, device, &model) : LLMGPU_E_NOMEM;
    if (rc == 0)
        rc = run(&g, budget_us);
    if (rc < 0)
        fprintf(stderr, "%s: %s\n", llmgpu_status_name(rc), llmgpu_context_error(g.ctx));
    for (int i = 0; i < N_NPCS; i++)
        llmgpu_session_free(g.sessions[i]);
    llmgpu_model_free(model);
    llmgpu_context_free(g.ctx);
    free(g.frames);
    free(g.over);
    return rc < 0;
}
