/* SPDX-License-Identifier: MIT
 * Values in their widths, and "%s and %d" % (...), which is also the filter format(). */
#include "text/template/format.h"

/** Digits at *s, beyond a limit a failure. */
int lg_format_read_count(struct lg_tmpl_run *r, const char **s, const char *end, int64_t max, int64_t *out)
{
    *out = 0;
    while (*s < end && **s >= '0' && **s <= '9') {
        *out = *out * 10 + (*(*s)++ - '0');
        if (*out > max)
            return lg_tmpl_fail(r, "a format asks for more than %lld characters", (long long)max);
    }
    return 0;
}

static int write_fill(struct lg_tmpl_run *r, const struct lg_format_spec *spec, int64_t n)
{
    for (; n > 0; n--)
        LG_TRY(lg_tmpl_write(r, spec->fill.ptr, spec->fill.len));
    return 0;
}

/** `head` (a sign, "0x") and `body` in their width. */
static int write_padded(struct lg_tmpl_run *r, const struct lg_format_spec *spec, struct lg_str head,
                        struct lg_str body, char align)
{
    int64_t pad = spec->width - (int64_t)head.len - lg_str_chars(body);
    pad = pad < 0 ? 0 : pad;
    if (spec->align)
        align = spec->align;
    int64_t before = align == '>' ? pad : align == '^' ? pad / 2 : 0, inside = align == '=' ? pad : 0;
    LG_TRY(write_fill(r, spec, before));
    LG_TRY(lg_tmpl_write(r, head.ptr, head.len));
    LG_TRY(write_fill(r, spec, inside));
    LG_TRY(lg_tmpl_write(r, body.ptr, body.len));
    return write_fill(r, spec, pad - before - inside);
}

int lg_format_text(struct lg_tmpl_run *r, const struct lg_format_spec *spec, struct lg_str text)
{
    if (spec->precision >= 0)
        text.len = lg_str_offset(text, (uint32_t)spec->precision);
    return write_padded(r, spec, (struct lg_str){"", 0}, text, '<');
}

/** Puts separators into the digits before the point. */
static size_t group_digits(const char *digits, size_t len, char separator, char *out)
{
    size_t whole = 0, n = 0;
    while (whole < len && digits[whole] >= '0' && digits[whole] <= '9')
        whole++;
    for (size_t i = 0; i < len; i++) {
        if (separator && i > 0 && i < whole && (whole - i) % 3 == 0)
            out[n++] = separator;
        out[n++] = digits[i];
    }
    return n;
}

/** A number's sign and prefix before its digits. */
static int write_digits(struct lg_tmpl_run *r, const struct lg_format_spec *spec, bool negative,
                        const char *prefix, const char *digits, size_t len)
{
    char head[4] = "", body[2 * LG_NUMBER_ROOM];
    size_t n = 0;
    if (negative || spec->sign)
        head[n++] = negative ? '-' : spec->sign;
    for (; *prefix; prefix++)
        head[n++] = *prefix;
    struct lg_str text = {body, group_digits(digits, len, spec->group, body)};
    struct lg_format_spec how = *spec;
    if (how.zero && !how.align) {
        how.align = '=';
        how.fill = (struct lg_str){"0", 1};
    }
    return write_padded(r, &how, (struct lg_str){head, n}, text, '>');
}

int lg_format_int(struct lg_tmpl_run *r, const struct lg_format_spec *spec, int64_t i)
{
    static const struct {
        char type;
        uint8_t base;
        const char *prefix;
    } bases[] = {{'x', 16, "0x"}, {'X', 16, "0X"}, {'o', 8, "0o"}, {'b', 2, "0b"}};
    char digits[2 * LG_NUMBER_ROOM];
    size_t at = sizeof(digits), least = spec->precision > 0 ? (size_t)spec->precision : 1;
    uint64_t left = i < 0 ? -(uint64_t)i : (uint64_t)i;
    uint8_t base = 10;
    const char *prefix = "", *letters = spec->type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
    for (size_t k = 0; k < 4; k++) {
        if (spec->type == bases[k].type) {
            base = bases[k].base;
            prefix = spec->alternate ? bases[k].prefix : "";
        }
    }
    for (; left > 0 || sizeof(digits) - at < least; left /= base)
        digits[--at] = letters[left % base];
    return write_digits(r, spec, i < 0, prefix, digits + at, sizeof(digits) - at);
}

