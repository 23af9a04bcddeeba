/* SPDX-License-Identifier: MIT
 *
 * llmgpu bench: the tests on the clock.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "bench.h"

enum {
    WARM_DECODES = 16, // tokens of the decode test that are not timed, at the most
    PROFILE_PASSES = 9,
    SLOW_PASSES = 3, // of those that take more than a second
};

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct bench_times bench_times_of(double *numbers, uint32_t n)
{
    qsort(numbers, n, sizeof(*numbers), compare);
    return (struct bench_times){
        .median = 0.5 * (numbers[(n - 1) / 2] + numbers[n / 2]),
        .min = numbers[0],
        .max = numbers[n - 1],
    };
}

/* Steele and Vigna's multiplier of 2021. */
void bench_random_tokens(int32_t *ids, uint32_t n, uint32_t n_vocab)
{
    uint64_t random = 1;
    for (uint32_t i = 0; i < n; i++) {
        random = random * 0xd1342543de82ef95u + 1;
        ids[i] = (int32_t)((random >> 33) % n_vocab);
    }
}

/*
 * Has the session hold the first n + 1 tokens of the prompt and n of them computed, as a session leaves the
 * last one to the decode pass that follows. What it holds of them already is kept, and what follows them
 * forgotten.
 */
static int fill(struct bench *b, uint32_t n)
{
    uint32_t kept = b->n_held < n + 1 ? b->n_held : n + 1;
    int rc = llmgpu_session_rewind(b->session, kept);
    if (rc >= 0 && kept < n + 1)
        rc = llmgpu_session_feed(b->session, b->prompt + kept, n + 1 - kept);
    b->n_held = n + 1;
    return rc < 0 ? rc : llmgpu_session_prefill(b->session);
}

static int decode(struct bench *b, uint32_t n)
{
    int32_t token;
    int rc = llmgpu_session_set_remaining(b->session, n);
    for (uint32_t done = 0; rc >= 0 && done < n; done++)
        rc = cli_next(b->session, &token);
    return rc;
}

/* What comes before a test, off the clock. */
static int begin_test(struct bench *b, const struct bench_test *t)
{
    if (t->decodes)
        return fill(b, t->depth);
    b->n_held = 0;
    b->prompt[0] = (b->prompt[0] + 1) % (int32_t)b->engine.info.n_vocab; // or it would be known from the time before
    return llmgpu_session_reset(b->session);
}

static int do_test(struct bench *b, const struct bench_test *t, uint32_t n)
{
    return t->decodes ? decode(b, n) : fill(b, n);
}

/* The first pass of a kind has kernels to compile and memory to touch. */
static int warm_up(struct bench *b, const struct bench_test *t)
{
    uint32_t most = t->decodes ? WARM_DECODES : b->values.n_batch;
    int rc = begin_test(b, t);
    return rc < 0 ? rc : do_test(b, t, t->n < most ? t->n : most);
}

/* ---- the clock */

struct counters {
    llmgpu_context_stats stats;
    double seconds, cpu_seconds;
};

static struct counters read_counters(const struct bench *b)
{
    struct counters c;
    struct rusage usage;
    llmgpu_context_get_stats(b->engine.ctx, &c.stats, sizeof(c.stats));
    getrusage(RUSAGE_SELF, &usage);
    c.cpu_seconds = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                    1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    c.seconds = cli_seconds();
    return c;
}

/* One repetition; its speed. */
static int run_once(struct bench *b, struct bench_test *t, double *speed)
{
    int rc = begin_test(b, t);
    if (rc < 0)
        return rc;
    struct counters begin = read_counters(b);
    rc = do_test(b, t, t->n);
    struct counters end = read_counters(b);
    *speed = (double)t->n / (end.seconds - begin.seconds);
    t->submits += (double)(end.stats.submits - begin.stats.submits);
    t->barriers += (double)(end.stats.barriers - begin.stats.barriers);
    t->dispatches += (double)(end.stats.dispatches - begin.stats.dispatches);
    t->cpu_us += 1e6 * (end.cpu_seconds - begin.cpu_seconds);
    t->device_bytes = end.stats.device_bytes;
    return rc;
}

static int measure(struct bench *b, struct bench_test *t, double *speeds)
{
    int rc = warm_up(b, t);
    double begin = cli_seconds();
    while (rc >= 0 && t->repeats < b->values.repeats) {
        if (t->repeats > 0 && b->max_seconds > 0 && cli_seconds() - begin > b->max_seconds)
            break;
        rc = run_once(b, t, &speeds[t->repeats]);
        t->repeats++;
    }
    if (rc < 0)
        return cli_fail_library(rc, llmgpu_session_error(b->session));
    double tokens = (double)t->n * t->repeats;
    t->tokens_per_second = bench_times_of(speeds, t->repeats);
    t->submits /= tokens;
    t->barriers /= tokens;
    t->dispatches /= tokens;
    t->cpu_us /= tokens;
    if (t->decodes)
        t->bytes_per_second = t->tokens_per_second.median * (double)b->engine.info.bytes_per_token;
    return CLI_OK;
}

/* ---- profiles */

