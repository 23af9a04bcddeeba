/* SPDX-License-Identifier: MIT
 * Making values, and what all of them have in common. */
#include <stdio.h>

#include "text/template/internal.h"

struct lg_value lg_value_none(void)
{
    return (struct lg_value){.kind = LG_VALUE_NONE};
}

struct lg_value lg_value_bool(bool b)
{
    return (struct lg_value){.kind = LG_VALUE_BOOL, .i = b};
}

struct lg_value lg_value_int(int64_t i)
{
    return (struct lg_value){.kind = LG_VALUE_INT, .i = i};
}

struct lg_value lg_value_float(double f)
{
    return (struct lg_value){.kind = LG_VALUE_FLOAT, .f = f};
}

struct lg_value lg_value_string(const char *s, size_t len)
{
    return (struct lg_value){.kind = LG_VALUE_STRING, .n = (uint32_t)len, .s = s};
}

struct lg_value lg_value_tuple(const struct lg_value *items, uint32_t n)
{
    return (struct lg_value){.kind = LG_VALUE_TUPLE, .n = n, .items = items};
}

int lg_value_list(struct lg_arena *arena, const struct lg_value *items, uint32_t n, struct lg_value *out)
{
    struct lg_list *list = lg_arena_alloc(arena, sizeof(*list));
    if (!list)
        return LLMGPU_E_NOMEM;
    *list = (struct lg_list){.items = (struct lg_value *)items, .n = n, .frozen = true};
    *out = (struct lg_value){.kind = LG_VALUE_LIST, .list = list};
    return 0;
}

int lg_tmpl_array(struct lg_tmpl_run *r, uint32_t n, struct lg_value **out)
{
    *out = lg_arena_array(&r->arena, n, sizeof(**out));
    return *out ? 0 : lg_tmpl_nomem(r);
}

int lg_tmpl_object(struct lg_tmpl_run *r, size_t size, void **out)
{
    *out = lg_arena_alloc(&r->arena, size);
    return *out ? 0 : lg_tmpl_nomem(r);
}

int lg_tmpl_list(struct lg_tmpl_run *r, struct lg_value *items, uint32_t n, uint32_t cap,
                 struct lg_value *out)
{
    if (lg_value_list(&r->arena, items, n, out) < 0)
        return lg_tmpl_nomem(r);
    out->list->frozen = false;
    out->list->cap = cap;
    return 0;
}

int lg_tmpl_copy(struct lg_tmpl_run *r, const char *s, size_t len, struct lg_value *out)
{
    char *copy = lg_arena_bytes(&r->arena, len);
    if (!copy)
        return lg_tmpl_nomem(r);
    if (len > 0)
        memcpy(copy, s, len);
    *out = lg_value_string(copy, len);
    return lg_tmpl_charge(r, 0, len);
}

int lg_tmpl_undefined(struct lg_tmpl_run *r, struct lg_value *out, const char *fmt, ...)
{
    char text[2 * LG_TMPL_QUOTE];
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    LG_TRY(lg_tmpl_copy(r, text, len < (int)sizeof(text) ? (size_t)len : sizeof(text) - 1, out));
    out->kind = LG_VALUE_UNDEFINED;
    return 0;
}

int lg_tmpl_defined(struct lg_tmpl_run *r, const struct lg_value *v)
{
    return v->kind == LG_VALUE_UNDEFINED ? lg_tmpl_fail(r, "%.*s", (int)v->n, v->n ? v->s : "") : 0;
}

bool lg_tmpl_truth(const struct lg_value *v)
{
    switch (v->kind) {
    case LG_VALUE_UNDEFINED:
    case LG_VALUE_NONE:
    case LG_VALUE_MISSING: return false;
    case LG_VALUE_BOOL:
    case LG_VALUE_INT: return v->i != 0;
    case LG_VALUE_FLOAT: return v->f != 0;
    case LG_VALUE_STRING: return v->n != 0;
    case LG_VALUE_ITERATOR:
    case LG_VALUE_LOOP: return true;
    default: return lg_tmpl_length(v) != 0;
    }
}

const char *lg_tmpl_type_name(const struct lg_value *v)
{
    static const char *const names[] = {
        [LG_VALUE_UNDEFINED] = "Undefined", [LG_VALUE_NONE] = "None",
        [LG_VALUE_BOOL] = "bool",           [LG_VALUE_INT] = "int",
        [LG_VALUE_FLOAT] = "float",         [LG_VALUE_STRING] = "str",
        [LG_VALUE_LIST] = "list",           [LG_VALUE_DICT] = "dict",
        [LG_VALUE_TUPLE] = "tuple",         [LG_VALUE_RANGE] = "range",
        [LG_VALUE_VIEW] = "dict view",      [LG_VALUE_ITERATOR] = "iterator",
        [LG_VALUE_NAMESPACE] = "namespace", [LG_VALUE_LOOP] = "loop",
        [LG_VALUE_MACRO] = "macro",         [LG_VALUE_FUNCTION] = "function",
        [LG_VALUE_METHOD] = "method",       [LG_VALUE_MISSING] = "nothing",
    };
    return names[v->kind];
}

int lg_tmpl_to_int(struct lg_tmpl_run *r, const struct lg_value *v, const char *what, int64_t *out)
{
    LG_TRY(lg_tmpl_defined(r, v));
    if (!lg_tmpl_is_int(v))
        return lg_tmpl_fail(r, "%s must be an integer, not %s", what, lg_tmpl_type_name(v));
    *out = v->i;
    return 0;
}

int lg_tmpl_to_str(struct lg_tmpl_run *r, const struct lg_value *v, const char *what, struct lg_str *out)
{
    LG_TRY(lg_tmpl_defined(r, v));
    if (v->kind != LG_VALUE_STRING)
        return lg_tmpl_fail(r, "%s must be a string, not %s", what, lg_tmpl_type_name(v));
    *out = lg_tmpl_str(v);
    return 0;
}
