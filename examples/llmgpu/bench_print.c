/* SPDX-License-Identifier: MIT
 *
 * llmgpu bench: what was found, as tables and as JSON.
 */
#include <string.h>

#include "bench.h"
#include "json.h"

static double per_second(double amount, uint64_t ns)
{
    return ns ? 1e9 * amount / (double)ns : 0;
}

static double part_of(double part, double whole)
{
    return whole > 0 ? part / whole : 0;
}

static const char *device_of(const struct bench *b, char *buf, size_t size)
{
    snprintf(buf, size, "%s %s", b->engine.device.id, b->engine.device.name);
    return buf;
}

/* ---- tables */

/* "1.23", or "-" for what is not known. */
static const char *number_or_dash(char *buf, size_t size, const char *format, double value)
{
    if (value > 0)
        snprintf(buf, size, format, value);
    else
        snprintf(buf, size, "-");
    return buf;
}

static void print_start(const struct bench *b, FILE *out)
{
    const struct bench_start *s = &b->start;
    double rate = part_of(1e-6 * (double)s->file_bytes, s->load_ms.median);
    fprintf(out, "load        %.1f ms (%.1f .. %.1f), %.1f MiB, %.2f GB/s; the device %.1f ms\n",
            s->load_ms.median, s->load_ms.min, s->load_ms.max, (double)s->file_bytes / 0x1p20, rate,
            s->device_ms.median);
    fprintf(out,
            "first token %.1f ms (%.1f .. %.1f) after a prompt of %u tokens, %.1f ms with the load (%.1f .. "
            "%.1f)\n",
            s->first_token_ms.median, s->first_token_ms.min, s->first_token_ms.max, s->n_prompt,
            s->whole_ms.median, s->whole_ms.min, s->whole_ms.max);
}

static void print_tests(const struct bench *b, FILE *out)
{
    fprintf(out, "%-14s %12s %10s %10s %8s %7s %10s %10s %12s %12s\n", "test", "median tok/s", "min", "max",
            "GB/s", "share", "submits/t", "barriers/t", "dispatches/t", "CPU us/token");
    for (const struct bench_test *t = b->tests; t < b->tests + b->n_tests; t++) {
        char rate[16], share[16];
        const struct bench_times *speed = &t->tokens_per_second;
        number_or_dash(rate, sizeof(rate), "%.2f", 1e-9 * t->bytes_per_second);
        number_or_dash(share, sizeof(share), "%.1f%%", 100 * part_of(t->bytes_per_second, b->bandwidth));
        fprintf(out, "%-14s %12.1f %10.1f %10.1f %8s %7s %10.3f %10.2f %12.2f %12.1f\n", t->name,
                speed->median, speed->min, speed->max, rate, share, t->submits, t->barriers, t->dispatches,
                t->cpu_us);
    }
}

static void print_profile(const struct bench *b, const struct bench_test *t, FILE *out)
{
    const struct bench_profile *p = &t->profile;
    fprintf(out, "\n%s: a %s pass of %u after %u: %.1f us, kernels %.1f us, %u dispatches, %u barriers\n",
            t->name, t->decodes ? "decode" : "prefill", p->info.n_tokens, p->depth,
            1e-3 * (double)p->info.pass_ns, 1e-3 * (double)p->info.kernels_ns, p->info.n_dispatches,
            p->info.n_barriers);
    fprintf(out, "%-16s %-12s %6s %12s %7s %14s %9s %7s %10s\n", "kernel", "label", "calls", "us", "time",
            "bytes", "GB/s", "share", "Gflop/s");
    for (const llmgpu_profile_row *r = p->rows; r < p->rows + p->info.n_rows; r++) {
        char rate[16], share[16], flops[16];
        double bytes = per_second((double)r->bytes, r->ns);
        number_or_dash(rate, sizeof(rate), "%.2f", 1e-9 * bytes);
        number_or_dash(share, sizeof(share), "%.1f%%", 100 * part_of(bytes, b->bandwidth));
        number_or_dash(flops, sizeof(flops), "%.2f", 1e-9 * per_second((double)r->flops, r->ns));
        fprintf(out, "%-16s %-12s %6u %12.1f %6.1f%% %14llu %9s %7s %10s\n", r->kernel, r->label, r->calls,
                1e-3 * (double)r->ns, 100 * part_of((double)r->ns, (double)p->info.kernels_ns),
                (unsigned long long)r->bytes, rate, share, flops);
    }
}

