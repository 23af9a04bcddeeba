/* SPDX-License-Identifier: MIT
 *
 * Writing adapters, in both forms that lora.h reads: a GGUF file, or a folder as PEFT saves it.
 */
#ifndef LG_MODEL_LORA_SAVE_H
#define LG_MODEL_LORA_SAVE_H

#include "model/model.h"

/** What is added to one matrix: B A. */
struct lg_lora_matrix {
    const char *name;          // of the model's matrix, "blk.0.attn_q.weight"
    uint32_t rank, rows, cols; // the matrix is (rows, cols)
    const float *a, *b;        // (rank, cols) and (rows, rank), rows in the model's order
};

struct lg_lora_content {
    const char *name; // of the adapter; NULL: none
    float alpha;      // the factor is alpha / rank,
    bool by_root;     // or alpha / sqrt(rank)
    bool half;        // numbers are written as float16, otherwise as float32
    uint32_t n;
    const struct lg_lora_matrix *matrices;
};

/**
 * Writes a GGUF file, whole or not at all. Where `by_root` is set its alpha is such that alpha / rank is the factor.
 * LLMGPU_E_INVALID for what adapters cannot add to, or numbers that are not finite or, as float16, too large;
 * LLMGPU_E_UNSUPPORTED for several ranks with `by_root`; LLMGPU_E_IO, _NOMEM.
 */
int lg_lora_save_gguf(struct lg_env *env, const struct lg_model *model, const struct lg_lora_content *content,
                      const char *path);
/**
 * Writes adapter_config.json and adapter_model.safetensors into a folder, which is created when it is missing. Fails in the
 * same way; all ranks must be the same, or it is LLMGPU_E_UNSUPPORTED.
 */
int lg_lora_save_peft(struct lg_env *env, const struct lg_model *model, const struct lg_lora_content *content,
                      const char *folder);

#endif
