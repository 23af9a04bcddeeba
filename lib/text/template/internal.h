/* SPDX-License-Identifier: MIT
 *
 * What the files of the template interpreter share.
 *
 *   lex.c        text to tokens, with the white space control of blocks
 *   parse.c      tokens to statements; parse_expr.c to expressions
 *   template.c   a template's life, and what a rendering begins and ends with
 *   exec.c       runs statements; loop.c the for loop and its `loop`
 *   eval.c       evaluates expressions; call.c binds arguments and calls
 *   ops.c        arithmetic, comparisons, subscripts
 *   value.c      what all values have in common; dict.c dictionaries; cursor.c going through values
 *   print.c      values as text: str(), repr(), JSON; number.c numbers as text; format.c "%s" and "{}"
 *   string.c     text as characters; case.c upper and lower
 *   filters*.c, tests.c, methods.c, globals.c   tables of what a template can call
 *   json.c       the reader of JSON
 */
#ifndef LG_TEXT_TEMPLATE_INTERNAL_H
#define LG_TEXT_TEMPLATE_INTERNAL_H

#include "gguf/gguf.h"
#include "text/template.h"

/* ---- tokens ----------------------------------------------------------------------------------------- */

enum lg_tmpl_token_kind {
    LG_T_EOF,
    LG_T_DATA,  // text as it is
    LG_T_PRINT, // {{
    LG_T_PRINT_END,
    LG_T_BLOCK, // {%
    LG_T_BLOCK_END,
    LG_T_NAME,
    LG_T_STRING, // with its escapes undone
    LG_T_INT,
    LG_T_FLOAT,
    LG_T_OP, // the operator is the token's text
};

struct lg_tmpl_token {
    uint8_t kind;
    uint32_t line;
    struct lg_str text;
};

struct lg_tmpl_tokens {
    struct lg_tmpl_token *items; // the last one is LG_T_EOF
    uint32_t n, cap;
};

/* ---- the tree --------------------------------------------------------------------------------------- */

enum lg_tmpl_node_kind {
    // Statements.
    LG_N_BODY,         // list
    LG_N_TEXT,         // value
    LG_N_PRINT,        // a
    LG_N_IF,           // list: tests and bodies in turn, c: else or NULL
    LG_N_FOR,          // a: iterable, b: target, c: body, d: else or NULL, e: filter or NULL
    LG_N_SET,          // a: target, b: expression
    LG_N_SET_BLOCK,    // a: target, b: body, c: filter or NULL
    LG_N_MACRO,        // name, list: parameters (NAME with its default in a), c: body
    LG_N_CALL_BLOCK,   // a: the call, b: a MACRO without a name
    LG_N_FILTER_BLOCK, // a: filters, b: body
    LG_N_WITH,         // list: targets and expressions in turn, b: body
    LG_N_SCOPE,        // b: body
    LG_N_BREAK,
    LG_N_CONTINUE,
    // Expressions.
    LG_N_CONST,    // value
    LG_N_NAME,     // name
    LG_N_NS_ATTR,  // name.value, as a target
    LG_N_LIST,     // list
    LG_N_TUPLE,    // list
    LG_N_DICT,     // list: keys and values in turn
    LG_N_NEG,      // a
    LG_N_POS,      // a
    LG_N_NOT,      // a
    LG_N_AND,      // a, b
    LG_N_OR,       // a, b
    LG_N_BINARY,   // op, a, b
    LG_N_CONCAT,   // list
    LG_N_COMPARE,  // a, list: operands, each a BINARY without a
    LG_N_COND,     // a: test, b, c or NULL
    LG_N_ATTR,     // a, value: name
    LG_N_ITEM,     // a, b
    LG_N_SLICE,    // a, list: three expressions or NULL
    LG_N_CALL,     // a, list: arguments
    LG_N_FILTER,   // a, value: name, list: arguments
    LG_N_TEST,     // a, value: name, list: arguments
    LG_N_CAPTURED, // the text that a filter block has caught
    // Arguments of calls.
    LG_N_KEYWORD, // value: name, a
    LG_N_STAR,    // *a
    LG_N_STARS,   // **a
};

