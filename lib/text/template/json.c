/* SPDX-License-Identifier: MIT
 * A strict reader of JSON. */
#include <math.h>

#include "text/template/internal.h"
#include "text/utf8.h"

enum { MAX_DEPTH = 128 };

struct reader {
    struct lg_env *env;
    struct lg_arena *arena;
    const char *s;
    size_t len, pos;
    uint32_t depth;
};

static int fail(const struct reader *j, const char *what)
{
    return lg_fail(j->env, LLMGPU_E_FORMAT, "JSON, byte %zu: %s", j->pos, what);
}

static int fail_memory(const struct reader *j)
{
    return lg_fail_nomem(j->env, "JSON values", j->arena->next);
}

static char peek(const struct reader *j)
{
    return j->pos < j->len ? j->s[j->pos] : 0;
}

static void skip_space(struct reader *j)
{
    while (j->pos < j->len && strchr(" \t\n\r", j->s[j->pos]) && j->s[j->pos])
        j->pos++;
}

/** Four hexadecimal digits at the position, or -1. */
static int32_t read_hex(struct reader *j)
{
    int64_t value;
    if (j->len - j->pos < 4 || peek(j) == '-' || peek(j) == '+' ||
        !lg_number_parse_int(j->s + j->pos, 4, 16, &value))
        return -1;
    j->pos += 4;
    return (int32_t)value;
}

/** Behind "\u": a character, from one code or from a pair of surrogates. */
static int read_code(struct reader *j, char **to)
{
    int32_t c = read_hex(j);
    if (c >= 0xd800 && c < 0xdc00) {
        int32_t low = -1;
        if (j->len - j->pos >= 2 && j->s[j->pos] == '\\' && j->s[j->pos + 1] == 'u') {
            j->pos += 2;
            low = read_hex(j);
        }
        c = low >= 0xdc00 && low < 0xe000 ? 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00) : -1;
    }
    if (c < 0 || (c >= 0xdc00 && c < 0xe000))
        return fail(j, "an escape that means no character");
    *to += lg_char_put((uint32_t)c, *to);
    return 0;
}

static int read_escape(struct reader *j, char **to)
{
    static const char escapes[] = "\"\"\\\\//b\bf\fn\nr\rt\t";
    char c = peek(j);
    j->pos++;
    if (c == 'u')
        return read_code(j, to);
    for (size_t i = 0; c && i + 1 < sizeof(escapes); i += 2) {
        if (c == escapes[i]) {
            *(*to)++ = escapes[i + 1];
            return 0;
        }
    }
    return fail(j, "an unknown escape");
}

