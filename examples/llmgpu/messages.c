/* SPDX-License-Identifier: MIT */
#include "messages.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common.h"
#include "json.h"

static const char *const role_names[] = {
    [ROLE_SYSTEM] = "system",
    [ROLE_USER] = "user",
    [ROLE_ASSISTANT] = "assistant",
};

enum { N_ROLES = sizeof(role_names) / sizeof(*role_names) };

const char *role_name(enum role role)
{
    return role_names[role];
}

int messages_add(struct messages *m, enum role role, const char *content)
{
    if (m->n == m->room) {
        size_t room = m->room ? 2 * m->room : 16;
        struct message *at = realloc(m->at, room * sizeof(*at));
        if (!at)
            return cli_fail(LLMGPU_E_NOMEM, "no memory for %zu messages", room);
        m->at = at;
        m->room = room;
    }
    char *copy = strdup(content);
    if (!copy)
        return cli_fail(LLMGPU_E_NOMEM, "no memory for a message of %zu bytes", strlen(content));
    m->at[m->n++] = (struct message){role, copy};
    return CLI_OK;
}

void messages_cut(struct messages *m, size_t n)
{
    while (m->n > n)
        free(m->at[--m->n].content);
}

const char *messages_system(const struct messages *m)
{
    return m->n && m->at[0].role == ROLE_SYSTEM ? m->at[0].content : NULL;
}

void messages_free(struct messages *m)
{
    messages_cut(m, 0);
    free(m->at);
    *m = (struct messages){0};
}

/* ---- writing */

static void write_message(FILE *out, const struct message *message)
{
    struct json j = {.out = out};
    json_begin(&j, '{');
    json_key(&j, "role");
    json_string(&j, role_names[message->role]);
    json_key(&j, "content");
    json_string(&j, message->content);
    json_end(&j, '}');
    fputc('\n', out);
}

static int write_all(const struct messages *m, int fd)
{
    FILE *out = fdopen(fd, "wb");
    if (!out) {
        close(fd);
        return -1;
    }
    for (size_t i = 0; i < m->n; i++)
        write_message(out, &m->at[i]);
    bool failed = ferror(out) || fflush(out) != 0 || fsync(fd) != 0;
    return fclose(out) != 0 || failed ? -1 : 0;
}

int messages_save(const struct messages *m, const char *path)
{
    char beside[4096];
    struct stat there;
    // Something else than a file, a device say, is not to be replaced.
    if (stat(path, &there) == 0 && !S_ISREG(there.st_mode))
        return cli_fail(LLMGPU_E_IO, "%s: is no file", path);
    if ((size_t)snprintf(beside, sizeof(beside), "%s.XXXXXX", path) >= sizeof(beside))
        return cli_fail(LLMGPU_E_IO, "%.40s...: the name is too long", path);
    int fd = mkstemp(beside);
    if (fd < 0)
        return cli_fail(LLMGPU_E_IO, "%s: %s", path, strerror(errno));
    if (write_all(m, fd) == 0 && rename(beside, path) == 0)
        return CLI_OK;
    int rc = cli_fail(LLMGPU_E_IO, "%s: %s", path, strerror(errno));
    unlink(beside);
    return rc;
}

/* ---- reading */

/* What is left of a line. */
struct reader {
    const char *at, *end;
};

static void skip_blanks(struct reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\r'))
        r->at++;
}

static bool take(struct reader *r, char c)
{
    skip_blanks(r);
    if (r->at == r->end || *r->at != c)
        return false;
    r->at++;
    return true;
}

/* Four hexadecimal digits; -1 when there are others. */
static int take_hex(struct reader *r)
{
    static const char digits[] = "0123456789abcdef";
    int value = 0;
    for (int i = 0; i < 4; i++) {
        const char *digit = r->at < r->end && *r->at ? strchr(digits, *r->at | 0x20) : NULL;
        if (!digit || *r->at < '0')
            return -1;
        value = 16 * value + (int)(digit - digits);
        r->at++;
    }
    return value;
}

/* The character that a \u begins, in one part or two; 0 when it is none. */
static uint32_t take_unicode(struct reader *r)
{
    int high = take_hex(r);
    if (high < 0xd800 || high > 0xdfff)
        return high < 0 ? 0 : (uint32_t)high;
    if (high > 0xdbff || r->end - r->at < 2 || r->at[0] != '\\' || r->at[1] != 'u')
        return 0;
    r->at += 2;
    int low = take_hex(r);
    return low < 0xdc00 || low > 0xdfff
               ? 0
               : 0x10000 + ((uint32_t)(high - 0xd800) << 10) + (uint32_t)(low - 0xdc00);
}

