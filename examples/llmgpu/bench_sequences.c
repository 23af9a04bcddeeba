/* SPDX-License-Identifier: MIT
 *
 * llmgpu bench: many sequences at once.
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "bench.h"

/* Sessions with a prompt each. */
struct crowd {
    struct bench *b;
    llmgpu_session **sessions;
    uint32_t n, n_prompt, n_decode;
    uint32_t round; // of repetitions
};

static int adapt(const struct crowd *c, uint32_t i)
{
    const struct bench *b = c->b;
    uint32_t n = b->values.loras.n;
    int rc = n ? llmgpu_session_set_lora(c->sessions[i], b->loras[i % n], b->lora_scales[i % n]) : 0;
    return rc < 0 ? cli_fail_library(rc, llmgpu_session_error(c->sessions[i])) : CLI_OK;
}

static int open_crowd(struct crowd *c)
{
    llmgpu_session_params params;
    llmgpu_session_params_init(&params, sizeof(params));
    params.n_ctx = c->n_prompt + c->n_decode + 1;
    params.ignore_end = 1;
    params.n_batch = c->b->values.n_batch;
    for (uint32_t i = 0; i < c->n; i++) {
        int rc = cli_session_open(&c->sessions[i], &c->b->engine, &params);
        if (rc == CLI_OK)
            rc = adapt(c, i);
        if (rc != CLI_OK)
            return rc;
    }
    return CLI_OK;
}

static void close_crowd(struct crowd *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        llmgpu_session_free(c->sessions[i]);
        c->sessions[i] = NULL;
    }
}

/* What a repetition found. */
struct found {
    double prompt, total; // tokens per second, of all sequences together
    double first_ms, next_ms; // to the first token, of the first sequence and of the others
    double idle;
};

/* A prompt of the same ids in every run of the program: what all have in common, then its own. Each repetition has others,
 * or it would find what the one before it has computed. */
static int feed(struct crowd *c, uint32_t i)
{
    uint32_t n_vocab = c->b->engine.info.n_vocab, n_shared = c->b->values.n_shared;
    bench_random_tokens(c->b->prompt, c->n_prompt, n_vocab);
    c->b->prompt[0] = (int32_t)((c->round * 977 + 5) % n_vocab);
    c->b->prompt[n_shared] = (int32_t)((c->round * 977 + i * 7 + 1) % n_vocab);
    int rc = llmgpu_session_reset(c->sessions[i]);
    return rc < 0 ? rc : llmgpu_session_feed(c->sessions[i], c->b->prompt, c->n_prompt);
}