static void print_sequences(const struct bench *b, FILE *out)
{
    fprintf(out, "%9s %14s %10s %10s %12s %14s %12s %12s %7s %12s %12s\n", "sequences", "total tok/s", "min", "max",
            "per stream", "prompt tok/s", "1st token ms", "of others", "idle", "device MiB", "process MiB");
    for (const struct bench_sequences *s = b->sequences; s < b->sequences + b->n_sequences; s++) {
        const struct bench_times *total = &s->tokens_per_second;
        char others[16];
        number_or_dash(others, sizeof(others), "%.1f", s->next_first_token_ms.median);
        fprintf(out, "%9u %14.1f %10.1f %10.1f %12.2f %14.1f %12.1f %12s %6.2f%% %12.1f %12.1f\n", s->n, total->median,
                total->min, total->max, total->median / s->n, s->prompt_per_second.median, s->first_token_ms.median,
                others, 100 * s->idle_share, (double)s->device_bytes / 0x1p20, (double)s->peak_memory / 0x1p20);
    }
}

void bench_print_table(const struct bench *b, FILE *out)
{
    char device[sizeof(b->engine.device.id) + sizeof(b->engine.device.name)];
    fprintf(out, "%s, reads %.1f GB/s\n", device_of(b, device, sizeof(device)), 1e-9 * b->bandwidth);
    if (b->start.measured)
        print_start(b, out);
    if (b->n_tests > 0)
        print_tests(b, out);
    if (b->n_sequences > 0)
        print_sequences(b, out);
    if (b->values.loras.n > 0)
        fprintf(out, "%u adapter%s in turn\n", b->values.loras.n, b->values.loras.n == 1 ? "" : "s");
    if (*b->left_out)
        fprintf(out, "left out: %s; the model was trained for %u tokens\n", b->left_out,
                b->engine.info.n_ctx_train);
    fprintf(out, "peak memory %.1f MiB, of device buffers %.1f MiB\n", (double)b->peak_memory / 0x1p20,
            (double)b->device_peak / 0x1p20);
    if (!b->values.profile)
        return;
    fprintf(out, "dispatch and barrier: %.2f us\n", 1e-3 * b->dispatch_ns);
    for (const struct bench_test *t = b->tests; t < b->tests + b->n_tests; t++)
        print_profile(b, t, out);
}

/* ---- JSON */

static void put(struct json *j, const char *key, double value)
{
    json_key(j, key);
    json_number(j, value);
}

static void put_uint(struct json *j, const char *key, uint64_t value)
{
    json_key(j, key);
    json_uint(j, value);
}

static void put_string(struct json *j, const char *key, const char *value)
{
    json_key(j, key);
    json_string(j, value);
}

static void put_known(struct json *j, const char *key, bool known, double value)
{
    json_key(j, key);
    known ? json_number(j, value) : json_null(j);
}

/* "key":median,"key_min":...,"key_max":... */
static void put_times(struct json *j, const char *key, const struct bench_times *t)
{
    char name[64];
    put(j, key, t->median);
    snprintf(name, sizeof(name), "%s_min", key);
    put(j, name, t->min);
    snprintf(name, sizeof(name), "%s_max", key);
    put(j, name, t->max);
}

static void json_start(struct json *j, const struct bench *b, const char *device)
{
    const struct bench_start *s = &b->start;
    char name[32];
    json_begin(j, '{');
    put_string(j, "test", "load");
    put(j, "device_ms", s->device_ms.median);
    put_times(j, "load_ms", &s->load_ms);
    put_uint(j, "file_bytes", s->file_bytes);
    put(j, "gigabytes_per_second", part_of(1e-6 * (double)s->file_bytes, s->load_ms.median));
    put_string(j, "device", device);
    json_end(j, '}');
    json_begin(j, '{');
    snprintf(name, sizeof(name), "ttft%u", s->n_prompt);
    put_string(j, "test", name);
    put_uint(j, "prompt_tokens", s->n_prompt);
    put_times(j, "first_token_ms", &s->first_token_ms);
    put_times(j, "load_to_first_token_ms", &s->whole_ms);
    put_string(j, "device", device);
    json_end(j, '}');
}

static void json_profile_row(struct json *j, const struct bench *b, const struct bench_test *t,
                             const llmgpu_profile_row *r)
{
    double bytes = per_second((double)r->bytes, r->ns);
    json_begin(j, '{');
    put_string(j, "kernel", r->kernel);
    put_string(j, "label", r->label);
    put_string(j, "phase", t->decodes ? "decode" : "prefill");
    put_uint(j, "calls", r->calls);
    put(j, "us", 1e-3 * (double)r->ns);
    put(j, "share", part_of((double)r->ns, (double)t->profile.info.kernels_ns));
    put_uint(j, "bytes", r->bytes);
    put(j, "gigabytes_per_second", 1e-9 * bytes);
    put(j, "bandwidth_share", part_of(bytes, b->bandwidth));
    put_known(j, "flops", r->flops > 0, (double)r->flops);
    put_known(j, "flops_per_second", r->flops > 0, per_second((double)r->flops, r->ns));
    json_end(j, '}');
}

