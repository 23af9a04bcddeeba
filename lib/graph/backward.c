/* SPDX-License-Identifier: MIT
 *
 * forward.c in training, and below it what flows back, in the opposite order. On the left what is dispatched, on the right
 * what it means: dy is what the loss changes by with y.
 */
#include "graph/back_ops.h"
#include "util/checked.h"

/* ---- linear, with what an adapter adds ----------------------------------------------------------------------------- */

static const struct lg_train_pair *pair_of(const struct lg_train_graph *t, const struct lg_weight *w)
{
    const struct lg_train_pair *pair = t->pairs && w->target ? &t->pairs[w->target - 1] : NULL;
    return pair && pair->a.view.buf ? pair : NULL;
}

/** Each dropout has a number of its own: of the matrix, and of the piece of rows. */
static uint32_t site_of(const struct lg_train_graph *t, const struct lg_weight *w)
{
    uint32_t piece = t->g.dim == LG_DIM_ROWS ? 0 : t->g.dim - LG_N_DIMS;
    return (w->target - 1) * t->n_pieces + piece;
}

/** What A is given: x, or what dropout leaves of it. */
static struct lg_view seen_by_a(struct lg_train_graph *t, struct lg_view x, const struct lg_weight *w)
{
    if (t->dropout <= 0)
        return x;
    lg_back_dropout(t, x, t->acts.drop, w->cols, site_of(t, w));
    return t->acts.drop;
}

// clang-format off

/** y = x W^T + b + scale (x A^T) B^T; z is room for the last. */
static void linear(struct lg_train_graph *t, struct lg_view x, const struct lg_weight *w, const struct lg_weight *b,
                   struct lg_view y, struct lg_view z)
{
    struct lg_train_acts *a = &t->acts;
    const struct lg_train_pair *pair = pair_of(t, w);
    lg_train_linear(t, x, w, b, y);                                 // y = x W^T + b
    if (!pair)
        return;
    struct lg_view seen = seen_by_a(t, x, w);
    lg_train_linear(t, seen, &pair->a, NULL, a->low);               // low = x A^T                      (T, rank)
    lg_train_linear(t, a->low, &pair->b, NULL, z);                  // y = y + scale low B^T
    lg_back_scale_add(t, z, y, pair->scale, w->rows);
}

/** dx = or += dy W + scale (dy B) A, where dx has a buffer; W, b, A and B get their gradients. */
static void linear_back(struct lg_train_graph *t, struct lg_view x, const struct lg_weight *w, const struct lg_weight *b,
                        struct lg_view dy, struct lg_view dx, bool add, struct lg_view z)
{
    struct lg_train_acts *a = &t->acts;
    const struct lg_train_pair *pair = pair_of(t, w);
    lg_back_weight(t, x, dy, w, 0, w->rows, 1);                     // dW += dy^T x
    lg_back_bias(t, dy, b);                                         // db += dy
    if (pair) {
        struct lg_view seen = seen_by_a(t, x, w);
        lg_train_linear(t, seen, &pair->a, NULL, a->low);           // low = x A^T, once more           (T, rank)
        lg_back_matmul(t, dy, &pair->b, 0, w->rows, a->dlow, false); // dlow = dy B                     (T, rank)
        lg_back_weight(t, a->low, dy, &pair->b, 0, w->rows, pair->scale);            // dB += scale dy^T low
        lg_back_weight(t, seen, a->dlow, &pair->a, 0, pair->a.rows, pair->scale);    // dA += scale dlow^T x
    }
    if (!dx.buf)
        return;
    lg_back_matmul(t, dy, w, 0, w->rows, dx, add);                  // dx = dy W
    if (!pair)
        return;
    lg_back_matmul(t, a->dlow, &pair->a, 0, pair->a.rows, z, false); // dx = dx + scale dlow A
    if (t->dropout > 0)
        lg_back_dropout(t, z, z, w->cols, site_of(t, w));
    lg_back_scale_add(t, z, dx, pair->scale, w->cols);
}

// clang-format on

/* ---- pieces of the feed-forward network -------------------------------------------------------------------------- */

/** Rows of a piece: of what has n_cols for each of T rows. */
static struct lg_view piece(const struct lg_train_graph *t, struct lg_view v, uint32_t i, uint32_t n_cols)
{
    uint64_t first = (uint64_t)i * t->piece_rows * n_cols * sizeof(float), size = (uint64_t)t->piece_rows * n_cols * 4;
    v.offset += first;
    v.size = size < v.size - first ? size : v.size - first;
    return v;
}

