/* SPDX-License-Identifier: MIT */
#include "runtime/kv.h"

#include <assert.h>

#include "util/checked.h"

uint32_t lg_kv_cols(const struct lg_engine *e)
{
    return e->model->hp.n_kv * e->model->hp.head_dim;
}

/** Where positions [first, first + *n) lie in a cache; *n is cut to those that lie one behind another there.
 */
static struct lg_view find(const struct lg_engine *e, uint32_t slot, struct lg_buffer *cache, uint32_t first,
                           uint32_t *n)
{
    const uint32_t *table = e->tables + (size_t)slot * e->batch.max_pages;
    uint32_t page = first / LG_PAGE_SIZE, at = first % LG_PAGE_SIZE, there = LG_PAGE_SIZE - at;
    assert(page < e->batch.max_pages && table[page] < e->n_pages);
    for (; there < *n && table[page + 1] == table[page] + 1; page++)
        there += LG_PAGE_SIZE;
    *n = lg_min_u32(*n, there);
    uint64_t row_bytes = lg_kv_cols(e) * sizeof(float);
    uint64_t row = (uint64_t)table[first / LG_PAGE_SIZE] * LG_PAGE_SIZE + at;
    return (struct lg_view){.buf = cache, .offset = row * row_bytes, .size = *n * row_bytes};
}

static int read_rows(struct lg_engine *e, uint32_t slot, struct lg_buffer *cache, uint32_t first, uint32_t n,
                     float *to)
{
    for (uint32_t done = 0, here; to && done < n; done += here) {
        here = n - done;
        struct lg_view v = find(e, slot, cache, first + done, &here);
        LG_TRY(lg_download(e->dev, v, to + (size_t)done * lg_kv_cols(e)));
    }
    return 0;
}

static int write_rows(struct lg_engine *e, uint32_t slot, struct lg_buffer *cache, uint32_t first, uint32_t n,
                      const void *from)
{
    const uint8_t *bytes = from;
    for (uint32_t done = 0, here; done < n; done += here) {
        here = n - done;
        struct lg_view v = find(e, slot, cache, first + done, &here);
        LG_TRY(lg_upload(e->dev, v, bytes));
        bytes += v.size;
    }
    return 0;
}

int lg_engine_read_kv(struct lg_engine *e, uint32_t slot, uint32_t layer, uint32_t first, uint32_t n,
                      float *k, float *v)
{
    LG_TRY(read_rows(e, slot, e->batch.k_cache[layer], first, n, k));
    return read_rows(e, slot, e->batch.v_cache[layer], first, n, v);
}

int lg_engine_write_kv(struct lg_engine *e, uint32_t slot, uint32_t layer, uint32_t first, uint32_t n,
                       const void *k, const void *v)
{
    LG_TRY(write_rows(e, slot, e->batch.k_cache[layer], first, n, k));
    return write_rows(e, slot, e->batch.v_cache[layer], first, n, v);
}
