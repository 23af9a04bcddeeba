/* SPDX-License-Identifier: MIT
 * Methods of strings. */
#include "text/template/internal.h"

static bool is_given(const struct lg_value *arg)
{
    return arg->kind != LG_VALUE_MISSING && arg->kind != LG_VALUE_NONE;
}

static int give(struct lg_str s, struct lg_value *out)
{
    *out = lg_value_string(s.ptr, s.len);
    return 0;
}

/* ---- ends ------------------------------------------------------------------------------------------- */

static int strip(struct lg_tmpl_run *r, const struct lg_value *self, const struct lg_tmpl_args *args,
                 int sides, struct lg_value *out)
{
    struct lg_str chars;
    bool given = is_given(&args->v[0]);
    if (given)
        LG_TRY(lg_tmpl_to_str(r, &args->v[0], "what is stripped", &chars));
    LG_TRY(lg_tmpl_charge(r, 0, self->n));
    return give(lg_str_strip(lg_tmpl_str(self), sides, given ? &chars : NULL), out);
}

LG_TMPL_FN(str_strip)
{
    return strip(r, self, args, LG_STRIP_LEFT | LG_STRIP_RIGHT, out);
}

LG_TMPL_FN(str_lstrip)
{
    return strip(r, self, args, LG_STRIP_LEFT, out);
}

LG_TMPL_FN(str_rstrip)
{
    return strip(r, self, args, LG_STRIP_RIGHT, out);
}

static bool begins(struct lg_str s, struct lg_str with)
{
    return with.len <= s.len && memcmp(s.ptr, with.ptr, with.len) == 0;
}

static bool ends(struct lg_str s, struct lg_str with)
{
    return with.len <= s.len && memcmp(s.ptr + s.len - with.len, with.ptr, with.len) == 0;
}

LG_TMPL_FN(str_removeprefix)
{
    struct lg_str s = lg_tmpl_str(self), part;
    LG_TRY(lg_tmpl_to_str(r, &args->v[0], "a prefix", &part));
    return give(begins(s, part) ? (struct lg_str){s.ptr + part.len, s.len - part.len} : s, out);
}

LG_TMPL_FN(str_removesuffix)
{
    struct lg_str s = lg_tmpl_str(self), part;
    LG_TRY(lg_tmpl_to_str(r, &args->v[0], "a suffix", &part));
    return give(ends(s, part) ? (struct lg_str){s.ptr, s.len - part.len} : s, out);
}

/** The part of a string between two of its characters; false when it begins behind the end. */
static int window(struct lg_tmpl_run *r, const struct lg_value *self, const struct lg_value *bounds,
                  struct lg_str *out, int64_t *start, bool *inside)
{
    struct lg_str s = lg_tmpl_str(self);
    int64_t len = lg_str_chars(s), end[2] = {0, len};
    LG_TRY(lg_tmpl_charge(r, 0, s.len));
    for (int i = 0; i < 2; i++) {
        if (!is_given(&bounds[i]))
            continue;
        LG_TRY(lg_tmpl_to_int(r, &bounds[i], "a position", &end[i]));
        if (end[i] < 0)
            end[i] = end[i] < -len ? 0 : end[i] + len;
    }
    *start = end[0];
    *inside = end[0] <= len && end[0] <= end[1];
    if (!*inside)
        return 0;
    size_t from = lg_str_offset(s, (uint32_t)end[0]);
    size_t to = end[1] >= len ? s.len : lg_str_offset(s, (uint32_t)end[1]);
    *out = (struct lg_str){s.ptr + from, to - from};
    return 0;
}

/** startswith and endswith: one text, or a tuple of which one fits. */
static int has_end(struct lg_tmpl_run *r, const struct lg_value *self, const struct lg_tmpl_args *args,
                   bool (*fits)(struct lg_str s, struct lg_str with), struct lg_value *out)
{
    struct lg_str s, part;
    int64_t start;
    bool inside, yes = false;
    const struct lg_value *parts = &args->v[0];
    uint32_t n = 1;
    if (parts->kind == LG_VALUE_TUPLE) {
        n = parts->n;
        parts = parts->items;
    }
    LG_TRY(window(r, self, &args->v[1], &s, &start, &inside));
    for (uint32_t i = 0; i < n && !yes; i++) {
        LG_TRY(lg_tmpl_to_str(r, &parts[i], "what is looked for", &part));
        yes = inside && fits(s, part);
    }
    *out = lg_value_bool(yes);
    return 0;
}

