/* SPDX-License-Identifier: MIT
 *
 * llmgpu run: continues a prompt.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "interrupt.h"
#include "json.h"
#include "sampler.h"

struct run_values {
    struct cli_engine_options engine;
    llmgpu_session_params session;
    llmgpu_sampler_params sampler;
    const char *prompt, *file, *ids, *lora, *biases;
    int32_t n_predict;
    bool ignore_end, json;
};

static const struct cli_option options[] = {
    CLI_MODEL_OPTION(struct run_values),
    {CLI_TEXT, 'p', "prompt", "TEXT", offsetof(struct run_values, prompt), 0, 0,
     "the prompt; control tokens may be written in it"},
    {CLI_TEXT, 'f', "file", "FILE", offsetof(struct run_values, file), 0, 0,
     "read the prompt from a file; '-' is the standard input"},
    {CLI_TEXT, 0, "ids", "IDS", offsetof(struct run_values, ids), 0, 0,
     "the prompt as token ids, \"1 2 3\"; nothing is added to them"},
    {CLI_I32, 'n', "max-tokens", "N", offsetof(struct run_values, n_predict), -1, INT32_MAX,
     "tokens to generate at most; -1: until the answer ends or the context is full"},
    {CLI_U32, 'c', "ctx", "N", offsetof(struct run_values, session.n_ctx), 0, INT32_MAX,
     "tokens of context; 0: what the model was trained for, at most 4096"},
    {CLI_U32, 0, "batch", "N", offsetof(struct run_values, session.n_batch), 1, 4096,
     "tokens of the prompt computed in one pass"},
    {CLI_U32, 0, "tokens-per-submit", "N", offsetof(struct run_values, session.tokens_per_submit), 1, 64,
     "tokens generated in one submission to the device; 1 shows each at once"},
    {CLI_FLAG, 0, "ignore-eos", NULL, offsetof(struct run_values, ignore_end), 0, 0,
     "go on after end tokens"},
    CLI_LORA_OPTION(struct run_values),
    CLI_JSON_OPTION(struct run_values),
    CLI_SAMPLER_OPTIONS(struct run_values),
    {CLI_TEXT, 0, "logit-bias", "ID=X,...", offsetof(struct run_values, biases), 0, 0,
     "add to logits of tokens, -1000 .. 1000, before all of these; -inf: such a token is never taken"},
    CLI_ENGINE_OPTIONS(struct run_values),
    {0},
};

static void init(void *values)
{
    struct run_values *v = values;
    v->engine.device = "auto";
    v->n_predict = 128;
    llmgpu_session_params_init(&v->session, sizeof(v->session));
    llmgpu_sampler_params_init(&v->sampler, sizeof(v->sampler));
}

/* What a run makes. */
struct run {
    struct cli_engine engine;
    llmgpu_session *session;
    llmgpu_decoder *decoder;
    struct cli_text prompt_text;
    struct cli_tokens prompt, answer;
    FILE *text; // where the answer's text goes
    bool streaming, newline, interrupted, full;
    double load_s;
};

/* The prompt as text or ids, from whichever one source is named. */
static int read_prompt(struct run *run, const struct run_values *v, const struct cli_args *args)
{
    bool standard = args->n == 1;
    if (standard && strcmp(args->words[0], "-") != 0)
        return cli_usage("run", "run: unexpected argument '%s'; a prompt is given with -p", args->words[0]);
    int sources = (v->prompt != NULL) + (v->file != NULL) + (v->ids != NULL) + standard;
    if (sources != 1)
        return cli_usage("run", "run needs %s of -p TEXT, -f FILE, --ids IDS and -",
                         sources ? "only one" : "one");
    if (v->ids) {
        int rc = cli_parse_ids("run", v->ids, &run->prompt);
        return rc == CLI_OK && run->prompt.n == 0 ? cli_usage("run", "--ids names no token") : rc;
    }
    if (v->prompt)
        return cli_copy_text(v->prompt, "the prompt", &run->prompt_text);
    return cli_read_text(standard ? "-" : v->file, &run->prompt_text);
}

/* The next "ID=X" of a list, which it goes on behind. */
static bool parse_bias(char **list, llmgpu_logit_bias *bias)
{
    double id, value = -INFINITY;
    char *word = *list, *end = word + strcspn(word, ","), *mark = strchr(word, '=');
    *list = *end ? end + 1 : end;
    if (!mark || mark > end)
        return false;
    *mark = *end = '\0';
    if (!cli_parse_number(word, &id) || id < 0 || id > INT32_MAX || id != floor(id) ||
        (strcmp(mark + 1, "-inf") != 0 && !cli_parse_number(mark + 1, &value)))
        return false;
    *bias = (llmgpu_logit_bias){(int32_t)id, (float)value};
    return true;
}

