/* SPDX-License-Identifier: MIT
 *
 * Calls: of macros, and of the tables' functions as filters, tests, methods and globals. Arguments lie on the
 * run's stack, by position first, then names and values in turn.
 */
#include <stdio.h>

#include "text/template/internal.h"

static int push(struct lg_tmpl_run *r, const struct lg_value *v)
{
    if (r->n_stack == LG_TMPL_MAX_STACK)
        return lg_tmpl_fail(r, "it has more than %d arguments at a time", LG_TMPL_MAX_STACK);
    r->stack[r->n_stack++] = *v;
    return 0;
}

/** The values of "*list" or the pairs of "**dict". */
static int push_all(struct lg_tmpl_run *r, const struct lg_value *v, bool pairs)
{
    struct lg_tmpl_cursor c;
    struct lg_value item;
    if (pairs && v->kind != LG_VALUE_DICT)
        return lg_tmpl_fail(r, "** needs a dict, not %s", lg_tmpl_type_name(v));
    LG_TRY(lg_tmpl_cursor(r, v, &c));
    for (uint32_t i = 0; lg_tmpl_next(&c, &item); i++) {
        LG_TRY(lg_tmpl_charge(r, 1, 0));
        if (pairs && item.kind != LG_VALUE_STRING)
            return lg_tmpl_fail(r, "the names of arguments must be strings");
        LG_TRY(push(r, &item));
        if (pairs)
            LG_TRY(push(r, &v->dict->pairs[2 * i + 1]));
    }
    return 0;
}

/** Evaluates arguments onto the stack; the caller takes them off again. */
static int eval_args(struct lg_tmpl_run *r, const struct lg_tmpl_node *node, const struct lg_value *caller,
                     struct lg_tmpl_args *out)
{
    uint32_t base = r->n_stack, middle;
    struct lg_value v;
    for (uint32_t i = 0; i < node->n; i++) {
        const struct lg_tmpl_node *arg = node->list[i];
        if (arg->kind == LG_N_KEYWORD || arg->kind == LG_N_STARS)
            continue;
        LG_TRY(lg_tmpl_eval(r, arg->kind == LG_N_STAR ? arg->a : arg, &v));
        LG_TRY(arg->kind == LG_N_STAR ? push_all(r, &v, false) : push(r, &v));
    }
    middle = r->n_stack;
    for (uint32_t i = 0; i < node->n; i++) {
        const struct lg_tmpl_node *arg = node->list[i];
        if (arg->kind != LG_N_KEYWORD && arg->kind != LG_N_STARS)
            continue;
        LG_TRY(lg_tmpl_eval(r, arg->a, &v));
        if (arg->kind == LG_N_KEYWORD)
            LG_TRY(push(r, &arg->value));
        LG_TRY(arg->kind == LG_N_STARS ? push_all(r, &v, true) : push(r, &v));
    }
    if (caller) {
        v = lg_value_string("caller", 6);
        LG_TRY(push(r, &v));
        LG_TRY(push(r, caller));
    }
    *out = (struct lg_tmpl_args){
        .v = r->stack + base,
        .n = middle - base,
        .kw = r->stack + middle,
        .n_kw = (r->n_stack - middle) / 2,
    };
    r->line = node->line;
    return 0;
}

/* ---- functions of the tables ------------------------------------------------------------------------ */

/** The next of a list of parameters: its name and whether it must be given. */
static bool next_param(const char **params, struct lg_str *name, bool *required)
{
    const char *s = *params;
    size_t n = strcspn(s, " ");
    *required = n > 0 && s[n - 1] == '!';
    *name = (struct lg_str){s, n - *required};
    *params = s + n + strspn(s + n, " ");
    return n > 0;
}

/** Gives each parameter its value. */
static int bind(struct lg_tmpl_run *r, const struct lg_tmpl_builtin *b, const struct lg_tmpl_args *args,
                struct lg_value slots[LG_TMPL_MAX_PARAMS], uint32_t *n)
{
    const char *params = b->params;
    struct lg_str name;
    bool required;
    uint32_t used = 0;
    *n = 0;
    for (; next_param(&params, &name, &required); (*n)++) {
        struct lg_value *slot = &slots[*n];
        *slot = *n < args->n ? args->v[*n] : (struct lg_value){.kind = LG_VALUE_MISSING};
        for (uint32_t i = 0; i < args->n_kw; i++) {
            const struct lg_value *key = &args->kw[2 * i];
            if (key->n != name.len || memcmp(key->s, name.ptr, name.len) != 0)
                continue;
            if (slot->kind != LG_VALUE_MISSING)
                return lg_tmpl_fail(r, "%s() is given '%.*s' twice", b->name, (int)name.len, name.ptr);
            *slot = key[1];
            used++;
        }
        if (required && slot->kind == LG_VALUE_MISSING)
            return lg_tmpl_fail(r, "%s() needs '%.*s'", b->name, (int)name.len, name.ptr);
    }
    if (args->n > *n || used < args->n_kw)
        return lg_tmpl_fail(r, "%s() is given an argument that it does not take", b->name);
    return 0;
}

