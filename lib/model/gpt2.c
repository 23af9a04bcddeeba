/* SPDX-License-Identifier: MIT
 *
 * GPT-2 (Radford et al. 2019): LayerNorm before each block, learned positions, q, k and v stored as one
 * matrix, biases everywhere, a GELU feed-forward.
 */
#include "model/loader.h"

static int read_hparams(struct lg_model *model)
{
    struct lg_hparams *hp = &model->hp;
    LG_TRY(lg_hparams_common(model));
    LG_TRY(lg_hparams_norm(model, LG_NORM_LAYER, "attention.layer_norm_epsilon layer_norm_epsilon"));
    hp->ffn = LG_FFN_GELU;
    hp->rope = LG_ROPE_NONE;
    model->fused_qkv = true;
    return 0;
}

static int bind_layer(struct lg_model *model, struct lg_layer *l, uint32_t i)
{
    const struct lg_hparams *hp = &model->hp;
    uint32_t C = hp->n_embd, F = hp->n_ff, Q = hp->n_heads * hp->head_dim, KV = hp->n_kv * hp->head_dim;
    uint32_t all = Q + 2 * KV;
    LG_TRY(lg_bind_vector(model, &l->attn_norm, "blk.%u.attn_norm.weight", i, C));
    LG_TRY(lg_bind_vector(model, &l->attn_norm_b, "blk.%u.attn_norm.bias", i, C));
    LG_TRY(lg_bind_together(model, i, &(const char *){"blk.%u.attn_qkv.weight"}, 1, 3));
    LG_TRY(lg_bind_rows(model, &l->wq, "blk.%u.attn_qkv.weight", i, 0, Q, all, C));
    LG_TRY(lg_bind_rows(model, &l->wk, "blk.%u.attn_qkv.weight", i, Q, KV, all, C));
    LG_TRY(lg_bind_rows(model, &l->wv, "blk.%u.attn_qkv.weight", i, Q + KV, KV, all, C));
    LG_TRY(lg_bind_rows(model, &l->bq, "blk.%u.attn_qkv.bias", i, 0, Q, all, 0));
    LG_TRY(lg_bind_rows(model, &l->bk, "blk.%u.attn_qkv.bias", i, Q, KV, all, 0));
    LG_TRY(lg_bind_rows(model, &l->bv, "blk.%u.attn_qkv.bias", i, Q + KV, KV, all, 0));
    LG_TRY(lg_bind_matrix(model, &l->wo, "blk.%u.attn_output.weight", i, C, Q));
    LG_TRY(lg_bind_vector(model, &l->bo, "blk.%u.attn_output.bias", i, C));
    LG_TRY(lg_bind_vector(model, &l->ffn_norm, "blk.%u.ffn_norm.weight", i, C));
    LG_TRY(lg_bind_vector(model, &l->ffn_norm_b, "blk.%u.ffn_norm.bias", i, C));
    LG_TRY(lg_bind_matrix(model, &l->up, "blk.%u.ffn_up.weight", i, F, C));
    LG_TRY(lg_bind_vector(model, &l->up_b, "blk.%u.ffn_up.bias", i, F));
    LG_TRY(lg_bind_matrix(model, &l->down, "blk.%u.ffn_down.weight", i, C, F));
    return lg_bind_vector(model, &l->down_b, "blk.%u.ffn_down.bias", i, C);
}

static int bind_rest(struct lg_model *model)
{
    struct lg_weights *w = &model->w;
    uint32_t C = model->hp.n_embd, V = model->hp.n_vocab;
    LG_TRY(lg_bind_matrix(model, &w->tok_embd, "token_embd.weight", 0, V, C));
    LG_TRY(lg_bind_matrix(model, &w->pos_embd, "position_embd.weight", 0, model->hp.n_ctx_train, C));
    LG_TRY(lg_bind_vector(model, &w->out_norm, "output_norm.weight", 0, C));
    LG_TRY(lg_bind_vector(model, &w->out_norm_b, "output_norm.bias", 0, C));
    return lg_bind_matrix_if(model, &w->output, "output.weight", 0, V, C);
}

const struct lg_arch lg_arch_gpt2 = {"gpt2", read_hparams, bind_layer, bind_rest};
