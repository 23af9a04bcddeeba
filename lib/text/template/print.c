/* SPDX-License-Identifier: MIT
 * Values as text: str(), repr() and JSON as Python writes them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "text/template/internal.h"

int lg_tmpl_write(struct lg_tmpl_run *r, const char *s, size_t len)
{
    if (len > r->t->limits.output_bytes - r->n_out)
        return lg_tmpl_fail(r, "it writes more than %zu bytes", r->t->limits.output_bytes);
    LG_TRY(lg_tmpl_charge(r, 0, len));
    if (len >= r->cap_out - r->n_out) { // there is always room for a NUL
        size_t cap = r->cap_out ? 2 * r->cap_out : 1024;
        while (cap - r->n_out <= len)
            cap *= 2;
        char *out = lg_resize(r->env, r->out, cap);
        if (!out)
            return lg_fail_nomem(r->env, "a chat template's output", cap);
        r->out = out;
        r->cap_out = cap;
    }
    if (len > 0)
        memcpy(r->out + r->n_out, s, len);
    r->n_out += len;
    return 0;
}

static int write_z(struct lg_tmpl_run *r, const char *s)
{
    return lg_tmpl_write(r, s, strlen(s));
}

int lg_tmpl_take(struct lg_tmpl_run *r, size_t mark, struct lg_value *out)
{
    size_t len = r->n_out - mark;
    r->n_out = mark;
    return lg_tmpl_copy(r, r->out + mark, len, out);
}

int lg_tmpl_string(struct lg_tmpl_run *r, const struct lg_value *v, struct lg_value *out)
{
    size_t mark = r->n_out;
    if (v->kind == LG_VALUE_STRING) {
        *out = *v;
        return 0;
    }
    LG_TRY(lg_tmpl_write_str(r, v));
    return lg_tmpl_take(r, mark, out);
}

static int write_int(struct lg_tmpl_run *r, int64_t i)
{
    char text[32];
    return lg_tmpl_write(r, text, (size_t)snprintf(text, sizeof(text), "%lld", (long long)i));
}

static int write_float(struct lg_tmpl_run *r, double f)
{
    char text[LG_NUMBER_ROOM];
    LG_TRY(lg_tmpl_charge(r, 16, 0));
    return lg_tmpl_write(r, text, lg_number_repr(f, text));
}

/* ---- repr ------------------------------------------------------------------------------------------- */

/** Whether repr() shows a character as it is. */
static bool is_printable(uint32_t c)
{
    static const uint32_t hidden[][2] = {
        {0x00, 0x1f},     {0x7f, 0xa0},     {0xad, 0xad},       {0x600, 0x605},        {0x61c, 0x61c},
        {0x6dd, 0x6dd},   {0x70f, 0x70f},   {0x1680, 0x1680},   {0x180e, 0x180e},      {0x2000, 0x200f},
        {0x2028, 0x202f}, {0x205f, 0x206f}, {0x3000, 0x3000},   {0xd800, 0xf8ff},      {0xfeff, 0xfeff},
        {0xfff9, 0xfffb}, {0xfffe, 0xffff}, {0xe0000, 0xe00ff}, {0xe01f0, UINT32_MAX},
    };
    for (size_t i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++)
        if (c >= hidden[i][0] && c <= hidden[i][1])
            return false;
    return true;
}

