/* SPDX-License-Identifier: MIT
 *
 * Which pages hold the keys and values of which tokens: an index by content over full pages, so that a beginning that
 * several conversations share is computed once. A page's key is its tokens and a hash of all that comes before them, which
 * begins with a number of this process's own, so that nobody can make two beginnings alike from outside (XXH3 is no
 * cryptographic hash); its tokens themselves are compared too.
 *
 * Thread-safety: one thread at a time.
 */
#ifndef LG_RUNTIME_PREFIX_H
#define LG_RUNTIME_PREFIX_H

#include <stdbool.h>
#include <stdint.h>

#include "util/env.h"

enum { LG_PAGE_SIZE = 32 }; // tokens of a key/value page
#define LG_NO_PAGE UINT32_MAX

/** Of a beginning. */
struct lg_prefix_hash {
    uint64_t low, high;
};

struct lg_prefix_entry {
    struct lg_prefix_hash hash;   // of all tokens up to the end of the page
    int32_t tokens[LG_PAGE_SIZE]; // of the page
    uint32_t next;                // page in the same bucket
    bool known;
};

struct lg_prefix_index {
    struct lg_env *env;
    struct lg_prefix_entry *entries; // [n_pages]
    uint32_t *buckets;               // first page of each
    uint32_t n_pages, n_buckets;     // the latter a power of two
};

/** An empty index over pages [0, n_pages). LLMGPU_E_NOMEM. */
int lg_prefix_init(struct lg_prefix_index *index, struct lg_env *env, uint32_t n_pages);
/** A zeroed index is allowed. */
void lg_prefix_finish(struct lg_prefix_index *index);

/** What beginnings computed with an adapter begin with: `seating` is a number of its own, 0 without one. */
struct lg_prefix_hash lg_prefix_begin(uint64_t seed, uint64_t seating, float scale);
/** The beginning with another page's tokens. */
struct lg_prefix_hash lg_prefix_append(struct lg_prefix_hash before, const int32_t tokens[LG_PAGE_SIZE]);

/** The page that ends a beginning, its last tokens being these; LG_NO_PAGE. */
uint32_t lg_prefix_find(const struct lg_prefix_index *index, struct lg_prefix_hash hash,
                        const int32_t tokens[LG_PAGE_SIZE]);
/** Says what a page holds, unless another one holds the same. */
void lg_prefix_add(struct lg_prefix_index *index, uint32_t page, struct lg_prefix_hash hash,
                   const int32_t tokens[LG_PAGE_SIZE]);
/** The page will hold something else. */
void lg_prefix_remove(struct lg_prefix_index *index, uint32_t page);

static inline bool lg_prefix_knows(const struct lg_prefix_index *index, uint32_t page)
{
    return index->entries[page].known;
}

#endif
