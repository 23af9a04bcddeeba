/* SPDX-License-Identifier: MIT */
#include "util/arena.h"

#include <string.h>

#include "util/checked.h"

enum { FIRST_CHUNK = 1 << 10, LARGEST_CHUNK = 1 << 20, ALIGN = 16 };

struct lg_arena_chunk {
    struct lg_arena_chunk *next;
    size_t size; // bytes behind the header
};

#define HEADER ((sizeof(struct lg_arena_chunk) + ALIGN - 1) / ALIGN * ALIGN)

void lg_arena_init(struct lg_arena *arena, struct lg_env *env, size_t cap)
{
    *arena = (struct lg_arena){.env = env, .cap = cap, .next = FIRST_CHUNK};
}

void lg_arena_finish(struct lg_arena *arena)
{
    while (arena->chunks) {
        struct lg_arena_chunk *chunk = arena->chunks;
        arena->chunks = chunk->next;
        lg_free(arena->env, chunk);
    }
    lg_arena_init(arena, arena->env, arena->cap);
}

/** A new chunk with room for `size` bytes. What is left in the one before is lost. */
static bool grow(struct lg_arena *arena, size_t size)
{
    size_t want = size > arena->next ? size : arena->next, total;
    if (want > arena->cap - arena->used)
        want = size;
    if (size > arena->cap - arena->used || !lg_add_size(want, HEADER, &total)) {
        arena->full = true;
        return false;
    }
    struct lg_arena_chunk *chunk = lg_resize(arena->env, NULL, total);
    if (!chunk)
        return false;
    *chunk = (struct lg_arena_chunk){arena->chunks, want};
    arena->chunks = chunk;
    arena->at = (char *)chunk + HEADER;
    arena->left = want;
    arena->used += want;
    if (arena->next < LARGEST_CHUNK)
        arena->next *= 2;
    return true;
}

char *lg_arena_bytes(struct lg_arena *arena, size_t size)
{
    if (size == 0)
        return (char *)""; // never written
    if (size > arena->left && !grow(arena, size))
        return NULL;
    char *block = arena->at;
    arena->at += size;
    arena->left -= size;
    return block;
}

void *lg_arena_alloc(struct lg_arena *arena, size_t size)
{
    size_t skip = -(uintptr_t)arena->at % ALIGN;
    if (skip > arena->left) {
        arena->left = 0;
    } else if (skip > 0) { // before the first request there is nothing to skip in
        arena->at += skip;
        arena->left -= skip;
    }
    if (size == 0)
        size = 1; // so that a pointer into the arena comes out
    if (size > SIZE_MAX - ALIGN) {
        arena->full = true;
        return NULL;
    }
    char *block = lg_arena_bytes(arena, size);
    return block ? memset(block, 0, size) : NULL;
}

void *lg_arena_array(struct lg_arena *arena, size_t n, size_t size)
{
    size_t total;
    if (!lg_mul_size(n, size, &total)) {
        arena->full = true;
        return NULL;
    }
    return lg_arena_alloc(arena, total);
}

char *lg_arena_extend(struct lg_arena *arena, const char *end, size_t size)
{
    return end == arena->at && size <= arena->left ? lg_arena_bytes(arena, size) : NULL;
}

void lg_arena_reserve(struct lg_arena *arena, size_t size)
{
    bool full = arena->full;
    if (size > arena->left)
        grow(arena, size);
    arena->full = full; // only a request counts
}
