/* SPDX-License-Identifier: MIT */
#include "runtime/pass.h"

#include <string.h>

#include "util/checked.h"
#include "util/clock.h"

/** A submission that can be cancelled between slices should be over in about this time. */
#define SUBMIT_NS UINT64_C(25000000)

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

static struct lg_acts carve_acts(struct carver *c, const struct lg_hparams *hp, enum lg_pass_tail tail,
                                 uint32_t T)
{
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
    if (tail != LG_TAIL_NONE) {
        a.logits = carve(c, T, hp->n_vocab);
        a.best = carve(c, T, 2);
        a.log_probs = carve(c, T, 1);
    }
    return a;
}

static int build(struct lg_engine *e, struct lg_pass *pass, enum lg_phase phase, enum lg_pass_tail tail,
                 uint32_t T)
{
    struct carver c = {.align = lg_max_u32(256, e->dev->info.view_align)};
    carve_acts(&c, &e->model->hp, tail, T);
    if (c.overflow)
        return lg_fail(e->env, LLMGPU_E_NOMEM, "the activations of %u rows are too large", T);
    LG_TRY(lg_buffer_create(e->dev, c.used, LG_MEM_DEVICE, &pass->acts));
    c.buf = pass->acts;
    c.used = 0;
    pass->views = carve_acts(&c, &e->model->hp, tail, T);
    pass->max_rows = T;

    lg_chain_init(&pass->chain, e->env, e->dev, e->batch.dims);
    struct lg_graph g = {
        .chain = &pass->chain,
        .model = e->model,
        .batch = &e->batch,
        .acts = pass->views,
        .tune = e->tune,
        .phase = phase,
    };
    lg_forward(&g);
    if (tail != LG_TAIL_NONE)
        lg_head(&g);
    if (tail == LG_TAIL_SAMPLE)
        lg_sample(&g);
    if (tail == LG_TAIL_SCORE)
        lg_score(&g);
    return lg_chain_compile(&pass->chain, false);
}

int lg_pass_build(struct lg_engine *e, struct lg_pass *pass, enum lg_phase phase, enum lg_pass_tail tail,
                  uint32_t T)
{
    if (pass->chain.program)
        return 0;
    int rc = build(e, pass, phase, tail, T);
    if (rc < 0)
        lg_pass_finish(pass);
    return rc;
}

void lg_pass_finish(struct lg_pass *pass)
{
    lg_chain_finish(&pass->chain);
    lg_buffer_destroy(pass->acts);
    memset(pass, 0, sizeof(*pass));
}

/** Submits some slices and sleeps until they are done. */
static int run(struct lg_engine *e, struct lg_pass *pass, uint32_t first, uint32_t n, uint32_t repeat)
{
    uint64_t ticket;
    LG_TRY(lg_program_submit(pass->chain.program, first, n, repeat, &ticket));
    return lg_device_wait(e->dev, ticket, UINT64_MAX);
}

/**
 * Runs a long pass in submissions of about SUBMIT_NS, so that it can be stopped between them and stays under
 * a driver's watchdog. How many slices that is, is learned from the time the last ones took.
 */
static int run_sliced(struct lg_engine *e, struct lg_pass *pass, const struct lg_stop *stop)
{
    uint32_t n_slices = pass->chain.program->n_slices, n;
    for (uint32_t first = 0; first < n_slices; first += n) {
        if (stop && atomic_load(stop->cancelled))
            return lg_fail(e->env, LLMGPU_E_CANCELLED, "cancelled");
        n = lg_min_u32(lg_max_u32(pass->slices_per_submit, 1), n_slices - first);
        uint64_t begin = lg_now_ns();
        LG_TRY(run(e, pass, first, n, 1));
        uint64_t each = (lg_now_ns() - begin) / n + 1;
        pass->slices_per_submit = (uint32_t)(SUBMIT_NS / each < n_slices ? SUBMIT_NS / each : n_slices);
    }
    return 0;
}

static void write_dims(struct lg_engine *e, uint32_t rows, uint32_t out, uint32_t sample, uint32_t score)
{
    uint32_t *dims = e->batch.dims->map;
    memset(dims, 0, LG_N_DIMS * sizeof(*dims));
    dims[LG_DIM_ROWS] = rows;
    dims[LG_DIM_OUT] = out;
    dims[LG_DIM_SAMPLE] = sample;
    dims[LG_DIM_SCORE] = score;
}

static void write_rows(struct lg_engine *e, uint32_t slot, const int32_t *tokens, uint32_t n, uint32_t pos)
{
    struct lg_row *rows = e->batch.rows->map;
    uint32_t *out_ids = e->batch.out_ids->map;
    for (uint32_t i = 0; i < n; i++) {
        rows[i] = (struct lg_row){.token = (uint32_t)tokens[i], .pos = pos + i, .slot = slot};
        out_ids[i] = i;
    }
}

int lg_engine_prefill(struct lg_engine *e, uint32_t slot, const int32_t *tokens, uint32_t n, uint32_t pos,
                      const struct lg_stop *stop)
{
    LG_TRY(lg_pass_build(e, &e->prefill, LG_PREFILL, LG_TAIL_NONE, e->batch.max_rows));
    write_rows(e, slot, tokens, n, pos);
    write_dims(e, n, 0, 0, 0);
    return run_sliced(e, &e->prefill, stop);
}

int lg_engine_decode(struct lg_engine *e, uint32_t slot, int32_t token, uint32_t pos, uint32_t repeat)
{
    LG_TRY(lg_pass_build(e, &e->decode, LG_DECODE, LG_TAIL_SAMPLE, 1));
    write_rows(e, slot, &token, 1, pos);
    write_dims(e, 1, 1, 1, 0);
    return run(e, &e->decode, 0, e->decode.chain.program->n_slices, repeat);
}

uint32_t lg_engine_score_rows(const struct lg_engine *e)
{
    uint64_t limit =
        LG_MAX_SCORE_BYTES < e->dev->info.max_view_size ? LG_MAX_SCORE_BYTES : e->dev->info.max_view_size;
    uint64_t rows = limit / (e->model->hp.n_vocab * sizeof(float));
    return lg_max_u32(1, lg_min_u32(e->batch.max_rows, (uint32_t)rows));
}

int lg_engine_score(struct lg_engine *e, uint32_t slot, const int32_t *tokens, uint32_t n, uint32_t pos,
                    const int32_t *targets, uint32_t n_targets, float *log_probs, float *logits,
                    const struct lg_stop *stop)
{
    LG_TRY(lg_pass_build(e, &e->score, LG_PREFILL, LG_TAIL_SCORE, lg_engine_score_rows(e)));
    if (!log_probs)
        n_targets = 0;
    write_rows(e, slot, tokens, n, pos);
    write_dims(e, n, n, 0, n_targets);
    if (n_targets)
        memcpy(e->batch.targets->map, targets, n_targets * sizeof(*targets));
    LG_TRY(run_sliced(e, &e->score, stop));
    struct lg_view v = e->score.views.log_probs;
    v.size = n_targets * sizeof(float);
    if (n_targets)
        LG_TRY(lg_download(e->dev, v, log_probs));
    v = e->score.views.logits;
    v.size = (uint64_t)n * e->model->hp.n_vocab * sizeof(float);
    return logits ? lg_download(e->dev, v, logits) : 0;
}
