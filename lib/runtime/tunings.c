/* SPDX-License-Identifier: MIT */
#include "runtime/tunings.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { FOUND_BYTES = 24 };

static const uint8_t magic[8] = "lgtune\0\1";

static uint64_t get(const uint8_t *p, int n)
{
    uint64_t v = 0;
    for (int i = 0; i < n; i++)
        v |= (uint64_t)p[i] << 8 * i;
    return v;
}

static void put(uint8_t *p, int n, uint64_t v)
{
    for (int i = 0; i < n; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

bool lg_tunings_parse(struct lg_tunings *t, uint64_t device_key, const void *data, size_t size)
{
    const uint8_t *p = data;
    t->n = 0;
    if (size < LG_TUNINGS_HEAD || size > LG_MAX_TUNINGS_BYTES || (size - LG_TUNINGS_HEAD) % FOUND_BYTES ||
        memcmp(p, magic, sizeof(magic)) != 0 || get(p + 8, 8) != device_key ||
        get(p + 16, 8) != XXH3_64bits(p + LG_TUNINGS_HEAD, size - LG_TUNINGS_HEAD))
        return false;
    for (p += LG_TUNINGS_HEAD; t->n < (size - LG_TUNINGS_HEAD) / FOUND_BYTES; p += FOUND_BYTES) {
        struct lg_tuning_found found = {
            .key = get(p, 8),
            .ns = get(p + 8, 8),
            .chosen = (uint32_t)get(p + 16, 4),
            .n_tried = (uint32_t)get(p + 20, 4),
        };
        if (found.chosen >= found.n_tried || lg_tunings_find(t, found.key)) {
            t->n = 0;
            return false;
        }
        t->found[t->n++] = found;
    }
    return true;
}

size_t lg_tunings_write(const struct lg_tunings *t, uint64_t device_key, uint8_t out[LG_MAX_TUNINGS_BYTES])
{
    uint8_t *p = out + LG_TUNINGS_HEAD;
    for (uint32_t i = 0; i < t->n; i++, p += FOUND_BYTES) {
        put(p, 8, t->found[i].key);
        put(p + 8, 8, t->found[i].ns);
        put(p + 16, 4, t->found[i].chosen);
        put(p + 20, 4, t->found[i].n_tried);
    }
    size_t size = (size_t)(p - out);
    memcpy(out, magic, sizeof(magic));
    put(out + 8, 8, device_key);
    put(out + 16, 8, XXH3_64bits(out + LG_TUNINGS_HEAD, size - LG_TUNINGS_HEAD));
    return size;
}

const struct lg_tuning_found *lg_tunings_find(const struct lg_tunings *t, uint64_t key)
{
    for (uint32_t i = 0; i < t->n; i++)
        if (t->found[i].key == key)
            return &t->found[i];
    return NULL;
}

static void drop(struct lg_tunings *t, uint32_t i)
{
    t->n--;
    memmove(&t->found[i], &t->found[i + 1], (t->n - i) * sizeof(t->found[0]));
}

void lg_tunings_put(struct lg_tunings *t, const struct lg_tuning_found *found)
{
    const struct lg_tuning_found *known = lg_tunings_find(t, found->key);
    if (known)
        drop(t, (uint32_t)(known - t->found));
    else if (t->n == LG_MAX_TUNINGS)
        drop(t, 0);
    t->found[t->n++] = *found;
}
