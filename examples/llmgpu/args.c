/* SPDX-License-Identifier: MIT */
#include "args.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

int cli_usage(const char *command, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fputs("llmgpu: ", stderr);
    vfprintf(stderr, format, list);
    va_end(list);
    fprintf(stderr, "\nSee: llmgpu %s%s--help\n", command ? command : "", command ? " " : "");
    return CLI_USAGE;
}

static unsigned min2(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* Damerau and Levenshtein's distance of the first 62 bytes: insertions, deletions, replacements, swaps of
 * neighbours. */
static unsigned edit_distance(const char *a, const char *b)
{
    enum { MAX = 62 };
    unsigned rows[3][MAX + 1], *before = rows[0], *last = rows[1], *row = rows[2];
    size_t na = strnlen(a, MAX), nb = strnlen(b, MAX);
    for (size_t j = 0; j <= nb; j++)
        last[j] = (unsigned)j;
    for (size_t i = 1; i <= na; i++) {
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= nb; j++) {
            row[j] = min2(min2(last[j], row[j - 1]) + 1, last[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = min2(row[j], before[j - 2] + 1);
        }
        unsigned *spare = before;
        before = last;
        last = row;
        row = spare;
    }
    return last[nb];
}

void cli_nearest_try(struct cli_nearest *nearest, const char *candidate)
{
    size_t len = strlen(nearest->word);
    bool begins = len > 3 && strncmp(candidate, nearest->word, len) == 0; // cut short, as in --max
    unsigned distance = begins ? 1 : edit_distance(nearest->word, candidate);
    if (*nearest->best && distance >= nearest->distance)
        return;
    nearest->distance = distance;
    snprintf(nearest->best, sizeof(nearest->best), "%s", candidate);
}

static int unknown_option(const struct cli_command *command, const char *word, size_t len)
{
    char name[64], full[64];
    snprintf(name, sizeof(name), "%.*s", (int)min2((unsigned)len, 62), word);
    struct cli_nearest nearest = {.word = name};
    cli_nearest_try(&nearest, "--help");
    for (const struct cli_option *o = command->options; o->kind != CLI_END; o++) {
        if (o->kind == CLI_HEADING)
            continue;
        snprintf(full, sizeof(full), "--%s", o->name);
        cli_nearest_try(&nearest, full);
        if (o->letter) {
            snprintf(full, sizeof(full), "-%c", o->letter);
            cli_nearest_try(&nearest, full);
        }
    }
    return cli_usage(command->name, "%s has no option '%s'; the nearest is '%s'", command->name, name,
                     nearest.best);
}

/* The whole word, in digits. */
static bool parse_integer(const char *text, bool *negative, uint64_t *out)
{
    *negative = *text == '-';
    const char *digits = text + *negative;
    if (!*digits || strspn(digits, "0123456789") != strlen(digits))
        return false;
    errno = 0;
    *out = strtoull(digits, NULL, 10);
    return errno == 0;
}

bool cli_parse_number(const char *text, double *out)
{
    if (!*text || strspn(text, "+-.0123456789eE") != strlen(text))
        return false;
    char *end;
    *out = strtod(text, &end);
    return !*end && isfinite(*out);
}

static bool is_integer(enum cli_kind kind)
{
    return kind == CLI_U32 || kind == CLI_I32 || kind == CLI_U64;
}

static bool add_text(struct cli_texts *texts, const char *text)
{
    if (texts->n == CLI_MAX_TEXTS)
        return false;
    texts->words[texts->n++] = text;
    return true;
}

static bool set_value(const struct cli_option *o, const char *text, void *values)
{
    char *target = (char *)values + o->offset;
    uint64_t magnitude = 0;
    bool negative = false;
    double number = 0;
    if (o->kind == CLI_TEXT) {
        memcpy(target, &text, sizeof(text));
        return true;
    }
    if (o->kind == CLI_TEXTS)
        return add_text((struct cli_texts *)(void *)target, text);
    if (is_integer(o->kind)) {
        if (!parse_integer(text, &negative, &magnitude))
            return false;
        number = negative ? -(double)magnitude : (double)magnitude;
    } else if (!cli_parse_number(text, &number)) {
        return false;
    }
    if (o->kind == CLI_U64) {
        if (!negative)
            memcpy(target, &magnitude, sizeof(magnitude));
        return !negative;
    }
    if (!(number >= o->min && number <= o->max))
        return false;
    uint32_t u32 = (uint32_t)magnitude;
    int32_t i32 = (int32_t)number;
    float f32 = (float)number;
    memcpy(target, o->kind == CLI_U32 ? (void *)&u32 : o->kind == CLI_I32 ? (void *)&i32 : (void *)&f32, 4);
    return true;
}

/* "0 .. 100", "1 or more" or, for what is no number, "" */
static const char *describe_range(const struct cli_option *o, char *buf, size_t size)
{
    if (o->kind == CLI_U64)
        snprintf(buf, size, "0 .. %llu", (unsigned long long)UINT64_MAX);
    else if (o->max >= INT32_MAX)
        snprintf(buf, size, "%.10g or more", o->min);
    else
        snprintf(buf, size, "%.10g .. %.10g", o->min, o->max);
    return buf;
}

static const struct cli_option *find_option(const struct cli_command *command, const char *word, size_t len)
{
    for (const struct cli_option *o = command->options; o->kind != CLI_END; o++) {
        if (o->kind == CLI_HEADING)
            continue;
        if (len == 2 && word[1] == o->letter && o->letter)
            return o;
        if (len > 2 && word[1] == '-' && strlen(o->name) == len - 2 &&
            memcmp(word + 2, o->name, len - 2) == 0)
            return o;
    }
    return NULL;
}

/* The option at argv[*i], with its value if it takes one; *i is left at the last word used. */
static int parse_option(const struct cli_command *command, int argc, char **argv, int *i, void *values)
{
    const char *word = argv[*i], *equals = strncmp(word, "--", 2) == 0 ? strchr(word, '=') : NULL;
    size_t len = equals ? (size_t)(equals - word) : strlen(word);
    const struct cli_option *o = find_option(command, word, len);
    if (!o) {
        unknown_option(command, word, len);
        return -1;
    }
    if (o->kind == CLI_FLAG) {
        if (equals) {
            cli_usage(command->name, "--%s takes no value", o->name);
            return -1;
        }
        *((bool *)((char *)values + o->offset)) = true;
        return 0;
    }
    if (!equals && *i + 1 >= argc) {
        cli_usage(command->name, "%s needs a value: %s %s", word, word, o->value);
        return -1;
    }
    const char *value = equals ? equals + 1 : argv[++*i];
    if (!set_value(o, value, values)) {
        char range[64];
        if (o->kind == CLI_TEXTS) {
            cli_usage(command->name, "--%s is given more than %d times", o->name, CLI_MAX_TEXTS);
            return -1;
        }
        cli_usage(command->name, "--%s takes a %snumber, %s, not '%s'", o->name,
                  is_integer(o->kind) ? "whole " : "", describe_range(o, range, sizeof(range)), value);
        return -1;
    }
    return 0;
}

static int check_required(const struct cli_command *command, const void *values)
{
    for (const struct cli_option *o = command->options; o->kind != CLI_END; o++) {
        const char *target = (const char *)values + o->offset, *text = "";
        if (!o->required)
            continue;
        if (o->kind == CLI_TEXT)
            memcpy(&text, target, sizeof(text));
        else if (((const struct cli_texts *)(const void *)target)->n == 0)
            text = NULL;
        if (text)
            continue;
        if (o->letter)
            cli_usage(command->name, "%s needs -%c %s", command->name, o->letter, o->value);
        else
            cli_usage(command->name, "%s needs --%s %s", command->name, o->name, o->value);
        return -1;
    }
    return 0;
}

int cli_parse(const struct cli_command *command, int argc, char **argv, void *values, struct cli_args *args)
{
    bool options = true;
    *args = (struct cli_args){0, argv};
    for (int i = 0; i < argc; i++) {
        char *word = argv[i];
        if (!options || word[0] != '-' || !word[1]) {
            if (args->n == command->max_args) {
                cli_usage(command->name, "%s: unexpected argument '%s'", command->name, word);
                return -1;
            }
            args->words[args->n++] = word;
        } else if (strcmp(word, "--") == 0) {
            options = false;
        } else if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            return 1;
        } else if (parse_option(command, argc, argv, &i, values)) {
            return -1;
        }
    }
    return check_required(command, values);
}

enum { HELP_COLUMN = 28, HELP_WIDTH = 92 };

/* Writes words from column `column` on, and lines after the first from column `indent` on. */
static void write_wrapped(FILE *out, const char *text, int column, int indent)
{
    int begin = column;
    while (*text) {
        int len = (int)strcspn(text, " ");
        if (column > begin && column + 1 + len > HELP_WIDTH) {
            fprintf(out, "\n%*s", indent, "");
            column = begin = indent;
        } else if (column > begin) {
            fputc(' ', out);
            column++;
        }
        fprintf(out, "%.*s", len, text);
        column += len;
        text += len;
        text += strspn(text, " ");
    }
    fputc('\n', out);
}

/* "(0 .. 100, default 0.5)", or "" where there is nothing to say. */
static const char *describe_default(const struct cli_option *o, const void *values, char *buf, size_t size)
{
    const char *target = (const char *)values + o->offset, *text = NULL;
    char range[64], value[32] = "";
    uint64_t u64;
    uint32_t u32;
    int32_t i32;
    float f32;
    buf[0] = 0;
    switch (o->kind) {
    case CLI_TEXT:
        memcpy(&text, target, sizeof(text));
        if (text)
            snprintf(buf, size, " (default %s)", text);
        return buf;
    case CLI_U64:
        memcpy(&u64, target, sizeof(u64));
        snprintf(value, sizeof(value), "%llu", (unsigned long long)u64);
        break;
    case CLI_U32:
        memcpy(&u32, target, sizeof(u32));
        snprintf(value, sizeof(value), "%u", u32);
        break;
    case CLI_I32:
        memcpy(&i32, target, sizeof(i32));
        snprintf(value, sizeof(value), "%d", i32);
        break;
    case CLI_F32:
        memcpy(&f32, target, sizeof(f32));
        snprintf(value, sizeof(value), "%g", (double)f32);
        break;
    default: return buf;
    }
    snprintf(buf, size, " (%s, default %s)", describe_range(o, range, sizeof(range)), value);
    return buf;
}

static void help_option(const struct cli_option *o, const void *values, FILE *out)
{
    char left[64], range[128], text[1024];
    int n = o->letter ? snprintf(left, sizeof(left), "  -%c, --%s", o->letter, o->name)
                      : snprintf(left, sizeof(left), "      --%s", o->name);
    if (o->kind != CLI_FLAG)
        n += snprintf(left + n, sizeof(left) - (size_t)n, " %s", o->value);
    snprintf(text, sizeof(text), "%s%s%s", o->help, o->required ? "; it has to be given" : "",
             describe_default(o, values, range, sizeof(range)));
    fputs(left, out);
    if (n > HELP_COLUMN - 2) {
        fputc('\n', out);
        n = 0;
    }
    fprintf(out, "%*s", HELP_COLUMN - n, "");
    write_wrapped(out, text, HELP_COLUMN, HELP_COLUMN);
}

static void help_about(const char *about, FILE *out)
{
    while (*about) {
        size_t len = strcspn(about, "\n");
        char line[1024];
        snprintf(line, sizeof(line), "%.*s", (int)len, about);
        if (line[0] == ' ' || !line[0])
            fprintf(out, "%s\n", line);
        else
            write_wrapped(out, line, 0, 0);
        about += len + (about[len] != 0);
    }
}

void cli_help(const struct cli_command *command, FILE *out)
{
    void *values = calloc(1, command->size);
    if (!values)
        return;
    if (command->init)
        command->init(values);
    fprintf(out, "Usage: llmgpu %s %s\n\n", command->name, command->usage);
    help_about(command->about, out);
    fputs("\nOptions:\n", out);
    for (const struct cli_option *o = command->options; o->kind != CLI_END; o++) {
        if (o->kind == CLI_HEADING)
            fprintf(out, "\n%s:\n", o->help);
        else
            help_option(o, values, out);
    }
    fputs("\n  -h, --help                this text\n", out);
    free(values);
}
