/* SPDX-License-Identifier: MIT
 * Statements, and what both parsers need. */
#include "text/template/internal.h"

/* ---- tokens ----------------------------------------------------------------------------------------- */

bool lg_tmpl_is_op(const struct lg_tmpl_parser *p, const char *op)
{
    return p->at->kind == LG_T_OP && lg_str_eq(p->at->text, op);
}

bool lg_tmpl_is_name(const struct lg_tmpl_parser *p, const char *name)
{
    return p->at->kind == LG_T_NAME && lg_str_eq(p->at->text, name);
}

bool lg_tmpl_skip_op(struct lg_tmpl_parser *p, const char *op)
{
    bool is = lg_tmpl_is_op(p, op);
    p->at += is;
    return is;
}

bool lg_tmpl_skip_name(struct lg_tmpl_parser *p, const char *name)
{
    bool is = lg_tmpl_is_name(p, name);
    p->at += is;
    return is;
}

int lg_tmpl_unexpected(struct lg_tmpl_parser *p, const char *wanted)
{
    char quote[LG_TMPL_QUOTE];
    if (p->at->kind == LG_T_EOF)
        return lg_tmpl_fail_at(p->env, p->at->line, "the template ends where %s should be", wanted);
    return lg_tmpl_fail_at(p->env, p->at->line, "'%s' stands where %s should be",
                           lg_tmpl_quote(p->at->text, quote), wanted);
}

int lg_tmpl_expect_op(struct lg_tmpl_parser *p, const char *op)
{
    char wanted[8];
    if (lg_tmpl_skip_op(p, op))
        return 0;
    wanted[0] = '\'';
    memcpy(wanted + 1, op, strlen(op));
    memcpy(wanted + 1 + strlen(op), "'", 2);
    return lg_tmpl_unexpected(p, wanted);
}

int lg_tmpl_expect_kind(struct lg_tmpl_parser *p, enum lg_tmpl_token_kind kind, const char *what)
{
    if (p->at->kind != kind)
        return lg_tmpl_unexpected(p, what);
    p->at++;
    return 0;
}

static int expect_name(struct lg_tmpl_parser *p, const char *name)
{
    return lg_tmpl_skip_name(p, name) ? 0 : lg_tmpl_unexpected(p, name);
}

static int expect_block_end(struct lg_tmpl_parser *p)
{
    return lg_tmpl_expect_kind(p, LG_T_BLOCK_END, "the end of the block");
}

/* ---- nodes ------------------------------------------------------------------------------------------ */

int lg_tmpl_node_new(struct lg_tmpl_parser *p, enum lg_tmpl_node_kind kind, struct lg_tmpl_node **out)
{
    *out = lg_arena_alloc(&p->t->arena, sizeof(**out));
    if (!*out)
        return lg_tmpl_fail_memory(p->env, &p->t->arena, p->at->line);
    (*out)->kind = (uint8_t)kind;
    (*out)->height = 1;
    (*out)->line = p->at->line;
    return 0;
}

int lg_tmpl_node_close(struct lg_tmpl_parser *p, struct lg_tmpl_node *node)
{
    const struct lg_tmpl_node *parts[] = {node->a, node->b, node->c, node->d, node->e};
    uint32_t height = 0;
    for (size_t i = 0; i < 5; i++)
        if (parts[i] && parts[i]->height > height)
            height = parts[i]->height;
    for (uint32_t i = 0; i < node->n; i++)
        if (node->list[i] && node->list[i]->height > height)
            height = node->list[i]->height;
    if (height >= p->t->limits.nesting)
        return lg_tmpl_fail_at(p->env, node->line, "it is nested deeper than %u levels",
                               p->t->limits.nesting);
    node->height = (uint16_t)(height + 1);
    return 0;
}

int lg_tmpl_nodes_add(struct lg_tmpl_parser *p, struct lg_tmpl_nodes *nodes, struct lg_tmpl_node *node)
{
    if (nodes->n == nodes->cap) {
        uint32_t cap = nodes->cap ? 2 * nodes->cap : 4;
        struct lg_tmpl_node **items = lg_arena_array(&p->t->arena, cap, sizeof(struct lg_tmpl_node *));
        if (!items)
            return lg_tmpl_fail_memory(p->env, &p->t->arena, p->at->line);
        if (nodes->n)
            memcpy(items, nodes->items, nodes->n * sizeof(struct lg_tmpl_node *));
        nodes->items = items;
        nodes->cap = cap;
    }
    nodes->items[nodes->n++] = node;
    return 0;
}

