/* SPDX-License-Identifier: MIT
 *
 * llmgpu bench: many sequences at once.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "bench.h"

/* Sessions with a prompt each. */
struct crowd {
    struct bench *b;
    llmgpu_session **sessions;
    uint32_t n, n_prompt, n_decode;
};

static int open_crowd(struct crowd *c)
{
    llmgpu_session_params params;
    llmgpu_session_params_init(&params, sizeof(params));
    params.n_ctx = c->n_prompt + c->n_decode + 1;
    params.ignore_end = 1;
    params.n_batch = c->b->values.n_batch;
    for (uint32_t i = 0; i < c->n; i++) {
        int rc = cli_session_open(&c->sessions[i], &c->b->engine, &params);
        if (rc != CLI_OK)
            return rc;
    }
    return CLI_OK;
}

static void close_crowd(struct crowd *c)
{
    for (uint32_t i = 0; c->sessions && i < c->n; i++)
        llmgpu_session_free(c->sessions[i]);
    free(c->sessions);
}

/* Gives each a prompt of its own, of the same ids in every run, and computes all but the last token. */
static int fill_crowd(struct crowd *c)
{
    uint32_t n_vocab = c->b->engine.info.n_vocab;
    int rc = 0;
    for (uint32_t i = 0; rc >= 0 && i < c->n; i++) {
        bench_random_tokens(c->b->prompt, c->n_prompt, n_vocab);
        c->b->prompt[0] = (int32_t)((i * 7 + 1) % n_vocab);
        rc = llmgpu_session_reset(c->sessions[i]);
        if (rc >= 0)
            rc = llmgpu_session_feed(c->sessions[i], c->b->prompt, c->n_prompt);
    }
    for (uint32_t i = 0; rc >= 0 && i < c->n; i++)
        rc = llmgpu_session_prefill(c->sessions[i]);
    return rc;
}

/* n tokens for each. A step without a limit ends when all have one. */
static int decode_crowd(struct crowd *c, uint32_t n)
{
    int rc = 0;
    for (uint32_t done = 0; rc >= 0 && done < n; done++) {
        rc = llmgpu_context_step(c->b->engine.ctx, UINT32_MAX);
        for (uint32_t i = 0; rc >= 0 && i < c->n; i++) {
            int32_t token;
            rc = cli_next(c->sessions[i], &token);
        }
    }
    return rc;
}

/* One repetition: speeds in tokens per second, of prompts and of all sequences together, and what the device idled. */
static int run_crowd(struct crowd *c, double *prompt, double *total, double *idle)
{
    llmgpu_context_stats before, after;
    double begin = cli_seconds();
    int rc = fill_crowd(c);
    double filled = cli_seconds();
    llmgpu_context_get_stats(c->b->engine.ctx, &before, sizeof(before));
    if (rc >= 0)
        rc = decode_crowd(c, c->n_decode);
    double end = cli_seconds();
    llmgpu_context_get_stats(c->b->engine.ctx, &after, sizeof(after));
    *prompt = (double)c->n * (c->n_prompt - 1) / (filled - begin);
    *total = (double)c->n * c->n_decode / (end - filled);
    *idle = 1 - 1e-6 * (double)(after.busy_us - before.busy_us) / (end - filled);
    return rc < 0 ? cli_fail_library(rc, llmgpu_context_error(c->b->engine.ctx)) : CLI_OK;
}

static int measure_crowd(struct crowd *c, struct bench_sequences *s)
{
    uint32_t n = c->b->values.repeats;
    double *numbers = calloc(n, 3 * sizeof(*numbers)), *prompt = numbers, *total = numbers + n, *idle = total + n;
    int rc = numbers ? CLI_OK : cli_fail(LLMGPU_E_NOMEM, "no memory for %u repetitions", n);
    // The first passes have kernels to compile and memory to touch.
    int warm = rc == CLI_OK ? fill_crowd(c) : 0;
    if (rc == CLI_OK && warm >= 0)
        warm = decode_crowd(c, c->n_decode < 2 ? c->n_decode : 2);
    if (warm < 0)
        rc = cli_fail_library(warm, llmgpu_context_error(c->b->engine.ctx));
    double begin = cli_seconds();
    for (; rc == CLI_OK && s->repeats < n; s->repeats++) {
        if (s->repeats > 0 && c->b->max_seconds > 0 && cli_seconds() - begin > c->b->max_seconds)
            break;
        rc = run_crowd(c, &prompt[s->repeats], &total[s->repeats], &idle[s->repeats]);
    }
    if (rc == CLI_OK) {
        s->prompt_per_second = bench_times_of(prompt, s->repeats);
        s->tokens_per_second = bench_times_of(total, s->repeats);
        s->idle_share = bench_times_of(idle, s->repeats).median;
    }
    free(numbers);
    return rc;
}

int bench_sequences_run(struct bench *b)
{
    uint32_t n_prompt = b->values.n_prompt, n_decode = b->values.n_decode;
    int rc = cli_engine_open(&b->engine, &b->values.engine);
    if (rc != CLI_OK)
        return rc;
    b->prompt = malloc(n_prompt * sizeof(*b->prompt));
    if (!b->prompt)
        return cli_fail(LLMGPU_E_NOMEM, "no memory for %u tokens", n_prompt);
    for (size_t i = 0; rc == CLI_OK && i < b->n_sequences; i++) {
        struct bench_sequences *s = &b->sequences[i];
        struct crowd c = {.b = b, .n = s->n, .n_prompt = n_prompt, .n_decode = n_decode};
        llmgpu_context_stats stats;
        c.sessions = calloc(c.n, sizeof(*c.sessions));
        rc = c.sessions ? open_crowd(&c) : cli_fail(LLMGPU_E_NOMEM, "no memory for %u sessions", c.n);
        if (rc == CLI_OK)
            rc = measure_crowd(&c, s);
        llmgpu_context_get_stats(b->engine.ctx, &stats, sizeof(stats));
        s->device_bytes = stats.device_bytes;
        s->peak_memory = bench_peak_memory();
        close_crowd(&c);
    }
    if (rc == CLI_OK)
        rc = bench_measure_device(b);
    return rc == CLI_OK ? cli_engine_check(&b->engine) : rc;
}
