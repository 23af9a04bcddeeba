/* SPDX-License-Identifier: MIT
 * Filters of any value and of numbers, and what they share with the others. */
#include <math.h>

#include "text/template/internal.h"

/* ---- arguments -------------------------------------------------------------------------------------- */

int lg_tmpl_arg_int(struct lg_tmpl_run *r, const struct lg_value *arg, const char *what, int64_t otherwise,
                    int64_t *out)
{
    *out = otherwise;
    return arg->kind == LG_VALUE_MISSING ? 0 : lg_tmpl_to_int(r, arg, what, out);
}

int lg_tmpl_arg_str(struct lg_tmpl_run *r, const struct lg_value *arg, const char *what,
                    const char *otherwise, struct lg_str *out)
{
    *out = (struct lg_str){otherwise, strlen(otherwise)};
    return arg->kind == LG_VALUE_MISSING ? 0 : lg_tmpl_to_str(r, arg, what, out);
}

bool lg_tmpl_arg_bool(const struct lg_value *arg)
{
    return lg_tmpl_truth(arg);
}

/* ---- any value -------------------------------------------------------------------------------------- */

LG_TMPL_FN(filter_default)
{
    static const struct lg_value empty = {.kind = LG_VALUE_STRING, .s = ""};
    bool replace =
        self->kind == LG_VALUE_UNDEFINED || (lg_tmpl_arg_bool(&args->v[1]) && !lg_tmpl_truth(self));
    *out = replace ? *lg_tmpl_given(&args->v[0], &empty) : *self;
    return 0;
}

LG_TMPL_FN(filter_length)
{
    int64_t n = lg_tmpl_length(self);
    if (n < 0)
        return lg_tmpl_fail(r, "a value of type %s has no length", lg_tmpl_type_name(self));
    LG_TRY(lg_tmpl_charge(r, 0, self->kind == LG_VALUE_STRING ? self->n : 0));
    *out = lg_value_int(n);
    return 0;
}

LG_TMPL_FN(filter_string)
{
    return lg_tmpl_string(r, self, out);
}

LG_TMPL_FN(filter_attr)
{
    struct lg_str name;
    LG_TRY(lg_tmpl_to_str(r, &args->v[0], "an attribute's name", &name));
    LG_TRY(lg_tmpl_defined(r, self));
    if (self->kind == LG_VALUE_DICT && !lg_tmpl_find_method(self, name))
        return lg_tmpl_undefined(r, out, "a dict has no such attribute");
    return lg_tmpl_attr(r, self, &args->v[0], out);
}

/** How tojson() was asked to write. */
static int json_form(struct lg_tmpl_run *r, const struct lg_value *a, struct lg_tmpl_json *how)
{
    struct lg_value separators[2], spaces;
    *how = (struct lg_tmpl_json){
        .item_separator = {", ", 2},
        .key_separator = {": ", 2},
        .ascii = lg_tmpl_arg_bool(&a[0]),
        .sorted = lg_tmpl_arg_bool(&a[3]),
    };
    if (a[1].kind == LG_VALUE_STRING) {
        how->indent = lg_tmpl_str(&a[1]);
    } else if (a[1].kind != LG_VALUE_MISSING && a[1].kind != LG_VALUE_NONE) {
        int64_t width;
        struct lg_value space = lg_value_string(" ", 1);
        LG_TRY(lg_tmpl_to_int(r, &a[1], "an indent", &width));
        struct lg_value times = lg_value_int(width);
        LG_TRY(lg_tmpl_binary(r, LG_OP_MUL, &space, &times, &spaces));
        how->indent = lg_tmpl_str(&spaces);
    }
    if (how->indent.ptr)
        how->item_separator.len = 1;
    if (a[2].kind == LG_VALUE_MISSING || a[2].kind == LG_VALUE_NONE)
        return 0;
    struct lg_value *items;
    uint32_t n;
    LG_TRY(lg_tmpl_items(r, &a[2], &items, &n));
    if (n != 2)
        return lg_tmpl_fail(r, "tojson() needs two separators");
    for (int i = 0; i < 2; i++)
        separators[i] = items[i];
    LG_TRY(lg_tmpl_to_str(r, &separators[0], "a separator", &how->item_separator));
    return lg_tmpl_to_str(r, &separators[1], "a separator", &how->key_separator);
}

