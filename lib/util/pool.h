/* SPDX-License-Identifier: MIT
 *
 * Threads that share work in pieces with the caller and sleep while there is nothing to do.
 *
 * Thread-safety: one thread at a time may use a pool.
 */
#ifndef LG_UTIL_POOL_H
#define LG_UTIL_POOL_H

#include "util/env.h"

struct lg_pool;

/** Works on items [first, last). */
typedef void lg_pool_fn(void *user, uint32_t first, uint32_t last);

/** Processors that this process may use. */
uint32_t lg_pool_processors(void);
/** @param n_threads the caller's included, so that 1 starts none */
int lg_pool_create(struct lg_env *env, uint32_t n_threads, struct lg_pool **out);
/** NULL is allowed. */
void lg_pool_destroy(struct lg_pool *pool);

/**
 * Calls `fn` with pieces of `chunk` items, or a few times as many at first, until all of [0, n) are done, on the caller's thread and on
 * those of the pool that have time. A single piece runs on the caller's thread and wakes nobody.
 */
void lg_pool_run(struct lg_pool *pool, lg_pool_fn *fn, void *user, uint32_t n, uint32_t chunk);

#endif
