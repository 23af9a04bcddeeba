/* SPDX-License-Identifier: MIT
 *
 * The interpreter of chat templates: its limits, each met by a template that would go beyond; templates made
 * to hurt; allocations that fail. What its language means is tests/template_jinja.py's.
 */
#include <pthread.h>

#include "heap.h"
#include "text/template.h"
#include "text/template/internal.h"

static struct lg_env env;

/** Renders with variables in JSON. */
static int try_render(struct lg_env *e, const char *text, size_t len, const char *json,
                      const struct lg_template_limits *limits, char **out)
{
    struct lg_arena arena;
    struct lg_value vars;
    struct lg_template *t = NULL;
    struct lg_rendering r = {0};
    lg_arena_init(&arena, e, SIZE_MAX);
    e->error[0] = '\0';
    int rc = lg_json_parse(e, &arena, json, strlen(json), &vars);
    if (rc == 0)
        rc = lg_template_parse(e, text, len, limits, &t);
    REQUIRE(rc == 0 || !t);
    if (rc == 0)
        rc = lg_template_render(t, e, &vars, 0, &r);
    REQUIRE((rc == 0) == (r.text != NULL));
    REQUIRE(rc == 0 || *e->error);
    REQUIRE(rc < 0 || r.text[r.len] == '\0');
    lg_template_destroy(t);
    lg_arena_finish(&arena);
    *out = r.text;
    return rc;
}

static const char vars_json[] =
    "{\"s\": \"abc\", \"l\": [3, 1, 2], \"d\": {\"a\": {\"b\": [1, null, true]}}}";

static void check(const char *text, const char *want)
{
    char *out;
    int rc = try_render(&env, text, strlen(text), vars_json, NULL, &out);
    if (rc < 0)
        fprintf(stderr, "%s\n  %s\n", text, env.error);
    REQUIRE_INT(rc, ==, 0);
    REQUIRE_STR(out, want);
    lg_free(&env, out);
}

static void check_refused_by(const char *text, size_t len, const struct lg_template_limits *limits,
                             const char *says)
{
    char *out;
    int rc = try_render(&env, text, len, vars_json, limits, &out);
    if (rc != LLMGPU_E_TEMPLATE || !strstr(env.error, says))
        fprintf(stderr, "%.200s\n  %d '%s', not '%s'\n", text, rc, env.error, says);
    REQUIRE_INT(rc, ==, LLMGPU_E_TEMPLATE);
    REQUIRE(strstr(env.error, says));
    lg_free(&env, out);
}

static void refused(const char *text, const char *says)
{
    check_refused_by(text, strlen(text), NULL, says);
}

/** A text over and over, in one of a few static buffers. */
static const char *times(const char *text, size_t n)
{
    static char buffers[4][1 << 20];
    static unsigned next;
    char *buffer = buffers[next++ % 4];
    size_t len = strlen(text);
    REQUIRE(len * n < sizeof(buffers[0]));
    for (size_t i = 0; i < n; i++)
        memcpy(buffer + i * len, text, len);
    buffer[n * len] = '\0';
    return buffer;
}

static const char *join(const char *a, const char *b, const char *c)
{
    static char buffers[4][1 << 21];
    static unsigned next;
    char *buffer = buffers[next++ % 4];
    REQUIRE(snprintf(buffer, sizeof(buffers[0]), "%s%s%s", a, b, c) < (int)sizeof(buffers[0]));
    return buffer;
}

/* ---- the language, where jinja2 is not asked -------------------------------------------------------- */

