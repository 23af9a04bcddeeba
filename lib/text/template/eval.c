/* SPDX-License-Identifier: MIT
 * Expressions. */
#include "text/template/internal.h"

static int eval_const(struct lg_tmpl_run *r, const struct lg_tmpl_node *node, struct lg_value *out)
{
    (void)r;
    *out = node->value;
    return 0;
}

static int eval_name(struct lg_tmpl_run *r, const struct lg_tmpl_node *node, struct lg_value *out)
{
    return lg_tmpl_lookup(r, node->name, out);
}

static int eval_captured(struct lg_tmpl_run *r, const struct lg_tmpl_node *node, struct lg_value *out)
{
    (void)node;
    *out = r->captured;
    return 0;
}

static int eval_items(struct lg_tmpl_run *r, const struct lg_tmpl_node *node, struct lg_value **out)
{
    LG_TRY(lg_tmpl_array(r, node->n, out));
    for (uint32_t i = 0; i < node->n; i++)
        LG_TRY(lg_tmpl_eval(r, node->list[i], &(*out)[i]));
    return 0;
}

static int eval_list(struct lg_tmpl_run *r, const struct lg_tmpl_node *node, struct lg_value *out)
{
    struct lg_value *items;
    LG_TRY(eval_items(r, node, &items));
    return lg_tmpl_list(r, items, node->n, node->n, out);
}

static int eval_tuple(struct lg_tmpl_run *r, const struct lg_tmpl_node *node, struct lg_value *out)
{
    struct lg_value *items;
    LG_TRY(eval_items(r, node, &items));
    *out = lg_value_tuple(items, node->n);
    return 0;
}

static int eval_dict(struct lg_tmpl_run *r, const struct lg_tmpl_node *node, struct lg_value *out)
{
    struct lg_value dict, key, value;
    if (lg_value_dict(&r->arena, &dict) < 0)
        return lg_tmpl_nomem(r);
    for (uint32_t i = 0; i < node->n; i += 2) {
        LG_TRY(lg_tmpl_eval(r, node->list[i], &key));
        LG_TRY(lg_tmpl_eval(r, node->list[i + 1], &value));
        LG_TRY(lg_tmpl_dict_set(r, dict.dict, &key, &value));
    }
    *out = dict;
    return 0;
}

static int eval_sign(struct lg_tmpl_run *r, const struct lg_tmpl_node *node, struct lg_value *out)
{
    LG_TRY(lg_tmpl_eval(r, node->a, out));
    LG_TRY(lg_tmpl_defined(r, out));
    if (!lg_tmpl_is_number(out))
        return lg_tmpl_fail(r, "a sign before a value of type %s", lg_tmpl_type_name(out));
    if (out->kind == LG_VALUE_BOOL)
        out->kind = LG_VALUE_INT;
    return node->kind == LG_N_NEG ? lg_tmpl_negate(r, out, out) : 0;
}

static int eval_not(struct lg_tmpl_run *r, const struct lg_tmpl_node *node, struct lg_value *out)
{
    LG_TRY(lg_tmpl_eval(r, node->a, out));
    *out = lg_value_bool(!lg_tmpl_truth(out));
    return 0;
}

/** and, or: the operand that decides. */
static int eval_logic(struct lg_tmpl_run *r, const struct lg_tmpl_node *node, struct lg_value *out)
{
    LG_TRY(lg_tmpl_eval(r, node->a, out));
    return lg_tmpl_truth(out) == (node->kind == LG_N_AND) ? lg_tmpl_eval(r, node->b, out) : 0;
}

static int eval_binary(struct lg_tmpl_run *r, const struct lg_tmpl_node *node, struct lg_value *out)
{
    struct lg_value a, b;
    LG_TRY(lg_tmpl_eval(r, node->a, &a));
    LG_TRY(lg_tmpl_eval(r, node->b, &b));
    r->line = node->line;
    return lg_tmpl_binary(r, node->op, &a, &b, out);
}

static int eval_concat(struct lg_tmpl_run *r, const struct lg_tmpl_node *node, struct lg_value *out)
{
    struct lg_value v, text;
    LG_TRY(lg_tmpl_eval(r, node->a, &v));
    LG_TRY(lg_tmpl_string(r, &v, &text));
    for (uint32_t i = 0; i < node->n; i++) {
        struct lg_value more;
        LG_TRY(lg_tmpl_eval(r, node->list[i], &v));
        LG_TRY(lg_tmpl_string(r, &v, &more));
        LG_TRY(lg_tmpl_concat(r, &text, &more, &text));
    }
    *out = text;
    return 0;
}

