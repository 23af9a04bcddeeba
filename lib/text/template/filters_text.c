/* SPDX-License-Identifier: MIT
 * Filters of texts; what is none is taken as str() writes it. */
#include "text/template/internal.h"

/** str() of what is filtered. */
static int text_of(struct lg_tmpl_run *r, const struct lg_value *self, struct lg_str *out)
{
    struct lg_value text;
    LG_TRY(lg_tmpl_string(r, self, &text));
    *out = lg_tmpl_str(&text);
    return 0;
}

LG_TMPL_FN(filter_upper)
{
    struct lg_str s;
    LG_TRY(text_of(r, self, &s));
    return lg_tmpl_upper(r, s, out);
}

LG_TMPL_FN(filter_lower)
{
    struct lg_str s;
    LG_TRY(text_of(r, self, &s));
    return lg_tmpl_lower(r, s, out);
}

LG_TMPL_FN(filter_capitalize)
{
    struct lg_str s;
    LG_TRY(text_of(r, self, &s));
    return lg_tmpl_capitalize(r, s, out);
}

/** Words begin behind white space, hyphens and opening brackets. */
LG_TMPL_FN(filter_title)
{
    struct lg_str s;
    struct lg_value part;
    size_t mark = r->n_out, start = 0;
    LG_TRY(text_of(r, self, &s));
    for (size_t i = 0, n; i <= s.len; i += n) {
        uint32_t c = '-';
        n = i < s.len ? lg_char_at(s.ptr + i, s.len - i, &c) : 1;
        if (!lg_char_is_space(c) && !(c < 128 && c && strchr("-({[<", (int)c)))
            continue;
        LG_TRY(lg_tmpl_capitalize(r, (struct lg_str){s.ptr + start, i - start}, &part));
        LG_TRY(lg_tmpl_write(r, part.s, part.n));
        if (i < s.len)
            LG_TRY(lg_tmpl_write(r, s.ptr + i, n));
        start = i + n;
    }
    return lg_tmpl_take(r, mark, out);
}

LG_TMPL_FN(filter_trim)
{
    struct lg_str s, chars;
    bool given = args->v[0].kind != LG_VALUE_MISSING && args->v[0].kind != LG_VALUE_NONE;
    LG_TRY(text_of(r, self, &s));
    if (given)
        LG_TRY(lg_tmpl_to_str(r, &args->v[0], "what is trimmed", &chars));
    s = lg_str_strip(s, LG_STRIP_LEFT | LG_STRIP_RIGHT, given ? &chars : NULL);
    *out = lg_value_string(s.ptr, s.len);
    return lg_tmpl_charge(r, 0, s.len);
}

LG_TMPL_FN(filter_replace)
{
    struct lg_str s, from, to;
    int64_t count;
    const struct lg_value *limit = &args->v[2];
    LG_TRY(text_of(r, self, &s));
    LG_TRY(text_of(r, &args->v[0], &from));
    LG_TRY(text_of(r, &args->v[1], &to));
    if (limit->kind == LG_VALUE_NONE)
        return lg_tmpl_replace(r, s, from, to, -1, out);
    LG_TRY(lg_tmpl_arg_int(r, limit, "a count", -1, &count));
    return lg_tmpl_replace(r, s, from, to, count, out);
}

LG_TMPL_FN(filter_escape)
{
    static const struct {
        char c;
        const char *text;
    } escapes[] = {{'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'\'', "&#39;"}, {'"', "&#34;"}};
    struct lg_str s;
    size_t mark = r->n_out;
    LG_TRY(text_of(r, self, &s));
    for (size_t i = 0; i < s.len; i++) {
        const char *text = NULL;
        for (size_t k = 0; k < 5; k++)
            text = s.ptr[i] == escapes[k].c ? escapes[k].text : text;
        LG_TRY(lg_tmpl_write(r, text ? text : s.ptr + i, text ? strlen(text) : 1));
    }
    return lg_tmpl_take(r, mark, out);
}

LG_TMPL_FN(filter_indent)
{
    struct lg_str s, indent;
    struct lg_value lines, spaces, line, space = lg_value_string(" ", 1), width = lg_value_int(4);
    struct lg_tmpl_cursor c;
    size_t mark = r->n_out;
    bool blank = lg_tmpl_arg_bool(&args->v[2]);
    LG_TRY(lg_tmpl_to_str(r, self, "what is indented", &s));
    width = *lg_tmpl_given(&args->v[0], &width);
    if (width.kind == LG_VALUE_STRING) {
        indent = lg_tmpl_str(&width);
    } else {
        LG_TRY(lg_tmpl_binary(r, LG_OP_MUL, &space, &width, &spaces));
        indent = lg_tmpl_str(&spaces);
    }
    LG_TRY(lg_tmpl_splitlines(r, s, false, &lines));
    LG_TRY(lg_tmpl_cursor(r, &lines, &c));
    if (lg_tmpl_arg_bool(&args->v[1]))
        LG_TRY(lg_tmpl_write(r, indent.ptr, indent.len));
    for (uint32_t i = 0; lg_tmpl_next(&c, &line); i++) {
        if (i > 0)
            LG_TRY(lg_tmpl_write(r, "\n", 1));
        if (i > 0 && (blank || line.n > 0))
            LG_TRY(lg_tmpl_write(r, indent.ptr, indent.len));
        LG_TRY(lg_tmpl_write(r, line.s, line.n));
    }
    if (s.len > 0 && s.ptr[s.len - 1] == '\n') {
        LG_TRY(lg_tmpl_write(r, "\n", 1));
        LG_TRY(lg_tmpl_write(r, indent.ptr, blank ? indent.len : 0));
    }
    return lg_tmpl_take(r, mark, out);
}

