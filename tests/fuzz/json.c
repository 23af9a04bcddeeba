/* SPDX-License-Identifier: MIT
 *
 * Whatever the bytes are: the reader of JSON says where it refuses them, or gives a value that is written and
 * read again as the same text; its memory is a small multiple of the text's. The same when an allocation
 * fails.
 */
#include "fuzz.h"
#include "heap.h"
#include "text/template.h"

/** Reads, and writes what was read; *text is NULL when it failed. */
static int copy(struct lg_env *env, const char *json, size_t len, char **text, size_t *n)
{
    static const char source[] = "{{ v | tojson }}";
    struct lg_arena arena;
    struct lg_value v, vars;
    struct lg_template *t = NULL;
    struct lg_rendering out = {0};
    env->error[0] = '\0';
    lg_arena_init(&arena, env, 128 * len + 4096);
    int rc = lg_json_parse(env, &arena, json, len, &v);
    if (rc == 0 && (rc = lg_value_dict(&arena, &vars)) == 0)
        rc = lg_value_set(&arena, &vars, "v", v);
    if (rc == 0)
        rc = lg_template_parse(env, source, sizeof(source) - 1, NULL, &t);
    if (rc == 0)
        rc = lg_template_render(t, env, &vars, 0, &out);
    lg_template_destroy(t);
    lg_arena_finish(&arena);
    *text = out.text;
    *n = out.len;
    return rc;
}

static void check(const char *json, size_t len, uint64_t fail_at)
{
    struct test_heap heap;
    struct lg_env env;
    char *once, *twice = NULL;
    size_t n_once, n_twice;
    test_heap_env(&env, &heap, fail_at);
    int rc = copy(&env, json, len, &once, &n_once);
    REQUIRE(rc == 0 || rc == LLMGPU_E_FORMAT || (rc == LLMGPU_E_NOMEM && fail_at));
    REQUIRE(rc == 0 || *env.error);
    if (rc == 0 && !fail_at) {
        REQUIRE_INT(copy(&env, once, n_once, &twice, &n_twice), ==, 0);
        REQUIRE(n_once == n_twice && memcmp(once, twice, n_once) == 0);
    }
    lg_free(&env, once);
    lg_free(&env, twice);
    REQUIRE_INT(heap.live, ==, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 64 << 10)
        return 0;
    check((const char *)data, size, 0);
    check((const char *)data, size, 1 + size % 8);
    return 0;
}
