/* SPDX-License-Identifier: MIT */
#include "gguf/internal.h"

#include <sys/random.h>

#include <xxhash.h>

#include "util/clock.h"

static const struct lg_str *name_at(const struct lg_gguf_index *index, uint64_t i)
{
    return (const void *)((const char *)index->entries + i * index->stride);
}

/** The slot that holds the name, or the free one where it belongs. */
static uint64_t find_slot(const struct lg_gguf_index *index, const char *name, size_t len)
{
    uint64_t slot = XXH3_64bits_withSeed(name, len, index->seed) & index->mask;
    while (index->slots[slot]) {
        const struct lg_str *other = name_at(index, index->slots[slot] - 1);
        if (other->len == len && memcmp(other->ptr, name, len) == 0)
            break;
        slot = (slot + 1) & index->mask;
    }
    return slot;
}

static uint64_t random_seed(const void *address)
{
    uint64_t seed;
    if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) != (ssize_t)sizeof(seed)) // early in a machine's boot
        seed = lg_now_ns() ^ (uint64_t)(uintptr_t)address << 20;
    return seed;
}

int lg_gguf_index_build(struct lg_gguf_index *index, struct lg_env *env, const void *entries, size_t stride,
                        uint64_t n, uint64_t *twin)
{
    uint64_t n_slots = 4;
    while (n_slots < n * 2)
        n_slots *= 2;
    *index = (struct lg_gguf_index){.entries = entries, .stride = stride, .mask = n_slots - 1};
    index->slots = lg_alloc_array(env, n_slots, sizeof(index->slots[0]));
    if (!index->slots)
        return lg_fail_nomem(env, "an index of names", n_slots * sizeof(index->slots[0]));
    index->seed = random_seed(index->slots);
    for (uint64_t i = 0; i < n; i++) {
        LG_TRY(lg_poll_at(env, i));
        uint64_t slot = find_slot(index, name_at(index, i)->ptr, name_at(index, i)->len);
        if (index->slots[slot]) {
            *twin = i;
            return 0;
        }
        index->slots[slot] = (uint32_t)i + 1;
    }
    *twin = n;
    return 0;
}

void lg_gguf_index_finish(struct lg_gguf_index *index, struct lg_env *env)
{
    lg_free(env, index->slots);
    index->slots = NULL;
}

const void *lg_gguf_index_find(const struct lg_gguf_index *index, const char *name, size_t len)
{
    uint32_t entry = index->slots[find_slot(index, name, len)];
    return entry ? name_at(index, entry - 1) : NULL;
}
