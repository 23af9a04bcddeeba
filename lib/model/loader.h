/* SPDX-License-Identifier: MIT
 *
 * What the architecture files are written with. Private to lib/model.
 */
#ifndef LG_MODEL_LOADER_H
#define LG_MODEL_LOADER_H

#include "model/model.h"

/** An architecture family: how its metadata and tensors become hyper-parameters and weights. */
struct lg_arch {
    const char *name; // of `general.architecture`
    int (*read_hparams)(struct lg_model *model);
    int (*bind_layer)(struct lg_model *model, struct lg_layer *layer, uint32_t index);
    int (*bind_rest)(struct lg_model *model); // what is outside the layers
};

extern const struct lg_arch lg_arch_llama, lg_arch_qwen2, lg_arch_gpt2;

/*
 * Hyper-parameters. `names` are the spellings in use for one quantity, without the architecture's prefix,
 * separated by spaces; the first that the file has counts. Required ones fail with LLMGPU_E_FORMAT, naming
 * the first.
 */
int lg_hparam_u32(struct lg_model *model, const char *names, uint32_t *out);
int lg_hparam_u32_or(struct lg_model *model, const char *names, uint32_t fallback, uint32_t *out);
int lg_hparam_f32(struct lg_model *model, const char *names, float *out);
int lg_hparam_f32_or(struct lg_model *model, const char *names, float fallback, float *out);

/** Sizes that all families share: layers, widths, heads, vocabulary, context; checked against each other. */
int lg_hparams_common(struct lg_model *model);
/** The kind of norm, and its epsilon. */
int lg_hparams_norm(struct lg_model *model, enum lg_norm_kind kind, const char *eps_names);
/** Rotation: base, rotated elements, scaling. */
int lg_hparams_rope(struct lg_model *model, enum lg_rope_kind kind);

/*
 * Weights by tensor name; "%u" in `name` is the layer. The shape must be [rows, cols] (or [cols] for vectors,
 * rows = 0); LLMGPU_E_FORMAT otherwise or when it is missing.
 */
int lg_bind_matrix(struct lg_model *model, struct lg_weight *out, const char *name, uint32_t layer,
                   uint32_t rows, uint32_t cols);
int lg_bind_vector(struct lg_model *model, struct lg_weight *out, const char *name, uint32_t layer,
                   uint32_t cols);
/** The same for what may be missing: then `out` stays empty. */
int lg_bind_matrix_if(struct lg_model *model, struct lg_weight *out, const char *name, uint32_t layer,
                      uint32_t rows, uint32_t cols);
int lg_bind_vector_if(struct lg_model *model, struct lg_weight *out, const char *name, uint32_t layer,
                      uint32_t cols);
/**
 * Rows [first, first + rows) of a matrix of `all_rows`, or elements of a vector when `cols` is 0: for files
 * that store several projections as one.
 */
int lg_bind_rows(struct lg_model *model, struct lg_weight *out, const char *name, uint32_t layer,
                 uint32_t first, uint32_t rows, uint32_t all_rows, uint32_t cols);

/**
 * The next n_matrices that are bound share a buffer, so that one view may span them; they are what the tensors of these names
 * have. No more than a wish: it is left out where the device reads the file in place or has no buffer so large.
 */
int lg_bind_together(struct lg_model *model, uint32_t layer, const char *const *names, uint32_t n_names,
                     uint32_t n_matrices);

/** Whether matrices of the type can be computed with. */
bool lg_type_has_kernels(enum lg_type type);

#endif
