/* SPDX-License-Identifier: MIT
 *
 * What several commands do: report failures, read texts and ids, open a device with a model.
 */
#ifndef CLI_COMMON_H
#define CLI_COMMON_H

#include <stdbool.h>

#include <llmgpu/llmgpu.h>

#include "args.h"

/** Writes "llmgpu: SENTENCE (CODE)" to the standard error; CLI_FAILED. */
int cli_fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** Has failures name the process: which, of how many that were started together, and its machine. */
void cli_set_process(uint32_t index, uint32_t n, const char *host);

/** Reports a failure of the library, whose sentence is `sentence`; CLI_FAILED. */
int cli_fail_library(int status, const char *sentence);

/** Seconds since some moment. */
double cli_seconds(void);

/** How many a second; 0 when no time has passed. */
double cli_per_second(uint64_t n, uint64_t ns);

/** A text in memory. */
struct cli_text {
    char *bytes;
    size_t len;
};

/** Reads a file, or the standard input for "-", into memory; it must be UTF-8. CLI_OK, or CLI_FAILED when
 * reported. */
int cli_read_text(const char *path, struct cli_text *out);
/** Copies a word of the command line, which must be UTF-8; `name` is what messages call it. As above. */
int cli_copy_text(const char *word, const char *name, struct cli_text *out);

/** Token ids; `ids` is from malloc(). */
struct cli_tokens {
    int32_t *ids;
    size_t n;
};

/** Adds the ids of "1 2 3" (spaces, commas or lines between). CLI_OK; CLI_USAGE or CLI_FAILED, reported. */
int cli_parse_ids(const char *command, const char *text, struct cli_tokens *out);

/** The options of commands that open a model. Zero with `device` set to "auto" is the default. */
struct cli_engine_options {
    const char *model;
    const char *device;
    const char *precision; // NULL: auto
    const char *kv;        // NULL: f32
    const char *cache_dir; // NULL: the user's cache; "": none
    bool no_tune;
    uint32_t n_threads;
    bool vocab_only; // the tokenizer alone, on the CPU
    bool check;
    bool verbose;
};

// clang-format off
/** Rows of an option table whose values, of `type`, have a member `engine`, `json` or `lora`. */
#define CLI_MODEL_OPTION(type)                                                                               \
    {CLI_TEXT, 'm', "model", "FILE", offsetof(type, engine.model), 0, 0, "the model, a GGUF file",           \
     .required = true}
#define CLI_JSON_OPTION(type)                                                                                \
    {CLI_FLAG, 0, "json", NULL, offsetof(type, json), 0, 0, "print the result as JSON, and nothing else"}
#define CLI_LORA_OPTION(type)                                                                                \
    {CLI_TEXT, 0, "lora", "FILE[=SCALE]", offsetof(type, lora), 0, 0,                                        \
     "add an adapter (LoRA), a GGUF file or what PEFT saves; SCALE is a factor on what was trained (-100 .. 100, " \
     "default 1)"}
#define CLI_ENGINE_OPTIONS(type)                                                                             \
    {CLI_HEADING, .help = "Device"},                                                                         \
    {CLI_TEXT, 'd', "device", "NAME", offsetof(type, engine.device), 0, 0,                                   \
     "auto (a real GPU, else the CPU), cpu, vulkan, or vulkan:N as 'llmgpu devices' lists it"},              \
    {CLI_U32, 't', "threads", "N", offsetof(type, engine.n_threads), 0, 1024,                                \
     "threads of the CPU device; 0: all processors that may be used"},                                       \
    {CLI_TEXT, 0, "precision", "NAME", offsetof(type, engine.precision), 0, 0,                               \
     "in what activations meet quantised weights: auto (8 bits for prompts and generation, where that is "   \
     "faster), fast (also for scores) or float32"},                                                          \
    {CLI_TEXT, 0, "kv", "NAME", offsetof(type, engine.kv), 0, 0,                                             \
     "in what keys and values are kept: f32, f16 (half the memory), q8_0 (27%) or q4_0 (14%); default f32"}, \
    {CLI_TEXT, 0, "cache-dir", "DIR", offsetof(type, engine.cache_dir), 0, 0,                                \
     "where compiled GPU pipelines are kept; '': nowhere (default $XDG_CACHE_HOME/llmgpu or "                \
     "~/.cache/llmgpu)"},                                                                                    \
    {CLI_FLAG, 0, "no-tune", NULL, offsetof(type, engine.no_tune), 0, 0,                                     \
     "do not measure which sizes are the fastest on this GPU, and use none that were measured"},             \
    {CLI_FLAG, 0, "check", NULL, offsetof(type, engine.check), 0, 0,                                         \
     "check every dispatch and turn on Vulkan validation; a finding fails the command; slow"},               \
    {CLI_FLAG, 'v', "verbose", NULL, offsetof(type, engine.verbose), 0, 0,                                   \
     "write the library's log to the standard error"}
// clang-format on

/** A device with a model on it. */
struct cli_engine {
    llmgpu_context *ctx;
    llmgpu_model *model;
    llmgpu_model_info info;
    llmgpu_device_info device;
    double device_seconds, model_seconds; // that opening them took
};

/** Opens both. CLI_OK, or CLI_FAILED when reported, and then the engine need not be closed. */
int cli_engine_open(struct cli_engine *engine, const struct cli_engine_options *options);
/** An engine of zeros is allowed. */
void cli_engine_close(struct cli_engine *engine);
/** CLI_FAILED, reported, if the debug mode of --check found something. */
int cli_engine_check(const struct cli_engine *engine);

/** Opens a session. CLI_OK, or CLI_FAILED when reported. */
int cli_session_open(llmgpu_session **out, const struct cli_engine *engine,
                     const llmgpu_session_params *params);

/** Loads the adapter that "FILE" or "FILE=SCALE" names; `out` is to be freed. CLI_OK, or CLI_FAILED when reported. */
int cli_lora_open(llmgpu_lora **out, float *out_scale, const struct cli_engine *engine, const char *word);

/** Gives a session the adapter that "FILE" or "FILE=SCALE" names; NULL: none. CLI_OK, or CLI_FAILED when reported. */
int cli_session_adapt(llmgpu_session *session, const struct cli_engine *engine, const char *word);

/** As llmgpu_session_next(), but waits for what comes: never LLMGPU_AGAIN. */
int cli_next(llmgpu_session *session, int32_t *token);

/** Text to ids; `flags` are llmgpu_tokenize_flags. CLI_OK, or CLI_FAILED when reported. */
int cli_tokenize(const struct cli_engine *engine, const struct cli_text *text, uint32_t flags,
                 struct cli_tokens *out);

#endif
