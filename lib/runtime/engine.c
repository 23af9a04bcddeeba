/* SPDX-License-Identifier: MIT */
#include "runtime/engine.h"

#include <math.h>
#include <string.h>

#include "runtime/pass.h"
#include "runtime/run.h"
#include "util/checked.h"
#include "util/clock.h"

void lg_engine_init(struct lg_engine *engine, struct lg_env *env, const struct lg_model *model)
{
    *engine = (struct lg_engine){
        .env = env,
        .model = model,
        .dev = model->dev,
        .tune = lg_tuning_choose(&model->dev->info),
        .bank = {.env = env, .model = model},
        .prefix_seed = lg_now_ns() * 0x9e3779b97f4a7c15u ^ (uint64_t)(uintptr_t)engine,
    };
}

/** Counts a pool that has come, of which n_used pages are in tables, or that goes. */
static void count_pool(struct lg_engine *e, uint32_t n_pages, uint32_t n_used)
{
    uint64_t page = e->n_pages ? lg_engine_cache_bytes(e, LG_PAGE_SIZE) : 0;
    if (e->counts) {
        e->counts->pages += (uint64_t)n_pages - e->n_counted;
        e->counts->used += (uint64_t)n_used - e->n_used;
        e->counts->bytes += ((uint64_t)n_pages - e->n_counted) * page;
    }
    e->n_counted = n_pages;
    e->n_used = n_used;
}

static void free_buffers(struct lg_engine *e)
{
    count_pool(e, 0, 0);
    struct lg_batch *b = &e->batch, *p = &e->prompts;
    struct lg_buffer *bufs[] = {b->dims,   b->rows,  b->out_ids, b->pages, b->samplers, b->history,
                                b->biases, b->masks, b->ring,    b->loras, b->targets,  b->rope,
                                p->dims,   p->rows,  p->out_ids, p->targets};
    for (size_t i = 0; i < sizeof(bufs) / sizeof(bufs[0]); i++)
        lg_buffer_destroy(bufs[i]);
    for (uint32_t i = 0; i < e->model->hp.n_layers; i++) {
        lg_buffer_destroy(b->k_cache ? b->k_cache[i] : NULL);
        lg_buffer_destroy(b->v_cache ? b->v_cache[i] : NULL);
    }
    lg_free(e->env, b->k_cache);
    lg_free(e->env, b->v_cache);
    lg_free(e->env, e->pool);
    lg_free(e->env, e->tables);
    lg_prefix_finish(&e->prefix);
    memset(b, 0, sizeof(*b));
    memset(p, 0, sizeof(*p));
    e->pool = NULL;
    e->tables = NULL;
}

static void free_passes(struct lg_passes *p)
{
    struct lg_pass *passes[] = {&p->prefill, &p->decode, &p->decode_top, &p->score, &p->embed};
    for (size_t i = 0; i < sizeof(passes) / sizeof(passes[0]); i++)
        lg_pass_finish(passes[i]);
}

void lg_engine_finish(struct lg_engine *e)
{
    if (!e->model)
        return;
    lg_run_drop(e);
    free_passes(&e->plain);
    free_passes(&e->adapted);
    lg_bank_finish(&e->bank);
    free_buffers(e);
    memset(e, 0, sizeof(*e));
}

int lg_engine_keep_in(struct lg_engine *e, uint32_t kv_type)
{
    static const char *const names[] = {"f32", "f16", "q8_0", "q4_0"};
    uint32_t head_dim = e->model->hp.head_dim;
    if ((kv_type == LG_KV_Q8_0 || kv_type == LG_KV_Q4_0) && head_dim % 32)
        return lg_fail(e->env, LLMGPU_E_UNSUPPORTED, "keys and values in %s, blocks of 32: heads have %u elements",
                       names[kv_type], head_dim);
    e->kv_type = kv_type;
    return 0;
}

void lg_engine_drop(struct lg_engine *e)
{
    struct lg_env *env = e->env;
    const struct lg_model *model = e->model;
    struct lg_bank bank = e->bank;
    uint32_t page_limit = e->page_limit, kv_type = e->kv_type;
    free_passes(&e->adapted);
    lg_bank_drop(&bank);
    e->bank = (struct lg_bank){0};
    lg_engine_finish(e);
    *e = (struct lg_engine){
        .env = env, .model = model, .bank = bank, .page_limit = page_limit, .kv_type = kv_type};
}

int lg_engine_revive(struct lg_engine *e)
{
    struct lg_bank bank = e->bank;
    uint32_t page_limit = e->page_limit, kv_type = e->kv_type;
    lg_engine_init(e, e->env, e->model);
    e->page_limit = page_limit;
    e->kv_type = kv_type;
    e->bank = bank;
    return lg_bank_put(&e->bank);
}

