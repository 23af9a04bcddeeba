/* SPDX-License-Identifier: MIT
 * Memory that is given back all at once, with a cap. */
#ifndef LG_UTIL_ARENA_H
#define LG_UTIL_ARENA_H

#include <stdbool.h>

#include "util/env.h"

struct lg_arena_chunk;

struct lg_arena {
    struct lg_env *env;
    struct lg_arena_chunk *chunks; // the newest first
    char *at;                      // where the newest chunk is free
    size_t left;                   // bytes free there
    size_t used, cap;              // bytes of all chunks, and how many there may be
    size_t next;                   // size of the next chunk
    bool full;                     // a request was refused because of the cap
};

/** An arena without memory. `env` must outlive it. */
void lg_arena_init(struct lg_arena *arena, struct lg_env *env, size_t cap);
/** Gives everything back; a zeroed arena is allowed. It can be used again. */
void lg_arena_finish(struct lg_arena *arena);

/** Zeroed memory, aligned for pointers and numbers; NULL when there is none or the cap is reached. */
void *lg_arena_alloc(struct lg_arena *arena, size_t size);
/** The same for `n` elements. */
void *lg_arena_array(struct lg_arena *arena, size_t n, size_t size);
/** Bytes without alignment, not zeroed. */
char *lg_arena_bytes(struct lg_arena *arena, size_t size);
/** Adds `size` bytes to the block that ends at `end`; NULL unless it is the last one and there is room behind
 * it. */
char *lg_arena_extend(struct lg_arena *arena, const char *end, size_t size);
/** Sees to it that the next `size` bytes are in one chunk, where that is possible. */
void lg_arena_reserve(struct lg_arena *arena, size_t size);

#endif
