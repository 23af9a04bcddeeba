/* SPDX-License-Identifier: MIT
 *
 * Sizes of what only training dispatches, beside those of struct lg_tuning: flat_wg where each element is on its own, row_wg
 * where a workgroup reduces a row (norms backwards, sum_squares, grad_norm), vocab_wg for loss_part.
 */
#ifndef LG_GRAPH_TRAIN_TUNING_H
#define LG_GRAPH_TRAIN_TUNING_H

#include "graph/graph.h"

/** The specialisation constants and grids of the training kernels; whichever are taken, results of a device are the same. */
struct lg_train_tuning {
    struct lg_matmul_tile back;   // matmul_back: m columns of w by n rows of dy; spec {wg, m, n}
    struct lg_matmul_tile weight; // weight_back: m rows of dw by n columns; spec {wg, m, n}
    struct lg_matmul_tile weight_few_rows; // the same of few rows of dw, as the A of an adapter has
    struct lg_matmul_tile weight_few_cols; // and of few columns, as its B has
    uint32_t attention_wg;    // spec {wg, 0, rows, heads} of attention_train, attention_back_q and attention_back_kv
    uint32_t attention_rows;  // of q or of k that a workgroup takes
    uint32_t attention_heads; // of those that share keys
    uint32_t optimizer_wg;
    uint32_t optimizer_per_group; // elements, a multiple of LG_ADAM8_BLOCK
};

struct lg_train_tuning lg_train_tuning_choose(const struct lg_device_info *info);
/*
 * The tile of a product that makes n_rows rows of n_cols numbers, or of a dw of these sizes. On the CPU each product has its own,
 * so that no thread waits for another.
 */
/** False where it is that of passes. */
bool lg_train_forward_tile(const struct lg_device_info *info, uint32_t n_cols, uint32_t n_rows, struct lg_matmul_tile *out);
struct lg_matmul_tile lg_train_back_tile(const struct lg_device_info *info, const struct lg_train_tuning *t, uint32_t n_cols,
                                         uint32_t n_rows);
struct lg_matmul_tile lg_train_weight_tile(const struct lg_device_info *info, const struct lg_train_tuning *t, uint32_t n_rows,
                                           uint32_t n_cols);

#endif
