/* SPDX-License-Identifier: MIT
 * Attention of each (row, head) over the keys of its sequence up to the row itself, found through the slot's
 * page table; softmax and weighted sum go on together, key by key. */
#include <math.h>
#include <string.h>

#include "device/cpu/dot.h"
#include "device/cpu/grid.h"

static void attend(const struct lg_attention_push *push, const uint32_t *pages, uint32_t n_keys,
                   const float *q, const float *k_cache, const float *v_cache, uint32_t kv_head, float *y)
{
    uint32_t n = push->head_dim;
    float max = -INFINITY, sum = 0;
    memset(y, 0, n * sizeof(*y));
    for (uint32_t key = 0; key < n_keys; key++) {
        size_t cell = (size_t)pages[key / push->page_size] * push->page_size + key % push->page_size;
        size_t at = (cell * push->n_kv + kv_head) * n;
        struct lg_dot acc = {0};
        lg_dot_add(&acc, q, k_cache + at, n);
        float score = lg_dot_sum(&acc) * push->scale;
        if (score > max) {
            float shrink = expf(max - score);
            for (uint32_t i = 0; i < n; i++)
                y[i] *= shrink;
            sum *= shrink;
            max = score;
        }
        float p = expf(score - max);
        for (uint32_t i = 0; i < n; i++)
            y[i] += p * v_cache[at + i];
        sum += p;
    }
    for (uint32_t i = 0; i < n; i++)
        y[i] /= sum;
}

void lg_cpu_attention(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_attention_push *push = args->push;
    const struct lg_row *rows = args->view[0];
    for (uint32_t i = first; i < last; i++) {
        uint32_t head = i % push->n_heads, row = i / push->n_heads;
        const uint32_t *pages = (const uint32_t *)args->view[1] + (size_t)rows[row].slot * push->max_pages;
        size_t at = (size_t)i * push->head_dim;
        attend(push, pages, rows[row].pos + 1, (const float *)args->view[2] + at, args->view[3],
               args->view[4], head / (push->n_heads / push->n_kv), (float *)args->view[5] + at);
    }
}
