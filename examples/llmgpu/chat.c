/* SPDX-License-Identifier: MIT
 *
 * llmgpu chat: an interactive conversation.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "conversation.h"
#include "interrupt.h"
#include "lineedit.h"
#include "sampler.h"

struct chat_values {
    struct cli_engine_options engine;
    llmgpu_session_params session;
    llmgpu_sampler_params sampler;
    const char *system, *template_file, *lora;
    int32_t n_predict;
    bool no_history;
};

static const struct cli_option options[] = {
    CLI_MODEL_OPTION(struct chat_values),
    {CLI_TEXT, 's', "system", "TEXT", offsetof(struct chat_values, system), 0, 0,
     "the system message: who the model is, and how it answers"},
    {CLI_TEXT, 0, "template", "FILE", offsetof(struct chat_values, template_file), 0, 0,
     "a chat template in place of the model's own"},
    {CLI_I32, 'n', "max-tokens", "N", offsetof(struct chat_values, n_predict), -1, INT32_MAX,
     "tokens of an answer at most; -1: until it ends or the context is full"},
    {CLI_U32, 'c', "ctx", "N", offsetof(struct chat_values, session.n_ctx), 0, INT32_MAX,
     "tokens of context; 0: what the model was trained for, at most 4096"},
    {CLI_U32, 0, "batch", "N", offsetof(struct chat_values, session.n_batch), 1, 4096,
     "tokens of a prompt computed in one pass"},
    {CLI_U32, 0, "tokens-per-submit", "N", offsetof(struct chat_values, session.tokens_per_submit), 1, 64,
     "tokens generated in one submission to the device; 1 shows each at once"},
    CLI_LORA_OPTION(struct chat_values),
    {CLI_FLAG, 0, "no-history", NULL, offsetof(struct chat_values, no_history), 0, 0,
     "keep no history of lines from one time to the next"},
    CLI_SAMPLER_OPTIONS(struct chat_values),
    CLI_ENGINE_OPTIONS(struct chat_values),
    {0},
};

static void init(void *values)
{
    struct chat_values *v = values;
    v->engine.device = "auto";
    v->n_predict = -1;
    llmgpu_session_params_init(&v->session, sizeof(v->session));
    llmgpu_sampler_params_init(&v->sampler, sizeof(v->sampler));
}

/* ---- commands in the conversation */

struct command {
    const char *name;
    const char *argument; // what the help calls it; NULL: none; in brackets: it may be left out
    const char *help;
    int (*run)(struct conversation *c, const char *argument);
};

static int run_system(struct conversation *c, const char *text)
{
    const char *system = messages_system(&c->talk.messages);
    if (*text)
        return conversation_set_system(c, text);
    talk_note("%s", system ? system : "there is no system message");
    return CLI_OK;
}

static int run_reset(struct conversation *c, const char *argument)
{
    (void)argument;
    return conversation_reset(c);
}

static int run_undo(struct conversation *c, const char *argument)
{
    (void)argument;
    return conversation_undo(c);
}

static int run_again(struct conversation *c, const char *argument)
{
    (void)argument;
    return conversation_again(c);
}

static int run_stats(struct conversation *c, const char *argument)
{
    (void)argument;
    return conversation_stats(c);
}

static int run_help(struct conversation *c, const char *argument);

static const struct command commands[] = {
    {"help", NULL, "this text", run_help},
    {"system", "[TEXT]", "set the system message and begin anew; without TEXT: show it", run_system},
    {"reset", NULL, "begin anew: forget all but the system message", run_reset},
    {"undo", NULL, "take the last question and its answer back", run_undo},
    {"regen", NULL, "take the last answer back and draw another, with another seed", run_again},
    {"save", "FILE", "save the conversation", conversation_save},
    {"load", "FILE", "go on with a saved conversation, in place of this one", conversation_load},
    {"stats", NULL, "tokens, context, speeds, memory", run_stats},
    {"quit", NULL, "leave; so does Ctrl-D", NULL},
};

enum { N_COMMANDS = sizeof(commands) / sizeof(*commands) };

static int run_help(struct conversation *c, const char *argument)
{
    (void)c, (void)argument;
    for (size_t i = 0; i < N_COMMANDS; i++) {
        char left[32];
        snprintf(left, sizeof(left), "/%s %s", commands[i].name,
                 commands[i].argument ? commands[i].argument : "");
        fprintf(stderr, "  %-16s %s\n", left, commands[i].help);
    }
    fputs("\n"
          "Anything else is a question; one that begins with a slash is written with two. Ctrl-C stops\n"
          "an answer, and what came of it stays. At the prompt it leaves.\n"
          "\n"
          "/save writes FILE, one JSON object {\"role\": ..., \"content\": ...} a line, and FILE.state,\n"
          "what was computed of it. /load reads both. Without FILE.state, or with one that cannot be\n"
          "used, the conversation is computed again. The sampler is that of the command line.\n",
          stderr);
    return CLI_OK;
}

static const struct command *find_command(const char *name)
{
    struct cli_nearest nearest = {.word = name};
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
        cli_nearest_try(&nearest, commands[i].name);
    }
    talk_note("there is no command '/%.60s'; the nearest is '/%s', and /help lists all", name, nearest.best);
    return NULL;
}

