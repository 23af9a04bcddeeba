/* SPDX-License-Identifier: MIT
 *
 * The for loop. Its filter is asked as late as possible, as what it says may depend on what the turns before
 * did: for the next item when the turn is over, or earlier when `loop` is asked about what comes.
 */
#include "text/template/internal.h"

/** The state behind `loop`. */
struct loop {
    const struct lg_tmpl_node *filter; // NULL: none
    const struct lg_tmpl_node *target;
    struct lg_tmpl_scope *outer, *filter_scope;
    struct lg_tmpl_cursor cursor;
    int64_t index0, length;                 // length is -1 while it is not known
    struct lg_value before, current, after; // LG_VALUE_MISSING where there is none
    struct lg_value changed;                // what loop.changed() was given last
};

static const struct lg_value missing = {.kind = LG_VALUE_MISSING};

/** The next item that passes the filter; 0 at the end. */
static int pull(struct lg_tmpl_run *r, struct loop *loop, struct lg_value *out)
{
    struct lg_tmpl_scope *scope = r->scope;
    struct lg_value test;
    while (lg_tmpl_next(&loop->cursor, out)) {
        LG_TRY(lg_tmpl_charge(r, 1, 0));
        if (!loop->filter)
            return 1;
        if (!loop->filter_scope || loop->filter_scope->captured)
            LG_TRY(lg_tmpl_scope_new(r, loop->outer, &loop->filter_scope));
        loop->filter_scope->n = 0;
        r->scope = loop->filter_scope;
        LG_TRY(lg_tmpl_assign(r, loop->target, out));
        LG_TRY(lg_tmpl_eval(r, loop->filter, &test));
        r->scope = scope;
        if (lg_tmpl_truth(&test))
            return 1;
    }
    return 0;
}

/** Looks at the item that comes, LG_VALUE_MISSING when there is none. */
static int peek(struct lg_tmpl_run *r, struct loop *loop)
{
    if (loop->after.kind != LG_VALUE_MISSING)
        return 0;
    struct lg_value item;
    int found = pull(r, loop, &item);
    LG_TRY(found);
    loop->after = found ? item : missing;
    return 0;
}

/** 0 at the end. */
static int advance(struct lg_tmpl_run *r, struct loop *loop)
{
    LG_TRY(peek(r, loop));
    if (loop->after.kind == LG_VALUE_MISSING)
        return 0;
    loop->index0++;
    loop->before = loop->current;
    loop->current = loop->after;
    loop->after = missing;
    return 1;
}

/** How many turns there are in all: what has a filter or no length is gone through ahead of time. */
static int find_length(struct lg_tmpl_run *r, struct loop *loop)
{
    if (loop->length >= 0)
        return 0;
    struct lg_tmpl_items rest = {0};
    struct lg_value item;
    int found;
    while ((found = pull(r, loop, &item)) > 0)
        LG_TRY(lg_tmpl_items_add(r, &rest, &item));
    LG_TRY(found);
    loop->filter = NULL;
    loop->cursor = (struct lg_tmpl_cursor){.seq = lg_value_tuple(rest.items, rest.n)};
    loop->length = loop->index0 + 1 + (loop->after.kind != LG_VALUE_MISSING) + rest.n;
    return 0;
}

/* ---- the attributes of `loop` ----------------------------------------------------------------------- */

static int get_index(struct lg_tmpl_run *r, struct loop *loop, int64_t plus, struct lg_value *out)
{
    (void)r;
    *out = lg_value_int(loop->index0 + plus);
    return 0;
}

/** What is left, counted from the other end. */
static int get_revindex(struct lg_tmpl_run *r, struct loop *loop, int64_t plus, struct lg_value *out)
{
    LG_TRY(find_length(r, loop));
    *out = lg_value_int(loop->length - loop->index0 - 1 + plus);
    return 0;
}

static int get_length(struct lg_tmpl_run *r, struct loop *loop, int64_t plus, struct lg_value *out)
{
    LG_TRY(find_length(r, loop));
    *out = lg_value_int(loop->length + plus);
    return 0;
}

static int get_first(struct lg_tmpl_run *r, struct loop *loop, int64_t plus, struct lg_value *out)
{
    (void)r, (void)plus;
    *out = lg_value_bool(loop->index0 == 0);
    return 0;
}

static int get_last(struct lg_tmpl_run *r, struct loop *loop, int64_t plus, struct lg_value *out)
{
    (void)plus;
    LG_TRY(peek(r, loop));
    *out = lg_value_bool(loop->after.kind == LG_VALUE_MISSING);
    return 0;
}

static int get_previtem(struct lg_tmpl_run *r, struct loop *loop, int64_t plus, struct lg_value *out)
{
    (void)plus;
    *out = loop->before;
    return loop->before.kind == LG_VALUE_MISSING ? lg_tmpl_undefined(r, out, "there is no previous item") : 0;
}

