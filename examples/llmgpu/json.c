/* SPDX-License-Identifier: MIT */
#include "json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void begin_value(struct json *j)
{
    if (j->comma)
        fputc(',', j->out);
    j->comma = true;
}

void json_begin(struct json *j, char bracket)
{
    begin_value(j);
    fputc(bracket, j->out);
    j->comma = false;
}

void json_end(struct json *j, char bracket)
{
    fputc(bracket, j->out);
    j->comma = true;
}

void json_key_bytes(struct json *j, const char *key, size_t len)
{
    json_bytes(j, key, len);
    fputc(':', j->out);
    j->comma = false;
}

void json_key(struct json *j, const char *key)
{
    json_key_bytes(j, key, strlen(key));
}

void json_int(struct json *j, int64_t value)
{
    begin_value(j);
    fprintf(j->out, "%lld", (long long)value);
}

void json_uint(struct json *j, uint64_t value)
{
    begin_value(j);
    fprintf(j->out, "%llu", (unsigned long long)value);
}

void json_bool(struct json *j, bool value)
{
    begin_value(j);
    fputs(value ? "true" : "false", j->out);
}

void json_null(struct json *j)
{
    begin_value(j);
    fputs("null", j->out);
}

static void write_number(struct json *j, double value, bool is_float)
{
    char text[32];
    if (!isfinite(value)) {
        json_null(j);
        return;
    }
    int digits = 6, enough = is_float ? 9 : 17;
    do
        snprintf(text, sizeof(text), "%.*g", digits, value);
    while ((is_float ? (double)strtof(text, NULL) : strtod(text, NULL)) != value && ++digits <= enough);
    begin_value(j);
    fputs(text, j->out);
}

void json_number(struct json *j, double value)
{
    write_number(j, value, false);
}

void json_float(struct json *j, float value)
{
    write_number(j, (double)value, true);
}

size_t json_utf8_len(const char *text, size_t len)
{
    const unsigned char *s = (const unsigned char *)text;
    if (len == 0)
        return 0;
    if (s[0] < 0x80)
        return 1;
    size_t n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || len < n)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
    bool surrogate = s[0] == 0xed && s[1] > 0x9f, beyond = s[0] == 0xf4 && s[1] > 0x8f;
    return overlong || surrogate || beyond ? 0 : n;
}

static void write_ascii(FILE *out, char c)
{
    static const char plain[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    const char *found = c ? strchr(plain, c) : NULL;
    if (found)
        fprintf(out, "\\%c", letters[found - plain]);
    else if ((unsigned char)c < 0x20 || c == 0x7f)
        fprintf(out, "\\u%04x", c);
    else
        fputc(c, out);
}

void json_write_escaped(FILE *out, const char *text, size_t len)
{
    while (len > 0) {
        size_t n = json_utf8_len(text, len);
        if (n == 0)
            fputs("\xef\xbf\xbd", out);
        else if (n == 1)
            write_ascii(out, *text);
        else
            fwrite(text, 1, n, out);
        n += n == 0;
        text += n;
        len -= n;
    }
}

void json_bytes(struct json *j, const char *text, size_t len)
{
    begin_value(j);
    fputc('"', j->out);
    json_write_escaped(j->out, text, len);
    fputc('"', j->out);
}

void json_string(struct json *j, const char *text)
{
    json_bytes(j, text, strlen(text));
}

void json_ids(struct json *j, const int32_t *ids, size_t n)
{
    json_begin(j, '[');
    for (size_t i = 0; i < n; i++)
        json_int(j, ids[i]);
    json_end(j, ']');
}
