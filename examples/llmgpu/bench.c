/* SPDX-License-Identifier: MIT
 *
 * llmgpu bench: how fast a model runs.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "common.h"
#include "json.h"

struct bench_values {
    struct cli_engine_options engine;
    uint32_t n_prompt, n_decode, repeats, n_batch, tokens_per_submit;
    bool json;
};

static const struct cli_option options[] = {
    CLI_MODEL_OPTION(struct bench_values),
    {CLI_U32, 'p', "prompt-tokens", "N", offsetof(struct bench_values, n_prompt), 0, 1 << 20,
     "tokens of the prefill test; 0 leaves it out"},
    {CLI_U32, 'n', "decode-tokens", "N", offsetof(struct bench_values, n_decode), 0, 1 << 20,
     "tokens of the decode test; 0 leaves it out"},
    {CLI_U32, 'r', "repeat", "N", offsetof(struct bench_values, repeats), 1, 1000,
     "timed repetitions of each test, after one that is not timed"},
    {CLI_U32, 0, "batch", "N", offsetof(struct bench_values, n_batch), 1, 4096,
     "tokens of a prompt computed in one pass"},
    {CLI_U32, 0, "tokens-per-submit", "N", offsetof(struct bench_values, tokens_per_submit), 1, 64,
     "tokens decoded in one submission to the device"},
    CLI_JSON_OPTION(struct bench_values),
    CLI_ENGINE_OPTIONS(struct bench_values),
    {0},
};

static void init(void *values)
{
    struct bench_values *v = values;
    llmgpu_session_params params;
    llmgpu_session_params_init(&params, sizeof(params));
    v->engine.device = "auto";
    v->n_prompt = 512;
    v->n_decode = 128;
    v->repeats = 5;
    v->n_batch = params.n_batch;
    v->tokens_per_submit = params.tokens_per_submit;
}

struct bench {
    struct cli_engine engine;
    llmgpu_session *session;
    uint64_t random;
    int32_t *prompt; // n_prompt ids
    double *speeds;  // repeats tokens per second, ascending
    uint32_t repeats;
    double bandwidth; // bytes per second
    uint64_t peak_memory;
};

/* What a test found. */
struct result {
    char test[24];
    double median, min, max; // tokens per second
    double bytes_per_second; // of weights; 0: not known, a prefill reads them once for many tokens
    double submits_per_token;
    double cpu_us_per_token;
    uint64_t device_bytes;
};

/* The same ids in every run; Steele and Vigna's multiplier of 2021. */
static int32_t random_token(struct bench *b)
{
    b->random = b->random * 0xd1342543de82ef95u + 1;
    return (int32_t)((b->random >> 33) % b->engine.info.n_vocab);
}

/* A session leaves the last token fed to the decode pass that follows, so one more is fed than is computed. */
static int prefill(struct bench *b, uint32_t n)
{
    int rc = llmgpu_session_feed(b->session, b->prompt, n + 1);
    return rc < 0 ? rc : llmgpu_session_prefill(b->session);
}

static int decode(struct bench *b, uint32_t n)
{
    int32_t token;
    int rc = llmgpu_session_set_remaining(b->session, n);
    if (rc >= 0)
        rc = llmgpu_session_feed(b->session, b->prompt, 1);
    for (uint32_t done = 0; rc >= 0 && done < n; done++)
        rc = cli_next(b->session, &token);
    return rc;
}

static double cpu_seconds(const struct rusage *usage)
{
    return (double)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) +
           1e-6 * (double)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *sorted, uint32_t n)
{
    return 0.5 * (sorted[(n - 1) / 2] + sorted[n / 2]);
}

