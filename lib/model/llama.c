/* SPDX-License-Identifier: MIT
 *
 * The llama family (Touvron et al. 2023): RMSNorm before each block, rotary positions, grouped-query
 * attention, a gated SiLU feed-forward; qwen2 (Yang et al. 2024) adds biases to q, k and v and pairs rotated
 * elements by halves.
 */
#include "model/loader.h"

static int read_common(struct lg_model *model, enum lg_rope_kind rope)
{
    LG_TRY(lg_hparams_common(model));
    LG_TRY(lg_hparams_norm(model, LG_NORM_RMS,
                           "attention.layer_norm_rms_epsilon attention.layer_norm_epsilon rms_norm_eps"));
    model->hp.ffn = LG_FFN_SILU_GATED;
    return lg_hparams_rope(model, rope);
}

static int read_llama(struct lg_model *model)
{
    return read_common(model, LG_ROPE_PAIRS);
}

static int read_qwen2(struct lg_model *model)
{
    return read_common(model, LG_ROPE_HALVES);
}

/** What one dispatch reads together. */
static const char *const qkv_names[] = {"blk.%u.attn_q.weight", "blk.%u.attn_k.weight",
                                        "blk.%u.attn_v.weight"};
static const char *const gate_up_names[] = {"blk.%u.ffn_gate.weight", "blk.%u.ffn_up.weight"};

static int bind_layer(struct lg_model *model, struct lg_layer *l, uint32_t i)
{
    const struct lg_hparams *hp = &model->hp;
    uint32_t C = hp->n_embd, F = hp->n_ff, Q = hp->n_heads * hp->head_dim, KV = hp->n_kv * hp->head_dim;
    LG_TRY(lg_bind_vector(model, &l->attn_norm, "blk.%u.attn_norm.weight", i, C));
    LG_TRY(lg_bind_together(model, i, qkv_names, 3, 3));
    LG_TRY(lg_bind_matrix(model, &l->wq, "blk.%u.attn_q.weight", i, Q, C));
    LG_TRY(lg_bind_matrix(model, &l->wk, "blk.%u.attn_k.weight", i, KV, C));
    LG_TRY(lg_bind_matrix(model, &l->wv, "blk.%u.attn_v.weight", i, KV, C));
    LG_TRY(lg_bind_vector_if(model, &l->bq, "blk.%u.attn_q.bias", i, Q));
    LG_TRY(lg_bind_vector_if(model, &l->bk, "blk.%u.attn_k.bias", i, KV));
    LG_TRY(lg_bind_vector_if(model, &l->bv, "blk.%u.attn_v.bias", i, KV));
    LG_TRY(lg_bind_matrix(model, &l->wo, "blk.%u.attn_output.weight", i, C, Q));
    LG_TRY(lg_bind_vector_if(model, &l->bo, "blk.%u.attn_output.bias", i, C));
    LG_TRY(lg_bind_vector(model, &l->ffn_norm, "blk.%u.ffn_norm.weight", i, C));
    LG_TRY(lg_bind_together(model, i, gate_up_names, 2, 2));
    LG_TRY(lg_bind_matrix(model, &l->gate, "blk.%u.ffn_gate.weight", i, F, C));
    LG_TRY(lg_bind_vector_if(model, &l->gate_b, "blk.%u.ffn_gate.bias", i, F));
    LG_TRY(lg_bind_matrix(model, &l->up, "blk.%u.ffn_up.weight", i, F, C));
    LG_TRY(lg_bind_vector_if(model, &l->up_b, "blk.%u.ffn_up.bias", i, F));
    LG_TRY(lg_bind_matrix(model, &l->down, "blk.%u.ffn_down.weight", i, C, F));
    return lg_bind_vector_if(model, &l->down_b, "blk.%u.ffn_down.bias", i, C);
}

static int bind_rest(struct lg_model *model)
{
    struct lg_weights *w = &model->w;
    uint32_t C = model->hp.n_embd, V = model->hp.n_vocab;
    LG_TRY(lg_bind_matrix(model, &w->tok_embd, "token_embd.weight", 0, V, C));
    LG_TRY(lg_bind_vector(model, &w->out_norm, "output_norm.weight", 0, C));
    return lg_bind_matrix_if(model, &w->output, "output.weight", 0, V, C);
}

const struct lg_arch lg_arch_llama = {"llama", read_llama, bind_layer, bind_rest};
const struct lg_arch lg_arch_qwen2 = {"qwen2", read_qwen2, bind_layer, bind_rest};
