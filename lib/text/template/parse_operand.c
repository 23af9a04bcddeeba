/* SPDX-License-Identifier: MIT
 *
 * Operands of expressions: names, literals and brackets; what may follow one: attributes, subscripts, calls,
 * filters and tests.
 */
#include "text/template/internal.h"

int lg_tmpl_node_unary(struct lg_tmpl_parser *p, enum lg_tmpl_node_kind kind, struct lg_tmpl_node *a,
                       struct lg_tmpl_node **out)
{
    LG_TRY(lg_tmpl_node_new(p, kind, out));
    (*out)->a = a;
    return lg_tmpl_node_close(p, *out);
}

/* ---- what an operand is made of --------------------------------------------------------------------- */

static int new_const(struct lg_tmpl_parser *p, struct lg_value value, struct lg_tmpl_node **out)
{
    LG_TRY(lg_tmpl_node_new(p, LG_N_CONST, out));
    (*out)->value = value;
    return 0;
}

static int parse_number(struct lg_tmpl_parser *p, struct lg_value *out)
{
    struct lg_str text = p->at->text;
    char digits[64];
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '_')
            continue;
        if (n == sizeof(digits))
            return lg_tmpl_fail_at(p->env, p->at->line, "a number has more than %zu digits", sizeof(digits));
        digits[n++] = text.ptr[i];
    }
    bool right;
    if (p->at->kind == LG_T_FLOAT) {
        out->kind = LG_VALUE_FLOAT;
        right = lg_number_parse(digits, n, &out->f);
    } else {
        char letter = n > 2 ? (char)(digits[1] | 32) : 0;
        int base = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 10;
        size_t skip = base == 10 ? 0 : 2;
        out->kind = LG_VALUE_INT;
        right = lg_number_parse_int(digits + skip, n - skip, base, &out->i);
    }
    if (!right)
        return lg_tmpl_fail_at(p->env, p->at->line, "a number beyond 64 bits");
    p->at++;
    return 0;
}

/** Strings next to each other are one. */
static int parse_string(struct lg_tmpl_parser *p, struct lg_value *out)
{
    struct lg_arena *arena = &p->t->arena;
    struct lg_str text = p->at++->text;
    while (p->at->kind == LG_T_STRING) {
        struct lg_str more = p->at->text;
        char *joined = lg_arena_bytes(arena, text.len + more.len);
        if (!joined)
            return lg_tmpl_fail_memory(p->env, arena, p->at->line);
        memcpy(joined, text.ptr, text.len);
        memcpy(joined + text.len, more.ptr, more.len);
        text = (struct lg_str){joined, text.len + more.len};
        p->at++;
    }
    *out = lg_value_string(text.ptr, text.len);
    return 0;
}

/** Macros pass on what their bodies name among these three. */
static void mark_macros(struct lg_tmpl_parser *p, uint32_t name)
{
    static const uint8_t flags[LG_NAME_N] = {
        [LG_NAME_CALLER] = LG_MACRO_CALLER,
        [LG_NAME_KWARGS] = LG_MACRO_KWARGS,
        [LG_NAME_VARARGS] = LG_MACRO_VARARGS,
    };
    for (struct lg_tmpl_macro_scope *m = p->macro; m && name < LG_NAME_N; m = m->outer)
        m->node->op |= flags[name];
}

static int parse_name(struct lg_tmpl_parser *p, uint32_t flags, struct lg_tmpl_node **out)
{
    static const struct {
        const char *text;
        struct lg_value value;
    } consts[] = {
        {"true", {.kind = LG_VALUE_BOOL, .i = 1}},  {"True", {.kind = LG_VALUE_BOOL, .i = 1}},
        {"false", {.kind = LG_VALUE_BOOL, .i = 0}}, {"False", {.kind = LG_VALUE_BOOL, .i = 0}},
        {"none", {.kind = LG_VALUE_NONE}},          {"None", {.kind = LG_VALUE_NONE}},
    };
    struct lg_str text = p->at->text;
    for (size_t i = 0; i < sizeof(consts) / sizeof(consts[0]); i++) {
        if (!lg_str_eq(text, consts[i].text))
            continue;
        if (flags & LG_PARSE_TARGET)
            return lg_tmpl_unexpected(p, "a name to assign to");
        p->at++;
        return new_const(p, consts[i].value, out);
    }
    LG_TRY(lg_tmpl_node_new(p, LG_N_NAME, out));
    LG_TRY(lg_tmpl_parse_name(p, text, &(*out)->name));
    p->at++;
    if (!(flags & LG_PARSE_TARGET))
        mark_macros(p, (*out)->name);
    if (!(flags & LG_PARSE_NS) || !lg_tmpl_skip_op(p, "."))
        return 0;
    (*out)->kind = LG_N_NS_ATTR;
    (*out)->value = lg_value_string(p->at->text.ptr, p->at->text.len);
    return lg_tmpl_expect_kind(p, LG_T_NAME, "a name");
}

