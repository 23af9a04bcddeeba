/* SPDX-License-Identifier: MIT
 *
 * Slots and their page tables. A page is in as many tables as its `refs` says; one that is in several is read by all of them
 * and written by none. Slots get pages as their contexts grow. A page that is in no table keeps what it is known to hold
 * until another one is wanted and no empty page is left; then the one goes that was given back longest ago.
 */
#include <string.h>

#include "runtime/engine.h"
#include "gguf/kv_rows.h"
#include "util/checked.h"

static uint32_t *table_of(const struct lg_engine *e, uint32_t slot)
{
    return e->tables + (size_t)slot * e->batch.max_pages;
}

uint32_t lg_engine_page(const struct lg_engine *e, uint32_t slot, uint32_t index)
{
    return table_of(e, slot)[index];
}

void lg_engine_publish(struct lg_engine *e, uint32_t slot)
{
    memcpy((uint32_t *)e->batch.pages->map + (size_t)slot * e->batch.max_pages, table_of(e, slot),
           e->batch.max_pages * sizeof(uint32_t));
}

/* ---- the pool */

static uint32_t count_free(const struct lg_engine *e)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < e->n_pages; i++)
        n += e->pool[i].refs == 0;
    return n;
}

/** Pages that are in use, and those that slots may come to need beside. */
static uint32_t count_promised(const struct lg_engine *e)
{
    uint32_t n = e->n_pages - count_free(e);
    for (uint32_t slot = 0; slot < LG_MAX_SLOTS; slot++) {
        for (uint32_t i = 0; (e->slots >> slot & 1) && i < e->slot_pages[slot]; i++)
            n += table_of(e, slot)[i] == LG_NO_PAGE;
    }
    return n;
}

/** A pool of n_pages, or as many as may be, with tables and passes as large as they must be. */
static int reserve(struct lg_engine *e, uint32_t n_pages, uint32_t max_pages, uint32_t prefill_rows)
{
    if (e->page_limit)
        n_pages = lg_min_u32(n_pages, e->page_limit);
    n_pages = lg_max_u32(n_pages, e->n_pages);
    max_pages = lg_max_u32(max_pages, e->batch.max_pages);
    prefill_rows = lg_max_u32(prefill_rows, e->prefill_rows);
    if (n_pages == e->n_pages && max_pages == e->batch.max_pages && prefill_rows == e->prefill_rows)
        return 0;
    return lg_engine_grow(e, n_pages, max_pages, prefill_rows);
}

/** An empty page, or the one that was given back longest ago; LG_NO_PAGE. */
static uint32_t find_free(const struct lg_engine *e)
{
    uint32_t oldest = LG_NO_PAGE;
    for (uint32_t i = 0; i < e->n_pages; i++) {
        if (e->pool[i].refs > 0)
            continue;
        if (!lg_prefix_knows(&e->prefix, i))
            return i;
        if (oldest == LG_NO_PAGE || e->pool[i].freed < e->pool[oldest].freed)
            oldest = i;
    }
    return oldest;
}

/** Counts a page in a table more, or less. */
static void hold(struct lg_engine *e, uint32_t page)
{
    if (e->pool[page].refs++ > 0)
        return;
    e->n_used++;
    if (e->counts)
        e->counts->used++;
}

static void give_page(struct lg_engine *e, uint32_t page)
{
    if (page == LG_NO_PAGE || --e->pool[page].refs > 0)
        return;
    e->pool[page].freed = ++e->n_freed;
    e->n_used--;
    if (e->counts)
        e->counts->used--;
}

/** A page that holds nothing any more. There must be one. */
static uint32_t take_page(struct lg_engine *e)
{
    uint32_t page = find_free(e);
    lg_prefix_remove(&e->prefix, page);
    hold(e, page);
    return page;
}

void lg_engine_set_page(struct lg_engine *e, uint32_t slot, uint32_t index, uint32_t page)
{
    uint32_t *at = &table_of(e, slot)[index], old = *at;
    if (page != LG_NO_PAGE)
        hold(e, page);
    *at = page;
    give_page(e, old);
}

/* ---- slots */

