/* SPDX-License-Identifier: MIT
 *
 * Expressions, by precedence climbing. From the loosest: x if y else z, or, and, not, comparisons, + and -,
 * ~, the other arithmetic, **, signs; filters and tests bind to the operand before them.
 */
#include "text/template/internal.h"

enum level {
    LEVEL_OR,
    LEVEL_AND,
    LEVEL_NOT,
    LEVEL_COMPARE,
    LEVEL_SUM,
    LEVEL_CONCAT,
    LEVEL_PRODUCT,
    LEVEL_POWER
};

struct operator
{
    const char *text; // "not in" is two names
    uint8_t level, kind, op;
};

static const struct operator operators[] = {
    {"or", LEVEL_OR, LG_N_OR, 0},
    {"and", LEVEL_AND, LG_N_AND, 0},
    {"==", LEVEL_COMPARE, LG_N_COMPARE, LG_OP_EQ},
    {"!=", LEVEL_COMPARE, LG_N_COMPARE, LG_OP_NE},
    {"<", LEVEL_COMPARE, LG_N_COMPARE, LG_OP_LT},
    {"<=", LEVEL_COMPARE, LG_N_COMPARE, LG_OP_LE},
    {">", LEVEL_COMPARE, LG_N_COMPARE, LG_OP_GT},
    {">=", LEVEL_COMPARE, LG_N_COMPARE, LG_OP_GE},
    {"in", LEVEL_COMPARE, LG_N_COMPARE, LG_OP_IN},
    {"not in", LEVEL_COMPARE, LG_N_COMPARE, LG_OP_NOT_IN},
    {"+", LEVEL_SUM, LG_N_BINARY, LG_OP_ADD},
    {"-", LEVEL_SUM, LG_N_BINARY, LG_OP_SUB},
    {"~", LEVEL_CONCAT, LG_N_CONCAT, 0},
    {"*", LEVEL_PRODUCT, LG_N_BINARY, LG_OP_MUL},
    {"/", LEVEL_PRODUCT, LG_N_BINARY, LG_OP_DIV},
    {"//", LEVEL_PRODUCT, LG_N_BINARY, LG_OP_FLOOR},
    {"%", LEVEL_PRODUCT, LG_N_BINARY, LG_OP_MOD},
    {"**", LEVEL_POWER, LG_N_BINARY, LG_OP_POW},
};

/** The operator that comes next, or NULL. */
static const struct operator* peek_operator(const struct lg_tmpl_parser *p)
{
    const struct lg_tmpl_token *t = p->at;
    if (t->kind != LG_T_OP && t->kind != LG_T_NAME)
        return NULL;
    bool not_in = t->kind == LG_T_NAME && lg_str_eq(t->text, "not") && t[1].kind == LG_T_NAME &&
                  lg_str_eq(t[1].text, "in");
    for (size_t i = 0; i < sizeof(operators) / sizeof(operators[0]); i++)
        if (not_in ? operators[i].op == LG_OP_NOT_IN : lg_str_eq(t->text, operators[i].text))
            return &operators[i];
    return NULL;
}

/* ---- operators -------------------------------------------------------------------------------------- */

static int parse_unary(struct lg_tmpl_parser *p, bool filters, struct lg_tmpl_node **out)
{
    bool negative = lg_tmpl_is_op(p, "-");
    if (negative || lg_tmpl_is_op(p, "+")) {
        LG_TRY(lg_tmpl_parse_enter(p));
        p->at++;
        LG_TRY(parse_unary(p, false, out));
        LG_TRY(lg_tmpl_node_unary(p, negative ? LG_N_NEG : LG_N_POS, *out, out));
        p->depth--;
    } else {
        LG_TRY(lg_tmpl_parse_primary(p, 0, out));
    }
    LG_TRY(lg_tmpl_parse_postfix(p, out));
    return filters ? lg_tmpl_parse_tests(p, out) : 0;
}

