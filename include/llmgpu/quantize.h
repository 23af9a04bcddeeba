/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Writing model files: with weights of another type, with adapters merged into them, or both. Experimental.
 *
 *     llmgpu_quantize_params_init(&params, sizeof(params));
 *     params.error = text, params.error_size = sizeof(text);
 *     llmgpu_quantize("model-f16.gguf", "model-q4_k_m.gguf", "Q4_K_M", &params);
 *
 * A type is the name of a mix: most matrices have the type that it begins with, those that lose most by few bits have another,
 * and where rows are too short for its blocks there is a near one in its place. Vectors stay as they are. Nothing of this needs
 * a context; files are mapped, and memory is that of a piece of one tensor.
 */
#ifndef LLMGPU_QUANTIZE_H
#define LLMGPU_QUANTIZE_H

#include <stddef.h>
#include <stdint.h>

#include "llmgpu/error.h"

#ifdef LLMGPU_EXPERIMENTAL

#ifdef __cplusplus
extern "C" {
#endif

/** What became of a tensor. */
typedef struct llmgpu_quantize_tensor {
    const char *name;      /**< `name_len` bytes, no NUL; valid during the call */
    size_t name_len;       /**< bytes */
    const char *from_type; /**< "F16" */
    const char *to_type;   /**< "Q4_K" */
    uint32_t n_dims;       /**< 1 .. 4 */
    uint32_t merged;       /**< 1: an adapter adds to it */
    uint64_t dims[4];      /**< elements, fastest first; 1 beyond n_dims */
    uint64_t from_bytes;   /**< that it had */
    uint64_t to_bytes;     /**< that it has */
    double rms;            /**< root of the mean square of its weights; 0 where it was copied */
    double rmse;           /**< of the difference that the type makes, in the same way; 0 where it was copied */
    double max_error;      /**< the largest difference */
} llmgpu_quantize_tensor;

/** Parameters of llmgpu_quantize() and llmgpu_merge(). */
typedef struct llmgpu_quantize_params {
    uint32_t size;         /**< set by llmgpu_quantize_params_init() */
    uint32_t n_threads;    /**< 0 (default): as many as there are processors; at most 1024 */
    int (*progress)(void *user, uint64_t done, uint64_t total); /**< is told bytes of the file that is read; nonzero: the
                                work is to stop; NULL (default): nobody is told */
    void *progress_user;   /**< passed to it */
    void (*report)(void *user, const llmgpu_quantize_tensor *tensor); /**< is told of each tensor, in the file's order; NULL
                                (default): nobody is */
    void *report_user;     /**< passed to it */
    char *error;           /**< where the sentence of a failure goes; NULL (default): nowhere */
    size_t error_size;     /**< bytes at `error` */
} llmgpu_quantize_params;

/**
 * Fills the defaults.
 *
 * @param params to fill
 * @param size   sizeof(llmgpu_quantize_params); see llmgpu_context_params_init()
 * @return 0 or LLMGPU_E_INVALID
 * @par Thread-safety: safe
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_quantize_params_init(llmgpu_quantize_params *params, size_t size);

/**
 * The names of the types, such as "Q4_K_M".
 *
 * @param index from 0 on
 * @return a static string; NULL behind the last
 * @par Thread-safety: safe
 */
LLMGPU_EXPERIMENTAL_API const char *llmgpu_quantize_type(uint32_t index);

/**
 * Writes a model's file with weights of another type. All metadata is kept but for `general.file_type` and
 * `general.quantization_version`. Weights that are quantised already may be so again, and lose by it twice.
 *
 * @param from   a GGUF file; it may be of an architecture that cannot be run
 * @param to     the file to write: whole or not at all, and in place of one that is there
 * @param type   one of llmgpu_quantize_type(), in any case
 * @param params NULL: defaults
 * @return 0; LLMGPU_E_INVALID; LLMGPU_E_IO; LLMGPU_E_FORMAT, also for weights that are not finite or too large for the type;
 *         LLMGPU_E_UNSUPPORTED for weights of a type that cannot be decoded; LLMGPU_E_NOMEM; LLMGPU_E_CANCELLED
 * @par Thread-safety: safe; callbacks come on the thread of the call
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_quantize(const char *from, const char *to, const char *type,
                                            const llmgpu_quantize_params *params);

/** An adapter to be merged. */
typedef struct llmgpu_merge_adapter {
    const char *path;  /**< as llmgpu_lora_load() takes it */
    float scale;       /**< factor on what was trained, -100 .. 100 */
    uint32_t reserved; /**< 0 */
} llmgpu_merge_adapter;

/**
 * Writes a model's file with adapters merged into its matrices: W + scale * alpha / rank * B A, computed in float32.
 *
 * @param base       a GGUF file of an architecture that can be run
 * @param adapters   of this base
 * @param n_adapters 1 .. 64
 * @param to         the file to write, as for llmgpu_quantize()
 * @param type       one of llmgpu_quantize_type(), for all matrices; NULL: each keeps the type that it has
 * @param params     NULL: defaults
 * @return 0, or as llmgpu_quantize() and llmgpu_lora_load()
 * @par Thread-safety: safe; callbacks come on the thread of the call
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_merge(const char *base, const llmgpu_merge_adapter *adapters, size_t n_adapters,
                                         const char *to, const char *type, const llmgpu_quantize_params *params);

#ifdef __cplusplus
}
#endif

#endif

#endif