/** Items between commas up to a closing bracket; `pairs`: each is "key: value". */
static int parse_items(struct lg_tmpl_parser *p, const char *close, bool pairs, struct lg_tmpl_node *node)
{
    struct lg_tmpl_nodes items = {0};
    struct lg_tmpl_node *item;
    while (!lg_tmpl_is_op(p, close)) {
        if (items.n > 0)
            LG_TRY(lg_tmpl_expect_op(p, ","));
        if (lg_tmpl_is_op(p, close))
            break;
        LG_TRY(lg_tmpl_parse_expr(p, 0, &item));
        LG_TRY(lg_tmpl_nodes_add(p, &items, item));
        if (!pairs)
            continue;
        LG_TRY(lg_tmpl_expect_op(p, ":"));
        LG_TRY(lg_tmpl_parse_expr(p, 0, &item));
        LG_TRY(lg_tmpl_nodes_add(p, &items, item));
    }
    node->list = items.items;
    node->n = items.n;
    LG_TRY(lg_tmpl_expect_op(p, close));
    return lg_tmpl_node_close(p, node);
}

int lg_tmpl_parse_primary(struct lg_tmpl_parser *p, uint32_t flags, struct lg_tmpl_node **out)
{
    struct lg_value value = {0};
    if (p->at->kind == LG_T_NAME)
        return parse_name(p, flags, out);
    if (lg_tmpl_skip_op(p, "(")) {
        LG_TRY(lg_tmpl_parse_tuple(p, (flags & (LG_PARSE_TARGET | LG_PARSE_NS)) | LG_PARSE_PARENS, out));
        return lg_tmpl_expect_op(p, ")");
    }
    if (flags & LG_PARSE_TARGET)
        return lg_tmpl_unexpected(p, "a name to assign to");
    switch (p->at->kind) {
    case LG_T_STRING: LG_TRY(parse_string(p, &value)); return new_const(p, value, out);
    case LG_T_INT:
    case LG_T_FLOAT: LG_TRY(parse_number(p, &value)); return new_const(p, value, out);
    default: break;
    }
    bool is_dict = lg_tmpl_is_op(p, "{");
    if (!is_dict && !lg_tmpl_is_op(p, "["))
        return lg_tmpl_unexpected(p, "an expression");
    LG_TRY(lg_tmpl_node_new(p, is_dict ? LG_N_DICT : LG_N_LIST, out));
    p->at++;
    return parse_items(p, is_dict ? "}" : "]", is_dict, *out);
}

/* ---- what follows an operand ------------------------------------------------------------------------ */

/** What may stand in a call, and behind what it may not. */
static const struct {
    uint8_t kind, is, not_behind;
} arguments[] = {
    {LG_N_BODY, 0, 7}, // by position
    {LG_N_KEYWORD, 1, 4},
    {LG_N_STAR, 2, 6},
    {LG_N_STARS, 4, 4},
};

static int parse_argument(struct lg_tmpl_parser *p, uint32_t *seen, struct lg_tmpl_node **out)
{
    const struct lg_tmpl_token *at = p->at;
    size_t form = 0;
    if (lg_tmpl_skip_op(p, "*")) {
        form = 2;
    } else if (lg_tmpl_skip_op(p, "**")) {
        form = 3;
    } else if (at->kind == LG_T_NAME && at[1].kind == LG_T_OP && lg_str_eq(at[1].text, "=")) {
        form = 1;
        p->at += 2;
    }
    if (*seen & arguments[form].not_behind)
        return lg_tmpl_fail_at(p->env, at->line, "the arguments of a call are in a wrong order");
    *seen |= arguments[form].is;
    struct lg_tmpl_node *value;
    LG_TRY(lg_tmpl_parse_expr(p, 0, &value));
    if (form == 0) {
        *out = value;
        return 0;
    }
    LG_TRY(lg_tmpl_node_unary(p, arguments[form].kind, value, out));
    (*out)->value = lg_value_string(at->text.ptr, at->text.len);
    return 0;
}