int lg_tmpl_call_builtin(struct lg_tmpl_run *r, const struct lg_tmpl_builtin *b, const struct lg_value *self,
                         const struct lg_tmpl_args *args, struct lg_value *out)
{
    struct lg_value slots[LG_TMPL_MAX_PARAMS];
    struct lg_tmpl_args bound = {.v = slots};
    LG_TRY(lg_tmpl_enter(r));
    if (b->params[0] != '*') {
        LG_TRY(bind(r, b, args, slots, &bound.n));
        args = &bound;
    }
    struct lg_value result;
    LG_TRY(b->fn(r, self, args, &result));
    lg_tmpl_leave(r);
    *out = result;
    return 0;
}

const struct lg_tmpl_builtin *lg_tmpl_find(const struct lg_tmpl_builtin *table, struct lg_str name)
{
    for (; table->name; table++)
        if (lg_str_eq(name, table->name))
            return table;
    return NULL;
}

/* ---- macros ----------------------------------------------------------------------------------------- */

/** Takes an argument by its name; MISSING when it was not given. */
static struct lg_value take_keyword(const struct lg_tmpl_args *args, struct lg_str name, uint64_t *taken)
{
    for (uint32_t i = 0; i < args->n_kw; i++) {
        const struct lg_value *key = &args->kw[2 * i];
        if (key->n == name.len && memcmp(key->s, name.ptr, name.len) == 0) {
            *taken |= UINT64_C(1) << i;
            return key[1];
        }
    }
    return (struct lg_value){.kind = LG_VALUE_MISSING};
}

/** The arguments that no parameter takes, where the macro's body names `varargs` and `kwargs`. */
static int bind_rest(struct lg_tmpl_run *r, const struct lg_tmpl_node *node, const struct lg_tmpl_args *args,
                     uint64_t taken)
{
    struct lg_value rest, *items;
    uint32_t extra = args->n > node->n ? args->n - node->n : 0;
    if (node->op & LG_MACRO_VARARGS) {
        LG_TRY(lg_tmpl_array(r, extra, &items));
        for (uint32_t i = 0; i < extra; i++)
            items[i] = args->v[node->n + i];
        rest = lg_value_tuple(items, extra);
        LG_TRY(lg_tmpl_scope_set(r, r->scope, LG_NAME_VARARGS, &rest));
    } else if (extra > 0) {
        return lg_tmpl_fail(r, "the macro takes %u arguments, not %u", node->n, args->n);
    }
    if (lg_value_dict(&r->arena, &rest) < 0)
        return lg_tmpl_nomem(r);
    for (uint32_t i = 0; i < args->n_kw; i++) {
        const struct lg_value *key = &args->kw[2 * i];
        char quote[LG_TMPL_QUOTE];
        if (taken >> i & 1)
            continue;
        if (!(node->op & LG_MACRO_KWARGS))
            return lg_tmpl_fail(r, "the macro takes no argument '%s'",
                                lg_tmpl_quote(lg_tmpl_str(key), quote));
        LG_TRY(lg_tmpl_dict_set(r, rest.dict, key, key + 1));
    }
    return node->op & LG_MACRO_KWARGS ? lg_tmpl_scope_set(r, r->scope, LG_NAME_KWARGS, &rest) : 0;
}

/** Sets the variables of a call; defaults see those before them. */
static int bind_macro(struct lg_tmpl_run *r, const struct lg_tmpl_node *node, const struct lg_tmpl_args *args)
{
    uint64_t taken = 0;
    bool named_caller = false;
    if (args->n_kw > 64)
        return lg_tmpl_fail(r, "the macro is given more than 64 named arguments");
    for (uint32_t i = 0; i < node->n; i++) {
        const struct lg_tmpl_node *param = node->list[i];
        struct lg_str name = lg_tmpl_str(&r->t->names.dict->pairs[2 * param->name]);
        struct lg_value v = i < args->n ? args->v[i] : take_keyword(args, name, &taken);
        named_caller |= param->name == LG_NAME_CALLER;
        if (v.kind == LG_VALUE_MISSING && param->a)
            LG_TRY(lg_tmpl_eval(r, param->a, &v));
        else if (v.kind == LG_VALUE_MISSING)
            LG_TRY(lg_tmpl_undefined(r, &v, "parameter '%.*s' was not provided", (int)name.len, name.ptr));
        LG_TRY(lg_tmpl_scope_set(r, r->scope, param->name, &v));
    }
    if (node->op & LG_MACRO_CALLER && !named_caller) {
        struct lg_value v = take_keyword(args, (struct lg_str){"caller", 6}, &taken);
        if (v.kind == LG_VALUE_MISSING || v.kind == LG_VALUE_NONE)
            LG_TRY(lg_tmpl_undefined(r, &v, "No caller defined"));
        LG_TRY(lg_tmpl_scope_set(r, r->scope, LG_NAME_CALLER, &v));
    }
    return bind_rest(r, node, args, taken);
}

