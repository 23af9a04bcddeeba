/* SPDX-License-Identifier: MIT
 *
 * A template and the JSON that it sees, a NUL between the two: whatever they say, what comes is a text within the limits
 * or a refusal with a sentence, in bounded time. The same with an allocation that fails.
 */
#include "fuzz.h"
#include "heap.h"
#include "text/template.h"

static const struct lg_template_limits limits = {
    .template_bytes = 1 << 16,
    .memory_bytes = 4 << 20,
    .output_bytes = 1 << 16,
    .steps = 100000,
    .nesting = 100,
    .depth = 300,
    .range = 1000,
};

static int render(struct lg_env *env, const char *text, size_t len, const struct lg_value *vars)
{
    struct lg_template *template;
    struct lg_rendering out = {0};
    LG_TRY(lg_template_parse(env, text, len, &limits, &template));
    int rc = lg_template_render(template, env, vars, 1718000000, &out);
    REQUIRE((rc == 0) == (out.text != NULL));
    if (rc == 0)
        REQUIRE(out.len <= limits.output_bytes && out.text[out.len] == '\0');
    lg_free(env, out.text);
    lg_template_destroy(template);
    return rc;
}

static int try(const char *text, size_t len, const char *json, size_t n_json, uint64_t fail_at)
{
    struct test_heap heap;
    struct lg_env env;
    struct lg_arena arena;
    struct lg_value vars;
    test_heap_env(&env, &heap, fail_at);
    lg_arena_init(&arena, &env, 4 << 20);
    int rc = lg_json_parse(&env, &arena, json, n_json, &vars);
    if (rc == 0 && vars.kind == LG_VALUE_DICT)
        rc = render(&env, text, len, &vars);
    REQUIRE(rc == 0 || *env.error);
    lg_arena_finish(&arena);
    REQUIRE_INT(heap.live, ==, 0);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char context[] = "{\"messages\": [{\"role\": \"user\", \"content\": \"Who?\"}, {\"role\": \"assistant\", "
                                  "\"content\": null, \"tool_calls\": [{\"name\": \"f\", \"arguments\": {\"x\": 1.5}}]}], "
                                  "\"tools\": null, \"bos_token\": \"<s>\", \"add_generation_prompt\": true}";
    const char *text = (const char *)data, *end = size ? memchr(data, 0, size) : NULL;
    size_t len = end ? (size_t)(end - text) : size;
    const char *json = end ? end + 1 : context;
    size_t n_json = end ? size - len - 1 : sizeof(context) - 1;
    int rc = try(text, len, json, n_json, 0);
    REQUIRE(rc == 0 || rc == LLMGPU_E_TEMPLATE || rc == LLMGPU_E_FORMAT || rc == LLMGPU_E_NOMEM);
    int failed = try(text, len, json, n_json, 1 + size % 40);
    REQUIRE(failed == rc || failed == LLMGPU_E_NOMEM);
    return 0;
}
