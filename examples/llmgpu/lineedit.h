/* SPDX-License-Identifier: MIT
 *
 * Lines from the standard input: at a terminal with editing and history, where the build has libedit; else as
 * they are. Prompts and what is typed are shown on the standard error.
 */
#ifndef CLI_LINEEDIT_H
#define CLI_LINEEDIT_H

#include <stdbool.h>
#include <stddef.h>

struct line_editor;

struct lineedit {
    struct line_editor *editor; // NULL: lines as they are
    bool terminal;              // somebody types them
    char *line;
    size_t room;
};

enum line {
    LINE_READ,
    LINE_END,    // of the input, or Ctrl-D
    LINE_FAILED, // errno says why
};

/** `history`: whether lines are kept in a file from one time to the next. */
void lineedit_open(struct lineedit *in, bool history);
/**
 * Reads a line, with CLI_INTERRUPT_LEAVE meanwhile and CLI_INTERRUPT_HOLD afterwards.
 *
 * @param prompt is shown at a terminal
 * @param line   `len` bytes with a NUL behind them and no newline, valid until the next call
 */
enum line lineedit_read(struct lineedit *in, const char *prompt, const char **line, size_t *len);
void lineedit_close(struct lineedit *in);

/* ---- what edits: libedit, or nothing at all */

/** NULL when there is no editor, or no memory for one. `history`: a file; NULL: none. */
struct line_editor *line_editor_open(const char *history);
/** The next line with its newline, `len` bytes; NULL at the end, or with *len < 0 when it failed. */
const char *line_editor_read(struct line_editor *editor, const char *prompt, int *len);
/** Adds to the history, and to its file. */
void line_editor_remember(struct line_editor *editor, const char *line);
void line_editor_close(struct line_editor *editor);

#endif