static int write_quoted(struct lg_tmpl_run *r, struct lg_str s)
{
    static const char escapes[] = "\\\\\nn\rr\tt";
    char quote = memchr(s.ptr, '\'', s.len) && !memchr(s.ptr, '"', s.len) ? '"' : '\'', text[16];
    LG_TRY(lg_tmpl_write(r, &quote, 1));
    for (size_t i = 0, n; i < s.len; i += n) {
        uint32_t c;
        n = lg_char_at(s.ptr + i, s.len - i, &c);
        const char *escape = c != 0 && c < 128 ? strchr(escapes, (int)c) : NULL;
        if (c == (uint8_t)quote || (escape && (escape - escapes) % 2 == 0)) {
            text[0] = '\\';
            text[1] = escape ? escape[1] : quote;
            LG_TRY(lg_tmpl_write(r, text, 2));
        } else if (is_printable(c)) {
            LG_TRY(lg_tmpl_write(r, s.ptr + i, n));
        } else {
            if (c > 0x10ffff) // no character, but a byte
                c -= 0x110000;
            const char *form = c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x";
            LG_TRY(lg_tmpl_write(r, text, (size_t)snprintf(text, sizeof(text), form, c)));
        }
    }
    return lg_tmpl_write(r, &quote, 1);
}

static int write_dict(struct lg_tmpl_run *r, const struct lg_dict *dict)
{
    LG_TRY(write_z(r, "{"));
    for (uint32_t i = 0; i < dict->n; i++) {
        LG_TRY(write_z(r, i ? ", " : ""));
        LG_TRY(lg_tmpl_write_repr(r, &dict->pairs[2 * i]));
        LG_TRY(write_z(r, ": "));
        LG_TRY(lg_tmpl_write_repr(r, &dict->pairs[2 * i + 1]));
    }
    return write_z(r, "}");
}

/** Items between brackets. */
static int write_items(struct lg_tmpl_run *r, const struct lg_value *v, const char *open, const char *close)
{
    struct lg_tmpl_cursor c;
    struct lg_value item;
    LG_TRY(write_z(r, open));
    LG_TRY(lg_tmpl_cursor(r, v, &c));
    for (uint32_t i = 0; lg_tmpl_next(&c, &item); i++) {
        LG_TRY(write_z(r, i ? ", " : ""));
        LG_TRY(lg_tmpl_write_repr(r, &item));
    }
    return write_z(r, close);
}

static int write_range(struct lg_tmpl_run *r, const struct lg_tmpl_range *range)
{
    char text[96];
    int n = snprintf(text, sizeof(text), "range(%lld, %lld", (long long)range->start, (long long)range->stop);
    LG_TRY(lg_tmpl_write(r, text, (size_t)n));
    n = snprintf(text, sizeof(text), ", %lld", (long long)range->step);
    if (range->step != 1)
        LG_TRY(lg_tmpl_write(r, text, (size_t)n));
    return write_z(r, ")");
}

static int write_container(struct lg_tmpl_run *r, const struct lg_value *v)
{
    static const char *const views[] = {"dict_keys([", "dict_values([", "dict_items(["};
    switch (v->kind) {
    case LG_VALUE_LIST: return write_items(r, v, "[", "]");
    case LG_VALUE_TUPLE: return write_items(r, v, "(", v->n == 1 ? ",)" : ")");
    case LG_VALUE_VIEW: return write_items(r, v, views[v->sub], "])");
    case LG_VALUE_DICT: return write_dict(r, v->dict);
    case LG_VALUE_NAMESPACE:
        LG_TRY(write_z(r, "<Namespace "));
        LG_TRY(write_dict(r, v->dict));
        return write_z(r, ">");
    case LG_VALUE_RANGE: return write_range(r, v->object);
    default:
        LG_TRY(write_z(r, "<"));
        LG_TRY(write_z(r, lg_tmpl_type_name(v)));
        return write_z(r, ">");
    }
}

int lg_tmpl_write_repr(struct lg_tmpl_run *r, const struct lg_value *v)
{
    LG_TRY(lg_tmpl_charge(r, 1, 0));
    switch (v->kind) {
    case LG_VALUE_UNDEFINED:
    case LG_VALUE_NONE: return write_z(r, lg_tmpl_type_name(v));
    case LG_VALUE_BOOL: return write_z(r, v->i ? "True" : "False");
    case LG_VALUE_INT: return write_int(r, v->i);
    case LG_VALUE_FLOAT: return write_float(r, v->f);
    case LG_VALUE_STRING: return write_quoted(r, lg_tmpl_str(v));
    default:
        LG_TRY(lg_tmpl_enter(r));
        LG_TRY(write_container(r, v));
        lg_tmpl_leave(r);
        return 0;
    }
}