LG_TMPL_FN(str_startswith)
{
    return has_end(r, self, args, begins, out);
}

LG_TMPL_FN(str_endswith)
{
    return has_end(r, self, args, ends, out);
}

/* ---- finding ---------------------------------------------------------------------------------------- */

enum find_flags { FROM_BEHIND = 1, MUST_BE = 2 };

static int find(struct lg_tmpl_run *r, const struct lg_value *self, const struct lg_tmpl_args *args,
                int flags, struct lg_value *out)
{
    struct lg_str s, part;
    int64_t start;
    bool inside;
    size_t at = SIZE_MAX;
    LG_TRY(lg_tmpl_to_str(r, &args->v[0], "what is looked for", &part));
    LG_TRY(window(r, self, &args->v[1], &s, &start, &inside));
    if (inside && flags & FROM_BEHIND)
        LG_TRY(lg_tmpl_rfind(r, s, part, &at));
    else if (inside)
        at = lg_str_find(s, part, 0);
    if (at == SIZE_MAX && flags & MUST_BE)
        return lg_tmpl_fail(r, "the text is not there");
    *out = lg_value_int(at == SIZE_MAX ? -1 : start + lg_str_chars((struct lg_str){s.ptr, at}));
    return 0;
}

LG_TMPL_FN(str_find)
{
    return find(r, self, args, 0, out);
}

LG_TMPL_FN(str_rfind)
{
    return find(r, self, args, FROM_BEHIND, out);
}

LG_TMPL_FN(str_index)
{
    return find(r, self, args, MUST_BE, out);
}

LG_TMPL_FN(str_rindex)
{
    return find(r, self, args, FROM_BEHIND | MUST_BE, out);
}

LG_TMPL_FN(str_count)
{
    struct lg_str s, part;
    int64_t start, n = 0;
    bool inside;
    LG_TRY(lg_tmpl_to_str(r, &args->v[0], "what is counted", &part));
    LG_TRY(window(r, self, &args->v[1], &s, &start, &inside));
    if (inside && part.len == 0)
        n = (int64_t)lg_str_chars(s) + 1;
    for (size_t at = 0; inside && part.len > 0 && (at = lg_str_find(s, part, at)) != SIZE_MAX; at += part.len)
        n++;
    *out = lg_value_int(n);
    return 0;
}

LG_TMPL_FN(str_replace)
{
    struct lg_str from, to;
    int64_t count;
    LG_TRY(lg_tmpl_to_str(r, &args->v[0], "what is replaced", &from));
    LG_TRY(lg_tmpl_to_str(r, &args->v[1], "what replaces", &to));
    LG_TRY(lg_tmpl_arg_int(r, &args->v[2], "a count", -1, &count));
    return lg_tmpl_replace(r, lg_tmpl_str(self), from, to, count, out);
}

/* ---- letters ---------------------------------------------------------------------------------------- */

LG_TMPL_FN(str_upper)
{
    return lg_tmpl_upper(r, lg_tmpl_str(self), out);
}

LG_TMPL_FN(str_lower)
{
    return lg_tmpl_lower(r, lg_tmpl_str(self), out);
}

LG_TMPL_FN(str_capitalize)
{
    return lg_tmpl_capitalize(r, lg_tmpl_str(self), out);
}

/** Words are runs of letters that have a case. */
LG_TMPL_FN(str_title)
{
    size_t mark = r->n_out;
    bool inside = false;
    LG_TRY(lg_tmpl_charge(r, self->n / 8, 0));
    for (size_t i = 0, n; i < self->n; i += n) {
        uint32_t c;
        char text[4];
        n = lg_char_at(self->s + i, self->n - i, &c);
        uint32_t upper = lg_char_upper(c), lower = lg_char_lower(c), other = inside ? lower : upper;
        inside = upper != c || lower != c || c == 0xdf;
        LG_TRY(lg_tmpl_write(r, other == c ? self->s + i : text, other == c ? n : lg_char_put(other, text)));
    }
    return lg_tmpl_take(r, mark, out);
}

/** A question about the whole string, answered by one of the tests. */
static int ask(struct lg_tmpl_run *r, const char *test, const struct lg_value *self,
               const struct lg_tmpl_args *args, struct lg_value *out)
{
    return lg_tmpl_find_test((struct lg_str){test, strlen(test)})->fn(r, self, args, out);
}