int lg_tmpl_parse_enter(struct lg_tmpl_parser *p)
{
    if (++p->depth > 2 * p->t->limits.nesting)
        return lg_tmpl_fail_at(p->env, p->at->line, "it is nested deeper than %u levels",
                               p->t->limits.nesting);
    return 0;
}

int lg_tmpl_parse_name(struct lg_tmpl_parser *p, struct lg_str name, uint32_t *out)
{
    struct lg_dict *names = p->t->names.dict;
    const struct lg_value *known = lg_dict_get(names, name);
    *out = known ? (uint32_t)known->i : names->n;
    if (known)
        return 0;
    struct lg_value key = lg_value_string(name.ptr, name.len), number = lg_value_int(names->n);
    return lg_dict_put(&p->t->arena, names, &key, &number)
               ? 0
               : lg_tmpl_fail_memory(p->env, &p->t->arena, p->at->line);
}

/* ---- statements ------------------------------------------------------------------------------------- */

static int parse_body(struct lg_tmpl_parser *p, const char *const *ends, struct lg_tmpl_node **out);

/** The body of a block up to one of the tags `ends`, which is not skipped. */
static int parse_block(struct lg_tmpl_parser *p, const char *const *ends, struct lg_tmpl_node **out)
{
    lg_tmpl_skip_op(p, ":");
    LG_TRY(expect_block_end(p));
    LG_TRY(lg_tmpl_parse_enter(p));
    LG_TRY(parse_body(p, ends, out));
    p->depth--;
    return 0;
}

/** The same with a single end, which is skipped. */
static int parse_whole_block(struct lg_tmpl_parser *p, const char *end, struct lg_tmpl_node **out)
{
    LG_TRY(parse_block(p, (const char *const[]){end, NULL}, out));
    p->at++;
    return 0;
}

static int parse_if(struct lg_tmpl_parser *p, struct lg_tmpl_node *node)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    struct lg_tmpl_nodes list = {0};
    struct lg_tmpl_node *part;
    do {
        LG_TRY(lg_tmpl_parse_tuple(p, LG_PARSE_NO_IF, &part));
        LG_TRY(lg_tmpl_nodes_add(p, &list, part));
        LG_TRY(parse_block(p, ends, &part));
        LG_TRY(lg_tmpl_nodes_add(p, &list, part));
    } while (lg_tmpl_skip_name(p, "elif"));
    node->list = list.items;
    node->n = list.n;
    if (lg_tmpl_skip_name(p, "else"))
        return parse_whole_block(p, "endif", &node->c);
    p->at++;
    return 0;
}

static int parse_for(struct lg_tmpl_parser *p, struct lg_tmpl_node *node)
{
    static const char *const ends[] = {"endfor", "else", NULL};
    LG_TRY(lg_tmpl_parse_target(p, LG_PARSE_FOR, &node->b));
    LG_TRY(expect_name(p, "in"));
    LG_TRY(lg_tmpl_parse_tuple(p, LG_PARSE_NO_IF, &node->a));
    if (lg_tmpl_skip_name(p, "if"))
        LG_TRY(lg_tmpl_parse_expr(p, 0, &node->e));
    if (lg_tmpl_is_name(p, "recursive"))
        return lg_tmpl_fail_at(p->env, p->at->line, "recursive loops are not supported");
    p->loops++;
    LG_TRY(parse_block(p, ends, &node->c));
    p->loops--;
    if (lg_tmpl_skip_name(p, "else"))
        return parse_whole_block(p, "endfor", &node->d);
    p->at++;
    return 0;
}

static int parse_set(struct lg_tmpl_parser *p, struct lg_tmpl_node *node)
{
    LG_TRY(lg_tmpl_parse_target(p, LG_PARSE_NS, &node->a));
    if (lg_tmpl_skip_op(p, "="))
        return lg_tmpl_parse_tuple(p, 0, &node->b);
    node->kind = LG_N_SET_BLOCK;
    if (lg_tmpl_is_op(p, "|")) {
        struct lg_tmpl_node *input;
        LG_TRY(lg_tmpl_node_new(p, LG_N_CAPTURED, &input));
        LG_TRY(lg_tmpl_parse_filters(p, input, false, &node->c));
    }
    return parse_whole_block(p, "endset", &node->b);
}