bool lg_format_is_float(char type)
{
    return type && strchr("eEfFgG%", type);
}

int lg_format_float(struct lg_tmpl_run *r, const struct lg_format_spec *spec, double f)
{
    char text[LG_NUMBER_ROOM + 8];
    bool upper = spec->type == 'E' || spec->type == 'F' || spec->type == 'G', percent = spec->type == '%';
    int precision = spec->precision < 0 ? 6 : (int)spec->precision;
    size_t len;
    LG_TRY(lg_tmpl_charge(r, 16, 0));
    if (!spec->type && spec->precision < 0)
        len = lg_number_repr(f, text);
    else
        len = lg_number_print(percent ? f * 100 : f,
                              percent      ? 'f'
                              : spec->type ? (char)(spec->type | 32)
                                           : 'g',
                              precision, spec->alternate, text);
    if (!spec->type && !memchr(text, '.', len) && !memchr(text, 'e', len) && !memchr(text, 'n', len)) {
        memcpy(text + len, ".0", 2);
        len += 2;
    }
    for (size_t i = 0; upper && i < len; i++)
        text[i] = (char)lg_char_upper((uint8_t)text[i]);
    if (percent)
        text[len++] = '%';
    bool negative = text[0] == '-';
    return write_digits(r, spec, negative, "", text + negative, len - negative);
}

/* ---- "%" -------------------------------------------------------------------------------------------- */

struct arguments {
    const struct lg_tmpl_args *args;
    uint32_t next;
    bool by_name; // one of the values was found by its name
};

static int next_argument(struct lg_tmpl_run *r, struct arguments *a, struct lg_value *out)
{
    if (a->next == a->args->n)
        return lg_tmpl_fail(r, "a format asks for more values than there are");
    *out = a->args->v[a->next++];
    return 0;
}

/** "(name)" at *s. */
static int named_argument(struct lg_tmpl_run *r, struct arguments *a, const char **s, const char *end,
                          struct lg_value *out)
{
    const char *close = memchr(*s, ')', (size_t)(end - *s));
    char quote[LG_TMPL_QUOTE];
    if (!close || a->args->n != 1 || a->args->v[0].kind != LG_VALUE_DICT)
        return lg_tmpl_fail(r, "a format asks for names, which only a dict has");
    struct lg_str name = {*s + 1, (size_t)(close - *s) - 1};
    const struct lg_value *found = lg_dict_get(a->args->v[0].dict, name);
    if (!found)
        return lg_tmpl_fail(r, "a format asks for '%s', which is not there", lg_tmpl_quote(name, quote));
    *out = *found;
    *s = close + 1;
    a->by_name = true;
    return 0;
}

/** "*" or digits. */
static int read_star(struct lg_tmpl_run *r, struct arguments *a, const char **s, const char *end, int64_t max,
                     int64_t *out)
{
    struct lg_value v;
    if (*s == end || **s != '*')
        return lg_format_read_count(r, s, end, max, out);
    ++*s;
    LG_TRY(next_argument(r, a, &v));
    LG_TRY(lg_tmpl_to_int(r, &v, "a width", out));
    return *out > max || *out < -max
               ? lg_tmpl_fail(r, "a format asks for more than %lld characters", (long long)max)
               : 0;
}

static int read_percent_spec(struct lg_tmpl_run *r, struct arguments *a, const char **s, const char *end,
                             struct lg_format_spec *spec)
{
    for (; *s < end; ++*s) {
        if (**s == '-')
            spec->align = '<';
        else if (**s == '+' || (**s == ' ' && !spec->sign))
            spec->sign = **s;
        else if (**s == '#')
            spec->alternate = true;
        else if (**s == '0')
            spec->zero = true;
        else if (**s != ' ')
            break;
    }
    LG_TRY(read_star(r, a, s, end, LG_FORMAT_MAX_WIDTH, &spec->width));
    if (spec->width < 0) {
        spec->align = '<';
        spec->width = -spec->width;
    }
    if (*s < end && **s == '.') {
        ++*s;
        LG_TRY(read_star(r, a, s, end, LG_FORMAT_MAX_PRECISION, &spec->precision));
        spec->precision = spec->precision < 0 ? 0 : spec->precision;
    }
    if (*s == end)
        return lg_tmpl_fail(r, "a format ends too early");
    spec->type = *(*s)++;
    return 0;
}

