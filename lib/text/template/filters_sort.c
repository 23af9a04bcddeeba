/* SPDX-License-Identifier: MIT
 * Filters that compare items: sort and its kin. */
#include "text/template/internal.h"

static const struct lg_value nothing = {.kind = LG_VALUE_NONE};

/** What sorting and comparing filters look at: a path's value, texts in lower case. */
static int key_of(struct lg_tmpl_run *r, const struct lg_value *item, const struct lg_value *path,
                  const struct lg_value *otherwise, bool case_sensitive, struct lg_value *out)
{
    LG_TRY(lg_tmpl_path(r, item, path, otherwise, out));
    return out->kind == LG_VALUE_STRING && !case_sensitive ? lg_tmpl_lower(r, lg_tmpl_str(out), out) : 0;
}

/** An item and what it is sorted by. */
struct entry {
    struct lg_value key, value;
};

/** Merges two sorted halves; equal ones keep their order, backwards too. */
static int merge(struct lg_tmpl_run *r, const struct entry *a, uint32_t n_a, const struct entry *b,
                 uint32_t n_b, bool reverse, struct entry *out)
{
    while (n_a > 0 && n_b > 0) {
        int order;
        LG_TRY(lg_tmpl_compare(r, &b->key, &a->key, &order));
        bool take_b = order == (reverse ? 1 : -1);
        *out++ = take_b ? *b++ : *a++;
        n_a -= !take_b;
        n_b -= take_b;
    }
    memcpy(out, n_a ? a : b, (n_a + n_b) * sizeof(*out));
    return 0;
}

static int sort_entries(struct lg_tmpl_run *r, struct entry *entries, uint32_t n, bool reverse)
{
    struct entry *other = lg_arena_array(&r->arena, n, sizeof(*other)), *from = entries, *to = other;
    if (!other)
        return lg_tmpl_nomem(r);
    for (uint32_t width = 1; width < n; width *= 2) {
        for (uint32_t i = 0; i < n; i += 2 * width) {
            uint32_t n_a = width < n - i ? width : n - i, n_b = n - i - n_a < width ? n - i - n_a : width;
            LG_TRY(merge(r, from + i, n_a, from + i + n_a, n_b, reverse, to + i));
        }
        struct entry *swap = from;
        from = to;
        to = swap;
    }
    if (from != entries)
        memcpy(entries, from, n * sizeof(*entries));
    return 0;
}

static int add_entry(struct lg_tmpl_run *r, struct entry **entries, uint32_t n, uint32_t *cap)
{
    if (n < *cap)
        return 0;
    uint32_t more = *cap ? 2 * *cap : 8;
    struct entry *grown = lg_arena_array(&r->arena, more, sizeof(*grown));
    if (!grown)
        return lg_tmpl_nomem(r);
    if (n > 0)
        memcpy(grown, *entries, n * sizeof(*grown));
    *entries = grown;
    *cap = more;
    return 0;
}

/** The keys of "a,b" as a tuple. */
static int sort_key(struct lg_tmpl_run *r, const struct lg_value *item, const struct lg_value *paths,
                    bool case_sensitive, struct lg_value *out)
{
    struct lg_tmpl_items keys = {0};
    struct lg_value key, path = *paths;
    struct lg_str rest = {NULL, 0};
    if (paths->kind == LG_VALUE_STRING)
        rest = lg_tmpl_str(paths);
    for (bool more = true; more;) {
        const char *comma = rest.len ? memchr(rest.ptr, ',', rest.len) : NULL;
        size_t n = comma ? (size_t)(comma - rest.ptr) : rest.len;
        if (paths->kind == LG_VALUE_STRING)
            path = lg_value_string(rest.ptr, n);
        LG_TRY(key_of(r, item, &path, &nothing, case_sensitive, &key));
        LG_TRY(lg_tmpl_items_add(r, &keys, &key));
        more = comma != NULL;
        if (more)
            rest = (struct lg_str){comma + 1, rest.len - n - 1};
    }
    *out = lg_value_tuple(keys.items, keys.n);
    return 0;
}

LG_TMPL_FN(filter_sort)
{
    struct lg_tmpl_cursor c;
    struct entry *entries = NULL, entry;
    struct lg_value *items;
    uint32_t n = 0, cap = 0;
    LG_TRY(lg_tmpl_cursor(r, self, &c));
    for (; lg_tmpl_next(&c, &entry.value); n++) {
        LG_TRY(add_entry(r, &entries, n, &cap));
        LG_TRY(sort_key(r, &entry.value, &args->v[2], lg_tmpl_arg_bool(&args->v[1]), &entry.key));
        entries[n] = entry;
    }
    LG_TRY(sort_entries(r, entries, n, lg_tmpl_arg_bool(&args->v[0])));
    LG_TRY(lg_tmpl_array(r, n, &items));
    for (uint32_t i = 0; i < n; i++)
        items[i] = entries[i].value;
    return lg_tmpl_list(r, items, n, n, out);
}

