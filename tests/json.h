/* SPDX-License-Identifier: MIT
 *
 * Reads the JSON of the reference data: trusted files, so what is wrong with one ends the test. Strings are
 * bytes; a lone surrogate U+DC80 to U+DCFF stands for the byte 0x80 to 0xff, as Python's "surrogateescape"
 * writes it.
 */
#ifndef LG_TESTS_JSON_H
#define LG_TESTS_JSON_H

#include "test.h"

enum json_type { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json {
    enum json_type type;
    double number; // a number, or 0 and 1 for a bool
    char *str;     // a string, with a NUL behind it
    size_t len;    // bytes of the string; elements of an array or object
    char *key;     // in an object
    struct json *first, *next;
};

static inline void json_skip(const char **p)
{
    *p += strspn(*p, " \t\r\n");
}

static inline unsigned json_hex4(const char **p)
{
    unsigned value;
    REQUIRE(sscanf(*p, "%4x", &value) == 1);
    *p += 4;
    return value;
}

static inline char *json_put_utf8(char *out, unsigned cp)
{
    if (cp < 0x80) {
        *out++ = (char)cp;
    } else if (cp >= 0xdc80 && cp <= 0xdcff) {
        *out++ = (char)(cp - 0xdc00);
    } else if (cp < 0x800) {
        *out++ = (char)(0xc0 | cp >> 6);
        *out++ = (char)(0x80 | (cp & 0x3f));
    } else {
        if (cp >= 0x10000) {
            *out++ = (char)(0xf0 | cp >> 18);
            *out++ = (char)(0x80 | (cp >> 12 & 0x3f));
        } else {
            *out++ = (char)(0xe0 | cp >> 12);
        }
        *out++ = (char)(0x80 | (cp >> 6 & 0x3f));
        *out++ = (char)(0x80 | (cp & 0x3f));
    }
    return out;
}

static inline char *json_put_escape(char *out, const char **p)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    char c = *(*p)++;
    if (c != 'u') {
        const char *name = strchr(names, c);
        REQUIRE(c && name);
        *out++ = values[name - names];
        return out;
    }
    unsigned cp = json_hex4(p);
    if (cp >= 0xd800 && cp < 0xdc00 && strncmp(*p, "\\u", 2) == 0) {
        *p += 2;
        cp = 0x10000 + ((cp - 0xd800) << 10) + (json_hex4(p) - 0xdc00);
    }
    return json_put_utf8(out, cp);
}

/** Reads a string; it is never longer than its source. */
static inline char *json_string(const char **p, size_t *len)
{
    REQUIRE(*(*p)++ == '"');
    const char *end = *p;
    while (*end != '"') {
        REQUIRE(*end);
        end += *end == '\\' && end[1] ? 2 : 1;
    }
    char *text = malloc((size_t)(end - *p) + 1), *out = text;
    REQUIRE(text);
    while (**p != '"') {
        char c = *(*p)++;
        if (c == '\\')
            out = json_put_escape(out, p);
        else
            *out++ = c;
    }
    (*p)++;
    *out = 0;
    *len = (size_t)(out - text);
    return text;
}

static inline struct json *json_value(const char **p);

static inline void json_members(struct json *v, const char **p, char close)
{
    struct json **tail = &v->first;
    for (json_skip(p); **p != close; json_skip(p)) {
        char *key = NULL;
        size_t key_len;
        if (v->type == JSON_OBJECT) {
            key = json_string(p, &key_len);
            json_skip(p);
            REQUIRE(*(*p)++ == ':');
        }
        *tail = json_value(p);
        (*tail)->key = key;
        tail = &(*tail)->next;
        v->len++;
        json_skip(p);
        REQUIRE(**p == ',' || **p == close);
        *p += **p == ',';
    }
    (*p)++;
}

static inline struct json *json_value(const char **p)
{
    struct json *v = calloc(1, sizeof(*v));
    REQUIRE(v);
    json_skip(p);
    if (**p == '"') {
        v->type = JSON_STRING;
        v->str = json_string(p, &v->len);
    } else if (**p == '[' || **p == '{') {
        v->type = **p == '[' ? JSON_ARRAY : JSON_OBJECT;
        char close = *(*p)++ == '[' ? ']' : '}';
        json_members(v, p, close);
    } else if (strchr("tfn", **p)) {
        v->type = **p == 'n' ? JSON_NULL : JSON_BOOL;
        v->number = **p == 't';
        *p += **p == 'f' ? 5 : 4;
    } else {
        char *end;
        v->type = JSON_NUMBER;
        v->number = strtod(*p, &end);
        REQUIRE(end != *p);
        *p = end;
    }
    return v;
}

static inline void json_free(struct json *v)
{
    while (v) {
        struct json *next = v->next;
        json_free(v->first);
        free(v->str);
        free(v->key);
        free(v);
        v = next;
    }
}

/** The whole file with a NUL behind it. */
static inline char *test_read_file(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    if (!f) {
        fprintf(stderr, "cannot open %s\n", path);
        exit(1);
    }
    REQUIRE(fseek(f, 0, SEEK_END) == 0);
    long n = ftell(f);
    REQUIRE(n >= 0 && fseek(f, 0, SEEK_SET) == 0);
    char *text = malloc((size_t)n + 1);
    REQUIRE(text && fread(text, 1, (size_t)n, f) == (size_t)n);
    text[n] = 0;
    fclose(f);
    if (size)
        *size = (size_t)n;
    return text;
}

static inline struct json *json_load(const char *path)
{
    char *text = test_read_file(path, NULL);
    const char *p = text;
    struct json *v = json_value(&p);
    free(text);
    return v;
}

/** A member of an object, or NULL. */
static inline const struct json *json_get(const struct json *v, const char *key)
{
    const struct json *m = v->first;
    while (m && strcmp(m->key, key) != 0)
        m = m->next;
    return m;
}

#endif