/** Cosine and sine of every position's rotations, in double precision: kernels on every device use the same
 * angles. */
int lg_rope_create(struct lg_env *env, const struct lg_model *model, uint32_t n_pos, struct lg_buffer **out)
{
    const struct lg_hparams *hp = &model->hp;
    if (hp->rope == LG_ROPE_NONE)
        return 0;
    uint32_t half = hp->n_rot / 2;
    size_t size = (size_t)n_pos * half * 2 * sizeof(float);
    float *table = lg_alloc(env, size);
    if (!table)
        return lg_fail_nomem(env, "the table of rotations", size);
    for (uint32_t i = 0; i < half; i++) {
        double freq = hp->rope_scale * pow(hp->rope_base, -2.0 * i / hp->n_rot);
        if (model->w.rope_freqs)
            freq /= model->w.rope_freqs[i];
        for (uint32_t pos = 0; pos < n_pos; pos++) {
            float *cs = table + ((size_t)pos * half + i) * 2;
            cs[0] = (float)cos(pos * freq);
            cs[1] = (float)sin(pos * freq);
        }
    }
    int rc = lg_buffer_create(model->dev, size, LG_MEM_DEVICE, out);
    if (rc == 0)
        rc = lg_upload(model->dev, lg_view_all(*out), table);
    lg_free(env, table);
    return rc;
}

static uint64_t cache_bytes(const struct lg_engine *e, uint32_t n_pages)
{
    return (uint64_t)n_pages * LG_PAGE_SIZE * lg_engine_row_bytes(e);
}

/** Whether the device has room for the caches of n_pages in place of those that are there. */
static int check_caches(const struct lg_engine *e, uint32_t n_pages)
{
    uint64_t size = cache_bytes(e, n_pages), all, n = 2ull * e->model->hp.n_layers, available = lg_device_room(e->dev);
    uint64_t have = e->n_pages ? n * cache_bytes(e, e->n_pages) : 0;
    if (size > e->dev->info.max_view_size)
        return lg_fail(e->env, LLMGPU_E_UNSUPPORTED,
                       "a key cache of %llu bytes for %u tokens: device '%s' binds at most %llu at once",
                       (unsigned long long)size, n_pages * LG_PAGE_SIZE, e->dev->info.id,
                       (unsigned long long)e->dev->info.max_view_size);
    if (!lg_mul_u64(size, n, &all))
        all = UINT64_MAX;
    uint64_t more = all > have ? all - have + (have ? size : 0) : 0; // an old one goes when its successor is there
    return more <= available ? 0
                             : lg_fail(e->env, LLMGPU_E_NOMEM,
                                       "the caches of %u tokens take %llu MiB, device '%s' has %llu MiB left",
                                       n_pages * LG_PAGE_SIZE, (unsigned long long)(more >> 20), e->dev->info.id,
                                       (unsigned long long)(available >> 20));
}

/** Gives a cache another size, 0 for none; as much as fits of what it holds stays. */
static int resize_cache(struct lg_engine *e, struct lg_buffer **cache, uint64_t size)
{
    struct lg_buffer *old = *cache, *now = NULL;
    uint64_t kept = !old ? 0 : old->size < size ? old->size : size;
    if (old && old->size == size)
        return 0;
    int rc = size ? lg_buffer_create(e->dev, size, LG_MEM_DEVICE, &now) : 0;
    if (rc == 0 && kept)
        rc = lg_buffer_copy(e->dev, (struct lg_view){now, 0, kept}, (struct lg_view){old, 0, kept});
    if (rc == 0 && kept)
        rc = lg_device_flush(e->dev);
    lg_buffer_destroy(rc < 0 ? now : old);
    *cache = rc < 0 ? old : now;
    return rc;
}

/** One by one, so that never more than one is there twice. Passes that were recorded over them must be gone. */
static int resize_caches(struct lg_engine *e, uint32_t n_pages)
{
    uint32_t n_layers = e->model->hp.n_layers;
    struct lg_buffer ***lists[] = {&e->batch.k_cache, &e->batch.v_cache};
    for (int c = 0; c < 2; c++) {
        if (!*lists[c])
            *lists[c] = lg_alloc_array(e->env, n_layers, sizeof(**lists[c]));
        if (!*lists[c])
            return lg_fail_nomem(e->env, "the list of caches", n_layers * sizeof(**lists[c]));
        for (uint32_t i = 0; i < n_layers; i++)
            LG_TRY(resize_cache(e, &(*lists[c])[i], cache_bytes(e, n_pages)));
    }
    return 0;
}

