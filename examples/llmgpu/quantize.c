/* SPDX-License-Identifier: MIT
 *
 * llmgpu quantize: writes a model's file with weights of another type.
 */
#include "rewrite.h"

#include <string.h>
#include <unistd.h>

#include "interrupt.h"

struct quantize_values {
    uint32_t n_threads;
    bool json;
};

static const struct cli_option options[] = {
    {CLI_U32, 't', "threads", "N", offsetof(struct quantize_values, n_threads), 0, 1024,
     "threads; 0: all processors that may be used"},
    CLI_JSON_OPTION(struct quantize_values),
    {0},
};

/* ---- the bar */

static void clear_bar(struct cli_rewrite *r)
{
    if (r->bar)
        fputs("\r\033[K", stderr);
    r->bar = false;
}

static int show(void *user, uint64_t done, uint64_t total)
{
    enum { WIDTH = 32 };
    struct cli_rewrite *r = user;
    double now = cli_seconds(), spent = now - r->begin;
    if (isatty(STDERR_FILENO) && now - r->shown > 0.1 && total) {
        int full = (int)((double)done / (double)total * WIDTH);
        char left[32] = "";
        if (spent > 0.5 && done)
            snprintf(left, sizeof(left), "  %.0f s left", spent * (double)(total - done) / (double)done);
        fprintf(stderr, "\r[%.*s%.*s] %3d%%  %.0f MB/s%s  %s\033[K", full, "################################", WIDTH - full,
                "................................", (int)(100 * (double)done / (double)total),
                spent > 0 ? 1e-6 * (double)done / spent : 0, left, r->name);
        fflush(stderr);
        r->shown = now;
        r->bar = true;
    }
    return cli_interrupted();
}

/* ---- the report */

static void json_tensor(struct json *j, const llmgpu_quantize_tensor *t)
{
    json_begin(j, '{');
    json_key(j, "name");
    json_bytes(j, t->name, t->name_len);
    json_key(j, "shape");
    json_begin(j, '[');
    for (uint32_t i = 0; i < t->n_dims; i++)
        json_uint(j, t->dims[i]);
    json_end(j, ']');
    json_key(j, "from");
    json_string(j, t->from_type);
    json_key(j, "to");
    json_string(j, t->to_type);
    json_key(j, "merged");
    json_bool(j, t->merged != 0);
    json_key(j, "rms");
    json_number(j, t->rms);
    json_key(j, "rmse");
    json_number(j, t->rmse);
    json_key(j, "max_error");
    json_number(j, t->max_error);
    json_key(j, "bytes_before");
    json_uint(j, t->from_bytes);
    json_key(j, "bytes_after");
    json_uint(j, t->to_bytes);
    json_end(j, '}');
}

static void print_tensor(FILE *out, const llmgpu_quantize_tensor *t)
{
    char shape[96] = "";
    int used = 0;
    for (uint32_t i = 0; i < t->n_dims; i++)
        used += snprintf(shape + used, sizeof(shape) - (size_t)used, "%s%llu", i ? " x " : "",
                         (unsigned long long)t->dims[i]);
    json_write_escaped(out, t->name, t->name_len);
    fprintf(out, "%*s  %16s  %-5s", t->name_len < 28 ? 28 - (int)t->name_len : 0, "", shape, t->from_type);
    if (t->rms == 0 && t->rmse == 0) {
        fprintf(out, "     as it was, %llu bytes\n", (unsigned long long)t->to_bytes);
        return;
    }
    fprintf(out, " -> %-5s  RMSE %.6f (%.2f%%)  at most %.5f  %llu -> %llu bytes%s\n", t->to_type, t->rmse,
            t->rms > 0 ? 100 * t->rmse / t->rms : 0, t->max_error, (unsigned long long)t->from_bytes,
            (unsigned long long)t->to_bytes, t->merged ? ", merged" : "");
}

static bool is_plain(const char *type)
{
    return strcmp(type, "F32") == 0 || strcmp(type, "F16") == 0 || strcmp(type, "BF16") == 0;
}

static void report(void *user, const llmgpu_quantize_tensor *t)
{
    struct cli_rewrite *r = user;
    bool changed = t->rms != 0 || strcmp(t->from_type, t->to_type) != 0;
    snprintf(r->name, sizeof(r->name), "%.*s", t->name_len < 40 ? (int)t->name_len : 40, t->name);
    for (char *c = r->name; *c; c++)
        *c = *c >= ' ' && *c < 127 ? *c : '?';
    r->n_tensors++;
    r->n_changed += changed;
    r->n_again += changed && !is_plain(t->from_type);
    r->from_bytes += t->from_bytes;
    r->to_bytes += t->to_bytes;
    r->n_weights += t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3];
    if (r->json)
        json_tensor(&r->j, t);
    else
        print_tensor(r->out, t);
}

