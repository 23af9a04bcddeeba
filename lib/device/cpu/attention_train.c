/* SPDX-License-Identifier: MIT
 *
 * Attention in training: each row sees the rows of its sample up to itself, and there are no pages. With the probabilities
 * p = exp(scale q . k - lse), what comes back from da is
 *     delta = da . a            ds = p (da . v - delta) scale
 *     dq = sum over keys of ds k, dk = sum over queries of ds q, dv = sum over queries of p da
 *
 * Rows of a sample go by in blocks, counted from its beginning: a sum is that of a block's sums, and a product q . k one sum
 * from end to end, so that many of them can be lanes. Of the queries of a block, the heads come one after the other.
 */
#include "device/cpu/attention_train.h"

#include <math.h>
#include <string.h>

#include "device/cpu/dot.h"
#include "device/cpu/exp.h"

static float dot(const float *a, const float *b, uint32_t n)
{
    float sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* y[i] += the sum over rows of factor[row] * x[row][i] */
static void add_rows(float *y, const float *factor, const float *x, size_t stride, uint32_t n_rows, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        float sum = 0;
        for (uint32_t r = 0; r < n_rows; r++)
            sum += factor[r] * x[r * stride + i];
        y[i] += sum;
    }
}

/* ---- forwards ------------------------------------------------------------------------------------ */

/* What a query has of the blocks so far. */
struct query {
    const float *q;
    float *a, top, sum;
};

/* Keys [begin, end), at most a block of them. */
static void attend_block(const struct lg_cpu_args *args, struct query *query, uint32_t begin, uint32_t end, uint32_t kv_head)
{
    const struct lg_attention_train_push *push = args->push;
    const float *k = args->view[3], *v = args->view[4];
    float p[LG_SAMPLE_BLOCK], top = query->top;
    struct lg_dot sum = {0};
    for (uint32_t key = begin; key < end; key++) {
        p[key - begin] = push->scale * dot(query->q, k + lg_cpu_key_at(push, key, kv_head), push->head_dim);
        top = p[key - begin] > top ? p[key - begin] : top;
    }
    float shrink = lg_exp(query->top - top);
    for (uint32_t i = 0; i < end - begin; i++) {
        p[i] = lg_exp(p[i] - top);
        sum.lane[i % LG_DOT_LANES] += p[i];
    }
    for (uint32_t i = 0; i < push->head_dim; i++)
        query->a[i] *= shrink;
    add_rows(query->a, p, v + lg_cpu_key_at(push, begin, kv_head), (size_t)push->n_kv * push->head_dim, end - begin,
             push->head_dim);
    query->sum = query->sum * shrink + lg_dot_sum(&sum);
    query->top = top;
}

static void attend(const struct lg_cpu_args *args, uint32_t row, uint32_t kv_head, uint32_t head)
{
    const struct lg_attention_train_push *push = args->push;
    size_t at = lg_cpu_head_at(push, row, head);
    struct query query = {.q = (const float *)args->view[2] + at, .a = (float *)args->view[5] + at, .top = -INFINITY};
    memset(query.a, 0, push->head_dim * sizeof(*query.a));
    for (uint32_t key = lg_cpu_sample_begin(args->view[1], row); key <= row; key += LG_SAMPLE_BLOCK)
        attend_block(args, &query, key, lg_min_u32(key + LG_SAMPLE_BLOCK, row + 1), kv_head);
    for (uint32_t i = 0; i < push->head_dim; i++)
        query.a[i] /= query.sum;
    ((float *)args->view[6])[lg_cpu_number_at(push, row, head)] = query.top + logf(query.sum);
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

/* ---- backwards ----------------------------------------------------------------------------------- */

static void back_to_query(const struct lg_cpu_args *args, uint32_t row, uint32_t kv_head, uint32_t head)
{
    const struct lg_attention_train_push *push = args->push;
    uint32_t n = push->head_dim;
    size_t at = lg_cpu_head_at(push, row, head), number = lg_cpu_number_at(push, row, head);
    const float *q = (const float *)args->view[2] + at, *k = args->view[3], *v = args->view[4];
    const float *a = (const float *)args->view[5] + at, *da = (const float *)args->view[7] + at;
    float lse = ((const float *)args->view[6])[number], delta = dot(da, a, n), *dq = (float *)args->view[8] + at;
    memset(dq, 0, n * sizeof(*dq));
    for (uint32_t begin = lg_cpu_sample_begin(args->view[1], row), end; begin <= row; begin = end) {
        float ds[LG_SAMPLE_BLOCK];
        end = lg_min_u32(begin + LG_SAMPLE_BLOCK, row + 1);
        for (uint32_t key = begin; key < end; key++) {
            size_t kv = lg_cpu_key_at(push, key, kv_head);
            float p = lg_exp(push->scale * dot(q, k + kv, n) - lse);
            ds[key - begin] = p * (dot(da, v + kv, n) - delta) * push->scale;
        }
        add_rows(dq, ds, k + lg_cpu_key_at(push, begin, kv_head), (size_t)push->n_kv * n, end - begin, n);
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

/* A key and value, what flows back to them, and the queries of one head in rows [begin, end). */
static void back_from_block(const struct lg_cpu_args *args, size_t kv, uint32_t begin, uint32_t end, uint32_t head)
{
    const struct lg_attention_train_push *push = args->push;
    uint32_t n = push->head_dim;
    const float *k = (const float *)args->view[3] + kv, *v = (const float *)args->view[4] + kv;
    const float *q = (const float *)args->view[2] + lg_cpu_head_at(push, begin, head);
    const float *da = (const float *)args->view[7] + lg_cpu_head_at(push, begin, head);
    float p[LG_SAMPLE_BLOCK], ds[LG_SAMPLE_BLOCK];
    size_t stride = (size_t)push->n_heads * n;
    for (uint32_t i = 0; i < end - begin; i++) {
        size_t number = lg_cpu_number_at(push, begin + i, head);
        float lse = ((const float *)args->view[5])[number], delta = ((const float *)args->view[6])[number];
        p[i] = lg_exp(push->scale * dot(q + i * stride, k, n) - lse);
        ds[i] = p[i] * (dot(da + i * stride, v, n) - delta) * push->scale;
    }
    add_rows((float *)args->view[8] + kv, ds, q, stride, end - begin, n);
    add_rows((float *)args->view[9] + kv, p, da, stride, end - begin, n);
}

static void back_to_key(const struct lg_cpu_args *args, uint32_t key, uint32_t kv_head, uint32_t n_rows)
{
    const struct lg_attention_train_push *push = args->push;
    uint32_t sharing = push->n_heads / push->n_kv, begin = lg_cpu_sample_begin(args->view[1], key);
    uint32_t end = lg_cpu_sample_end(args->view[1], key, n_rows);
    size_t kv = lg_cpu_key_at(push, key, kv_head);
    memset((float *)args->view[8] + kv, 0, push->head_dim * sizeof(float));
    memset((float *)args->view[9] + kv, 0, push->head_dim * sizeof(float));
    for (begin += (key - begin) / LG_SAMPLE_BLOCK * LG_SAMPLE_BLOCK; begin < end; begin += LG_SAMPLE_BLOCK) {
        for (uint32_t head = kv_head * sharing; head < (kv_head + 1) * sharing; head++)
            back_from_block(args, kv, lg_max_u32(begin, key), lg_min_u32(begin + LG_SAMPLE_BLOCK, end), head);
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
