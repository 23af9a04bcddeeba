/* SPDX-License-Identifier: MIT
 *
 * A trainer's buffers. All is carved twice: first without buffers, which says what it takes, then for good.
 *
 * What is computed in pieces shares a place: the inner activations of a piece of the feed-forward network, the logits of a part
 * of the vocabulary, and on the way back through attention the gradients of q, k and v.
 */
#include <string.h>

#include "runtime/engine.h"
#include "train/trainer.h"
#include "util/checked.h"

enum {
    PIECE_STEP = 64,     // rows; their views begin where every device lets them
    PART_STEP = 256,     // tokens, the same
    SMALL_SCRATCH = 6 << 20,
    LARGE_LOGITS = 256 << 20,
};

/** Cuts views out of a buffer; without one it learns the size. */
struct carver {
    struct lg_buffer *buf;
    uint64_t at, end; // and how far it ever was
    uint32_t align;
    bool overflow;
};

static struct lg_view carve(struct carver *c, uint64_t rows, uint64_t cols)
{
    uint64_t n, size, end;
    if (!lg_mul_u64(rows, cols, &n) || !lg_mul_u64(n, sizeof(float), &size) || !lg_align_u64(size, c->align, &end) ||
        !lg_add_u64(c->at, end, &end)) {
        c->overflow = true;
        return (struct lg_view){0};
    }
    struct lg_view v = {.buf = c->buf, .offset = c->at, .size = size};
    c->at = end;
    c->end = lg_max_u64(c->end, end);
    return v;
}

/** Widths, with the names of graph.h. */
struct widths {
    uint64_t T, R, P, C, F, Q, KV, H, rank;
};

static struct widths widths_of(const struct lg_trainer *t)
{
    const struct lg_hparams *hp = &t->model->hp;
    return (struct widths){
        .T = t->how.max_rows,
        .R = t->room.piece_rows,
        .P = t->room.part_rows,
        .C = hp->n_embd,
        .F = hp->n_ff,
        .Q = (uint64_t)hp->n_heads * hp->head_dim,
        .KV = (uint64_t)hp->n_kv * hp->head_dim,
        .H = hp->n_heads,
        .rank = t->params.rank,
    };
}

/** What is kept of a layer, where it is. */
static void carve_kept(struct carver *c, const struct widths *w, uint64_t inner_rows, struct lg_train_kept *kept)
{
    kept->mid = carve(c, w->T, w->C);
    kept->q = carve(c, w->T, w->Q);
    kept->k = carve(c, w->T, w->KV);
    kept->v = carve(c, w->T, w->KV);
    kept->a = carve(c, w->T, w->Q);
    kept->lse = carve(c, w->T, w->H);
    if (inner_rows == 0)
        return;
    kept->gate = carve(c, inner_rows, w->F);
    kept->up = carve(c, inner_rows, w->F);
}

/** What shares a place; `kept` is where gate and up belong that are computed again. */
static void carve_shared(struct carver *c, const struct lg_trainer *t, const struct widths *w, struct lg_train_acts *a,
                         struct lg_train_kept *kept)
{
    uint64_t begin = c->at, wide = lg_max_u64(w->C, w->Q);
    if (kept) {
        kept->gate = carve(c, w->R, w->F);
        kept->up = carve(c, w->R, w->F);
    }
    a->f = carve(c, w->R, lg_max_u64(w->F, w->C));
    a->z[1] = a->f; // free whenever an adapter adds something
    a->df = carve(c, w->R, w->F);
    c->at = begin;
    a->logits = carve(c, w->T, w->P);
    c->at = begin;
    if (t->params.pairs)
        a->z[0] = carve(c, w->T, wide);
    a->dq = carve(c, w->T, w->Q);
    a->dk = carve(c, w->T, w->KV);
    a->dv = carve(c, w->T, w->KV);
    c->at = c->end;
}