static int write_char(struct lg_tmpl_run *r, const struct lg_format_spec *spec, const struct lg_value *v)
{
    char text[4];
    struct lg_str s = {text, 0};
    if (v->kind == LG_VALUE_STRING && lg_str_chars(lg_tmpl_str(v)) == 1)
        s = lg_tmpl_str(v);
    else if (lg_tmpl_is_int(v) && v->i >= 0 && v->i < 0xd800)
        s.len = lg_char_put((uint32_t)v->i, text);
    else
        return lg_tmpl_fail(r, "%%c needs a character");
    return write_padded(r, spec, (struct lg_str){"", 0}, s, '>');
}

/** The forms of text: str() or repr(), right-aligned where there is room. */
static int write_as_text(struct lg_tmpl_run *r, const struct lg_format_spec *spec, const struct lg_value *v,
                         bool repr)
{
    struct lg_value text;
    size_t mark = r->n_out;
    struct lg_format_spec how = *spec;
    how.align = spec->align ? spec->align : '>';
    LG_TRY(repr ? lg_tmpl_write_repr(r, v) : lg_tmpl_write_str(r, v));
    LG_TRY(lg_tmpl_take(r, mark, &text));
    return lg_format_text(r, &how, lg_tmpl_str(&text));
}

static int write_percent(struct lg_tmpl_run *r, const struct lg_format_spec *spec, const struct lg_value *v)
{
    LG_TRY(spec->type == 's' ? 0 : lg_tmpl_defined(r, v));
    if (spec->type == 's' || spec->type == 'r')
        return write_as_text(r, spec, v, spec->type == 'r');
    if (spec->type == 'c')
        return write_char(r, spec, v);
    bool decimal = spec->type == 'd' || spec->type == 'i' || spec->type == 'u';
    if (lg_format_is_float(spec->type) && spec->type != '%' && lg_tmpl_is_number(v))
        return lg_format_float(r, spec, lg_tmpl_double(v));
    if (decimal && v->kind == LG_VALUE_FLOAT && v->f > -0x1p63 && v->f < 0x1p63)
        return lg_format_int(r, spec, (int64_t)v->f);
    if ((decimal || spec->type == 'x' || spec->type == 'X' || spec->type == 'o') && lg_tmpl_is_int(v))
        return lg_format_int(r, spec, v->i);
    return lg_tmpl_fail(r, "a format cannot write %s as '%c'", lg_tmpl_type_name(v),
                        spec->type > ' ' && spec->type < 127 ? spec->type : '?');
}

int lg_tmpl_printf(struct lg_tmpl_run *r, struct lg_str format, const struct lg_tmpl_args *args,
                   struct lg_value *out)
{
    size_t mark = r->n_out;
    struct arguments a = {.args = args};
    const char *s = format.ptr, *end = s + format.len;
    while (s < end) {
        const char *percent = memchr(s, '%', (size_t)(end - s));
        LG_TRY(lg_tmpl_write(r, s, (size_t)((percent ? percent : end) - s)));
        if (!percent)
            break;
        s = percent + 1;
        struct lg_format_spec spec = LG_FORMAT_PLAIN;
        struct lg_value v = {.kind = LG_VALUE_MISSING};
        if (s < end && *s == '(')
            LG_TRY(named_argument(r, &a, &s, end, &v));
        LG_TRY(read_percent_spec(r, &a, &s, end, &spec));
        if (spec.type == '%') {
            LG_TRY(lg_tmpl_write(r, "%", 1));
            continue;
        }
        if (v.kind == LG_VALUE_MISSING)
            LG_TRY(next_argument(r, &a, &v));
        LG_TRY(write_percent(r, &spec, &v));
    }
    // A single value that could be asked for items may stay unused.
    uint8_t kind = args->n == 1 ? args->v[0].kind : LG_VALUE_NONE;
    bool has_items = kind == LG_VALUE_DICT || kind == LG_VALUE_LIST || kind == LG_VALUE_RANGE ||
                     kind == LG_VALUE_UNDEFINED;
    if (a.next < args->n && !a.by_name && !has_items)
        return lg_tmpl_fail(r, "a format does not use all values");
    return lg_tmpl_take(r, mark, out);
}
