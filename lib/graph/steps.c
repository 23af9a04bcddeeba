/* SPDX-License-Identifier: MIT */
#include "graph/steps.h"

#include "graph/fused.h"

// clang-format off

void lg_step_qkv(struct lg_graph *g, const struct lg_layer *l, uint32_t layer)
{
    const struct lg_hparams *hp = &g->model->hp;
    struct lg_acts *a = &g->acts;
    const struct lg_weight *const w[] = {&l->wq, &l->wk, &l->wv};
    if (lg_fused_qkv(g, l, layer))
        return;
    lg_op_norm(g, a->x, &l->attn_norm, &l->attn_norm_b, a->h);  // h = norm(x)                           (T, C)
    lg_op_lora_down(g, a->h, w, 3);
    lg_op_linear(g, a->h, &l->wq, &l->bq, a->q);                // q = h Wq^T + bq                       (T, H*D)
    lg_op_linear(g, a->h, &l->wk, &l->bk, a->k);                // k = h Wk^T + bk                       (T, n_kv*D)
    lg_op_linear(g, a->h, &l->wv, &l->bv, a->v);                // v = h Wv^T + bv                       (T, n_kv*D)
    lg_op_lora_up(g, w, 3, (struct lg_view[]){a->q, a->k, a->v}); // what adapters add to them
    lg_op_rope(g, a->q, hp->n_heads);                           // q, k rotated by their positions
    lg_op_rope(g, a->k, hp->n_kv);
    lg_op_kv_write(g, layer, a->k, a->v);                       // K[position], V[position] = k, v
}

void lg_step_project(struct lg_graph *g, struct lg_view y, const struct lg_weight *w, const struct lg_weight *bias)
{
    struct lg_acts *a = &g->acts;
    if (lg_fused_project(g, y, w, bias))
        return;
    lg_op_lora_down(g, y, &w, 1);
    lg_op_linear(g, y, w, bias, a->h);                          // h = y W^T + b                         (T, C)
    lg_op_lora_up(g, &w, 1, &a->h);
    lg_op_add(g, a->x, a->h, g->model->hp.n_embd);              // x = x + h
}

void lg_step_ffn(struct lg_graph *g, const struct lg_layer *l)
{
    struct lg_acts *a = &g->acts;
    const struct lg_weight *const w[] = {&l->up, &l->gate};
    bool gated = g->model->hp.ffn == LG_FFN_SILU_GATED;
    if (lg_fused_ffn(g, l))
        return;
    lg_op_norm(g, a->x, &l->ffn_norm, &l->ffn_norm_b, a->h);    // h = norm(x)                           (T, C)
    lg_op_lora_down(g, a->h, w, gated ? 2 : 1);
    lg_op_linear(g, a->h, &l->up, &l->up_b, a->up);             // u = h Wu^T + bu                       (T, F)
    if (gated)
        lg_op_linear(g, a->h, &l->gate, &l->gate_b, a->gate);   // g = h Wg^T + bg                       (T, F)
    lg_op_lora_up(g, w, gated ? 2 : 1, (struct lg_view[]){a->up, a->gate});
    if (gated) {
        lg_op_silu_mul(g, a->gate, a->up, a->f);                // f = silu(g) * u                       (T, F)
    } else {
        lg_op_gelu(g, a->up, a->f);                             // f = gelu(u)                           (T, F)
    }
}

// clang-format on
