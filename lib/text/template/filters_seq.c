/* SPDX-License-Identifier: MIT
 * Filters of what can be gone through. Those that are lazy in jinja2 are not so here, but can also be gone
 * through once. */
#include "text/template/internal.h"

static const struct lg_value nothing = {.kind = LG_VALUE_NONE};

static bool is_given(const struct lg_value *arg)
{
    return arg->kind != LG_VALUE_MISSING && arg->kind != LG_VALUE_NONE;
}

static int give_iterator(struct lg_tmpl_run *r, const struct lg_tmpl_items *items, struct lg_value *out)
{
    return lg_tmpl_iterator(r, items->items, items->n, out);
}

static int give_list(struct lg_tmpl_run *r, const struct lg_tmpl_items *items, struct lg_value *out)
{
    return lg_tmpl_list(r, items->items, items->n, items->cap, out);
}

/* ---- items by a path -------------------------------------------------------------------------------- */

/** One step of a path: digits are an index. */
static int path_step(struct lg_tmpl_run *r, struct lg_str part, const struct lg_value *otherwise,
                     struct lg_value *v)
{
    struct lg_value key = lg_value_string(part.ptr, part.len);
    int64_t i;
    if (part.len > 0 && part.ptr[0] != '-' && part.ptr[0] != '+' &&
        lg_number_parse_int(part.ptr, part.len, 10, &i))
        key = lg_value_int(i);
    LG_TRY(lg_tmpl_item(r, v, &key, v));
    if (is_given(otherwise) && v->kind == LG_VALUE_UNDEFINED)
        *v = *otherwise;
    return 0;
}

int lg_tmpl_path(struct lg_tmpl_run *r, const struct lg_value *item, const struct lg_value *path,
                 const struct lg_value *otherwise, struct lg_value *out)
{
    *out = *item;
    if (!is_given(path))
        return 0;
    if (path->kind != LG_VALUE_STRING) {
        LG_TRY(lg_tmpl_item(r, out, path, out));
        if (is_given(otherwise) && out->kind == LG_VALUE_UNDEFINED)
            *out = *otherwise;
        return 0;
    }
    struct lg_str rest = lg_tmpl_str(path);
    for (;;) {
        const char *dot = memchr(rest.ptr, '.', rest.len);
        size_t n = dot ? (size_t)(dot - rest.ptr) : rest.len;
        LG_TRY(lg_tmpl_charge(r, 1, n));
        LG_TRY(path_step(r, (struct lg_str){rest.ptr, n}, otherwise, out));
        if (!dot)
            return 0;
        rest = (struct lg_str){dot + 1, rest.len - n - 1};
    }
}

/* ---- choosing --------------------------------------------------------------------------------------- */

LG_TMPL_FN(filter_first)
{
    struct lg_tmpl_cursor c;
    LG_TRY(lg_tmpl_cursor(r, self, &c));
    return lg_tmpl_next(&c, out) ? 0 : lg_tmpl_undefined(r, out, "there was no first item");
}

/** The items from the last to the first; what can only be gone through once has no last one. */
static int reversed(struct lg_tmpl_run *r, const struct lg_value *self, struct lg_tmpl_items *items)
{
    LG_TRY(lg_tmpl_items(r, self, &items->items, &items->n));
    for (uint32_t i = 0; i < items->n / 2; i++) {
        struct lg_value swap = items->items[i];
        items->items[i] = items->items[items->n - 1 - i];
        items->items[items->n - 1 - i] = swap;
    }
    return 0;
}

LG_TMPL_FN(filter_last)
{
    struct lg_value minus = lg_value_int(-1);
    if (self->kind == LG_VALUE_STRING || self->kind == LG_VALUE_LIST || self->kind == LG_VALUE_TUPLE)
        return lg_tmpl_item(r, self, &minus, out);
    struct lg_tmpl_items items = {0};
    if (self->kind == LG_VALUE_ITERATOR)
        return lg_tmpl_fail(r, "an iterator has no last item; a list of it has");
    LG_TRY(reversed(r, self, &items));
    if (items.n == 0)
        return lg_tmpl_undefined(r, out, "there was no last item");
    *out = items.items[0];
    return 0;
}

LG_TMPL_FN(filter_reverse)
{
    struct lg_tmpl_items items = {0};
    struct lg_value part[3] = {nothing, nothing, lg_value_int(-1)};
    if (self->kind == LG_VALUE_STRING)
        return lg_tmpl_slice(r, self, part, out);
    LG_TRY(reversed(r, self, &items));
    items.cap = items.n;
    return self->kind == LG_VALUE_ITERATOR ? give_list(r, &items, out) : give_iterator(r, &items, out);
}