LG_TMPL_FN(filter_tojson)
{
    struct lg_tmpl_json how;
    size_t mark = r->n_out;
    LG_TRY(json_form(r, args->v, &how));
    LG_TRY(lg_tmpl_write_json(r, self, &how));
    return lg_tmpl_take(r, mark, out);
}

/* ---- numbers ---------------------------------------------------------------------------------------- */

LG_TMPL_FN(filter_abs)
{
    LG_TRY(lg_tmpl_defined(r, self));
    if (!lg_tmpl_is_number(self))
        return lg_tmpl_fail(r, "a value of type %s has no absolute value", lg_tmpl_type_name(self));
    *out = self->kind == LG_VALUE_FLOAT ? lg_value_float(fabs(self->f)) : lg_value_int(self->i);
    return out->kind == LG_VALUE_INT && out->i < 0 ? lg_tmpl_negate(r, out, out) : 0;
}

/** A number's text without blanks around it and single underscores within; false when it is too long. */
static bool clean_number(struct lg_str s, char out[512], size_t *len)
{
    s = lg_str_strip(s, LG_STRIP_LEFT | LG_STRIP_RIGHT, NULL);
    *len = 0;
    if (s.len == 0 || s.len > 500)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        bool between = i > 0 && i + 1 < s.len && s.ptr[i - 1] != '_' && s.ptr[i + 1] != '_';
        if (s.ptr[i] != '_')
            out[(*len)++] = s.ptr[i];
        else if (!between)
            return false;
    }
    return true;
}

/** int(text, base), with the prefix that the base has. */
static bool parse_integer(struct lg_str s, int64_t base, int64_t *out)
{
    static const struct {
        char letter;
        uint8_t base;
    } prefixes[] = {{'x', 16}, {'o', 8}, {'b', 2}};
    char text[512];
    size_t len, sign;
    if (!clean_number(s, text, &len))
        return false;
    sign = text[0] == '-' || text[0] == '+';
    for (size_t i = 0; i < 3; i++) {
        bool has = len > sign + 2 && text[sign] == '0' && (text[sign + 1] | 32) == prefixes[i].letter;
        if (!has || (base != 0 && base != prefixes[i].base))
            continue;
        memmove(text + sign, text + sign + 2, len - sign - 2);
        len -= 2;
        base = prefixes[i].base;
    }
    return lg_number_parse_int(text, len, base == 0 ? 10 : (int)base, out);
}

/** float(text). */
static bool parse_float(struct lg_str s, double *out)
{
    char text[512];
    size_t len;
    if (!clean_number(s, text, &len))
        return false;
    for (size_t i = 0; i < len; i++)
        text[i] = text[i] >= 'A' && text[i] <= 'Z' ? (char)(text[i] + 32) : text[i];
    struct lg_str word = {text, len};
    bool negative = text[0] == '-';
    if (negative || text[0] == '+') {
        word.ptr++;
        word.len--;
    }
    if (lg_str_eq(word, "inf") || lg_str_eq(word, "infinity"))
        *out = negative ? -INFINITY : INFINITY;
    else if (lg_str_eq(word, "nan"))
        *out = NAN;
    else
        return lg_number_parse(text, len, out);
    return true;
}

LG_TMPL_FN(filter_int)
{
    static const struct lg_value zero = {.kind = LG_VALUE_INT};
    int64_t base, i;
    double f = 0;
    LG_TRY(lg_tmpl_defined(r, self));
    LG_TRY(lg_tmpl_arg_int(r, &args->v[1], "a base", 10, &base));
    if (base != 0 && (base < 2 || base > 36))
        return lg_tmpl_fail(r, "there is no base %lld", (long long)base);
    *out = *lg_tmpl_given(&args->v[0], &zero);
    if (lg_tmpl_is_int(self)) {
        *out = lg_value_int(self->i);
    } else if (self->kind == LG_VALUE_STRING && parse_integer(lg_tmpl_str(self), base, &i)) {
        *out = lg_value_int(i);
    } else if (self->kind == LG_VALUE_FLOAT ||
               (self->kind == LG_VALUE_STRING && parse_float(lg_tmpl_str(self), &f))) {
        bool is_text = self->kind == LG_VALUE_STRING;
        f = is_text ? f : self->f;
        if (isnan(f) || (isinf(f) && is_text))
            return 0; // the default
        if (!(f >= -0x1p63 && f < 0x1p63))
            return lg_tmpl_fail(r, "a number beyond 64 bits");
        *out = lg_value_int((int64_t)f);
    }
    return 0;
}

