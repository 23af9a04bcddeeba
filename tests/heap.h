/* SPDX-License-Identifier: MIT
 *
 * An allocator for tests: it counts what is asked for, fails on request, and shows leaks.
 */
#ifndef LG_TESTS_HEAP_H
#define LG_TESTS_HEAP_H

#include "test.h"
#include "util/env.h"

struct test_heap {
    size_t live, peak; // bytes now, and at most so far
    uint64_t n;        // requests so far
    uint64_t fail_at;  // the request that fails, from 1; 0: none
};

static inline void *test_heap_resize(void *user, void *ptr, size_t size)
{
    struct test_heap *heap = user;
    const size_t header = 16;
    size_t old = 0;
    if (++heap->n == heap->fail_at || size > SIZE_MAX - header)
        return NULL;
    if (ptr) {
        ptr = (char *)ptr - header;
        memcpy(&old, ptr, sizeof(old));
    }
    char *block = realloc(ptr, header + size);
    if (!block)
        return NULL;
    memcpy(block, &size, sizeof(size));
    heap->live += size - old;
    if (heap->live > heap->peak)
        heap->peak = heap->live;
    return block + header;
}

static inline void *test_heap_alloc(void *user, size_t size)
{
    return test_heap_resize(user, NULL, size);
}

static inline void test_heap_release(void *user, void *ptr)
{
    struct test_heap *heap = user;
    size_t size;
    ptr = (char *)ptr - 16;
    memcpy(&size, ptr, sizeof(size));
    heap->live -= size;
    free(ptr);
}

/** An env whose memory comes from `heap`, which is zeroed but for `fail_at`. */
static inline void test_heap_env(struct lg_env *env, struct test_heap *heap, uint64_t fail_at)
{
    *heap = (struct test_heap){.fail_at = fail_at};
    lg_env_init(env);
    env->alloc = test_heap_alloc;
    env->resize = test_heap_resize;
    env->release = test_heap_release;
    env->user = heap;
}

#endif
