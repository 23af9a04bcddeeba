/* SPDX-License-Identifier: MIT
 *
 * What is trained on, and how it looks to a model.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "training.h"

int train_fail_data(const llmgpu_dataset *data, int status)
{
    return cli_fail_library(status, llmgpu_dataset_error(data));
}

static int open_files(struct train_run *run, const struct cli_texts *files,
                      const llmgpu_dataset_params *params, llmgpu_dataset **out)
{
    int status = llmgpu_dataset_open(out, run->engine.model, files->words, files->n, params);
    return status < 0 ? cli_fail_library(status, llmgpu_context_error(run->engine.ctx)) : CLI_OK;
}

int train_open_data(struct train_run *run)
{
    const struct train_values *v = run->v;
    llmgpu_dataset_params p;
    llmgpu_dataset_params_init(&p, sizeof(p));
    uint32_t n_ctx = run->engine.info.n_ctx_train;
    run->n_ctx = p.n_ctx = v->n_ctx ? v->n_ctx : n_ctx > 0 && n_ctx < 512 ? n_ctx : 512;
    p.n_batch = v->n_batch;
    p.loss = strcmp(v->loss_on, "all") == 0 ? LLMGPU_DATASET_ALL : LLMGPU_DATASET_ANSWERS;
    p.pack = !v->no_pack;
    p.shuffle = !v->no_shuffle;
    p.strict = strcmp(v->bad_lines, "fail") == 0;
    p.plain = v->plain;
    p.n_told = run->processes.index > 0 ? 0 : p.n_told; // once is enough
    p.seed = v->trainer.seed;
    int rc = open_files(run, &v->data, &p, &run->data);
    if (rc == CLI_OK && v->val_split > 0) {
        int status = llmgpu_dataset_split(&run->validation, run->data, v->val_split);
        if (status < 0)
            rc = train_fail_data(run->data, status);
    } else if (rc == CLI_OK && v->validation.n > 0) {
        p.shuffle = 0;
        p.pack = 1; // fewer micro-batches for the same losses
        p.n_passes = 1;
        rc = open_files(run, &v->validation, &p, &run->validation);
    }
    if (rc != CLI_OK || (v->n_steps > 0 && !v->dry_run))
        return rc;
    int status = llmgpu_dataset_count(run->data, &run->counted, sizeof(run->counted));
    return status < 0 ? train_fail_data(run->data, status) : CLI_OK;
}

uint64_t train_count_steps(const struct train_run *run)
{
    const struct train_values *v = run->v;
    if (v->n_steps > 0)
        return v->n_steps;
    double steps = ceil((double)v->epochs * (double)run->counted.n_batches / run->accumulate);
    return steps < 1 ? 1 : (uint64_t)steps;
}

/* ---- dry run */

/** A sample, whole. */
struct sample {
    int32_t *tokens;
    uint8_t *counts;
    size_t n;
};

static int read_sample(struct train_run *run, uint64_t line, struct sample *out, int *status)
{
    *out = (struct sample){0};
    *status = llmgpu_dataset_get_sample(run->data, line, NULL, NULL, 0, &out->n);
    if (*status != LLMGPU_E_RANGE)
        return CLI_OK;
    out->tokens = malloc(out->n * sizeof(*out->tokens));
    out->counts = malloc(out->n);
    if (!out->tokens || !out->counts)
        return cli_fail(LLMGPU_E_NOMEM, "no memory for a sample of %zu tokens", out->n);
    *status = llmgpu_dataset_get_sample(run->data, line, out->tokens, out->counts, out->n, &out->n);
    return CLI_OK;
}

static int spell(const struct train_run *run, const int32_t *tokens, size_t n, struct cli_text *out)
{
    const uint32_t flags = LLMGPU_TOKENIZE_PARSE_SPECIAL | LLMGPU_DETOKENIZE_CONTINUE;
    int status = llmgpu_detokenize(run->engine.model, tokens, n, flags, NULL, 0, &out->len);
    out->bytes = malloc(out->len + 1);
    if (!out->bytes)
        return cli_fail(LLMGPU_E_NOMEM, "no memory for the text of a sample");
    if (status == LLMGPU_E_RANGE)
        status = llmgpu_detokenize(run->engine.model, tokens, n, flags, out->bytes, out->len, &out->len);
    return status < 0 ? cli_fail(status, "a sample cannot be shown as text") : CLI_OK;
}

/** The part of a sample that stays, in pieces that count ("+") and that do not ("."). */
static int print_pieces(const struct train_run *run, const struct sample *s, size_t kept, FILE *out)
{
    for (size_t begin = 0, end; begin < kept; begin = end) {
        struct cli_text text = {0};
        end = begin;
        while (end < kept && s->counts[end] == s->counts[begin])
            end++;
        int rc = spell(run, s->tokens + begin, end - begin, &text);
        if (rc == CLI_OK) {
            fprintf(out, "  %c ", s->counts[begin] ? '+' : '.');
            json_write_escaped(out, text.bytes, text.len);
            fputc('\n', out);
        }
        free(text.bytes);
        if (rc != CLI_OK)
            return rc;
    }
    return CLI_OK;
}

