/* SPDX-License-Identifier: MIT
 *
 * Adapters made part of a model's matrices: W + sum of scale * alpha / rank * B A, in float32.
 */
#ifndef LG_MODEL_MERGE_H
#define LG_MODEL_MERGE_H

#include "model/model.h"

/** An adapter's file and how much of it is wanted. */
struct lg_merge_source {
    const char *path;
    float scale;
};

struct lg_lora;

struct lg_merge {
    struct lg_env *env;
    struct lg_device *dev; // where the base is looked at
    struct lg_model *model;
    struct lg_lora **loras; // n
    float *scales;          // n
    uint32_t n;
};

/** What is added to rows of a tensor. */
struct lg_merge_pair {
    uint64_t first_row, n_rows;
    uint32_t rank;
    float *a; // (rank, cols)
    float *b; // (n_rows, rank), times all factors
};

/** What is added to a tensor. Zeroed: nothing. */
struct lg_merge_tensor {
    struct lg_merge_pair *pairs;
    uint32_t n;
    uint64_t cols;
};

/** Opens a base, which is merge->model->gguf, and adapters to it. Fails as lg_model_load() and lg_lora_load(). */
int lg_merge_open(struct lg_env *env, const char *base, const struct lg_merge_source *sources, uint32_t n,
                  struct lg_merge **out);
/** NULL is allowed. */
void lg_merge_close(struct lg_merge *merge);

/** Decodes what is added to a tensor; lg_merge_end() lets go of it. LLMGPU_E_NOMEM. */
int lg_merge_begin(const struct lg_merge *merge, struct lg_env *env, const struct lg_gguf_tensor *t,
                   struct lg_merge_tensor *out);
void lg_merge_end(struct lg_merge_tensor *t, struct lg_env *env);
/** Adds to n weights of it from the index `first` on. Any number of threads may. */
void lg_merge_add(const struct lg_merge_tensor *t, uint64_t first, uint64_t n, float *x);

#endif
