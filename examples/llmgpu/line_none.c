/* SPDX-License-Identifier: MIT
 *
 * In place of an editor, where the build has none.
 */
#include "lineedit.h"

struct line_editor *line_editor_open(const char *file)
{
    (void)file;
    return NULL;
}

const char *line_editor_read(struct line_editor *editor, const char *prompt, int *len)
{
    (void)editor, (void)prompt;
    *len = 0;
    return NULL;
}

void line_editor_remember(struct line_editor *editor, const char *line)
{
    (void)editor, (void)line;
}

void line_editor_close(struct line_editor *editor)
{
    (void)editor;
}