static void check_language(void)
{
    check("", "");
    check("\n", "");
    check("Hello, {{ s }}!", "Hello, abc!");
    check("{% for x in l %}{{ loop.index }}:{{ x }}{{ ' ' if not loop.last }}{% endfor %}", "1:3 2:1 3:2");
    check("{% macro m(x, y='-') %}<{{ x }}{{ y }}>{% endmacro %}{{ m(1) }}{{ m(2, y=l) }}",
          "<1-><2[3, 1, 2]>");
    check("{{ d | tojson }}{{ d }}", "{\"a\": {\"b\": [1, null, true]}}{'a': {'b': [1, None, True]}}");
    check("{{ nothing }}{{ d.a.zz is defined }}{{ none }}", "FalseNone");

    // What jinja2's sandbox refuses, but templates in files do: lists of their own may grow, in all who see
    // them.
    check("{% set a = [] %}{% set b = a %}{{ a.append(1) }}{{ a.append([2]) }}{{ a }}{{ b }}",
          "NoneNone[1, [2]][1, [2]]");
    check("{% set a = l[1:] %}{% set _ = a.append(9) %}{{ a }}{{ l }}", "[1, 2, 9][3, 1, 2]");
    check("{% set ns = namespace(x=[1]) %}{% for i in l %}{% set _ = ns.x.append(i) %}{% endfor %}{{ ns.x }}",
          "[1, 3, 1, 2]");
    check("{% set a = [1] %}{% for x in a if a|length < 4 %}{% set _ = a.append(x + 1) %}{% endfor %}{{ a }}",
          "[1, 2, 3, 4]");
    refused("{{ l.append(1) }}", "would change a value that was given");
    refused("{{ d.a.b.append(1) }}", "would change a value that was given");

    // Bytes that are no UTF-8 are characters of their own, and come out as they are.
    check("\xff{{ '\xfe\x80' }}{{ '\xc3(' | length }}{{ 'a\xffz'[::-1] }}{{ '\xe4\xb8' | upper }}",
          "\xff\xfe\x80"
          "2z\xff"
          "a\xe4\xb8");
    static const char nul[] = "a\0b{{ 'c\0d' | length }}";
    char *out;
    REQUIRE_INT(try_render(&env, nul, sizeof(nul) - 1, "{}", NULL, &out), ==, 0);
    REQUIRE_INT(memcmp(out, "a\0b3", 5), ==, 0);
    lg_free(&env, out);
}

/** Numbers of the locale "C", whatever the host has chosen. */
static void check_numbers(void)
{
    check("{{ 1.5 }}{{ '%.2f' % 2.5 }}{{ '{:,.1f}'.format(1234.5) }}{{ '2.5' | float + 1 }}{{ 0.1 + 0.2 }}",
          "1.52.501,234.53.50.30000000000000004");
    check("{{ 9223372036854775807 }}{{ -9223372036854775807 - 1 }}",
          "9223372036854775807-9223372036854775808");
    static const char *const beyond[] = {
        "{{ 9223372036854775808 }}",
        "{{ 9223372036854775807 + 1 }}",
        "{{ 2 ** 63 }}",
        "{{ -(-9223372036854775807 - 1) }}",
        "{{ 4294967296 * 4294967296 }}",
        "{{ (-2 ** 63) // -1 }}",
        "{{ (-9223372036854775807 - 1) // -1 }}",
        "{{ 1e30 | int }}",
        "{{ (-9223372036854775807 - 1) | abs }}",
    };
    for (size_t i = 0; i < sizeof(beyond) / sizeof(beyond[0]); i++)
        refused(beyond[i], "64 bits");
    check("{{ (-9223372036854775807 - 1) % -1 }}", "0");
}

/* ---- limits ----------------------------------------------------------------------------------------- */