static int copy_rows(const llmgpu_profile *from, struct bench_profile *to)
{
    llmgpu_profile_get_info(from, &to->info, sizeof(to->info));
    to->rows = calloc(to->info.n_rows, sizeof(*to->rows));
    if (!to->rows)
        return cli_fail(LLMGPU_E_NOMEM, "no memory for a profile of %u rows", to->info.n_rows);
    for (uint32_t i = 0; i < to->info.n_rows; i++)
        llmgpu_profile_get_row(from, i, &to->rows[i], sizeof(to->rows[i]));
    return CLI_OK;
}

/* The pass that the test was made of: a decode at its depth, or of a prompt the last pass. */
static int profile(struct bench *b, struct bench_test *t)
{
    uint32_t n = t->decodes ? 1 : t->n < b->values.n_batch ? t->n : b->values.n_batch;
    t->profile.depth = t->decodes ? t->depth : t->n - n;
    bool slow = n > t->tokens_per_second.median;
    llmgpu_profile *found = NULL;
    int rc = fill(b, t->profile.depth);
    if (rc >= 0)
        rc = llmgpu_profile_create(&found, b->session,
                                   t->decodes ? LLMGPU_PROFILE_DECODE : LLMGPU_PROFILE_PREFILL, n,
                                   slow ? SLOW_PASSES : PROFILE_PASSES);
    if (rc < 0)
        return cli_fail_library(rc, llmgpu_session_error(b->session));
    rc = copy_rows(found, &t->profile);
    llmgpu_profile_free(found);
    return rc;
}

/* ---- all of it */

static bool has_room(const struct bench *b, const struct bench_test *t)
{
    uint64_t trained = b->engine.info.n_ctx_train;
    return trained == 0 || (uint64_t)t->depth + t->n <= trained;
}

static void leave_out(struct bench *b)
{
    size_t kept = 0, len = 0;
    for (size_t i = 0; i < b->n_tests; i++) {
        const struct bench_test *t = &b->tests[i];
        if (has_room(b, t))
            b->tests[kept++] = *t;
        else if (len < sizeof(b->left_out))
            len += (size_t)snprintf(b->left_out + len, sizeof(b->left_out) - len, "%s%s", len ? ", " : "",
                                    t->name);
    }
    b->n_tests = kept;
}

static int prepare(struct bench *b)
{
    llmgpu_session_params params;
    llmgpu_session_params_init(&params, sizeof(params));
    for (size_t i = 0; i < b->n_tests; i++) {
        uint32_t need = b->tests[i].depth + b->tests[i].n + 1;
        b->n_ctx = need > b->n_ctx ? need : b->n_ctx;
    }
    params.n_ctx = b->n_ctx;
    params.ignore_end = 1;
    params.n_batch = b->values.n_batch;
    params.tokens_per_submit = b->values.tokens_per_submit;
    b->prompt = malloc((b->n_ctx + (size_t)1) * sizeof(*b->prompt));
    if (!b->prompt)
        return cli_fail(LLMGPU_E_NOMEM, "no memory for %u tokens", b->n_ctx);
    bench_random_tokens(b->prompt, b->n_ctx + 1, b->engine.info.n_vocab);
    return cli_session_open(&b->session, &b->engine, &params);
}

/* Prefills come first, then decodes, the deepest first: what is in the context already need not be computed
 * again. */
static int run_tests(struct bench *b)
{
    double *speeds = malloc(b->values.repeats * sizeof(*speeds));
    int rc = speeds ? CLI_OK : cli_fail(LLMGPU_E_NOMEM, "no memory for %u repetitions", b->values.repeats);
    size_t n_prefills = 0;
    while (n_prefills < b->n_tests && !b->tests[n_prefills].decodes)
        n_prefills++;
    for (size_t i = 0; rc == CLI_OK && i < b->n_tests; i++) {
        struct bench_test *t = &b->tests[i < n_prefills ? i : b->n_tests - 1 - (i - n_prefills)];
        rc = measure(b, t, speeds);
        if (rc == CLI_OK && b->values.profile)
            rc = profile(b, t);
    }
    free(speeds);
    return rc;
}

uint64_t bench_peak_memory(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)usage.ru_maxrss * 1024;
}

/* The peaks are read before: it takes memory of its own. */
int bench_measure_device(struct bench *b)
{
    llmgpu_context_stats stats;
    llmgpu_context_get_stats(b->engine.ctx, &stats, sizeof(stats));
    b->peak_memory = bench_peak_memory();
    b->device_peak = stats.device_peak;
    int rc = llmgpu_context_measure_bandwidth(b->engine.ctx, &b->bandwidth);
    if (rc >= 0 && b->values.profile)
        rc = llmgpu_context_measure_dispatch(b->engine.ctx, &b->dispatch_ns);
    return rc < 0 ? cli_fail_library(rc, llmgpu_context_error(b->engine.ctx)) : CLI_OK;
}

int bench_run(struct bench *b)
{
    int rc = cli_engine_open(&b->engine, &b->values.engine);
    if (rc != CLI_OK)
        return rc;
    leave_out(b);
    if (b->n_tests == 0 && *b->left_out)
        return cli_fail(LLMGPU_E_INVALID, "%s: the model was trained for %u tokens", b->left_out,
                        b->engine.info.n_ctx_train);
    if (b->n_tests > 0)
        rc = prepare(b);
    if (b->n_tests > 0 && rc == CLI_OK)
        rc = run_tests(b);
    if (rc == CLI_OK)
        rc = bench_measure_device(b);
    return rc == CLI_OK ? cli_engine_check(&b->engine) : rc;
}
