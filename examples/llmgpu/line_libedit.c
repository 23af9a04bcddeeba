/* SPDX-License-Identifier: MIT
 *
 * Editing and history by libedit.
 */
#include <histedit.h>
#include <stdlib.h>
#include <string.h>

#include "lineedit.h"

enum { HISTORY_LINES = 1000 };

struct line_editor {
    EditLine *el;
    History *history;
    char *file; // of the history; NULL: none
    const char *prompt;
};

static char *show_prompt(EditLine *el)
{
    struct line_editor *editor = NULL;
    el_get(el, EL_CLIENTDATA, &editor);
    return (char *)editor->prompt;
}

static void set_up(struct line_editor *editor)
{
    EditLine *el = editor->el;
    HistEvent event;
    el_set(el, EL_CLIENTDATA, editor);
    el_set(el, EL_PROMPT, show_prompt);
    el_set(el, EL_SIGNAL, 1); // signals find the terminal as it was
    el_set(el, EL_EDITOR, "emacs");
    el_set(el, EL_BIND, "^R", "em-inc-search-prev", NULL);
    el_set(el, EL_HIST, history, editor->history);
    history(editor->history, &event, H_SETSIZE, HISTORY_LINES);
    history(editor->history, &event, H_SETUNIQUE, 1);
    if (editor->file)
        history(editor->history, &event, H_LOAD, editor->file);
    el_source(el, NULL); // the user's .editrc has the last word
}

struct line_editor *line_editor_open(const char *file)
{
    struct line_editor *editor = calloc(1, sizeof(*editor));
    if (!editor)
        return NULL;
    editor->el = el_init("llmgpu", stdin, stderr, stderr);
    editor->history = history_init();
    if (!editor->el || !editor->history) {
        line_editor_close(editor);
        return NULL;
    }
    editor->file = file ? strdup(file) : NULL;
    set_up(editor);
    return editor;
}

const char *line_editor_read(struct line_editor *editor, const char *prompt, int *len)
{
    editor->prompt = prompt;
    return el_gets(editor->el, len);
}

void line_editor_remember(struct line_editor *editor, const char *line)
{
    HistEvent event;
    history(editor->history, &event, H_ENTER, line);
    if (editor->file)
        history(editor->history, &event, H_SAVE, editor->file);
}

void line_editor_close(struct line_editor *editor)
{
    if (!editor)
        return;
    if (editor->history)
        history_end(editor->history);
    if (editor->el)
        el_end(editor->el);
    free(editor->file);
    free(editor);
}
