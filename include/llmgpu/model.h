/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Models: the weights, the tokenizer and the hyper-parameters of a GGUF file.
 */
#ifndef LLMGPU_MODEL_H
#define LLMGPU_MODEL_H

#include "llmgpu/context.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * A loaded model, shared by any number of sessions.
 *
 * @par Thread-safety: immutable once loaded; any thread may use it
 */
typedef struct llmgpu_model llmgpu_model;

/** Layout of llmgpu_model_params that the caller was compiled with. */
#define LLMGPU_MODEL_PARAMS_VERSION 1

/** Parameters of llmgpu_model_load(). */
typedef struct llmgpu_model_params {
    uint32_t version;    /**< set by llmgpu_model_params_init() */
    uint32_t vocab_only; /**< 1: the tokenizer alone, for files without weights; such a model has no sessions. Default 0 */
} llmgpu_model_params;

/** Fills the defaults; as llmgpu_context_params_init(). */
LLMGPU_API int llmgpu_model_params_init(llmgpu_model_params *params, uint32_t version);

/**
 * Loads a GGUF file (version 2 or 3, architectures llama, qwen2, gpt2).
 *
 * @param out    to be freed with llmgpu_model_free() before the context; NULL on failure
 * @param ctx    where the weights go
 * @param path   file name; on the CPU device the file stays mapped and must not be changed
 * @param params NULL: defaults
 * @return 0; LLMGPU_E_IO; LLMGPU_E_FORMAT for a damaged or lying file; LLMGPU_E_UNSUPPORTED for an architecture,
 *         weight type or tokenizer this version does not know; LLMGPU_E_NOMEM when the device cannot hold it;
 *         LLMGPU_E_INVALID. The sentence is llmgpu_context_error(ctx).
 */
LLMGPU_API int llmgpu_model_load(llmgpu_model **out, llmgpu_context *ctx, const char *path,
                                 const llmgpu_model_params *params);

/** Frees a model whose sessions are freed. NULL is allowed. */
LLMGPU_API void llmgpu_model_free(llmgpu_model *model);

/** Facts about a model. Counts are 0 and strings "" where a vocabulary alone was loaded. */
typedef struct llmgpu_model_info {
    char architecture[64];    /**< "llama" */
    char name[128];           /**< `general.name` */
    uint32_t n_layers;        /**< blocks */
    uint32_t n_embd;          /**< width of the residual stream */
    uint32_t n_heads;         /**< query heads */
    uint32_t n_kv_heads;      /**< key/value heads */
    uint32_t n_vocab;         /**< tokens */
    uint32_t n_ctx_train;     /**< positions it was trained for */
    uint64_t n_params;        /**< weights */
    uint64_t weight_bytes;    /**< bytes of weights on the device */
    uint64_t bytes_per_token; /**< weight bytes that one decoded token reads */
    int32_t token_bos;        /**< -1 when there is none, as below */
    int32_t token_eos;
    int32_t token_eot;
    uint32_t add_bos;         /**< 1: tokenising with LLMGPU_TOKENIZE_ADD_SPECIAL begins with BOS */
} llmgpu_model_info;

/** Reads the facts. LLMGPU_E_INVALID for NULL. */
LLMGPU_API int llmgpu_model_get_info(const llmgpu_model *model, llmgpu_model_info *out);

/** Flags of llmgpu_tokenize(), llmgpu_detokenize() and llmgpu_decoder_create(). */
enum llmgpu_tokenize_flags {
    LLMGPU_TOKENIZE_ADD_SPECIAL = 1,   /**< BOS and EOS where the model asks for them */
    LLMGPU_TOKENIZE_PARSE_SPECIAL = 2, /**< control tokens written in the text ("<|im_end|>") become their ids; in
                                            detokenising: control tokens are written out */
    LLMGPU_DETOKENIZE_CONTINUE = 4,    /**< in detokenising: the text continues another, so the leading space that some
                                            vocabularies put before a text is part of it */
};

/**
 * Text to token ids, exactly as the model was trained. Invalid UTF-8 is not an error; its bytes are encoded.
 *
 * @param text     `len` bytes; a NUL is a byte like others
 * @param flags    llmgpu_tokenize_flags
 * @param tokens   room for `capacity` ids; may be NULL when it is 0
 * @param n_tokens how many the text has, also when the room is too small
 * @return 0; LLMGPU_E_RANGE when the room is too small (nothing useful is written); LLMGPU_E_NOMEM; LLMGPU_E_INVALID
 */
LLMGPU_API int llmgpu_tokenize(const llmgpu_model *model, const char *text, size_t len, uint32_t flags,
                               int32_t *tokens, size_t capacity, size_t *n_tokens);

/**
 * Token ids to text, without a NUL. Bytes that do not form UTF-8 are given as U+FFFD.
 *
 * @param text room for `capacity` bytes; may be NULL when it is 0
 * @param len  bytes of the text, also when the room is too small
 * @return 0; LLMGPU_E_RANGE; LLMGPU_E_INVALID for an id outside the vocabulary
 */
LLMGPU_API int llmgpu_detokenize(const llmgpu_model *model, const int32_t *tokens, size_t n_tokens, uint32_t flags,
                                 char *text, size_t capacity, size_t *len);

/** Whether generation ends at this token (end of text, of turn, ...). 0 or 1. */
LLMGPU_API int llmgpu_model_is_end(const llmgpu_model *model, int32_t token);

/**
 * Joins tokens to text as they come, never giving half a UTF-8 character.
 *
 * @par Thread-safety: one thread at a time
 */
typedef struct llmgpu_decoder llmgpu_decoder;

/** @param flags llmgpu_tokenize_flags. The model must outlive the decoder. */
LLMGPU_API int llmgpu_decoder_create(llmgpu_decoder **out, const llmgpu_model *model, uint32_t flags);

/**
 * Adds a token.
 *
 * @param text the text that is now complete, with a NUL behind it; "" when a character is unfinished. Valid until the
 *             next call on the decoder.
 * @param len  its bytes; may be NULL
 * @return 0, LLMGPU_E_INVALID for an id outside the vocabulary, LLMGPU_E_NOMEM
 */
LLMGPU_API int llmgpu_decoder_push(llmgpu_decoder *decoder, int32_t token, const char **text, size_t *len);

/** Gives U+FFFD for what is unfinished and begins a new text. */
LLMGPU_API int llmgpu_decoder_finish(llmgpu_decoder *decoder, const char **text, size_t *len);

/** NULL is allowed. */
LLMGPU_API void llmgpu_decoder_free(llmgpu_decoder *decoder);

#ifdef __cplusplus
}
#endif

#endif
