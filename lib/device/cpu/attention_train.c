/* SPDX-License-Identifier: MIT
 *
 * Attention in training: each row sees the rows of its sample up to itself, and there are no pages. With the probabilities
 * p = exp(scale q . k - lse), what comes back from da is
 *     delta = da . a            ds = p (da . v - delta) scale
 *     dq = sum over keys of ds k, dk = sum over queries of ds q, dv = sum over queries of p da
 * Keys, and queries, go by in ascending order, and the heads that share keys within that.
 */
#include "device/cpu/attention_train.h"

#include <math.h>
#include <string.h>

#include "device/cpu/dot.h"
#include "device/cpu/exp.h"

static float dot(const float *a, const float *b, uint32_t n)
{
    struct lg_dot sum = {0};
    lg_dot_add(&sum, a, b, n);
    return lg_dot_sum(&sum);
}

static void add_scaled(float *y, float factor, const float *x, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        y[i] += factor * x[i];
}

/* Where a row and head are in q, a and their gradients; in k and v and theirs; and in lse and delta. */
static size_t head_at(const struct lg_attention_train_push *p, uint32_t row, uint32_t head)
{
    return ((size_t)row * p->n_heads + head) * p->head_dim;
}

static size_t key_at(const struct lg_attention_train_push *p, uint32_t row, uint32_t kv_head)
{
    return ((size_t)row * p->n_kv + kv_head) * p->head_dim;
}

static size_t number_at(const struct lg_attention_train_push *p, uint32_t row, uint32_t head)
{
    return (size_t)row * p->n_heads + head;
}

/* The largest score is found first, so that nothing has to be scaled anew. */
static void attend(const struct lg_cpu_args *args, uint32_t row, uint32_t kv_head, uint32_t head)
{
    const struct lg_attention_train_push *push = args->push;
    uint32_t begin = lg_cpu_sample_begin(args->view[1], row), n = push->head_dim;
    const float *q = (const float *)args->view[2] + head_at(push, row, head);
    const float *k = args->view[3], *v = args->view[4];
    float *a = (float *)args->view[5] + head_at(push, row, head), top = -INFINITY, sum = 0;
    memset(a, 0, n * sizeof(*a));
    for (uint32_t key = begin; key <= row; key++)
        top = fmaxf(top, push->scale * dot(q, k + key_at(push, key, kv_head), n));
    for (uint32_t key = begin; key <= row; key++) {
        float p = lg_exp(push->scale * dot(q, k + key_at(push, key, kv_head), n) - top);
        sum += p;
        add_scaled(a, p, v + key_at(push, key, kv_head), n);
    }
    for (uint32_t i = 0; i < n; i++)
        a[i] /= sum;
    ((float *)args->view[6])[number_at(push, row, head)] = top + logf(sum);
}

void lg_cpu_attention_train(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    for (uint32_t i = first; i < last; i++) {
        struct lg_cpu_share s = lg_cpu_share(args, i);
        for (uint32_t row = s.begin; row < s.end; row++) {
            for (uint32_t head = s.head; head < s.head_end; head++)
                attend(args, row, s.kv_head, head);
        }
    }
}

static void back_to_query(const struct lg_cpu_args *args, uint32_t row, uint32_t kv_head, uint32_t head)
{
    const struct lg_attention_train_push *push = args->push;
    uint32_t n = push->head_dim;
    size_t at = head_at(push, row, head), number = number_at(push, row, head);
    const float *q = (const float *)args->view[2] + at, *k = args->view[3], *v = args->view[4];
    const float *a = (const float *)args->view[5] + at, *da = (const float *)args->view[7] + at;
    float lse = ((const float *)args->view[6])[number], delta = dot(da, a, n), *dq = (float *)args->view[8] + at;
    memset(dq, 0, n * sizeof(*dq));
    for (uint32_t key = lg_cpu_sample_begin(args->view[1], row); key <= row; key++) {
        size_t kv = key_at(push, key, kv_head);
        float p = lg_exp(push->scale * dot(q, k + kv, n) - lse);
        add_scaled(dq, p * (dot(da, v + kv, n) - delta) * push->scale, k + kv, n);
    }
    ((float *)args->view[9])[number] = delta;
}

void lg_cpu_attention_back_q(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    for (uint32_t i = first; i < last; i++) {
        struct lg_cpu_share s = lg_cpu_share(args, i);
        for (uint32_t row = s.begin; row < s.end; row++) {
            for (uint32_t head = s.head; head < s.head_end; head++)
                back_to_query(args, row, s.kv_head, head);
        }
    }
}

static void back_to_key(const struct lg_cpu_args *args, uint32_t key, uint32_t kv_head, uint32_t n_rows)
{
    const struct lg_attention_train_push *push = args->push;
    uint32_t n = push->head_dim, sharing = push->n_heads / push->n_kv;
    size_t kv = key_at(push, key, kv_head);
    const float *q = args->view[2], *k = (const float *)args->view[3] + kv, *v = (const float *)args->view[4] + kv;
    const float *lse = args->view[5], *delta = args->view[6], *da = args->view[7];
    float *dk = (float *)args->view[8] + kv, *dv = (float *)args->view[9] + kv;
    memset(dk, 0, n * sizeof(*dk));
    memset(dv, 0, n * sizeof(*dv));
    uint32_t end = lg_cpu_sample_end(args->view[1], key, n_rows);
    for (uint32_t row = key; row < end; row++) {
        for (uint32_t head = kv_head * sharing; head < (kv_head + 1) * sharing; head++) {
            size_t at = head_at(push, row, head), number = number_at(push, row, head);
            float p = lg_exp(push->scale * dot(q + at, k, n) - lse[number]);
            add_scaled(dk, p * (dot(da + at, v, n) - delta[number]) * push->scale, q + at, n);
            add_scaled(dv, p, da + at, n);
        }
    }
}

/* Grid {n_kv, ceil(T / spec[2]), 1}. */
void lg_cpu_attention_back_kv(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_attention_train_push *push = args->push;
    uint32_t n = ((const uint32_t *)args->view[0])[push->dim];
    for (uint32_t i = first; i < last; i++) {
        uint32_t begin = i / args->grid[0] * args->spec[2], end = lg_min_u32(begin + args->spec[2], n);
        for (uint32_t key = begin; key < end; key++)
            back_to_key(args, key, i % args->grid[0], n);
    }
}
