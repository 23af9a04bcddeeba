/* SPDX-License-Identifier: MIT */
/**
 * @file
 * LoRA adapters (Hu et al. 2021): small additions to a model's matrices, y = W x + scale * alpha / rank * B (A x), for
 * the attention and feed-forward matrices of its blocks. Experimental.
 */
#ifndef LLMGPU_LORA_H
#define LLMGPU_LORA_H

#include "llmgpu/session.h"

#ifdef LLMGPU_EXPERIMENTAL

#ifdef __cplusplus
extern "C" {
#endif

/**
 * A loaded adapter. It keeps its model alive; sessions that use it keep it alive.
 *
 * @par Thread-safety: immutable once loaded; any thread may use it
 */
typedef struct llmgpu_lora llmgpu_lora;

/** Facts about an adapter. */
typedef struct llmgpu_lora_info {
    char name[128];        /**< `general.name`; "" when there is none, as in what PEFT saves */
    uint32_t rank;         /**< the largest of its matrices */
    float alpha;           /**< of the file; 0: none, then alpha / rank is 1 */
    uint32_t n_targets;    /**< matrices of the model that it adds to */
    uint32_t reserved;     /**< 0 */
    uint64_t device_bytes; /**< of its weights on the device */
} llmgpu_lora_info;

/**
 * Loads an adapter: a GGUF file (`general.type` adapter, `adapter.type` lora), or what PEFT saves: the file
 * adapter_model.safetensors, under any name, with adapter_config.json beside it, or the folder of both. Which of them it is
 * shows in what is in it. Of PEFT's adapters those of kind LORA are supported whose pairs are all that differs from the base,
 * with one lora_alpha. The files must stay as they are until the adapter is freed: numbers are read again when others come to
 * the device, or after llmgpu_context_recover().
 *
 * @param out   to be freed with llmgpu_lora_free(); NULL on failure
 * @param model the base; architecture and shapes must agree
 * @param path  of a file or folder
 * @return 0; LLMGPU_E_IO; LLMGPU_E_FORMAT; LLMGPU_E_UNSUPPORTED for another base, target or kind; LLMGPU_E_NOMEM;
 *         LLMGPU_E_LIMIT; LLMGPU_E_INVALID. The sentence is llmgpu_model_error().
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_lora_load(llmgpu_lora **out, llmgpu_model *model, const char *path);

/**
 * Lets go of an adapter; sessions that use it go on.
 *
 * @param lora NULL is allowed
 */
LLMGPU_EXPERIMENTAL_API void llmgpu_lora_free(llmgpu_lora *lora);

/**
 * Reads the facts.
 *
 * @param lora to read
 * @param out  to fill
 * @param size sizeof(llmgpu_lora_info)
 * @return 0 or LLMGPU_E_INVALID
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_lora_get_info(const llmgpu_lora *lora, llmgpu_lora_info *out, size_t size);

/**
 * Gives a session an adapter, in place of the one it had. Tokens that are computed already stay as they are; to have
 * all of them with the adapter, set it first, or rewind. What was sampled and not taken yet is forgotten. A reset keeps
 * the adapter, a fork has it too, and a saved state does not: what is computed again, after a rewind, a restore or a
 * recovery, is computed with the adapter of then.
 *
 * @param session where it is used
 * @param lora    of the session's model; NULL: none
 * @param scale   factor on what was trained, -100 .. 100; 1 is as trained, 0 is the same as no adapter
 * @return 0; LLMGPU_E_INVALID; LLMGPU_E_BUSY from within a callback
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_session_set_lora(llmgpu_session *session, llmgpu_lora *lora, float scale);

#ifdef __cplusplus
}
#endif

#endif

#endif