/* Runs "NAME ARGUMENT", which is cut up. CLI_OK, CLI_FAILED or CLI_INTERRUPTED; `quit` is set by /quit. */
static int run_command(struct conversation *c, char *line, bool *quit)
{
    static const char blanks[] = " \t\r";
    char *argument = line + strcspn(line, blanks), *end = line + strlen(line);
    if (*argument)
        *argument++ = '\0';
    argument += strspn(argument, blanks);
    while (end > argument && strchr(blanks, end[-1]))
        *--end = '\0';
    const struct command *command = find_command(line);
    if (!command)
        return CLI_FAILED;
    if (!*argument && command->argument && command->argument[0] != '[') {
        talk_note("/%s needs a %s", command->name, command->argument);
        return CLI_FAILED;
    }
    if (*argument && !command->argument) {
        talk_note("/%s takes nothing, not '%.60s'", command->name, argument);
        return CLI_FAILED;
    }
    *quit = !command->run;
    return *quit ? CLI_OK : command->run(c, argument);
}

/* ---- the conversation */

/* A line of the input: a command, a question, or nothing. */
static int take_line(struct conversation *c, const char *line, size_t len, bool *quit)
{
    struct cli_text text;
    if (memchr(line, 0, len))
        return cli_fail(LLMGPU_E_INVALID, "the line has a NUL in it");
    if (line[strspn(line, " \t\r")] == '\0')
        return CLI_OK;
    int rc = cli_copy_text(line, "the line", &text);
    if (rc != CLI_OK)
        return rc;
    bool command = text.bytes[0] == '/' && text.bytes[1] != '/';
    rc = command ? run_command(c, text.bytes + 1, quit)
                 : conversation_ask(c, text.bytes + (text.bytes[0] == '/'));
    free(text.bytes);
    return rc;
}

/*
 * Until the input ends or the user leaves. Somebody at a terminal has seen what failed; elsewhere the exit
 * status says whether anything did, and Ctrl-C is for all that is still to come.
 */
static int converse(struct conversation *c, struct lineedit *in)
{
    const char *line;
    size_t len;
    bool failed = false, quit = false;
    while (!quit) {
        enum line got = lineedit_read(in, "> ", &line, &len);
        if (got == LINE_FAILED)
            return cli_fail(LLMGPU_E_IO, "standard input: %s", strerror(errno));
        if (got == LINE_END)
            break;
        int rc = take_line(c, line, len, &quit);
        if (ferror(stdout))
            return CLI_FAILED;
        if (rc == CLI_INTERRUPTED && !in->terminal)
            return rc;
        failed |= rc == CLI_FAILED;
    }
    return failed && !in->terminal ? CLI_FAILED : CLI_OK;
}

/* The system message, and a look at the template that was given: the first question is too late for bad news
 * of it. */
static int set_up(struct conversation *c, const struct chat_values *v)
{
    struct cli_text system;
    int rc = CLI_OK;
    if (v->system)
        rc = cli_copy_text(v->system, "the system message", &system);
    if (rc == CLI_OK && v->system) {
        rc = conversation_set_system(c, system.bytes);
        free(system.bytes);
    }
    return rc == CLI_OK && v->template_file ? talk_check_template(&c->talk) : rc;
}

static int chat(void *values, const struct cli_args *args, FILE *out)
{
    const struct chat_values *v = values;
    struct conversation c = {.sampler = v->sampler};
    struct lineedit in;
    (void)args, (void)out;
    c.max_tokens = v->n_predict < 0 ? UINT32_MAX : (uint32_t)v->n_predict;
    int rc = v->template_file ? cli_read_text(v->template_file, &c.template_text) : CLI_OK;
    if (rc == CLI_OK)
        rc = cli_engine_open(&c.engine, &v->engine);
    if (rc == CLI_OK)
        rc = conversation_begin(&c, &v->session);
    if (rc == CLI_OK)
        rc = cli_session_adapt(c.talk.session, &c.engine, v->lora);
    if (rc == CLI_OK)
        rc = set_up(&c, v);
    if (rc == CLI_OK) {
        lineedit_open(&in, !v->no_history);
        if (in.terminal)
            talk_note("%s on %s %s; /help lists the commands", c.engine.info.name, c.engine.device.id,
                      c.engine.device.name);
        rc = converse(&c, &in);
        cli_on_interrupt(CLI_INTERRUPT_DEFAULT, NULL);
        lineedit_close(&in);
    }
    int checked = c.engine.ctx ? cli_engine_check(&c.engine) : CLI_OK;
    conversation_end(&c);
    return checked == CLI_OK ? rc : checked;
}

const struct cli_command cli_command_chat = {
    .name = "chat",
    .usage = "-m MODEL [options]",
    .summary = "talk with a model",
    .about =
        "Talks with a model: each line of the standard input is a question, and its answer is written to the "
        "standard output as it comes. All else goes to the standard error. Messages become a prompt through "
        "the "
        "chat template in the model's file; where there is none that can be used, that is said, and they are "
        "in "
        "the ChatML format.\n"
        "\n"
        "At a terminal lines can be edited, and earlier ones are had with the arrow keys. They are kept in "
        "$XDG_STATE_HOME/llmgpu/chat_history or ~/.local/state/llmgpu/chat_history. Ctrl-C stops an answer, "
        "and what came of it stays. At the prompt it leaves with exit status 130; Ctrl-D leaves with 0.\n"
        "\n"
        "A line that begins with a slash is a command, which /help lists: /system, /reset, /undo, /regen, "
        "/save, "
        "/load, /stats, /quit. A question that begins with a slash is written with two.\n"
        "\n"
        "When the lines come from a pipe or a file, the exit status is 1 if any of them failed, and Ctrl-C "
        "ends "
        "all of them with 130.\n",
    .options = options,
    .max_args = 0,
    .size = sizeof(struct chat_values),
    .init = init,
    .run = chat,
};
