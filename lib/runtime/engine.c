/* SPDX-License-Identifier: MIT */
#include "runtime/engine.h"

#include <math.h>
#include <string.h>

#include "runtime/pass.h"
#include "util/checked.h"

void lg_engine_init(struct lg_engine *engine, struct lg_env *env, const struct lg_model *model)
{
    *engine = (struct lg_engine){
        .env = env,
        .model = model,
        .dev = model->dev,
        .tune = lg_tuning_choose(&model->dev->info),
    };
}

static void free_buffers(struct lg_engine *e)
{
    struct lg_batch *b = &e->batch;
    struct lg_buffer *bufs[] = {b->dims,    b->rows, b->out_ids, b->pages, b->samplers,
                                b->history, b->ring, b->targets, b->rope};
    for (size_t i = 0; i < sizeof(bufs) / sizeof(bufs[0]); i++)
        lg_buffer_destroy(bufs[i]);
    for (uint32_t i = 0; i < e->model->hp.n_layers; i++) {
        lg_buffer_destroy(b->k_cache ? b->k_cache[i] : NULL);
        lg_buffer_destroy(b->v_cache ? b->v_cache[i] : NULL);
    }
    lg_free(e->env, b->k_cache);
    lg_free(e->env, b->v_cache);
    lg_free(e->env, e->page_taken);
    lg_free(e->env, e->tables);
    memset(b, 0, sizeof(*b));
    e->page_taken = NULL;
    e->tables = NULL;
}

static void free_passes(struct lg_engine *e)
{
    lg_pass_finish(&e->prefill);
    lg_pass_finish(&e->decode);
    lg_pass_finish(&e->score);
}

void lg_engine_finish(struct lg_engine *e)
{
    if (!e->model)
        return;
    free_passes(e);
    free_buffers(e);
    memset(e, 0, sizeof(*e));
}

/** Cosine and sine of every position's rotations, in double precision: kernels on every device use the same
 * angles. */
static int fill_rope(struct lg_engine *e, uint32_t n_pos)
{
    const struct lg_hparams *hp = &e->model->hp;
    if (hp->rope == LG_ROPE_NONE)
        return 0;
    uint32_t half = hp->n_rot / 2;
    size_t size = (size_t)n_pos * half * 2 * sizeof(float);
    float *table = lg_alloc(e->env, size);
    if (!table)
        return lg_fail_nomem(e->env, "the table of rotations", size);
    for (uint32_t i = 0; i < half; i++) {
        double freq = hp->rope_scale * pow(hp->rope_base, -2.0 * i / hp->n_rot);
        if (e->model->w.rope_freqs)
            freq /= e->model->w.rope_freqs[i];
        for (uint32_t pos = 0; pos < n_pos; pos++) {
            float *cs = table + ((size_t)pos * half + i) * 2;
            cs[0] = (float)cos(pos * freq);
            cs[1] = (float)sin(pos * freq);
        }
    }
    int rc = lg_buffer_create(e->dev, size, LG_MEM_DEVICE, &e->batch.rope);
    if (rc == 0)
        rc = lg_upload(e->dev, lg_view_all(e->batch.rope), table);
    lg_free(e->env, table);
    return rc;
}

static int create_caches(struct lg_engine *e, uint32_t n_pages)
{
    const struct lg_hparams *hp = &e->model->hp;
    struct lg_batch *b = &e->batch;
    uint64_t size = (uint64_t)n_pages * LG_PAGE_SIZE * hp->n_kv * hp->head_dim * sizeof(float);
    if (size > e->dev->info.max_view_size)
        return lg_fail(e->env, LLMGPU_E_UNSUPPORTED,
                       "a key cache of %llu bytes for %u tokens: device '%s' binds at most %llu at once",
                       (unsigned long long)size, n_pages * LG_PAGE_SIZE, e->dev->info.id,
                       (unsigned long long)e->dev->info.max_view_size);
    uint64_t all, available = lg_device_room(e->dev);
    if (!lg_mul_u64(size, 2ull * hp->n_layers, &all))
        all = UINT64_MAX;
    if (all > available)
        return lg_fail(e->env, LLMGPU_E_NOMEM,
                       "the caches of %u tokens take %llu MiB, device '%s' has %llu MiB left",
                       n_pages * LG_PAGE_SIZE, (unsigned long long)(all >> 20), e->dev->info.id,
                       (unsigned long long)(available >> 20));
    b->k_cache = lg_alloc_array(e->env, hp->n_layers, sizeof(*b->k_cache));
    b->v_cache = lg_alloc_array(e->env, hp->n_layers, sizeof(*b->v_cache));
    if (!b->k_cache || !b->v_cache)
        return lg_fail_nomem(e->env, "the list of caches", hp->n_layers * sizeof(*b->k_cache));
    for (uint32_t i = 0; i < hp->n_layers; i++) {
        LG_TRY(lg_buffer_create(e->dev, size, LG_MEM_DEVICE, &b->k_cache[i]));
        LG_TRY(lg_buffer_create(e->dev, size, LG_MEM_DEVICE, &b->v_cache[i]));
    }
    return 0;
}

