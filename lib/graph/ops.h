/* SPDX-License-Identifier: MIT
 *
 * One function for each kernel: it names the buffers and computes the grid, nothing else. What each computes
 * stands at the head of its .comp file. All work on as many rows as the dim `g->dim` says.
 */
#ifndef LG_GRAPH_OPS_H
#define LG_GRAPH_OPS_H

#include "graph/graph.h"

/** Which word of struct lg_row an embedding looks up. */
enum lg_row_word { LG_ROW_TOKEN = 0, LG_ROW_POS = 1 };

/** Appends a dispatch; what writes to acts goes this way, so that acts.i8 is never of what was there before. */
void lg_graph_add(struct lg_graph *g, const struct lg_chain_op *op);
/** Appends products with a row of x for each workgroup, and what the same kernel does with several at once where a pass may
 * have them; its specialisation constants are those of products.glsl. */
void lg_graph_add_products(struct lg_graph *g, struct lg_chain_op *op);
/** y (T, cols) = table[word of each row] */
void lg_op_embed(struct lg_graph *g, const struct lg_weight *table, enum lg_row_word word, struct lg_view y);
/** y (T, C) = RMSNorm or LayerNorm of x, as the model's norm is; `bias` only for the latter */
void lg_op_norm(struct lg_graph *g, struct lg_view x, const struct lg_weight *weight,
                const struct lg_weight *bias, struct lg_view y);
/** y (T, w.rows) = x (T, w.cols) * w^T, then + bias when the model has one */
void lg_op_linear(struct lg_graph *g, struct lg_view x, const struct lg_weight *w,
                  const struct lg_weight *bias, struct lg_view y);
/** acts.lora = what the rows' adapters make of x for n <= LG_LORA_MATRICES matrices; nothing in a pass without adapters, as the
 * next two (lora.c) */
void lg_op_lora_down(struct lg_graph *g, struct lg_view x, const struct lg_weight *const *w, uint32_t n);
/** y[m] (T, w[m].rows) += what they make of that; y are views of one buffer */
void lg_op_lora_up(struct lg_graph *g, const struct lg_weight *const *w, uint32_t n, const struct lg_view *y);
/** acts.add[m] (T, w[m].rows) = bias[m], if the model has one, + the same */
void lg_op_lora_whole(struct lg_graph *g, const struct lg_weight *const *w, const struct lg_weight *const *bias, uint32_t n);
/** Rotates the heads of x (T, n_heads*D) by their rows' positions; nothing for models without rotary
 * positions. */
void lg_op_rope(struct lg_graph *g, struct lg_view x, uint32_t n_heads);
/** Puts k and v (T, n_kv*D) into the layer's cache at their rows' positions. */
void lg_op_kv_write(struct lg_graph *g, uint32_t layer, struct lg_view k, struct lg_view v);
/** y (T, H*D) = causal attention of q (T, H*D) over the layer's cache (attention.c) */
void lg_op_attention(struct lg_graph *g, uint32_t layer, struct lg_view q, struct lg_view y);
/** y (T, F) = silu(gate) * up */
void lg_op_silu_mul(struct lg_graph *g, struct lg_view gate, struct lg_view up, struct lg_view y);
/** y (T, F) = gelu(x) */
void lg_op_gelu(struct lg_graph *g, struct lg_view x, struct lg_view y);
/** x (T, C) += b (T, C) */
void lg_op_add(struct lg_graph *g, struct lg_view x, struct lg_view b, uint32_t n_cols);
/** best (T) = index and value of the largest logit */
void lg_op_argmax(struct lg_graph *g, struct lg_view logits, struct lg_view best);
/** Lowers the logits of recent tokens. */
void lg_op_penalties(struct lg_graph *g, struct lg_view logits);
/** Chooses the next tokens: in the samplers' rings, and batch.targets (T). */
void lg_op_sample(struct lg_graph *g, struct lg_view logits, struct lg_view best);
/** Makes them the rows of the next pass. */
void lg_op_next_rows(struct lg_graph *g);
/** out (T) = log softmax(logits)[target] */
void lg_op_log_prob(struct lg_graph *g, struct lg_view logits, struct lg_view out);
/** y (T, n_cols) = x */
void lg_op_copy(struct lg_graph *g, struct lg_view x, struct lg_view y, uint32_t n_cols);
/** out (T) = the most probable tokens of the logits, and the one that `ids` has at row * id_stride */
void lg_op_candidates(struct lg_graph *g, struct lg_view logits, struct lg_buffer *ids, uint32_t id_stride,
                      struct lg_view out);

#endif
