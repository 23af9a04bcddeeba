/* SPDX-License-Identifier: MIT
 * What stands behind "is". */
#include "text/template/internal.h"

static int answer(bool yes, struct lg_value *out)
{
    *out = lg_value_bool(yes);
    return 0;
}

/** Tests that only look at the kind of a value. */
#define KIND_TEST(name, condition)     \
    LG_TMPL_FN(name)                   \
    {                                  \
        return answer(condition, out); \
    }

KIND_TEST(is_defined, self->kind != LG_VALUE_UNDEFINED)
KIND_TEST(is_undefined, self->kind == LG_VALUE_UNDEFINED)
KIND_TEST(is_none, self->kind == LG_VALUE_NONE)
KIND_TEST(is_boolean, self->kind == LG_VALUE_BOOL)
KIND_TEST(is_true, self->kind == LG_VALUE_BOOL && self->i)
KIND_TEST(is_false, self->kind == LG_VALUE_BOOL && !self->i)
KIND_TEST(is_integer, self->kind == LG_VALUE_INT)
KIND_TEST(is_float, self->kind == LG_VALUE_FLOAT)
KIND_TEST(is_number, lg_tmpl_is_number(self))
KIND_TEST(is_string, self->kind == LG_VALUE_STRING)
KIND_TEST(is_mapping, self->kind == LG_VALUE_DICT)
KIND_TEST(is_iterable, self->kind == LG_VALUE_STRING || self->kind == LG_VALUE_ITERATOR ||
                           self->kind == LG_VALUE_LOOP || lg_tmpl_length(self) >= 0)
KIND_TEST(is_sequence,
          self->kind == LG_VALUE_STRING || (self->kind != LG_VALUE_VIEW && lg_tmpl_length(self) >= 0))
KIND_TEST(is_callable, self->kind == LG_VALUE_UNDEFINED || self->kind == LG_VALUE_MACRO ||
                           self->kind == LG_VALUE_FUNCTION || self->kind == LG_VALUE_METHOD ||
                           self->kind == LG_VALUE_LOOP)
KIND_TEST(is_escaped, false) // no text is

/** Comparisons: the operator's name is the test's. */
#define OPERATOR_TEST(name, op)                               \
    LG_TMPL_FN(name)                                          \
    {                                                         \
        return lg_tmpl_binary(r, op, self, &args->v[0], out); \
    }

OPERATOR_TEST(is_eq, LG_OP_EQ)
OPERATOR_TEST(is_ne, LG_OP_NE)
OPERATOR_TEST(is_lt, LG_OP_LT)
OPERATOR_TEST(is_le, LG_OP_LE)
OPERATOR_TEST(is_gt, LG_OP_GT)
OPERATOR_TEST(is_ge, LG_OP_GE)
OPERATOR_TEST(is_in, LG_OP_IN)

static int has_rest(struct lg_tmpl_run *r, const struct lg_value *v, const struct lg_value *divisor,
                    int64_t wanted, struct lg_value *out)
{
    struct lg_value rest, number = lg_value_int(wanted);
    LG_TRY(lg_tmpl_binary(r, LG_OP_MOD, v, divisor, &rest));
    return lg_tmpl_binary(r, LG_OP_EQ, &rest, &number, out);
}

LG_TMPL_FN(is_odd)
{
    struct lg_value two = lg_value_int(2);
    return has_rest(r, self, &two, 1, out);
}

LG_TMPL_FN(is_even)
{
    struct lg_value two = lg_value_int(2);
    return has_rest(r, self, &two, 0, out);
}

LG_TMPL_FN(is_divisibleby)
{
    return has_rest(r, self, &args->v[0], 0, out);
}

/** The same object: what has no identity is the same when it is equal. */
LG_TMPL_FN(is_sameas)
{
    const struct lg_value *other = &args->v[0];
    bool same = self->kind == other->kind && self->n == other->n && self->sub == other->sub;
    if (self->kind == LG_VALUE_STRING)
        return answer(same && memcmp(self->s, other->s, self->n) == 0, out);
    return answer(same && (self->kind <= LG_VALUE_NONE || self->i == other->i), out);
}

/** Whether all letters that have a case have this one, and there is one. */
static int all_cased(struct lg_tmpl_run *r, const struct lg_value *self, bool upper, struct lg_value *out)
{
    struct lg_value text;
    bool any = false, all = true;
    LG_TRY(lg_tmpl_string(r, self, &text));
    LG_TRY(lg_tmpl_charge(r, text.n / 8, 0));
    for (size_t i = 0; i < text.n;) {
        uint32_t c;
        i += lg_char_at(text.s + i, text.n - i, &c);
        bool is_upper = lg_char_lower(c) != c, is_lower = lg_char_upper(c) != c || c == 0xdf;
        any |= upper ? is_upper : is_lower;
        all &= !(upper ? is_lower : is_upper);
    }
    return answer(any && all, out);
}

LG_TMPL_FN(is_lower)
{
    return all_cased(r, self, false, out);
}

LG_TMPL_FN(is_upper)
{
    return all_cased(r, self, true, out);
}

LG_TMPL_FN(is_filter)
{
    return answer(self->kind == LG_VALUE_STRING && lg_tmpl_find_filter(lg_tmpl_str(self)), out);
}

LG_TMPL_FN(is_test)
{
    return answer(self->kind == LG_VALUE_STRING && lg_tmpl_find_test(lg_tmpl_str(self)), out);
}

static const struct lg_tmpl_builtin tests[] = {
    {"!=", is_ne, "other!"},
    {"<", is_lt, "other!"},
    {"<=", is_le, "other!"},
    {"==", is_eq, "other!"},
    {">", is_gt, "other!"},
    {">=", is_ge, "other!"},
    {"boolean", is_boolean, ""},
    {"callable", is_callable, ""},
    {"defined", is_defined, ""},
    {"divisibleby", is_divisibleby, "num!"},
    {"eq", is_eq, "other!"},
    {"equalto", is_eq, "other!"},
    {"escaped", is_escaped, ""},
    {"even", is_even, ""},
    {"false", is_false, ""},
    {"filter", is_filter, ""},
    {"float", is_float, ""},
    {"ge", is_ge, "other!"},
    {"greaterthan", is_gt, "other!"},
    {"gt", is_gt, "other!"},
    {"in", is_in, "seq!"},
    {"integer", is_integer, ""},
    {"iterable", is_iterable, ""},
    {"le", is_le, "other!"},
    {"lessthan", is_lt, "other!"},
    {"lower", is_lower, ""},
    {"lt", is_lt, "other!"},
    {"mapping", is_mapping, ""},
    {"ne", is_ne, "other!"},
    {"none", is_none, ""},
    {"number", is_number, ""},
    {"odd", is_odd, ""},
    {"sameas", is_sameas, "other!"},
    {"sequence", is_sequence, ""},
    {"string", is_string, ""},
    {"test", is_test, ""},
    {"true", is_true, ""},
    {"undefined", is_undefined, ""},
    {"upper", is_upper, ""},
    {0},
};

const struct lg_tmpl_builtin *lg_tmpl_find_test(struct lg_str name)
{
    return lg_tmpl_find(tests, name);
}