/** Buffers for a pool of n_pages, tables of max_pages and batches of max_rows, all empty. */
static int create_buffers(struct lg_engine *e, uint32_t n_pages, uint32_t max_pages, uint32_t max_rows)
{
    struct lg_device *dev = e->dev;
    struct lg_batch *b = &e->batch;
    b->max_rows = max_rows;
    b->page_size = LG_PAGE_SIZE;
    b->max_pages = max_pages;
    LG_TRY(lg_buffer_create(dev, LG_N_DIMS * 4, LG_MEM_SHARED, &b->dims));
    LG_TRY(lg_buffer_create(dev, max_rows * sizeof(struct lg_row), LG_MEM_SHARED, &b->rows));
    LG_TRY(lg_buffer_create(dev, max_rows * 4ull, LG_MEM_SHARED, &b->out_ids));
    LG_TRY(lg_buffer_create(dev, max_rows * 4ull, LG_MEM_SHARED, &b->targets));
    LG_TRY(lg_buffer_create(dev, LG_MAX_SLOTS * 4ull * max_pages, LG_MEM_SHARED, &b->pages));
    LG_TRY(lg_buffer_create(dev, LG_MAX_SLOTS * sizeof(struct lg_sampler), LG_MEM_SHARED, &b->samplers));
    LG_TRY(lg_buffer_create(dev, LG_MAX_SLOTS * LG_HISTORY * 4ull, LG_MEM_SHARED, &b->history));
    LG_TRY(lg_buffer_create(dev, LG_MAX_SLOTS * LG_RING * 4ull, LG_MEM_READBACK, &b->ring));
    LG_TRY(create_caches(e, n_pages));
    LG_TRY(fill_rope(e, max_pages * LG_PAGE_SIZE));
    e->n_pages = n_pages;
    e->page_taken = lg_alloc_array(e->env, n_pages / 64 + 1, sizeof(*e->page_taken));
    e->tables = lg_alloc_array(e->env, (size_t)LG_MAX_SLOTS * max_pages, sizeof(*e->tables));
    if (!e->page_taken || !e->tables)
        return lg_fail_nomem(e->env, "page tables", LG_MAX_SLOTS * 4ull * max_pages);
    memset(e->tables, 0xff, (size_t)LG_MAX_SLOTS * max_pages * sizeof(*e->tables)); // no pages
    return 0;
}

/** Copies one device buffer's bytes to the beginning of a larger one. */
static int copy_buffer(struct lg_engine *e, struct lg_buffer *from, struct lg_buffer *to, void *scratch)
{
    if (from->map && to->map) {
        memcpy(to->map, from->map, from->size);
        return 0;
    }
    LG_TRY(lg_download(e->dev, lg_view_all(from), scratch));
    return lg_upload(e->dev, (struct lg_view){.buf = to, .size = from->size}, scratch);
}

/** Carries running sessions over to larger buffers. Positions of pages do not change; only table rows get
 * longer. */
static int carry_over(struct lg_engine *e, const struct lg_engine *old)
{
    const struct lg_batch *from = &old->batch, *to = &e->batch;
    memcpy(to->samplers->map, from->samplers->map, from->samplers->size);
    memcpy(to->history->map, from->history->map, from->history->size);
    memcpy(to->ring->map, from->ring->map, from->ring->size);
    memcpy(e->page_taken, old->page_taken, (old->n_pages / 64 + 1) * sizeof(*e->page_taken));
    for (uint32_t s = 0; s < LG_MAX_SLOTS; s++)
        memcpy(e->tables + (size_t)s * to->max_pages, old->tables + (size_t)s * from->max_pages,
               from->max_pages * sizeof(*e->tables));
    memcpy(to->pages->map, e->tables, to->pages->size);

    void *scratch = lg_alloc(e->env, from->k_cache[0]->size);
    if (!scratch)
        return lg_fail_nomem(e->env, "moving the caches", from->k_cache[0]->size);
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < e->model->hp.n_layers; i++) {
        rc = copy_buffer(e, from->k_cache[i], to->k_cache[i], scratch);
        if (rc == 0)
            rc = copy_buffer(e, from->v_cache[i], to->v_cache[i], scratch);
    }
    lg_free(e->env, scratch);
    return rc < 0 ? rc : lg_device_flush(e->dev);
}