static void carve_scratch(struct carver *c, const struct lg_trainer *t, struct lg_train_acts *a, struct lg_train_kept *kept)
{
    struct widths w = widths_of(t);
    uint64_t wide = lg_max_u64(w.C, w.Q);
    a->h = carve(c, w.T, w.C);
    a->dx = carve(c, w.T, w.C);
    a->dh = carve(c, w.T, wide);
    a->delta = carve(c, w.T, w.H);
    a->norm = carve(c, w.T, 2);
    a->state = carve(c, w.T, sizeof(struct lg_loss_state) / sizeof(float));
    a->sums = carve(c, 1, lg_train_sums(&t->model->dev->info, t->params.n));
    if (t->params.pairs) {
        a->low = carve(c, w.T, w.rank);
        a->dlow = carve(c, w.T, w.rank);
    }
    if (t->how.dropout > 0)
        a->drop = carve(c, 1, lg_max_u64(w.T * wide, w.R * w.F));
    if (kept)
        carve_kept(c, &w, 0, kept);
    carve_shared(c, t, &w, a, kept);
}

static struct carver carver_of(const struct lg_trainer *t, struct lg_buffer *buf)
{
    return (struct carver){.buf = buf, .align = lg_max_u32(256, t->model->dev->info.view_align)};
}

/** Bytes that a layer's buffer takes: what comes in, and perhaps what else is kept. */
static int layer_bytes(const struct lg_trainer *t, uint64_t *out)
{
    struct widths w = widths_of(t);
    struct carver c = carver_of(t, NULL);
    struct lg_train_kept kept;
    carve(&c, w.T, w.C);
    if (!t->how.checkpoint)
        carve_kept(&c, &w, w.T, &kept);
    *out = c.end;
    return c.overflow ? lg_fail(t->env, LLMGPU_E_NOMEM, "the activations of %u rows are too large", t->how.max_rows) : 0;
}

static int scratch_bytes(const struct lg_trainer *t, uint64_t *out)
{
    struct carver c = carver_of(t, NULL);
    struct lg_train_acts acts;
    struct lg_train_kept kept;
    carve_scratch(&c, t, &acts, t->how.checkpoint ? &kept : NULL);
    *out = c.end;
    return c.overflow ? lg_fail(t->env, LLMGPU_E_NOMEM, "the activations of %u rows are too large", t->how.max_rows) : 0;
}

/** Rows of a piece and tokens of a part so that neither takes more than is given, or is smaller than makes sense. */
static void choose_pieces(const struct lg_trainer *t, struct lg_train_room *room)
{
    const struct lg_hparams *hp = &t->model->hp;
    uint64_t T = t->how.max_rows, given = t->how.scratch, view = t->model->dev->info.max_view_size;
    uint64_t inner = (t->how.checkpoint ? 4 : 2) * sizeof(float) * hp->n_ff;
    if (given == 0)
        given = t->how.checkpoint ? SMALL_SCRATCH : UINT64_MAX / 2;
    uint64_t rows = lg_min_u64(given / inner, view / (hp->n_ff * sizeof(float))) / PIECE_STEP * PIECE_STEP;
    room->piece_rows = (uint32_t)lg_min_u64(T, lg_max_u64(rows, PIECE_STEP));
    // Where as much may be taken as makes one piece, logits, which are many, are still not whole.
    uint64_t logits = t->how.checkpoint || t->how.scratch ? given : LARGE_LOGITS;
    uint64_t tokens = lg_min_u64(logits, view) / (T * sizeof(float)) / PART_STEP * PART_STEP;
    room->part_rows = (uint32_t)lg_min_u64(hp->n_vocab, lg_max_u64(tokens, PART_STEP));
}

/** About how many dispatches the chain has. */
static uint64_t n_dispatches(const struct lg_trainer *t, const struct lg_train_room *room)
{
    uint64_t pieces = lg_div_up(t->how.max_rows, room->piece_rows), parts = lg_div_up(t->model->hp.n_vocab, room->part_rows);
    uint64_t layer = t->params.pairs ? 100 : 60, piece = t->params.pairs ? 55 : 30;
    return t->model->hp.n_layers * (layer + pieces * piece) + parts * 6;
}