/* Computes all prompts and a token behind each, one after another. */
static int fill_crowd(struct crowd *c, struct found *found)
{
    double begin = cli_seconds(), others = 0;
    int rc = 0;
    for (uint32_t i = 0; rc >= 0 && i < c->n; i++) {
        int32_t token;
        double before = cli_seconds();
        rc = feed(c, i);
        if (rc >= 0)
            rc = cli_next(c->sessions[i], &token);
        double ms = 1e3 * (cli_seconds() - before);
        if (i == 0)
            found->first_ms = ms;
        else
            others += ms;
    }
    found->next_ms = c->n > 1 ? others / (c->n - 1) : 0;
    found->prompt = (double)c->n * c->n_prompt / (cli_seconds() - begin);
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

static int run_crowd(struct crowd *c, struct bench_sequences *s, struct found *found)
{
    llmgpu_context_stats before, filled, after;
    llmgpu_context_get_stats(c->b->engine.ctx, &before, sizeof(before));
    int rc = fill_crowd(c, found);
    double begin = cli_seconds();
    llmgpu_context_get_stats(c->b->engine.ctx, &filled, sizeof(filled));
    if (rc >= 0)
        rc = decode_crowd(c, c->n_decode);
    double end = cli_seconds();
    llmgpu_context_get_stats(c->b->engine.ctx, &after, sizeof(after));
    found->total = (double)c->n * c->n_decode / (end - begin);
    found->idle = 1 - 1e-6 * (double)(after.busy_us - filled.busy_us) / (end - begin);
    s->prompt_computed = filled.prompt_tokens - before.prompt_tokens;
    s->prompt_shared = filled.shared_tokens - before.shared_tokens;
    return rc < 0 ? cli_fail_library(rc, llmgpu_context_error(c->b->engine.ctx)) : CLI_OK;
}

/* The numbers of one kind in all repetitions. */
static struct bench_times times_of(const struct found *found, uint32_t n, size_t offset, double *numbers)
{
    for (uint32_t i = 0; i < n; i++)
        numbers[i] = *(const double *)((const char *)&found[i] + offset);
    return bench_times_of(numbers, n);
}

/* Sessions anew for each repetition, so that prompts are computed. */
static int repeat_crowd(struct crowd *c, struct bench_sequences *s, struct found *found)
{
    int rc = open_crowd(c);
    c->round++;
    if (rc == CLI_OK)
        rc = run_crowd(c, s, found);
    close_crowd(c);
    return rc;
}

static int measure_crowd(struct crowd *c, struct bench_sequences *s)
{
    uint32_t n = c->b->values.repeats;
    struct found *found = calloc(n, sizeof(*found)), unused;
    double *numbers = calloc(n, sizeof(*numbers)), begin = cli_seconds();
    int rc = found && numbers ? CLI_OK : cli_fail(LLMGPU_E_NOMEM, "no memory for %u repetitions", n);
    if (rc == CLI_OK && c->b->warm == 0) // kernels to compile, memory to touch
        rc = repeat_crowd(c, s, &unused);
    c->b->warm = 1;
    for (; rc == CLI_OK && s->repeats < n; s->repeats++) {
        if (s->repeats > 0 && c->b->max_seconds > 0 && cli_seconds() - begin > c->b->max_seconds)
            break;
        rc = repeat_crowd(c, s, &found[s->repeats]);
    }
    if (rc == CLI_OK) {
        s->prompt_per_second = times_of(found, s->repeats, offsetof(struct found, prompt), numbers);
        s->tokens_per_second = times_of(found, s->repeats, offsetof(struct found, total), numbers);
        s->first_token_ms = times_of(found, s->repeats, offsetof(struct found, first_ms), numbers);
        s->next_first_token_ms = times_of(found, s->repeats, offsetof(struct found, next_ms), numbers);
        s->idle_share = times_of(found, s->repeats, offsetof(struct found, idle), numbers).median;
    }
    free(numbers);
    free(found);
    return rc;
}

int bench_sequences_run(struct bench *b)
{
    uint32_t n_prompt = b->values.n_shared + b->values.n_prompt, n_decode = b->values.n_decode;
    int rc = cli_engine_open(&b->engine, &b->values.engine);
    if (rc != CLI_OK)
        return rc;
    b->prompt = malloc(n_prompt * sizeof(*b->prompt));
    if (!b->prompt)
        return cli_fail(LLMGPU_E_NOMEM, "no memory for %u tokens", n_prompt);
    for (uint32_t i = 0; rc == CLI_OK && i < b->values.loras.n; i++)
        rc = cli_lora_open(&b->loras[i], &b->lora_scales[i], &b->engine, b->values.loras.words[i]);
    for (size_t i = 0; rc == CLI_OK && i < b->n_sequences; i++) {
        struct bench_sequences *s = &b->sequences[i];
        struct crowd c = {.b = b, .n = s->n, .n_prompt = n_prompt, .n_decode = n_decode};
        llmgpu_context_stats stats;
        c.sessions = calloc(c.n, sizeof(*c.sessions));
        rc = c.sessions ? measure_crowd(&c, s) : cli_fail(LLMGPU_E_NOMEM, "no memory for %u sessions", c.n);
        llmgpu_context_get_stats(b->engine.ctx, &stats, sizeof(stats));
        s->device_bytes = stats.device_bytes;
        s->peak_memory = bench_peak_memory();
        free(c.sessions);
    }
    if (rc == CLI_OK)
        rc = bench_measure_device(b);
    return rc == CLI_OK ? cli_engine_check(&b->engine) : rc;
}