/* Runs a test once for warmth and then `repeats` times on the clock. */
static int measure(struct bench *b, int (*test)(struct bench *, uint32_t), uint32_t n, struct result *out)
{
    llmgpu_context_stats stats_begin, stats_end;
    struct rusage usage_begin, usage_end;
    uint64_t submits = 0;
    double cpu = 0;
    for (uint32_t i = 0; i <= b->repeats; i++) {
        int rc = llmgpu_session_reset(b->session);
        llmgpu_context_get_stats(b->engine.ctx, &stats_begin, sizeof(stats_begin));
        getrusage(RUSAGE_SELF, &usage_begin);
        double begin = cli_seconds();
        if (rc >= 0)
            rc = test(b, n);
        double seconds = cli_seconds() - begin;
        getrusage(RUSAGE_SELF, &usage_end);
        llmgpu_context_get_stats(b->engine.ctx, &stats_end, sizeof(stats_end));
        if (rc < 0)
            return cli_fail_library(rc, llmgpu_session_error(b->session));
        if (i == 0)
            continue;
        b->speeds[i - 1] = (double)n / seconds;
        submits += stats_end.submits - stats_begin.submits;
        cpu += cpu_seconds(&usage_end) - cpu_seconds(&usage_begin);
    }
    double tokens = (double)n * b->repeats;
    qsort(b->speeds, b->repeats, sizeof(*b->speeds), compare);
    out->median = median(b->speeds, b->repeats);
    out->min = b->speeds[0];
    out->max = b->speeds[b->repeats - 1];
    out->submits_per_token = (double)submits / tokens;
    out->cpu_us_per_token = 1e6 * cpu / tokens;
    out->device_bytes = stats_end.device_bytes;
    return CLI_OK;
}

static int prepare(struct bench *b, const struct bench_values *v)
{
    llmgpu_session_params params;
    llmgpu_session_params_init(&params, sizeof(params));
    params.n_ctx = 1 + (v->n_prompt > v->n_decode ? v->n_prompt : v->n_decode);
    params.ignore_end = 1;
    params.n_batch = v->n_batch;
    params.tokens_per_submit = v->tokens_per_submit;
    int rc = cli_engine_open(&b->engine, &v->engine);
    if (rc == CLI_OK)
        rc = cli_session_open(&b->session, &b->engine, &params);
    if (rc != CLI_OK)
        return rc;
    b->repeats = v->repeats;
    b->prompt = malloc((v->n_prompt + 1) * sizeof(*b->prompt));
    b->speeds = malloc(v->repeats * sizeof(*b->speeds));
    if (!b->prompt || !b->speeds)
        return cli_fail(LLMGPU_E_NOMEM, "no memory for %u tokens", v->n_prompt);
    for (uint32_t i = 0; i <= v->n_prompt; i++)
        b->prompt[i] = random_token(b);
    return CLI_OK;
}

static int run_tests(struct bench *b, const struct bench_values *v, struct result *results, size_t *n_results)
{
    int rc = CLI_OK;
    if (v->n_prompt > 0) {
        struct result *r = &results[(*n_results)++];
        snprintf(r->test, sizeof(r->test), "pp%u", v->n_prompt);
        rc = measure(b, prefill, v->n_prompt, r);
    }
    if (v->n_decode > 0 && rc == CLI_OK) {
        struct result *r = &results[(*n_results)++];
        snprintf(r->test, sizeof(r->test), "tg%u", v->n_decode);
        rc = measure(b, decode, v->n_decode, r);
        r->bytes_per_second = r->median * (double)b->engine.info.bytes_per_token;
    }
    if (rc != CLI_OK)
        return rc;
    // The peak is read first: measuring the bandwidth takes memory of its own.
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    b->peak_memory = (uint64_t)usage.ru_maxrss * 1024;
    int status = llmgpu_context_measure_bandwidth(b->engine.ctx, &b->bandwidth);
    if (status < 0)
        return cli_fail_library(status, llmgpu_context_error(b->engine.ctx));
    return cli_engine_check(&b->engine);
}

static void print_json(const struct bench *b, const struct result *results, size_t n, FILE *out)
{
    struct json j = {.out = out};
    char device[sizeof(b->engine.device.id) + sizeof(b->engine.device.name)];
    snprintf(device, sizeof(device), "%s %s", b->engine.device.id, b->engine.device.name);
    json_begin(&j, '[');
    for (const struct result *r = results; r < results + n; r++) {
        json_begin(&j, '{');
        json_key(&j, "test");
        json_string(&j, r->test);
        json_key(&j, "tokens_per_second");
        json_begin(&j, '{');
        json_key(&j, "median");
        json_number(&j, r->median);
        json_key(&j, "min");
        json_number(&j, r->min);
        json_key(&j, "max");
        json_number(&j, r->max);
        json_end(&j, '}');
        bool known = r->bytes_per_second > 0 && b->bandwidth > 0;
        json_key(&j, "gigabytes_per_second");
        known ? json_number(&j, 1e-9 * r->bytes_per_second) : json_null(&j);
        json_key(&j, "bandwidth_share");
        known ? json_number(&j, r->bytes_per_second / b->bandwidth) : json_null(&j);
        json_key(&j, "submits_per_token");
        json_number(&j, r->submits_per_token);
        json_key(&j, "cpu_us_per_token");
        json_number(&j, r->cpu_us_per_token);
        json_key(&j, "peak_memory_bytes");
        json_uint(&j, b->peak_memory);
        json_key(&j, "device_bytes");
        json_uint(&j, r->device_bytes);
        json_key(&j, "device");
        json_string(&j, device);
        json_end(&j, '}');
    }
    json_end(&j, ']');
    fputc('\n', out);
}