LG_TMPL_FN(filter_truncate)
{
    struct lg_str s, end;
    int64_t length, leeway, n = lg_tmpl_length(self);
    LG_TRY(lg_tmpl_arg_int(r, &args->v[0], "a length", 255, &length));
    LG_TRY(lg_tmpl_arg_str(r, &args->v[2], "an end", "...", &end));
    LG_TRY(lg_tmpl_arg_int(r, &args->v[3], "a leeway", 5, &leeway));
    int64_t n_end = lg_str_chars(end);
    if (length < n_end || length > INT32_MAX || leeway < 0 || leeway > INT32_MAX)
        return lg_tmpl_fail(r, "truncate() has no room for its end");
    if (n >= 0 && n <= length + leeway) { // whatever it is
        *out = *self;
        return 0;
    }
    LG_TRY(lg_tmpl_to_str(r, self, "what is truncated", &s));
    s.len = lg_str_offset(s, (uint32_t)(length - n_end));
    const char *blank = lg_tmpl_arg_bool(&args->v[1]) ? NULL : memrchr(s.ptr, ' ', s.len);
    struct lg_value text = lg_value_string(s.ptr, blank ? (size_t)(blank - s.ptr) : s.len);
    struct lg_value tail = lg_value_string(end.ptr, end.len);
    return lg_tmpl_concat(r, &text, &tail, out);
}

/** Whether a character is part of a word: a letter, a digit or "_", roughly so beyond ASCII. */
static bool is_word(uint32_t c)
{
    static const uint32_t others[][2] = {
        {0x80, 0xa9},       {0xab, 0xb1},           {0xb4, 0xb4},     {0xb6, 0xb8},     {0xbb, 0xbb},
        {0xbf, 0xbf},       {0xd7, 0xd7},           {0xf7, 0xf7},     {0x1680, 0x1680}, {0x2000, 0x206f},
        {0x20a0, 0x20cf},   {0x2190, 0x2bff},       {0x3000, 0x3004}, {0x3008, 0x3020}, {0xff00, 0xff0f},
        {0x1f000, 0x1faff}, {0x110000, UINT32_MAX},
    };
    if (c < 0x80)
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        if (c >= others[i][0] && c <= others[i][1])
            return false;
    return true;
}

LG_TMPL_FN(filter_wordcount)
{
    struct lg_str s;
    int64_t n = 0;
    bool inside = false;
    LG_TRY(text_of(r, self, &s));
    LG_TRY(lg_tmpl_charge(r, 0, s.len));
    for (size_t i = 0, step; i < s.len; i += step) {
        uint32_t c;
        step = lg_char_at(s.ptr + i, s.len - i, &c);
        bool word = is_word(c);
        n += word && !inside;
        inside = word;
    }
    *out = lg_value_int(n);
    return 0;
}

LG_TMPL_FN(filter_center)
{
    struct lg_str s;
    int64_t width;
    LG_TRY(text_of(r, self, &s));
    LG_TRY(lg_tmpl_arg_int(r, &args->v[0], "a width", 80, &width));
    return lg_tmpl_justify(r, s, width, (struct lg_str){" ", 1}, -1, out);
}

LG_TMPL_FN(filter_format)
{
    struct lg_str s;
    LG_TRY(text_of(r, self, &s));
    if (args->n_kw == 0)
        return lg_tmpl_printf(r, s, args, out);
    struct lg_value dict;
    struct lg_tmpl_args by_name = {.v = &dict, .n = 1};
    if (args->n > 0)
        return lg_tmpl_fail(r, "format() takes values by position or by name");
    if (lg_value_dict(&r->arena, &dict) < 0)
        return lg_tmpl_nomem(r);
    for (uint32_t i = 0; i < args->n_kw; i++)
        LG_TRY(lg_tmpl_dict_set(r, dict.dict, &args->kw[2 * i], &args->kw[2 * i + 1]));
    return lg_tmpl_printf(r, s, &by_name, out);
}

const struct lg_tmpl_builtin lg_tmpl_text_filters[] = {
    {"capitalize", filter_capitalize, ""},
    {"center", filter_center, "width"},
    {"e", filter_escape, ""},
    {"escape", filter_escape, ""},
    {"forceescape", filter_escape, ""},
    {"format", filter_format, "*"},
    {"indent", filter_indent, "width first blank"},
    {"lower", filter_lower, ""},
    {"replace", filter_replace, "old! new! count"},
    {"title", filter_title, ""},
    {"trim", filter_trim, "chars"},
    {"truncate", filter_truncate, "length killwords end leeway"},
    {"upper", filter_upper, ""},
    {"wordcount", filter_wordcount, ""},
    {0},
};
