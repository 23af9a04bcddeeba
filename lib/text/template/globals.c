/* SPDX-License-Identifier: MIT
 * Functions that every template can call. */
#include <stdio.h>

#include "text/template/internal.h"

LG_TMPL_FN(call_range)
{
    int64_t part[3] = {0, 0, 1};
    void *object;
    if (args->n < 1 || args->n > 3 || args->n_kw > 0)
        return lg_tmpl_fail(r, "range() takes one to three integers");
    for (uint32_t i = 0; i < args->n; i++)
        LG_TRY(lg_tmpl_to_int(r, &args->v[i], "an end of a range", &part[args->n == 1 ? 1 : i]));
    if (part[2] == 0)
        return lg_tmpl_fail(r, "the step of a range is 0");
    bool back = part[2] < 0, empty = back ? part[0] <= part[1] : part[0] >= part[1];
    uint64_t lo = (uint64_t)part[back], hi = (uint64_t)part[!back]; // the distance may have 64 bits
    uint64_t stride = back ? -(uint64_t)part[2] : (uint64_t)part[2],
             n = empty ? 0 : (hi - lo - 1) / stride + 1;
    if (n > r->t->limits.range)
        return lg_tmpl_fail(r, "a range of more than %u items", r->t->limits.range);
    LG_TRY(lg_tmpl_object(r, sizeof(struct lg_tmpl_range), &object));
    *(struct lg_tmpl_range *)object = (struct lg_tmpl_range){part[0], part[1], part[2], (uint32_t)n};
    *out = (struct lg_value){.kind = LG_VALUE_RANGE, .object = object};
    return 0;
}

/** The pairs of what dict() is given by position: a dict, or pairs. */
static int add_pairs(struct lg_tmpl_run *r, const struct lg_value *from, struct lg_dict *to)
{
    struct lg_tmpl_cursor c;
    struct lg_value item, *pair;
    uint32_t n;
    LG_TRY(lg_tmpl_defined(r, from));
    LG_TRY(lg_tmpl_cursor(r, from, &c));
    for (uint32_t i = 0; lg_tmpl_next(&c, &item); i++) {
        if (from->kind == LG_VALUE_DICT) {
            LG_TRY(lg_tmpl_dict_set(r, to, &item, &from->dict->pairs[2 * i + 1]));
            continue;
        }
        LG_TRY(lg_tmpl_items(r, &item, &pair, &n));
        if (n != 2)
            return lg_tmpl_fail(r, "dict() takes pairs");
        LG_TRY(lg_tmpl_dict_set(r, to, &pair[0], &pair[1]));
    }
    return 0;
}

LG_TMPL_FN(call_dict)
{
    struct lg_value dict;
    if (args->n > 1)
        return lg_tmpl_fail(r, "dict() takes one value and names");
    if (lg_value_dict(&r->arena, &dict) < 0)
        return lg_tmpl_nomem(r);
    if (args->n == 1)
        LG_TRY(add_pairs(r, &args->v[0], dict.dict));
    for (uint32_t i = 0; i < args->n_kw; i++)
        LG_TRY(lg_tmpl_dict_set(r, dict.dict, &args->kw[2 * i], &args->kw[2 * i + 1]));
    *out = dict;
    return 0;
}

LG_TMPL_FN(call_namespace)
{
    LG_TRY(call_dict(r, self, args, out));
    out->kind = LG_VALUE_NAMESPACE;
    return 0;
}

LG_TMPL_FN(call_raise_exception)
{
    struct lg_value text;
    char quote[LG_TMPL_QUOTE];
    LG_TRY(lg_tmpl_string(r, &args->v[0], &text));
    return lg_tmpl_fail(r, "it raised: %s", lg_tmpl_quote(lg_tmpl_str(&text), quote));
}

/* ---- time ------------------------------------------------------------------------------------------- */

struct date {
    int64_t year;
    int month, day, weekday, yearday; // month and day from 1, weekday from Sunday, yearday from 1
    int hour, minute, second;
};

/** The civil date of a day, by eras of 400 years that begin in March. */
static struct date make_date(int64_t now)
{
    int64_t days = now / 86400, rest = now % 86400;
    if (rest < 0) {
        rest += 86400;
        days--;
    }
    int64_t shifted = days + 719468, era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
    int64_t of_era = shifted - era * 146097;
    int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year + year / 4 - year / 100), month = (5 * of_year + 2) / 153;
    struct date d = {
        .year = year + era * 400 + (month >= 10),
        .month = (int)(month < 10 ? month + 3 : month - 9),
        .day = (int)(of_year - (153 * month + 2) / 5 + 1),
        .weekday = (int)(((days + 4) % 7 + 7) % 7),
        .hour = (int)(rest / 3600),
        .minute = (int)(rest / 60 % 60),
        .second = (int)(rest % 60),
    };
    static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    bool leap = d.year % 4 == 0 && (d.year % 100 != 0 || d.year % 400 == 0);
    d.yearday = before[d.month - 1] + d.day + (leap && d.month > 2);
    return d;
}

static const char *const months[] = {"January", "February", "March",     "April",   "May",      "June",
                                     "July",    "August",   "September", "October", "November", "December"};
static const char *const weekdays[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                       "Thursday", "Friday", "Saturday"};