static void json_profile(struct json *j, const struct bench *b, const struct bench_test *t)
{
    const llmgpu_profile_info *info = &t->profile.info;
    put(j, "dispatch_us", 1e-3 * b->dispatch_ns);
    json_key(j, "pass");
    json_begin(j, '{');
    put_uint(j, "tokens", info->n_tokens);
    put_uint(j, "depth", t->profile.depth);
    put(j, "us", 1e-3 * (double)info->pass_ns);
    put(j, "kernels_us", 1e-3 * (double)info->kernels_ns);
    put_uint(j, "dispatches", info->n_dispatches);
    put_uint(j, "barriers", info->n_barriers);
    json_end(j, '}');
    json_key(j, "profile");
    json_begin(j, '[');
    for (uint32_t i = 0; i < info->n_rows; i++)
        json_profile_row(j, b, t, &t->profile.rows[i]);
    json_end(j, ']');
}

static void json_test(struct json *j, const struct bench *b, const struct bench_test *t, const char *device)
{
    bool known = t->bytes_per_second > 0 && b->bandwidth > 0;
    json_begin(j, '{');
    put_string(j, "test", t->name);
    json_key(j, "tokens_per_second");
    json_begin(j, '{');
    put(j, "median", t->tokens_per_second.median);
    put(j, "min", t->tokens_per_second.min);
    put(j, "max", t->tokens_per_second.max);
    json_end(j, '}');
    put_known(j, "gigabytes_per_second", known, 1e-9 * t->bytes_per_second);
    put_known(j, "bandwidth_share", known, part_of(t->bytes_per_second, b->bandwidth));
    put(j, "submits_per_token", t->submits);
    put(j, "cpu_us_per_token", t->cpu_us);
    put_uint(j, "peak_memory_bytes", b->peak_memory);
    put_uint(j, "device_bytes", t->device_bytes);
    put_string(j, "device", device);
    put(j, "barriers_per_token", t->barriers);
    put(j, "dispatches_per_token", t->dispatches);
    put_uint(j, "device_peak_bytes", b->device_peak);
    put_uint(j, "depth", t->depth);
    put_uint(j, "repeats", t->repeats);
    if (b->values.profile)
        json_profile(j, b, t);
    json_end(j, '}');
}

static void json_sequences(struct json *j, const struct bench *b, const struct bench_sequences *s, const char *device)
{
    json_begin(j, '{');
    put_uint(j, "sequences", s->n);
    put_uint(j, "prompt_tokens", b->values.n_prompt);
    put_uint(j, "decode_tokens", b->values.n_decode);
    put_uint(j, "adapters", b->values.loras.n);
    json_key(j, "tokens_per_second");
    json_begin(j, '{');
    put(j, "median", s->tokens_per_second.median);
    put(j, "min", s->tokens_per_second.min);
    put(j, "max", s->tokens_per_second.max);
    json_end(j, '}');
    put(j, "per_stream", s->tokens_per_second.median / s->n);
    put(j, "prompt_tokens_per_second", s->prompt_per_second.median);
    put_uint(j, "shared_prompt_tokens", b->values.n_shared);
    put_uint(j, "prompt_tokens_computed", s->prompt_computed);
    put_uint(j, "prompt_tokens_shared", s->prompt_shared);
    put(j, "first_token_ms", s->first_token_ms.median);
    put_known(j, "next_first_token_ms", s->n > 1, s->next_first_token_ms.median);
    put(j, "idle_share", s->idle_share);
    put_uint(j, "device_bytes", s->device_bytes);
    put_uint(j, "peak_memory_bytes", s->peak_memory);
    put_uint(j, "repeats", s->repeats);
    put_string(j, "device", device);
    json_end(j, '}');
}

void bench_print_json(const struct bench *b, FILE *out)
{
    struct json j = {.out = out};
    char device[sizeof(b->engine.device.id) + sizeof(b->engine.device.name)];
    device_of(b, device, sizeof(device));
    json_begin(&j, '[');
    if (b->start.measured)
        json_start(&j, b, device);
    for (const struct bench_test *t = b->tests; t < b->tests + b->n_tests; t++)
        json_test(&j, b, t, device);
    for (const struct bench_sequences *s = b->sequences; s < b->sequences + b->n_sequences; s++)
        json_sequences(&j, b, s, device);
    json_end(&j, ']');
    fputc('\n', out);
    if (*b->left_out)
        fprintf(stderr, "llmgpu: left out: %s; the model was trained for %u tokens\n", b->left_out,
                b->engine.info.n_ctx_train);
}