/** Each limit by its name, met as the default and set lower. */
static void check_limits(void)
{
    struct lg_template_limits limits = lg_template_default_limits;

    refused(times("x", 600 << 10), "bytes, more than 524288");
    limits.template_bytes = 3;
    check_refused_by("abcd", 4, &limits, "the chat template has 4 bytes, more than 3");

    limits = lg_template_default_limits;
    refused("{% for i in range(100000) %}{% for j in range(1000) %}{% endfor %}{% endfor %}",
            "20000000 steps");
    limits.steps = 100;
    check_refused_by("\n{% for i in range(200) %}{% endfor %}", 38, &limits,
                     "line 2: it takes more than 100 steps");

    limits = lg_template_default_limits;
    refused("{% set s = 'x' * 1000000 %}{% for i in range(20) %}{{ s }}{% endfor %}",
            "writes more than 16777216 bytes");
    limits.output_bytes = 10;
    check_refused_by("12345678901", 11, &limits, "writes more than 10 bytes");

    limits = lg_template_default_limits;
    refused("{% set ns = namespace(l=[]) %}{% for i in range(100) %}{% set ns.l = ns.l + [1] * 100000 %}{% "
            "endfor %}",
            "67108864 bytes of memory");
    limits.memory_bytes = 4096;
    check_refused_by("{{ s }}", 7, &limits, "4096 bytes of memory"); // its own stack is larger
    check_refused_by(times("{{ s }}", 100), 700, &limits, "4096 bytes of memory");

    refused("{{ range(100001) }}", "a range of more than 100000 items");
    refused("{{ range(-9223372036854775807, 9223372036854775807) }}", "a range of more");
    check("{{ range(-9223372036854775807, 9223372036854775807, 9223372036854775807) | list | length }}", "2");
    check("{{ range(100000) | length }}", "100000");

    refused(join(join("{{ ", times("(", 400), "1"), times(")", 400), " }}"), "nested deeper than 250");
    refused(join(times("{% if s %}", 300), "", times("{% endif %}", 300)), "nested deeper than 250");
    refused("{% macro m(n) %}{{ m(n) }}{% endmacro %}{{ m(1) }}", "deeper than 1000 levels");
}

/* ---- templates made to hurt ------------------------------------------------------------------------- */

static void check_nesting(void)
{
    static const char *const parts[][3] = {
        {"[", "1", "]"},     {"(", "1", ")"},           {"{1: ", "1", "}"},     {"-", "1", ""},
        {"not ", "1", ""},   {"1 if 1 else ", "1", ""}, {"s[", "0", "]"},       {"m(", "1", ")"},
        {"1 ** -", "1", ""}, {"l|join(", "1", ")"},     {"1 is eq(", "1", ")"}, {"a.b(c=", "1", ")"},
    };
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        const char *inner = join(times(parts[i][0], 20000), parts[i][1], times(parts[i][2], 20000));
        static char text[1 << 21];
        snprintf(text, sizeof(text), "{{ %s }}", inner);
        refused(text, "nested"); // the brackets of the tokens are counted, too
    }
    static const char *const chains[] = {" + 1", ".x",     "|upper", "[0]",    "(1)",
                                         " - 1", " and 1", " or 0",  " is odd"};
    for (size_t i = 0; i < sizeof(chains) / sizeof(chains[0]); i++) {
        static char text[1 << 21];
        snprintf(text, sizeof(text), "{{ 1%s }}", times(chains[i], 20000));
        char *out;
        int rc = try_render(&env, text, strlen(text), vars_json, NULL, &out);
        REQUIRE_INT(rc, ==, LLMGPU_E_TEMPLATE);
    }
    // What is a list in the tree may be long.
    check(join("{{ 'a'", times(" ~ 'b'", 20000), " | length }}"), join("a", times("b", 19999), "1"));
    check(join("{% if 0 %}", times("{% elif 0 %}", 20000), "{% else %}x{% endif %}"), "x");
    refused(times("{% for x in l %}", 600), "nested");
    refused(join("{% set x = ", times("[", 100000), " %}"), "nested");
    refused(times("{% macro m() %}", 600), "nested");
    refused(times("{% filter upper %}", 600), "nested");
    refused(times("{% call m() %}", 600), "nested");
}

