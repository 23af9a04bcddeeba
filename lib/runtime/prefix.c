/* SPDX-License-Identifier: MIT */
#define XXH_INLINE_ALL
#include "runtime/prefix.h"

#include <string.h>
#include <xxhash.h>

int lg_prefix_init(struct lg_prefix_index *x, struct lg_env *env, uint32_t n_pages)
{
    *x = (struct lg_prefix_index){.env = env, .n_pages = n_pages, .n_buckets = 16};
    while (x->n_buckets < n_pages && x->n_buckets < 1u << 30)
        x->n_buckets *= 2;
    x->entries = lg_alloc_array(env, n_pages, sizeof(*x->entries));
    x->buckets = lg_alloc_array(env, x->n_buckets, sizeof(*x->buckets));
    if (!x->entries || !x->buckets) {
        lg_prefix_finish(x);
        return lg_fail_nomem(env, "the index of pages", n_pages * sizeof(*x->entries));
    }
    memset(x->buckets, 0xff, x->n_buckets * sizeof(*x->buckets)); // LG_NO_PAGE
    return 0;
}

void lg_prefix_finish(struct lg_prefix_index *x)
{
    if (x->env) {
        lg_free(x->env, x->entries);
        lg_free(x->env, x->buckets);
    }
    memset(x, 0, sizeof(*x));
}

static struct lg_prefix_hash hash_of(const void *data, size_t size)
{
    XXH128_hash_t h = XXH3_128bits(data, size);
    return (struct lg_prefix_hash){h.low64, h.high64};
}

struct lg_prefix_hash lg_prefix_begin(uint64_t seed, uint64_t seating, float scale)
{
    uint64_t words[3] = {seed, seating, 0};
    memcpy(&words[2], &scale, sizeof(scale));
    return hash_of(words, sizeof(words));
}

struct lg_prefix_hash lg_prefix_append(struct lg_prefix_hash before, const int32_t tokens[LG_PAGE_SIZE])
{
    struct {
        struct lg_prefix_hash before;
        int32_t tokens[LG_PAGE_SIZE];
    } block = {.before = before};
    memcpy(block.tokens, tokens, sizeof(block.tokens));
    return hash_of(&block, sizeof(block));
}

static uint32_t *bucket_of(const struct lg_prefix_index *x, struct lg_prefix_hash hash)
{
    return &x->buckets[hash.low & (x->n_buckets - 1)];
}

uint32_t lg_prefix_find(const struct lg_prefix_index *x, struct lg_prefix_hash hash, const int32_t tokens[LG_PAGE_SIZE])
{
    uint32_t page = x->n_pages ? *bucket_of(x, hash) : LG_NO_PAGE;
    for (; page != LG_NO_PAGE; page = x->entries[page].next) {
        const struct lg_prefix_entry *e = &x->entries[page];
        if (e->hash.low == hash.low && e->hash.high == hash.high &&
            memcmp(e->tokens, tokens, sizeof(e->tokens)) == 0)
            return page;
    }
    return LG_NO_PAGE;
}

void lg_prefix_add(struct lg_prefix_index *x, uint32_t page, struct lg_prefix_hash hash, const int32_t tokens[LG_PAGE_SIZE])
{
    struct lg_prefix_entry *e = &x->entries[page];
    if (e->known || lg_prefix_find(x, hash, tokens) != LG_NO_PAGE)
        return;
    uint32_t *bucket = bucket_of(x, hash);
    *e = (struct lg_prefix_entry){.hash = hash, .next = *bucket, .known = true};
    memcpy(e->tokens, tokens, sizeof(e->tokens));
    *bucket = page;
}

void lg_prefix_remove(struct lg_prefix_index *x, uint32_t page)
{
    struct lg_prefix_entry *e = &x->entries[page];
    if (!e->known)
        return;
    uint32_t *at = bucket_of(x, e->hash);
    while (*at != page)
        at = &x->entries[*at].next;
    *at = e->next;
    e->known = false;
}
