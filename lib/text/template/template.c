/* SPDX-License-Identifier: MIT */
#include <stdio.h>

#include "text/template/internal.h"

const struct lg_template_limits lg_template_default_limits = {
    .template_bytes = 512 << 10,
    .memory_bytes = 64 << 20,
    .output_bytes = 16 << 20,
    .steps = 20000000,
    .nesting = 250,
    .depth = 1000,
    .range = 100000,
};

/* ---- failures --------------------------------------------------------------------------------------- */

static int fail_at(struct lg_env *env, uint32_t line, const char *fmt, va_list args)
    __attribute__((format(printf, 3, 0)));

static int fail_at(struct lg_env *env, uint32_t line, const char *fmt, va_list args)
{
    char what[sizeof(env->error)];
    vsnprintf(what, sizeof(what), fmt, args);
    return lg_fail(env, LLMGPU_E_TEMPLATE, "chat template, line %u: %s", line, what);
}

int lg_tmpl_fail_at(struct lg_env *env, uint32_t line, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int rc = fail_at(env, line, fmt, args);
    va_end(args);
    return rc;
}

int lg_tmpl_fail(struct lg_tmpl_run *r, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int rc = fail_at(r->env, r->line, fmt, args);
    va_end(args);
    return rc;
}

int lg_tmpl_fail_memory(struct lg_env *env, const struct lg_arena *arena, uint32_t line)
{
    if (arena->full)
        return lg_tmpl_fail_at(env, line, "it takes more than %zu bytes of memory", arena->cap);
    return lg_fail_nomem(env, "a chat template", arena->next);
}

int lg_tmpl_nomem(struct lg_tmpl_run *r)
{
    return lg_tmpl_fail_memory(r->env, &r->arena, r->line);
}

const char *lg_tmpl_quote(struct lg_str s, char out[LG_TMPL_QUOTE])
{
    static const char more[] = "...";
    size_t n = 0;
    for (size_t i = 0, step; i < s.len; i += step) {
        uint32_t c;
        step = lg_char_at(s.ptr + i, s.len - i, &c);
        if (n + step + sizeof(more) > LG_TMPL_QUOTE) {
            memcpy(out + n, more, sizeof(more));
            return out;
        }
        bool printable = c >= ' ' && (c < 0x7f || c > 0x9f) && c <= 0x10ffff;
        memcpy(out + n, printable ? s.ptr + i : " ", printable ? step : 1);
        n += printable ? step : 1;
    }
    out[n] = '\0';
    return out;
}

int lg_tmpl_charge(struct lg_tmpl_run *r, uint64_t n, size_t bytes)
{
    n += bytes / 16;
    if (n > r->steps)
        return lg_tmpl_fail(r, "it takes more than %llu steps", (unsigned long long)r->t->limits.steps);
    r->steps -= n;
    return 0;
}

int lg_tmpl_enter(struct lg_tmpl_run *r)
{
    if (++r->depth > r->t->limits.depth)
        return lg_tmpl_fail(r, "it goes deeper than %u levels", r->t->limits.depth);
    return 0;
}

/* ---- parsing ---------------------------------------------------------------------------------------- */

static int parse(struct lg_env *env, struct lg_template *t, const char *text, size_t len)
{
    static const char *const names[LG_NAME_N] = {
        [LG_NAME_LOOP] = "loop",
        [LG_NAME_CALLER] = "caller",
        [LG_NAME_KWARGS] = "kwargs",
        [LG_NAME_VARARGS] = "varargs",
    };
    struct lg_tmpl_parser p = {.env = env, .t = t};
    if (len > t->limits.template_bytes)
        return lg_fail(env, LLMGPU_E_TEMPLATE, "the chat template has %zu bytes, more than %zu", len,
                       t->limits.template_bytes);
    if (lg_value_dict(&t->arena, &t->names) < 0)
        return lg_tmpl_fail_memory(env, &t->arena, 1);
    int rc = lg_tmpl_lex(env, t, text, len, &p.tokens);
    p.at = p.tokens.items;
    for (size_t i = 0; rc == 0 && i < LG_NAME_N; i++) {
        uint32_t number;
        rc = lg_tmpl_parse_name(&p, (struct lg_str){names[i], strlen(names[i])}, &number);
    }
    if (rc == 0)
        rc = lg_tmpl_parse(&p, &t->body);
    lg_free(env, p.tokens.items);
    return rc;
}

int lg_template_parse(struct lg_env *env, const char *text, size_t len,
                      const struct lg_template_limits *limits, struct lg_template **out)
{
    *out = NULL;
    struct lg_template *t = lg_alloc(env, sizeof(*t));
    if (!t)
        return lg_fail_nomem(env, "a chat template", sizeof(*t));
    t->env = env;
    t->limits = limits ? *limits : lg_template_default_limits;
    lg_arena_init(&t->arena, env, t->limits.memory_bytes);
    int rc = parse(env, t, text, len);
    if (rc < 0) {
        lg_template_destroy(t);
        return rc;
    }
    *out = t;
    return 0;
}

void lg_template_destroy(struct lg_template *t)
{
    if (!t)
        return;
    lg_arena_finish(&t->arena);
    lg_free(t->env, t);
}

/* ---- rendering -------------------------------------------------------------------------------------- */

static int run(struct lg_tmpl_run *r)
{
    r->stack = lg_arena_array(&r->arena, LG_TMPL_MAX_STACK, sizeof(*r->stack));
    if (!r->stack)
        return lg_tmpl_nomem(r);
    LG_TRY(lg_tmpl_write(r, "", 0)); // so that there is somewhere to write
    LG_TRY(lg_tmpl_scope_new(r, NULL, &r->scope));
    return lg_tmpl_exec(r, r->t->body);
}

int lg_template_render(const struct lg_template *t, struct lg_env *env, const struct lg_value *vars,
                       int64_t now, struct lg_rendering *out)
{
    *out = (struct lg_rendering){0};
    struct lg_tmpl_run r = {
        .env = env, .t = t, .vars = vars, .now = now, .steps = t->limits.steps, .line = 1};
    lg_arena_init(&r.arena, env, t->limits.memory_bytes);
    int rc = run(&r);
    if (rc == 0) {
        out->text = r.out;
        out->len = r.n_out;
        r.out[r.n_out] = '\0';
    } else {
        lg_free(env, r.out);
    }
    lg_arena_finish(&r.arena);
    return rc;
}
