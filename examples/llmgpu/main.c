/* SPDX-License-Identifier: MIT
 *
 * llmgpu: the library from the command line.
 *
 * A command writes its result into memory and answers an exit status; the result is shown only when the
 * status is good, so that a command that fails prints nothing which could be taken for one. (The text that
 * `chat` and `run` stream is the one exception.)
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"

static const struct cli_command *const commands[] = {
    &cli_command_run,      &cli_command_chat,       &cli_command_score,   &cli_command_bench,
    &cli_command_tokenize, &cli_command_detokenize, &cli_command_inspect, &cli_command_devices,
    &cli_command_quantize, &cli_command_merge,      &cli_command_train,   &cli_command_pacer,
};

enum { N_COMMANDS = sizeof(commands) / sizeof(*commands) };

static void help(FILE *out)
{
    fputs("Usage: llmgpu COMMAND [options]\n"
          "\n"
          "Runs and trains GGUF language models on any Vulkan GPU, or on the CPU.\n"
          "\n"
          "Commands:\n",
          out);
    for (size_t i = 0; i < N_COMMANDS; i++)
        fprintf(out, "  %-12s %s\n", commands[i]->name, commands[i]->summary);
    fputs("\n"
          "  help COMMAND what a command does, and its options (also: COMMAND --help)\n"
          "  --version    the version of the library\n"
          "  --help       this text\n"
          "\n"
          "Exit status: 0 success, 1 failure, 2 a mistake in the command line, 130 stopped by Ctrl-C.\n",
          out);
}

static const struct cli_command *find_command(const char *name)
{
    struct cli_nearest nearest = {.word = name};
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
        cli_nearest_try(&nearest, commands[i]->name);
    }
    cli_nearest_try(&nearest, "help");
    cli_nearest_try(&nearest, "--help");
    cli_nearest_try(&nearest, "--version");
    cli_usage(NULL, "there is no %s '%.60s'; the nearest is '%s'", name[0] == '-' ? "option" : "command",
              name, nearest.best);
    return NULL;
}

static int run_command(const struct cli_command *command, int argc, char **argv, FILE *out)
{
    struct cli_args args;
    void *values = calloc(1, command->size);
    if (!values)
        return cli_fail(LLMGPU_E_NOMEM, "no memory for the options");
    if (command->init)
        command->init(values);
    int rc = cli_parse(command, argc, argv, values, &args);
    if (rc > 0)
        cli_help(command, out);
    rc = rc < 0 ? CLI_USAGE : rc > 0 ? CLI_OK : command->run(values, &args, out);
    free(values);
    return rc;
}

static int run_help(int argc, char **argv, FILE *out)
{
    const struct cli_command *command = NULL;
    if (argc > 1)
        return cli_usage(NULL, "help: unexpected argument '%s'", argv[1]);
    if (argc == 1 && !(command = find_command(argv[0])))
        return CLI_USAGE;
    if (command)
        cli_help(command, out);
    else
        help(out);
    return CLI_OK;
}

static int dispatch(int argc, char **argv, FILE *out)
{
    if (argc < 2) {
        help(stderr);
        return CLI_USAGE;
    }
    const char *word = argv[1];
    if (strcmp(word, "--version") == 0) {
        fprintf(out, "llmgpu %s\n", llmgpu_version());
        return CLI_OK;
    }
    if (strcmp(word, "help") == 0 || strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
        return run_help(argc - 2, argv + 2, out);
    const struct cli_command *command = find_command(word);
    return command ? run_command(command, argc - 2, argv + 2, out) : CLI_USAGE;
}

int main(int argc, char **argv)
{
    char *result = NULL;
    size_t len = 0;
    signal(SIGPIPE, SIG_IGN); // a reader that went away is a failed write
    FILE *out = open_memstream(&result, &len);
    if (!out)
        return cli_fail(LLMGPU_E_NOMEM, "no memory for the result");
    int rc = dispatch(argc, argv, out);
    if (fclose(out) != 0 && rc != CLI_FAILED && rc != CLI_USAGE)
        rc = cli_fail(LLMGPU_E_NOMEM, "no memory for the result");
    if (rc == CLI_OK || rc == CLI_INTERRUPTED) {
        errno = 0;
        if (fwrite(result, 1, len, stdout) != len || fflush(stdout) != 0)
            rc = cli_fail(LLMGPU_E_IO, "cannot write to the standard output: %s", strerror(errno));
    }
    free(result);
    return rc;
}