/** What is written anew for each pass. */
static int create_rows(struct lg_device *dev, struct lg_batch *b)
{
    LG_TRY(lg_buffer_create(dev, LG_N_DIMS * 4, LG_MEM_SHARED, &b->dims));
    LG_TRY(lg_buffer_create(dev, b->max_rows * sizeof(struct lg_row), LG_MEM_SHARED, &b->rows));
    LG_TRY(lg_buffer_create(dev, b->max_rows * 4ull, LG_MEM_SHARED, &b->out_ids));
    return lg_buffer_create(dev, b->max_rows * 4ull, LG_MEM_SHARED, &b->targets);
}

/** The batch of passes that are not decode passes; all but rows is the same. */
static int create_prompts(struct lg_engine *e)
{
    struct lg_batch *b = &e->prompts;
    *b = e->batch;
    b->dims = b->rows = b->out_ids = b->targets = NULL;
    return create_rows(e->dev, b);
}

const struct lg_batch *lg_engine_batch(const struct lg_engine *e, enum lg_phase phase)
{
    return phase == LG_DECODE ? &e->batch : &e->prompts;
}

/** Buffers but for caches, for a pool of n_pages, tables of max_pages and batches of prefill_rows, all empty. */
static int create_buffers(struct lg_engine *e, uint32_t n_pages, uint32_t max_pages, uint32_t prefill_rows)
{
    struct lg_device *dev = e->dev;
    struct lg_batch *b = &e->batch;
    uint32_t max_rows = lg_max_u32(prefill_rows, LG_MAX_SLOTS);
    e->prefill_rows = prefill_rows;
    b->max_rows = max_rows;
    b->page_size = LG_PAGE_SIZE;
    b->kv_type = e->kv_type;
    b->max_pages = max_pages;
    LG_TRY(create_rows(dev, b));
    LG_TRY(lg_buffer_create(dev, LG_MAX_SLOTS * 4ull * max_pages, LG_MEM_SHARED, &b->pages));
    LG_TRY(lg_buffer_create(dev, LG_MAX_SLOTS * sizeof(struct lg_sampler), LG_MEM_SHARED, &b->samplers));
    LG_TRY(lg_buffer_create(dev, LG_MAX_SLOTS * sizeof(struct lg_slot_lora), LG_MEM_SHARED, &b->loras));
    LG_TRY(lg_buffer_create(dev, LG_MAX_SLOTS * LG_HISTORY * 4ull, LG_MEM_SHARED, &b->history));
    LG_TRY(lg_buffer_create(dev, LG_MAX_SLOTS * LG_MAX_BIAS * sizeof(struct lg_bias), LG_MEM_SHARED, &b->biases));
    LG_TRY(lg_buffer_create(dev, LG_MAX_SLOTS * LG_RING * 4ull, LG_MEM_READBACK, &b->ring));
    LG_TRY(lg_rope_create(e->env, e->model, max_pages * LG_PAGE_SIZE, &b->rope));
    LG_TRY(create_prompts(e));
    e->n_pages = n_pages;
    e->pool = lg_alloc_array(e->env, n_pages, sizeof(*e->pool));
    e->tables = lg_alloc_array(e->env, (size_t)LG_MAX_SLOTS * max_pages, sizeof(*e->tables));
    if (!e->pool || !e->tables)
        return lg_fail_nomem(e->env, "page tables", LG_MAX_SLOTS * 4ull * max_pages);
    memset(e->tables, 0xff, (size_t)LG_MAX_SLOTS * max_pages * sizeof(*e->tables)); // LG_NO_PAGE
    return lg_prefix_init(&e->prefix, e->env, n_pages);
}

/** Carries sessions over to larger buffers. Positions of pages do not change; only table rows get longer. Samplers
 * are written anew for each pass. */
static void carry_over(struct lg_engine *e, const struct lg_engine *old)
{
    const struct lg_batch *from = &old->batch, *to = &e->batch;
    memcpy(to->loras->map, from->loras->map, from->loras->size);
    memcpy(e->pool, old->pool, old->n_pages * sizeof(*e->pool));
    for (uint32_t i = 0; i < old->n_pages; i++) {
        const struct lg_prefix_entry *known = &old->prefix.entries[i];
        if (known->known)
            lg_prefix_add(&e->prefix, i, known->hash, known->tokens);
    }
    for (uint32_t s = 0; s < LG_MAX_SLOTS; s++)
        memcpy(e->tables + (size_t)s * to->max_pages, old->tables + (size_t)s * from->max_pages,
               from->max_pages * sizeof(*e->tables));
    memcpy(to->pages->map, e->tables, to->pages->size);
}

static void move_caches(struct lg_engine *e, struct lg_engine *from)
{
    e->batch.k_cache = e->prompts.k_cache = from->batch.k_cache;
    e->batch.v_cache = e->prompts.v_cache = from->batch.v_cache;
    from->batch.k_cache = from->batch.v_cache = NULL;
}