int lg_tmpl_call_macro(struct lg_tmpl_run *r, const struct lg_tmpl_macro *macro,
                       const struct lg_tmpl_args *args, struct lg_value *out)
{
    struct lg_tmpl_scope *outer = r->scope;
    size_t mark = r->n_out;
    LG_TRY(lg_tmpl_enter(r));
    LG_TRY(lg_tmpl_scope_new(r, macro->scope, &r->scope));
    LG_TRY(bind_macro(r, macro->node, args));
    LG_TRY(lg_tmpl_exec(r, macro->node->c));
    r->scope = outer;
    lg_tmpl_leave(r);
    return lg_tmpl_take(r, mark, out);
}

/* ---- expressions that call -------------------------------------------------------------------------- */

int lg_tmpl_call(struct lg_tmpl_run *r, const struct lg_value *callee, const struct lg_tmpl_args *args,
                 struct lg_value *out)
{
    const struct lg_tmpl_method *method = callee->object;
    LG_TRY(lg_tmpl_defined(r, callee));
    switch (callee->kind) {
    case LG_VALUE_MACRO: return lg_tmpl_call_macro(r, callee->object, args, out);
    case LG_VALUE_FUNCTION: return lg_tmpl_call_builtin(r, callee->object, NULL, args, out);
    case LG_VALUE_METHOD: return lg_tmpl_call_builtin(r, method->builtin, &method->self, args, out);
    default: return lg_tmpl_fail(r, "a value of type %s cannot be called", lg_tmpl_type_name(callee));
    }
}

int lg_tmpl_eval_call(struct lg_tmpl_run *r, const struct lg_tmpl_node *node, const struct lg_value *caller,
                      struct lg_value *out)
{
    struct lg_value callee;
    struct lg_tmpl_args args;
    uint32_t base = r->n_stack;
    LG_TRY(lg_tmpl_eval(r, node->a, &callee));
    LG_TRY(eval_args(r, node, caller, &args));
    LG_TRY(lg_tmpl_call(r, &callee, &args, out));
    r->n_stack = base;
    return 0;
}

static int unknown(struct lg_tmpl_run *r, const char *what, const struct lg_value *name)
{
    char quote[LG_TMPL_QUOTE];
    return lg_tmpl_fail(r, "there is no %s '%s'", what, lg_tmpl_quote(lg_tmpl_str(name), quote));
}

/** A filter or a test of the template's text. */
static int eval_builtin(struct lg_tmpl_run *r, const char *what, const struct lg_tmpl_node *node,
                        struct lg_value *out)
{
    struct lg_value input;
    struct lg_tmpl_args args;
    uint32_t base = r->n_stack;
    if (!node->builtin)
        return unknown(r, what, &node->value);
    LG_TRY(lg_tmpl_eval(r, node->a, &input));
    LG_TRY(eval_args(r, node, NULL, &args));
    LG_TRY(lg_tmpl_call_builtin(r, node->builtin, &input, &args, out));
    r->n_stack = base;
    return 0;
}

int lg_tmpl_eval_filter(struct lg_tmpl_run *r, const struct lg_tmpl_node *node, struct lg_value *out)
{
    return eval_builtin(r, "filter", node, out);
}

int lg_tmpl_eval_test(struct lg_tmpl_run *r, const struct lg_tmpl_node *node, struct lg_value *out)
{
    return eval_builtin(r, "test", node, out);
}

int lg_tmpl_apply_filter(struct lg_tmpl_run *r, const struct lg_value *name, const struct lg_value *input,
                         const struct lg_tmpl_args *args, struct lg_value *out)
{
    struct lg_str text;
    LG_TRY(lg_tmpl_to_str(r, name, "a filter's name", &text));
    const struct lg_tmpl_builtin *b = lg_tmpl_find_filter(text);
    return b ? lg_tmpl_call_builtin(r, b, input, args, out) : unknown(r, "filter", name);
}

int lg_tmpl_apply_test(struct lg_tmpl_run *r, const struct lg_value *name, const struct lg_value *input,
                       const struct lg_tmpl_args *args, bool *out)
{
    struct lg_str text;
    struct lg_value v;
    LG_TRY(lg_tmpl_to_str(r, name, "a test's name", &text));
    const struct lg_tmpl_builtin *b = lg_tmpl_find_test(text);
    if (!b)
        return unknown(r, "test", name);
    LG_TRY(lg_tmpl_call_builtin(r, b, input, args, &v));
    *out = lg_tmpl_truth(&v);
    return 0;
}
