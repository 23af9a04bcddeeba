/* SPDX-License-Identifier: MIT */
#include "train/batch.h"

#include <assert.h>

#include "util/checked.h"

enum { N_COLUMNS = 4 };

int lg_train_batch_create(struct lg_env *env, uint32_t max_rows, struct lg_train_batch *out)
{
    *out = (struct lg_train_batch){.max_rows = max_rows};
    size_t n;
    int32_t *all = lg_mul_size(max_rows, N_COLUMNS, &n) ? lg_alloc_array(env, n, sizeof(*all)) : NULL;
    if (!all)
        return lg_fail_nomem(env, "a micro-batch", (uint64_t)max_rows * N_COLUMNS * sizeof(*all));
    out->tokens = all;
    out->targets = all + max_rows;
    out->pos = (uint32_t *)all + 2 * (size_t)max_rows;
    out->sample = (uint32_t *)all + 3 * (size_t)max_rows;
    return 0;
}

void lg_train_batch_free(struct lg_env *env, struct lg_train_batch *batch)
{
    lg_free(env, batch->tokens);
    *batch = (struct lg_train_batch){0};
}

void lg_train_batch_add(struct lg_train_batch *batch, const int32_t *tokens, const uint8_t *counts,
                        uint32_t n)
{
    assert(n >= 2 && n - 1 <= batch->max_rows - batch->n_rows);
    for (uint32_t i = 0; i + 1 < n; i++) {
        uint32_t row = batch->n_rows++;
        bool counted = !counts || counts[i + 1];
        batch->tokens[row] = tokens[i];
        batch->targets[row] = counted ? tokens[i + 1] : -1;
        batch->pos[row] = i;
        batch->sample[row] = batch->n_samples;
        batch->n_targets += counted;
    }
    batch->n_samples++;
}
