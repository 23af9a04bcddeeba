/* SPDX-License-Identifier: MIT
 *
 * Products of weights with many rows of x. For each tile of the tuning there is a dispatch, and of these the one
 * runs that is for as many rows as there are. Private to lib/graph.
 */
#ifndef LG_GRAPH_MATMUL_H
#define LG_GRAPH_MATMUL_H

#include "graph/ops.h"

/** How x meets weights of a type in this pass. */
enum lg_product lg_product_of(const struct lg_graph *g, enum lg_type type);
/** y (T, push->y_stride) = x (T, push->n_cols) * w^T, in the columns from push->row_begin on */
void lg_matmul_add(struct lg_graph *g, enum lg_product how, struct lg_view x, enum lg_type type, struct lg_view w,
                   struct lg_view y, const struct lg_matmul_push *push);
/** Weight rows of the smallest tile. */
uint32_t lg_matmul_least_m(const struct lg_tuning *tune);

#endif