/** Joins two operands. Comparisons and ~ in a row are one node: *chain, NULL when they begin. */
static int join(struct lg_tmpl_parser *p, const struct operator* op, struct lg_tmpl_node *left,
                struct lg_tmpl_node *right, struct lg_tmpl_nodes *chain, struct lg_tmpl_node **out)
{
    bool chained = op->kind == LG_N_COMPARE || op->kind == LG_N_CONCAT;
    struct lg_tmpl_node *node = left;
    if (!chained || chain->n == 0) {
        LG_TRY(lg_tmpl_node_new(p, op->kind, &node));
        node->line = left->line;
        node->a = left;
    }
    *out = node;
    if (!chained) {
        node->op = op->op;
        node->b = right;
        return lg_tmpl_node_close(p, node);
    }
    if (op->kind == LG_N_COMPARE) {
        struct lg_tmpl_node *operand;
        LG_TRY(lg_tmpl_node_new(p, LG_N_BINARY, &operand));
        operand->op = op->op;
        operand->b = right;
        LG_TRY(lg_tmpl_node_close(p, operand));
        right = operand;
    }
    LG_TRY(lg_tmpl_nodes_add(p, chain, right));
    node->list = chain->items;
    node->n = chain->n;
    return lg_tmpl_node_close(p, node);
}

/** Operands and the operators between them that bind at least as tight as `level`. */
static int parse_level(struct lg_tmpl_parser *p, uint8_t level, struct lg_tmpl_node **out)
{
    LG_TRY(lg_tmpl_parse_enter(p));
    if (level <= LEVEL_NOT && lg_tmpl_skip_name(p, "not")) {
        LG_TRY(parse_level(p, LEVEL_NOT, out));
        LG_TRY(lg_tmpl_node_unary(p, LG_N_NOT, *out, out));
    } else {
        LG_TRY(parse_unary(p, true, out));
    }
    struct lg_tmpl_nodes chain = {0};
    uint8_t last = LEVEL_POWER + 1;
    for (const struct operator* op; (op = peek_operator(p)) && op->level >= level; last = op->level) {
        struct lg_tmpl_node *right;
        p->at += op->op == LG_OP_NOT_IN ? 2 : 1;
        LG_TRY(parse_level(p, op->level + 1, &right));
        if (op->level != last)
            chain = (struct lg_tmpl_nodes){0};
        LG_TRY(join(p, op, *out, right, &chain, out));
    }
    p->depth--;
    return 0;
}

static int parse_condition(struct lg_tmpl_parser *p, struct lg_tmpl_node **out)
{
    while (lg_tmpl_skip_name(p, "if")) {
        struct lg_tmpl_node *node;
        LG_TRY(lg_tmpl_node_new(p, LG_N_COND, &node));
        node->b = *out;
        LG_TRY(parse_level(p, LEVEL_OR, &node->a));
        if (lg_tmpl_skip_name(p, "else"))
            LG_TRY(lg_tmpl_parse_expr(p, 0, &node->c));
        LG_TRY(lg_tmpl_node_close(p, node));
        *out = node;
    }
    return 0;
}

int lg_tmpl_parse_expr(struct lg_tmpl_parser *p, uint32_t flags, struct lg_tmpl_node **out)
{
    LG_TRY(lg_tmpl_parse_enter(p));
    if (flags & LG_PARSE_TARGET)
        LG_TRY(lg_tmpl_parse_primary(p, flags, out));
    else
        LG_TRY(parse_level(p, LEVEL_OR, out));
    if (!(flags & (LG_PARSE_TARGET | LG_PARSE_NO_IF)))
        LG_TRY(parse_condition(p, out));
    p->depth--;
    return 0;
}

static bool ends_tuple(const struct lg_tmpl_parser *p, uint32_t flags)
{
    return p->at->kind == LG_T_PRINT_END || p->at->kind == LG_T_BLOCK_END || lg_tmpl_is_op(p, ")") ||
           (flags & LG_PARSE_FOR && lg_tmpl_is_name(p, "in"));
}

int lg_tmpl_parse_tuple(struct lg_tmpl_parser *p, uint32_t flags, struct lg_tmpl_node **out)
{
    struct lg_tmpl_nodes items = {0};
    uint32_t item_flags = flags & ~(uint32_t)LG_PARSE_PARENS;
    const struct lg_tmpl_token *at = p->at;
    for (;;) {
        if (ends_tuple(p, flags))
            break;
        LG_TRY(lg_tmpl_parse_expr(p, item_flags, out));
        if (items.n == 0 && !lg_tmpl_is_op(p, ","))
            return 0; // not a tuple
        LG_TRY(lg_tmpl_nodes_add(p, &items, *out));
        if (!lg_tmpl_skip_op(p, ","))
            break;
    }
    if (items.n == 0 && !(flags & LG_PARSE_PARENS))
        return lg_tmpl_unexpected(p, "an expression");
    LG_TRY(lg_tmpl_node_new(p, LG_N_TUPLE, out));
    (*out)->line = at->line;
    (*out)->list = items.items;
    (*out)->n = items.n;
    return lg_tmpl_node_close(p, *out);
}