static int set_biases(struct run *run, const char *text)
{
    enum { MAX_BIASES = 257 }; // one more than a session takes
    llmgpu_logit_bias biases[MAX_BIASES];
    size_t n = 0;
    bool good = true;
    char *copy = strdup(text), *list = copy;
    if (!copy)
        return cli_fail(LLMGPU_E_NOMEM, "no memory for a list of biases");
    while (good && *list && n < MAX_BIASES)
        good = parse_bias(&list, &biases[n++]);
    free(copy);
    if (!good)
        return cli_usage("run", "--logit-bias takes ID=X,..., not '%s'", text);
    int status = llmgpu_session_set_logit_bias(run->session, biases, n);
    return status < 0 ? cli_fail_library(status, llmgpu_session_error(run->session)) : CLI_OK;
}

static int load(struct run *run, const struct run_values *v)
{
    double start = cli_seconds();
    int rc = cli_engine_open(&run->engine, &v->engine);
    llmgpu_session_params params = v->session;
    params.ignore_end = v->ignore_end;
    if (rc == CLI_OK)
        rc = cli_session_open(&run->session, &run->engine, &params);
    if (rc == CLI_OK)
        rc = cli_session_adapt(run->session, &run->engine, v->lora);
    if (rc != CLI_OK)
        return rc;
    run->load_s = cli_seconds() - start;
    int status = llmgpu_session_set_sampler(run->session, &v->sampler);
    if (status < 0)
        return cli_fail_library(status, llmgpu_session_error(run->session));
    if (v->biases && (rc = set_biases(run, v->biases)) != CLI_OK)
        return rc;
    status = llmgpu_decoder_create(&run->decoder, run->engine.model, LLMGPU_DETOKENIZE_CONTINUE);
    if (status < 0)
        return cli_fail_library(status, llmgpu_context_error(run->engine.ctx));
    if (v->ids)
        return CLI_OK;
    return cli_tokenize(&run->engine, &run->prompt_text,
                        LLMGPU_TOKENIZE_ADD_SPECIAL | LLMGPU_TOKENIZE_PARSE_SPECIAL, &run->prompt);
}

static int put_text(struct run *run, const char *text, size_t len)
{
    if (len == 0)
        return CLI_OK;
    run->newline = text[len - 1] == '\n';
    fwrite(text, 1, len, run->text);
    if (run->streaming && fflush(run->text) != 0)
        return cli_fail(LLMGPU_E_IO, "cannot write to the standard output: %s", strerror(errno));
    return CLI_OK;
}

static int add_token(struct run *run, int32_t token, size_t *room)
{
    if (run->answer.n == *room) {
        *room = *room ? 2 * *room : 256;
        int32_t *ids = realloc(run->answer.ids, *room * sizeof(*ids));
        if (!ids)
            return cli_fail(LLMGPU_E_NOMEM, "no memory for %zu tokens", *room);
        run->answer.ids = ids;
    }
    run->answer.ids[run->answer.n++] = token;
    const char *text;
    size_t len;
    int status = llmgpu_decoder_push(run->decoder, token, &text, &len);
    if (status < 0)
        return cli_fail_library(status, llmgpu_context_error(run->engine.ctx));
    return put_text(run, text, len);
}

/* Feeds and generates until something ends it; being stopped or full is no failure here. */
static int generate(struct run *run, int32_t n_predict)
{
    llmgpu_session *session = run->session;
    uint32_t limit = n_predict < 0 ? UINT32_MAX : (uint32_t)n_predict;
    size_t room = 0;
    int32_t token;
    int rc = CLI_OK, status = llmgpu_session_set_remaining(session, limit);
    if (status >= 0)
        status = llmgpu_session_feed(session, run->prompt.ids, run->prompt.n);
    if (status < 0 && status != LLMGPU_E_CANCELLED)
        return cli_fail_library(status, llmgpu_session_error(session));
    while (rc == CLI_OK && status >= 0 && run->answer.n < limit) {
        status = cli_next(session, &token);
        if (status != LLMGPU_TOKEN)
            break;
        rc = add_token(run, token, &room);
    }
    if (rc != CLI_OK)
        return rc;
    run->interrupted = status == LLMGPU_E_CANCELLED;
    run->full = status == LLMGPU_E_CONTEXT_FULL;
    if (status < 0 && !run->interrupted && !run->full)
        return cli_fail_library(status, llmgpu_session_error(session));
    const char *text;
    size_t len;
    status = llmgpu_decoder_finish(run->decoder, &text, &len);
    return status < 0 ? cli_fail_library(status, llmgpu_context_error(run->engine.ctx))
                      : put_text(run, text, len);
}

