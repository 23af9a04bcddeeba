/* SPDX-License-Identifier: MIT
 *
 * An adapter file (LoRA, Hu et al. 2021): for some matrices W of a model a pair A (rank, n_in), B (n_out,
 * rank), so that y = W x + scale * alpha / rank * B (A x). It is a GGUF file with
 *
 *     general.type "adapter", general.architecture as the model's, adapter.type "lora"
 *     adapter.lora.alpha   f32; 0 or missing: the factor alpha / rank is 1
 *     NAME.lora_a, NAME.lora_b   the pair of the model's matrix NAME, such as "blk.0.attn_q.weight"
 *
 * or what PEFT saves, a safetensors file beside a file of JSON, adapter_config.json (peft.c), with
 *
 *     PREFIX.N.MODULE.lora_A.weight, PREFIX.N.MODULE.lora_B.weight   the pair of a layer's module as Hugging Face call it
 *     r, lora_alpha, use_rslora   the factor is lora_alpha / r, or with the last lora_alpha / sqrt(r)
 *
 * There, rows of a head of q and k come by halves; GGUF files of `llama` models have them in pairs, so they are put in that order.
 *
 * This module reads and checks it, and writes its numbers in the form that kernels/lora_*.comp read.
 *
 * Thread-safety: immutable once loaded.
 */
#ifndef LG_MODEL_LORA_H
#define LG_MODEL_LORA_H

#include "model/model.h"
#include "push.h"

enum { LG_MAX_RANK = 1024 };

/** What is added to one matrix. */
struct lg_lora_part {
    const struct lg_gguf_tensor *a, *b;
    uint32_t rank;    // 0: nothing
    uint32_t b_first; // row of b that the matrix begins with: q, k and v may share a tensor
    uint32_t head;    // rows of a head, of which b has the halves where the matrix has pairs; 0: b is as the matrix
};

struct lg_safetensors;

struct lg_lora {
    struct lg_env *env;
    const struct lg_model *model;
    struct lg_gguf *gguf; // one of the two
    struct lg_safetensors *safetensors;
    char name[128];             // "" when the file has none
    float alpha;                // 0 when the file has none
    bool by_root;               // the factor is alpha / sqrt(rank)
    uint32_t rank;              // the largest
    uint32_t n_targets;         // matrices of the file that it adds to
    struct lg_lora_part *parts; // [n_layers][LG_N_TARGETS]
    uint64_t layer_bytes;       // that lg_lora_write() fills at most
};

/**
 * Reads an adapter for a model that has its weights: a GGUF file, a safetensors file, or a folder with one, by what is in it. `env` and `model` must outlive it.
 * LLMGPU_E_IO, _FORMAT, _UNSUPPORTED (another base, target or kind) or _NOMEM, with the tensor or key in the
 * sentence.
 */
int lg_lora_load(struct lg_env *env, const struct lg_model *model, const char *path, struct lg_lora **out);
/** The same of a file that is open already, mapped or in memory; takes it over, also when it fails. */
int lg_lora_load_gguf(struct lg_env *env, const struct lg_model *model, struct lg_gguf *gguf,
                      struct lg_lora **out);
/** The same of safetensors, or a folder with adapter_model.safetensors, and adapter_config.json beside them. */
int lg_lora_load_peft_file(struct lg_env *env, const struct lg_model *model, const char *path, struct lg_lora **out);
/** The same of files in memory; takes the first over, also when it fails. `config` is only read meanwhile. */
int lg_lora_load_peft(struct lg_env *env, const struct lg_model *model, struct lg_safetensors *safetensors,
                      const char *config, size_t config_size, struct lg_lora **out);
/** NULL is allowed. */
void lg_lora_destroy(struct lg_lora *lora);

/**
 * Writes a layer's numbers as kernels read them.
 *
 * @param out   lora->layer_bytes zeros, aligned to 16 bytes
 * @param pairs LG_N_TARGETS of them; their places are counted from `at`, a multiple of 16 bytes
 */
void lg_lora_write(const struct lg_lora *lora, uint32_t layer, uint8_t *out, uint64_t at,
                   struct lg_lora_pair *pairs);

#endif