int lg_tmpl_write_str(struct lg_tmpl_run *r, const struct lg_value *v)
{
    if (v->kind == LG_VALUE_STRING)
        return lg_tmpl_write(r, v->s, v->n);
    return v->kind == LG_VALUE_UNDEFINED ? 0 : lg_tmpl_write_repr(r, v);
}

/* ---- JSON ------------------------------------------------------------------------------------------- */

/** A character that JSON has to escape, into `out`; 0 when it can stay. */
static size_t escape_json(uint32_t c, bool ascii, char out[16])
{
    static const char escapes[] = "\"\"\\\\\nn\rr\tt\ff\bb";
    const char *escape = c != 0 && c < 128 ? strchr(escapes, (int)c) : NULL;
    if (escape && (escape - escapes) % 2 == 0)
        return (size_t)snprintf(out, 16, "\\%c", escape[1]);
    if (c > 0x10ffff || (c >= 0x20 && c < (ascii ? 0x7f : UINT32_MAX)))
        return 0;
    if (c < 0x10000)
        return (size_t)snprintf(out, 16, "\\u%04x", c);
    return (size_t)snprintf(out, 16, "\\u%04x\\u%04x", 0xd7c0 + (c >> 10), 0xdc00 + (c & 0x3ff));
}

static int write_json_string(struct lg_tmpl_run *r, struct lg_str s, bool ascii)
{
    char text[16];
    size_t plain = 0;
    LG_TRY(lg_tmpl_write(r, "\"", 1));
    for (size_t i = 0, n; i < s.len; i += n) {
        uint32_t c;
        n = lg_char_at(s.ptr + i, s.len - i, &c);
        size_t escaped = escape_json(c, ascii, text);
        if (!escaped)
            continue;
        LG_TRY(lg_tmpl_write(r, s.ptr + plain, i - plain));
        LG_TRY(lg_tmpl_write(r, text, escaped));
        plain = i + n;
    }
    LG_TRY(lg_tmpl_write(r, s.ptr + plain, s.len - plain));
    return lg_tmpl_write(r, "\"", 1);
}

static int write_json(struct lg_tmpl_run *r, const struct lg_value *v, const struct lg_tmpl_json *how,
                      uint32_t level);

static int new_line(struct lg_tmpl_run *r, const struct lg_tmpl_json *how, uint32_t level)
{
    if (!how->indent.ptr)
        return 0;
    LG_TRY(lg_tmpl_write(r, "\n", 1));
    for (uint32_t i = 0; i < level; i++)
        LG_TRY(lg_tmpl_write(r, how->indent.ptr, how->indent.len));
    return 0;
}

/** Keys are strings, or become what they would be in JSON. */
static int write_json_key(struct lg_tmpl_run *r, const struct lg_value *key, const struct lg_tmpl_json *how)
{
    if (key->kind == LG_VALUE_STRING)
        return write_json_string(r, lg_tmpl_str(key), how->ascii);
    if (key->kind != LG_VALUE_NONE && !lg_tmpl_is_number(key))
        return lg_tmpl_fail(r, "a key of type %s cannot be written as JSON", lg_tmpl_type_name(key));
    LG_TRY(lg_tmpl_write(r, "\"", 1));
    LG_TRY(write_json(r, key, how, 0));
    return lg_tmpl_write(r, "\"", 1);
}

static int compare_keys(const void *a, const void *b)
{
    const struct lg_value *x = a, *y = b;
    int order = memcmp(x->s, y->s, x->n < y->n ? x->n : y->n);
    return order ? order : (x->n > y->n) - (x->n < y->n);
}

