/* SPDX-License-Identifier: MIT
 *
 * One function for each kernel of training, as in ops.h. Private to lib/graph.
 */
#ifndef LG_GRAPH_BACK_OPS_H
#define LG_GRAPH_BACK_OPS_H

#include "graph/ops.h"
#include "graph/train.h"

/** Where the gradient of a weight belongs; no buffer when it is not trained. */
struct lg_view lg_train_grad(const struct lg_train_graph *t, const struct lg_weight *w);

/** x (T, n_cols) = 0 */
void lg_back_zero(struct lg_train_graph *t, struct lg_view x, uint32_t n_cols);
/** y (T, n_cols) += scale * x */
void lg_back_scale_add(struct lg_train_graph *t, struct lg_view x, struct lg_view y, float scale, uint32_t n_cols);
/** y (T, n_cols) = x, some of it left out and the rest larger; `site` is the same for the same places. */
void lg_back_dropout(struct lg_train_graph *t, struct lg_view x, struct lg_view y, uint32_t n_cols, uint32_t site);

/** y (T_out, C) = the rows of x that have targets */
void lg_train_gather(struct lg_train_graph *t, struct lg_view x, struct lg_view y);
/** Adds them to where they came from: x (T, C) += y (T_out, C). */
void lg_back_gather(struct lg_train_graph *t, struct lg_view y, struct lg_view x);
/** y = x W^T + b, as lg_op_linear() in training's own tiles */
void lg_train_linear(struct lg_train_graph *t, struct lg_view x, const struct lg_weight *w, const struct lg_weight *bias,
                     struct lg_view y);
/** logits (T, n) = x (T, C) * w^T, of rows [first, first + n) of w */
void lg_back_logits(struct lg_train_graph *t, struct lg_view x, const struct lg_weight *w, uint32_t first, uint32_t n,
                    struct lg_view logits);
/** acts.state of the tokens from `first` on */
void lg_back_loss_part(struct lg_train_graph *t, struct lg_view logits, uint32_t first, uint32_t n);
/** acts.state to acts.losses */
void lg_back_loss_rows(struct lg_train_graph *t);
/** logits become their gradients. */
void lg_back_loss(struct lg_train_graph *t, struct lg_view logits, uint32_t first, uint32_t n);

/** dx (T, w.cols) = or += dy (T, n) * w, of rows [first, first + n) of w; all of them when n is w.rows */
void lg_back_matmul(struct lg_train_graph *t, struct lg_view dy, const struct lg_weight *w, uint32_t first, uint32_t n,
                    struct lg_view dx, bool add);
/** dw (n rows of n_cols) += scale * dy^T x; of dw's rows from `first` on */
void lg_back_weight(struct lg_train_graph *t, struct lg_view x, struct lg_view dy, const struct lg_weight *w, uint32_t first,
                    uint32_t n, float scale);
/** db += the rows of dy (T, b.cols); nothing when the bias is not trained */
void lg_back_bias(struct lg_train_graph *t, struct lg_view dy, const struct lg_weight *b);
/** dx (T, C) += what flows back through the norm; its weights' gradients when they are trained */
void lg_back_norm(struct lg_train_graph *t, struct lg_view x, const struct lg_weight *weight, const struct lg_weight *bias,
                  struct lg_view dy, struct lg_view dx);
/** Rotates the other way. */
void lg_back_rope(struct lg_train_graph *t, struct lg_view dx, uint32_t n_heads);
/** kept.a and kept.lse of a layer */
void lg_train_attention(struct lg_train_graph *t, const struct lg_train_kept *kept);
/** acts.dq, dk and dv from da */
void lg_back_attention(struct lg_train_graph *t, const struct lg_train_kept *kept, struct lg_view da);
/** gate and up become their gradients. */
void lg_back_silu_mul(struct lg_train_graph *t, struct lg_view gate, struct lg_view up, struct lg_view df);
/** df becomes the gradient of x. */
void lg_back_gelu(struct lg_train_graph *t, struct lg_view x, struct lg_view df);
/** The table's gradient, when it is trained */
void lg_back_embed(struct lg_train_graph *t, const struct lg_weight *table, enum lg_row_word word, struct lg_buffer *order,
                   struct lg_view dx);

#endif
