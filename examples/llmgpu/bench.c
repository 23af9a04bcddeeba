/* SPDX-License-Identifier: MIT
 *
 * llmgpu bench: how fast a model runs.
 */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_LIST = 32, MAX_TOKENS = 1 << 20, MAX_SEQUENCES = 64, SEQUENCE_PROMPT = 64, SEQUENCE_DECODE = 32 };

/* What is measured when nothing is said, and the limit on each test then. */
static const char all_prompts[] = "16,64,512,2048", one_prompt[] = "512", all_decodes[] = "128",
                  all_depths[] = "0,512,4096", one_depth[] = "0";
static const double all_seconds = 10;

static const struct cli_option options[] = {
    CLI_MODEL_OPTION(struct bench_values),
    {CLI_TEXT, 'p', "prompt-tokens", "LIST", offsetof(struct bench_values, prompts), 0, 0,
     "tokens of the prefill tests, as 16,64,512; 0 leaves them out (0 .. 1048576 each, default "
     "16,64,512,2048, or 512 "
     "where -n or --depth is given)"},
    {CLI_TEXT, 'n', "decode-tokens", "LIST", offsetof(struct bench_values, decodes), 0, 0,
     "tokens of the decode tests; 0 leaves them out (0 .. 1048576 each, default 128)"},
    {CLI_TEXT, 0, "depth", "LIST", offsetof(struct bench_values, depths), 0, 0,
     "tokens that are in the context before the decode tests (0 .. 1048576 each, default 0,512,4096, or 0 "
     "where -p or "
     "-n is given)"},
    {CLI_TEXT, 0, "sequences", "LIST", offsetof(struct bench_values, sequences), 0, 0,
     "measure so many sequences at once instead, as 1,4,8,9,16,30,50 (1 .. 64 each), each with a prompt of -p tokens "
     "(default 64) and -n tokens decoded (default 32), of which the first number counts"},
    {CLI_U32, 0, "shared-prompt", "N", offsetof(struct bench_values, n_shared), 0, MAX_TOKENS,
     "with --sequences, begin all prompts with the same N tokens (default 0)"},
    {CLI_TEXTS, 0, "lora", "FILE[=SCALE]", offsetof(struct bench_values, loras), 0, 0,
     "with --sequences, an adapter (LoRA), a GGUF file or what PEFT saves; given several times, sequences take turns with "
     "them"},
    {CLI_U32, 'r', "repeat", "N", offsetof(struct bench_values, repeats), 1, 1000,
     "timed repetitions of each test, after a short one that is not timed"},
    {CLI_FLAG, 0, "load", NULL, offsetof(struct bench_values, load), 0, 0,
     "measure loading and the time to the first token too"},
    {CLI_FLAG, 0, "profile", NULL, offsetof(struct bench_values, profile), 0, 0,
     "tell for each test where the time of a pass goes, kernel by kernel"},
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
    v->repeats = 5;
    v->n_batch = params.n_batch;
    v->tokens_per_submit = params.tokens_per_submit;
}

/* ---- lists */

struct list {
    uint32_t numbers[MAX_LIST];
    uint32_t n;
};

/* Whole numbers with commas between. CLI_OK, or CLI_USAGE when reported. */
static int parse_list(const char *option, const char *text, struct list *out)
{
    out->n = 0;
    for (const char *at = text;; at++) {
        size_t digits = strspn(at, "0123456789");
        unsigned long number = digits > 0 && digits < 9 ? strtoul(at, NULL, 10) : MAX_TOKENS + 1;
        at += digits;
        if (number > MAX_TOKENS || (*at && *at != ','))
            return cli_usage("bench", "--%s takes whole numbers with commas between, 0 .. %d, not '%s'",
                             option, MAX_TOKENS, text);
        if (out->n == MAX_LIST)
            return cli_usage("bench", "--%s takes %d numbers at the most", option, MAX_LIST);
        out->numbers[out->n++] = (uint32_t)number;
        if (!*at)
            return CLI_OK;
    }
}

/* ---- tests */

static int add_test(struct bench *b, bool decodes, uint32_t n, uint32_t depth)
{
    if (n == 0)
        return CLI_OK;
    if (b->n_tests == BENCH_MAX_TESTS)
        return cli_usage("bench", "--prompt-tokens, --decode-tokens and --depth ask for more than %d tests",
                         BENCH_MAX_TESTS);
    struct bench_test *t = &b->tests[b->n_tests++];
    *t = (struct bench_test){.decodes = decodes, .n = n, .depth = depth};
    int len = snprintf(t->name, sizeof(t->name), "%s%u", decodes ? "tg" : "pp", n);
    if (depth > 0)
        snprintf(t->name + len, sizeof(t->name) - (size_t)len, " @ d%u", depth);
    return CLI_OK;
}

