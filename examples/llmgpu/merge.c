/* SPDX-License-Identifier: MIT
 *
 * llmgpu merge: writes a model's file with adapters merged into its weights.
 */
#include <stdlib.h>
#include <string.h>

#include "rewrite.h"

struct merge_values {
    const char *model;
    struct cli_texts loras;
    const char *out;
    const char *type;
    uint32_t n_threads;
    bool json;
};

static const struct cli_option options[] = {
    {CLI_TEXT, 'm', "model", "FILE", offsetof(struct merge_values, model), 0, 0, "the base, a GGUF file",
     .required = true},
    {CLI_TEXTS, 0, "lora", "FILE[=SCALE]", offsetof(struct merge_values, loras), 0, 0,
     "an adapter (LoRA), a GGUF file or what PEFT saves; SCALE is a factor on what was trained (-100 .. 100, default "
     "1). May be given more than once",
     .required = true},
    {CLI_TEXT, 'o', "output", "FILE", offsetof(struct merge_values, out), 0, 0, "the file to write", .required = true},
    {CLI_TEXT, 0, "type", "TYPE", offsetof(struct merge_values, type), 0, 0,
     "of the weights, as 'llmgpu quantize' takes it; without, each tensor keeps the type that it has"},
    {CLI_U32, 't', "threads", "N", offsetof(struct merge_values, n_threads), 0, 1024,
     "threads; 0: all processors that may be used"},
    CLI_JSON_OPTION(struct merge_values),
    {0},
};

/* The file and the factor of "FILE=SCALE"; the path is from malloc(). */
static int read_adapter(const char *word, llmgpu_merge_adapter *out)
{
    double scale = 1;
    char *path = strdup(word), *mark = path ? strrchr(path, '=') : NULL;
    if (!path)
        return cli_fail(LLMGPU_E_NOMEM, "no memory for a file name");
    if (mark && cli_parse_number(mark + 1, &scale)) // otherwise it is a part of the name
        *mark = '\0';
    *out = (llmgpu_merge_adapter){.path = path, .scale = (float)scale};
    return CLI_OK;
}

static int merge(void *values, const struct cli_args *args, FILE *out)
{
    const struct merge_values *v = values;
    llmgpu_merge_adapter adapters[CLI_MAX_TEXTS] = {{0}};
    struct cli_rewrite r;
    int rc = CLI_OK;
    (void)args;
    for (uint32_t i = 0; i < v->loras.n && rc == CLI_OK; i++)
        rc = read_adapter(v->loras.words[i], &adapters[i]);
    if (rc == CLI_OK) {
        cli_rewrite_begin(&r, v->json, v->n_threads, out);
        int status = llmgpu_merge(v->model, adapters, v->loras.n, v->out, v->type, &r.params);
        rc = cli_rewrite_end(&r, v->out, status);
    }
    for (uint32_t i = 0; i < v->loras.n; i++)
        free((char *)adapters[i].path);
    return rc;
}

const struct cli_command cli_command_merge = {
    .name = "merge",
    .usage = "-m MODEL --lora FILE[=SCALE] -o FILE [options]",
    .summary = "write a model with adapters merged into it",
    .about = "Adds adapters to the matrices of a model, W + SCALE * alpha / rank * B A in float32, and writes the result "
             "with weights of the type that it had, or of another one. The model is of its own then: it needs no "
             "adapter any more. The file is there when all of it is on disk.\n"
             "\n"
             "Prints what became of each tensor, and with --json the same as 'llmgpu quantize'.\n",
    .options = options,
    .size = sizeof(struct merge_values),
    .run = merge,
};
