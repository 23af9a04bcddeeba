/* SPDX-License-Identifier: MIT
 * "{} and {:>5}".format(...). A format inside a format is not supported. */
#include "text/template/format.h"

/** The values that fields without a name take in turn. */
struct fields {
    const struct lg_tmpl_args *args;
    uint32_t next;
};

static bool is_align(char c)
{
    return c == '<' || c == '>' || c == '^' || c == '=';
}

static int read_brace_spec(struct lg_tmpl_run *r, struct lg_str text, struct lg_format_spec *spec)
{
    const char *s = text.ptr, *end = s + text.len;
    uint32_t c;
    size_t first = text.len ? lg_char_at(s, text.len, &c) : 0;
    if (first < text.len && is_align(s[first])) {
        spec->fill = (struct lg_str){s, first};
        spec->align = s[first];
        s += first + 1;
    } else if (text.len && is_align(*s)) {
        spec->align = *s++;
    }
    if (s < end && (*s == '+' || *s == '-' || *s == ' '))
        spec->sign = *s == '-' ? 0 : *s, s++;
    if (s < end && *s == '#')
        spec->alternate = true, s++;
    if (s < end && *s == '0')
        spec->zero = true, s++;
    LG_TRY(lg_format_read_count(r, &s, end, LG_FORMAT_MAX_WIDTH, &spec->width));
    if (s < end && (*s == ',' || *s == '_'))
        spec->group = *s++;
    if (s < end && *s == '.') {
        s++;
        if (s == end || *s < '0' || *s > '9')
            return lg_tmpl_fail(r, "a format has no digits for its precision");
        LG_TRY(lg_format_read_count(r, &s, end, LG_FORMAT_MAX_PRECISION, &spec->precision));
    }
    if (s < end)
        spec->type = *s++;
    return s == end ? 0 : lg_tmpl_fail(r, "a format that is not understood");
}

static int write_formatted(struct lg_tmpl_run *r, struct lg_str text, const struct lg_value *v)
{
    struct lg_format_spec spec = LG_FORMAT_PLAIN;
    if (text.len == 0)
        return lg_tmpl_write_str(r, v);
    LG_TRY(lg_tmpl_defined(r, v));
    LG_TRY(read_brace_spec(r, text, &spec));
    if (v->kind == LG_VALUE_STRING && (spec.type == 's' || !spec.type) && spec.align != '=' && !spec.sign)
        return lg_format_text(r, &spec, lg_tmpl_str(v));
    if (v->kind == LG_VALUE_FLOAT && (!spec.type || lg_format_is_float(spec.type)))
        return lg_format_float(r, &spec, v->f);
    if (lg_tmpl_is_int(v) && lg_format_is_float(spec.type))
        return lg_format_float(r, &spec, (double)v->i);
    bool whole = !spec.type || strchr("dxXob", spec.type);
    if (lg_tmpl_is_int(v) && whole && spec.precision < 0)
        return lg_format_int(r, &spec, v->i);
    return lg_tmpl_fail(r, "a format that does not suit a value of type %s", lg_tmpl_type_name(v));
}

/** The argument that the first part of a field's name means. */
static int field_argument(struct lg_tmpl_run *r, struct fields *a, struct lg_str name, struct lg_value *out)
{
    int64_t i = a->next;
    char quote[LG_TMPL_QUOTE];
    if (name.len == 0) {
        a->next++;
    } else if (!lg_number_parse_int(name.ptr, name.len, 10, &i)) {
        for (uint32_t k = 0; k < a->args->n_kw; k++) {
            const struct lg_value *key = &a->args->kw[2 * k];
            if (key->n == name.len && memcmp(key->s, name.ptr, name.len) == 0) {
                *out = key[1];
                return 0;
            }
        }
        i = -1;
    }
    if (i < 0 || i >= a->args->n)
        return lg_tmpl_fail(r, "a format asks for '%s', which is not there", lg_tmpl_quote(name, quote));
    *out = a->args->v[i];
    return 0;
}

/** "name.attr[key]". */
static int field_value(struct lg_tmpl_run *r, struct fields *a, struct lg_str field, struct lg_value *out)
{
    size_t n = 0;
    while (n < field.len && field.ptr[n] != '.' && field.ptr[n] != '[')
        n++;
    LG_TRY(field_argument(r, a, (struct lg_str){field.ptr, n}, out));
    while (n < field.len) {
        bool item = field.ptr[n] == '[';
        size_t start = ++n, end;
        while (n < field.len && (item ? field.ptr[n] != ']' : field.ptr[n] != '.' && field.ptr[n] != '['))
            n++;
        end = n;
        if (item && n++ == field.len)
            return lg_tmpl_fail(r, "a format has a bracket without its end");
        struct lg_value key = lg_value_string(field.ptr + start, end - start);
        int64_t index;
        if (item && lg_number_parse_int(key.s, key.n, 10, &index))
            key = lg_value_int(index);
        LG_TRY(item ? lg_tmpl_item(r, out, &key, out) : lg_tmpl_attr(r, out, &key, out));
    }
    return 0;
}

/** The field between braces: "name!r:spec". */
static int write_field(struct lg_tmpl_run *r, struct fields *a, struct lg_str field)
{
    const char *colon = memchr(field.ptr, ':', field.len);
    struct lg_str name = {field.ptr, colon ? (size_t)(colon - field.ptr) : field.len};
    struct lg_str spec = {field.ptr + name.len + 1, colon ? field.len - name.len - 1 : 0};
    struct lg_value v;
    size_t mark = r->n_out;
    char conversion = name.len >= 2 && name.ptr[name.len - 2] == '!' ? name.ptr[name.len - 1] : 0;
    if (memchr(field.ptr, '{', field.len) || (conversion && conversion != 'r' && conversion != 's'))
        return lg_tmpl_fail(r, "a format that is not understood");
    name.len -= conversion ? 2 : 0;
    LG_TRY(field_value(r, a, name, &v));
    if (conversion) {
        LG_TRY(conversion == 'r' ? lg_tmpl_write_repr(r, &v) : lg_tmpl_write_str(r, &v));
        LG_TRY(lg_tmpl_take(r, mark, &v));
    }
    return write_formatted(r, spec, &v);
}

int lg_tmpl_str_format(struct lg_tmpl_run *r, struct lg_str format, const struct lg_tmpl_args *args,
                       struct lg_value *out)
{
    size_t mark = r->n_out;
    struct fields a = {.args = args};
    for (size_t i = 0; i < format.len; i++) {
        char c = format.ptr[i];
        if (c != '{' && c != '}') {
            LG_TRY(lg_tmpl_write(r, &c, 1));
        } else if (i + 1 < format.len && format.ptr[i + 1] == c) {
            LG_TRY(lg_tmpl_write(r, &c, 1));
            i++;
        } else {
            const char *close = c == '{' ? memchr(format.ptr + i, '}', format.len - i) : NULL;
            if (!close)
                return lg_tmpl_fail(r, "a format has a single '%c'", c);
            LG_TRY(write_field(r, &a,
                               (struct lg_str){format.ptr + i + 1, (size_t)(close - format.ptr) - i - 1}));
            i = (size_t)(close - format.ptr);
        }
    }
    return lg_tmpl_take(r, mark, out);
}