/** "(name, name=default)" into node->list. */
static int parse_signature(struct lg_tmpl_parser *p, struct lg_tmpl_node *node)
{
    struct lg_tmpl_nodes list = {0};
    struct lg_tmpl_node *param;
    bool defaults = false;
    LG_TRY(lg_tmpl_expect_op(p, "("));
    while (!lg_tmpl_is_op(p, ")")) {
        if (list.n > 0)
            LG_TRY(lg_tmpl_expect_op(p, ","));
        struct lg_str name = p->at->text;
        LG_TRY(lg_tmpl_node_new(p, LG_N_NAME, &param));
        LG_TRY(lg_tmpl_expect_kind(p, LG_T_NAME, "a parameter's name"));
        LG_TRY(lg_tmpl_parse_name(p, name, &param->name));
        if (lg_tmpl_skip_op(p, "=")) {
            LG_TRY(lg_tmpl_parse_expr(p, 0, &param->a));
            LG_TRY(lg_tmpl_node_close(p, param));
            defaults = true;
        } else if (defaults) {
            return lg_tmpl_fail_at(p->env, param->line, "a parameter without a default behind one with it");
        }
        LG_TRY(lg_tmpl_nodes_add(p, &list, param));
    }
    node->list = list.items;
    node->n = list.n;
    return lg_tmpl_expect_op(p, ")");
}

/** What is called later: names of the macro's own are noted on the way, and loops around it cannot be left.
 */
static int parse_macro_body(struct lg_tmpl_parser *p, const char *end, struct lg_tmpl_node *node)
{
    struct lg_tmpl_macro_scope scope = {p->macro, node};
    uint32_t loops = p->loops;
    p->macro = &scope;
    p->loops = 0;
    LG_TRY(parse_whole_block(p, end, &node->c));
    p->loops = loops;
    p->macro = scope.outer;
    return lg_tmpl_node_close(p, node);
}

static int parse_macro(struct lg_tmpl_parser *p, struct lg_tmpl_node *node)
{
    struct lg_str name = p->at->text;
    LG_TRY(lg_tmpl_expect_kind(p, LG_T_NAME, "a macro's name"));
    LG_TRY(lg_tmpl_parse_name(p, name, &node->name));
    LG_TRY(parse_signature(p, node));
    return parse_macro_body(p, "endmacro", node);
}

static int parse_call_block(struct lg_tmpl_parser *p, struct lg_tmpl_node *node)
{
    LG_TRY(lg_tmpl_node_new(p, LG_N_MACRO, &node->b));
    node->b->name = LG_NAME_CALLER;
    if (lg_tmpl_is_op(p, "("))
        LG_TRY(parse_signature(p, node->b));
    LG_TRY(lg_tmpl_parse_expr(p, 0, &node->a));
    if (node->a->kind != LG_N_CALL)
        return lg_tmpl_fail_at(p->env, node->line, "a call block without a call");
    return parse_macro_body(p, "endcall", node->b);
}

static int parse_filter_block(struct lg_tmpl_parser *p, struct lg_tmpl_node *node)
{
    struct lg_tmpl_node *input;
    LG_TRY(lg_tmpl_node_new(p, LG_N_CAPTURED, &input));
    LG_TRY(lg_tmpl_parse_filters(p, input, true, &node->a));
    return parse_whole_block(p, "endfilter", &node->b);
}

static int parse_with(struct lg_tmpl_parser *p, struct lg_tmpl_node *node)
{
    struct lg_tmpl_nodes list = {0};
    struct lg_tmpl_node *part;
    while (p->at->kind != LG_T_BLOCK_END) {
        if (list.n > 0)
            LG_TRY(lg_tmpl_expect_op(p, ","));
        LG_TRY(lg_tmpl_parse_target(p, 0, &part));
        LG_TRY(lg_tmpl_nodes_add(p, &list, part));
        LG_TRY(lg_tmpl_expect_op(p, "="));
        LG_TRY(lg_tmpl_parse_expr(p, 0, &part));
        LG_TRY(lg_tmpl_nodes_add(p, &list, part));
    }
    node->list = list.items;
    node->n = list.n;
    return parse_whole_block(p, "endwith", &node->b);
}

/** The text between is what a trainer looks for; here it is a block. */
static int parse_generation(struct lg_tmpl_parser *p, struct lg_tmpl_node *node)
{
    uint32_t loops = p->loops;
    p->loops = 0;
    LG_TRY(parse_whole_block(p, "endgeneration", &node->b));
    p->loops = loops;
    return 0;
}

