/* SPDX-License-Identifier: MIT
 *
 * llmgpu tokenize and llmgpu detokenize. Both need the tokenizer alone, so files without weights will do.
 */
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "json.h"

struct tokens_values {
    struct cli_engine_options engine;
    bool special;
    bool json;
};

static const struct cli_option tokenize_options[] = {
    CLI_MODEL_OPTION(struct tokens_values),
    {CLI_FLAG, 's', "special", NULL, offsetof(struct tokens_values, special), 0, 0,
     "add BOS and EOS where the model asks for them, and take control tokens that the text spells out as "
     "such"},
    CLI_JSON_OPTION(struct tokens_values),
    {0},
};

static const struct cli_option detokenize_options[] = {
    CLI_MODEL_OPTION(struct tokens_values),
    CLI_JSON_OPTION(struct tokens_values),
    {0},
};

static void init(void *values)
{
    struct tokens_values *v = values;
    v->engine.vocab_only = true;
}

static void print_tokens(const struct cli_tokens *tokens, bool as_json, FILE *out)
{
    if (as_json) {
        struct json j = {.out = out};
        json_begin(&j, '{');
        json_key(&j, "tokens");
        json_ids(&j, tokens->ids, tokens->n);
        json_end(&j, '}');
    } else {
        for (size_t i = 0; i < tokens->n; i++)
            fprintf(out, "%s%d", i ? " " : "", tokens->ids[i]);
    }
    fputc('\n', out);
}

static int tokenize(void *values, const struct cli_args *args, FILE *out)
{
    const struct tokens_values *v = values;
    struct cli_engine engine = {0};
    struct cli_text text = {0};
    struct cli_tokens tokens = {0};
    if (args->n != 1)
        return cli_usage("tokenize", "tokenize needs a text, or '-' for the standard input");
    const char *word = args->words[0];
    int rc = strcmp(word, "-") == 0 ? cli_read_text("-", &text) : cli_copy_text(word, "the text", &text);
    if (rc == CLI_OK)
        rc = cli_engine_open(&engine, &v->engine);
    uint32_t flags = v->special ? LLMGPU_TOKENIZE_ADD_SPECIAL | LLMGPU_TOKENIZE_PARSE_SPECIAL : 0;
    if (rc == CLI_OK)
        rc = cli_tokenize(&engine, &text, flags, &tokens);
    if (rc == CLI_OK)
        print_tokens(&tokens, v->json, out);
    free(tokens.ids);
    free(text.bytes);
    cli_engine_close(&engine);
    return rc;
}

static int to_text(const struct cli_engine *engine, const struct cli_tokens *tokens, struct cli_text *out)
{
    uint32_t flags = LLMGPU_TOKENIZE_PARSE_SPECIAL;
    int rc = llmgpu_detokenize(engine->model, tokens->ids, tokens->n, flags, NULL, 0, &out->len);
    if (rc < 0 && rc != LLMGPU_E_RANGE)
        return cli_fail_library(rc, llmgpu_context_error(engine->ctx));
    out->bytes = malloc(out->len + 1);
    if (!out->bytes)
        return cli_fail(LLMGPU_E_NOMEM, "no memory for a text of %zu bytes", out->len);
    rc = llmgpu_detokenize(engine->model, tokens->ids, tokens->n, flags, out->bytes, out->len, &out->len);
    return rc < 0 ? cli_fail_library(rc, llmgpu_context_error(engine->ctx)) : CLI_OK;
}

static void print_text(const struct cli_text *text, bool as_json, FILE *out)
{
    if (as_json) {
        struct json j = {.out = out};
        json_begin(&j, '{');
        json_key(&j, "text");
        json_bytes(&j, text->bytes, text->len);
        json_end(&j, '}');
    } else {
        fwrite(text->bytes, 1, text->len, out);
    }
    fputc('\n', out);
}

static int detokenize(void *values, const struct cli_args *args, FILE *out)
{
    const struct tokens_values *v = values;
    struct cli_engine engine = {0};
    struct cli_text text = {0};
    struct cli_tokens tokens = {0};
    int rc = args->n == 0 ? cli_usage("detokenize", "detokenize needs token ids") : CLI_OK;
    for (int i = 0; i < args->n && rc == CLI_OK; i++)
        rc = cli_parse_ids("detokenize", args->words[i], &tokens);
    if (rc == CLI_OK)
        rc = cli_engine_open(&engine, &v->engine);
    if (rc == CLI_OK)
        rc = to_text(&engine, &tokens, &text);
    if (rc == CLI_OK)
        print_text(&text, v->json, out);
    free(tokens.ids);
    free(text.bytes);
    cli_engine_close(&engine);
    return rc;
}

const struct cli_command cli_command_tokenize = {
    .name = "tokenize",
    .usage = "-m MODEL [options] TEXT|-",
    .summary = "show the token ids of a text",
    .about = "Prints the token ids of a text, or of the standard input for '-', separated by spaces. A "
             "vocabulary without weights will do. The text is taken as it is: nothing is added and nothing "
             "in it is a control token, unless --special is given.\n"
             "\n"
             "With --json: {\"tokens\":[...]}\n",
    .options = tokenize_options,
    .max_args = 1,
    .size = sizeof(struct tokens_values),
    .init = init,
    .run = tokenize,
};

const struct cli_command cli_command_detokenize = {
    .name = "detokenize",
    .usage = "-m MODEL [options] IDS...",
    .summary = "show the text of token ids",
    .about = "Prints the text of token ids, with control tokens written out and one line end behind it. The "
             "ids are words of their own or one word such as \"1 2 3\".\n"
             "\n"
             "With --json: {\"text\":\"...\"}\n",
    .options = detokenize_options,
    .max_args = INT32_MAX,
    .size = sizeof(struct tokens_values),
    .init = init,
    .run = detokenize,
};
