/* SPDX-License-Identifier: MIT
 * What operators do, as in Python, but that integers have 64 bits: what is beyond them fails. */
#include <math.h>

#include "text/template/internal.h"

static const char *const op_names[] = {
    [LG_OP_ADD] = "+",    [LG_OP_SUB] = "-", [LG_OP_MUL] = "*",  [LG_OP_DIV] = "/",
    [LG_OP_FLOOR] = "//", [LG_OP_MOD] = "%", [LG_OP_POW] = "**", [LG_OP_LT] = "<",
    [LG_OP_LE] = "<=",    [LG_OP_GT] = ">",  [LG_OP_GE] = ">=",
};

static int too_large(struct lg_tmpl_run *r)
{
    return lg_tmpl_fail(r, "a number beyond 64 bits");
}

static int wrong_types(struct lg_tmpl_run *r, enum lg_tmpl_op op, const struct lg_value *a,
                       const struct lg_value *b)
{
    LG_TRY(lg_tmpl_defined(r, a));
    LG_TRY(lg_tmpl_defined(r, b));
    return lg_tmpl_fail(r, "'%s' between %s and %s", op_names[op], lg_tmpl_type_name(a),
                        lg_tmpl_type_name(b));
}

/* ---- numbers ---------------------------------------------------------------------------------------- */

int lg_tmpl_negate(struct lg_tmpl_run *r, const struct lg_value *v, struct lg_value *out)
{
    if (v->kind == LG_VALUE_FLOAT) {
        *out = lg_value_float(-v->f);
        return 0;
    }
    if (v->i == INT64_MIN)
        return too_large(r);
    *out = lg_value_int(-v->i);
    return 0;
}

/** The remainder has the divisor's sign. */
static double float_mod(double a, double b)
{
    double m = fmod(a, b);
    if (m == 0)
        return copysign(0, b);
    return (m < 0) != (b < 0) ? m + b : m;
}

static double float_floor(double a, double b)
{
    double mod = fmod(a, b), quotient = (a - mod) / b;
    if (mod != 0 && (mod < 0) != (b < 0))
        quotient -= 1;
    if (quotient == 0)
        return copysign(0, a / b);
    double whole = floor(quotient);
    return quotient - whole > 0.5 ? whole + 1 : whole;
}

static int float_op(struct lg_tmpl_run *r, enum lg_tmpl_op op, double a, double b, struct lg_value *out)
{
    double f = 0;
    bool divides = op == LG_OP_DIV || op == LG_OP_FLOOR || op == LG_OP_MOD;
    if ((divides && b == 0) || (op == LG_OP_POW && a == 0 && b < 0))
        return lg_tmpl_fail(r, "division by zero");
    switch (op) {
    case LG_OP_ADD: f = a + b; break;
    case LG_OP_SUB: f = a - b; break;
    case LG_OP_MUL: f = a * b; break;
    case LG_OP_DIV: f = a / b; break;
    case LG_OP_FLOOR: f = float_floor(a, b); break;
    case LG_OP_MOD: f = float_mod(a, b); break;
    default: f = pow(a, b); break;
    }
    if (op == LG_OP_POW && isnan(f) && !isnan(a) && !isnan(b))
        return lg_tmpl_fail(r, "the power is not a real number");
    if (op == LG_OP_POW && isinf(f) && isfinite(a) && isfinite(b))
        return lg_tmpl_fail(r, "the power is too large");
    *out = lg_value_float(f);
    return 0;
}

static int int_pow(struct lg_tmpl_run *r, int64_t base, int64_t exponent, struct lg_value *out)
{
    int64_t result = 1;
    if (exponent < 0)
        return float_op(r, LG_OP_POW, (double)base, (double)exponent, out);
    while (exponent > 0) {
        if (exponent & 1 && __builtin_mul_overflow(result, base, &result))
            return too_large(r);
        exponent >>= 1;
        if (exponent > 0 && __builtin_mul_overflow(base, base, &base))
            return too_large(r);
    }
    *out = lg_value_int(result);
    return 0;
}