enum lg_tmpl_op {
    LG_OP_ADD,
    LG_OP_SUB,
    LG_OP_MUL,
    LG_OP_DIV,
    LG_OP_FLOOR,
    LG_OP_MOD,
    LG_OP_POW,
    LG_OP_EQ,
    LG_OP_NE,
    LG_OP_LT,
    LG_OP_LE,
    LG_OP_GT,
    LG_OP_GE,
    LG_OP_IN,
    LG_OP_NOT_IN,
};

/** What a macro's body asks for. */
enum lg_tmpl_macro_flags {
    LG_MACRO_CALLER = 1,
    LG_MACRO_KWARGS = 2,
    LG_MACRO_VARARGS = 4,
};

struct lg_tmpl_builtin;

struct lg_tmpl_node {
    uint8_t kind, op; // op of a MACRO: its flags
    uint16_t height;  // nodes on the longest way down
    uint32_t line;
    uint32_t name; // of lg_template::names
    uint32_t n;    // length of `list`
    struct lg_tmpl_node *a, *b, *c, *d, *e;
    struct lg_tmpl_node **list;
    struct lg_value value;
    const struct lg_tmpl_builtin *builtin; // of FILTER and TEST; NULL when there is none of the name
};

/** Names that the interpreter itself uses, in the order in which they are interned. */
enum lg_tmpl_name { LG_NAME_LOOP, LG_NAME_CALLER, LG_NAME_KWARGS, LG_NAME_VARARGS, LG_NAME_N };

struct lg_template {
    struct lg_env *env;
    struct lg_arena arena;
    struct lg_template_limits limits;
    struct lg_tmpl_node *body;
    struct lg_value names; // dictionary: text to number; the pair at place i has the number i
};

/** What a parser works with. */
struct lg_tmpl_parser {
    struct lg_env *env;
    struct lg_template *t;
    struct lg_tmpl_tokens tokens;
    const struct lg_tmpl_token *at;
    uint32_t depth;                    // of the parser's own recursion
    uint32_t loops;                    // that `break` could end
    struct lg_tmpl_macro_scope *macro; // the innermost
};

/** A macro whose body is being parsed. */
struct lg_tmpl_macro_scope {
    struct lg_tmpl_macro_scope *outer;
    struct lg_tmpl_node *node;
};

/** Cuts the text into tokens, in the template's arena. The text must stay. */
int lg_tmpl_lex(struct lg_env *env, struct lg_template *t, const char *text, size_t len,
                struct lg_tmpl_tokens *out);