static int free_slot(struct lg_engine *e)
{
    if (e->slots == UINT64_MAX)
        return lg_fail(e->env, LLMGPU_E_NOMEM, "all %d sessions of this model are in use", LG_MAX_SLOTS);
    return __builtin_ctzll(~e->slots);
}

static int check_limit(const struct lg_engine *e, uint32_t n_ctx)
{
    if (e->page_limit == 0 || lg_div_up(n_ctx, LG_PAGE_SIZE) <= e->page_limit)
        return 0;
    return lg_fail(e->env, LLMGPU_E_LIMIT, "limit max_kv_memory: a context of %u tokens is more than the %u of all sessions",
                   n_ctx, e->page_limit * LG_PAGE_SIZE);
}

/** A slot without pages, with room for `more` of them in the pool. */
static int add_slot(struct lg_engine *e, uint32_t n_ctx, uint32_t n_batch, uint32_t more)
{
    uint32_t n_pages = lg_div_up(n_ctx, LG_PAGE_SIZE);
    int slot = free_slot(e);
    LG_TRY(slot);
    LG_TRY(check_limit(e, n_ctx));
    LG_TRY(reserve(e, count_promised(e) + more, n_pages, n_batch));
    memset(table_of(e, (uint32_t)slot), 0xff, e->batch.max_pages * sizeof(uint32_t));
    e->slot_pages[slot] = n_pages;
    e->slots |= UINT64_C(1) << slot;
    return slot;
}

int lg_engine_take_slot(struct lg_engine *e, uint32_t n_ctx, uint32_t n_batch)
{
    int slot = add_slot(e, n_ctx, n_batch, lg_div_up(n_ctx, LG_PAGE_SIZE));
    LG_TRY(slot);
    lg_engine_publish(e, (uint32_t)slot);
    return slot;
}

/** Rows [0, n) of a page of every layer's caches. */
static int copy_page(struct lg_engine *e, uint32_t from, uint32_t to, uint32_t n)
{
    const struct lg_hparams *hp = &e->model->hp;
    uint64_t row = lg_engine_row_bytes(e), page = row * LG_PAGE_SIZE;
    for (uint32_t i = 0; i < hp->n_layers; i++) {
        struct lg_buffer *caches[] = {e->batch.k_cache[i], e->batch.v_cache[i]};
        for (int c = 0; c < 2; c++)
            LG_TRY(lg_buffer_copy(e->dev, (struct lg_view){caches[c], to * page, n * row},
                                  (struct lg_view){caches[c], from * page, n * row}));
    }
    return 0;
}

int lg_engine_fork_slot(struct lg_engine *e, uint32_t from, uint32_t n_tokens, uint32_t n_ctx, uint32_t n_batch,
                        uint32_t *n_forked)
{
    uint32_t n_shared = n_tokens / LG_PAGE_SIZE, rest = n_tokens % LG_PAGE_SIZE;
    int slot = add_slot(e, n_ctx, n_batch, lg_div_up(n_ctx, LG_PAGE_SIZE) - n_shared);
    LG_TRY(slot);
    for (uint32_t i = 0; i < n_shared; i++)
        lg_engine_set_page(e, (uint32_t)slot, i, lg_engine_page(e, from, i));
    *n_forked = n_shared * LG_PAGE_SIZE;
    int rc = 0;
    if (rest && find_free(e) != LG_NO_PAGE) { // otherwise it is computed again
        uint32_t page = take_page(e);
        table_of(e, (uint32_t)slot)[n_shared] = page;
        rc = copy_page(e, lg_engine_page(e, from, n_shared), page, rest);
        *n_forked = n_tokens;
    }
    lg_engine_publish(e, (uint32_t)slot);
    if (rc < 0)
        lg_engine_drop_slot(e, (uint32_t)slot);
    return rc < 0 ? rc : slot;
}

void lg_engine_drop_slot(struct lg_engine *e, uint32_t slot)
{
    uint32_t *table = table_of(e, slot);
    for (uint32_t i = 0; i < e->batch.max_pages; i++)
        give_page(e, table[i]);
    memset(table, 0xff, e->batch.max_pages * sizeof(*table));
    e->slots &= ~(UINT64_C(1) << slot);
}

