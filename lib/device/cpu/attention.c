/* SPDX-License-Identifier: MIT
 *
 * Attention of each (row, head) over the keys of its sequence up to the row itself, found through the slot's
 * page table. Keys are taken in blocks: the scores of a block, their softmax, its weighted sum of values;
 * what was summed before is rescaled when a larger score appears.
 *
 * A workgroup takes spec[3] heads that share keys (0: one), or what is left of them. The reference knows no
 * gain in that. The caches are of type spec[4].
 */
#include "device/cpu/attention.h"

#include <math.h>
#include <string.h>

#include "device/cpu/dot.h"
#include "device/cpu/exp.h"

enum { MAX_DIM = 256 }; // of a head

/* What a key's row of a cache has of the head, decoded. */
static void read_head(const struct lg_cpu_attention *a, const uint8_t *cache, uint32_t key, float *out)
{
    uint32_t begin = a->kv_head * a->push->head_dim;
    lg_kv_decode(a->type, cache + lg_cpu_attention_at(a, key), a->n_cols, begin, begin + a->push->head_dim, out);
}

/* A block of n keys that begins at key `begin`. */
static void attend_block(const struct lg_cpu_attention *a, uint32_t begin, uint32_t n, const float *q,
                         float *y, float *max, float *sum)
{
    uint32_t dim = a->push->head_dim;
    float score[LG_ATTENTION_BLOCK], top = *max, k[MAX_DIM], v[MAX_DIM];
    for (uint32_t key = 0; key < n; key++) {
        read_head(a, a->k_cache, begin + key, k);
        score[key] = 0;
        for (uint32_t i = 0; i < dim; i++)
            score[key] += q[i] * k[i];
        score[key] *= a->push->scale;
        top = score[key] > top ? score[key] : top;
    }
    float shrink = lg_exp(*max - top);
    struct lg_dot p = {0};
    for (uint32_t i = 0; i < dim; i++)
        y[i] *= shrink;
    for (uint32_t key = 0; key < n; key++) {
        read_head(a, a->v_cache, begin + key, v);
        p.lane[key] = lg_exp(score[key] - top);
        for (uint32_t i = 0; i < dim; i++)
            y[i] += p.lane[key] * v[i];
    }
    *sum = *sum * shrink + lg_dot_sum(&p);
    *max = top;
}

static void attend(const struct lg_cpu_attention *a, uint32_t n_keys, const float *q, float *y)
{
    uint32_t dim = a->push->head_dim;
    float max = -INFINITY, sum = 0;
    memset(y, 0, dim * sizeof(*y));
    for (uint32_t begin = 0; begin < n_keys; begin += LG_ATTENTION_BLOCK)
        attend_block(a, begin, lg_min_u32(n_keys - begin, LG_ATTENTION_BLOCK), q, y, &max, &sum);
    for (uint32_t i = 0; i < dim; i++)
        y[i] /= sum;
}

/* Heads of one row. */
static void attend_heads(const struct lg_cpu_args *args, void *const *view, struct lg_cpu_heads heads, uint32_t row)
{
    const struct lg_attention_push *push = args->push;
    const struct lg_row *rows = view[0];
    struct lg_cpu_attention a = lg_cpu_attention_of(push, args->spec[4], view, rows[row].slot, heads.kv_head);
    for (uint32_t head = heads.begin; head < heads.end; head++) {
        size_t at = ((size_t)row * push->n_heads + head) * push->head_dim;
        attend(&a, rows[row].pos + 1, (const float *)view[2] + at, (float *)view[5] + at);
    }
}

void lg_cpu_attention(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    for (uint32_t i = first; i < last; i++) {
        struct lg_cpu_heads heads = lg_cpu_heads(args->push, args->spec[3], i % args->grid[0]);
        attend_heads(args, args->view, heads, i / args->grid[0]);
    }
}

void lg_cpu_attention_tile(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    for (uint32_t i = first; i < last; i++) {
        struct lg_cpu_heads heads = lg_cpu_heads(args->push, args->spec[3], i % args->grid[0]);
        struct lg_cpu_span rows = lg_cpu_attention_rows(args, i);
        for (uint32_t row = rows.begin; row < rows.end; row++)
            attend_heads(args, args->view + 1, heads, row);
    }
}

/* The workgroups of all parts but the first have nothing left to do. */
void lg_cpu_attention_split(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    for (uint32_t i = first; i < last; i++) {
        struct lg_cpu_heads heads = lg_cpu_heads(args->push, args->spec[3], i % args->grid[0]);
        if (i / args->grid[0] % args->grid[1] == 0)
            attend_heads(args, args->view, heads, i / args->grid[0] / args->grid[1]);
    }
}