/* Of a list, its first number; in MIN .. MAX_TOKENS. */
static int first_of(const char *option, const char *text, uint32_t otherwise, uint32_t min, uint32_t *out)
{
    struct list list = {.numbers = {otherwise}};
    int rc = text ? parse_list(option, text, &list) : CLI_OK;
    *out = list.numbers[0];
    if (rc == CLI_OK && *out < min)
        return cli_usage("bench", "--%s takes at least %u with --sequences", option, min);
    return rc;
}

/* How many sequences at once. */
static int plan_sequences(struct bench *b)
{
    struct bench_values *v = &b->values;
    struct list list;
    int rc = parse_list("sequences", v->sequences, &list);
    if (rc == CLI_OK)
        rc = first_of("prompt-tokens", v->prompts, SEQUENCE_PROMPT, 2, &v->n_prompt);
    if (rc == CLI_OK)
        rc = first_of("decode-tokens", v->decodes, SEQUENCE_DECODE, 1, &v->n_decode);
    for (uint32_t i = 0; rc == CLI_OK && i < list.n; i++) {
        if (list.numbers[i] < 1 || list.numbers[i] > MAX_SEQUENCES)
            return cli_usage("bench", "--sequences takes numbers of 1 .. %d, not %u", MAX_SEQUENCES, list.numbers[i]);
        b->sequences[b->n_sequences++].n = list.numbers[i];
    }
    b->max_seconds = all_seconds;
    return rc;
}

/* The tests that the options ask for, in the order in which they are shown. */
static int plan(struct bench *b)
{
    const struct bench_values *v = &b->values;
    if (v->sequences)
        return plan_sequences(b);
    if (v->loras.n)
        return cli_usage("bench", "--lora is of the sequences of --sequences");
    struct list prompts, decodes, depths;
    bool all = !v->prompts && !v->decodes && !v->depths;
    const char *prompts_text = v->prompts ? v->prompts : all ? all_prompts : one_prompt;
    const char *decodes_text = v->decodes ? v->decodes : all_decodes;
    const char *depths_text = v->depths ? v->depths : all ? all_depths : one_depth;
    int rc = parse_list("prompt-tokens", prompts_text, &prompts);
    if (rc == CLI_OK)
        rc = parse_list("decode-tokens", decodes_text, &decodes);
    if (rc == CLI_OK)
        rc = parse_list("depth", depths_text, &depths);
    for (uint32_t i = 0; rc == CLI_OK && i < prompts.n; i++)
        rc = add_test(b, false, prompts.numbers[i], 0);
    for (uint32_t i = 0; rc == CLI_OK && i < decodes.n; i++)
        for (uint32_t k = 0; rc == CLI_OK && k < depths.n; k++)
            rc = add_test(b, true, decodes.numbers[i], depths.numbers[k]);
    if (rc == CLI_OK && b->n_tests == 0 && !v->load)
        return cli_usage("bench", "-p 0 and -n 0 leave nothing to measure");
    b->values.load |= all;
    b->max_seconds = all ? all_seconds : 0;
    return rc;
}

static void finish(struct bench *b)
{
    llmgpu_session_free(b->session);
    for (uint32_t i = 0; i < CLI_MAX_TEXTS; i++)
        llmgpu_lora_free(b->loras[i]);
    cli_engine_close(&b->engine);
    for (size_t i = 0; i < b->n_tests; i++)
        free(b->tests[i].profile.rows);
    free(b->prompt);
}

static int bench(void *values, const struct cli_args *args, FILE *out)
{
    struct bench b = {.values = *(struct bench_values *)values};
    (void)args;
    int rc = plan(&b);
    if (rc == CLI_OK && b.values.load)
        rc = bench_start_measure(&b);
    if (rc == CLI_OK)
        rc = b.n_sequences ? bench_sequences_run(&b) : bench_run(&b);
    if (rc == CLI_OK)
        b.values.json ? bench_print_json(&b, out) : bench_print_table(&b, out);
    finish(&b);
    return rc;
}