LG_TMPL_FN(filter_list)
{
    struct lg_tmpl_items items = {0};
    LG_TRY(lg_tmpl_items(r, self, &items.items, &items.n));
    items.cap = items.n;
    return give_list(r, &items, out);
}

LG_TMPL_FN(filter_items)
{
    struct lg_tmpl_items items = {0};
    struct lg_value view = *self;
    if (self->kind != LG_VALUE_UNDEFINED) {
        if (self->kind != LG_VALUE_DICT)
            return lg_tmpl_fail(r, "items() takes a dict, not %s", lg_tmpl_type_name(self));
        view.kind = LG_VALUE_VIEW;
        view.sub = LG_VIEW_ITEMS;
    }
    LG_TRY(lg_tmpl_items(r, &view, &items.items, &items.n));
    return give_iterator(r, &items, out);
}

/** select and its kin: items whose value, or attribute, passes a test, or is true without one. */
static int choose(struct lg_tmpl_run *r, const struct lg_value *self, const struct lg_tmpl_args *args,
                  bool by_attribute, bool wanted, struct lg_value *out)
{
    struct lg_tmpl_cursor c;
    struct lg_tmpl_items items = {0};
    struct lg_value item, value;
    if (!lg_tmpl_truth(self)) // also what could not be gone through
        return give_iterator(r, &items, out);
    if (args->n < by_attribute)
        return lg_tmpl_fail(r, "the name of an attribute is missing");
    struct lg_tmpl_args rest = {args->v + by_attribute + 1, 0, args->kw, args->n_kw};
    bool has_test = args->n > by_attribute;
    rest.n = has_test ? args->n - by_attribute - 1 : 0;
    LG_TRY(lg_tmpl_cursor(r, self, &c));
    while (lg_tmpl_next(&c, &item)) {
        LG_TRY(lg_tmpl_charge(r, 1, 0));
        LG_TRY(lg_tmpl_path(r, &item, by_attribute ? &args->v[0] : &nothing, &nothing, &value));
        bool passes = lg_tmpl_truth(&value);
        if (has_test)
            LG_TRY(lg_tmpl_apply_test(r, &args->v[by_attribute], &value, &rest, &passes));
        if (passes == wanted)
            LG_TRY(lg_tmpl_items_add(r, &items, &item));
    }
    return give_iterator(r, &items, out);
}

LG_TMPL_FN(filter_select)
{
    return choose(r, self, args, false, true, out);
}

LG_TMPL_FN(filter_reject)
{
    return choose(r, self, args, false, false, out);
}

LG_TMPL_FN(filter_selectattr)
{
    return choose(r, self, args, true, true, out);
}

LG_TMPL_FN(filter_rejectattr)
{
    return choose(r, self, args, true, false, out);
}

/* ---- changing --------------------------------------------------------------------------------------- */

/** The attribute and the default of map(attribute=...). */
static int map_names(struct lg_tmpl_run *r, const struct lg_tmpl_args *args, struct lg_value found[2])
{
    found[0] = found[1] = (struct lg_value){.kind = LG_VALUE_MISSING};
    for (uint32_t i = 0; i < args->n_kw && args->n == 0; i++) {
        struct lg_str name = lg_tmpl_str(&args->kw[2 * i]);
        int which = lg_str_eq(name, "attribute") ? 0 : lg_str_eq(name, "default") ? 1 : -1;
        if (which < 0)
            return lg_tmpl_fail(r, "map() is given an argument that it does not take");
        found[which] = args->kw[2 * i + 1];
    }
    if (args->n == 0 && found[0].kind == LG_VALUE_MISSING)
        return lg_tmpl_fail(r, "map() needs a filter or an attribute");
    return 0;
}

LG_TMPL_FN(filter_map)
{
    struct lg_tmpl_cursor c;
    struct lg_tmpl_items items = {0};
    struct lg_value item, names[2];
    if (!lg_tmpl_truth(self)) // also what could not be gone through
        return give_iterator(r, &items, out);
    LG_TRY(map_names(r, args, names));
    LG_TRY(lg_tmpl_cursor(r, self, &c));
    struct lg_tmpl_args rest = {args->v + 1, args->n - (args->n > 0), args->kw, args->n_kw};
    while (lg_tmpl_next(&c, &item)) {
        LG_TRY(lg_tmpl_charge(r, 1, 0));
        if (args->n > 0)
            LG_TRY(lg_tmpl_apply_filter(r, &args->v[0], &item, &rest, &item));
        else
            LG_TRY(lg_tmpl_path(r, &item, &names[0], &names[1], &item));
        LG_TRY(lg_tmpl_items_add(r, &items, &item));
    }
    return give_iterator(r, &items, out);
}