/** "(...)" of a call, a filter or a test. */
static int parse_arguments(struct lg_tmpl_parser *p, struct lg_tmpl_node *node)
{
    struct lg_tmpl_nodes items = {0};
    struct lg_tmpl_node *item;
    uint32_t seen = 0;
    LG_TRY(lg_tmpl_expect_op(p, "("));
    while (!lg_tmpl_is_op(p, ")")) {
        if (items.n > 0)
            LG_TRY(lg_tmpl_expect_op(p, ","));
        if (lg_tmpl_is_op(p, ")"))
            break;
        LG_TRY(parse_argument(p, &seen, &item));
        LG_TRY(lg_tmpl_nodes_add(p, &items, item));
    }
    node->list = items.items;
    node->n = items.n;
    LG_TRY(lg_tmpl_expect_op(p, ")"));
    return lg_tmpl_node_close(p, node);
}

/** One of three parts of a slice, or NULL where it is left out. */
static int parse_slice_part(struct lg_tmpl_parser *p, struct lg_tmpl_node **out)
{
    *out = NULL;
    if (lg_tmpl_is_op(p, ":") || lg_tmpl_is_op(p, "]") || lg_tmpl_is_op(p, ","))
        return 0;
    return lg_tmpl_parse_expr(p, 0, out);
}

/** "a:b:c" with `first` behind it. */
static int parse_slice(struct lg_tmpl_parser *p, struct lg_tmpl_node *of, struct lg_tmpl_node *first,
                       struct lg_tmpl_node **out)
{
    struct lg_tmpl_node *parts[3] = {first};
    struct lg_tmpl_nodes list = {0};
    LG_TRY(parse_slice_part(p, &parts[1]));
    if (lg_tmpl_skip_op(p, ":"))
        LG_TRY(parse_slice_part(p, &parts[2]));
    LG_TRY(lg_tmpl_node_new(p, LG_N_SLICE, out));
    for (int i = 0; i < 3; i++)
        LG_TRY(lg_tmpl_nodes_add(p, &list, parts[i]));
    (*out)->a = of;
    (*out)->list = list.items;
    (*out)->n = list.n;
    return 0;
}

/** "[...]" behind `of`: an index, a slice, or a tuple without parentheses. */
static int parse_subscript(struct lg_tmpl_parser *p, struct lg_tmpl_node *of, struct lg_tmpl_node **out)
{
    struct lg_tmpl_node *first, *index;
    LG_TRY(lg_tmpl_expect_op(p, "["));
    LG_TRY(parse_slice_part(p, &first));
    if (lg_tmpl_skip_op(p, ":")) {
        LG_TRY(parse_slice(p, of, first, out));
        LG_TRY(lg_tmpl_expect_op(p, "]"));
        return lg_tmpl_node_close(p, *out);
    }
    if (!first)
        return lg_tmpl_unexpected(p, "a subscript");
    index = first;
    if (lg_tmpl_is_op(p, ",")) {
        struct lg_tmpl_nodes list = {0};
        LG_TRY(lg_tmpl_nodes_add(p, &list, first));
        while (lg_tmpl_skip_op(p, ",")) {
            LG_TRY(lg_tmpl_parse_expr(p, 0, &first));
            LG_TRY(lg_tmpl_nodes_add(p, &list, first));
        }
        LG_TRY(lg_tmpl_node_new(p, LG_N_TUPLE, &index));
        index->list = list.items;
        index->n = list.n;
        LG_TRY(lg_tmpl_node_close(p, index));
    }
    LG_TRY(lg_tmpl_expect_op(p, "]"));
    LG_TRY(lg_tmpl_node_new(p, LG_N_ITEM, out));
    (*out)->a = of;
    (*out)->b = index;
    return lg_tmpl_node_close(p, *out);
}

/** ".name" or ".0" behind `of`. */
static int parse_attribute(struct lg_tmpl_parser *p, struct lg_tmpl_node *of, struct lg_tmpl_node **out)
{
    if (p->at->kind == LG_T_INT) {
        struct lg_value index = {0};
        LG_TRY(lg_tmpl_node_new(p, LG_N_ITEM, out));
        LG_TRY(parse_number(p, &index));
        LG_TRY(new_const(p, index, &(*out)->b));
    } else {
        LG_TRY(lg_tmpl_node_new(p, LG_N_ATTR, out));
        (*out)->value = lg_value_string(p->at->text.ptr, p->at->text.len);
        LG_TRY(lg_tmpl_expect_kind(p, LG_T_NAME, "a name"));
    }
    (*out)->a = of;
    return lg_tmpl_node_close(p, *out);
}