const struct cli_command cli_command_bench = {
    .name = "bench",
    .usage = "-m MODEL [options]",
    .summary = "measure how fast a model runs",
    .about =
        "Measures prefill (test pp<N>: a prompt of N random tokens) and decoding (test tg<N>: N tokens after "
        "one; "
        "tg<N> @ d<D>: after D more). The ids are the same in every run. An end token does not stop the "
        "decode test: a "
        "random token goes on. What is longer than the context that the model was trained for is left out, "
        "and that is "
        "said.\n"
        "\n"
        "Without -p, -n and --depth all of it is measured, with --load; a test is then not begun again after "
        "10 "
        "seconds.\n"
        "\n"
        "With --sequences so many sessions, each with a prompt of its own, decode at the same time, as many tokens each; a "
        "number is not measured again after 10 seconds. The total is the tokens of all in a second, and idle is the "
        "share of that time in which the device had nothing to do. First token is the time from a prompt to the token "
        "after it, of the first sequence and of the others, which come one after another: with --shared-prompt they take "
        "over what the first one has computed. With --lora sequence i decodes with adapter i modulo their number; the same "
        "file given twice is two adapters.\n"
        "\n"
        "GB/s is the rate at which decoding reads weights, and the share is that of the read bandwidth "
        "which the device reaches when it does nothing else. CPU time is that of the whole process, "
        "user and system. Peak memory is of the process, and of the device's buffers; the mapped file counts "
        "for the "
        "process as far as it was read.\n"
        "\n"
        "--load opens the device and the model three times, lets each answer a prompt of 128 tokens with one "
        "token, and "
        "tells the medians. A file that was read before comes out of the system's memory; the CPU device "
        "reads of the "
        "map when it computes, so its loading is only what comes before.\n"
        "\n"
        "--profile runs a pass of each test some more times with each dispatch on the clock: a decode at its "
        "depth, or "
        "of a prompt the last pass. Bytes are what a kernel must read and write at the least (weights, "
        "activations, keys "
        "and values, each once), operations what its formula has; a kernel of which nothing is known is "
        "shown without "
        "operations. The clock has a price, about 8 us a dispatch on Mesa's lavapipe, which is in the times. "
        "'Dispatch and barrier' is what a thousand copies of a few words, each of what the last one wrote, "
        "take in one "
        "submission without that clock.\n"
        "\n"
        "With --json an array of:\n"
        "  {\"test\":\"pp512\",\"tokens_per_second\":{\"median\":...,\"min\":...,\"max\":...},\n"
        "   \"gigabytes_per_second\":...,\"bandwidth_share\":...,\"submits_per_token\":...,\n"
        "   \"cpu_us_per_token\":...,\"peak_memory_bytes\":...,\"device_bytes\":...,\"device\":\"...\",\n"
        "   \"barriers_per_token\":...,\"dispatches_per_token\":...,\"device_peak_bytes\":...,\n"
        "   \"depth\":...,\"repeats\":...}\n"
        "The share is a fraction of 1; rate and share are null for prefill, which reads weights once "
        "for many tokens. With --profile each of them also has:\n"
        "  \"dispatch_us\":...,\"pass\":{\"tokens\":...,\"depth\":...,\"us\":...,\"kernels_us\":...,\n"
        "   \"dispatches\":...,\"barriers\":...},\n"
        "  \"profile\":[{\"kernel\":\"...\",\"label\":\"...\",\"phase\":\"prefill\" or \"decode\",\n"
        "   \"calls\":...,\"us\":...,\"share\":...,\"bytes\":...,\"gigabytes_per_second\":...,\n"
        "   \"bandwidth_share\":...,\"flops\":...,\"flops_per_second\":...}]\n"
        "\"us\" is of all calls in a pass, \"share\" a fraction of the time of all kernels, and \"flops\" "
        "are operations; "
        "they and their rate are null where they are not known. With --load two more, before the others:\n"
        "  {\"test\":\"load\",\"device_ms\":...,\"load_ms\":...,\"load_ms_min\":...,\"load_ms_max\":...,\n"
        "   \"file_bytes\":...,\"gigabytes_per_second\":...,\"device\":\"...\"}\n"
        "  {\"test\":\"ttft128\",\"prompt_tokens\":128,\"first_token_ms\":...,\"first_token_ms_min\":...,\n"
        "   \"first_token_ms_max\":...,\"load_to_first_token_ms\":...,\"load_to_first_token_ms_min\":...,\n"
        "   \"load_to_first_token_ms_max\":...,\"device\":\"...\"}\n"
        "\"device_ms\" is what opening the device took, which is in \"load_to_first_token_ms\" too.\n"
        "\n"
        "With --sequences an array of:\n"
        "  {\"sequences\":8,\"prompt_tokens\":64,\"decode_tokens\":32,\"adapters\":0,\n"
        "   \"tokens_per_second\":{\"median\":...,\"min\":...,\"max\":...},\"per_stream\":...,\n"
        "   \"shared_prompt_tokens\":0,\"prompt_tokens_computed\":...,\"prompt_tokens_shared\":...,\n"
        "   \"first_token_ms\":...,\"next_first_token_ms\":...,\n"
        "   \"prompt_tokens_per_second\":...,\"idle_share\":...,\"device_bytes\":...,\n"
        "   \"peak_memory_bytes\":...,\"repeats\":...,\"device\":\"...\"}\n",
    .options = options,
    .size = sizeof(struct bench_values),
    .init = init,
    .run = bench,
};