/** Values that contain themselves, or each other to any depth. */
static void check_deep_values(void)
{
    static const char deep[] =
        "{% set ns = namespace(x=1) %}{% for i in range(50000) %}{% set ns.x = [ns.x] %}{% endfor %}";
    static const char *const uses[] = {
        "{{ ns.x }}",           "{{ ns.x | tojson }}", "{{ ns.x == ns.x }}", "{{ [ns.x, ns.x] | sort }}",
        "{{ ns.x in [ns.x] }}", "{{ ns.x ~ '' }}",     "{{ ns.x < ns.x }}",
    };
    for (size_t i = 0; i < sizeof(uses) / sizeof(uses[0]); i++)
        refused(join(deep, uses[i], ""), "deeper than 1000 levels");
    static const char tuples[] =
        "{% set ns = namespace(x=1) %}{% for i in range(50000) %}{% set ns.x = (ns.x,) %}{% endfor %}";
    refused(join(tuples, "{{ {ns.x: 1} }}", ""), "a key is nested");
    refused(join(tuples, "{{ [ns.x] | unique | list }}", ""), "a key is nested");
    static const char wide[] =
        "{% set ns = namespace(x=1) %}{% for i in range(30) %}{% set ns.x = (ns.x, ns.x) %}{% endfor %}";
    refused(join(wide, "{{ {ns.x: 1} }}", ""), "steps");
    refused(join(wide, "{{ ns.x }}", ""), "");
    refused(join(wide, "{{ ns.x == ns.x }}", ""), "steps");
    refused(join(wide, "{{ ns.x | tojson }}", ""), "");
    refused("{% set a = [] %}{% set _ = a.append(a) %}{{ a }}", "deeper than");
    refused("{% set a = [] %}{% set _ = a.append(a) %}{{ a == [a] }}", "deeper than");
    refused("{% set a = [] %}{% set _ = a.append(a) %}{{ a | tojson }}", "deeper than");
    refused("{% set n = namespace() %}{% set n.n = n %}{{ n }}", "deeper than");
    refused("{% set a = [1] %}{% for x in a %}{% set _ = a.append(1) %}{% endfor %}", "");
}

/** What grows or takes time without end. */
static void check_growth(void)
{
    static const char grow[] = "{% set ns = namespace(x='ab') %}{% for i in range(90) %}{% set ns.x = ";
    static const char *const how[] = {
        "ns.x + ns.x",
        "ns.x ~ ns.x",
        "ns.x * 2",
        "ns.x.replace('a', 'aa')",
        "ns.x | replace('', 'ab')",
        "'%s%s' % (ns.x, ns.x)",
        "'{0}{0}'.format(ns.x)",
        "[ns.x, ns.x] | join",
        "ns.x.join([ns.x, ns.x])",
        "[ns.x, ns.x]",
        "ns.x | center(99999999)",
        "ns.x.ljust(999999999999)",
    };
    for (size_t i = 0; i < sizeof(how) / sizeof(how[0]); i++)
        refused(join(grow, how[i], " %}{% endfor %}{{ ns.x }}"), "");
    refused("{{ 'x' * 9223372036854775807 }}", "repeated");
    refused("{{ [1] * 9223372036854775807 }}", "repeated");
    refused("{{ '%99999999s' % 1 }}", "characters");
    refused("{{ '%.99999999f' % 1 }}", "characters");
    refused("{{ '{:99999999}'.format(1) }}", "characters");
    refused("{{ '%*d' % (99999999, 1) }}", "characters");
    refused("{{ l | tojson(indent=99999999) }}", "");
    refused("{{ 'a\\nb' | indent(999999999) }}", "");
    refused("{{ l | batch(9223372036854775807, 1) | list }}", "");
    refused("{{ l | slice(9223372036854775807) | list }}", "");
    // Searches that look at the same text again and again.
    refused("{% set a = 'a' * 1000000 %}{% set b = 'a' * 500000 %}{{ a.rfind(b) }}", "steps");
    refused("{% set a = 'a' * 1000000 %}{{ a.rsplit('a', 999999) }}", "steps");
    refused("{% set a = 'ab' * 500000 %}{% for i in range(100000) %}{% set x = a | upper %}{% endfor %}", "");
    refused("{% macro m(a, b) %}{{ m(a, b) ~ m(b, a) }}{% endmacro %}{{ m(1, 2) }}", "levels");
    refused("{% macro m() %}{% call m() %}{{ caller() }}{% endcall %}{{ caller() }}{% endmacro %}{{ m() }}",
            "");
    refused(join("{{ range(", times("1,", 5000), "1) }}"), "arguments at a time");
    refused("{{ range(*([1] * 5000)) }}", "arguments at a time");
}

