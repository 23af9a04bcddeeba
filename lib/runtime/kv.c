/* SPDX-License-Identifier: MIT */
#include "runtime/kv.h"

#include <assert.h>
#include <string.h>

#include "gguf/kv_rows.h"
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
    uint64_t row_bytes = lg_engine_row_bytes(e);
    uint64_t row = (uint64_t)table[first / LG_PAGE_SIZE] * LG_PAGE_SIZE + at;
    return (struct lg_view){.buf = cache, .offset = row * row_bytes, .size = *n * row_bytes};
}

/** Rows as they lie there, to the host or from it. */
static int move_rows(struct lg_engine *e, uint32_t slot, struct lg_buffer *cache, uint32_t first, uint32_t n,
                     uint8_t *bytes, bool to_host)
{
    for (uint32_t done = 0, here; done < n; done += here) {
        here = n - done;
        struct lg_view v = find(e, slot, cache, first + done, &here);
        LG_TRY(to_host ? lg_download(e->dev, v, bytes) : lg_upload(e->dev, v, bytes));
        bytes += v.size;
    }
    return 0;
}

int lg_engine_move_page(struct lg_engine *e, uint32_t slot, uint32_t index, uint8_t *bytes, bool to_host)
{
    uint64_t part = LG_PAGE_SIZE * lg_engine_row_bytes(e);
    for (uint32_t i = 0; i < 2 * e->model->hp.n_layers; i++) {
        struct lg_buffer *cache = (i % 2 ? e->batch.v_cache : e->batch.k_cache)[i / 2];
        LG_TRY(move_rows(e, slot, cache, index * LG_PAGE_SIZE, LG_PAGE_SIZE, bytes + i * part, to_host));
    }
    return 0;
}

/* ---- in float32, whatever the caches hold: a few rows at a time */

enum { ROWS = 32 };

static int make_rows(struct lg_engine *e, uint8_t **rows)
{
    uint64_t size = lg_engine_row_bytes(e) + lg_kv_cols(e) * sizeof(float);
    *rows = lg_alloc_array(e->env, ROWS, size);
    return *rows ? 0 : lg_fail_nomem(e->env, "keys and values on their way", ROWS * size);
}

static int read_rows(struct lg_engine *e, uint32_t slot, struct lg_buffer *cache, uint32_t first, uint32_t n,
                     float *to)
{
    uint32_t n_cols = lg_kv_cols(e);
    uint8_t *rows;
    int rc = 0;
    if (e->kv_type == LG_KV_F32)
        return move_rows(e, slot, cache, first, n, (uint8_t *)to, true);
    LG_TRY(make_rows(e, &rows));
    for (uint32_t done = 0; done < n && rc == 0; done += ROWS) {
        uint32_t here = lg_min_u32(ROWS, n - done);
        rc = move_rows(e, slot, cache, first + done, here, rows, true);
        for (uint32_t i = 0; i < here && rc == 0; i++)
            lg_kv_decode(e->kv_type, rows + i * lg_engine_row_bytes(e), n_cols, 0, n_cols,
                         to + (size_t)(done + i) * n_cols);
    }
    lg_free(e->env, rows);
    return rc;
}

static int write_rows(struct lg_engine *e, uint32_t slot, struct lg_buffer *cache, uint32_t first, uint32_t n,
                      const void *from)
{
    uint32_t n_cols = lg_kv_cols(e);
    const uint8_t *bytes = from;
    uint8_t *rows;
    int rc = 0;
    if (e->kv_type == LG_KV_F32)
        return move_rows(e, slot, cache, first, n, (uint8_t *)(uintptr_t)bytes, false);
    LG_TRY(make_rows(e, &rows));
    float *row = (float *)(rows + ROWS * lg_engine_row_bytes(e)); // aligned, as rows are whole words
    for (uint32_t done = 0; done < n && rc == 0; done += ROWS) {
        uint32_t here = lg_min_u32(ROWS, n - done);
        for (uint32_t i = 0; i < here; i++) {
            memcpy(row, bytes + (size_t)(done + i) * n_cols * sizeof(float), n_cols * sizeof(float));
            lg_kv_encode(e->kv_type, row, n_cols, 0, n_cols, rows + i * lg_engine_row_bytes(e));
        }
        rc = move_rows(e, slot, cache, first + done, here, rows, false);
    }
    lg_free(e->env, rows);
    return rc;
}

int lg_engine_read_kv(struct lg_engine *e, uint32_t slot, uint32_t layer, uint32_t first, uint32_t n,
                      float *k, float *v)
{
    if (k)
        LG_TRY(read_rows(e, slot, e->batch.k_cache[layer], first, n, k));
    return v ? read_rows(e, slot, e->batch.v_cache[layer], first, n, v) : 0;
}

int lg_engine_write_kv(struct lg_engine *e, uint32_t slot, uint32_t layer, uint32_t first, uint32_t n,
                       const void *k, const void *v)
{
    LG_TRY(write_rows(e, slot, e->batch.k_cache[layer], first, n, k));
    return write_rows(e, slot, e->batch.v_cache[layer], first, n, v);
}
