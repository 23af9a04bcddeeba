/* SPDX-License-Identifier: MIT
 *
 * Whatever the bytes are: as a template they are refused with a sentence, or render the same conversation,
 * within the limits on memory, and without a leak. The same when an allocation fails.
 */
#include "fuzz.h"
#include "heap.h"
#include "text/template.h"

static const char vars_json[] = "{\"messages\": [{\"role\": \"system\", \"content\": \" S\\u00e9 \"}, "
                                "{\"role\": \"user\", \"content\": \"a b,c\\nd\"},"
                                "{\"role\": \"assistant\", \"content\": null, \"tool_calls\": [{\"id\": "
                                "\"x1\", \"function\": {\"name\": \"f\", \"arguments\": "
                                "{\"p\": [1, 2.5, true]}}}]}, {\"role\": \"tool\", \"content\": \"7\"}], "
                                "\"tools\": [{\"function\": {\"name\": \"f\", "
                                "\"parameters\": {\"properties\": {\"p\": {\"type\": \"array\"}}}}}], "
                                "\"add_generation_prompt\": true, \"s\": \"abc\", "
                                "\"i\": 7, \"f\": 2.5, \"n\": null, \"l\": [3, 1, 2], \"d\": {\"b\": 1, "
                                "\"a\": {\"x\": [1]}}, \"bos_token\": \"<s>\"}";

enum { MAX_MEMORY = 2 << 20, MAX_OUTPUT = 1 << 16 };

static int try(const char *text, size_t len, uint64_t fail_at)
{
    struct test_heap heap;
    struct lg_env env;
    struct lg_arena arena;
    struct lg_value vars;
    struct lg_template *t;
    struct lg_rendering out = {0};
    struct lg_template_limits limits = lg_template_default_limits;
    limits.memory_bytes = MAX_MEMORY;
    limits.output_bytes = MAX_OUTPUT;
    limits.steps = 100000;
    test_heap_env(&env, &heap, 0);
    lg_arena_init(&arena, &env, SIZE_MAX);
    REQUIRE_INT(lg_json_parse(&env, &arena, vars_json, sizeof(vars_json) - 1, &vars), ==, 0);
    heap.fail_at = fail_at ? heap.n + fail_at : 0;
    int rc = lg_template_parse(&env, text, len, &limits, &t);
    if (rc == 0)
        rc = lg_template_render(t, &env, &vars, 1700000000, &out);
    REQUIRE((rc == 0) == (out.text != NULL));
    REQUIRE(rc == 0 || *env.error);
    REQUIRE(out.len <= MAX_OUTPUT && (rc < 0 || out.text[out.len] == '\0'));
    lg_free(&env, out.text);
    lg_template_destroy(t);
    lg_arena_finish(&arena);
    REQUIRE_INT(heap.live, ==, 0);
    REQUIRE_INT(heap.peak, <=, 3 * MAX_MEMORY + 64 * len);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int rc = try((const char *)data, size, 0);
    REQUIRE(rc == 0 || rc == LLMGPU_E_TEMPLATE);
    int failed = try((const char *)data, size, 1 + size % 16);
    REQUIRE(failed == rc || failed == LLMGPU_E_NOMEM);
    return 0;
}
