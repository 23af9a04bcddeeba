/* SPDX-License-Identifier: MIT
 * Statements. */
#include "text/template/internal.h"

int lg_tmpl_scope_new(struct lg_tmpl_run *r, struct lg_tmpl_scope *outer, struct lg_tmpl_scope **out)
{
    *out = lg_arena_alloc(&r->arena, sizeof(**out));
    if (!*out)
        return lg_tmpl_nomem(r);
    (*out)->outer = outer;
    return 0;
}

int lg_tmpl_scope_set(struct lg_tmpl_run *r, struct lg_tmpl_scope *scope, uint32_t name,
                      const struct lg_value *value)
{
    uint32_t i = 0;
    while (i < scope->n && scope->vars[i].name != name)
        i++;
    LG_TRY(lg_tmpl_charge(r, i / 16, 0));
    if (i == scope->cap) {
        uint32_t cap = scope->cap ? 2 * scope->cap : 4;
        struct lg_tmpl_var *vars = lg_arena_array(&r->arena, cap, sizeof(*vars));
        if (!vars)
            return lg_tmpl_nomem(r);
        if (scope->n)
            memcpy(vars, scope->vars, scope->n * sizeof(*vars));
        scope->vars = vars;
        scope->cap = cap;
    }
    scope->vars[i] = (struct lg_tmpl_var){name, *value};
    scope->n += i == scope->n;
    return 0;
}

int lg_tmpl_lookup(struct lg_tmpl_run *r, uint32_t name, struct lg_value *out)
{
    for (const struct lg_tmpl_scope *s = r->scope; s; s = s->outer) {
        for (uint32_t i = 0; i < s->n; i++) {
            if (s->vars[i].name == name) {
                *out = s->vars[i].value;
                return 0;
            }
        }
        LG_TRY(lg_tmpl_charge(r, s->n / 16, 0));
    }
    const struct lg_str text = lg_tmpl_str(&r->t->names.dict->pairs[2 * name]);
    const struct lg_value *given = lg_dict_get(r->vars->dict, text);
    const struct lg_tmpl_builtin *global = given ? NULL : lg_tmpl_find_global(text);
    char quote[LG_TMPL_QUOTE];
    if (given)
        *out = *given;
    else if (global)
        *out = (struct lg_value){.kind = LG_VALUE_FUNCTION, .object = (void *)(uintptr_t)global};
    else
        return lg_tmpl_undefined(r, out, "'%s' is undefined", lg_tmpl_quote(text, quote));
    return 0;
}

static int assign_attr(struct lg_tmpl_run *r, const struct lg_tmpl_node *target, const struct lg_value *value)
{
    struct lg_value ns;
    LG_TRY(lg_tmpl_lookup(r, target->name, &ns));
    if (ns.kind != LG_VALUE_NAMESPACE)
        return lg_tmpl_fail(r, "attributes can only be set on a namespace, not on %s",
                            lg_tmpl_type_name(&ns));
    return lg_tmpl_dict_set(r, ns.dict, &target->value, value);
}

int lg_tmpl_assign(struct lg_tmpl_run *r, const struct lg_tmpl_node *target, const struct lg_value *value)
{
    if (target->kind == LG_N_NAME)
        return lg_tmpl_scope_set(r, r->scope, target->name, value);
    if (target->kind == LG_N_NS_ATTR)
        return assign_attr(r, target, value);
    struct lg_tmpl_cursor c;
    struct lg_value item;
    uint32_t i = 0;
    LG_TRY(lg_tmpl_defined(r, value));
    LG_TRY(lg_tmpl_cursor(r, value, &c));
    while (lg_tmpl_next(&c, &item) && i++ < target->n)
        LG_TRY(lg_tmpl_assign(r, target->list[i - 1], &item));
    if (i != target->n)
        return lg_tmpl_fail(r, "%s values for %u names", i < target->n ? "too few" : "too many", target->n);
    return 0;
}

/* ---- one kind of statement each --------------------------------------------------------------------- */

static int exec_body(struct lg_tmpl_run *r, const struct lg_tmpl_node *node)
{
    for (uint32_t i = 0; i < node->n; i++) {
        int flow = lg_tmpl_exec(r, node->list[i]);
        if (flow != LG_FLOW_ON)
            return flow;
    }
    return LG_FLOW_ON;
}

static int exec_text(struct lg_tmpl_run *r, const struct lg_tmpl_node *node)
{
    return lg_tmpl_write(r, node->value.s, node->value.n);
}

static int exec_print(struct lg_tmpl_run *r, const struct lg_tmpl_node *node)
{
    struct lg_value v;
    LG_TRY(lg_tmpl_eval(r, node->a, &v));
    return lg_tmpl_write_str(r, &v);
}

static int exec_if(struct lg_tmpl_run *r, const struct lg_tmpl_node *node)
{
    struct lg_value test;
    for (uint32_t i = 0; i < node->n; i += 2) {
        LG_TRY(lg_tmpl_eval(r, node->list[i], &test));
        if (lg_tmpl_truth(&test))
            return lg_tmpl_exec(r, node->list[i + 1]);
    }
    return node->c ? lg_tmpl_exec(r, node->c) : LG_FLOW_ON;
}