static int get_nextitem(struct lg_tmpl_run *r, struct loop *loop, int64_t plus, struct lg_value *out)
{
    (void)plus;
    LG_TRY(peek(r, loop));
    *out = loop->after;
    return loop->after.kind == LG_VALUE_MISSING ? lg_tmpl_undefined(r, out, "there is no next item") : 0;
}

/** Loops that call themselves are not supported, so this is always the same. */
static int get_depth(struct lg_tmpl_run *r, struct loop *loop, int64_t plus, struct lg_value *out)
{
    (void)r, (void)loop;
    *out = lg_value_int(plus);
    return 0;
}

int lg_tmpl_loop_attr(struct lg_tmpl_run *r, const struct lg_value *loop, struct lg_str name, bool *found,
                      struct lg_value *out)
{
    static const struct {
        const char *name;
        int (*get)(struct lg_tmpl_run *r, struct loop *loop, int64_t plus, struct lg_value *out);
        int64_t plus;
    } attrs[] = {
        {"index", get_index, 1},        {"index0", get_index, 0},      {"revindex", get_revindex, 1},
        {"revindex0", get_revindex, 0}, {"first", get_first, 0},       {"last", get_last, 0},
        {"length", get_length, 0},      {"previtem", get_previtem, 0}, {"nextitem", get_nextitem, 0},
        {"depth", get_depth, 1},        {"depth0", get_depth, 0},
    };
    for (size_t i = 0; i < sizeof(attrs) / sizeof(attrs[0]); i++) {
        if (lg_str_eq(name, attrs[i].name)) {
            *found = true;
            return attrs[i].get(r, loop->object, attrs[i].plus, out);
        }
    }
    *found = false;
    return 0;
}

static int call_cycle(struct lg_tmpl_run *r, const struct lg_value *self, const struct lg_tmpl_args *args,
                      struct lg_value *out)
{
    const struct loop *loop = self->object;
    if (args->n == 0 || args->n_kw > 0)
        return lg_tmpl_fail(r, "loop.cycle() needs something to go through");
    *out = args->v[loop->index0 % args->n];
    return 0;
}

static int call_changed(struct lg_tmpl_run *r, const struct lg_value *self, const struct lg_tmpl_args *args,
                        struct lg_value *out)
{
    struct loop *loop = self->object;
    struct lg_value *items, now;
    bool same = false;
    LG_TRY(lg_tmpl_array(r, args->n, &items));
    memcpy(items, args->v, args->n * sizeof(*items));
    now = lg_value_tuple(items, args->n);
    if (loop->changed.kind != LG_VALUE_MISSING)
        LG_TRY(lg_tmpl_equal(r, &loop->changed, &now, &same));
    loop->changed = now;
    *out = lg_value_bool(!same);
    return 0;
}

const struct lg_tmpl_builtin lg_tmpl_loop_methods[] = {
    {"changed", call_changed, "*"},
    {"cycle", call_cycle, "*"},
    {0},
};

/* ---- the statement ---------------------------------------------------------------------------------- */

static int take_turns(struct lg_tmpl_run *r, const struct lg_tmpl_node *node, struct loop *loop, bool *any)
{
    struct lg_value self = {.kind = LG_VALUE_LOOP, .object = loop};
    struct lg_tmpl_scope *outer = r->scope, *scope = NULL;
    int more;
    while ((more = advance(r, loop)) > 0) {
        if (!scope || scope->captured)
            LG_TRY(lg_tmpl_scope_new(r, outer, &scope));
        scope->n = 0;
        r->scope = scope;
        r->line = node->line;
        LG_TRY(lg_tmpl_scope_set(r, scope, LG_NAME_LOOP, &self));
        LG_TRY(lg_tmpl_assign(r, node->b, &loop->current));
        int flow = lg_tmpl_exec(r, node->c);
        LG_TRY(flow);
        r->scope = outer;
        if (flow == LG_FLOW_BREAK)
            return 0;
        *any |= flow == LG_FLOW_ON; // jinja2 counts no turn that ends early
    }
    return more;
}

int lg_tmpl_exec_for(struct lg_tmpl_run *r, const struct lg_tmpl_node *node)
{
    struct lg_value seq;
    bool any = false;
    LG_TRY(lg_tmpl_eval(r, node->a, &seq));
    r->line = node->line;
    struct loop *loop = lg_arena_alloc(&r->arena, sizeof(*loop));
    if (!loop)
        return lg_tmpl_nomem(r);
    *loop = (struct loop){
        .filter = node->e,
        .target = node->b,
        .outer = r->scope,
        .index0 = -1,
        .length = node->e ? -1 : lg_tmpl_length(&seq),
        .before = missing,
        .current = missing,
        .after = missing,
        .changed = missing,
    };
    LG_TRY(lg_tmpl_cursor(r, &seq, &loop->cursor));
    LG_TRY(take_turns(r, node, loop, &any));
    if (any || !node->d)
        return LG_FLOW_ON;
    struct lg_tmpl_scope *outer = r->scope;
    LG_TRY(lg_tmpl_scope_new(r, outer, &r->scope));
    int flow = lg_tmpl_exec(r, node->d);
    r->scope = outer;
    return flow;
}
