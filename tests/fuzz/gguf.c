/* SPDX-License-Identifier: MIT
 *
 * Whatever the bytes are: the parser ends, says why when it refuses, asks for no more memory than a small
 * multiple of the file, leaks nothing, and what it gives out lies within the file. The same when an
 * allocation fails.
 */
#include "fuzz.h"
#include "gguf_build.h"
#include "heap.h"

static int parse(const uint8_t *data, size_t size, uint64_t fail_at)
{
    struct test_heap heap;
    struct lg_env env;
    struct lg_gguf *gguf;
    test_heap_env(&env, &heap, fail_at);
    int rc = lg_gguf_parse(&env, "fuzz", data, size, &gguf);
    REQUIRE((rc == 0) == (gguf != NULL));
    if (rc == 0)
        walk_gguf(gguf, &env);
    else
        REQUIRE(env.error[0]);
    lg_gguf_close(gguf);
    REQUIRE_INT(heap.live, ==, 0);
    REQUIRE_INT(heap.peak, <=, size * 8 + 8192);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int rc = parse(data, size, 0);
    REQUIRE(rc == 0 || rc == LLMGPU_E_FORMAT || rc == LLMGPU_E_UNSUPPORTED);
    int failed = parse(data, size, 1 + size % 16);
    REQUIRE(failed == rc || failed == LLMGPU_E_NOMEM);
    return 0;
}
