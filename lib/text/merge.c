/* SPDX-License-Identifier: MIT
 *
 * The merging that BPE and SentencePiece share: symbols in a list, and a queue of the merges that neighbours
 * offer. The queue's keys hold the order and the place of the left symbol, so equal orders merge from the
 * left. An entry is stale when its symbol has since offered another merge: the symbol's own key tells.
 */
#include "text/internal.h"
#include "util/checked.h"

int lg_heap_reserve(struct lg_env *env, struct lg_heap *heap, size_t cap)
{
    return lg_encoder_grow(env, (void **)&heap->keys, &heap->cap, cap, sizeof(*heap->keys));
}

void lg_heap_push(struct lg_heap *heap, uint64_t key)
{
    size_t i = heap->n++;
    for (; i > 0 && heap->keys[(i - 1) / 2] > key; i = (i - 1) / 2)
        heap->keys[i] = heap->keys[(i - 1) / 2];
    heap->keys[i] = key;
}

uint64_t lg_heap_pop(struct lg_heap *heap)
{
    uint64_t top = heap->keys[0], last = heap->keys[--heap->n];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < heap->n; i = child) {
        if (child + 1 < heap->n && heap->keys[child + 1] < heap->keys[child])
            child++;
        if (last <= heap->keys[child])
            break;
        heap->keys[i] = heap->keys[child];
    }
    heap->keys[i] = last;
    return top;
}

int lg_encoder_grow(struct lg_env *env, void **ptr, size_t *cap, size_t n, size_t size)
{
    if (n <= *cap)
        return 0;
    size_t want = n + n / 2, bytes;
    if (want < n || !lg_mul_size(want, size, &bytes))
        return lg_fail_nomem(env, "encoding", UINT64_MAX);
    void *grown = lg_resize(env, *ptr, bytes);
    if (!grown)
        return lg_fail_nomem(env, "encoding", bytes);
    *ptr = grown;
    *cap = want;
    return 0;
}

int lg_symbols_reserve(struct lg_encoder *e, size_t n)
{
    LG_TRY(lg_encoder_grow(e->env, (void **)&e->symbols, &e->cap_symbols, n, sizeof(*e->symbols)));
    // A merge takes one entry out and puts at most two in, and there are fewer than n merges.
    return lg_heap_reserve(e->env, &e->heap, 2 * n);
}

static void offer(struct lg_encoder *e, int32_t i, const char *text, lg_pair_fn *pair)
{
    struct lg_symbol *s = &e->symbols[i];
    uint32_t order;
    s->key = LG_NO_MERGE;
    if (s->next < 0 || !pair(e->vocab, text, s, &e->symbols[s->next], &order, &s->merged))
        return;
    s->key = (uint64_t)order << 32 | (uint32_t)i;
    lg_heap_push(&e->heap, s->key);
}

void lg_symbols_merge(struct lg_encoder *e, size_t n, const char *text, lg_pair_fn *pair)
{
    e->heap.n = 0;
    for (size_t i = 0; i < n; i++)
        offer(e, (int32_t)i, text, pair);
    while (e->heap.n > 0) {
        uint64_t key = lg_heap_pop(&e->heap);
        int32_t i = (int32_t)(uint32_t)key;
        struct lg_symbol *left = &e->symbols[i];
        if (left->key != key)
            continue;
        struct lg_symbol *right = &e->symbols[left->next];
        left->token = left->merged;
        left->len += right->len;
        left->next = right->next;
        if (left->next >= 0)
            e->symbols[left->next].prev = i;
        right->len = 0;
        right->key = LG_NO_MERGE;
        offer(e, i, text, pair);
        if (left->prev >= 0)
            offer(e, left->prev, text, pair);
    }
}