static int parse_call(struct lg_tmpl_parser *p, struct lg_tmpl_node *callee, struct lg_tmpl_node **out)
{
    LG_TRY(lg_tmpl_node_new(p, LG_N_CALL, out));
    (*out)->a = callee;
    return parse_arguments(p, *out);
}

int lg_tmpl_parse_postfix(struct lg_tmpl_parser *p, struct lg_tmpl_node **node)
{
    for (;;) {
        if (lg_tmpl_skip_op(p, "."))
            LG_TRY(parse_attribute(p, *node, node));
        else if (lg_tmpl_is_op(p, "["))
            LG_TRY(parse_subscript(p, *node, node));
        else if (lg_tmpl_is_op(p, "("))
            LG_TRY(parse_call(p, *node, node));
        else
            return 0;
    }
}

int lg_tmpl_parse_filters(struct lg_tmpl_parser *p, struct lg_tmpl_node *input, bool bare,
                          struct lg_tmpl_node **out)
{
    *out = input;
    while (bare || lg_tmpl_skip_op(p, "|")) {
        struct lg_tmpl_node *node;
        struct lg_str name = p->at->text;
        LG_TRY(lg_tmpl_node_new(p, LG_N_FILTER, &node));
        LG_TRY(lg_tmpl_expect_kind(p, LG_T_NAME, "a filter's name"));
        node->a = *out;
        node->value = lg_value_string(name.ptr, name.len);
        node->builtin = lg_tmpl_find_filter(name);
        if (lg_tmpl_is_op(p, "("))
            LG_TRY(parse_arguments(p, node));
        else
            LG_TRY(lg_tmpl_node_close(p, node));
        *out = node;
        bare = false;
    }
    return 0;
}

/** "is name", "is not name", with arguments in parentheses or a single one without. */
static int parse_test(struct lg_tmpl_parser *p, struct lg_tmpl_node *input, struct lg_tmpl_node **out)
{
    bool negated = lg_tmpl_skip_name(p, "not");
    struct lg_str name = p->at->text;
    struct lg_tmpl_node *node;
    LG_TRY(lg_tmpl_node_new(p, LG_N_TEST, &node));
    LG_TRY(lg_tmpl_expect_kind(p, LG_T_NAME, "a test's name"));
    node->a = input;
    node->value = lg_value_string(name.ptr, name.len);
    node->builtin = lg_tmpl_find_test(name);
    uint8_t kind = p->at->kind;
    bool operand = kind == LG_T_NAME || kind == LG_T_STRING || kind == LG_T_INT || kind == LG_T_FLOAT ||
                   lg_tmpl_is_op(p, "[") || lg_tmpl_is_op(p, "{");
    if (lg_tmpl_is_op(p, "(")) {
        LG_TRY(parse_arguments(p, node));
    } else if (operand && !lg_tmpl_is_name(p, "else") && !lg_tmpl_is_name(p, "or") &&
               !lg_tmpl_is_name(p, "and")) {
        struct lg_tmpl_nodes args = {0};
        struct lg_tmpl_node *arg;
        if (lg_tmpl_is_name(p, "is"))
            return lg_tmpl_unexpected(p, "the end of a test");
        LG_TRY(lg_tmpl_parse_primary(p, 0, &arg));
        LG_TRY(lg_tmpl_parse_postfix(p, &arg));
        LG_TRY(lg_tmpl_nodes_add(p, &args, arg));
        node->list = args.items;
        node->n = args.n;
    }
    LG_TRY(lg_tmpl_node_close(p, node));
    *out = node;
    return negated ? lg_tmpl_node_unary(p, LG_N_NOT, node, out) : 0;
}

int lg_tmpl_parse_tests(struct lg_tmpl_parser *p, struct lg_tmpl_node **node)
{
    for (;;) {
        if (lg_tmpl_is_op(p, "|"))
            LG_TRY(lg_tmpl_parse_filters(p, *node, false, node));
        else if (lg_tmpl_skip_name(p, "is"))
            LG_TRY(parse_test(p, *node, node));
        else if (lg_tmpl_is_op(p, "("))
            LG_TRY(parse_call(p, *node, node));
        else
            return 0;
    }
}
