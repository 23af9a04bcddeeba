/* SPDX-License-Identifier: MIT
 *
 * A micro-batch: what one forward and backward pass is over. Datasets fill it and trainers read it; it knows
 * nothing of either.
 */
#ifndef LG_TRAIN_BATCH_H
#define LG_TRAIN_BATCH_H

#include <stdint.h>

#include "util/env.h"

/**
 * Rows of samples, one after another. The rows of a sample are contiguous, its positions ascend from 0, and
 * it attends to nothing but itself.
 */
struct lg_train_batch {
    uint32_t n_rows, max_rows;
    uint32_t n_samples;
    uint32_t n_targets; // rows whose target counts
    // max_rows each
    int32_t *tokens;
    int32_t *targets; // the token that should follow; -1: not counted
    uint32_t *pos;    // in its sample
    uint32_t *sample; // 0 .. n_samples - 1, ascending
};

/** An empty batch with room for max_rows rows. LLMGPU_E_NOMEM. */
int lg_train_batch_create(struct lg_env *env, uint32_t max_rows, struct lg_train_batch *out);
/** A zeroed batch is allowed. */
void lg_train_batch_free(struct lg_env *env, struct lg_train_batch *batch);

/**
 * Adds `n` tokens as a sample: row i holds tokens[i], and its target is tokens[i + 1] where counts[i + 1] is
 * not 0. The last token is a target only, so n - 1 rows are added; `n` is at least 2, and there is room.
 *
 * @param counts `n` bytes, or NULL when every token counts
 */
void lg_train_batch_add(struct lg_train_batch *batch, const int32_t *tokens, const uint8_t *counts,
                        uint32_t n);

#endif