static void print_table(const struct bench *b, const struct result *results, size_t n, FILE *out)
{
    fprintf(out, "%s %s, reads %.1f GB/s\n", b->engine.device.id, b->engine.device.name, 1e-9 * b->bandwidth);
    fprintf(out, "%-8s %12s %12s %12s %8s %7s %13s %12s\n", "test", "median tok/s", "min", "max", "GB/s",
            "share", "submits/token", "CPU us/token");
    for (const struct result *r = results; r < results + n; r++) {
        char rate[16] = "-", share[16] = "-";
        if (r->bytes_per_second > 0 && b->bandwidth > 0) {
            snprintf(rate, sizeof(rate), "%.2f", 1e-9 * r->bytes_per_second);
            snprintf(share, sizeof(share), "%.1f%%", 100 * r->bytes_per_second / b->bandwidth);
        }
        fprintf(out, "%-8s %12.1f %12.1f %12.1f %8s %7s %13.3f %12.1f\n", r->test, r->median, r->min, r->max,
                rate, share, r->submits_per_token, r->cpu_us_per_token);
    }
    fprintf(out, "peak memory %.1f MiB", (double)b->peak_memory / 0x1p20);
    if (n > 0)
        fprintf(out, ", of device buffers %.1f MiB", (double)results[n - 1].device_bytes / 0x1p20);
    fputc('\n', out);
}

static int bench(void *values, const struct cli_args *args, FILE *out)
{
    const struct bench_values *v = values;
    struct bench b = {.random = 1};
    struct result results[2] = {0};
    size_t n = 0;
    (void)args;
    if (v->n_prompt == 0 && v->n_decode == 0)
        return cli_usage("bench", "-p 0 and -n 0 leave nothing to measure");
    int rc = prepare(&b, v);
    if (rc == CLI_OK)
        rc = run_tests(&b, v, results, &n);
    if (rc == CLI_OK && v->json)
        print_json(&b, results, n, out);
    else if (rc == CLI_OK)
        print_table(&b, results, n, out);
    llmgpu_session_free(b.session);
    cli_engine_close(&b.engine);
    free(b.prompt);
    free(b.speeds);
    return rc;
}

const struct cli_command cli_command_bench = {
    .name = "bench",
    .usage = "-m MODEL [options]",
    .summary = "measure how fast a model runs",
    .about = "Measures prefill (test pp<N>: a prompt of N random tokens) and decoding (test tg<N>: N tokens "
             "after one). The ids are the same in every run. An end token does not stop the decode test: a "
             "random token goes on.\n"
             "\n"
             "GB/s is the rate at which decoding reads weights, and the share is that of the read bandwidth "
             "which the device reaches when it does nothing else. CPU time is that of the whole process, "
             "user and system. Peak memory is of the process.\n"
             "\n"
             "With --json an array of:\n"
             "  {\"test\":\"pp512\",\"tokens_per_second\":{\"median\":...,\"min\":...,\"max\":...},\n"
             "   "
             "\"gigabytes_per_second\":...,\"bandwidth_share\":...,\"submits_per_token\":...,\"cpu_us_per_"
             "token\":...,\n"
             "   \"peak_memory_bytes\":...,\"device_bytes\":...,\"device\":\"...\"}\n"
             "The share is a fraction of 1; rate and share are null for prefill, which reads weights once "
             "for many tokens.\n",
    .options = options,
    .size = sizeof(struct bench_values),
    .init = init,
    .run = bench,
};
