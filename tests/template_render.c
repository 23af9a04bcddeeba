/* SPDX-License-Identifier: MIT
 *
 * Renders templates for tests that compare them with another implementation: standard input is a JSON array
 * of objects
 * {"template", "context", "now"}; for each a line comes out, {"text"} or {"error"}.
 */
#include "test.h"
#include "text/template.h"

static char *read_all(size_t *len)
{
    size_t cap = 1 << 16;
    char *text = malloc(cap);
    REQUIRE(text);
    *len = 0;
    for (size_t n; (n = fread(text + *len, 1, cap - *len, stdin)) > 0;) {
        *len += n;
        if (*len == cap)
            text = realloc(text, cap *= 2);
        REQUIRE(text);
    }
    return text;
}

static void print_member(const char *name, const char *text, size_t len)
{
    printf("{\"%s\": \"", name);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c == '"' || c == '\\')
            printf("\\u%04x", c);
        else
            putchar(c);
    }
    puts("\"}");
}

/** A member of a case; fails the test when it is missing. */
static struct lg_value member(const struct lg_value *object, const char *name)
{
    REQUIRE(object->kind == LG_VALUE_DICT);
    for (uint32_t i = 0; i < object->dict->n; i++) {
        const struct lg_value *pair = &object->dict->pairs[2 * i];
        if (pair->n == strlen(name) && memcmp(pair->s, name, pair->n) == 0)
            return pair[1];
    }
    fprintf(stderr, "a case has no member '%s'\n", name);
    exit(1);
}

static void render(struct lg_env *env, const struct lg_value *item)
{
    struct lg_value text = member(item, "template"), vars = member(item, "context"),
                    now = member(item, "now");
    struct lg_template *t;
    struct lg_rendering out = {0};
    int rc = lg_template_parse(env, text.s, text.n, NULL, &t);
    if (rc == 0)
        rc = lg_template_render(t, env, &vars, now.i, &out);
    if (rc == 0)
        print_member("text", out.text, out.len);
    else
        print_member("error", env->error, strlen(env->error));
    lg_free(env, out.text);
    lg_template_destroy(t);
}

int main(void)
{
    struct lg_env env;
    struct lg_arena arena;
    struct lg_value cases;
    size_t len;
    char *text = read_all(&len);
    lg_env_init(&env);
    lg_arena_init(&arena, &env, SIZE_MAX);
    int rc = lg_json_parse(&env, &arena, text, len, &cases);
    if (rc < 0)
        fprintf(stderr, "%s\n", env.error);
    REQUIRE_INT(rc, ==, 0);
    REQUIRE(cases.kind == LG_VALUE_LIST);
    for (uint32_t i = 0; i < cases.list->n; i++)
        render(&env, &cases.list->items[i]);
    lg_arena_finish(&arena);
    free(text);
    return 0;
}