static int int_op(struct lg_tmpl_run *r, enum lg_tmpl_op op, int64_t a, int64_t b, struct lg_value *out)
{
    int64_t i = 0;
    bool over = false;
    if (op == LG_OP_POW)
        return int_pow(r, a, b, out);
    if (op == LG_OP_DIV)
        return float_op(r, op, (double)a, (double)b, out);
    if ((op == LG_OP_FLOOR || op == LG_OP_MOD) && b == 0)
        return lg_tmpl_fail(r, "division by zero");
    switch (op) {
    case LG_OP_ADD: over = __builtin_add_overflow(a, b, &i); break;
    case LG_OP_SUB: over = __builtin_sub_overflow(a, b, &i); break;
    case LG_OP_MUL: over = __builtin_mul_overflow(a, b, &i); break;
    case LG_OP_FLOOR:
        over = a == INT64_MIN && b == -1;
        i = over ? 0 : a / b - (a % b != 0 && (a < 0) != (b < 0));
        break;
    default:
        i = b == -1 ? 0 : a % b;
        i += i != 0 && (i < 0) != (b < 0) ? b : 0;
        break;
    }
    if (over)
        return too_large(r);
    *out = lg_value_int(i);
    return 0;
}

/* ---- sequences -------------------------------------------------------------------------------------- */

int lg_tmpl_concat(struct lg_tmpl_run *r, const struct lg_value *a, const struct lg_value *b,
                   struct lg_value *out)
{
    size_t n = (size_t)a->n + b->n;
    if (a->n == 0 || b->n == 0) {
        *out = a->n == 0 ? *b : *a;
        return 0;
    }
    if (n > r->t->limits.output_bytes)
        return lg_tmpl_fail(r, "a string has more than %zu bytes", r->t->limits.output_bytes);
    char *tail = lg_arena_extend(&r->arena, a->s + a->n, b->n);
    const char *s = a->s;
    if (!tail) {
        lg_arena_reserve(&r->arena, 2 * n); // more may come
        char *copy = lg_arena_bytes(&r->arena, n);
        if (!copy)
            return lg_tmpl_nomem(r);
        memcpy(copy, a->s, a->n);
        LG_TRY(lg_tmpl_charge(r, 0, a->n));
        s = copy;
        tail = copy + a->n;
    }
    memcpy(tail, b->s, b->n);
    *out = lg_value_string(s, n);
    return lg_tmpl_charge(r, 0, b->n);
}

/** The items of a list or a tuple. */
static const struct lg_value *items_of(const struct lg_value *v, uint32_t *n)
{
    bool is_list = v->kind == LG_VALUE_LIST;
    *n = is_list ? v->list->n : v->n;
    return is_list ? v->list->items : v->items;
}

static int give_items(struct lg_tmpl_run *r, uint8_t kind, struct lg_value *items, uint32_t n,
                      struct lg_value *out)
{
    if (kind == LG_VALUE_LIST)
        return lg_tmpl_list(r, items, n, n, out);
    *out = lg_value_tuple(items, n);
    return 0;
}

static int join_items(struct lg_tmpl_run *r, const struct lg_value *a, const struct lg_value *b,
                      struct lg_value *out)
{
    uint32_t n_a, n_b;
    const struct lg_value *from_a = items_of(a, &n_a), *from_b = items_of(b, &n_b);
    struct lg_value *items;
    LG_TRY(lg_tmpl_charge(r, (uint64_t)n_a + n_b, 0));
    LG_TRY(lg_tmpl_array(r, n_a + n_b, &items));
    for (uint32_t i = 0; i < n_a + n_b; i++)
        items[i] = i < n_a ? from_a[i] : from_b[i - n_a];
    return give_items(r, a->kind, items, n_a + n_b, out);
}

/** "ab" * 3. */
static int repeat(struct lg_tmpl_run *r, const struct lg_value *v, int64_t times, struct lg_value *out)
{
    uint64_t n = v->kind == LG_VALUE_LIST ? v->list->n : v->n, total;
    if (times < 0)
        times = 0;
    if (__builtin_mul_overflow(n, (uint64_t)times, &total) || total > r->t->limits.output_bytes)
        return lg_tmpl_fail(r, "a %s is repeated to more than %zu items", lg_tmpl_type_name(v),
                            r->t->limits.output_bytes);
    if (v->kind == LG_VALUE_STRING) {
        char *s = lg_arena_bytes(&r->arena, total);
        if (!s)
            return lg_tmpl_nomem(r);
        for (uint64_t i = 0; i < total; i += n)
            memcpy(s + i, v->s, n);
        *out = lg_value_string(s, total);
        return lg_tmpl_charge(r, 0, total + (uint64_t)times * (n > 0));
    }
    uint32_t n_items;
    const struct lg_value *from = items_of(v, &n_items);
    struct lg_value *items;
    LG_TRY(lg_tmpl_charge(r, total, 0));
    LG_TRY(lg_tmpl_array(r, (uint32_t)total, &items));
    for (uint64_t i = 0; i < total; i++)
        items[i] = from[i % n_items];
    return give_items(r, v->kind, items, (uint32_t)total, out);
}