/** The pairs of a dict in the order of their keys. */
static int sort_pairs(struct lg_tmpl_run *r, const struct lg_dict *dict, struct lg_value **out)
{
    LG_TRY(lg_tmpl_charge(r, 8 * (uint64_t)dict->n, 0));
    for (uint32_t i = 0; i < dict->n; i++)
        if (dict->pairs[2 * i].kind != LG_VALUE_STRING)
            return lg_tmpl_fail(r, "only keys that are strings can be sorted");
    LG_TRY(lg_tmpl_array(r, 2 * dict->n, out));
    if (dict->n)
        memcpy(*out, dict->pairs, dict->n * 2 * sizeof(**out));
    qsort(*out, dict->n, 2 * sizeof(**out), compare_keys);
    return 0;
}

static int write_json_dict(struct lg_tmpl_run *r, const struct lg_dict *dict, const struct lg_tmpl_json *how,
                           uint32_t level)
{
    struct lg_value *pairs = dict->pairs;
    if (how->sorted)
        LG_TRY(sort_pairs(r, dict, &pairs));
    LG_TRY(write_z(r, "{"));
    for (uint32_t i = 0; i < dict->n; i++) {
        if (i > 0)
            LG_TRY(lg_tmpl_write(r, how->item_separator.ptr, how->item_separator.len));
        LG_TRY(new_line(r, how, level + 1));
        LG_TRY(write_json_key(r, &pairs[2 * i], how));
        LG_TRY(lg_tmpl_write(r, how->key_separator.ptr, how->key_separator.len));
        LG_TRY(write_json(r, &pairs[2 * i + 1], how, level + 1));
    }
    if (dict->n > 0)
        LG_TRY(new_line(r, how, level));
    return write_z(r, "}");
}

static int write_json_items(struct lg_tmpl_run *r, const struct lg_value *v, const struct lg_tmpl_json *how,
                            uint32_t level)
{
    struct lg_tmpl_cursor c;
    struct lg_value item;
    uint32_t n = 0;
    LG_TRY(write_z(r, "["));
    LG_TRY(lg_tmpl_cursor(r, v, &c));
    for (; lg_tmpl_next(&c, &item); n++) {
        if (n > 0)
            LG_TRY(lg_tmpl_write(r, how->item_separator.ptr, how->item_separator.len));
        LG_TRY(new_line(r, how, level + 1));
        LG_TRY(write_json(r, &item, how, level + 1));
    }
    if (n > 0)
        LG_TRY(new_line(r, how, level));
    return write_z(r, "]");
}

static int write_json(struct lg_tmpl_run *r, const struct lg_value *v, const struct lg_tmpl_json *how,
                      uint32_t level)
{
    LG_TRY(lg_tmpl_charge(r, 1, 0));
    switch (v->kind) {
    case LG_VALUE_NONE: return write_z(r, "null");
    case LG_VALUE_BOOL: return write_z(r, v->i ? "true" : "false");
    case LG_VALUE_INT: return write_int(r, v->i);
    case LG_VALUE_FLOAT:
        if (!isfinite(v->f))
            return write_z(r, isnan(v->f) ? "NaN" : v->f < 0 ? "-Infinity" : "Infinity");
        return write_float(r, v->f);
    case LG_VALUE_STRING: return write_json_string(r, lg_tmpl_str(v), how->ascii);
    case LG_VALUE_LIST:
    case LG_VALUE_TUPLE:
    case LG_VALUE_DICT:
        LG_TRY(lg_tmpl_enter(r));
        LG_TRY(v->kind == LG_VALUE_DICT ? write_json_dict(r, v->dict, how, level)
                                        : write_json_items(r, v, how, level));
        lg_tmpl_leave(r);
        return 0;
    default:
        LG_TRY(lg_tmpl_defined(r, v));
        return lg_tmpl_fail(r, "a value of type %s cannot be written as JSON", lg_tmpl_type_name(v));
    }
}

int lg_tmpl_write_json(struct lg_tmpl_run *r, const struct lg_value *v, const struct lg_tmpl_json *how)
{
    return write_json(r, v, how, 0);
}