static int parse_jump(struct lg_tmpl_parser *p, struct lg_tmpl_node *node)
{
    return p->loops ? 0 : lg_tmpl_fail_at(p->env, node->line, "break or continue outside a loop");
}

static int parse_unsupported(struct lg_tmpl_parser *p, struct lg_tmpl_node *node)
{
    char quote[LG_TMPL_QUOTE];
    return lg_tmpl_fail_at(p->env, node->line, "the statement '%s' is not supported",
                           lg_tmpl_quote(p->at[-1].text, quote));
}

static const struct {
    const char *tag;
    enum lg_tmpl_node_kind kind;
    int (*parse)(struct lg_tmpl_parser *p, struct lg_tmpl_node *node);
} statements[] = {
    {"if", LG_N_IF, parse_if},
    {"for", LG_N_FOR, parse_for},
    {"set", LG_N_SET, parse_set},
    {"macro", LG_N_MACRO, parse_macro},
    {"call", LG_N_CALL_BLOCK, parse_call_block},
    {"filter", LG_N_FILTER_BLOCK, parse_filter_block},
    {"with", LG_N_WITH, parse_with},
    {"generation", LG_N_SCOPE, parse_generation},
    {"break", LG_N_BREAK, parse_jump},
    {"continue", LG_N_CONTINUE, parse_jump},
    // They refer to other templates, to streams or to HTML, none of which a chat has.
    {"include", LG_N_BODY, parse_unsupported},
    {"import", LG_N_BODY, parse_unsupported},
    {"from", LG_N_BODY, parse_unsupported},
    {"extends", LG_N_BODY, parse_unsupported},
    {"block", LG_N_BODY, parse_unsupported},
    {"autoescape", LG_N_BODY, parse_unsupported},
    {"print", LG_N_BODY, parse_unsupported},
};

static int parse_statement(struct lg_tmpl_parser *p, struct lg_tmpl_node **out)
{
    for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++) {
        if (!lg_tmpl_is_name(p, statements[i].tag))
            continue;
        LG_TRY(lg_tmpl_node_new(p, statements[i].kind, out));
        p->at++;
        LG_TRY(statements[i].parse(p, *out));
        LG_TRY(lg_tmpl_node_close(p, *out));
        return expect_block_end(p);
    }
    return lg_tmpl_unexpected(p, "a statement");
}

static bool is_end(const struct lg_tmpl_parser *p, const char *const *ends)
{
    for (; ends && *ends; ends++)
        if (lg_tmpl_is_name(p, *ends))
            return true;
    return false;
}

/** Data, expressions and statements up to one of the tags `ends`; NULL: up to the end of the template. */
static int parse_body(struct lg_tmpl_parser *p, const char *const *ends, struct lg_tmpl_node **out)
{
    struct lg_tmpl_nodes list = {0};
    LG_TRY(lg_tmpl_node_new(p, LG_N_BODY, out));
    while (p->at->kind != LG_T_EOF) {
        struct lg_tmpl_node *node = NULL;
        if (p->at->kind == LG_T_DATA) {
            LG_TRY(lg_tmpl_node_new(p, LG_N_TEXT, &node));
            node->value = lg_value_string(p->at->text.ptr, p->at->text.len);
            p->at++;
        } else if (p->at->kind == LG_T_PRINT) {
            LG_TRY(lg_tmpl_node_new(p, LG_N_PRINT, &node));
            p->at++;
            LG_TRY(lg_tmpl_parse_tuple(p, 0, &node->a));
            LG_TRY(lg_tmpl_expect_kind(p, LG_T_PRINT_END, "'}}'"));
            LG_TRY(lg_tmpl_node_close(p, node));
        } else {
            p->at++; // the beginning of a block: nothing else comes between tags
            if (is_end(p, ends))
                break;
            LG_TRY(parse_statement(p, &node));
        }
        LG_TRY(lg_tmpl_nodes_add(p, &list, node));
    }
    if (ends && p->at->kind == LG_T_EOF)
        return lg_tmpl_unexpected(p, ends[0]);
    (*out)->list = list.items;
    (*out)->n = list.n;
    return lg_tmpl_node_close(p, *out);
}

int lg_tmpl_parse_target(struct lg_tmpl_parser *p, uint32_t flags, struct lg_tmpl_node **out)
{
    return lg_tmpl_parse_tuple(p, flags | LG_PARSE_TARGET, out);
}

int lg_tmpl_parse(struct lg_tmpl_parser *p, struct lg_tmpl_node **out)
{
    return parse_body(p, NULL, out);
}