/** Gate and up of a piece, where there is only room for one, or for all. */
static struct lg_view inner(const struct lg_train_graph *t, struct lg_view v, uint32_t i)
{
    return t->again ? v : piece(t, v, i, t->g.model->hp.n_ff);
}

/** Begins with a piece: what follows is of its rows. */
static void begin_piece(struct lg_train_graph *t, uint32_t i)
{
    lg_chain_mark(t->g.chain);
    t->g.dim = LG_N_DIMS + i;
    t->g.max_rows = t->piece_rows;
}

static void end_pieces(struct lg_train_graph *t)
{
    t->g.dim = LG_DIM_ROWS;
    t->g.max_rows = t->g.batch->max_rows;
}

// clang-format off

/** h = norm(x); f = silu(h Wg^T) * h Wu^T, or gelu(h Wu^T) */
static void ffn_inner(struct lg_train_graph *t, const struct lg_layer *l, struct lg_view x, struct lg_view h,
                      struct lg_view gate, struct lg_view up)
{
    struct lg_train_acts *a = &t->acts;
    lg_op_norm(&t->g, x, &l->ffn_norm, &l->ffn_norm_b, h);          // h = norm(x)                          (R, C)
    linear(t, h, &l->up, &l->up_b, up, a->z[1]);                    // u = h Wu^T + bu                      (R, F)
    if (t->g.model->hp.ffn == LG_FFN_SILU_GATED)
        linear(t, h, &l->gate, &l->gate_b, gate, a->z[1]);          // g = h Wg^T + bg                      (R, F)
}

static void ffn_f(struct lg_train_graph *t, struct lg_view gate, struct lg_view up)
{
    if (t->g.model->hp.ffn == LG_FFN_SILU_GATED)
        lg_op_silu_mul(&t->g, gate, up, t->acts.f);                 // f = silu(g) * u                      (R, F)
    else
        lg_op_gelu(&t->g, up, t->acts.f);                           // f = gelu(u)                          (R, F)
}

/** out = mid + ffn(mid), where out has mid already */
static void ffn(struct lg_train_graph *t, uint32_t i, struct lg_view out)
{
    const struct lg_layer *l = &t->g.model->w.layers[i];
    const struct lg_train_kept *kept = &t->acts.kept[i];
    uint32_t C = t->g.model->hp.n_embd;
    for (uint32_t p = 0; p < t->n_pieces; p++) {
        struct lg_view x = piece(t, out, p, C), h = piece(t, t->acts.h, p, C);
        struct lg_view gate = inner(t, kept->gate, p), up = inner(t, kept->up, p);
        begin_piece(t, p);
        ffn_inner(t, l, x, h, gate, up);
        ffn_f(t, gate, up);
        linear(t, t->acts.f, &l->down, &l->down_b, h, t->acts.z[1]); // x = x + f Wd^T + bd                 (R, C)
        lg_op_add(&t->g, x, h, C);
    }
    end_pieces(t);
}

/** dx of mid from that of what comes out of the layer */
static void ffn_back(struct lg_train_graph *t, uint32_t i)
{
    struct lg_train_acts *a = &t->acts;
    const struct lg_layer *l = &t->g.model->w.layers[i];
    const struct lg_train_kept *kept = &a->kept[i];
    uint32_t C = t->g.model->hp.n_embd;
    for (uint32_t p = 0; p < t->n_pieces; p++) {
        struct lg_view x = piece(t, kept->mid, p, C), h = piece(t, a->h, p, C);
        struct lg_view dx = piece(t, a->dx, p, C), dh = piece(t, a->dh, p, C);
        struct lg_view gate = inner(t, kept->gate, p), up = inner(t, kept->up, p), z = a->z[1];
        begin_piece(t, p);
        if (t->again)
            ffn_inner(t, l, x, h, gate, up);
        else
            lg_op_norm(&t->g, x, &l->ffn_norm, &l->ffn_norm_b, h);
        ffn_f(t, gate, up);
        linear_back(t, a->f, &l->down, &l->down_b, dx, a->df, false, z); // df = dx Wd                      (R, F)
        if (t->g.model->hp.ffn == LG_FFN_SILU_GATED) {
            lg_back_silu_mul(t, gate, up, a->df);                   // dg = df u silu'(g), du = df silu(g)
            linear_back(t, h, &l->gate, &l->gate_b, gate, dh, false, z); // dh = dg Wg + du Wu              (R, C)
            linear_back(t, h, &l->up, &l->up_b, up, dh, true, z);
        } else {
            lg_back_gelu(t, up, a->df);                             // du = df gelu'(u)
            linear_back(t, h, &l->up, &l->up_b, a->df, dh, false, z);
        }
        lg_back_norm(t, x, &l->ffn_norm, &l->ffn_norm_b, dh, dx);   // dx = dx + dh norm'(x)                (R, C)
    }
    end_pieces(t);
}