static char *put_utf8(char *to, uint32_t c)
{
    int more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    static const unsigned char first[] = {0, 0xc0, 0xe0, 0xf0};
    *to++ = (char)(first[more] | (c >> (6 * more)));
    while (more--)
        *to++ = (char)(0x80 | ((c >> (6 * more)) & 0x3f));
    return to;
}

/* The character of an escape behind its backslash; 0 when there is none. */
static uint32_t take_escape(struct reader *r)
{
    static const char letters[] = "\"\\/bfnrt", characters[] = "\"\\/\b\f\n\r\t";
    if (r->at == r->end || !*r->at)
        return 0;
    char c = *r->at++;
    const char *found = strchr(letters, c);
    return c == 'u' ? take_unicode(r) : found ? (unsigned char)characters[found - letters] : 0;
}

/* A string, into room for the rest of the line and a NUL. */
static bool take_string(struct reader *r, char *to)
{
    if (!take(r, '"'))
        return false;
    while (r->at < r->end && *r->at != '"') {
        unsigned char c = (unsigned char)*r->at++;
        if (c < 0x20) // also a NUL, which would cut the text
            return false;
        if (c != '\\') {
            *to++ = (char)c;
            continue;
        }
        uint32_t escaped = take_escape(r);
        if (escaped == 0)
            return false;
        to = put_utf8(to, escaped);
    }
    *to = '\0';
    return take(r, '"');
}

/* What is wrong with the object on a line; NULL: nothing. The three have room for the line. */
static const char *take_message(struct reader *r, char *key, char *role, char *content)
{
    static const char shape[] = "it is not {\"role\": \"...\", \"content\": \"...\"}";
    bool have_role = false, have_content = false;
    for (bool more = take(r, '{'); more; more = take(r, ',')) {
        if (!take_string(r, key) || !take(r, ':'))
            return shape;
        bool *have = strcmp(key, "role") == 0      ? &have_role
                     : strcmp(key, "content") == 0 ? &have_content
                                                   : NULL;
        if (!have || *have || !take_string(r, have == &have_role ? role : content))
            return shape;
        *have = true;
    }
    if (!have_role || !have_content || !take(r, '}'))
        return shape;
    skip_blanks(r);
    return r->at == r->end ? NULL : "something follows the object";
}

/* Which role a message at place `n` may have: the system's first, then questions and answers in turns. */
static bool fits(const struct messages *m, enum role role)
{
    if (m->n == 0)
        return role != ROLE_ASSISTANT;
    return role == (m->at[m->n - 1].role == ROLE_USER ? ROLE_ASSISTANT : ROLE_USER);
}

static const char *add_line(struct messages *m, const char *line, size_t len, int *rc)
{
    char *room = malloc(3 * (len + 1)), *role = room + len + 1, *content = role + len + 1;
    if (!room) {
        *rc = cli_fail(LLMGPU_E_NOMEM, "no memory for a message of %zu bytes", len);
        return NULL;
    }
    struct reader r = {line, line + len};
    const char *wrong = take_message(&r, room, role, content);
    size_t i = 0;
    while (!wrong && i < N_ROLES && strcmp(role, role_names[i]) != 0)
        i++;
    if (!wrong && (i == N_ROLES || !fits(m, (enum role)i)))
        wrong = "its role is out of turn: a system message may come first, then user and assistant alternate";
    if (!wrong)
        *rc = messages_add(m, (enum role)i, content);
    free(room);
    return wrong;
}

static int add_lines(struct messages *m, const char *path, const struct cli_text *text)
{
    const char *end = text->bytes + text->len;
    size_t number = 1;
    for (const char *line = text->bytes; line < end; number++) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        size_t len = (size_t)((newline ? newline : end) - line);
        int rc = CLI_OK;
        const char *wrong = add_line(m, line, len, &rc);
        if (wrong)
            return cli_fail(LLMGPU_E_FORMAT, "%s: line %zu: %s", path, number, wrong);
        if (rc != CLI_OK)
            return rc;
        line += len + 1;
    }
    if (m->n == 0 || m->at[m->n - 1].role == ROLE_USER)
        return cli_fail(LLMGPU_E_FORMAT, "%s: %s", path,
                        m->n ? "the last question has no answer" : "it is empty");
    return CLI_OK;
}

int messages_load(struct messages *m, const char *path)
{
    struct cli_text text;
    int rc = cli_read_text(strcmp(path, "-") == 0 ? "./-" : path,
                           &text); // the commands come from the standard input
    if (rc != CLI_OK)
        return rc;
    rc = add_lines(m, path, &text);
    free(text.bytes);
    if (rc != CLI_OK)
        messages_free(m);
    return rc;
}