/** Makes larger buffers; on failure everything is as before. */
static int grow(struct lg_engine *e, uint32_t n_pages, uint32_t max_pages, uint32_t max_rows)
{
    struct lg_engine grown;
    lg_engine_init(&grown, e->env, e->model);
    grown.slots = e->slots;
    int rc = create_buffers(&grown, n_pages, max_pages, max_rows);
    if (rc == 0 && e->slots)
        rc = carry_over(&grown, e);
    if (rc < 0) {
        free_buffers(&grown);
        return rc;
    }
    free_passes(e);
    free_buffers(e);
    *e = grown;
    return 0;
}

uint32_t lg_engine_rows_limit(const struct lg_engine *e)
{
    const struct lg_hparams *hp = &e->model->hp;
    uint64_t width = lg_max_u32(hp->n_ff, lg_max_u32(hp->n_embd, hp->n_heads * hp->head_dim));
    uint64_t rows = e->dev->info.max_view_size / (width * sizeof(float));
    return rows > UINT32_MAX ? UINT32_MAX : lg_max_u32(1, (uint32_t)rows);
}

static uint32_t count_free_pages(const struct lg_engine *e)
{
    uint32_t n_free = 0;
    for (uint32_t i = 0; i < e->n_pages; i++)
        n_free += !(e->page_taken[i / 64] >> (i % 64) & 1);
    return n_free;
}

static void take_pages(struct lg_engine *e, uint32_t slot, uint32_t n)
{
    uint32_t *table = e->tables + (size_t)slot * e->batch.max_pages, taken = 0;
    for (uint32_t i = 0; taken < n; i++) {
        if (e->page_taken[i / 64] >> (i % 64) & 1)
            continue;
        e->page_taken[i / 64] |= UINT64_C(1) << (i % 64);
        table[taken++] = i;
    }
    for (uint32_t i = n; i < e->batch.max_pages; i++)
        table[i] = UINT32_MAX;
    memcpy((uint32_t *)e->batch.pages->map + (size_t)slot * e->batch.max_pages, table,
           e->batch.max_pages * sizeof(*table));
}

int lg_engine_take_slot(struct lg_engine *e, uint32_t n_ctx, uint32_t n_batch)
{
    if (e->slots == UINT64_MAX)
        return lg_fail(e->env, LLMGPU_E_NOMEM, "all %d sessions of this model are in use", LG_MAX_SLOTS);
    uint32_t need = lg_div_up(n_ctx, LG_PAGE_SIZE), n_free = e->n_pages ? count_free_pages(e) : 0;
    uint32_t n_pages = n_free >= need ? e->n_pages : e->n_pages + (need - n_free);
    uint32_t max_pages = lg_max_u32(need, e->batch.max_pages),
             max_rows = lg_max_u32(n_batch, e->batch.max_rows);
    if (n_pages != e->n_pages || max_pages != e->batch.max_pages || max_rows != e->batch.max_rows)
        LG_TRY(grow(e, n_pages, max_pages, max_rows));
    uint32_t slot = (uint32_t)__builtin_ctzll(~e->slots);
    e->slots |= UINT64_C(1) << slot;
    take_pages(e, slot, need);
    *lg_engine_sampler(e, slot) = (struct lg_sampler){0};
    return (int)slot;
}

void lg_engine_drop_slot(struct lg_engine *e, uint32_t slot)
{
    uint32_t *table = e->tables + (size_t)slot * e->batch.max_pages;
    for (uint32_t i = 0; i < e->batch.max_pages && table[i] != UINT32_MAX; i++)
        e->page_taken[table[i] / 64] &= ~(UINT64_C(1) << (table[i] % 64));
    memset(table, 0xff, e->batch.max_pages * sizeof(*table));
    e->slots &= ~(UINT64_C(1) << slot);
}

struct lg_sampler *lg_engine_sampler(struct lg_engine *e, uint32_t slot)
{
    return (struct lg_sampler *)e->batch.samplers->map + slot;
}

uint32_t *lg_engine_history(struct lg_engine *e, uint32_t slot)
{
    return (uint32_t *)e->batch.history->map + (size_t)slot * LG_HISTORY;
}

const uint32_t *lg_engine_ring(struct lg_engine *e, uint32_t slot)
{
    return (const uint32_t *)e->batch.ring->map + (size_t)slot * LG_RING;
}