LG_TMPL_FN(filter_join)
{
    struct lg_tmpl_cursor c;
    struct lg_value item, between = lg_value_string("", 0);
    size_t mark = r->n_out;
    LG_TRY(lg_tmpl_string(r, lg_tmpl_given(&args->v[0], &between), &between));
    LG_TRY(lg_tmpl_cursor(r, self, &c));
    for (uint32_t i = 0; lg_tmpl_next(&c, &item); i++) {
        LG_TRY(lg_tmpl_charge(r, 1, 0));
        if (i > 0)
            LG_TRY(lg_tmpl_write(r, between.s, between.n));
        LG_TRY(lg_tmpl_path(r, &item, &args->v[1], &nothing, &item));
        LG_TRY(lg_tmpl_write_str(r, &item));
    }
    return lg_tmpl_take(r, mark, out);
}

LG_TMPL_FN(filter_sum)
{
    struct lg_tmpl_cursor c;
    struct lg_value item, zero = lg_value_int(0), sum = *lg_tmpl_given(&args->v[1], &zero);
    if (sum.kind == LG_VALUE_STRING)
        return lg_tmpl_fail(r, "sum() does not join strings");
    LG_TRY(lg_tmpl_cursor(r, self, &c));
    while (lg_tmpl_next(&c, &item)) {
        LG_TRY(lg_tmpl_charge(r, 1, 0));
        LG_TRY(lg_tmpl_path(r, &item, &args->v[0], &nothing, &item));
        LG_TRY(lg_tmpl_binary(r, LG_OP_ADD, &sum, &item, &sum));
    }
    *out = sum;
    return 0;
}

/** Lists of so many items each, the last one filled up. */
LG_TMPL_FN(filter_batch)
{
    struct lg_tmpl_cursor c;
    struct lg_tmpl_items batches = {0}, batch = {0};
    struct lg_value item, list;
    int64_t size;
    LG_TRY(lg_tmpl_to_int(r, &args->v[0], "the size of a batch", &size));
    LG_TRY(lg_tmpl_cursor(r, self, &c));
    for (bool more = true; more;) {
        more = lg_tmpl_next(&c, &item);
        if (!more && batch.n == 0)
            break;
        for (; !more && is_given(&args->v[1]) && batch.n < size;)
            LG_TRY(lg_tmpl_items_add(r, &batch, &args->v[1]));
        if (!more || batch.n == size) {
            LG_TRY(give_list(r, &batch, &list));
            LG_TRY(lg_tmpl_items_add(r, &batches, &list));
            batch = (struct lg_tmpl_items){0};
        }
        if (more)
            LG_TRY(lg_tmpl_items_add(r, &batch, &item));
    }
    return give_iterator(r, &batches, out);
}

/** So many lists, the first ones with what does not divide. */
LG_TMPL_FN(filter_slice)
{
    struct lg_tmpl_items slices = {0};
    struct lg_value *items;
    int64_t count;
    uint32_t n, at = 0;
    LG_TRY(lg_tmpl_to_int(r, &args->v[0], "a number of slices", &count));
    LG_TRY(lg_tmpl_items(r, self, &items, &n));
    if (count == 0)
        return lg_tmpl_fail(r, "division by zero");
    for (int64_t i = 0; i < count; i++) {
        struct lg_tmpl_items slice = {0};
        struct lg_value list;
        bool extra = i < n % count;
        for (int64_t k = n / count + extra; k > 0; k--)
            LG_TRY(lg_tmpl_items_add(r, &slice, &items[at++]));
        if (is_given(&args->v[1]) && !extra)
            LG_TRY(lg_tmpl_items_add(r, &slice, &args->v[1]));
        LG_TRY(give_list(r, &slice, &list));
        LG_TRY(lg_tmpl_items_add(r, &slices, &list));
    }
    return give_iterator(r, &slices, out);
}

const struct lg_tmpl_builtin lg_tmpl_sequence_filters[] = {
    {"batch", filter_batch, "linecount! fill_with"},
    {"first", filter_first, ""},
    {"items", filter_items, ""},
    {"join", filter_join, "d attribute"},
    {"last", filter_last, ""},
    {"list", filter_list, ""},
    {"map", filter_map, "*"},
    {"reject", filter_reject, "*"},
    {"rejectattr", filter_rejectattr, "*"},
    {"reverse", filter_reverse, ""},
    {"select", filter_select, "*"},
    {"selectattr", filter_selectattr, "*"},
    {"slice", filter_slice, "slices! fill_with"},
    {"sum", filter_sum, "attribute start"},
    {0},
};
