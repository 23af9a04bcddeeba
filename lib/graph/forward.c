/* SPDX-License-Identifier: MIT
 *
 * The decoder-only transformer (Vaswani et al. 2017; Radford et al. 2019; Touvron et al. 2023). On the left what is
 * dispatched, on the right what it means; letters and shapes are those of graph.h.
 */
#include "graph/fused.h"
#include "graph/steps.h"

// clang-format off

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
        const struct lg_layer *l = &w->layers[i];
        lg_chain_mark(g->chain);                                // a slice may begin here
        lg_step_qkv(g, l, i);                                   // q, K[position], V[position] from norm(x)
        lg_op_attention(g, i, a->q, a->a);                      // a = softmax(q K^T / sqrt(D)) V        (T, H*D)
        lg_step_project(g, a->a, &l->wo, &l->bo);               // x = x + a Wo^T + bo
        lg_step_ffn(g, l);                                      // f = silu(norm(x) Wg^T) * norm(x) Wu^T (T, F)
        lg_step_project(g, a->f, &l->down, &l->down_b);         // x = x + f Wd^T + bd
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
    if (lg_fused_head(g))
        return;
    lg_final_norm(g);
    lg_op_linear(g, a->h, &g->model->w.output, NULL, a->logits); // logits = h O^T                       (T, V)
}

// clang-format on