int lg_engine_grow(struct lg_engine *e, uint32_t n_pages, uint32_t max_pages, uint32_t prefill_rows)
{
    struct lg_engine grown;
    lg_run_drop(e);
    lg_engine_init(&grown, e->env, e->model);
    grown.slots = e->slots;
    memcpy(grown.slot_pages, e->slot_pages, sizeof(grown.slot_pages));
    grown.page_limit = e->page_limit;
    grown.kv_type = e->kv_type;
    grown.prefix_seed = e->prefix_seed;
    grown.n_freed = e->n_freed;
    grown.counts = e->counts;
    grown.submit_ns = e->submit_ns;
    grown.tune = e->tune;
    grown.tuned = e->tuned;
    LG_TRY(check_caches(e, n_pages));
    int rc = create_buffers(&grown, n_pages, max_pages, prefill_rows);
    if (rc == 0) {
        free_passes(&e->plain); // they are built again when they are wanted
        free_passes(&e->adapted);
        rc = resize_caches(e, n_pages);
    }
    if (rc < 0) {
        free_buffers(&grown);
        if (e->batch.k_cache)
            resize_caches(e, e->n_pages); // where that fails, they are too large, which does no harm
        return rc;
    }
    if (e->slots)
        carry_over(&grown, e);
    move_caches(&grown, e);
    count_pool(&grown, n_pages, e->n_used);
    free_buffers(e);
    grown.bank = e->bank;
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

/* Powers of two, so that passes are not recorded anew for each session that comes. */
uint32_t lg_engine_decode_rows(const struct lg_engine *e, uint32_t n_sessions)
{
    uint64_t logits = e->dev->info.max_view_size / (e->model->hp.n_vocab * sizeof(float));
    uint32_t rows = 1, limit = lg_min_u32(LG_MAX_SLOTS, lg_engine_rows_limit(e));
    limit = logits < limit ? lg_max_u32(1, (uint32_t)logits) : limit;
    while (rows < n_sessions && rows < limit)
        rows *= 2;
    return lg_min_u32(rows, limit);
}

struct lg_slot_lora *lg_engine_lora(const struct lg_engine *e, uint32_t slot)
{
    return (struct lg_slot_lora *)e->batch.loras->map + slot;
}

struct lg_passes *lg_engine_passes(struct lg_engine *e, uint32_t slot)
{
    return lg_engine_lora(e, slot)->seat ? &e->adapted : &e->plain;
}

const struct lg_adapters *lg_engine_adapters(const struct lg_engine *e, uint32_t slot)
{
    return lg_engine_lora(e, slot)->seat ? &e->bank.adapters : NULL;
}

/** Before the adapters' buffers go. */
static void drop_adapted(struct lg_engine *e)
{
    lg_run_drop(e);
    free_passes(&e->adapted);
}

int lg_engine_seat_lora(struct lg_engine *e, const struct lg_lora *lora)
{
    if (!lg_bank_has_room(&e->bank, lora))
        drop_adapted(e);
    return lg_bank_add(&e->bank, lora);
}

void lg_engine_unseat_lora(struct lg_engine *e, uint32_t seat)
{
    if (lg_bank_count(&e->bank) == 1)
        drop_adapted(e);
    lg_bank_remove(&e->bank, seat);
}

int lg_engine_make_masks(struct lg_engine *e)
{
    uint64_t size = LG_MAX_SLOTS * 4ull * LG_MASK_WORDS((uint64_t)e->model->hp.n_vocab);
    if (e->batch.masks)
        return 0;
    if (size > e->dev->info.max_view_size)
        return lg_fail(e->env, LLMGPU_E_UNSUPPORTED, "masks of %llu bytes: device '%s' binds at most %llu at once",
                       (unsigned long long)size, e->dev->info.id, (unsigned long long)e->dev->info.max_view_size);
    LG_TRY(lg_buffer_create(e->dev, size, LG_MEM_SHARED, &e->batch.masks));
    lg_run_drop(e);
    struct lg_pass *samples[] = {&e->plain.decode, &e->plain.decode_top, &e->adapted.decode, &e->adapted.decode_top};
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++)
        lg_pass_finish(samples[i]);
    return 0;
}

struct lg_bias *lg_engine_biases(struct lg_engine *e, uint32_t slot)
{
    return (struct lg_bias *)e->batch.biases->map + (size_t)slot * LG_MAX_BIAS;
}

uint32_t *lg_engine_mask(struct lg_engine *e, uint32_t slot)
{
    return (uint32_t *)e->batch.masks->map + (size_t)slot * LG_MASK_WORDS(e->model->hp.n_vocab);
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