/* ---- attention ------------------------------------------------------------------------------------------------------ */

/** mid = x + attention(norm(x)) */
static void attention(struct lg_train_graph *t, uint32_t i, struct lg_view mid)
{
    struct lg_train_acts *a = &t->acts;
    const struct lg_hparams *hp = &t->g.model->hp;
    const struct lg_layer *l = &t->g.model->w.layers[i];
    const struct lg_train_kept *kept = &a->kept[i];
    lg_chain_mark(t->g.chain);
    lg_op_norm(&t->g, a->x[i], &l->attn_norm, &l->attn_norm_b, a->h); // h = norm(x)                        (T, C)
    linear(t, a->h, &l->wq, &l->bq, kept->q, a->z[0]);              // q = h Wq^T + bq                      (T, H*D)
    linear(t, a->h, &l->wk, &l->bk, kept->k, a->z[0]);              // k = h Wk^T + bk                      (T, n_kv*D)
    linear(t, a->h, &l->wv, &l->bv, kept->v, a->z[0]);              // v = h Wv^T + bv                      (T, n_kv*D)
    lg_op_rope(&t->g, kept->q, hp->n_heads);                        // q, k rotated by their positions
    lg_op_rope(&t->g, kept->k, hp->n_kv);
    lg_train_attention(t, kept);                                    // a = softmax(q k^T / sqrt(D)) v       (T, H*D)
    linear(t, kept->a, &l->wo, &l->bo, a->h, a->z[0]);              // mid = x + a Wo^T + bo                (T, C)
    lg_op_copy(&t->g, a->x[i], mid, hp->n_embd);
    lg_op_add(&t->g, mid, a->h, hp->n_embd);
}

/** dx of x from that of mid; nothing below the first layer of an adapter needs it. */
static void attention_back(struct lg_train_graph *t, uint32_t i)
{
    struct lg_train_acts *a = &t->acts;
    const struct lg_hparams *hp = &t->g.model->hp;
    const struct lg_layer *l = &t->g.model->w.layers[i];
    const struct lg_train_kept *kept = &a->kept[i];
    bool last = i == 0 && t->pairs;
    struct lg_view dh = last ? (struct lg_view){0} : a->dh, z = a->z[0];
    lg_chain_mark(t->g.chain);
    linear_back(t, kept->a, &l->wo, &l->bo, a->dx, a->dh, false, z); // da = dx Wo                          (T, H*D)
    lg_back_attention(t, kept, a->dh);                              // dq, dk, dv
    lg_back_rope(t, a->dq, hp->n_heads);                            // rotated back
    lg_back_rope(t, a->dk, hp->n_kv);
    lg_op_norm(&t->g, a->x[i], &l->attn_norm, &l->attn_norm_b, a->h);
    linear_back(t, a->h, &l->wq, &l->bq, a->dq, dh, false, z);      // dh = dq Wq + dk Wk + dv Wv           (T, C)
    linear_back(t, a->h, &l->wk, &l->bk, a->dk, dh, true, z);
    linear_back(t, a->h, &l->wv, &l->bv, a->dv, dh, true, z);
    if (!last)
        lg_back_norm(t, a->x[i], &l->attn_norm, &l->attn_norm_b, a->dh, a->dx); // dx = dx + dh norm'(x)    (T, C)
}

/* ---- the whole -------------------------------------------------------------------------------------------------- */