static void check_unfinished(void)
{
    static const char *const texts[] = {
        "{{",
        "{%",
        "{#",
        "{# x",
        "{{ 'a",
        "{{ \"a",
        "{{ 'a\\",
        "{{ (",
        "{{ a",
        "{{ a.",
        "{{ a[",
        "{{ a(",
        "{{ a|",
        "{{ a is",
        "{{ a if",
        "{{ {",
        "{{ [",
        "{{ a }",
        "{% if",
        "{% if a",
        "{% if a %}",
        "{% for",
        "{% for a",
        "{% for a in",
        "{% for a in b",
        "{% for a in b %}",
        "{% set",
        "{% set a",
        "{% set a =",
        "{% set a %}",
        "{% macro",
        "{% macro a",
        "{% macro a(",
        "{% macro a()",
        "{% macro a() %}",
        "{% call",
        "{% call a() %}",
        "{% filter",
        "{% filter a %}",
        "{% with",
        "{% with a = 1 %}",
        "{% raw %}",
        "{% raw",
        "{% generation %}",
        "{%-",
        "{{-",
        "{#-",
        "{% if a %}{% else %}",
        "{% raw %}{% endraw",
        "{{ '\\x",
        "{{ '\\u12",
        "{{ '\\ud800' }}",
        "{% raw %}{% endraw +",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        refused(texts[i], "line 1");
    refused("a\nb\n{{ x.y.z }}", "line 3");
    refused("a\n{# \n #}\n{%- if true -%}\n\n{{ 1 +\n\n 'a' }}{% endif %}", "line 6");
    refused("{% macro m() %}\n{{ nothing.x }}\n{% endmacro %}\n\n{{ m() }}", "line 2");
}

/** Nothing leads out of the values: not by Python's names, not by ours. */
static void check_escapes(void)
{
    static const char *const texts[] = {
        "{{ ''.__class__.__mro__ }}",
        "{{ l.__class__.x }}",
        "{{ s['__class__']['__base__'] }}",
        "{{ raise_exception.__globals__.x }}",
        "{{ namespace.__init__.x }}",
        "{{ (s.upper).__self__.x }}",
        "{{ '{0.__class__.x}'.format(s) }}",
        "{{ '{0[__class__][x]}'.format(s) }}",
        "{{ s | attr('__class__') | attr('x') }}",
        "{{ l | map(attribute='__class__.x') | list }}",
        "{{ loop.x.y }}",
        "{{ range._x.y }}",
        "{{ self.x }}",
        "{{ caller.x.y }}",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        refused(texts[i], "");
    check("{{ s.__class__ }}{{ l._items }}{{ d.__init__ }}{{ raise_exception.x }}", "");
    check("{% set d2 = {'__class__': 1} %}{{ d2.__class__ }}{{ d2['__class__'] }}",
          "11"); // a member like others
    // A sentence holds what a template says without what a terminal would obey, and without end.
    refused("{{ raise_exception('\x1b[2J\\n' ~ 'a' * 100000) }}", "it raised:  [2J aaaa");
    REQUIRE(!strchr(env.error, '\x1b') && !strchr(env.error, '\n'));
    REQUIRE(strstr(env.error, "aaa..."));
    refused("{{ raise_exception('%s%n%d') }}", "%s%n%d");
}

static void *run_in_small_stack(void *user)
{
    (void)user;
    check_nesting();
    check_deep_values();
    refused("{% macro m(n) %}{% if n %}{% for x in [1] %}{{ [1, m(n) | upper ~ 'x'] | join }}{% endfor %}{% "
            "endif %}"
            "{% endmacro %}{{ m(1) }}",
            "deeper than");
    return NULL;
}

// A sanitizer's frames are larger.
#if defined(__SANITIZE_ADDRESS__) || !defined(NDEBUG)
#define STACK_SIZE (1 << 20)
#else
#define STACK_SIZE (512 << 10)
#endif

// The frames of a build for debugging or watching are larger.
#ifdef NDEBUG
#define STACK_SIZE (512 << 10)
#else
#define STACK_SIZE (1 << 20)
#endif

/** Hosts have threads with little stack: what the limits on depth allow fits into 512 KiB. */
static void check_stack(void)
{
    pthread_t thread;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    REQUIRE_INT(pthread_attr_setstacksize(&attr, STACK_SIZE), ==, 0);
    REQUIRE_INT(pthread_create(&thread, &attr, run_in_small_stack, NULL), ==, 0);
    pthread_join(thread, NULL);
    pthread_attr_destroy(&attr);
}

/* ---- JSON ------------------------------------------------------------------------------------------- */

static void check_json(const char *text, const char *want)
{
    static const char template[] = "{{ v | tojson }}";
    char *out;
    int rc = try_render(&env, template, sizeof(template) - 1, join("{\"v\": ", text, "}"), NULL, &out);
    if (rc < 0)
        fprintf(stderr, "%s: %s\n", text, env.error);
    REQUIRE_INT(rc, ==, 0);
    REQUIRE_STR(out, want);
    lg_free(&env, out);
}

static void check_no_json(const char *text, size_t len)
{
    struct lg_arena arena;
    struct lg_value v;
    lg_arena_init(&arena, &env, SIZE_MAX);
    env.error[0] = '\0';
    int rc = lg_json_parse(&env, &arena, text, len, &v);
    if (rc != LLMGPU_E_FORMAT)
        fprintf(stderr, "%.*s: %d\n", (int)len, text, rc);
    REQUIRE_INT(rc, ==, LLMGPU_E_FORMAT);
    REQUIRE(strstr(env.error, "JSON, byte "));
    lg_arena_finish(&arena);
}

static void check_reader(void)
{
    check_json("null", "null");
    check_json(" [ 1 , -0, 1.5e3, 0.1, 1E2, true , false,null ] ",
               "[1, 0, 1500.0, 0.1, 100.0, true, false, null]");
    check_json("{\"a\":{},\"b\":[],\"a\":2}", "{\"a\": 2, \"b\": []}");
    check_json("9223372036854775807", "9223372036854775807");
    check_json("-9223372036854775808", "-9223372036854775808");
    check_json("9223372036854775808", "9.223372036854776e+18");
    check_json("\"\\u00e9\\u4e16\\ud83d\\ude00\\n\\\"\\\\\\/\\b\\f\\r\\t\"",
               "\"\u00e9\u4e16\U0001f600\\n\\\"\\\\/\\b\\f\\r\\t\"");
    check_json("\"\\u0000\"", "\"\\u0000\"");
    check_json(join(times("[", 100), "", times("]", 100)), join(times("[", 100), "", times("]", 100)));
    static const char *const wrong[] = {
        "",
        " ",
        "nul",
        "nulll",
        "tru",
        "True",
        "[",
        "]",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{",
        "}",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,",
        "{\"a\":1,}",
        "{a:1}",
        "{'a':1}",
        "{1:1}",
        "{\"a\" 1}",
        "\"",
        "\"a",
        "\"\\",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800\\u0041\"",
        "\"\\ud800\\",
        "\"a\nb\"",
        "\"\t\"",
        "1e999",
        "-1e999",
        "01",
        "-",
        "+1",
        "1.",
        ".5",
        "1e",
        "1e+",
        "0x1",
        "1_0",
        "NaN",
        "Infinity",
        "-Infinity",
        "1 1",
        "[] []",
        "/**/1",
        "\xef\xbb\xbf"
        "1",
        "\"\xff\"",
        "\"\xc3\"",
        "\"\xed\xa0\x80\"",
        "\"\xc0\x80\"",
        "[1]x",
        "'a'",
        "\"\\u-123\"",
        "\"\\u+123\"",
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        check_no_json(wrong[i], strlen(wrong[i]));
    check_no_json("1\0", 2);
    check_no_json(times("[", 200000), 200000);
    check_no_json(times("{\"a\":", 100000), 500000);
    check_no_json(times("1", 2000), 2000); // no number has so many digits
}

/** Many members: found by their names, whatever their number. */
static void check_dict(void)
{
    struct lg_arena arena;
    struct lg_value dict;
    static char names[5000][16];
    lg_arena_init(&arena, &env, SIZE_MAX);
    REQUIRE_INT(lg_value_dict(&arena, &dict), ==, 0);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 5000; i++) {
            snprintf(names[i], sizeof(names[i]), "k%d", i);
            REQUIRE_INT(lg_value_set(&arena, &dict, names[i], lg_value_int(i + round)), ==, 0);
        }
        REQUIRE_INT(dict.dict->n, ==, 5000);
        for (int i = 0; i < 5000; i++) {
            const struct lg_value *v = lg_dict_get(dict.dict, (struct lg_str){names[i], strlen(names[i])});
            REQUIRE(v && v->kind == LG_VALUE_INT && v->i == i + round);
        }
    }
    REQUIRE(!lg_dict_get(dict.dict, (struct lg_str){"k5000", 5}));
    lg_arena_finish(&arena);
}

/* ---- memory ----------------------------------------------------------------------------------------- */

static void check_arena(void)
{
    struct test_heap heap;
    struct lg_env e;
    struct lg_arena arena;
    test_heap_env(&e, &heap, 0);
    lg_arena_init(&arena, &e, 100000);
    for (size_t i = 0; i < 50; i++) {
        unsigned char *block = lg_arena_alloc(&arena, i * 7);
        REQUIRE(block && (uintptr_t)block % 16 == 0);
        for (size_t k = 0; k < i * 7; k++)
            REQUIRE(block[k] == 0);
        memset(block, 0xff, i * 7);
        REQUIRE(lg_arena_bytes(&arena, 3));
    }
    char *text = lg_arena_bytes(&arena, 5);
    REQUIRE(lg_arena_extend(&arena, text + 5, 4) == text + 5);
    REQUIRE(!lg_arena_extend(&arena, text + 5, 4)); // no longer the last one
    REQUIRE(!lg_arena_alloc(&arena, 100000) && arena.full && heap.live <= 110000);
    REQUIRE(!lg_arena_array(&arena, SIZE_MAX / 2, 4) && !lg_arena_alloc(&arena, SIZE_MAX));
    lg_arena_finish(&arena);
    REQUIRE_INT(heap.live, ==, 0);
    heap.fail_at = heap.n + 1;
    REQUIRE(!lg_arena_alloc(&arena, 1) && !arena.full); // another reason
    lg_arena_finish(&arena);
}

/** Each allocation fails once, on the way through most of the language. */
static void check_allocations(void)
{
    static const char text[] =
        "{% macro m(x, y=[1]) %}{{ x ~ y }}{{ caller() if caller }}{{ varargs }}{{ kwargs }}{% endmacro %}"
        "{% set ns = namespace(t='') %}{% for k, v in d.items() if k %}{% set ns.t = ns.t + k ~ "
        "v|tojson(indent=2) %}{% endfor %}"
        "{% call m(l|sort|map('string')|list, 2, 3, z=4) %}c{% endcall %}{% filter upper %}{{ s * 3 }}{% "
        "endfilter %}"
        "{{ '%s-%05d' % (s, 7) }}{{ '{:>9}'.format(s) }}{{ s.split('b') }}{{ l[::-1] }}{{ s[::-1] }}{{ {'q': "
        "l} }}"
        "{{ [{'a': 1}, {'a': 2}]|groupby('a') }}{{ l|unique|list }}{{ s|replace('a', 'bc') }}{{ "
        "range(9)|batch(2)|list }}"
        "{% set b %}{{ strftime_now('%F') }}{% endset %}{{ b }}{{ ns.t|indent }}{{ dict(a=1, **d) }}{{ l|sum "
        "}}{{ nothing }}";
    char *want, *out;
    int rc = try_render(&env, text, sizeof(text) - 1, vars_json, NULL, &want);
    if (rc < 0)
        fprintf(stderr, "%s\n", env.error);
    REQUIRE_INT(rc, ==, 0);
    uint64_t n = 0;
    for (rc = -1; rc < 0;) {
        struct test_heap heap;
        struct lg_env e;
        test_heap_env(&e, &heap, ++n);
        rc = try_render(&e, text, sizeof(text) - 1, vars_json, NULL, &out);
        REQUIRE(rc == 0 || rc == LLMGPU_E_NOMEM);
        if (rc == 0)
            REQUIRE_STR(out, want);
        lg_free(&e, out);
        REQUIRE_INT(heap.live, ==, 0);
    }
    lg_free(&env, want);
    REQUIRE(n > 10);
}

/** A template that was parsed once is rendered by many threads at a time. */
static const struct lg_template *shared;

static void *render_often(void *user)
{
    struct lg_env e;
    struct lg_arena arena;
    struct lg_value vars;
    lg_env_init(&e);
    lg_arena_init(&arena, &e, SIZE_MAX);
    REQUIRE_INT(lg_json_parse(&e, &arena, vars_json, strlen(vars_json), &vars), ==, 0);
    for (int i = 0; i < 200; i++) {
        struct lg_rendering r;
        REQUIRE_INT(lg_template_render(shared, &e, &vars, 0, &r), ==, 0);
        REQUIRE_STR(r.text, user);
        lg_free(&e, r.text);
    }
    lg_arena_finish(&arena);
    return NULL;
}

static void check_threads(void)
{
    static const char text[] =
        "{% macro m(x) %}{{ x * 2 }}{% endmacro %}{% for x in l|sort %}{{ m(x) }}{{ d.a.b }}{% endfor %}";
    static char want[] = "2[1, None, True]4[1, None, True]6[1, None, True]";
    struct lg_template *t;
    pthread_t threads[4];
    REQUIRE_INT(lg_template_parse(&env, text, sizeof(text) - 1, NULL, &t), ==, 0);
    shared = t;
    for (int i = 0; i < 4; i++)
        REQUIRE_INT(pthread_create(&threads[i], NULL, render_often, want), ==, 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    lg_template_destroy(t);
}

static void check_time(void)
{
    static const struct {
        int64_t now;
        const char *want;
    } cases[] = {
        {0, "1970-01-01 00:00:00 Thu 001"},          {951782400, "2000-02-29 00:00:00 Tue 060"},
        {1709251199, "2024-02-29 23:59:59 Thu 060"}, {1735689599, "2024-12-31 23:59:59 Tue 366"},
        {-1, "1969-12-31 23:59:59 Wed 365"},         {4107542400, "2100-03-01 00:00:00 Mon 060"},
    };
    static const char text[] = "{{ strftime_now('%F %T %a %j') }}";
    struct lg_template *t;
    struct lg_arena arena;
    struct lg_value vars;
    lg_arena_init(&arena, &env, SIZE_MAX);
    REQUIRE_INT(lg_value_dict(&arena, &vars), ==, 0);
    REQUIRE_INT(lg_template_parse(&env, text, sizeof(text) - 1, NULL, &t), ==, 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct lg_rendering r;
        REQUIRE_INT(lg_template_render(t, &env, &vars, cases[i].now, &r), ==, 0);
        REQUIRE_STR(r.text, cases[i].want);
        lg_free(&env, r.text);
    }
    lg_template_destroy(t);
    lg_arena_finish(&arena);
}

int main(void)
{
    lg_env_init(&env);
    check_language();
    check_numbers();
    check_limits();
    check_nesting();
    check_deep_values();
    check_growth();
    check_unfinished();
    check_escapes();
    check_stack();
    check_reader();
    check_dict();
    check_arena();
    check_allocations();
    check_threads();
    check_time();
    return 0;
}