static void print_sums(struct cli_rewrite *r, const char *path)
{
    double seconds = cli_seconds() - r->begin;
    double bits = r->n_weights ? 8 * (double)r->to_bytes / (double)r->n_weights : 0;
    if (!r->json) {
        fprintf(r->out,
                "%s: %llu tensors, %llu of them with other weights; %llu -> %llu bytes, %.2f bits a weight; %.1f s\n",
                path, (unsigned long long)r->n_tensors, (unsigned long long)r->n_changed,
                (unsigned long long)r->from_bytes, (unsigned long long)r->to_bytes, bits, seconds);
        return;
    }
    json_end(&r->j, ']');
    json_key(&r->j, "bytes_before");
    json_uint(&r->j, r->from_bytes);
    json_key(&r->j, "bytes_after");
    json_uint(&r->j, r->to_bytes);
    json_key(&r->j, "bits_per_weight");
    json_number(&r->j, bits);
    json_key(&r->j, "quantized_again");
    json_uint(&r->j, r->n_again);
    json_key(&r->j, "seconds");
    json_number(&r->j, seconds);
    json_end(&r->j, '}');
    fputc('\n', r->out);
}

void cli_rewrite_begin(struct cli_rewrite *r, bool json, uint32_t n_threads, FILE *out)
{
    *r = (struct cli_rewrite){.json = json, .out = out, .j = {.out = out}, .begin = cli_seconds()};
    llmgpu_quantize_params_init(&r->params, sizeof(r->params));
    r->params.n_threads = n_threads;
    r->params.progress = show;
    r->params.progress_user = r;
    r->params.report = report;
    r->params.report_user = r;
    r->params.error = r->error;
    r->params.error_size = sizeof(r->error);
    if (json) {
        json_begin(&r->j, '{');
        json_key(&r->j, "tensors");
        json_begin(&r->j, '[');
    }
    cli_on_interrupt(CLI_INTERRUPT_ASK, NULL);
}

int cli_rewrite_end(struct cli_rewrite *r, const char *path, int status)
{
    bool stopped = cli_interrupted();
    cli_on_interrupt(CLI_INTERRUPT_DEFAULT, NULL);
    clear_bar(r);
    if (status == LLMGPU_E_CANCELLED && stopped) {
        fputs("llmgpu: stopped; nothing was written\n", stderr);
        return CLI_INTERRUPTED;
    }
    if (status < 0)
        return cli_fail_library(status, r->error);
    print_sums(r, path);
    if (r->n_again && !r->json)
        fprintf(stderr, "llmgpu: note: %llu tensors were quantised already; from a file in F16 or F32 they would lose less\n",
                (unsigned long long)r->n_again);
    return CLI_OK;
}

/* ---- the command */

static int quantize(void *values, const struct cli_args *args, FILE *out)
{
    const struct quantize_values *v = values;
    struct cli_rewrite r;
    if (args->n != 3)
        return cli_usage("quantize", "quantize needs a GGUF file, the file to write, and a type such as Q4_K_M");
    cli_rewrite_begin(&r, v->json, v->n_threads, out);
    int status = llmgpu_quantize(args->words[0], args->words[1], args->words[2], &r.params);
    return cli_rewrite_end(&r, args->words[1], status);
}

const struct cli_command cli_command_quantize = {
    .name = "quantize",
    .usage = "IN OUT TYPE [options]",
    .summary = "write a model with weights of another type",
    .about = "Writes a GGUF file with its weights as TYPE: F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K, Q3_K_S, "
             "Q3_K_M, Q3_K_L, Q4_K_S, Q4_K_M, Q5_K_S, Q5_K_M or Q6_K. The names that end in a letter are mixes: some "
             "matrices have more bits than most. Vectors stay as they are, and where rows are too short for the blocks "
             "of a type there is a near one in its place. OUT is there when all of it is on disk, or as it was.\n"
             "\n"
             "Prints for each tensor its shape (fastest dimension first), the types, the root mean square of the "
             "difference, also as a part of the weights' own, and the largest difference.\n"
             "\n"
             "With --json one object with bytes_before, bytes_after, bits_per_weight, quantized_again (how many tensors were "
             "so already), seconds, and tensors, of which each has:\n"
             "  {\"name\":...,\"shape\":[...],\"from\":...,\"to\":...,\"merged\":...,\"rms\":...,\n"
             "   \"rmse\":...,\"max_error\":...,\"bytes_before\":...,\"bytes_after\":...}\n",
    .options = options,
    .max_args = 3,
    .size = sizeof(struct quantize_values),
    .run = quantize,
};