static bool is_sequence(const struct lg_value *v)
{
    return v->kind == LG_VALUE_STRING || v->kind == LG_VALUE_LIST || v->kind == LG_VALUE_TUPLE;
}

static int sequence_op(struct lg_tmpl_run *r, enum lg_tmpl_op op, const struct lg_value *a,
                       const struct lg_value *b, struct lg_value *out)
{
    if (op == LG_OP_ADD && a->kind == b->kind && is_sequence(a))
        return a->kind == LG_VALUE_STRING ? lg_tmpl_concat(r, a, b, out) : join_items(r, a, b, out);
    if (op == LG_OP_MUL && is_sequence(a) && lg_tmpl_is_int(b))
        return repeat(r, a, b->i, out);
    if (op == LG_OP_MUL && is_sequence(b) && lg_tmpl_is_int(a))
        return repeat(r, b, a->i, out);
    if (op == LG_OP_MOD && a->kind == LG_VALUE_STRING) {
        struct lg_tmpl_args args = {.v = b, .n = 1};
        if (b->kind == LG_VALUE_TUPLE)
            args = (struct lg_tmpl_args){.v = b->items, .n = b->n};
        return lg_tmpl_printf(r, lg_tmpl_str(a), &args, out);
    }
    return wrong_types(r, op, a, b);
}

/* ---- comparisons ------------------------------------------------------------------------------------ */

/** -1, 0, 1, or 2 with a NaN. */
static int compare_numbers(const struct lg_value *a, const struct lg_value *b)
{
    if (lg_tmpl_is_int(a) && lg_tmpl_is_int(b))
        return (a->i > b->i) - (a->i < b->i);
    long double x = lg_tmpl_is_int(a) ? (long double)a->i : a->f,
                y = lg_tmpl_is_int(b) ? (long double)b->i : b->f;
    return x < y ? -1 : x > y ? 1 : x == y ? 0 : 2;
}

static int equal_items(struct lg_tmpl_run *r, const struct lg_value *a, const struct lg_value *b, bool *out)
{
    uint32_t n_a, n_b;
    const struct lg_value *x = items_of(a, &n_a), *y = items_of(b, &n_b);
    *out = n_a == n_b;
    for (uint32_t i = 0; *out && i < n_a; i++)
        LG_TRY(lg_tmpl_equal(r, &x[i], &y[i], out));
    return 0;
}

static int equal_dicts(struct lg_tmpl_run *r, const struct lg_dict *a, const struct lg_dict *b, bool *out)
{
    *out = a->n == b->n;
    for (uint32_t i = 0; *out && i < a->n; i++) {
        struct lg_value other;
        int found = lg_tmpl_dict_find(r, b, &a->pairs[2 * i], &other);
        LG_TRY(found);
        *out = found;
        if (found)
            LG_TRY(lg_tmpl_equal(r, &a->pairs[2 * i + 1], &other, out));
    }
    return 0;
}

static bool equal_ranges(const struct lg_tmpl_range *a, const struct lg_tmpl_range *b)
{
    return a->n == b->n && (a->n == 0 || (a->start == b->start && (a->n == 1 || a->step == b->step)));
}

int lg_tmpl_equal(struct lg_tmpl_run *r, const struct lg_value *a, const struct lg_value *b, bool *out)
{
    LG_TRY(lg_tmpl_enter(r));
    LG_TRY(lg_tmpl_charge(r, 1, a->kind == LG_VALUE_STRING ? a->n : 0));
    *out = false;
    if (lg_tmpl_is_number(a) && lg_tmpl_is_number(b)) {
        *out = compare_numbers(a, b) == 0;
    } else if (a->kind == b->kind) {
        switch (a->kind) {
        case LG_VALUE_UNDEFINED:
        case LG_VALUE_NONE: *out = true; break;
        case LG_VALUE_STRING: *out = a->n == b->n && memcmp(a->s, b->s, a->n) == 0; break;
        case LG_VALUE_LIST:
        case LG_VALUE_TUPLE: LG_TRY(equal_items(r, a, b, out)); break;
        case LG_VALUE_DICT: LG_TRY(equal_dicts(r, a->dict, b->dict, out)); break;
        case LG_VALUE_RANGE: *out = equal_ranges(a->object, b->object); break;
        default: *out = a->object == b->object && a->sub == b->sub; break;
        }
    }
    lg_tmpl_leave(r);
    return 0;
}

