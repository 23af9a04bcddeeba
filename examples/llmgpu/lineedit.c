/* SPDX-License-Identifier: MIT */
#include "lineedit.h"

#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "interrupt.h"

/* Makes the folders of a path, all that come before its last '/'. */
static bool make_folders(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        bool made = mkdir(path, 0700) == 0 || errno == EEXIST;
        *slash = '/';
        if (!made)
            return false;
    }
    return true;
}

/* The file of the history in the user's folder for such; NULL where there is none. */
static const char *history_path(char *path, size_t size)
{
    static const char name[] = "llmgpu/chat_history";
    const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int n = 0;
    if (xdg && xdg[0] == '/') // the specification has relative ones ignored
        n = snprintf(path, size, "%s/%s", xdg, name);
    else if (home && home[0] == '/')
        n = snprintf(path, size, "%s/.local/state/%s", home, name);
    return n > 0 && (size_t)n < size && make_folders(path) ? path : NULL;
}

void lineedit_open(struct lineedit *in, bool history)
{
    char path[4096];
    *in = (struct lineedit){.terminal = isatty(STDIN_FILENO)};
    if (!in->terminal || !isatty(STDERR_FILENO))
        return;
    // What is typed is UTF-8, whatever the environment says; an editor has to know where characters end.
    setlocale(LC_CTYPE, "");
    if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
        setlocale(LC_CTYPE, "C.UTF-8");
    in->editor = line_editor_open(history ? history_path(path, sizeof(path)) : NULL);
}

void lineedit_close(struct lineedit *in)
{
    line_editor_close(in->editor);
    free(in->line);
    *in = (struct lineedit){0};
}

/* Both answer the bytes of in->line; 0 at the end of the input, -1 when it failed. */
static ssize_t read_plain(struct lineedit *in, const char *prompt)
{
    if (in->terminal)
        fputs(prompt, stderr);
    ssize_t n = getline(&in->line, &in->room, stdin);
    return n > 0 ? n : feof(stdin) ? 0 : -1;
}

static ssize_t read_edited(struct lineedit *in, const char *prompt)
{
    int n = 0;
    const char *line = line_editor_read(in->editor, prompt, &n);
    if (!line)
        return n < 0 ? -1 : 0;
    free(in->line);
    in->line = strndup(line, (size_t)n);
    return in->line ? n : -1;
}

enum line lineedit_read(struct lineedit *in, const char *prompt, const char **line, size_t *len)
{
    cli_on_interrupt(CLI_INTERRUPT_LEAVE, NULL); // there is nothing to lose at the prompt
    ssize_t n = in->editor ? read_edited(in, prompt) : read_plain(in, prompt);
    int reason = errno;
    cli_on_interrupt(CLI_INTERRUPT_HOLD, NULL);
    if (in->terminal && n <= 0)
        fputc('\n', stderr);
    errno = reason;
    if (n <= 0)
        return n < 0 ? LINE_FAILED : LINE_END;
    n -= in->line[n - 1] == '\n';
    in->line[n] = '\0';
    if (in->editor && n > 0)
        line_editor_remember(in->editor, in->line);
    *line = in->line;
    *len = (size_t)n;
    return LINE_READ;
}
