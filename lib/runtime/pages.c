/* SPDX-License-Identifier: MIT
 *
 * Slots and their page tables. A page is in as many tables as page_refs says; one that is in several is read by
 * all of them and written by none.
 */
#include <string.h>

#include "runtime/engine.h"
#include "util/checked.h"

#define NO_PAGE UINT32_MAX

static uint32_t *table_of(const struct lg_engine *e, uint32_t slot)
{
    return e->tables + (size_t)slot * e->batch.max_pages;
}

static void publish(struct lg_engine *e, uint32_t slot)
{
    memcpy((uint32_t *)e->batch.pages->map + (size_t)slot * e->batch.max_pages, table_of(e, slot),
           e->batch.max_pages * sizeof(uint32_t));
}

/** Makes sure that `need` pages are free. */
static int reserve(struct lg_engine *e, uint32_t need, uint32_t max_pages, uint32_t prefill_rows)
{
    uint32_t n_free = 0;
    for (uint32_t i = 0; i < e->n_pages; i++)
        n_free += e->page_refs[i] == 0;
    uint32_t n_pages = n_free >= need ? e->n_pages : e->n_pages + (need - n_free);
    max_pages = lg_max_u32(max_pages, e->batch.max_pages);
    prefill_rows = lg_max_u32(prefill_rows, e->prefill_rows);
    if (n_pages == e->n_pages && max_pages == e->batch.max_pages && prefill_rows == e->prefill_rows)
        return 0;
    return lg_engine_grow(e, n_pages, max_pages, prefill_rows);
}

/** A page that reserve() has found to be there. `*from`: those before it are in use, to begin with 0. */
static uint32_t take_page(struct lg_engine *e, uint32_t *from)
{
    uint32_t page = *from;
    while (e->page_refs[page])
        page++;
    e->page_refs[page] = 1;
    *from = page + 1;
    return page;
}

static int free_slot(struct lg_engine *e)
{
    if (e->slots == UINT64_MAX)
        return lg_fail(e->env, LLMGPU_E_NOMEM, "all %d sessions of this model are in use", LG_MAX_SLOTS);
    return __builtin_ctzll(~e->slots);
}

int lg_engine_take_slot(struct lg_engine *e, uint32_t n_ctx, uint32_t n_batch)
{
    uint32_t need = lg_div_up(n_ctx, LG_PAGE_SIZE);
    int slot = free_slot(e);
    LG_TRY(slot);
    LG_TRY(reserve(e, need, need, n_batch));
    uint32_t *table = table_of(e, (uint32_t)slot), from = 0;
    for (uint32_t i = 0; i < e->batch.max_pages; i++)
        table[i] = i < need ? take_page(e, &from) : NO_PAGE;
    e->slots |= UINT64_C(1) << slot;
    publish(e, (uint32_t)slot);
    return slot;
}

/** Rows [0, n) of a page of every layer's caches. */
static int copy_page(struct lg_engine *e, uint32_t from, uint32_t to, uint32_t n)
{
    const struct lg_hparams *hp = &e->model->hp;
    uint64_t row = (uint64_t)hp->n_kv * hp->head_dim * sizeof(float), page = row * LG_PAGE_SIZE;
    for (uint32_t i = 0; i < hp->n_layers; i++) {
        struct lg_buffer *caches[] = {e->batch.k_cache[i], e->batch.v_cache[i]};
        for (int c = 0; c < 2; c++)
            LG_TRY(lg_buffer_copy(e->dev, (struct lg_view){caches[c], to * page, n * row},
                                  (struct lg_view){caches[c], from * page, n * row}));
    }
    return 0;
}

int lg_engine_fork_slot(struct lg_engine *e, uint32_t from, uint32_t n_tokens, uint32_t n_ctx, uint32_t n_batch)
{
    uint32_t n_shared = n_tokens / LG_PAGE_SIZE, rest = n_tokens % LG_PAGE_SIZE;
    uint32_t n_all = lg_div_up(n_ctx, LG_PAGE_SIZE);
    int slot = free_slot(e);
    LG_TRY(slot);
    LG_TRY(reserve(e, n_all - n_shared, n_all, n_batch));
    uint32_t *table = table_of(e, (uint32_t)slot), free_from = 0;
    const uint32_t *original = table_of(e, from);
    for (uint32_t i = 0; i < e->batch.max_pages; i++) {
        table[i] = i >= n_all ? NO_PAGE : i < n_shared ? original[i] : take_page(e, &free_from);
        if (i < n_shared)
            e->page_refs[table[i]]++;
    }
    e->slots |= UINT64_C(1) << slot;
    publish(e, (uint32_t)slot);
    int rc = rest ? copy_page(e, original[n_shared], table[n_shared], rest) : 0;
    if (rc < 0)
        lg_engine_drop_slot(e, (uint32_t)slot);
    return rc < 0 ? rc : slot;
}

void lg_engine_drop_slot(struct lg_engine *e, uint32_t slot)
{
    uint32_t *table = table_of(e, slot);
    for (uint32_t i = 0; i < e->batch.max_pages && table[i] != NO_PAGE; i++)
        e->page_refs[table[i]]--;
    memset(table, 0xff, e->batch.max_pages * sizeof(*table));
    e->slots &= ~(UINT64_C(1) << slot);
}

int lg_engine_own_pages(struct lg_engine *e, uint32_t slot, uint32_t first, uint32_t n)
{
    uint32_t begin = first / LG_PAGE_SIZE, end = lg_div_up(first + n, LG_PAGE_SIZE), need = 0;
    for (uint32_t i = begin; i < end; i++)
        need += e->page_refs[table_of(e, slot)[i]] > 1;
    if (need == 0)
        return 0;
    LG_TRY(reserve(e, need, 0, 0));
    uint32_t *table = table_of(e, slot), from = 0;
    int rc = 0;
    for (uint32_t i = begin; i < end && rc == 0; i++) {
        uint32_t old = table[i], kept = i == begin ? first % LG_PAGE_SIZE : 0;
        if (e->page_refs[old] == 1)
            continue;
        table[i] = take_page(e, &from);
        e->page_refs[old]--;
        rc = kept ? copy_page(e, old, table[i], kept) : 0;
        if (rc < 0) {
            e->page_refs[table[i]] = 0;
            e->page_refs[old]++;
            table[i] = old;
        }
    }
    publish(e, slot);
    return rc;
}

uint32_t lg_engine_shared_tokens(const struct lg_engine *e, uint32_t slot, uint32_t n_tokens)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < lg_div_up(n_tokens, LG_PAGE_SIZE); i++)
        if (e->page_refs[table_of(e, slot)[i]] > 1)
            n += lg_min_u32(LG_PAGE_SIZE, n_tokens - i * LG_PAGE_SIZE);
    return n;
}

uint64_t lg_engine_cache_bytes(const struct lg_engine *e, uint32_t n_ctx)
{
    const struct lg_hparams *hp = &e->model->hp;
    return (uint64_t)lg_div_up(n_ctx, LG_PAGE_SIZE) * LG_PAGE_SIZE * hp->n_kv * hp->head_dim * sizeof(float) * 2 *
           hp->n_layers;
}
