/* SPDX-License-Identifier: MIT
 *
 * Methods of dictionaries, lists and tuples, and which methods a value has. Those that would change it have
 * no function; only a list that the template itself has made can be appended to.
 */
#include "text/template/internal.h"

LG_TMPL_FN(dict_get)
{
    int found = lg_tmpl_dict_find(r, self->dict, &args->v[0], out);
    if (found == 0)
        *out = args->v[1].kind == LG_VALUE_MISSING ? lg_value_none() : args->v[1];
    return found < 0 ? found : 0;
}

static int view(const struct lg_value *self, enum lg_tmpl_view which, struct lg_value *out)
{
    *out = (struct lg_value){.kind = LG_VALUE_VIEW, .sub = (uint8_t)which, .dict = self->dict};
    return 0;
}

LG_TMPL_FN(dict_keys)
{
    return view(self, LG_VIEW_KEYS, out);
}

LG_TMPL_FN(dict_values)
{
    return view(self, LG_VIEW_VALUES, out);
}

LG_TMPL_FN(dict_items)
{
    return view(self, LG_VIEW_ITEMS, out);
}

/** Nothing changes a dictionary, so a copy is itself. */
LG_TMPL_FN(dict_copy)
{
    *out = *self;
    return 0;
}

static const struct lg_tmpl_builtin dict_methods[] = {
    {"clear", NULL, ""},         {"copy", dict_copy, ""},
    {"fromkeys", NULL, ""},      {"get", dict_get, "key! default"},
    {"items", dict_items, ""},   {"keys", dict_keys, ""},
    {"pop", NULL, ""},           {"popitem", NULL, ""},
    {"setdefault", NULL, ""},    {"update", NULL, ""},
    {"values", dict_values, ""}, {0},
};

LG_TMPL_FN(list_index)
{
    struct lg_tmpl_cursor c;
    struct lg_value item;
    int64_t start, stop, n = lg_tmpl_length(self);
    LG_TRY(lg_tmpl_arg_int(r, &args->v[1], "a start", 0, &start));
    LG_TRY(lg_tmpl_arg_int(r, &args->v[2], "an end", n, &stop));
    start = start < 0 ? start + n : start;
    stop = stop < 0 ? stop + n : stop;
    LG_TRY(lg_tmpl_cursor(r, self, &c));
    for (int64_t i = 0; lg_tmpl_next(&c, &item); i++) {
        bool same;
        LG_TRY(lg_tmpl_equal(r, &item, &args->v[0], &same));
        if (same && i >= start && i < stop) {
            *out = lg_value_int(i);
            return 0;
        }
    }
    return lg_tmpl_fail(r, "the item is not in the %s", lg_tmpl_type_name(self));
}

LG_TMPL_FN(list_count)
{
    struct lg_tmpl_cursor c;
    struct lg_value item;
    int64_t n = 0;
    LG_TRY(lg_tmpl_cursor(r, self, &c));
    while (lg_tmpl_next(&c, &item)) {
        bool same;
        LG_TRY(lg_tmpl_equal(r, &item, &args->v[0], &same));
        n += same;
    }
    *out = lg_value_int(n);
    return 0;
}

LG_TMPL_FN(list_append)
{
    struct lg_list *list = self->list;
    if (list->frozen)
        return lg_tmpl_fail(r, "append() would change a value that was given to the template");
    struct lg_tmpl_items items = {list->items, list->n, list->cap};
    if (list->n > list->cap)
        items.cap = list->n; // shared items are copied when they grow
    LG_TRY(lg_tmpl_items_add(r, &items, &args->v[0]));
    *list = (struct lg_list){items.items, items.n, items.cap, false};
    *out = lg_value_none();
    return 0;
}

LG_TMPL_FN(list_copy)
{
    return lg_tmpl_list(r, self->list->items, self->list->n, 0, out);
}

static const struct lg_tmpl_builtin list_methods[] = {
    {"append", list_append, "object!"},
    {"copy", list_copy, ""},
    {"count", list_count, "value!"},
    {"index", list_index, "value! start stop"},
    {0},
};

static const struct lg_tmpl_builtin tuple_methods[] = {
    {"count", list_count, "value!"},
    {"index", list_index, "value! start stop"},
    {0},
};

const struct lg_tmpl_builtin *lg_tmpl_find_method(const struct lg_value *v, struct lg_str name)
{
    static const struct lg_tmpl_builtin *const tables[] = {
        [LG_VALUE_STRING] = lg_tmpl_string_methods,
        [LG_VALUE_LIST] = list_methods,
        [LG_VALUE_DICT] = dict_methods,
        [LG_VALUE_TUPLE] = tuple_methods,
        [LG_VALUE_RANGE] = tuple_methods,
        [LG_VALUE_LOOP] = lg_tmpl_loop_methods,
        [LG_VALUE_MISSING] = NULL,
    };
    const struct lg_tmpl_builtin *found = tables[v->kind] ? lg_tmpl_find(tables[v->kind], name) : NULL;
    return found || v->kind != LG_VALUE_STRING ? found : lg_tmpl_find(lg_tmpl_cutting_methods, name);
}