/** The string that begins at the position; what it holds is never longer than how it is written. */
static int read_string(struct reader *j, struct lg_value *out)
{
    size_t start = ++j->pos, end = start;
    while (end < j->len && j->s[end] != '"')
        end += 1 + (j->s[end] == '\\');
    if (end >= j->len) {
        j->pos = j->len;
        return fail(j, "a string without its end");
    }
    char *text = lg_arena_bytes(j->arena, end - start), *to = text;
    if (!text)
        return fail_memory(j);
    while (j->pos < end) {
        int n = lg_utf8_len(j->s + j->pos, end - j->pos);
        if (n <= 0)
            return fail(j, "bytes that are no UTF-8");
        if ((uint8_t)peek(j) < 0x20)
            return fail(j, "a control character in a string");
        if (peek(j) == '\\') {
            j->pos++;
            LG_TRY(read_escape(j, &to));
            continue;
        }
        memcpy(to, j->s + j->pos, (size_t)n);
        to += n;
        j->pos += (size_t)n;
    }
    j->pos = end + 1;
    *out = lg_value_string(text, (size_t)(to - text));
    return 0;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int read_number(struct reader *j, struct lg_value *out)
{
    size_t start = j->pos;
    bool is_float = false;
    j->pos += peek(j) == '-';
    if (!is_digit(peek(j)))
        return fail(j, "no value");
    if (peek(j) == '0' && j->pos + 1 < j->len && is_digit(j->s[j->pos + 1]))
        return fail(j, "a number that begins with 0");
    while (is_digit(peek(j)))
        j->pos++;
    if (peek(j) == '.') {
        is_float = true;
        j->pos++;
        if (!is_digit(peek(j)))
            return fail(j, "a number without digits behind its point");
        while (is_digit(peek(j)))
            j->pos++;
    }
    if ((peek(j) | 32) == 'e') {
        is_float = true;
        j->pos++;
        j->pos += peek(j) == '-' || peek(j) == '+';
        if (!is_digit(peek(j)))
            return fail(j, "a number without digits in its exponent");
        while (is_digit(peek(j)))
            j->pos++;
    }
    if (!is_float && lg_number_parse_int(j->s + start, j->pos - start, 10, &out->i)) {
        out->kind = LG_VALUE_INT;
        return 0;
    }
    out->kind = LG_VALUE_FLOAT;
    bool fits = lg_number_parse(j->s + start, j->pos - start, &out->f) && isfinite(out->f);
    return fits ? 0 : fail(j, "a number that is too large or has too many digits");
}

static int read_value(struct reader *j, struct lg_value *out);

static int expect(struct reader *j, char c, const char *what)
{
    skip_space(j);
    if (peek(j) != c)
        return fail(j, what);
    j->pos++;
    return 0;
}

/** Whether the next item follows: 1 behind a comma, 0 at the end. */
static int next_item(struct reader *j, char close, bool first)
{
    skip_space(j);
    if (peek(j) == close) {
        j->pos++;
        return 0;
    }
    if (!first)
        LG_TRY(expect(j, ',', "a comma or the closing bracket is missing"));
    return 1;
}

static int read_array(struct reader *j, struct lg_value *out)
{
    struct lg_value *items = NULL;
    uint32_t n = 0, cap = 0;
    int more;
    for (j->pos++; (more = next_item(j, ']', n == 0)) > 0; n++) {
        if (n == cap) {
            cap = cap ? 2 * cap : 4;
            struct lg_value *grown = lg_arena_array(j->arena, cap, sizeof(*grown));
            if (!grown)
                return fail_memory(j);
            if (n > 0)
                memcpy(grown, items, n * sizeof(*grown));
            items = grown;
        }
        LG_TRY(read_value(j, &items[n]));
    }
    LG_TRY(more);
    return lg_value_list(j->arena, items, n, out) < 0 ? fail_memory(j) : 0;
}

static int read_object(struct reader *j, struct lg_value *out)
{
    struct lg_value dict, key, value;
    bool first = true;
    int more;
    if (lg_value_dict(j->arena, &dict) < 0)
        return fail_memory(j);
    for (j->pos++; (more = next_item(j, '}', first)) > 0; first = false) {
        skip_space(j);
        if (peek(j) != '"')
            return fail(j, "a member without a name");
        LG_TRY(read_string(j, &key));
        LG_TRY(expect(j, ':', "a member without a value"));
        LG_TRY(read_value(j, &value));
        if (!lg_dict_put(j->arena, dict.dict, &key, &value))
            return fail_memory(j);
    }
    LG_TRY(more);
    *out = dict;
    return 0;
}

static int read_value(struct reader *j, struct lg_value *out)
{
    static const struct {
        const char *text;
        struct lg_value value;
    } words[] = {
        {"true", {.kind = LG_VALUE_BOOL, .i = 1}},
        {"false", {.kind = LG_VALUE_BOOL, .i = 0}},
        {"null", {.kind = LG_VALUE_NONE}},
    };
    skip_space(j);
    *out = (struct lg_value){0};
    for (size_t i = 0; i < 3; i++) {
        size_t n = strlen(words[i].text);
        if (j->len - j->pos >= n && memcmp(j->s + j->pos, words[i].text, n) == 0) {
            *out = words[i].value;
            j->pos += n;
            return 0;
        }
    }
    char c = peek(j);
    if (c == '"')
        return read_string(j, out);
    if (c != '[' && c != '{')
        return read_number(j, out);
    if (++j->depth > MAX_DEPTH)
        return fail(j, "values nested too deep");
    LG_TRY(c == '[' ? read_array(j, out) : read_object(j, out));
    j->depth--;
    return 0;
}

int lg_json_parse(struct lg_env *env, struct lg_arena *arena, const char *text, size_t len,
                  struct lg_value *out)
{
    struct reader j = {.env = env, .arena = arena, .s = text, .len = len};
    if (len > UINT32_MAX)
        return lg_fail(env, LLMGPU_E_FORMAT, "JSON of %zu bytes is too long", len);
    LG_TRY(read_value(&j, out));
    skip_space(&j);
    return j.pos == j.len ? 0 : fail(&j, "something behind the value");
}
