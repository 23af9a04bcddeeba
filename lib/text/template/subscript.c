/* SPDX-License-Identifier: MIT
 *
 * x.name, x[key] and x[a:b:c]. Attributes are those that Python's values have and that change nothing; there
 * is no way from a value to anything else.
 */
#include "text/template/internal.h"

/** The index of an item, negative ones counted from the end; false when it is outside. */
static bool find_index(int64_t i, int64_t n, uint32_t *out)
{
    if (i < 0)
        i += n;
    *out = (uint32_t)i;
    return i >= 0 && i < n;
}

static int no_member(struct lg_tmpl_run *r, const struct lg_value *v, const struct lg_value *key,
                     struct lg_value *out)
{
    char quote[LG_TMPL_QUOTE];
    if (key->kind == LG_VALUE_STRING)
        return lg_tmpl_undefined(r, out, "a value of type %s has no member '%s'", lg_tmpl_type_name(v),
                                 lg_tmpl_quote(lg_tmpl_str(key), quote));
    if (lg_tmpl_is_int(key))
        return lg_tmpl_undefined(r, out, "a value of type %s has no item %lld", lg_tmpl_type_name(v),
                                 (long long)key->i);
    return lg_tmpl_undefined(r, out, "a value of type %s has no such item", lg_tmpl_type_name(v));
}

/** What Python calls an attribute, apart from what a dict holds. */
static int find_attr(struct lg_tmpl_run *r, const struct lg_value *v, struct lg_str name, bool *found,
                     struct lg_value *out)
{
    *found = false;
    if (v->kind == LG_VALUE_NAMESPACE) {
        const struct lg_value *there = lg_dict_get(v->dict, name);
        *found = there != NULL;
        if (there)
            *out = *there;
        return 0;
    }
    if (v->kind == LG_VALUE_LOOP)
        LG_TRY(lg_tmpl_loop_attr(r, v, name, found, out));
    if (v->kind == LG_VALUE_TUPLE && v->sub == LG_TUPLE_GROUP && v->n == 2) {
        *found = lg_str_eq(name, "grouper") || lg_str_eq(name, "list");
        if (*found)
            *out = v->items[lg_str_eq(name, "list")];
    }
    const struct lg_tmpl_builtin *builtin = *found ? NULL : lg_tmpl_find_method(v, name);
    if (!builtin)
        return 0;
    *found = true;
    if (!builtin->fn)
        return lg_tmpl_undefined(r, out, "%s() would change a value", builtin->name);
    struct lg_tmpl_method *method = lg_arena_alloc(&r->arena, sizeof(*method));
    if (!method)
        return lg_tmpl_nomem(r);
    *method = (struct lg_tmpl_method){*v, builtin};
    *out = (struct lg_value){.kind = LG_VALUE_METHOD, .object = method};
    return 0;
}

int lg_tmpl_attr(struct lg_tmpl_run *r, const struct lg_value *v, const struct lg_value *name,
                 struct lg_value *out)
{
    bool found;
    struct lg_value result;
    LG_TRY(lg_tmpl_defined(r, v));
    LG_TRY(find_attr(r, v, lg_tmpl_str(name), &found, &result));
    if (!found && v->kind == LG_VALUE_DICT) {
        const struct lg_value *there = lg_dict_get(v->dict, lg_tmpl_str(name));
        found = there != NULL;
        if (found)
            result = *there;
    }
    if (!found)
        LG_TRY(no_member(r, v, name, &result));
    *out = result;
    return 0;
}

/** x[i] of what is in an order. */
static int index_item(struct lg_tmpl_run *r, const struct lg_value *v, int64_t key, bool *found,
                      struct lg_value *out)
{
    uint32_t i;
    if (v->kind == LG_VALUE_VIEW || !(*found = find_index(key, lg_tmpl_length(v), &i)))
        return 0;
    if (v->kind == LG_VALUE_STRING) {
        struct lg_str s = lg_tmpl_str(v);
        size_t start = lg_str_offset(s, i);
        uint32_t c;
        *out = lg_value_string(s.ptr + start, lg_char_at(s.ptr + start, s.len - start, &c));
        return lg_tmpl_charge(r, 0, s.len);
    }
    struct lg_tmpl_cursor cursor = {.seq = *v, .at = i};
    lg_tmpl_next(&cursor, out);
    return 0;
}

int lg_tmpl_item(struct lg_tmpl_run *r, const struct lg_value *v, const struct lg_value *key,
                 struct lg_value *out)
{
    bool found = false;
    struct lg_value result;
    LG_TRY(lg_tmpl_defined(r, v));
    if (v->kind == LG_VALUE_DICT && key->kind != LG_VALUE_LIST && key->kind != LG_VALUE_DICT) {
        int there = lg_tmpl_dict_find(r, v->dict, key, &result);
        LG_TRY(there);
        found = there;
    } else if (lg_tmpl_is_int(key) && v->kind != LG_VALUE_DICT && lg_tmpl_length(v) >= 0) {
        LG_TRY(index_item(r, v, key->i, &found, &result));
    }
    if (!found && key->kind == LG_VALUE_STRING)
        LG_TRY(find_attr(r, v, lg_tmpl_str(key), &found, &result));
    if (!found)
        LG_TRY(no_member(r, v, key, &result));
    *out = result;
    return 0;
}

/* ---- slices ----------------------------------------------------------------------------------------- */

/** Items start, start + step, ... before stop: n of them. */
struct slice {
    int64_t start, stop, step, n;
};

