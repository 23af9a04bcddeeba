/* SPDX-License-Identifier: MIT
 *
 * Commands and their options as tables. One table says what an option is called, where its value goes, what
 * is allowed and what its help is; parsing, range checks, --help and the hint at the nearest name all read
 * it.
 */
#ifndef CLI_ARGS_H
#define CLI_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/** Exit statuses. */
enum {
    CLI_OK = 0,
    CLI_FAILED = 1,        // the library or the system refused
    CLI_USAGE = 2,         // the command line is wrong
    CLI_INTERRUPTED = 130, // stopped by Ctrl-C: 128 + SIGINT, as shells have it
};

enum cli_kind {
    CLI_END = 0, // ends a table
    CLI_HEADING, // a heading in the help; only `help` is used
    CLI_FLAG,    // bool, no value
    CLI_TEXT,    // const char *
    CLI_TEXTS,   // struct cli_texts, each time that it is given another one
    CLI_U32,     // uint32_t
    CLI_I32,     // int32_t
    CLI_U64,     // uint64_t, any; `min` and `max` are not used
    CLI_F32,     // float
};

enum { CLI_MAX_TEXTS = 64 };

struct cli_texts {
    const char *words[CLI_MAX_TEXTS];
    uint32_t n;
};

struct cli_option {
    enum cli_kind kind;
    char letter;       // of the short form; 0: none
    const char *name;  // of the long form
    const char *value; // what the help calls the value
    size_t offset;     // of the target in the command's values
    double min, max;   // allowed numbers
    const char *help;  // the default and the range are added to it
    bool required;     // of a CLI_TEXT or CLI_TEXTS: it has to be given
};

/** What is left of a command line when the options are taken. */
struct cli_args {
    int n;
    char **words;
};

struct cli_command {
    const char *name;
    const char *usage;   // what follows the name
    const char *summary; // half a line
    const char *about;   // paragraphs, each one line, or indented lines that are kept
    const struct cli_option *options;
    int max_args;               // words beside the options
    size_t size;                // bytes of the values
    void (*init)(void *values); // sets defaults; the values are zero before
    /** Writes its result to `out`, which is shown only if this answers CLI_OK or CLI_INTERRUPTED. */
    int (*run)(void *values, const struct cli_args *args, FILE *out);
};

extern const struct cli_command cli_command_chat, cli_command_run, cli_command_score, cli_command_bench,
    cli_command_tokenize, cli_command_detokenize, cli_command_inspect, cli_command_devices,
    cli_command_quantize, cli_command_merge, cli_command_train, cli_command_pacer;

/**
 * Takes the options of `argv` into `values`; `argv` is rearranged. `--` ends options, and `-` alone is none.
 *
 * @return 0; 1 when help was asked for; -1 for a mistake, which is reported
 */
int cli_parse(const struct cli_command *command, int argc, char **argv, void *values, struct cli_args *args);

/** A number that is the whole word, in decimal digits: no spaces, no hexadecimal, no nan, no inf. */
bool cli_parse_number(const char *text, double *out);

/** Writes the help of a command. */
void cli_help(const struct cli_command *command, FILE *out);

/** Reports a mistake in the command line and where to read more (`command` may be NULL); CLI_USAGE. */
int cli_usage(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** Looks for the name most like a mistyped one. */
struct cli_nearest {
    const char *word;
    char best[64]; // "" before the first try
    unsigned distance;
};
void cli_nearest_try(struct cli_nearest *nearest, const char *candidate);

#endif