int lg_train_room_plan(const struct lg_trainer *t, struct lg_train_room *out)
{
    struct lg_trainer planned = *t;
    struct lg_train_room *room = &planned.room;
    const struct lg_hparams *hp = &t->model->hp;
    uint64_t n = t->params.n, T = t->how.max_rows, layer;
    choose_pieces(t, room);
    room->state = 2 * n * sizeof(float) + lg_train_factor_bytes(t->how.optimizer, n);
    for (uint32_t i = 0; i < 2; i++)
        room->state += lg_train_moment_bytes(t->how.optimizer, i, n);
    LG_TRY(layer_bytes(&planned, &layer));
    LG_TRY(scratch_bytes(&planned, &room->scratch));
    room->kept = layer * hp->n_layers + T * hp->n_embd * sizeof(float);
    room->rest = T * (sizeof(struct lg_row) + 6 * sizeof(uint32_t)) + n_dispatches(t, room) * 48;
    if (hp->rope != LG_ROPE_NONE)
        room->rest += T * hp->n_rot * sizeof(float);
    *out = *room;
    return 0;
}

/* ---- taking it ------------------------------------------------------------------------------------------------------- */

/** A buffer of activations; they need not be zeros, but a NaN that was there before must not get into sums. */
static int add_buffer(struct lg_trainer *t, uint64_t size, struct lg_buffer **out)
{
    LG_TRY(lg_buffer_create(t->dev, size, LG_MEM_DEVICE, &t->bufs[t->n_bufs]));
    *out = t->bufs[t->n_bufs++];
    return 0;
}

static int take_acts(struct lg_trainer *t)
{
    struct widths w = widths_of(t);
    struct lg_train_acts *a = &t->acts;
    uint32_t L = t->model->hp.n_layers;
    uint64_t layer, scratch;
    struct lg_buffer *buf;
    t->bufs = lg_alloc_array(t->env, (size_t)L + 2, sizeof(struct lg_buffer *));
    a->x = lg_alloc_array(t->env, (size_t)L + 1, sizeof(*a->x));
    a->kept = lg_alloc_array(t->env, L, sizeof(*a->kept));
    if (!t->bufs || !a->x || !a->kept)
        return lg_fail_nomem(t->env, "the list of activations", L * sizeof(*a->kept));
    LG_TRY(layer_bytes(t, &layer));
    LG_TRY(scratch_bytes(t, &scratch));
    for (uint32_t i = 0; i < L; i++) {
        LG_TRY(add_buffer(t, layer, &buf));
        struct carver c = carver_of(t, buf);
        a->x[i] = carve(&c, w.T, w.C);
        if (!t->how.checkpoint)
            carve_kept(&c, &w, w.T, &a->kept[i]);
    }
    LG_TRY(add_buffer(t, w.T * w.C * sizeof(float), &buf));
    a->x[L] = lg_view_all(buf);
    LG_TRY(add_buffer(t, scratch, &buf));
    struct carver c = carver_of(t, buf);
    struct lg_train_kept again;
    carve_scratch(&c, t, a, t->how.checkpoint ? &again : NULL);
    for (uint32_t i = 0; i < L && t->how.checkpoint; i++)
        a->kept[i] = again;
    LG_TRY(lg_buffer_create(t->dev, w.T * sizeof(float), LG_MEM_READBACK, &buf));
    a->losses = lg_view_all(buf);
    return 0;
}

