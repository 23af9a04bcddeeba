/* SPDX-License-Identifier: MIT
 *
 * Writing a model's file anew, with the types of a mix, with adapters merged into its matrices, or both. Metadata and all that
 * is no matrix stay as they are. Tensors stream through: beside what is mapped, memory is some 32 MiB for a piece of one
 * tensor, and the adapters' numbers for it.
 */
#ifndef LG_MODEL_REWRITE_H
#define LG_MODEL_REWRITE_H

#include "model/mix.h"

struct lg_merge;

/** What became of a tensor. */
struct lg_rewritten {
    const struct lg_gguf_tensor *from;
    enum lg_type type;
    uint64_t size;    // bytes
    bool merged;      // an adapter adds to it
    double rms;       // root of the mean square of its weights; 0 where they were copied
    double rmse;      // of the difference that the type makes, in the same way
    double max_error; // the largest one
};

struct lg_rewrite_options {
    const struct lg_mix *mix;     // NULL: every tensor keeps its type
    uint32_t n_threads;           // 0: as many as there are processors
    const struct lg_merge *merge; // NULL: nothing is merged
    void (*report)(void *user, const struct lg_rewritten *tensor); // in the file's order; NULL: nobody wants to know
    void *user;
};

/**
 * Writes the file, as a whole or not at all: `path` is replaced when all is on disk. `in` must be a mapped file or in memory.
 * env->watch is told how many bytes of the tensors are done. LLMGPU_E_FORMAT for weights that are not finite, or too large for
 * the type, with the tensor's name; LLMGPU_E_UNSUPPORTED for a type that cannot be decoded; LLMGPU_E_IO, _NOMEM, _CANCELLED.
 */
int lg_rewrite(struct lg_env *env, const struct lg_gguf *in, const char *path, const struct lg_rewrite_options *options);

#endif
