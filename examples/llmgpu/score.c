/* SPDX-License-Identifier: MIT
 *
 * llmgpu score: how well a model predicts a text.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "json.h"

struct score_values {
    struct cli_engine_options engine;
    const char *file, *ids, *logits, *lora;
    uint32_t window, n_batch;
    bool json;
};

static const struct cli_option options[] = {
    CLI_MODEL_OPTION(struct score_values),
    {CLI_TEXT, 'f', "file", "FILE", offsetof(struct score_values, file), 0, 0,
     "the text to score; '-' is the standard input"},
    {CLI_TEXT, 0, "ids", "IDS", offsetof(struct score_values, ids), 0, 0,
     "token ids to score instead of a text, \"1 2 3\"; nothing is added to them"},
    {CLI_U32, 'w', "window", "N", offsetof(struct score_values, window), 2, 1 << 20, "tokens of a window"},
    {CLI_U32, 0, "batch", "N", offsetof(struct score_values, n_batch), 1, 4096,
     "tokens computed in one pass"},
    {CLI_TEXT, 0, "logits", "FILE", offsetof(struct score_values, logits), 0, 0,
     "with --ids: write the logits of every position as little-endian float32 [positions, vocabulary]; the "
     "ids are then one window, however many they are"},
    CLI_LORA_OPTION(struct score_values),
    CLI_JSON_OPTION(struct score_values),
    CLI_ENGINE_OPTIONS(struct score_values),
    {0},
};

static void init(void *values)
{
    struct score_values *v = values;
    llmgpu_session_params params;
    llmgpu_session_params_init(&params, sizeof(params));
    v->engine.device = "auto";
    v->window = 256;
    v->n_batch = params.n_batch;
}

struct score {
    struct cli_engine engine;
    llmgpu_session *session;
    struct cli_text text;
    struct cli_tokens tokens;
    size_t window, n_windows;
    float *log_probs, *logits;
    double sum; // of the log probabilities
};

static int read_input(struct score *s, const struct score_values *v)
{
    if (!v->file == !v->ids)
        return cli_usage("score", "score needs one of -f FILE and --ids IDS");
    if (v->logits && !v->ids)
        return cli_usage("score", "--logits needs --ids");
    if (v->file)
        return cli_read_text(v->file, &s->text);
    int rc = cli_parse_ids("score", v->ids, &s->tokens);
    if (rc != CLI_OK)
        return rc;
    size_t least = v->logits ? 1 : 2;
    return s->tokens.n < least ? cli_usage("score", "--ids names fewer than %zu tokens", least) : CLI_OK;
}

/* Opens the model and decides the windows. */
static int prepare(struct score *s, const struct score_values *v)
{
    int rc = cli_engine_open(&s->engine, &v->engine);
    if (rc == CLI_OK && v->file)
        rc = cli_tokenize(&s->engine, &s->text, LLMGPU_TOKENIZE_ADD_SPECIAL, &s->tokens);
    if (rc != CLI_OK)
        return rc;
    s->window = v->logits || (v->ids && s->tokens.n < v->window) ? s->tokens.n : v->window;
    s->n_windows = s->tokens.n / s->window;
    if (s->n_windows == 0)
        return cli_fail(LLMGPU_E_INVALID, "%s: its %zu tokens do not fill one window of %zu", v->file,
                        s->tokens.n, s->window);
    llmgpu_session_params params;
    llmgpu_session_params_init(&params, sizeof(params));
    params.n_ctx = (uint32_t)s->window;
    params.n_batch = v->n_batch;
    rc = cli_session_open(&s->session, &s->engine, &params);
    if (rc == CLI_OK)
        rc = cli_session_adapt(s->session, &s->engine, v->lora);
    if (rc != CLI_OK)
        return rc;
    s->log_probs = malloc(s->window * sizeof(float));
    if (v->logits)
        s->logits = calloc(s->window, s->engine.info.n_vocab * sizeof(float));
    if (!s->log_probs || (v->logits && !s->logits))
        return cli_fail(LLMGPU_E_NOMEM, "no memory for the results of %zu tokens", s->window);
    return CLI_OK;
}

