/* SPDX-License-Identifier: MIT
 *
 * What the files of `llmgpu bench` share: its options, the tests that follow from them, and what each found.
 */
#ifndef CLI_BENCH_H
#define CLI_BENCH_H

#include "common.h"

struct bench_values {
    struct cli_engine_options engine;
    const char *prompts, *decodes, *depths, *sequences; // lists of numbers; NULL: not given
    uint32_t repeats, n_batch, tokens_per_submit;
    uint32_t n_prompt, n_decode; // of each sequence
    uint32_t n_shared;           // tokens that all prompts begin with, before those
    struct cli_texts loras;      // of the sequences in turn
    bool load, profile, json;
};

struct bench_times {
    double median, min, max;
};

/** Loading, and the time to the first token. */
struct bench_start {
    bool measured;
    uint32_t n_prompt;
    uint64_t file_bytes;
    struct bench_times device_ms, load_ms; // opening the device, loading the model
    struct bench_times first_token_ms;     // from there on: a session, the prompt, a token
    struct bench_times whole_ms;           // all of them
};

/** A pass, kernel by kernel. */
struct bench_profile {
    llmgpu_profile_info info;
    llmgpu_profile_row *rows; // [info.n_rows], from malloc(); NULL: not measured
    uint32_t depth;           // tokens before the pass
};

struct bench_test {
    char name[32];
    bool decodes;
    uint32_t n, depth; // tokens that are measured, and how many are computed before
    uint32_t repeats;  // timed
    struct bench_times tokens_per_second;
    double bytes_per_second; // of weights; 0: not known, a prefill reads them once for many tokens
    double submits, barriers, dispatches, cpu_us; // of a token
    uint64_t device_bytes;
    struct bench_profile profile;
};

/** Sessions that decode at the same time. */
struct bench_sequences {
    uint32_t n, repeats;
    struct bench_times prompt_per_second, tokens_per_second; // of all together
    struct bench_times first_token_ms, next_first_token_ms; // of the first sequence, and of those after it
    uint64_t prompt_computed, prompt_shared; // tokens, of the last repetition
    double idle_share;  // of the time of decoding in which the device had nothing to do
    uint64_t device_bytes, peak_memory;
};

enum { BENCH_MAX_TESTS = 64 };

struct bench {
    struct bench_values values;
    struct cli_engine engine;
    llmgpu_session *session;
    struct bench_test tests[BENCH_MAX_TESTS];
    size_t n_tests;
    struct bench_sequences sequences[BENCH_MAX_TESTS];
    int warm;           // the device has run a crowd
    llmgpu_lora *loras[CLI_MAX_TEXTS];
    float lora_scales[CLI_MAX_TEXTS];
    size_t n_sequences; // when there are any, there are no tests
    char left_out[512]; // what is longer than the model's context, by name
    double max_seconds; // a test is not begun again after so long; 0: no limit
    int32_t *prompt;    // n_ctx + 1 ids
    uint32_t n_ctx;
    uint32_t n_held; // of these ids, the session's conversation begins with so many
    struct bench_start start;
    double bandwidth;   // bytes per second
    double dispatch_ns; // with its barrier, inside a submission; 0: not measured
    uint64_t peak_memory, device_peak;
};

/** Sorts the numbers. */
struct bench_times bench_times_of(double *numbers, uint32_t n);

/** Fills `ids` with the same random ids in every run. */
void bench_random_tokens(int32_t *ids, uint32_t n, uint32_t n_vocab);

/** Measures loading and first tokens, on devices that are opened and closed. CLI_OK, or CLI_FAILED when
 * reported; also the others. */
int bench_start_measure(struct bench *b);
/** The same of many sequences at once. */
int bench_sequences_run(struct bench *b);
/** Leaves out the tests that the model's context has no room for, and measures the others. */
int bench_run(struct bench *b);

/** Bytes of the process at its peak so far. */
uint64_t bench_peak_memory(void);
/** Measures what is of the device alone. */
int bench_measure_device(struct bench *b);

void bench_print_table(const struct bench *b, FILE *out);
void bench_print_json(const struct bench *b, FILE *out);

#endif