static int exec_set(struct lg_tmpl_run *r, const struct lg_tmpl_node *node)
{
    struct lg_value v;
    LG_TRY(lg_tmpl_eval(r, node->b, &v));
    return lg_tmpl_assign(r, node->a, &v);
}

/** Runs a body with variables of its own. */
static int exec_scope(struct lg_tmpl_run *r, const struct lg_tmpl_node *node)
{
    struct lg_tmpl_scope *outer = r->scope;
    LG_TRY(lg_tmpl_scope_new(r, outer, &r->scope));
    int flow = lg_tmpl_exec(r, node->b);
    r->scope = outer;
    return flow;
}

/** The same, and its text becomes a value, which `filters` may change; nothing is left of it when it is
 * jumped out of. */
static int capture(struct lg_tmpl_run *r, const struct lg_tmpl_node *node, const struct lg_tmpl_node *filters,
                   struct lg_value *out)
{
    size_t mark = r->n_out;
    int flow = exec_scope(r, node);
    LG_TRY(flow);
    if (flow != LG_FLOW_ON) {
        r->n_out = mark;
        return flow;
    }
    LG_TRY(lg_tmpl_take(r, mark, out));
    if (!filters)
        return LG_FLOW_ON;
    r->captured = *out;
    return lg_tmpl_eval(r, filters, out);
}

static int exec_set_block(struct lg_tmpl_run *r, const struct lg_tmpl_node *node)
{
    struct lg_value v;
    int flow = capture(r, node, node->c, &v);
    return flow == LG_FLOW_ON ? lg_tmpl_assign(r, node->a, &v) : flow;
}

static int exec_filter_block(struct lg_tmpl_run *r, const struct lg_tmpl_node *node)
{
    struct lg_value v;
    int flow = capture(r, node, node->a, &v);
    return flow == LG_FLOW_ON ? lg_tmpl_write_str(r, &v) : flow;
}

/** A macro sees the variables around it, so they must outlast their block. */
static int make_macro(struct lg_tmpl_run *r, const struct lg_tmpl_node *node, struct lg_value *out)
{
    struct lg_tmpl_macro *macro = lg_arena_alloc(&r->arena, sizeof(*macro));
    if (!macro)
        return lg_tmpl_nomem(r);
    *macro = (struct lg_tmpl_macro){node, r->scope};
    for (struct lg_tmpl_scope *s = r->scope; s && !s->captured; s = s->outer)
        s->captured = true;
    *out = (struct lg_value){.kind = LG_VALUE_MACRO, .object = macro};
    return 0;
}

static int exec_macro(struct lg_tmpl_run *r, const struct lg_tmpl_node *node)
{
    struct lg_value macro;
    LG_TRY(make_macro(r, node, &macro));
    return lg_tmpl_scope_set(r, r->scope, node->name, &macro);
}

static int exec_call_block(struct lg_tmpl_run *r, const struct lg_tmpl_node *node)
{
    struct lg_value caller, v;
    LG_TRY(make_macro(r, node->b, &caller));
    LG_TRY(lg_tmpl_eval_call(r, node->a, &caller, &v));
    return lg_tmpl_write_str(r, &v);
}

static int exec_with(struct lg_tmpl_run *r, const struct lg_tmpl_node *node)
{
    struct lg_tmpl_scope *outer = r->scope, *inner;
    LG_TRY(lg_tmpl_scope_new(r, outer, &inner));
    for (uint32_t i = 0; i < node->n; i += 2) {
        struct lg_value v;
        LG_TRY(lg_tmpl_eval(r, node->list[i + 1], &v));
        r->scope = inner;
        LG_TRY(lg_tmpl_assign(r, node->list[i], &v));
        r->scope = outer;
    }
    r->scope = inner;
    int flow = lg_tmpl_exec(r, node->b);
    r->scope = outer;
    return flow;
}

static int exec_break(struct lg_tmpl_run *r, const struct lg_tmpl_node *node)
{
    (void)r, (void)node;
    return LG_FLOW_BREAK;
}

static int exec_continue(struct lg_tmpl_run *r, const struct lg_tmpl_node *node)
{
    (void)r, (void)node;
    return LG_FLOW_CONTINUE;
}

int lg_tmpl_exec(struct lg_tmpl_run *r, const struct lg_tmpl_node *node)
{
    static int (*const run[])(struct lg_tmpl_run * r, const struct lg_tmpl_node *node) = {
        [LG_N_BODY] = exec_body,
        [LG_N_TEXT] = exec_text,
        [LG_N_PRINT] = exec_print,
        [LG_N_IF] = exec_if,
        [LG_N_FOR] = lg_tmpl_exec_for,
        [LG_N_SET] = exec_set,
        [LG_N_SET_BLOCK] = exec_set_block,
        [LG_N_MACRO] = exec_macro,
        [LG_N_CALL_BLOCK] = exec_call_block,
        [LG_N_FILTER_BLOCK] = exec_filter_block,
        [LG_N_WITH] = exec_with,
        [LG_N_SCOPE] = exec_scope,
        [LG_N_BREAK] = exec_break,
        [LG_N_CONTINUE] = exec_continue,
    };
    LG_TRY(lg_tmpl_enter(r));
    LG_TRY(lg_tmpl_charge(r, 1, 0));
    r->line = node->line;
    int flow = run[node->kind](r, node);
    lg_tmpl_leave(r);
    return flow;
}
