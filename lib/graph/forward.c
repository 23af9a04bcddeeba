/* SPDX-License-Identifier: MIT
 *
 * The decoder-only transformer (Vaswani et al. 2017; Radford et al. 2019; Touvron et al. 2023). On the left what is
 * dispatched, on the right what it means; letters and shapes are those of graph.h.
 */
#include "graph/ops.h"

// clang-format off

static void attention(struct lg_graph *g, const struct lg_layer *l, uint32_t layer)
{
    const struct lg_hparams *hp = &g->model->hp;
    struct lg_acts *a = &g->acts;
    lg_op_norm(g, a->x, &l->attn_norm, &l->attn_norm_b, a->h);  // h = norm(x)                           (T, C)
    lg_op_linear(g, a->h, &l->wq, &l->bq, a->q);                // q = h Wq^T + bq                       (T, H*D)
    lg_op_linear(g, a->h, &l->wk, &l->bk, a->k);                // k = h Wk^T + bk                       (T, n_kv*D)
    lg_op_linear(g, a->h, &l->wv, &l->bv, a->v);                // v = h Wv^T + bv                       (T, n_kv*D)
    lg_op_rope(g, a->q, hp->n_heads);                           // q, k rotated by their positions
    lg_op_rope(g, a->k, hp->n_kv);
    lg_op_kv_write(g, layer, a->k, a->v);                       // K[position], V[position] = k, v
    lg_op_attention(g, layer, a->q, a->a);                      // a = softmax(q K^T / sqrt(D)) V        (T, H*D)
    lg_op_linear(g, a->a, &l->wo, &l->bo, a->h);                // h = a Wo^T + bo                       (T, C)
    lg_op_add(g, a->x, a->h, hp->n_embd);                       // x = x + h
}

static void feed_forward(struct lg_graph *g, const struct lg_layer *l)
{
    const struct lg_hparams *hp = &g->model->hp;
    struct lg_acts *a = &g->acts;
    lg_op_norm(g, a->x, &l->ffn_norm, &l->ffn_norm_b, a->h);    // h = norm(x)                           (T, C)
    lg_op_linear(g, a->h, &l->up, &l->up_b, a->up);             // u = h Wu^T + bu                       (T, F)
    if (hp->ffn == LG_FFN_SILU_GATED) {
        lg_op_linear(g, a->h, &l->gate, &l->gate_b, a->gate);   // f = silu(h Wg^T + bg) * u             (T, F)
        lg_op_silu_mul(g, a->gate, a->up, a->f);
    } else {
        lg_op_gelu(g, a->up, a->f);                             // f = gelu(u)                           (T, F)
    }
    lg_op_linear(g, a->f, &l->down, &l->down_b, a->h);          // h = f Wd^T + bd                       (T, C)
    lg_op_add(g, a->x, a->h, hp->n_embd);                       // x = x + h
}

void lg_forward(struct lg_graph *g)
{
    const struct lg_weights *w = &g->model->w;
    struct lg_acts *a = &g->acts;
    g->dim = LG_DIM_ROWS;
    lg_op_embed(g, &w->tok_embd, LG_ROW_TOKEN, a->x);           // x = E[token]                          (T, C)
    if (w->pos_embd.view.buf) {
        lg_op_embed(g, &w->pos_embd, LG_ROW_POS, a->h);         // x = x + P[position]
        lg_op_add(g, a->x, a->h, g->model->hp.n_embd);
    }
    for (uint32_t i = 0; i < g->model->hp.n_layers; i++) {
        lg_chain_mark(g->chain);                                // a slice may begin here
        attention(g, &w->layers[i], i);
        feed_forward(g, &w->layers[i]);
    }
}

void lg_final_norm(struct lg_graph *g)
{
    const struct lg_weights *w = &g->model->w;
    struct lg_acts *a = &g->acts;
    g->dim = LG_DIM_OUT;
    lg_chain_mark(g->chain);
    lg_op_norm(g, a->x, &w->out_norm, &w->out_norm_b, a->h);    // h = norm(x)                           (T, C)
}

void lg_head(struct lg_graph *g)
{
    struct lg_acts *a = &g->acts;
    lg_final_norm(g);
    lg_op_linear(g, a->h, &g->model->w.output, NULL, a->logits); // logits = h O^T                       (T, V)
}

// clang-format on