LG_TMPL_FN(filter_float)
{
    static const struct lg_value zero = {.kind = LG_VALUE_FLOAT};
    double f;
    LG_TRY(lg_tmpl_defined(r, self));
    *out = *lg_tmpl_given(&args->v[0], &zero);
    if (lg_tmpl_is_number(self))
        *out = lg_value_float(lg_tmpl_double(self));
    else if (self->kind == LG_VALUE_STRING && parse_float(lg_tmpl_str(self), &f))
        *out = lg_value_float(f);
    return 0;
}

/** To the nearest, halves to even: in decimal, as the number is, and not as its neighbours divide. */
static double round_float(double f, int64_t digits)
{
    char text[LG_NUMBER_ROOM];
    double rounded;
    if (!isfinite(f) || digits > 60)
        return f;
    if (digits < 0) {
        double scale = pow(10, (double)-digits);
        return isinf(scale) ? copysign(0, f) : rint(f / scale) * scale;
    }
    size_t len = lg_number_print(f, 'f', (int)digits, false, text);
    return lg_number_parse(text, len, &rounded) ? rounded : f;
}

/** Integers have nothing behind the point; before it the same rule holds. */
static int64_t round_int(int64_t i, int64_t digits)
{
    int64_t scale = 1;
    if (digits >= 0)
        return i;
    for (; digits < 0; digits++)
        if (__builtin_mul_overflow(scale, 10, &scale))
            return 0;
    int64_t rest = i % scale, whole = i - rest, half = scale / 2, size = rest < 0 ? -rest : rest;
    if (size < half || (size == half && whole / scale % 2 == 0))
        return whole;
    return rest < 0 ? whole - scale : whole + scale;
}

LG_TMPL_FN(filter_round)
{
    int64_t digits;
    struct lg_str method;
    LG_TRY(lg_tmpl_defined(r, self));
    LG_TRY(lg_tmpl_arg_int(r, &args->v[0], "a precision", 0, &digits));
    LG_TRY(lg_tmpl_arg_str(r, &args->v[1], "a method", "common", &method));
    if (!lg_tmpl_is_number(self))
        return lg_tmpl_fail(r, "a value of type %s cannot be rounded", lg_tmpl_type_name(self));
    bool up = lg_str_eq(method, "ceil");
    if (up || lg_str_eq(method, "floor")) {
        double scale = pow(10, (double)digits), f = lg_tmpl_double(self) * scale;
        *out = lg_value_float(((up ? ceil(f) : floor(f)) + 0.0) / scale);
        return isfinite(out->f) ? 0 : lg_tmpl_fail(r, "the number cannot be rounded");
    }
    if (!lg_str_eq(method, "common"))
        return lg_tmpl_fail(r, "round() knows the methods common, ceil and floor");
    LG_TRY(lg_tmpl_charge(r, 16, 0));
    *out = self->kind == LG_VALUE_FLOAT ? lg_value_float(round_float(self->f, digits))
                                        : lg_value_int(round_int(self->i, digits));
    return 0;
}

static const struct lg_tmpl_builtin filters[] = {
    {"abs", filter_abs, ""},
    {"attr", filter_attr, "name!"},
    {"count", filter_length, ""},
    {"d", filter_default, "default_value boolean"},
    {"default", filter_default, "default_value boolean"},
    {"float", filter_float, "default"},
    {"int", filter_int, "default base"},
    {"length", filter_length, ""},
    {"round", filter_round, "precision method"},
    {"safe", filter_string, ""}, // nothing is escaped by itself
    {"string", filter_string, ""},
    {"tojson", filter_tojson, "ensure_ascii indent separators sort_keys"},
    {0},
};

const struct lg_tmpl_builtin *lg_tmpl_find_filter(struct lg_str name)
{
    const struct lg_tmpl_builtin *const tables[] = {
        filters,
        lg_tmpl_text_filters,
        lg_tmpl_sequence_filters,
        lg_tmpl_sorting_filters,
    };
    const struct lg_tmpl_builtin *found = NULL;
    for (size_t i = 0; i < 4 && !found; i++)
        found = lg_tmpl_find(tables[i], name);
    return found;
}