/* ---- writing */

/** Gives the slot a page of its own in place of one that others have too, with its first `kept` rows. */
static int own_page(struct lg_engine *e, uint32_t *at, uint32_t kept)
{
    uint32_t old = *at;
    if (old != LG_NO_PAGE && e->pool[old].refs == 1) {
        lg_prefix_remove(&e->prefix, old); // it will hold something else
        return 0;
    }
    *at = take_page(e);
    int rc = kept && old != LG_NO_PAGE ? copy_page(e, old, *at, kept) : 0;
    if (rc < 0) {
        give_page(e, *at);
        *at = old;
        return rc;
    }
    give_page(e, old);
    return 0;
}

int lg_engine_own_pages(struct lg_engine *e, uint32_t slot, uint32_t first, uint32_t n)
{
    uint32_t begin = first / LG_PAGE_SIZE, end = lg_div_up(first + n, LG_PAGE_SIZE), need = 0;
    for (uint32_t i = begin; i < end; i++) {
        uint32_t page = lg_engine_page(e, slot, i);
        need += page == LG_NO_PAGE || e->pool[page].refs > 1;
    }
    uint32_t n_free = need ? count_free(e) : 0;
    if (need > n_free)
        LG_TRY(reserve(e, e->n_pages + need - n_free, 0, 0));
    n_free = need ? count_free(e) : 0;
    if (need > n_free)
        return (int)(need - n_free);
    int rc = 0;
    for (uint32_t i = begin; i < end && rc == 0; i++)
        rc = own_page(e, &table_of(e, slot)[i], i == begin ? first % LG_PAGE_SIZE : 0);
    lg_engine_publish(e, slot);
    return rc;
}

/* ---- figures */

uint32_t lg_engine_shared_tokens(const struct lg_engine *e, uint32_t slot, uint32_t n_tokens)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < lg_div_up(n_tokens, LG_PAGE_SIZE); i++) {
        uint32_t page = lg_engine_page(e, slot, i);
        if (page != LG_NO_PAGE && e->pool[page].refs > 1)
            n += lg_min_u32(LG_PAGE_SIZE, n_tokens - i * LG_PAGE_SIZE);
    }
    return n;
}

uint64_t lg_engine_row_bytes(const struct lg_engine *e)
{
    return lg_kv_row_bytes(e->kv_type, e->model->hp.n_kv * e->model->hp.head_dim);
}

uint64_t lg_engine_cache_bytes(const struct lg_engine *e, uint32_t n_ctx)
{
    return lg_div_up(n_ctx, LG_PAGE_SIZE) * LG_PAGE_SIZE * lg_engine_row_bytes(e) * 2 * e->model->hp.n_layers;
}

void lg_engine_limit(struct lg_engine *e, uint64_t bytes)
{
    uint64_t page = lg_engine_cache_bytes(e, LG_PAGE_SIZE); // 0 of a vocabulary alone
    uint64_t pages = bytes > 0 && page > 0 ? bytes / page : 0;
    e->page_limit = bytes == 0 || page == 0 ? 0 : pages > UINT32_MAX ? UINT32_MAX : lg_max_u32(1, (uint32_t)pages);
}

int lg_engine_check_pages(const struct lg_engine *e)
{
    for (uint32_t page = 0; page < e->n_pages; page++) {
        uint32_t refs = 0;
        for (uint32_t i = 0; i < LG_MAX_SLOTS * e->batch.max_pages; i++)
            refs += e->tables[i] == page;
        if (refs != e->pool[page].refs)
            return lg_fail(e->env, LLMGPU_E_INTERNAL, "page %u is in %u tables, not in %u", page, refs,
                           e->pool[page].refs);
    }
    for (uint32_t slot = 0; slot < LG_MAX_SLOTS; slot++) {
        for (uint32_t i = 0; i < e->batch.max_pages; i++) {
            if (lg_engine_page(e, slot, i) != LG_NO_PAGE && !(e->slots >> slot & 1))
                return lg_fail(e->env, LLMGPU_E_INTERNAL, "slot %u is free and has page %u", slot,
                               lg_engine_page(e, slot, i));
        }
    }
    return 0;
}