/** a < b < c is a < b and b < c, with b evaluated once. */
static int eval_compare(struct lg_tmpl_run *r, const struct lg_tmpl_node *node, struct lg_value *out)
{
    struct lg_value left, right;
    LG_TRY(lg_tmpl_eval(r, node->a, &left));
    for (uint32_t i = 0; i < node->n; i++, left = right) {
        LG_TRY(lg_tmpl_eval(r, node->list[i]->b, &right));
        r->line = node->line;
        LG_TRY(lg_tmpl_binary(r, node->list[i]->op, &left, &right, out));
        if (!lg_tmpl_truth(out))
            break;
    }
    return 0;
}

static int eval_cond(struct lg_tmpl_run *r, const struct lg_tmpl_node *node, struct lg_value *out)
{
    LG_TRY(lg_tmpl_eval(r, node->a, out));
    bool yes = lg_tmpl_truth(out);
    if (!yes && !node->c)
        return lg_tmpl_undefined(r, out, "the condition of an if expression without else is false");
    return lg_tmpl_eval(r, yes ? node->b : node->c, out);
}

static int eval_attr(struct lg_tmpl_run *r, const struct lg_tmpl_node *node, struct lg_value *out)
{
    struct lg_value v;
    LG_TRY(lg_tmpl_eval(r, node->a, &v));
    r->line = node->line;
    return lg_tmpl_attr(r, &v, &node->value, out);
}

static int eval_item(struct lg_tmpl_run *r, const struct lg_tmpl_node *node, struct lg_value *out)
{
    struct lg_value v, key;
    LG_TRY(lg_tmpl_eval(r, node->a, &v));
    LG_TRY(lg_tmpl_eval(r, node->b, &key));
    r->line = node->line;
    return lg_tmpl_item(r, &v, &key, out);
}

static int eval_slice(struct lg_tmpl_run *r, const struct lg_tmpl_node *node, struct lg_value *out)
{
    struct lg_value v, part[3];
    LG_TRY(lg_tmpl_eval(r, node->a, &v));
    for (int i = 0; i < 3; i++) {
        part[i] = lg_value_none();
        if (node->list[i])
            LG_TRY(lg_tmpl_eval(r, node->list[i], &part[i]));
    }
    r->line = node->line;
    return lg_tmpl_slice(r, &v, part, out);
}

static int eval_call(struct lg_tmpl_run *r, const struct lg_tmpl_node *node, struct lg_value *out)
{
    return lg_tmpl_eval_call(r, node, NULL, out);
}

int lg_tmpl_eval(struct lg_tmpl_run *r, const struct lg_tmpl_node *node, struct lg_value *out)
{
    static int (*const eval[])(struct lg_tmpl_run * r, const struct lg_tmpl_node *node,
                               struct lg_value *out) = {
        [LG_N_CONST] = eval_const,
        [LG_N_NAME] = eval_name,
        [LG_N_LIST] = eval_list,
        [LG_N_TUPLE] = eval_tuple,
        [LG_N_DICT] = eval_dict,
        [LG_N_NEG] = eval_sign,
        [LG_N_POS] = eval_sign,
        [LG_N_NOT] = eval_not,
        [LG_N_AND] = eval_logic,
        [LG_N_OR] = eval_logic,
        [LG_N_BINARY] = eval_binary,
        [LG_N_CONCAT] = eval_concat,
        [LG_N_COMPARE] = eval_compare,
        [LG_N_COND] = eval_cond,
        [LG_N_ATTR] = eval_attr,
        [LG_N_ITEM] = eval_item,
        [LG_N_SLICE] = eval_slice,
        [LG_N_CALL] = eval_call,
        [LG_N_FILTER] = lg_tmpl_eval_filter,
        [LG_N_TEST] = lg_tmpl_eval_test,
        [LG_N_CAPTURED] = eval_captured,
    };
    LG_TRY(lg_tmpl_enter(r));
    LG_TRY(lg_tmpl_charge(r, 1, 0));
    r->line = node->line;
    LG_TRY(eval[node->kind](r, node, out));
    lg_tmpl_leave(r);
    return 0;
}