LG_TMPL_FN(str_islower)
{
    return ask(r, "lower", self, args, out);
}

LG_TMPL_FN(str_isupper)
{
    return ask(r, "upper", self, args, out);
}

LG_TMPL_FN(str_isspace)
{
    LG_TRY(lg_tmpl_charge(r, 0, self->n));
    *out = lg_value_bool(self->n > 0 && lg_str_strip(lg_tmpl_str(self), LG_STRIP_LEFT, NULL).len == 0);
    return 0;
}

LG_TMPL_FN(str_isdigit)
{
    bool all = self->n > 0;
    LG_TRY(lg_tmpl_charge(r, 0, self->n));
    for (uint32_t i = 0; all && i < self->n; i++)
        all = self->s[i] >= '0' && self->s[i] <= '9';
    *out = lg_value_bool(all);
    return 0;
}

/* ---- widths ----------------------------------------------------------------------------------------- */

int lg_tmpl_justify(struct lg_tmpl_run *r, struct lg_str s, int64_t width, struct lg_str fill,
                    int64_t left_share, struct lg_value *out)
{
    size_t mark = r->n_out;
    int64_t pad = width - lg_str_chars(s);
    pad = pad < 0 ? 0 : pad;
    if (pad > (int64_t)r->t->limits.output_bytes)
        return lg_tmpl_fail(r, "it writes more than %zu bytes", r->t->limits.output_bytes);
    int64_t before = left_share < 0 ? pad / 2 + (pad & width & 1) : left_share ? pad : 0;
    LG_TRY(lg_tmpl_charge(r, (uint64_t)pad / 8, 0));
    for (int64_t i = 0; i < before; i++)
        LG_TRY(lg_tmpl_write(r, fill.ptr, fill.len));
    LG_TRY(lg_tmpl_write(r, s.ptr, s.len));
    for (int64_t i = before; i < pad; i++)
        LG_TRY(lg_tmpl_write(r, fill.ptr, fill.len));
    return lg_tmpl_take(r, mark, out);
}

static int justify(struct lg_tmpl_run *r, const struct lg_value *self, const struct lg_tmpl_args *args,
                   int64_t left_share, struct lg_value *out)
{
    struct lg_str fill;
    int64_t width;
    LG_TRY(lg_tmpl_to_int(r, &args->v[0], "a width", &width));
    LG_TRY(lg_tmpl_arg_str(r, &args->v[1], "what fills up", " ", &fill));
    if (lg_str_chars(fill) != 1)
        return lg_tmpl_fail(r, "what fills up must be one character");
    return lg_tmpl_justify(r, lg_tmpl_str(self), width, fill, left_share, out);
}

LG_TMPL_FN(str_ljust)
{
    return justify(r, self, args, 0, out);
}

LG_TMPL_FN(str_rjust)
{
    return justify(r, self, args, 1, out);
}

LG_TMPL_FN(str_center)
{
    return justify(r, self, args, -1, out);
}

LG_TMPL_FN(str_format)
{
    return lg_tmpl_str_format(r, lg_tmpl_str(self), args, out);
}

const struct lg_tmpl_builtin lg_tmpl_string_methods[] = {
    {"capitalize", str_capitalize, ""},
    {"center", str_center, "width! fillchar"},
    {"count", str_count, "sub! start end"},
    {"endswith", str_endswith, "suffix! start end"},
    {"find", str_find, "sub! start end"},
    {"format", str_format, "*"},
    {"index", str_index, "sub! start end"},
    {"isdigit", str_isdigit, ""},
    {"islower", str_islower, ""},
    {"isspace", str_isspace, ""},
    {"isupper", str_isupper, ""},
    {"ljust", str_ljust, "width! fillchar"},
    {"lower", str_lower, ""},
    {"lstrip", str_lstrip, "chars"},
    {"removeprefix", str_removeprefix, "prefix!"},
    {"removesuffix", str_removesuffix, "suffix!"},
    {"replace", str_replace, "old! new! count"},
    {"rfind", str_rfind, "sub! start end"},
    {"rindex", str_rindex, "sub! start end"},
    {"rjust", str_rjust, "width! fillchar"},
    {"rstrip", str_rstrip, "chars"},
    {"startswith", str_startswith, "prefix! start end"},
    {"strip", str_strip, "chars"},
    {"title", str_title, ""},
    {"upper", str_upper, ""},
    {0},
};