LG_TMPL_FN(filter_dictsort)
{
    struct lg_str by;
    LG_TRY(lg_tmpl_defined(r, self));
    LG_TRY(lg_tmpl_arg_str(r, &args->v[1], "what is sorted by", "key", &by));
    bool by_value = lg_str_eq(by, "value");
    if (self->kind != LG_VALUE_DICT || (!by_value && !lg_str_eq(by, "key")))
        return lg_tmpl_fail(r, "dictsort() sorts a dict, by 'key' or 'value'");
    uint32_t n = self->dict->n;
    struct entry *entries = lg_arena_array(&r->arena, n, sizeof(*entries));
    struct lg_value *items;
    if (!entries)
        return lg_tmpl_nomem(r);
    for (uint32_t i = 0; i < n; i++) {
        const struct lg_value *pair = &self->dict->pairs[2 * i];
        entries[i].value = lg_value_tuple(pair, 2);
        LG_TRY(
            key_of(r, &pair[by_value], &nothing, &nothing, lg_tmpl_arg_bool(&args->v[0]), &entries[i].key));
    }
    LG_TRY(sort_entries(r, entries, n, lg_tmpl_arg_bool(&args->v[2])));
    LG_TRY(lg_tmpl_array(r, n, &items));
    for (uint32_t i = 0; i < n; i++)
        items[i] = entries[i].value;
    return lg_tmpl_list(r, items, n, n, out);
}

/** Groups: tuples of a key and a list, in the order of the keys. */
LG_TMPL_FN(filter_groupby)
{
    struct lg_tmpl_cursor c;
    struct lg_tmpl_items groups = {0};
    struct entry *entries = NULL, entry;
    bool case_sensitive = lg_tmpl_arg_bool(&args->v[2]);
    uint32_t n = 0, cap = 0;
    LG_TRY(lg_tmpl_cursor(r, self, &c));
    for (; lg_tmpl_next(&c, &entry.value); n++) {
        LG_TRY(add_entry(r, &entries, n, &cap));
        LG_TRY(key_of(r, &entry.value, &args->v[0], &args->v[1], case_sensitive, &entry.key));
        entries[n] = entry;
    }
    LG_TRY(sort_entries(r, entries, n, false));
    for (uint32_t i = 0, end; i < n; i = end) {
        struct lg_tmpl_items members = {0};
        struct lg_value *pair, group;
        bool same = true;
        for (end = i; same;) {
            LG_TRY(lg_tmpl_items_add(r, &members, &entries[end].value));
            if (++end == n)
                break;
            LG_TRY(lg_tmpl_equal(r, &entries[end].key, &entries[i].key, &same));
        }
        LG_TRY(lg_tmpl_array(r, 2, &pair));
        LG_TRY(lg_tmpl_path(r, &entries[i].value, &args->v[0], &args->v[1], &pair[0]));
        LG_TRY(lg_tmpl_list(r, members.items, members.n, members.cap, &pair[1]));
        group = lg_value_tuple(pair, 2);
        group.sub = LG_TUPLE_GROUP;
        LG_TRY(lg_tmpl_items_add(r, &groups, &group));
    }
    return lg_tmpl_list(r, groups.items, groups.n, groups.cap, out);
}

/** The first of the largest, or smallest. */
static int find_extreme(struct lg_tmpl_run *r, const struct lg_value *self, const struct lg_tmpl_args *args,
                        int wanted, struct lg_value *out)
{
    struct lg_tmpl_cursor c;
    struct entry best = {.key = {.kind = LG_VALUE_MISSING}}, entry;
    LG_TRY(lg_tmpl_cursor(r, self, &c));
    while (lg_tmpl_next(&c, &entry.value)) {
        int order = wanted;
        LG_TRY(key_of(r, &entry.value, &args->v[1], &nothing, lg_tmpl_arg_bool(&args->v[0]), &entry.key));
        if (best.key.kind != LG_VALUE_MISSING)
            LG_TRY(lg_tmpl_compare(r, &entry.key, &best.key, &order));
        if (order == wanted)
            best = entry;
    }
    *out = best.value;
    return best.key.kind == LG_VALUE_MISSING ? lg_tmpl_undefined(r, out, "there was nothing to choose from")
                                             : 0;
}

LG_TMPL_FN(filter_max)
{
    return find_extreme(r, self, args, 1, out);
}

LG_TMPL_FN(filter_min)
{
    return find_extreme(r, self, args, -1, out);
}

LG_TMPL_FN(filter_unique)
{
    struct lg_tmpl_cursor c;
    struct lg_tmpl_items items = {0};
    struct lg_value seen, item, key, found;
    LG_TRY(lg_tmpl_cursor(r, self, &c));
    if (lg_value_dict(&r->arena, &seen) < 0)
        return lg_tmpl_nomem(r);
    while (lg_tmpl_next(&c, &item)) {
        LG_TRY(key_of(r, &item, &args->v[1], &nothing, lg_tmpl_arg_bool(&args->v[0]), &key));
        int known = lg_tmpl_dict_find(r, seen.dict, &key, &found);
        LG_TRY(known);
        if (known)
            continue;
        LG_TRY(lg_tmpl_dict_set(r, seen.dict, &key, &item));
        LG_TRY(lg_tmpl_items_add(r, &items, &item));
    }
    return lg_tmpl_iterator(r, items.items, items.n, out);
}

const struct lg_tmpl_builtin lg_tmpl_sorting_filters[] = {
    {"dictsort", filter_dictsort, "case_sensitive by reverse"},
    {"groupby", filter_groupby, "attribute! default case_sensitive"},
    {"max", filter_max, "case_sensitive attribute"},
    {"min", filter_min, "case_sensitive attribute"},
    {"sort", filter_sort, "reverse case_sensitive attribute"},
    {"unique", filter_unique, "case_sensitive attribute"},
    {0},
};
