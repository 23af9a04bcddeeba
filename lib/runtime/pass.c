/* SPDX-License-Identifier: MIT */
#include "runtime/pass.h"

#include <string.h>

#include "runtime/tune.h"
#include "util/checked.h"

/** Cuts views for T rows out of one buffer: first with `buf` NULL to learn the size, then for good. */
struct carver {
    struct lg_buffer *buf;
    uint64_t used;
    uint32_t align;
    bool overflow;
};

static struct lg_view carve(struct carver *c, uint64_t rows, uint64_t cols)
{
    uint64_t size, padded;
    if (!lg_mul_u64(rows * cols, sizeof(float), &size) || !lg_align_u64(size, c->align, &padded) ||
        !lg_add_u64(c->used, padded, &padded)) {
        c->overflow = true;
        return (struct lg_view){0};
    }
    struct lg_view v = {.buf = c->buf, .offset = c->used, .size = size};
    c->used = padded;
    return v;
}

static bool has_logits(enum lg_pass_tail tail)
{
    return tail == LG_TAIL_SAMPLE || tail == LG_TAIL_SAMPLE_TOP || tail == LG_TAIL_SCORE;
}

/** Scores and embeddings are about the model, so they are exact unless the host wants otherwise. */
static bool allows(enum lg_int8 allowed, enum lg_pass_tail tail)
{
    bool exact = tail == LG_TAIL_SCORE || tail == LG_TAIL_EMBED;
    return allowed >= (exact ? LG_INT8_ALL : LG_INT8_GENERATION);
}

/** Bytes of a row of n elements as it meets weights, at the most; 0: as it is. */
static uint64_t packed_row(const struct lg_engine *e, enum lg_pass_tail tail, uint32_t n)
{
    uint64_t int8 = allows(e->tune.int8, tail) ? LG_I8_ROW_BYTES(n) : 0;
    uint64_t half = allows(e->tune.half, tail) ? LG_HALF_ROW_BYTES(n) : 0;
    return int8 > half ? int8 : half;
}

static struct lg_acts carve_acts(struct carver *c, const struct lg_engine *e, enum lg_pass_tail tail, uint32_t T)
{
    const struct lg_hparams *hp = &e->model->hp;
    uint64_t C = hp->n_embd, Q = (uint64_t)hp->n_heads * hp->head_dim, KV = (uint64_t)hp->n_kv * hp->head_dim;
    struct lg_acts a = {
        .x = carve(c, T, C),
        .h = carve(c, T, C),
        .q = carve(c, T, Q),
        .k = carve(c, T, KV),
        .v = carve(c, T, KV),
        .a = carve(c, T, Q),
        .gate = carve(c, T, hp->n_ff),
        .up = carve(c, T, hp->n_ff),
        .f = carve(c, T, hp->n_ff),
    };
    uint64_t packed = packed_row(e, tail, lg_max_u32(hp->n_ff, lg_max_u32(hp->n_embd, (uint32_t)Q)));
    if (packed)
        a.i8 = carve(c, T, packed / sizeof(float));
    if (has_logits(tail)) {
        a.logits = carve(c, T, hp->n_vocab);
        a.best = carve(c, T, 2);
        a.log_probs = carve(c, T, 1);
    }
    if (tail == LG_TAIL_SAMPLE_TOP)
        a.raw = carve(c, T, hp->n_vocab);
    return a;
}

/** What attention wants in some phases. */
static void carve_attention(struct carver *c, const struct lg_engine *e, enum lg_phase phase, uint32_t T,
                            struct lg_acts *a)
{
    const struct lg_hparams *hp = &e->model->hp;
    uint64_t parts = lg_attention_parts(&e->tune, hp, phase);
    if (parts > 0) {
        a->parts = carve(c, T, parts);
        a->done = carve(c, T, hp->n_heads);
    }
}

/** What adapters want; the steps of a decode pass may be fused. */
static void carve_lora(struct carver *c, const struct lg_engine *e, const struct lg_adapters *adapters,
                       enum lg_phase phase, uint32_t T, struct lg_acts *a)
{
    const struct lg_hparams *hp = &e->model->hp;
    uint32_t Q = hp->n_heads * hp->head_dim, KV = hp->n_kv * hp->head_dim;
    const uint32_t widths[] = {lg_max_u32(Q, hp->n_ff), lg_max_u32(KV, hp->n_ff), KV};
    if (!adapters)
        return;
    for (int i = 0; i < 2; i++)
        a->lora[i] = carve(c, T, (uint64_t)LG_LORA_MATRICES * adapters->max_rank);
    for (int m = 0; m < 3 && phase == LG_DECODE && e->tune.fused_decode; m++)
        a->add[m] = carve(c, T, widths[m]);
}

/** All views of a pass. */
static void carve_all(struct carver *c, const struct lg_engine *e, const struct lg_adapters *adapters,
                      enum lg_phase phase, enum lg_pass_tail tail, uint32_t T, struct lg_acts *a)
{
    *a = carve_acts(c, e, tail, T);
    carve_attention(c, e, phase, T, a);
    carve_lora(c, e, adapters, phase, T, a);
}

