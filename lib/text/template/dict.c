/* SPDX-License-Identifier: MIT
 *
 * Dictionaries: pairs in the order of their insertion, and from a few on a hash table of their places. Keys
 * are what Python can hash: 1, 1.0 and true are the same one.
 */
#include <math.h>

#include <xxhash.h>

#include "text/template/internal.h"

enum { FEW = 8, MAX_KEY_DEPTH = 32 };

/** A float that is an integer counts as that. */
static bool as_integer(const struct lg_value *v, int64_t *out)
{
    if (v->kind == LG_VALUE_FLOAT) {
        if (!(v->f >= -0x1p63 && v->f < 0x1p63) || v->f != floor(v->f))
            return false;
        *out = (int64_t)v->f;
        return true;
    }
    *out = v->i;
    return lg_tmpl_is_int(v);
}

static uint64_t hash_key(const struct lg_value *v)
{
    int64_t i;
    if (v->kind == LG_VALUE_STRING)
        return XXH3_64bits(v->s, v->n);
    if (lg_tmpl_is_number(v))
        return as_integer(v, &i) ? XXH3_64bits(&i, sizeof(i)) : XXH3_64bits(&v->f, sizeof(v->f));
    if (v->kind == LG_VALUE_TUPLE) {
        uint64_t h = v->n;
        for (uint32_t k = 0; k < v->n; k++)
            h = (h ^ hash_key(&v->items[k])) * UINT64_C(0x9e3779b97f4a7c15);
        return h ^ h >> 29;
    }
    return v->kind <= LG_VALUE_NONE ? v->kind : XXH3_64bits(&v->object, sizeof(v->object));
}

static bool same_key(const struct lg_value *a, const struct lg_value *b)
{
    int64_t x, y;
    if (lg_tmpl_is_number(a) && lg_tmpl_is_number(b)) {
        bool int_a = as_integer(a, &x), int_b = as_integer(b, &y);
        return int_a && int_b ? x == y : int_a == int_b && a->f == b->f;
    }
    if (a->kind != b->kind)
        return false;
    if (a->kind == LG_VALUE_STRING)
        return a->n == b->n && memcmp(a->s, b->s, a->n) == 0;
    if (a->kind == LG_VALUE_TUPLE) {
        bool same = a->n == b->n;
        for (uint32_t k = 0; same && k < a->n; k++)
            same = same_key(&a->items[k], &b->items[k]);
        return same;
    }
    return a->kind <= LG_VALUE_NONE || a->object == b->object;
}

/** The slot of the key, or the free one where it belongs. */
static uint32_t *find_slot(const struct lg_dict *dict, const struct lg_value *key)
{
    uint32_t i = (uint32_t)hash_key(key) & dict->mask;
    while (dict->slots[i] && !same_key(&dict->pairs[2 * (dict->slots[i] - 1)], key))
        i = (i + 1) & dict->mask;
    return &dict->slots[i];
}

static struct lg_value *find(const struct lg_dict *dict, const struct lg_value *key)
{
    if (dict->slots) {
        uint32_t slot = *find_slot(dict, key);
        return slot ? &dict->pairs[2 * (slot - 1) + 1] : NULL;
    }
    for (uint32_t i = 0; i < dict->n; i++)
        if (same_key(&dict->pairs[2 * i], key))
            return &dict->pairs[2 * i + 1];
    return NULL;
}

/** Room for one more pair, in the table too. */
static bool grow(struct lg_arena *arena, struct lg_dict *dict)
{
    if (dict->n < dict->cap)
        return true;
    uint32_t cap = dict->cap ? 2 * dict->cap : 4;
    struct lg_value *pairs = lg_arena_array(arena, cap, 2 * sizeof(*pairs));
    uint32_t *slots = cap > FEW ? lg_arena_array(arena, cap, 2 * sizeof(*slots)) : NULL;
    if (!pairs || (cap > FEW && !slots))
        return false;
    if (dict->n)
        memcpy(pairs, dict->pairs, dict->n * 2 * sizeof(*pairs));
    dict->pairs = pairs;
    dict->cap = cap;
    dict->slots = slots;
    dict->mask = 2 * cap - 1;
    for (uint32_t i = 0; slots && i < dict->n; i++)
        *find_slot(dict, &pairs[2 * i]) = i + 1;
    return true;
}

bool lg_dict_put(struct lg_arena *arena, struct lg_dict *dict, const struct lg_value *key,
                 const struct lg_value *value)
{
    struct lg_value *there = find(dict, key);
    if (there) {
        *there = *value;
        return true;
    }
    if (!grow(arena, dict))
        return false;
    if (dict->slots)
        *find_slot(dict, key) = dict->n + 1;
    dict->pairs[2 * dict->n] = *key;
    dict->pairs[2 * dict->n + 1] = *value;
    dict->n++;
    return true;
}

const struct lg_value *lg_dict_get(const struct lg_dict *dict, struct lg_str key)
{
    struct lg_value k = lg_value_string(key.ptr, key.len);
    return find(dict, &k);
}

int lg_value_dict(struct lg_arena *arena, struct lg_value *out)
{
    struct lg_dict *dict = lg_arena_alloc(arena, sizeof(*dict));
    if (!dict)
        return LLMGPU_E_NOMEM;
    *out = (struct lg_value){.kind = LG_VALUE_DICT, .dict = dict};
    return 0;
}

int lg_value_set(struct lg_arena *arena, const struct lg_value *dict, const char *key, struct lg_value value)
{
    struct lg_value k = lg_value_string(key, strlen(key));
    return lg_dict_put(arena, dict->dict, &k, &value) ? 0 : LLMGPU_E_NOMEM;
}

static int check_key(struct lg_tmpl_run *r, const struct lg_value *key, uint32_t depth)
{
    LG_TRY(lg_tmpl_charge(r, 1, key->kind == LG_VALUE_STRING ? key->n : 0));
    if (depth == MAX_KEY_DEPTH)
        return lg_tmpl_fail(r, "a key is nested deeper than %d levels", MAX_KEY_DEPTH);
    if (key->kind == LG_VALUE_LIST || key->kind == LG_VALUE_DICT)
        return lg_tmpl_fail(r, "a %s cannot be a key", lg_tmpl_type_name(key));
    for (uint32_t i = 0; key->kind == LG_VALUE_TUPLE && i < key->n; i++)
        LG_TRY(check_key(r, &key->items[i], depth + 1));
    return 0;
}

int lg_tmpl_dict_find(struct lg_tmpl_run *r, const struct lg_dict *dict, const struct lg_value *key,
                      struct lg_value *out)
{
    LG_TRY(check_key(r, key, 0));
    const struct lg_value *there = find(dict, key);
    if (there)
        *out = *there;
    return there != NULL;
}

int lg_tmpl_dict_set(struct lg_tmpl_run *r, struct lg_dict *dict, const struct lg_value *key,
                     const struct lg_value *value)
{
    LG_TRY(check_key(r, key, 0));
    return lg_dict_put(&r->arena, dict, key, value) ? 0 : lg_tmpl_nomem(r);
}

const struct lg_value *lg_value_get(const struct lg_value *value, const char *key)
{
    return value->kind == LG_VALUE_DICT ? lg_dict_get(value->dict, (struct lg_str){key, strlen(key)}) : NULL;
}
