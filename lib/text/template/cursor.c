/* SPDX-License-Identifier: MIT
 * Going through values one by one, whatever they are. */
#include "text/template/internal.h"

/** An iterator's state, which all who hold the iterator share. */
struct shared {
    struct lg_tmpl_cursor cursor;
};

int64_t lg_tmpl_length(const struct lg_value *v)
{
    switch (v->kind) {
    case LG_VALUE_UNDEFINED: return 0;
    case LG_VALUE_STRING: return lg_str_chars(lg_tmpl_str(v));
    case LG_VALUE_TUPLE: return v->n;
    case LG_VALUE_LIST: return v->list->n;
    case LG_VALUE_DICT:
    case LG_VALUE_VIEW: return v->dict->n;
    case LG_VALUE_RANGE: return ((const struct lg_tmpl_range *)v->object)->n;
    default: return -1;
    }
}

int lg_tmpl_cursor(struct lg_tmpl_run *r, const struct lg_value *v, struct lg_tmpl_cursor *out)
{
    *out = (struct lg_tmpl_cursor){.seq = *v};
    if (v->kind == LG_VALUE_ITERATOR || v->kind == LG_VALUE_STRING || lg_tmpl_length(v) >= 0)
        return 0;
    return lg_tmpl_fail(r, "a value of type %s cannot be gone through", lg_tmpl_type_name(v));
}

static bool next_char(struct lg_tmpl_cursor *c, struct lg_value *out)
{
    uint32_t code;
    if (c->at == c->seq.n)
        return false;
    size_t n = lg_char_at(c->seq.s + c->at, c->seq.n - c->at, &code);
    *out = lg_value_string(c->seq.s + c->at, n);
    c->at += (uint32_t)n;
    return true;
}

/** A pair of a dictionary: as a key, a value or both. */
static void give_pair(const struct lg_value *pair, uint8_t view, struct lg_value *out)
{
    *out = view == LG_VIEW_ITEMS ? lg_value_tuple(pair, 2) : pair[view == LG_VIEW_VALUES];
}

bool lg_tmpl_next(struct lg_tmpl_cursor *c, struct lg_value *out)
{
    const struct lg_tmpl_range *range = c->seq.object;
    if (c->seq.kind == LG_VALUE_STRING)
        return next_char(c, out);
    if (c->seq.kind == LG_VALUE_ITERATOR)
        return lg_tmpl_next(&((struct shared *)c->seq.object)->cursor, out);
    if (c->at >= lg_tmpl_length(&c->seq))
        return false;
    uint32_t i = c->at++;
    switch (c->seq.kind) {
    case LG_VALUE_TUPLE: *out = c->seq.items[i]; return true;
    case LG_VALUE_LIST: *out = c->seq.list->items[i]; return true;
    case LG_VALUE_RANGE: *out = lg_value_int(range->start + (int64_t)i * range->step); return true;
    default:
        give_pair(&c->seq.dict->pairs[2 * i], c->seq.kind == LG_VALUE_VIEW ? c->seq.sub : LG_VIEW_KEYS, out);
        return true;
    }
}

int lg_tmpl_items_add(struct lg_tmpl_run *r, struct lg_tmpl_items *items, const struct lg_value *v)
{
    LG_TRY(lg_tmpl_charge(r, 1, 0));
    if (items->n == items->cap) {
        uint32_t cap = items->cap ? 2 * items->cap : 8;
        struct lg_value *more;
        LG_TRY(lg_tmpl_array(r, cap, &more));
        if (items->n)
            memcpy(more, items->items, items->n * sizeof(*more));
        items->items = more;
        items->cap = cap;
    }
    items->items[items->n++] = *v;
    return 0;
}

int lg_tmpl_items(struct lg_tmpl_run *r, const struct lg_value *v, struct lg_value **items, uint32_t *n)
{
    struct lg_tmpl_cursor c;
    struct lg_tmpl_items list = {0};
    struct lg_value item;
    LG_TRY(lg_tmpl_cursor(r, v, &c));
    while (lg_tmpl_next(&c, &item))
        LG_TRY(lg_tmpl_items_add(r, &list, &item));
    *items = list.items;
    *n = list.n;
    return 0;
}

int lg_tmpl_iterator(struct lg_tmpl_run *r, struct lg_value *items, uint32_t n, struct lg_value *out)
{
    void *object;
    LG_TRY(lg_tmpl_object(r, sizeof(struct shared), &object));
    ((struct shared *)object)->cursor.seq = lg_value_tuple(items, n);
    *out = (struct lg_value){.kind = LG_VALUE_ITERATOR, .object = object};
    return 0;
}