static int compare_strings(const struct lg_value *a, const struct lg_value *b)
{
    int order = memcmp(a->s, b->s, a->n < b->n ? a->n : b->n); // UTF-8 sorts like its characters
    return order ? (order > 0) - (order < 0) : (a->n > b->n) - (a->n < b->n);
}

int lg_tmpl_compare(struct lg_tmpl_run *r, const struct lg_value *a, const struct lg_value *b, int *out)
{
    LG_TRY(lg_tmpl_charge(r, 1, a->kind == LG_VALUE_STRING ? a->n : 0));
    if (lg_tmpl_is_number(a) && lg_tmpl_is_number(b)) {
        *out = compare_numbers(a, b);
        return 0;
    }
    if (a->kind != b->kind || !is_sequence(a))
        return wrong_types(r, LG_OP_LT, a, b);
    if (a->kind == LG_VALUE_STRING) {
        *out = compare_strings(a, b);
        return 0;
    }
    uint32_t n_a, n_b;
    const struct lg_value *x = items_of(a, &n_a), *y = items_of(b, &n_b);
    LG_TRY(lg_tmpl_enter(r));
    for (uint32_t i = 0; i < n_a && i < n_b; i++) {
        bool equal;
        LG_TRY(lg_tmpl_equal(r, &x[i], &y[i], &equal));
        if (equal)
            continue;
        LG_TRY(lg_tmpl_compare(r, &x[i], &y[i], out));
        lg_tmpl_leave(r);
        return 0;
    }
    lg_tmpl_leave(r);
    *out = (n_a > n_b) - (n_a < n_b);
    return 0;
}

int lg_tmpl_contains(struct lg_tmpl_run *r, const struct lg_value *seq, const struct lg_value *item,
                     bool *out)
{
    struct lg_tmpl_cursor c;
    struct lg_value found;
    if (seq->kind == LG_VALUE_STRING) {
        struct lg_str text;
        LG_TRY(lg_tmpl_to_str(r, item, "what is looked for in a string", &text));
        LG_TRY(lg_tmpl_charge(r, 0, seq->n));
        *out = lg_str_find(lg_tmpl_str(seq), text, 0) != SIZE_MAX;
        return 0;
    }
    if (seq->kind == LG_VALUE_DICT || (seq->kind == LG_VALUE_VIEW && seq->sub == LG_VIEW_KEYS)) {
        int is = lg_tmpl_dict_find(r, seq->dict, item, &found);
        LG_TRY(is);
        *out = is;
        return 0;
    }
    LG_TRY(lg_tmpl_cursor(r, seq, &c));
    *out = false;
    while (!*out && lg_tmpl_next(&c, &found))
        LG_TRY(lg_tmpl_equal(r, &found, item, out));
    return 0;
}

int lg_tmpl_binary(struct lg_tmpl_run *r, enum lg_tmpl_op op, const struct lg_value *a,
                   const struct lg_value *b, struct lg_value *out)
{
    bool yes;
    int order;
    if (op >= LG_OP_IN) {
        LG_TRY(lg_tmpl_contains(r, b, a, &yes));
        *out = lg_value_bool(yes == (op == LG_OP_IN));
    } else if (op == LG_OP_EQ || op == LG_OP_NE) {
        LG_TRY(lg_tmpl_equal(r, a, b, &yes));
        *out = lg_value_bool(yes == (op == LG_OP_EQ));
    } else if (op >= LG_OP_LT) {
        LG_TRY(lg_tmpl_compare(r, a, b, &order));
        bool less = op == LG_OP_LT || op == LG_OP_LE, or_equal = op == LG_OP_LE || op == LG_OP_GE;
        *out = lg_value_bool(order == (less ? -1 : 1) || (or_equal && order == 0));
    } else if (lg_tmpl_is_int(a) && lg_tmpl_is_int(b)) {
        return int_op(r, op, a->i, b->i, out);
    } else if (lg_tmpl_is_number(a) && lg_tmpl_is_number(b)) {
        return float_op(r, op, lg_tmpl_double(a), lg_tmpl_double(b), out);
    } else {
        return sequence_op(r, op, a, b, out);
    }
    return 0;
}
