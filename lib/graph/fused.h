/* SPDX-License-Identifier: MIT
 *
 * The steps of a layer as one dispatch each, where the device and the weights allow it. Each function answers
 * whether it added its step; when not, it added nothing, and the step is to be made of ordinary kernels. Both
 * ways compute the same but for the rounding of sums.
 */
#ifndef LG_GRAPH_FUSED_H
#define LG_GRAPH_FUSED_H

#include "graph/graph.h"

/** lg_step_qkv(): a dispatch for each type of weights that q, k and v have, without a barrier between them.
 */
bool lg_fused_qkv(struct lg_graph *g, const struct lg_layer *l, uint32_t layer);
/** lg_step_project() */
bool lg_fused_project(struct lg_graph *g, struct lg_view y, const struct lg_weight *w,
                      const struct lg_weight *bias);
/** lg_step_ffn() */
bool lg_fused_ffn(struct lg_graph *g, const struct lg_layer *l);
/** lg_head() */
bool lg_fused_head(struct lg_graph *g);

#endif