/** An end of a slice within [lo, hi]. */
static int slice_end(struct lg_tmpl_run *r, const struct lg_value *part, int64_t len, int64_t lo, int64_t hi,
                     int64_t otherwise, int64_t *out)
{
    *out = otherwise;
    if (part->kind == LG_VALUE_NONE)
        return 0;
    LG_TRY(lg_tmpl_to_int(r, part, "an end of a slice", out));
    if (*out < 0)
        *out = *out < -len ? lo : *out + len;
    *out = *out < lo ? lo : *out > hi ? hi : *out;
    return 0;
}

static int make_slice(struct lg_tmpl_run *r, const struct lg_value part[3], int64_t len, struct slice *out)
{
    int64_t start, stop, step = 1;
    if (part[2].kind != LG_VALUE_NONE)
        LG_TRY(lg_tmpl_to_int(r, &part[2], "the step of a slice", &step));
    if (step == 0)
        return lg_tmpl_fail(r, "the step of a slice is 0");
    bool back = step < 0;
    if (step < -INT32_MAX || step > INT32_MAX) // beyond any length
        step = back ? -INT32_MAX : INT32_MAX;
    LG_TRY(slice_end(r, &part[0], len, back ? -1 : 0, back ? len - 1 : len, back ? len - 1 : 0, &start));
    LG_TRY(slice_end(r, &part[1], len, back ? -1 : 0, back ? len - 1 : len, back ? -1 : len, &stop));
    int64_t span = back ? start - stop : stop - start, stride = back ? -step : step;
    *out = (struct slice){start, stop, step, span > 0 ? (span - 1) / stride + 1 : 0};
    return 0;
}

/** Characters in steps, backwards too: they are met in ascending order and put where they belong. */
static int slice_string(struct lg_tmpl_run *r, struct lg_str s, struct slice slice, struct lg_value *out)
{
    bool back = slice.step < 0;
    int64_t stride = back ? -slice.step : slice.step;
    int64_t first = back ? slice.start - (slice.n - 1) * stride : slice.start;
    size_t at = slice.n > 0 ? lg_str_offset(s, (uint32_t)first) : 0;
    LG_TRY(lg_tmpl_charge(r, 0, s.len));
    if (slice.step == 1 || slice.n == 0) {
        size_t end =
            slice.n > 0 ? at + lg_str_offset((struct lg_str){s.ptr + at, s.len - at}, (uint32_t)slice.n) : at;
        *out = lg_value_string(s.ptr + at, end - at);
        return 0;
    }
    char *to = lg_arena_bytes(&r->arena, s.len);
    if (!to)
        return lg_tmpl_nomem(r);
    size_t from_front = 0, from_back = s.len;
    uint32_t c;
    LG_TRY(lg_tmpl_charge(r, 0, s.len));
    for (int64_t i = 0, taken = 0; taken < slice.n; i++) {
        size_t n = lg_char_at(s.ptr + at, s.len - at, &c);
        if (i % stride == 0) {
            from_back -= n;
            memcpy(to + (back ? from_back : from_front), s.ptr + at, n);
            from_front += n;
            taken++;
        }
        at += n;
    }
    *out = lg_value_string(back ? to + from_back : to, from_front);
    return 0;
}

static int slice_items(struct lg_tmpl_run *r, const struct lg_value *v, struct slice slice,
                       struct lg_value *out)
{
    uint32_t n = (uint32_t)slice.n;
    const struct lg_value *from = v->kind == LG_VALUE_LIST ? v->list->items : v->items;
    struct lg_value *items = (struct lg_value *)from; // shared, where they are one behind the other
    if (slice.step == 1) {
        items = n ? items + slice.start : NULL;
    } else {
        LG_TRY(lg_tmpl_charge(r, n, 0));
        LG_TRY(lg_tmpl_array(r, n, &items));
        for (uint32_t i = 0; i < n; i++)
            items[i] = from[slice.start + i * slice.step];
    }
    if (v->kind == LG_VALUE_LIST)
        return lg_tmpl_list(r, items, n, 0, out);
    *out = lg_value_tuple(items, n);
    return 0;
}

static int64_t add_steps(const struct lg_tmpl_range *range, int64_t n)
{
    return (int64_t)((uint64_t)range->start + (uint64_t)range->step * (uint64_t)n);
}

static int slice_range(struct lg_tmpl_run *r, const struct lg_value *v, struct slice slice,
                       struct lg_value *out)
{
    const struct lg_tmpl_range *range = v->object;
    void *object;
    LG_TRY(lg_tmpl_object(r, sizeof(*range), &object));
    // What the items do not need may be beyond 64 bits, and is then printed wrong.
    *(struct lg_tmpl_range *)object = (struct lg_tmpl_range){
        .start = add_steps(range, slice.start),
        .stop = add_steps(range, slice.stop),
        .step = (int64_t)((uint64_t)range->step * (uint64_t)slice.step),
        .n = (uint32_t)slice.n,
    };
    *out = (struct lg_value){.kind = LG_VALUE_RANGE, .object = object};
    return 0;
}

int lg_tmpl_slice(struct lg_tmpl_run *r, const struct lg_value *v, const struct lg_value part[3],
                  struct lg_value *out)
{
    struct slice slice = {0};
    LG_TRY(lg_tmpl_defined(r, v));
    if (v->kind != LG_VALUE_STRING && v->kind != LG_VALUE_LIST && v->kind != LG_VALUE_TUPLE &&
        v->kind != LG_VALUE_RANGE)
        return lg_tmpl_fail(r, "a value of type %s cannot be sliced", lg_tmpl_type_name(v));
    LG_TRY(make_slice(r, part, lg_tmpl_length(v), &slice));
    if (v->kind == LG_VALUE_STRING)
        return slice_string(r, lg_tmpl_str(v), slice, out);
    return v->kind == LG_VALUE_RANGE ? slice_range(r, v, slice, out) : slice_items(r, v, slice, out);
}
