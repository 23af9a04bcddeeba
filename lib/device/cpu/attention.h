/* SPDX-License-Identifier: MIT
 * What the versions of attention share: which heads a workgroup has, and where keys are. Private to
 * lib/device/cpu. */
#ifndef LG_DEVICE_CPU_ATTENTION_H
#define LG_DEVICE_CPU_ATTENTION_H

#include "device/cpu/grid.h"
#include "gguf/kv_rows.h"

enum { LG_ATTENTION_BLOCK = 32 }; // keys of a block, but for the last; as many as a dot product has lanes

/** Heads [begin, end), which share the keys of kv_head. */
struct lg_cpu_heads {
    uint32_t kv_head, begin, end;
};

/** The heads of workgroup x where each takes per_group (0: 1) of those that share keys, or what is left of
 * them. */
static inline struct lg_cpu_heads lg_cpu_heads(const struct lg_attention_push *push, uint32_t per_group,
                                               uint32_t x)
{
    uint32_t sharing = push->n_heads / push->n_kv, step = lg_max_u32(per_group, 1);
    uint32_t parts = lg_div_up(sharing, step), kv_head = x / parts, begin = x % parts * step;
    return (struct lg_cpu_heads){
        .kv_head = kv_head,
        .begin = kv_head * sharing + begin,
        .end = kv_head * sharing + lg_min_u32(begin + step, sharing),
    };
}

/** The rows that workgroup i of attention_tile takes. */
static inline struct lg_cpu_span lg_cpu_attention_rows(const struct lg_cpu_args *args, uint32_t i)
{
    const struct lg_attention_push *push = args->push;
    uint32_t n = ((const uint32_t *)args->view[0])[push->dim], begin = i / args->grid[0] * args->spec[2];
    return (struct lg_cpu_span){.begin = lg_min_u32(begin, n), .end = lg_min_u32(begin + args->spec[2], n)};
}

/** The keys and values that a head of a slot's rows sees. */
struct lg_cpu_attention {
    const struct lg_attention_push *push;
    const uint32_t *pages; // the slot's table
    const uint8_t *k_cache, *v_cache;
    uint32_t kv_head;
    uint32_t type, n_cols; // of the caches' rows
    size_t row_bytes;
};

/** @param view rows, pages, q, k cache, v cache; the caches are of `type` */
static inline struct lg_cpu_attention lg_cpu_attention_of(const struct lg_attention_push *push, uint32_t type,
                                                          void *const *view, uint32_t slot, uint32_t kv_head)
{
    return (struct lg_cpu_attention){
        .push = push,
        .pages = (const uint32_t *)view[1] + (size_t)slot * push->max_pages,
        .k_cache = view[3],
        .v_cache = view[4],
        .kv_head = kv_head,
        .type = type,
        .n_cols = push->n_kv * push->head_dim,
        .row_bytes = lg_kv_row_bytes(type, push->n_kv * push->head_dim),
    };
}

/** Where a key's row begins in the caches. */
static inline size_t lg_cpu_attention_at(const struct lg_cpu_attention *a, uint32_t key)
{
    uint32_t page_size = a->push->page_size;
    size_t cell = (size_t)a->pages[key / page_size] * page_size + key % page_size;
    return cell * a->row_bytes;
}

#endif
