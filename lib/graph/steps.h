/* SPDX-License-Identifier: MIT
 *
 * The steps of a layer, each a few kernels: how few depends on the device and the phase. Letters and shapes are those of
 * graph.h.
 */
#ifndef LG_GRAPH_STEPS_H
#define LG_GRAPH_STEPS_H

#include "graph/ops.h"

/** h = norm(x); acts.q = h Wq^T + bq, rotated; the caches at the rows' positions = h Wk^T + bk, rotated, and h Wv^T + bv */
void lg_step_qkv(struct lg_graph *g, const struct lg_layer *l, uint32_t layer);
/** acts.x += y w^T + bias */
void lg_step_project(struct lg_graph *g, struct lg_view y, const struct lg_weight *w, const struct lg_weight *bias);
/** h = norm(x); acts.f = silu(h Wg^T + bg) * (h Wu^T + bu), or gelu(h Wu^T + bu) */
void lg_step_ffn(struct lg_graph *g, const struct lg_layer *l);

#endif
