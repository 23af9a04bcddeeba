/* SPDX-License-Identifier: MIT
 * What the versions of attention in training share: rows of one sample, and the share of a workgroup. Private to
 * lib/device/cpu. */
#ifndef LG_DEVICE_CPU_ATTENTION_TRAIN_H
#define LG_DEVICE_CPU_ATTENTION_TRAIN_H

#include "device/cpu/grid.h"

enum { LG_SAMPLE_BLOCK = 64 }; // rows of a sample whose products are added up before they are added to what there is

/** The first row of the sample that row i is of. Rows of a sample are neighbours, and their positions ascend. */
static inline uint32_t lg_cpu_sample_begin(const struct lg_row *rows, uint32_t i)
{
    uint32_t low = i - lg_min_u32(i, rows[i].pos), high = i;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (rows[middle].slot == rows[i].slot)
            high = middle;
        else
            low = middle + 1;
    }
    return high;
}

/** The row behind its last, of n in all. */
static inline uint32_t lg_cpu_sample_end(const struct lg_row *rows, uint32_t i, uint32_t n)
{
    uint32_t low = i + 1, high = n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (rows[middle].slot == rows[i].slot)
            low = middle + 1;
        else
            high = middle;
    }
    return high;
}

/** Where a row and head are in q, a and their gradients; and in lse and delta. */
static inline size_t lg_cpu_head_at(const struct lg_attention_train_push *p, uint32_t row, uint32_t head)
{
    return ((size_t)row * p->n_heads + head) * p->head_dim;
}

static inline size_t lg_cpu_number_at(const struct lg_attention_train_push *p, uint32_t row, uint32_t head)
{
    return (size_t)row * p->n_heads + head;
}

/** Where they are in k, v and theirs. */
static inline size_t lg_cpu_key_at(const struct lg_attention_train_push *p, uint32_t row, uint32_t kv_head)
{
    return ((size_t)row * p->n_kv + kv_head) * p->head_dim;
}

/** Rows [begin, end), and heads [head, head_end), which share the keys of kv_head. */
struct lg_cpu_share {
    uint32_t begin, end, kv_head, head, head_end;
};

/** The share of workgroup i of a grid {n_kv * ceil(heads that share keys / spec[3]), ceil(T / spec[2]), 1}. */
static inline struct lg_cpu_share lg_cpu_share(const struct lg_cpu_args *args, uint32_t i)
{
    const struct lg_attention_train_push *push = args->push;
    uint32_t n = ((const uint32_t *)args->view[0])[push->dim], sharing = push->n_heads / push->n_kv;
    uint32_t parts = lg_div_up(sharing, args->spec[3]), x = i % args->grid[0], begin = i / args->grid[0] * args->spec[2];
    uint32_t head = x % parts * args->spec[3];
    return (struct lg_cpu_share){
        .begin = lg_min_u32(begin, n),
        .end = lg_min_u32(begin + args->spec[2], n),
        .kv_head = x / parts,
        .head = x / parts * sharing + head,
        .head_end = x / parts * sharing + lg_min_u32(head + args->spec[3], sharing),
    };
}

#endif