/** The loss of the rows that have targets, by parts of the vocabulary; dx, which nothing is in yet, has what they are. */
static void head(struct lg_train_graph *t)
{
    struct lg_train_acts *a = &t->acts;
    const struct lg_weights *w = &t->g.model->w;
    uint32_t L = t->g.model->hp.n_layers, V = t->g.model->hp.n_vocab;
    lg_op_norm(&t->g, a->x[L], &w->out_norm, &w->out_norm_b, a->h); // h = norm(x)                          (T, C)
    t->g.dim = LG_DIM_OUT;
    lg_train_gather(t, a->h, a->dx);                                // h of the rows with targets           (T_out, C)
    for (uint32_t v = 0; v < V; v += t->part_rows) {
        uint32_t n = lg_min_u32(t->part_rows, V - v);
        lg_chain_mark(t->g.chain);
        lg_back_logits(t, a->dx, &w->output, v, n, a->logits);      // logits = h O^T                       (T_out, P)
        lg_back_loss_part(t, a->logits, v, n);                      // maximum, sum of exp, the target's
    }
    lg_back_loss_rows(t);                                           // loss = log sum exp(logits) - target's
    t->g.dim = LG_DIM_ROWS;
}

static void head_back(struct lg_train_graph *t)
{
    struct lg_train_acts *a = &t->acts;
    const struct lg_weights *w = &t->g.model->w;
    uint32_t L = t->g.model->hp.n_layers, V = t->g.model->hp.n_vocab, C = t->g.model->hp.n_embd;
    lg_back_zero(t, a->h, C);
    t->g.dim = LG_DIM_OUT;
    for (uint32_t v = 0; v < V; v += t->part_rows) {
        uint32_t n = lg_min_u32(t->part_rows, V - v);
        lg_chain_mark(t->g.chain);
        if (t->part_rows < V)
            lg_back_logits(t, a->dx, &w->output, v, n, a->logits);  // once more, but for the only one
        lg_back_loss(t, a->logits, v, n);                           // dlogits = (softmax - onehot) / targets
        lg_back_weight(t, a->dx, a->logits, &w->output, v, n, 1);   // dO += dlogits^T h
        lg_back_matmul(t, a->logits, &w->output, v, n, a->dh, v > 0); // dh = dlogits O                     (T_out, C)
    }
    lg_back_gather(t, a->dh, a->h);                                 // of all rows, others have none        (T, C)
    t->g.dim = LG_DIM_ROWS;
    lg_back_zero(t, a->dx, C);
    lg_back_norm(t, a->x[L], &w->out_norm, &w->out_norm_b, a->h, a->dx); // dx = dh norm'(x)                (T, C)
}

void lg_train_forward(struct lg_train_graph *t)
{
    const struct lg_weights *w = &t->g.model->w;
    struct lg_train_acts *a = &t->acts;
    end_pieces(t);
    lg_op_embed(&t->g, &w->tok_embd, LG_ROW_TOKEN, a->x[0]);        // x = E[token]                         (T, C)
    if (w->pos_embd.view.buf) {
        lg_op_embed(&t->g, &w->pos_embd, LG_ROW_POS, a->h);         // x = x + P[position]
        lg_op_add(&t->g, a->x[0], a->h, t->g.model->hp.n_embd);
    }
    for (uint32_t i = 0; i < t->g.model->hp.n_layers; i++) {
        attention(t, i, t->again ? a->x[i + 1] : a->kept[i].mid);
        if (!t->again)
            lg_op_copy(&t->g, a->kept[i].mid, a->x[i + 1], t->g.model->hp.n_embd);
        ffn(t, i, a->x[i + 1]);
    }
    head(t);
}

void lg_train_backward(struct lg_train_graph *t)
{
    const struct lg_weights *w = &t->g.model->w;
    struct lg_train_acts *a = &t->acts;
    lg_chain_mark(t->g.chain);
    t->back_slice = t->g.chain->n_marks;
    head_back(t);
    for (uint32_t i = t->g.model->hp.n_layers; i-- > 0;) {
        if (t->again)
            attention(t, i, a->kept[i].mid);
        ffn_back(t, i);
        attention_back(t, i);
    }
    lg_back_embed(t, &w->tok_embd, LG_ROW_TOKEN, t->order[0], a->dx); // dE[token] += dx
    if (w->pos_embd.view.buf)
        lg_back_embed(t, &w->pos_embd, LG_ROW_POS, t->order[1], a->dx); // dP[position] += dx
}

// clang-format on
