/* SPDX-License-Identifier: MIT
 *
 * What is trained: a list of tensors with their places in one row of numbers, and how they begin. An adapter has two for each
 * matrix that it is for, and all weights of a model have those of its file. Each begins at a multiple of 64 numbers, and what is
 * between two stays 0.
 */
#ifndef LG_TRAIN_PARAMS_H
#define LG_TRAIN_PARAMS_H

#include "graph/train.h"
#include "model/lora.h"

struct lg_train_tensor {
    char name[96]; // as in a GGUF file
    uint32_t rows, cols;
    uint64_t at;                       // its first number
    const struct lg_gguf_tensor *from; // the model's; NULL: half of an adapter's pair
};

struct lg_train_params {
    struct lg_env *env;
    const struct lg_model *model;
    struct lg_train_tensor *tensors;
    uint32_t n_tensors, cap_tensors;
    uint64_t n;        // numbers, with what is between
    uint64_t n_params; // without
    struct lg_train_pair *pairs; // of an adapter: [n_layers][LG_N_TARGETS]
    uint32_t rank;               // of an adapter, the largest
    struct lg_model whole; // otherwise: the model of these numbers
    struct lg_weight_taker taker;
    struct lg_buffer *buf; // where they are, of the weights in `pairs` or `whole`
};

/** What an adapter is for, and how large. */
struct lg_train_shape {
    uint32_t targets; // bit i: enum lg_target i
    uint32_t rank;
    float scale; // of B (A x)
};

/** Lists what is trained; nothing is on a device yet, and weights have views without buffer. LLMGPU_E_INVALID when no matrix is
 * meant, LLMGPU_E_UNSUPPORTED. */
int lg_train_params_adapter(struct lg_train_params *p, struct lg_env *env, const struct lg_model *model,
                            const struct lg_train_shape *shape);
/** The same of an adapter that is there: its matrices, ranks and factors. */
int lg_train_params_like(struct lg_train_params *p, struct lg_env *env, const struct lg_model *model, const struct lg_lora *lora);
/** The same of all weights. LLMGPU_E_UNSUPPORTED when they are not plain numbers. */
int lg_train_params_whole(struct lg_train_params *p, struct lg_env *env, const struct lg_model *model);
/** Says where they are. */
void lg_train_params_place(struct lg_train_params *p, struct lg_buffer *buf);
/** Puts the first numbers there: of `lora`, of the model's file, or A at random and B zero. */
int lg_train_params_begin(struct lg_train_params *p, const struct lg_lora *lora, uint64_t seed);
/** A zeroed one is allowed. */
void lg_train_params_finish(struct lg_train_params *p);

/** The alpha of an adapter's file: factors are alpha / rank, or 1 where it is 0. LLMGPU_E_UNSUPPORTED when none gives all. */
int lg_train_params_alpha(const struct lg_train_params *p, struct lg_env *env, float *out);

#endif