/** LLMGPU_E_TEMPLATE with the line. */
int lg_tmpl_fail_at(struct lg_env *env, uint32_t line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/** LLMGPU_E_NOMEM, or LLMGPU_E_TEMPLATE when the arena is full. */
int lg_tmpl_fail_memory(struct lg_env *env, const struct lg_arena *arena, uint32_t line);

/** Bytes that lg_tmpl_quote() fills at most. */
#define LG_TMPL_QUOTE 200

/** Text from a template or a message for a sentence: control characters blanked, what is long cut. */
const char *lg_tmpl_quote(struct lg_str s, char out[LG_TMPL_QUOTE]);

/* parse.c and parse_expr.c */
int lg_tmpl_parse(struct lg_tmpl_parser *p, struct lg_tmpl_node **out);
int lg_tmpl_node_new(struct lg_tmpl_parser *p, enum lg_tmpl_node_kind kind, struct lg_tmpl_node **out);
/** A node of one part, closed. */
int lg_tmpl_node_unary(struct lg_tmpl_parser *p, enum lg_tmpl_node_kind kind, struct lg_tmpl_node *a,
                       struct lg_tmpl_node **out);
/** Sets a node's height from those of its parts; fails beyond the limit. */
int lg_tmpl_node_close(struct lg_tmpl_parser *p, struct lg_tmpl_node *node);
int lg_tmpl_parse_enter(struct lg_tmpl_parser *p);
int lg_tmpl_parse_name(struct lg_tmpl_parser *p, struct lg_str name, uint32_t *out);
/** An array that grows; its final form is a node's list. */
struct lg_tmpl_nodes {
    struct lg_tmpl_node **items;
    uint32_t n, cap;
};
int lg_tmpl_nodes_add(struct lg_tmpl_parser *p, struct lg_tmpl_nodes *nodes, struct lg_tmpl_node *node);
bool lg_tmpl_is_op(const struct lg_tmpl_parser *p, const char *op);
bool lg_tmpl_is_name(const struct lg_tmpl_parser *p, const char *name);
/** Goes on when the token is there. */
bool lg_tmpl_skip_op(struct lg_tmpl_parser *p, const char *op);
bool lg_tmpl_skip_name(struct lg_tmpl_parser *p, const char *name);
int lg_tmpl_expect_op(struct lg_tmpl_parser *p, const char *op);
int lg_tmpl_expect_kind(struct lg_tmpl_parser *p, enum lg_tmpl_token_kind kind, const char *what);
int lg_tmpl_unexpected(struct lg_tmpl_parser *p, const char *wanted);

enum lg_tmpl_parse_flags {
    LG_PARSE_NO_IF = 1,  // "x if y else z" ends before the if
    LG_PARSE_TARGET = 2, // names only, as on the left of an assignment
    LG_PARSE_NS = 4,     // and attributes of namespaces
    LG_PARSE_PARENS = 8, // within parentheses, where an empty tuple may stand
    LG_PARSE_FOR = 16,   // of a for loop: ends before "in"
};
int lg_tmpl_parse_expr(struct lg_tmpl_parser *p, uint32_t flags, struct lg_tmpl_node **out);
/** An expression, or a tuple without parentheses. */
int lg_tmpl_parse_tuple(struct lg_tmpl_parser *p, uint32_t flags, struct lg_tmpl_node **out);
int lg_tmpl_parse_target(struct lg_tmpl_parser *p, uint32_t flags, struct lg_tmpl_node **out);
/** A name, a literal or what is in brackets. */
int lg_tmpl_parse_primary(struct lg_tmpl_parser *p, uint32_t flags, struct lg_tmpl_node **out);
/** Attributes, subscripts and calls behind *node; the other one: filters, tests and calls. */
int lg_tmpl_parse_postfix(struct lg_tmpl_parser *p, struct lg_tmpl_node **node);
int lg_tmpl_parse_tests(struct lg_tmpl_parser *p, struct lg_tmpl_node **node);
/** Filters behind `input`: "|a|b"; the first without its bar when `bare`. */
int lg_tmpl_parse_filters(struct lg_tmpl_parser *p, struct lg_tmpl_node *input, bool bare,
                          struct lg_tmpl_node **out);

/* ---- running ---------------------------------------------------------------------------------------- */

struct lg_tmpl_var {
    uint32_t name;
    struct lg_value value;
};

/** Variables of a loop's turn, a macro's call, a block. */
struct lg_tmpl_scope {
    struct lg_tmpl_scope *outer; // where what is not here is looked for
    struct lg_tmpl_var *vars;
    uint32_t n, cap;
    bool captured; // a macro refers to it
};

struct lg_tmpl_run {
    struct lg_env *env;
    const struct lg_template *t;
    struct lg_arena arena;
    const struct lg_value *vars; // what the caller gave
    struct lg_tmpl_scope *scope;
    uint64_t steps; // left
    uint32_t depth;
    uint32_t line;
    int64_t now;
    char *out; // what is written, and behind it what is being put together
    size_t n_out, cap_out;
    struct lg_value *stack; // arguments of the calls under way
    uint32_t n_stack;
    struct lg_value captured; // of LG_N_CAPTURED
};

/** Arguments of a call. */
struct lg_tmpl_args {
    const struct lg_value *v;
    uint32_t n;
    const struct lg_value *kw; // names and values in turn
    uint32_t n_kw;             // pairs
};

typedef int lg_tmpl_fn(struct lg_tmpl_run *r, const struct lg_value *self, const struct lg_tmpl_args *args,
                       struct lg_value *out);

/**
 * What a template can call. `params` are names with blanks between them; those with a '!' must be given, and
 * the function finds one value for each, LG_VALUE_MISSING for what was not given. "*" passes the arguments as
 * they are.
 */
struct lg_tmpl_builtin {
    const char *name;
    lg_tmpl_fn *fn;
    const char *params;
};

#define LG_TMPL_MAX_PARAMS 6
/** Arguments of all calls under way. */
#define LG_TMPL_MAX_STACK 4096

/** A macro with the variables around it. */
struct lg_tmpl_macro {
    const struct lg_tmpl_node *node;
    struct lg_tmpl_scope *scope;
};

/** A function with its first argument: "x.strip". */
struct lg_tmpl_method {
    struct lg_value self;
    const struct lg_tmpl_builtin *builtin;
};

struct lg_tmpl_range {
    int64_t start, stop, step; // `stop` is for printing
    uint32_t n;
};

/** Goes through a value. */
struct lg_tmpl_cursor {
    struct lg_value seq;
    uint32_t at; // items, or bytes of a string, that are behind
};

/** What dict.keys(), values() and items() differ in. */
enum lg_tmpl_view { LG_VIEW_KEYS, LG_VIEW_VALUES, LG_VIEW_ITEMS };
/** A tuple that groupby() gives has the attributes `grouper` and `list`. */
enum { LG_TUPLE_GROUP = 1 };

int lg_tmpl_fail(struct lg_tmpl_run *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int lg_tmpl_nomem(struct lg_tmpl_run *r);
/** Takes `n` steps and what `bytes` cost. */
int lg_tmpl_charge(struct lg_tmpl_run *r, uint64_t n, size_t bytes);
/** Each recursion counts while it lasts; lg_tmpl_leave() must follow when it succeeds. */
int lg_tmpl_enter(struct lg_tmpl_run *r);
static inline void lg_tmpl_leave(struct lg_tmpl_run *r)
{
    r->depth--;
}

/* exec.c and loop.c */
enum lg_tmpl_flow { LG_FLOW_ON, LG_FLOW_BREAK, LG_FLOW_CONTINUE };
/** 0 or more is a lg_tmpl_flow. */
int lg_tmpl_exec(struct lg_tmpl_run *r, const struct lg_tmpl_node *node);
int lg_tmpl_exec_for(struct lg_tmpl_run *r, const struct lg_tmpl_node *node);
int lg_tmpl_assign(struct lg_tmpl_run *r, const struct lg_tmpl_node *target, const struct lg_value *value);
int lg_tmpl_scope_new(struct lg_tmpl_run *r, struct lg_tmpl_scope *outer, struct lg_tmpl_scope **out);
int lg_tmpl_scope_set(struct lg_tmpl_run *r, struct lg_tmpl_scope *scope, uint32_t name,
                      const struct lg_value *value);
/** Sets *found when `loop` has the attribute. */
int lg_tmpl_loop_attr(struct lg_tmpl_run *r, const struct lg_value *loop, struct lg_str name, bool *found,
                      struct lg_value *out);
/** cycle() and changed(). */
extern const struct lg_tmpl_builtin lg_tmpl_loop_methods[];

/* eval.c and call.c */
int lg_tmpl_eval(struct lg_tmpl_run *r, const struct lg_tmpl_node *node, struct lg_value *out);
/** A variable, from the innermost scope outwards; then what the caller gave; then the globals; else
 * undefined. */
int lg_tmpl_lookup(struct lg_tmpl_run *r, uint32_t name, struct lg_value *out);
int lg_tmpl_call(struct lg_tmpl_run *r, const struct lg_value *callee, const struct lg_tmpl_args *args,
                 struct lg_value *out);
int lg_tmpl_call_builtin(struct lg_tmpl_run *r, const struct lg_tmpl_builtin *b, const struct lg_value *self,
                         const struct lg_tmpl_args *args, struct lg_value *out);
int lg_tmpl_call_macro(struct lg_tmpl_run *r, const struct lg_tmpl_macro *macro,
                       const struct lg_tmpl_args *args, struct lg_value *out);
/** `caller` is what a call block passes beside the arguments; NULL otherwise. */
int lg_tmpl_eval_call(struct lg_tmpl_run *r, const struct lg_tmpl_node *node, const struct lg_value *caller,
                      struct lg_value *out);
int lg_tmpl_eval_filter(struct lg_tmpl_run *r, const struct lg_tmpl_node *node, struct lg_value *out);
int lg_tmpl_eval_test(struct lg_tmpl_run *r, const struct lg_tmpl_node *node, struct lg_value *out);
/** Filters and tests by name, as map() and select() take them. */
int lg_tmpl_apply_filter(struct lg_tmpl_run *r, const struct lg_value *name, const struct lg_value *input,
                         const struct lg_tmpl_args *args, struct lg_value *out);
int lg_tmpl_apply_test(struct lg_tmpl_run *r, const struct lg_value *name, const struct lg_value *input,
                       const struct lg_tmpl_args *args, bool *out);

/* ops.c */
int lg_tmpl_binary(struct lg_tmpl_run *r, enum lg_tmpl_op op, const struct lg_value *a,
                   const struct lg_value *b, struct lg_value *out);
int lg_tmpl_equal(struct lg_tmpl_run *r, const struct lg_value *a, const struct lg_value *b, bool *out);
/** -1, 0 or 1; fails for what has no order. 2 where a NaN is in it. */
int lg_tmpl_compare(struct lg_tmpl_run *r, const struct lg_value *a, const struct lg_value *b, int *out);
int lg_tmpl_contains(struct lg_tmpl_run *r, const struct lg_value *seq, const struct lg_value *item,
                     bool *out);
/** Two strings as one; in place where the first is the last thing that was made. */
int lg_tmpl_concat(struct lg_tmpl_run *r, const struct lg_value *a, const struct lg_value *b,
                   struct lg_value *out);
int lg_tmpl_negate(struct lg_tmpl_run *r, const struct lg_value *v, struct lg_value *out);
/** x.name and x[key]; undefined when there is none. */
int lg_tmpl_attr(struct lg_tmpl_run *r, const struct lg_value *v, const struct lg_value *name,
                 struct lg_value *out);
int lg_tmpl_item(struct lg_tmpl_run *r, const struct lg_value *v, const struct lg_value *key,
                 struct lg_value *out);
/** `part` are start, stop and step, LG_VALUE_NONE where not given. */
int lg_tmpl_slice(struct lg_tmpl_run *r, const struct lg_value *v, const struct lg_value part[3],
                  struct lg_value *out);

/* value.c */
bool lg_tmpl_truth(const struct lg_value *v);
/** "str", "int", ... as Python calls it. */
const char *lg_tmpl_type_name(const struct lg_value *v);
static inline bool lg_tmpl_is_number(const struct lg_value *v)
{
    return v->kind >= LG_VALUE_BOOL && v->kind <= LG_VALUE_FLOAT;
}
static inline bool lg_tmpl_is_int(const struct lg_value *v)
{
    return v->kind == LG_VALUE_BOOL || v->kind == LG_VALUE_INT;
}
static inline double lg_tmpl_double(const struct lg_value *v)
{
    return v->kind == LG_VALUE_FLOAT ? v->f : (double)v->i;
}
static inline struct lg_str lg_tmpl_str(const struct lg_value *v)
{
    return (struct lg_str){v->s, v->n};
}
struct lg_value lg_value_float(double f);
struct lg_value lg_value_tuple(const struct lg_value *items, uint32_t n);
/** An undefined value that tells what it stands for: "'x' is undefined". */
int lg_tmpl_undefined(struct lg_tmpl_run *r, struct lg_value *out, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/** Fails because a value is undefined; 0 for others. */
int lg_tmpl_defined(struct lg_tmpl_run *r, const struct lg_value *v);
/** An array in the run's arena. */
int lg_tmpl_array(struct lg_tmpl_run *r, uint32_t n, struct lg_value **out);
int lg_tmpl_object(struct lg_tmpl_run *r, size_t size, void **out);
int lg_tmpl_list(struct lg_tmpl_run *r, struct lg_value *items, uint32_t n, uint32_t cap,
                 struct lg_value *out);
/** Copies bytes into the run's arena as a string. */
int lg_tmpl_copy(struct lg_tmpl_run *r, const char *s, size_t len, struct lg_value *out);
/** Converts or fails: "WHAT must be an integer, not a str". */
int lg_tmpl_to_int(struct lg_tmpl_run *r, const struct lg_value *v, const char *what, int64_t *out);
int lg_tmpl_to_str(struct lg_tmpl_run *r, const struct lg_value *v, const char *what, struct lg_str *out);

/* dict.c */
/** 0: there is none; 1. Fails for keys that cannot be hashed. */
int lg_tmpl_dict_find(struct lg_tmpl_run *r, const struct lg_dict *dict, const struct lg_value *key,
                      struct lg_value *out);
int lg_tmpl_dict_set(struct lg_tmpl_run *r, struct lg_dict *dict, const struct lg_value *key,
                     const struct lg_value *value);
/** The same for a text as a key. NULL when there is none. */
const struct lg_value *lg_dict_get(const struct lg_dict *dict, struct lg_str key);
/** False when the arena is full or there is no memory. */
bool lg_dict_put(struct lg_arena *arena, struct lg_dict *dict, const struct lg_value *key,
                 const struct lg_value *value);

/* cursor.c */
/** Fails for what cannot be gone through. */
int lg_tmpl_cursor(struct lg_tmpl_run *r, const struct lg_value *v, struct lg_tmpl_cursor *out);
/** False at the end. */
bool lg_tmpl_next(struct lg_tmpl_cursor *c, struct lg_value *out);
/** -1 when the value has no length. */
int64_t lg_tmpl_length(const struct lg_value *v);
/** All that is left as an array; fails like lg_tmpl_cursor(). */
int lg_tmpl_items(struct lg_tmpl_run *r, const struct lg_value *v, struct lg_value **items, uint32_t *n);
/** What can be gone through once, over an array. */
int lg_tmpl_iterator(struct lg_tmpl_run *r, struct lg_value *items, uint32_t n, struct lg_value *out);
/** A list that grows. */
struct lg_tmpl_items {
    struct lg_value *items;
    uint32_t n, cap;
};
int lg_tmpl_items_add(struct lg_tmpl_run *r, struct lg_tmpl_items *items, const struct lg_value *v);

/* print.c, number.c and format.c */
/** Writes bytes behind what is there. */
int lg_tmpl_write(struct lg_tmpl_run *r, const char *s, size_t len);
int lg_tmpl_write_str(struct lg_tmpl_run *r, const struct lg_value *v);
int lg_tmpl_write_repr(struct lg_tmpl_run *r, const struct lg_value *v);
/** Takes back what was written since `mark` (an earlier n_out), as a string. */
int lg_tmpl_take(struct lg_tmpl_run *r, size_t mark, struct lg_value *out);
/** str() of a value. */
int lg_tmpl_string(struct lg_tmpl_run *r, const struct lg_value *v, struct lg_value *out);

struct lg_tmpl_json {
    struct lg_str indent; // ptr NULL: all on one line
    struct lg_str item_separator, key_separator;
    bool ascii, sorted;
};
int lg_tmpl_write_json(struct lg_tmpl_run *r, const struct lg_value *v, const struct lg_tmpl_json *how);

/** Room for any number written by these. */
#define LG_NUMBER_ROOM 400
/** repr() of a float. Returns the length. */
size_t lg_number_repr(double f, char out[LG_NUMBER_ROOM]);
/** printf's 'e', 'f' or 'g' whatever the locale; precision at most 60. */
size_t lg_number_print(double f, char form, int precision, bool alternate, char out[LG_NUMBER_ROOM]);
/** The whole text as a number, in the C locale's form; white space around is not allowed. */
bool lg_number_parse(const char *s, size_t len, double *out);
/** An integer with an optional sign in base 2 to 36; false when it is none or too large. */
bool lg_number_parse_int(const char *s, size_t len, int base, int64_t *out);

int lg_tmpl_printf(struct lg_tmpl_run *r, struct lg_str format, const struct lg_tmpl_args *args,
                   struct lg_value *out);
int lg_tmpl_str_format(struct lg_tmpl_run *r, struct lg_str format, const struct lg_tmpl_args *args,
                       struct lg_value *out);

/* string.c and case.c */
bool lg_char_is_space(uint32_t c);
bool lg_char_is_newline(uint32_t c);
/** Decodes the character at `s`; a byte that is none stands for itself, above Unicode. Returns its length. */
size_t lg_char_at(const char *s, size_t n, uint32_t *c);
/** Encodes; returns the length. */
size_t lg_char_put(uint32_t c, char out[4]);
uint32_t lg_char_upper(uint32_t c);
uint32_t lg_char_lower(uint32_t c);
uint32_t lg_str_chars(struct lg_str s);
/** Byte where character `i` begins; the end beyond it. */
size_t lg_str_offset(struct lg_str s, uint32_t i);
enum { LG_STRIP_LEFT = 1, LG_STRIP_RIGHT = 2 };
/** `chars` NULL: white space. */
struct lg_str lg_str_strip(struct lg_str s, int sides, const struct lg_str *chars);
/** Offset of the first `needle` at or behind `from`, or SIZE_MAX. */
size_t lg_str_find(struct lg_str s, struct lg_str needle, size_t from);
/** Offset of the last one. */
int lg_tmpl_rfind(struct lg_tmpl_run *r, struct lg_str s, struct lg_str needle, size_t *out);
int lg_tmpl_upper(struct lg_tmpl_run *r, struct lg_str s, struct lg_value *out);
int lg_tmpl_lower(struct lg_tmpl_run *r, struct lg_str s, struct lg_value *out);
int lg_tmpl_replace(struct lg_tmpl_run *r, struct lg_str s, struct lg_str from, struct lg_str to,
                    int64_t count, struct lg_value *out);
/** Lines without their ends, as a list. */
int lg_tmpl_splitlines(struct lg_tmpl_run *r, struct lg_str s, bool keep_ends, struct lg_value *out);
int lg_tmpl_capitalize(struct lg_tmpl_run *r, struct lg_str s, struct lg_value *out);

/* filters*.c, tests.c, methods.c, globals.c */
/** "a.b.0" of an item, as `attribute` arguments mean it; MISSING or none is the item itself. */
int lg_tmpl_path(struct lg_tmpl_run *r, const struct lg_value *item, const struct lg_value *path,
                 const struct lg_value *otherwise, struct lg_value *out);
/** What was given for a parameter, or `otherwise`. */
static inline const struct lg_value *lg_tmpl_given(const struct lg_value *arg,
                                                   const struct lg_value *otherwise)
{
    return arg->kind == LG_VALUE_MISSING ? otherwise : arg;
}
/** The same for parameters that are numbers, texts or yes and no. */
int lg_tmpl_arg_int(struct lg_tmpl_run *r, const struct lg_value *arg, const char *what, int64_t otherwise,
                    int64_t *out);
int lg_tmpl_arg_str(struct lg_tmpl_run *r, const struct lg_value *arg, const char *what,
                    const char *otherwise, struct lg_str *out);
bool lg_tmpl_arg_bool(const struct lg_value *arg);
/** "(x, y)" with text on both sides up to a width. */
int lg_tmpl_justify(struct lg_tmpl_run *r, struct lg_str s, int64_t width, struct lg_str fill,
                    int64_t left_share, struct lg_value *out);
extern const struct lg_tmpl_builtin lg_tmpl_text_filters[], lg_tmpl_sequence_filters[],
    lg_tmpl_sorting_filters[];
extern const struct lg_tmpl_builtin lg_tmpl_string_methods[], lg_tmpl_cutting_methods[];

/** The head of each function in the tables; few use all that it is given. */
#define LG_TMPL_FN(name)                                                     \
    static int name(struct lg_tmpl_run *r __attribute__((unused)),           \
                    const struct lg_value *self __attribute__((unused)),     \
                    const struct lg_tmpl_args *args __attribute__((unused)), \
                    struct lg_value *out __attribute__((unused)))
const struct lg_tmpl_builtin *lg_tmpl_find_filter(struct lg_str name);
const struct lg_tmpl_builtin *lg_tmpl_find_test(struct lg_str name);
const struct lg_tmpl_builtin *lg_tmpl_find_global(struct lg_str name);
const struct lg_tmpl_builtin *lg_tmpl_find_method(const struct lg_value *v, struct lg_str name);
const struct lg_tmpl_builtin *lg_tmpl_find(const struct lg_tmpl_builtin *table, struct lg_str name);

#endif
