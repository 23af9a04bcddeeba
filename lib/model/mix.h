/* SPDX-License-Identifier: MIT
 *
 * Which type each tensor of a quantised model has. Files of a name such as Q4_K_M are mixes: matrices that lose most by few
 * bits have more of them, and some types cannot have every length of rows. The choices are those that files of these names
 * have everywhere.
 *
 * Thread-safety: constants.
 */
#ifndef LG_MODEL_MIX_H
#define LG_MODEL_MIX_H

#include "gguf/gguf.h"

struct lg_mix {
    const char *name;   // "Q4_K_M"
    enum lg_type type;  // of most matrices
    uint32_t file_type; // of `general.file_type`
};

/** What the choice depends on besides the tensor. */
struct lg_mix_shape {
    uint32_t n_layers;
    uint32_t sharing; // query heads of a key/value head
    bool tied;        // there is no "output.weight"
};

/** By name, in any case; NULL when there is none. */
const struct lg_mix *lg_mix_find(const char *name);
/** In order; NULL behind the last. */
const struct lg_mix *lg_mix_at(uint32_t index);

/** Reads the shape of a model from its file. LLMGPU_E_FORMAT where a number is of the wrong type. */
int lg_mix_shape(struct lg_env *env, const struct lg_gguf *gguf, struct lg_mix_shape *out);
/** The type of a tensor in a mix; its own when it is no matrix to be quantised. */
enum lg_type lg_mix_type(const struct lg_mix *mix, const struct lg_mix_shape *shape, const struct lg_gguf_tensor *t);

#endif