static int upload_zeros(struct lg_engine *e, struct lg_view dst)
{
    void *zeros = lg_alloc(e->env, dst.size);
    int rc = zeros ? lg_upload(e->dev, dst, zeros) : lg_fail_nomem(e->env, "counters", dst.size);
    lg_free(e->env, zeros);
    return rc;
}

/** The buffers of a pass and their views. */
static int make_buffers(struct lg_engine *e, struct lg_pass *pass, const struct lg_adapters *adapters,
                        enum lg_phase phase, enum lg_pass_tail tail, uint32_t T)
{
    struct carver c = {.align = lg_max_u32(256, e->dev->info.view_align)};
    carve_all(&c, e, adapters, phase, tail, T, &pass->views);
    if (c.overflow)
        return lg_fail(e->env, LLMGPU_E_NOMEM, "the activations of %u rows are too large", T);
    LG_TRY(lg_buffer_create(e->dev, c.used, LG_MEM_DEVICE, &pass->acts));
    c.buf = pass->acts;
    c.used = 0;
    carve_all(&c, e, adapters, phase, tail, T, &pass->views);
    pass->max_rows = T;
    if (pass->views.done.buf)
        LG_TRY(upload_zeros(e, pass->views.done));
    if (tail != LG_TAIL_SAMPLE_TOP && tail != LG_TAIL_SCORE)
        return 0;
    uint64_t size = (uint64_t)T * (LG_MAX_CANDIDATES + 1) * sizeof(struct lg_candidate);
    LG_TRY(lg_buffer_create(e->dev, size, LG_MEM_READBACK, &pass->top));
    pass->views.top = lg_view_all(pass->top);
    return 0;
}

static void add_tail(struct lg_graph *g, enum lg_pass_tail tail)
{
    if (has_logits(tail))
        lg_head(g);
    switch (tail) {
    case LG_TAIL_NONE: break;
    case LG_TAIL_SAMPLE: lg_sample(g); break;
    case LG_TAIL_SAMPLE_TOP: lg_sample_candidates(g); break;
    case LG_TAIL_SCORE:
        lg_score(g);
        lg_score_candidates(g);
        break;
    case LG_TAIL_EMBED: lg_final_norm(g); break;
    }
}

static int build(struct lg_engine *e, struct lg_pass *pass, const struct lg_adapters *adapters,
                 enum lg_phase phase, enum lg_pass_tail tail, uint32_t T)
{
    LG_TRY(make_buffers(e, pass, adapters, phase, tail, T));
    lg_chain_init(&pass->chain, e->env, e->dev, e->batch.dims);
    struct lg_graph g = {
        .chain = &pass->chain,
        .model = e->model,
        .batch = &e->batch,
        .adapters = adapters,
        .acts = pass->views,
        .tune = e->tune,
        .phase = phase,
        .max_rows = T,
        .int8 = allows(e->tune.int8, tail),
        .half = allows(e->tune.half, tail),
    };
    lg_forward(&g);
    add_tail(&g, tail);
    return lg_chain_compile(&pass->chain, false);
}

int lg_pass_build(struct lg_engine *e, struct lg_pass *pass, const struct lg_adapters *adapters,
                  enum lg_phase phase, enum lg_pass_tail tail, uint32_t T)
{
    if (pass->chain.program && pass->max_rows >= T)
        return 0;
    lg_pass_finish(pass);
    LG_TRY(lg_tune(e));
    int rc = build(e, pass, adapters, phase, tail, T);
    if (rc < 0)
        lg_pass_finish(pass);
    return rc;
}

int lg_pass_build_fine(struct lg_engine *e, struct lg_pass *pass)
{
    if (pass->fine)
        return 0;
    uint32_t n = pass->chain.n_ops;
    uint32_t *cuts = lg_alloc_array(e->env, n, sizeof(*cuts));
    pass->fine_ns = lg_alloc_array(e->env, 2 * (size_t)n, sizeof(*pass->fine_ns));
    int rc = cuts && pass->fine_ns ? 0 : lg_fail_nomem(e->env, "slices", n * sizeof(*pass->fine_ns));
    for (uint32_t i = 1; rc == 0 && i < n; i++)
        cuts[i - 1] = i;
    if (rc == 0)
        rc = lg_chain_record(&pass->chain, cuts, n - 1, e->dev->info.timestamps, &pass->fine);
    lg_free(e->env, cuts);
    if (rc < 0) {
        lg_free(e->env, pass->fine_ns);
        pass->fine_ns = NULL;
    }
    return rc;
}

void lg_pass_finish(struct lg_pass *pass)
{
    lg_program_destroy(pass->fine);
    if (pass->chain.env)
        lg_free(pass->chain.env, pass->fine_ns);
    lg_chain_finish(&pass->chain);
    lg_buffer_destroy(pass->acts);
    lg_buffer_destroy(pass->top);
    memset(pass, 0, sizeof(*pass));
}
