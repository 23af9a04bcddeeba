/* SPDX-License-Identifier: MIT
 *
 * Whatever the bytes are: the parser ends, says why when it refuses, asks for no more memory than a small
 * multiple of the file, leaks nothing, and what it gives out lies within the file. The same when an
 * allocation fails, and the very same, to the sentence, when the file is read by callbacks. What was read can be written, and is
 * then read as the same.
 */
#include "fuzz.h"
#include "gguf_build.h"
#include "gguf_copy.h"
#include "heap.h"
#include "stream.h"

static struct lg_env env; // of the last parse

/** With a window of 0 bytes, from memory. */
static int parse(const uint8_t *data, size_t size, uint64_t window, uint64_t fail_at)
{
    struct test_heap heap;
    struct lg_gguf *gguf;
    struct stream stream = {.data = data, .size = size};
    struct lg_gguf_io io = stream_io(&stream, window);
    test_heap_env(&env, &heap, fail_at);
    int rc =
        window ? lg_gguf_open_io(&env, "fuzz", &io, &gguf) : lg_gguf_parse(&env, "fuzz", data, size, &gguf);
    REQUIRE((rc == 0) == (gguf != NULL));
    REQUIRE_INT(stream.n_bytes, <=, size);
    if (rc == 0)
        walk_gguf(gguf, &env);
    else
        REQUIRE(env.error[0]);
    lg_gguf_close(gguf);
    REQUIRE_INT(stream.n_closed, ==, window > 0);
    REQUIRE_INT(heap.live, ==, 0);
    REQUIRE_INT(heap.peak, <=, size * (window ? 9 : 8) + 8192);
    return rc;
}

static void write_again(const uint8_t *data, size_t size)
{
    struct lg_gguf *gguf, *back;
    struct copy copy = {0};
    lg_env_init(&env);
    REQUIRE_INT(lg_gguf_parse(&env, "fuzz", data, size, &gguf), ==, 0);
    if (gguf->n_tensors * gguf->alignment < 1 << 24) { // padding is in no proportion to a file
        REQUIRE_INT(copy_gguf(&env, gguf, &copy, 1 + size % 100), ==, 0);
        REQUIRE_INT(lg_gguf_parse(&env, "copy", copy.data, copy.size, &back), ==, 0);
        copy_compare(gguf, back);
        lg_gguf_close(back);
        free(copy.data);
    }
    lg_gguf_close(gguf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char sentence[sizeof(env.error)];
    int rc = parse(data, size, 0, 0);
    REQUIRE(rc == 0 || rc == LLMGPU_E_FORMAT || rc == LLMGPU_E_UNSUPPORTED);
    memcpy(sentence, env.error, sizeof(sentence));
    REQUIRE_INT(parse(data, size, 1 + size % 64, 0), ==, rc);
    REQUIRE_STR(env.error, sentence);
    if (rc == 0)
        write_again(data, size);
    for (uint64_t window = 0; window < 2; window++) {
        int failed = parse(data, size, window * 32, 1 + size % 16);
        REQUIRE(failed == rc || failed == LLMGPU_E_NOMEM);
    }
    return 0;
}