/** One directive of strftime(), in English. 0 when it is not known. */
static int print_date(const struct date *d, int64_t now, char letter, bool plain, char *out, size_t size)
{
    const int hour12 = d->hour % 12 ? d->hour % 12 : 12;
    const struct {
        char letter;
        signed char width; // below 0: of spaces
        int value;
    } numbers[] = {
        {'d', 2, d->day},
        {'e', -2, d->day},
        {'m', 2, d->month},
        {'y', 2, (int)(d->year % 100)},
        {'H', 2, d->hour},
        {'I', 2, hour12},
        {'M', 2, d->minute},
        {'S', 2, d->second},
        {'j', 3, d->yearday},
        {'w', 1, d->weekday},
        {'u', 1, d->weekday ? d->weekday : 7},
    };
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        if (numbers[i].letter == letter)
            return numbers[i].width < 0
                       ? snprintf(out, size, "%*d", plain ? 0 : -numbers[i].width, numbers[i].value)
                       : snprintf(out, size, "%0*d", plain ? 0 : numbers[i].width, numbers[i].value);
    switch (letter) {
    case 'Y': return snprintf(out, size, "%lld", (long long)d->year);
    case 'B': return snprintf(out, size, "%s", months[d->month - 1]);
    case 'b':
    case 'h': return snprintf(out, size, "%.3s", months[d->month - 1]);
    case 'A': return snprintf(out, size, "%s", weekdays[d->weekday]);
    case 'a': return snprintf(out, size, "%.3s", weekdays[d->weekday]);
    case 'p': return snprintf(out, size, "%s", d->hour < 12 ? "AM" : "PM");
    case 's': return snprintf(out, size, "%lld", (long long)now);
    case '%': return snprintf(out, size, "%%");
    default: return 0;
    }
}

/** Directives that stand for others. */
static const char *expand(char letter)
{
    static const struct {
        char letter;
        const char *text;
    } composed[] = {
        {'F', "%Y-%m-%d"},
        {'T', "%H:%M:%S"},
        {'D', "%m/%d/%y"},
        {'R', "%H:%M"},
        {'x', "%m/%d/%y"},
        {'X', "%H:%M:%S"},
        {'c', "%a %b %e %H:%M:%S %Y"},
    };
    for (size_t i = 0; i < sizeof(composed) / sizeof(composed[0]); i++)
        if (composed[i].letter == letter)
            return composed[i].text;
    return NULL;
}

static int write_time(struct lg_tmpl_run *r, const struct date *d, struct lg_str format)
{
    for (size_t i = 0; i < format.len; i++) {
        char text[64];
        if (format.ptr[i] != '%' || i + 1 == format.len) {
            LG_TRY(lg_tmpl_write(r, format.ptr + i, 1));
            continue;
        }
        bool plain = format.ptr[i + 1] == '-' && i + 2 < format.len; // no zeros before the digits
        i += 1 + plain;
        const char *composed = expand(format.ptr[i]);
        int n = print_date(d, r->now, format.ptr[i], plain, text, sizeof(text));
        if (composed)
            LG_TRY(write_time(r, d, (struct lg_str){composed, strlen(composed)}));
        else if (n > 0)
            LG_TRY(lg_tmpl_write(r, text, (size_t)n));
        else
            return lg_tmpl_fail(r, "strftime_now() does not know %%%c",
                                format.ptr[i] > ' ' ? format.ptr[i] : '?');
    }
    return 0;
}

LG_TMPL_FN(call_strftime_now)
{
    struct lg_str format;
    size_t mark = r->n_out;
    LG_TRY(lg_tmpl_to_str(r, &args->v[0], "a format of time", &format));
    LG_TRY(lg_tmpl_charge(r, format.len, 0));
    const struct date d = make_date(r->now);
    LG_TRY(write_time(r, &d, format));
    return lg_tmpl_take(r, mark, out);
}

/* ---- a helper with a state -------------------------------------------------------------------------- */

/** `self` is a list of the separator alone: nothing the first time, then the separator. */
LG_TMPL_FN(call_joined)
{
    *out = self->list->cap ? self->list->items[0] : lg_value_string("", 0);
    self->list->cap = 1;
    return 0;
}

LG_TMPL_FN(call_joiner)
{
    static const struct lg_tmpl_builtin joined = {"joiner", call_joined, ""};
    const struct lg_value comma = lg_value_string(", ", 2);
    struct lg_value *items, list;
    void *object;
    LG_TRY(lg_tmpl_array(r, 1, &items));
    items[0] = *lg_tmpl_given(&args->v[0], &comma);
    LG_TRY(lg_tmpl_list(r, items, 1, 0, &list));
    LG_TRY(lg_tmpl_object(r, sizeof(struct lg_tmpl_method), &object));
    *(struct lg_tmpl_method *)object = (struct lg_tmpl_method){list, &joined};
    *out = (struct lg_value){.kind = LG_VALUE_METHOD, .object = object};
    return 0;
}

static const struct lg_tmpl_builtin globals[] = {
    {"dict", call_dict, "*"},
    {"joiner", call_joiner, "sep"},
    {"namespace", call_namespace, "*"},
    {"raise_exception", call_raise_exception, "message!"},
    {"range", call_range, "*"},
    {"strftime_now", call_strftime_now, "format!"},
    {0},
};

const struct lg_tmpl_builtin *lg_tmpl_find_global(struct lg_str name)
{
    return lg_tmpl_find(globals, name);
}