static int evaluate(struct score *s)
{
    for (size_t w = 0; w < s->n_windows; w++) {
        const int32_t *tokens = s->tokens.ids + w * s->window;
        int status = llmgpu_session_score(s->session, tokens, s->window, s->log_probs, s->logits);
        if (status < 0)
            return cli_fail_library(status, llmgpu_session_error(s->session));
        for (size_t i = 0; i + 1 < s->window; i++)
            s->sum += s->log_probs[i];
    }
    return cli_engine_check(&s->engine);
}

/* A file that could not be written whole is taken away again. */
static int write_logits(const struct score *s, const char *path)
{
    size_t n = s->window * s->engine.info.n_vocab;
    FILE *file = fopen(path, "wb");
    if (!file)
        return cli_fail(LLMGPU_E_IO, "%s: %s", path, strerror(errno));
    size_t written = 0;
    for (; written < n; written++) {
        uint32_t bits;
        memcpy(&bits, &s->logits[written], sizeof(bits));
        unsigned char bytes[4] = {bits & 255, bits >> 8 & 255, bits >> 16 & 255, bits >> 24};
        if (fwrite(bytes, 4, 1, file) != 1)
            break;
    }
    if (fclose(file) == 0 && written == n)
        return CLI_OK;
    int rc = cli_fail(LLMGPU_E_IO, "%s: %s", path, strerror(errno));
    remove(path);
    return rc;
}

static void print_result(const struct score *s, bool as_json, FILE *out)
{
    size_t n = s->n_windows * (s->window - 1);
    double nll = n ? -s->sum / (double)n : NAN;
    if (!as_json) {
        fprintf(out, "%zu tokens in %zu windows of %zu: %.6f nats a token, perplexity %.4f\n", n,
                s->n_windows, s->window, nll, exp(nll));
        return;
    }
    struct json j = {.out = out};
    json_begin(&j, '{');
    json_key(&j, "tokens");
    json_uint(&j, s->tokens.n);
    json_key(&j, "scored");
    json_uint(&j, n);
    json_key(&j, "windows");
    json_uint(&j, s->n_windows);
    json_key(&j, "nll");
    json_number(&j, nll);
    json_key(&j, "perplexity");
    json_number(&j, exp(nll));
    json_end(&j, '}');
    fputc('\n', out);
}

static int score(void *values, const struct cli_args *args, FILE *out)
{
    const struct score_values *v = values;
    struct score s = {0};
    (void)args;
    int rc = read_input(&s, v);
    if (rc == CLI_OK)
        rc = prepare(&s, v);
    if (rc == CLI_OK)
        rc = evaluate(&s);
    if (rc == CLI_OK && v->logits)
        rc = write_logits(&s, v->logits);
    if (rc == CLI_OK)
        print_result(&s, v->json, out);
    llmgpu_session_free(s.session);
    cli_engine_close(&s.engine);
    free(s.text.bytes);
    free(s.tokens.ids);
    free(s.log_probs);
    free(s.logits);
    return rc;
}

const struct cli_command cli_command_score = {
    .name = "score",
    .usage = "-m MODEL (-f FILE | --ids IDS) [options]",
    .summary = "measure how well a model predicts a text",
    .about = "Computes the perplexity of a text. The text is tokenised, with BOS where the model adds it and "
             "without looking for control tokens, and cut into consecutive full windows; what is left over "
             "is not scored. Each window starts with an empty context, and each of its tokens but the first "
             "is scored. Ids fewer than a window are one window.\n"
             "\n"
             "With --json: {\"tokens\":...,\"scored\":...,\"windows\":...,\"nll\":...,\"perplexity\":...}\n"
             "\"tokens\" is how many the text has, \"scored\" how many were, \"nll\" the mean of their "
             "negative log probabilities "
             "(nats), \"perplexity\" its exponential; null where one id alone leaves nothing to score.\n",
    .options = options,
    .size = sizeof(struct score_values),
    .init = init,
    .run = score,
};
