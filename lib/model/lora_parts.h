/* SPDX-License-Identifier: MIT
 *
 * What the readers of adapter files share: lora.c of GGUF, peft.c of safetensors. Private to lib/model.
 */
#ifndef LG_MODEL_LORA_PARTS_H
#define LG_MODEL_LORA_PARTS_H

#include "model/lora.h"

/** A matrix of a layer, or several, one behind the other, and what files call it. */
struct lg_lora_name {
    const char *gguf; // between "blk.N." and ".weight"
    const char *peft; // behind "layers.N."; NULL: it is of models that have the next
    const char *gpt2; // behind "h.N."
    enum lg_target first;
    uint32_t n;
    bool fused; // of models with one tensor for q, k and v; otherwise of the others
};

enum { LG_N_LORA_NAMES = 8 };
extern const struct lg_lora_name lg_lora_names[LG_N_LORA_NAMES];

/** The table's row of a matrix's name, "blk.N.NAME.weight"; NULL when there is none. */
const struct lg_lora_name *lg_lora_find_name(struct lg_str name, uint32_t *layer);

/** Sentences about a tensor. */
int lg_lora_fail(const struct lg_lora *lora, int code, const struct lg_gguf_tensor *t, const char *what);

/** Whether the model has what a name stands for; LLMGPU_E_UNSUPPORTED, about the tensor `t`, when not. */
int lg_lora_check_target(const struct lg_lora *lora, const struct lg_gguf_tensor *t, uint32_t layer,
                         const struct lg_lora_name *name);
/**
 * Takes a pair, which is to fit that. `swapped`: rows of q and k are by halves of a head, which the model has in pairs.
 */
int lg_lora_add_pair(struct lg_lora *lora, const struct lg_gguf_tensor *a, const struct lg_gguf_tensor *b, uint32_t layer,
                     const struct lg_lora_name *name, bool swapped);

/** What B (A x) is multiplied with, before the user's scale. */
float lg_lora_factor(const struct lg_lora *lora, uint32_t rank);
/** A pair as float32, for the rows of a matrix as the model has them: a (rank, cols), b (rows, rank). */
void lg_lora_decode(const struct lg_lora_part *part, const struct lg_weight *w, float *a, float *b);

/** Makes an adapter without a file; lg_lora_destroy() frees it. */
int lg_lora_create(struct lg_env *env, const struct lg_model *model, struct lg_lora **out);
/** Ends reading: with rc below 0, or without any pair, the adapter is destroyed. */
int lg_lora_finish(struct lg_lora *lora, int rc, struct lg_lora **out);

/** Takes a beginning or an end off a text; false when it does not have it. */
bool lg_lora_take_prefix(struct lg_str *s, const char *prefix);
bool lg_lora_take_suffix(struct lg_str *s, const char *suffix);
/** Takes a decimal number as it is written: no other text gives the same one. */
bool lg_lora_take_number(struct lg_str *s, uint32_t *out);

#endif