static size_t count_counted(const struct sample *s, size_t n)
{
    size_t counted = 0;
    for (size_t i = 1; i < n; i++)
        counted += s->counts[i];
    return counted;
}

static void print_sample_json(struct json *j, const char *path, uint64_t number, const struct sample *s,
                              size_t kept)
{
    json_begin(j, '{');
    json_key(j, "file");
    json_string(j, path);
    json_key(j, "line");
    json_uint(j, number);
    json_key(j, "cut");
    json_uint(j, s->n - kept);
    json_key(j, "tokens");
    json_ids(j, s->tokens, kept);
    json_key(j, "mask");
    json_begin(j, '[');
    for (size_t i = 0; i < kept; i++)
        json_int(j, s->counts[i]);
    json_end(j, ']');
    json_end(j, '}');
}

/** One line; nothing for an empty one. `j`: as JSON. */
static int show_line(struct train_run *run, uint64_t line, struct json *j, FILE *out, uint32_t *n_shown)
{
    struct sample s;
    const char *path;
    uint64_t number;
    int status, rc = read_sample(run, line, &s, &status);
    llmgpu_dataset_get_line(run->data, line, &path, &number);
    size_t kept = s.n > (size_t)run->n_ctx + 1 ? (size_t)run->n_ctx + 1 : s.n;
    if (rc == CLI_OK && status < 0 && !j)
        fprintf(out, "%s:%llu: %s\n", path, (unsigned long long)number, llmgpu_dataset_error(run->data));
    else if (rc == CLI_OK && s.n > 0 && j)
        print_sample_json(j, path, number, &s, kept);
    else if (rc == CLI_OK && s.n > 0) {
        fprintf(out, "%s:%llu: %zu tokens, of which %zu count", path, (unsigned long long)number, kept,
                count_counted(&s, kept));
        if (kept < s.n)
            fprintf(out, "; %zu were cut off", s.n - kept);
        fputc('\n', out);
        rc = print_pieces(run, &s, kept, out);
    }
    *n_shown += s.n > 0 || status < 0;
    free(s.tokens);
    free(s.counts);
    return rc;
}

static void print_counts(const struct train_run *run, uint32_t n_rows, FILE *out)
{
    const llmgpu_dataset_stats *c = &run->counted;
    fprintf(out,
            "%llu lines: %llu samples, %llu bad lines, %llu samples with nothing to learn\n"
            "%llu rows, of which %llu count; the longest sample has %u; %llu samples are cut and lose %llu "
            "tokens\n"
            "%llu micro-batches of at most %u rows, %.0f%% full; %llu steps\n",
            (unsigned long long)c->n_lines, (unsigned long long)c->n_samples, (unsigned long long)c->n_bad,
            (unsigned long long)c->n_idle, (unsigned long long)c->n_rows, (unsigned long long)c->n_targets,
            c->max_rows, (unsigned long long)c->n_cut, (unsigned long long)c->cut_tokens,
            (unsigned long long)c->n_batches, n_rows,
            c->n_batches ? 100.0 * (double)c->n_rows / ((double)c->n_batches * n_rows) : 0.0,
            (unsigned long long)run->n_steps);
}

static void print_counts_json(const struct train_run *run, struct json *j)
{
    const llmgpu_dataset_stats *c = &run->counted;
    const struct {
        const char *name;
        uint64_t n;
    } counts[] = {
        {"lines", c->n_lines},    {"samples", c->n_samples},
        {"bad_lines", c->n_bad},  {"idle", c->n_idle},
        {"cut", c->n_cut},        {"cut_tokens", c->cut_tokens},
        {"rows", c->n_rows},      {"targets", c->n_targets},
        {"longest", c->max_rows}, {"micro_batches", c->n_batches},
        {"steps", run->n_steps},
    };
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        json_key(j, counts[i].name);
        json_uint(j, counts[i].n);
    }
}

int train_dry_run(struct train_run *run, FILE *out)
{
    const struct train_values *v = run->v;
    struct json j = {.out = out};
    const char *path;
    uint64_t number;
    uint32_t n_shown = 0;
    int rc = CLI_OK;
    if (v->json) {
        json_begin(&j, '{');
        print_counts_json(run, &j);
        json_key(&j, "shown");
        json_begin(&j, '[');
    }
    for (uint64_t line = 0; rc == CLI_OK && n_shown < v->n_shown; line++) {
        if (llmgpu_dataset_get_line(run->data, line, &path, &number) < 0)
            break;
        rc = show_line(run, line, v->json ? &j : NULL, out, &n_shown);
    }
    if (v->json) {
        json_end(&j, ']');
        json_end(&j, '}');
        fputc('\n', out);
    } else {
        print_counts(run, run->n_ctx * v->n_batch, out);
    }
    return rc;
}