static void print_json(const struct run *run, const llmgpu_session_stats *stats, const struct cli_text *text,
                       FILE *out)
{
    struct json j = {.out = out};
    char device[sizeof(run->engine.device.id) + sizeof(run->engine.device.name)];
    snprintf(device, sizeof(device), "%s %s", run->engine.device.id, run->engine.device.name);
    json_begin(&j, '{');
    json_key(&j, "prompt_tokens");
    json_ids(&j, run->prompt.ids, run->prompt.n);
    json_key(&j, "tokens");
    json_ids(&j, run->answer.ids, run->answer.n);
    json_key(&j, "text");
    json_bytes(&j, text->bytes, text->len);
    json_key(&j, "timings");
    json_begin(&j, '{');
    json_key(&j, "load_s");
    json_number(&j, run->load_s);
    json_key(&j, "prompt_s");
    json_number(&j, 1e-9 * (double)stats->prompt_ns);
    json_key(&j, "decode_s");
    json_number(&j, 1e-9 * (double)stats->decode_ns);
    json_key(&j, "tokens_per_second");
    json_number(&j, cli_per_second(run->answer.n, stats->decode_ns));
    json_end(&j, '}');
    json_key(&j, "device");
    json_string(&j, device);
    json_end(&j, '}');
    fputc('\n', out);
}

static void print_speed(const struct run *run, const llmgpu_session_stats *stats)
{
    fprintf(stderr, "llmgpu: %sprompt %u tokens, %.1f tokens/s; answer %zu tokens, %.1f tokens/s; %s %s\n",
            run->interrupted ? "interrupted; "
            : run->full      ? "the context is full; "
                             : "",
            stats->n_prompt, cli_per_second(stats->n_prompt, stats->prompt_ns), run->answer.n,
            cli_per_second(run->answer.n, stats->decode_ns), run->engine.device.id, run->engine.device.name);
}

static int report(struct run *run, const struct cli_text *text, FILE *out)
{
    llmgpu_session_stats stats;
    int status = llmgpu_session_get_stats(run->session, &stats, sizeof(stats));
    if (status < 0)
        return cli_fail_library(status, llmgpu_session_error(run->session));
    if (!run->streaming)
        print_json(run, &stats, text, out);
    else if (!run->newline && put_text(run, "\n", 1) != CLI_OK)
        return CLI_FAILED;
    if (run->streaming)
        print_speed(run, &stats);
    int rc = cli_engine_check(&run->engine);
    return rc == CLI_OK && run->interrupted ? CLI_INTERRUPTED : rc;
}

static void finish(struct run *run)
{
    llmgpu_decoder_free(run->decoder);
    llmgpu_session_free(run->session);
    cli_engine_close(&run->engine);
    free(run->prompt_text.bytes);
    free(run->prompt.ids);
    free(run->answer.ids);
}

static int run(void *values, const struct cli_args *args, FILE *out)
{
    const struct run_values *v = values;
    struct run r = {.text = stdout, .streaming = !v->json};
    struct cli_text text = {0};
    int rc = read_prompt(&r, v, args);
    if (rc == CLI_OK && v->json && !(r.text = open_memstream(&text.bytes, &text.len)))
        rc = cli_fail(LLMGPU_E_NOMEM, "no memory for the answer");
    if (rc == CLI_OK)
        rc = load(&r, v);
    if (rc == CLI_OK) {
        cli_on_interrupt(CLI_INTERRUPT_CANCEL, r.session);
        rc = generate(&r, v->n_predict);
        cli_on_interrupt(CLI_INTERRUPT_DEFAULT, NULL);
    }
    bool lost = r.text && r.text != stdout && fclose(r.text) != 0;
    if (rc == CLI_OK)
        rc = lost ? cli_fail(LLMGPU_E_NOMEM, "no memory for the answer") : report(&r, &text, out);
    free(text.bytes);
    finish(&r);
    return rc;
}

const struct cli_command cli_command_run = {
    .name = "run",
    .usage = "-m MODEL (-p TEXT | -f FILE | --ids IDS | -) [options]",
    .summary = "continue a prompt and stream the answer",
    .about = "Continues a prompt. The answer is written to the standard output as it comes; a line with the "
             "speed of prompt and answer and the device follows on the standard error.\n"
             "\n"
             "The prompt is a text, a file, token ids, or '-' for the standard input. BOS is put before a "
             "text where the model asks for it. Generation stops at an end token, after N tokens, or when "
             "the context is full. Ctrl-C stops it with exit status 130; a second one ends the program at "
             "once.\n"
             "\n"
             "With --json one object is printed at the end:\n"
             "  "
             "{\"prompt_tokens\":[...],\"tokens\":[...],\"text\":\"...\",\"timings\":{\"load_s\":...,"
             "\"prompt_s\":...,\n"
             "   \"decode_s\":...,\"tokens_per_second\":...},\"device\":\"...\"}\n"
             "Times are in seconds. \"tokens\" holds all that was generated, the end token too; \"text\" "
             "shows no control tokens.\n",
    .options = options,
    .max_args = 1,
    .size = sizeof(struct run_values),
    .init = init,
    .run = run,
};
