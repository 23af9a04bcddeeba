/* SPDX-License-Identifier: MIT
 * Methods that cut strings into pieces and join them. */
#include "text/template/internal.h"

static bool is_given(const struct lg_value *arg)
{
    return arg->kind != LG_VALUE_MISSING && arg->kind != LG_VALUE_NONE;
}

static int add(struct lg_tmpl_run *r, struct lg_tmpl_items *items, const char *s, size_t len)
{
    struct lg_value part = lg_value_string(s, len);
    return lg_tmpl_items_add(r, items, &part);
}

/** Words, from the front: at most `most` cuts. */
static int split_words(struct lg_tmpl_run *r, struct lg_str s, int64_t most, struct lg_tmpl_items *items)
{
    for (;; most--) {
        uint32_t c;
        size_t end = 0;
        s = lg_str_strip(s, LG_STRIP_LEFT, NULL);
        if (s.len == 0)
            return 0;
        for (size_t n; end < s.len; end += n) {
            n = lg_char_at(s.ptr + end, s.len - end, &c);
            if (lg_char_is_space(c))
                break;
        }
        if (most == 0)
            end = s.len; // the rest, with the blanks behind it
        LG_TRY(add(r, items, s.ptr, end));
        if (most == 0)
            return 0;
        s = (struct lg_str){s.ptr + end, s.len - end};
    }
}

/** Words from behind; they come in that order. */
static int rsplit_words(struct lg_tmpl_run *r, struct lg_str s, int64_t most, struct lg_tmpl_items *items)
{
    for (;; most--) {
        uint32_t c;
        s = lg_str_strip(s, LG_STRIP_RIGHT, NULL);
        if (s.len == 0)
            return 0;
        size_t start = s.len;
        while (start > 0) {
            size_t at = start - 1;
            while (at > 0 && start - at < 4 && ((uint8_t)s.ptr[at] & 0xc0) == 0x80)
                at--;
            lg_char_at(s.ptr + at, start - at, &c);
            if (lg_char_is_space(c))
                break;
            start = at;
        }
        if (most == 0)
            return add(r, items, s.ptr, s.len);
        LG_TRY(add(r, items, s.ptr + start, s.len - start));
        s.len = start;
    }
}

static int split_at(struct lg_tmpl_run *r, struct lg_str s, struct lg_str sep, int64_t most,
                    struct lg_tmpl_items *items)
{
    size_t at = 0, next;
    for (; most != 0 && (next = lg_str_find(s, sep, at)) != SIZE_MAX; at = next + sep.len, most--)
        LG_TRY(add(r, items, s.ptr + at, next - at));
    return add(r, items, s.ptr + at, s.len - at);
}

static int rsplit_at(struct lg_tmpl_run *r, struct lg_str s, struct lg_str sep, int64_t most,
                     struct lg_tmpl_items *items)
{
    size_t next;
    for (; most != 0; most--) {
        LG_TRY(lg_tmpl_rfind(r, s, sep, &next));
        if (next == SIZE_MAX)
            break;
        LG_TRY(add(r, items, s.ptr + next + sep.len, s.len - next - sep.len));
        s.len = next;
    }
    return add(r, items, s.ptr, s.len);
}

static int split(struct lg_tmpl_run *r, const struct lg_value *self, const struct lg_tmpl_args *args,
                 bool behind, struct lg_value *out)
{
    struct lg_tmpl_items items = {0};
    struct lg_str s = lg_tmpl_str(self), sep;
    int64_t most;
    LG_TRY(lg_tmpl_arg_int(r, &args->v[1], "a number of cuts", -1, &most));
    LG_TRY(lg_tmpl_charge(r, 1, s.len));
    behind &= most >= 0; // all the same when all is cut
    if (!is_given(&args->v[0])) {
        LG_TRY(behind ? rsplit_words(r, s, most, &items) : split_words(r, s, most, &items));
    } else {
        LG_TRY(lg_tmpl_to_str(r, &args->v[0], "a separator", &sep));
        if (sep.len == 0)
            return lg_tmpl_fail(r, "a separator is empty");
        LG_TRY(behind ? rsplit_at(r, s, sep, most, &items) : split_at(r, s, sep, most, &items));
    }
    for (uint32_t i = 0; behind && i < items.n / 2; i++) {
        struct lg_value swap = items.items[i];
        items.items[i] = items.items[items.n - 1 - i];
        items.items[items.n - 1 - i] = swap;
    }
    return lg_tmpl_list(r, items.items, items.n, items.cap, out);
}

LG_TMPL_FN(str_split)
{
    return split(r, self, args, false, out);
}

LG_TMPL_FN(str_rsplit)
{
    return split(r, self, args, true, out);
}

LG_TMPL_FN(str_splitlines)
{
    return lg_tmpl_splitlines(r, lg_tmpl_str(self), lg_tmpl_arg_bool(&args->v[0]), out);
}

/** What is before a separator, it, and what is behind; `behind`: the last one. */
static int partition(struct lg_tmpl_run *r, const struct lg_value *self, const struct lg_tmpl_args *args,
                     bool behind, struct lg_value *out)
{
    struct lg_str s = lg_tmpl_str(self), sep;
    struct lg_value *parts;
    size_t at;
    LG_TRY(lg_tmpl_to_str(r, &args->v[0], "a separator", &sep));
    if (sep.len == 0)
        return lg_tmpl_fail(r, "a separator is empty");
    LG_TRY(lg_tmpl_array(r, 3, &parts));
    LG_TRY(lg_tmpl_charge(r, 0, s.len));
    at = lg_str_find(s, sep, 0);
    if (behind)
        LG_TRY(lg_tmpl_rfind(r, s, sep, &at));
    for (int i = 0; i < 3; i++)
        parts[i] = lg_value_string("", 0);
    if (at == SIZE_MAX) {
        parts[behind ? 2 : 0] = *self;
    } else {
        parts[0] = lg_value_string(s.ptr, at);
        parts[1] = lg_value_string(s.ptr + at, sep.len);
        parts[2] = lg_value_string(s.ptr + at + sep.len, s.len - at - sep.len);
    }
    *out = lg_value_tuple(parts, 3);
    return 0;
}

LG_TMPL_FN(str_partition)
{
    return partition(r, self, args, false, out);
}

LG_TMPL_FN(str_rpartition)
{
    return partition(r, self, args, true, out);
}

LG_TMPL_FN(str_join)
{
    struct lg_tmpl_cursor c;
    struct lg_value item;
    struct lg_str text;
    size_t mark = r->n_out;
    LG_TRY(lg_tmpl_defined(r, &args->v[0]));
    LG_TRY(lg_tmpl_cursor(r, &args->v[0], &c));
    for (uint32_t i = 0; lg_tmpl_next(&c, &item); i++) {
        LG_TRY(lg_tmpl_charge(r, 1, 0));
        LG_TRY(lg_tmpl_to_str(r, &item, "what is joined", &text));
        if (i > 0)
            LG_TRY(lg_tmpl_write(r, self->s, self->n));
        LG_TRY(lg_tmpl_write(r, text.ptr, text.len));
    }
    return lg_tmpl_take(r, mark, out);
}

const struct lg_tmpl_builtin lg_tmpl_cutting_methods[] = {
    {"join", str_join, "iterable!"},
    {"partition", str_partition, "sep!"},
    {"rpartition", str_rpartition, "sep!"},
    {"rsplit", str_rsplit, "sep maxsplit"},
    {"split", str_split, "sep maxsplit"},
    {"splitlines", str_splitlines, "keepends"},
    {0},
};