static int take_state(struct lg_trainer *t)
{
    struct lg_train_state *s = &t->graph.state;
    uint64_t n = t->params.n;
    *s = (struct lg_train_state){
        .n = n,
        .optimizer = t->how.optimizer,
        .beta1 = t->how.beta1,
        .beta2 = t->how.beta2,
        .eps = t->how.eps,
        .momentum = t->how.momentum,
        .weight_decay = t->how.weight_decay,
    };
    uint64_t second = lg_train_moment_bytes(s->optimizer, 1, n), factors = lg_train_factor_bytes(s->optimizer, n);
    LG_TRY(lg_buffer_create(t->dev, n * sizeof(float), LG_MEM_DEVICE, &s->params));
    LG_TRY(lg_buffer_create(t->dev, n * sizeof(float), LG_MEM_DEVICE, &s->grads));
    LG_TRY(lg_buffer_create(t->dev, lg_train_moment_bytes(s->optimizer, 0, n), LG_MEM_DEVICE, &s->m));
    if (second)
        LG_TRY(lg_buffer_create(t->dev, second, LG_MEM_DEVICE, &s->v));
    if (factors)
        LG_TRY(lg_buffer_create(t->dev, factors, LG_MEM_DEVICE, &s->factors));
    return 0;
}

static int take_batch(struct lg_trainer *t)
{
    struct lg_batch *b = &t->batch;
    uint64_t T = t->how.max_rows;
    uint32_t n_pieces = lg_div_up(t->how.max_rows, t->room.piece_rows);
    b->max_rows = t->how.max_rows;
    LG_TRY(lg_buffer_create(t->dev, (LG_N_DIMS + n_pieces) * sizeof(uint32_t), LG_MEM_SHARED, &b->dims));
    LG_TRY(lg_buffer_create(t->dev, T * sizeof(struct lg_row), LG_MEM_SHARED, &b->rows));
    LG_TRY(lg_buffer_create(t->dev, T * sizeof(uint32_t), LG_MEM_SHARED, &b->targets));
    LG_TRY(lg_buffer_create(t->dev, T * sizeof(uint32_t), LG_MEM_SHARED, &b->out_ids));
    LG_TRY(lg_buffer_create(t->dev, T * sizeof(uint32_t), LG_MEM_SHARED, &t->graph.in_order));
    for (uint32_t i = 0; i < T; i++)
        ((uint32_t *)t->graph.in_order->map)[i] = i;
    LG_TRY(lg_rope_create(t->env, t->model, t->how.max_rows, &b->rope));
    LG_TRY(lg_buffer_create(t->dev, sizeof(struct lg_train_step), LG_MEM_SHARED, &t->graph.step));
    LG_TRY(lg_buffer_create(t->dev, sizeof(struct lg_train_norm), LG_MEM_READBACK, &t->graph.norm));
    for (int i = 0; i < 2 && t->how.whole; i++)
        LG_TRY(lg_buffer_create(t->dev, T * sizeof(uint32_t), LG_MEM_SHARED, &t->graph.order[i]));
    return 0;
}

int lg_train_room_take(struct lg_trainer *t)
{
    uint64_t before = t->dev->stats.memory_used;
    LG_TRY(take_state(t));
    LG_TRY(take_batch(t));
    LG_TRY(take_acts(t));
    t->device_bytes = t->dev->stats.memory_used - before;
    return 0;
}

void lg_train_room_free(struct lg_trainer *t)
{
    struct lg_train_state *s = &t->graph.state;
    struct lg_buffer *bufs[] = {s->params,        s->grads,     s->m,           s->v,          s->factors,
                                t->batch.dims,    t->batch.rows, t->batch.targets, t->batch.rope, t->graph.step,
                                t->batch.out_ids, t->graph.in_order, t->graph.norm, t->graph.order[0], t->graph.order[1], t->acts.losses.buf};
    for (size_t i = 0; i < sizeof(bufs) / sizeof(bufs[0]); i++)
        lg_buffer_destroy(bufs[i]);
    for (uint32_t i = 0; i < t->n_bufs; i++)
        lg_buffer_destroy(t->bufs[i]);
    lg_free(t->env, t->bufs);
    lg_free(t->env, t->acts.x);
    lg_free(t->env, t->acts.kept);
}
