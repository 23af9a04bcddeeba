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
 * A loaded model, shared by any number of sessions. Sessions keep it alive: it may be freed before them.
 *
 * @par Thread-safety: immutable once loaded; any thread may use it
 */
typedef struct llmgpu_model llmgpu_model;

/**
 * Told how far loading is: often enough that a cancel takes effect within 50 ms.
 *
 * @param user  as given in the parameters
 * @param done  bytes of the file that are dealt with
 * @param total bytes of the file
 * @return 0 to go on; anything else ends the load with LLMGPU_E_CANCELLED
 * @par Thread-safety: called on the thread that loads; it must not call the library, but for the cancel functions
 */
typedef int (*llmgpu_progress_fn)(void *user, uint64_t done, uint64_t total);

/** Parameters of the load functions. Filled by llmgpu_model_params_init(); then single members are changed. */
typedef struct llmgpu_model_params {
    uint32_t size;       /**< set by llmgpu_model_params_init() */
    uint32_t vocab_only; /**< 1: the tokenizer alone, for files without weights; such a model has no sessions. Default 0 */
    uint64_t file_offset; /**< bytes into the file where the GGUF begins, for pack files; default 0 */
    uint64_t file_length; /**< bytes of it; 0 (default): to the end of the file */
    llmgpu_progress_fn progress; /**< NULL (default): none */
    void *progress_user; /**< passed to `progress` */
} llmgpu_model_params;

/**
 * Fills the defaults.
 *
 * @param params to fill
 * @param size   sizeof(llmgpu_model_params); see llmgpu_context_params_init()
 * @return 0 or LLMGPU_E_INVALID
 * @par Thread-safety: safe
 */
LLMGPU_API int llmgpu_model_params_init(llmgpu_model_params *params, size_t size);

/**
 * Loads a GGUF file (version 2 or 3, architectures llama, qwen2, gpt2).
 *
 * @param out    to be freed with llmgpu_model_free(); NULL on failure
 * @param ctx    where the weights go
 * @param path   file name; the file stays mapped and must not be changed while the model is there: the CPU device reads
 *               the weights in place, and llmgpu_context_recover() reads them again
 * @param params NULL: defaults
 * @return 0; LLMGPU_E_IO; LLMGPU_E_FORMAT for a damaged or lying file; LLMGPU_E_UNSUPPORTED for an architecture,
 *         weight type or tokenizer this version does not know; LLMGPU_E_NOMEM when the device cannot hold it;
 *         LLMGPU_E_LIMIT beyond llmgpu_context_params::max_memory; LLMGPU_E_CANCELLED; LLMGPU_E_INVALID. The sentence is
 *         llmgpu_context_error(ctx).
 * @par Thread-safety: safe
 */
LLMGPU_API int llmgpu_model_load(llmgpu_model **out, llmgpu_context *ctx, const char *path,
                                 const llmgpu_model_params *params);

/**
 * The same of a file that is in memory.
 *
 * @param out    to be freed with llmgpu_model_free(); NULL on failure
 * @param ctx    where the weights go
 * @param data   the file; it is not copied on devices that read host memory in place (the CPU), and must stay as it is
 *               until the model and its sessions are freed
 * @param size   bytes
 * @param params NULL: defaults
 * @return as llmgpu_model_load(); LLMGPU_E_INVALID also when the part that `params` choose is not inside
 * @par Thread-safety: safe
 */
LLMGPU_API int llmgpu_model_load_memory(llmgpu_model **out, llmgpu_context *ctx, const void *data, size_t size,
                                        const llmgpu_model_params *params);

/** A file behind callbacks: encrypted, compressed by blocks, in a database. */
typedef struct llmgpu_io {
    uint32_t size;        /**< sizeof(llmgpu_io) */
    uint32_t reserved;    /**< 0 */
    uint64_t file_size;   /**< bytes that can be read */
    /**
     * Reads `n` bytes at `offset` into `to`; never asked beyond file_size. Mostly ascending, each byte at most a few
     * times. Returns 0, or anything else when it failed: the load answers LLMGPU_E_IO.
     */
    int (*read)(void *user, uint64_t offset, void *to, size_t n);
    void (*close)(void *user); /**< called once, when the model no longer needs the file, also when loading fails, for
                                    whatever reason but a wrong `size`; NULL: nothing to do */
    void *user;           /**< passed to both */
} llmgpu_io;

/**
 * The same of a file behind callbacks. No second copy of the file is made in host memory. It is read while loading and
 * by llmgpu_context_recover(); the callbacks must work until the model is freed.
 *
 * @param out    to be freed with llmgpu_model_free(); NULL on failure
 * @param ctx    where the weights go
 * @param io     copied
 * @param params NULL: defaults; its offset and length are counted in what `io` reads
 * @return as llmgpu_model_load_memory(); LLMGPU_E_IO when a read fails; LLMGPU_E_UNSUPPORTED also for a header beyond
 *         1 GiB, which would have to be kept in memory
 * @par Thread-safety: safe
 */
LLMGPU_API int llmgpu_model_load_io(llmgpu_model **out, llmgpu_context *ctx, const llmgpu_io *io,
                                    const llmgpu_model_params *params);

/**
 * Lets go of a model; it is freed when its sessions are.
 *
 * @param model NULL is allowed
 * @par Thread-safety: nothing else may use the handle; its sessions may be in use
 */
LLMGPU_API void llmgpu_model_free(llmgpu_model *model);

/**
 * The sentence of the last failed call on the model's context: llmgpu_context_error() for who has the model alone, be the
 * context's own handle freed or not.
 *
 * @param model NULL is allowed
 * @return "" when there was none; valid until the next call on the context
 * @par Thread-safety: only while no other thread calls on the context
 */
LLMGPU_API const char *llmgpu_model_error(const llmgpu_model *model);

/** What a model and its sessions will take; bytes, exact to 2% of what llmgpu_context_stats then shows. */
typedef struct llmgpu_estimate {
    uint64_t device_bytes;     /**< of the device's memory, all together */
    uint64_t weight_bytes;     /**< of these: the model itself */
    uint64_t cache_bytes;      /**< keys and values of all sessions */
    uint64_t work_bytes;       /**< activations, logits, tables, recorded passes: of prompts and answers */
    uint64_t mapped_bytes;     /**< of the file that stay mapped where the device reads them in place; not counted above */
    uint64_t available_bytes;  /**< what the device can still give; 0 when it does not say */
} llmgpu_estimate;

struct llmgpu_session_params;

/**
 * Says how much memory a model would take, without loading it: the file's header is read and nothing is put on the
 * device.
 *
 * @param out        to fill
 * @param size       sizeof(llmgpu_estimate)
 * @param ctx        the device it is for
 * @param path       file name
 * @param params     NULL: defaults
 * @param session    parameters of its sessions, as of llmgpu_session_create(); NULL: defaults
 * @param n_sessions how many of them; 0: the weights alone
 * @return 0, or what llmgpu_model_load() and llmgpu_session_create() would answer, but for LLMGPU_E_NOMEM and
 *         LLMGPU_E_LIMIT because of sizes. The sentence is llmgpu_context_error(ctx).
 * @par Thread-safety: safe
 */
LLMGPU_API int llmgpu_model_estimate(llmgpu_estimate *out, size_t size, llmgpu_context *ctx, const char *path,
                                     const llmgpu_model_params *params, const struct llmgpu_session_params *session,
                                     uint32_t n_sessions);

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
    int32_t token_bos;        /**< begins a text; -1 when there is none, as below */
    int32_t token_eos;        /**< ends a text */
    int32_t token_eot;        /**< ends a turn */
    uint32_t add_bos;         /**< 1: tokenising with LLMGPU_TOKENIZE_ADD_SPECIAL begins with BOS */
    uint64_t load_ns;         /**< nanoseconds that loading took, from the call to its end */
    uint64_t put_ns;          /**< of these, until the weights were on the device: weight_bytes / put_ns is the speed
                                   in GB/s. Next to nothing where the device reads them in place */
} llmgpu_model_info;

/**
 * Reads the facts.
 *
 * @param model to read
 * @param out   to fill
 * @param size  sizeof(llmgpu_model_info)
 * @return 0 or LLMGPU_E_INVALID
 */
LLMGPU_API int llmgpu_model_get_info(const llmgpu_model *model, llmgpu_model_info *out, size_t size);

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
 * @param model    whose tokenizer
 * @param text     UTF-8; a NUL is a byte like others
 * @param len      bytes of it
 * @param flags    llmgpu_tokenize_flags
 * @param tokens   receives the ids; may be NULL when `capacity` is 0
 * @param capacity how many fit
 * @param n_tokens how many the text has, also when the room is too small
 * @return 0; LLMGPU_E_RANGE when the room is too small (nothing useful is written); LLMGPU_E_NOMEM; LLMGPU_E_INVALID, also
 *         for flags that there are not, here and below
 */
LLMGPU_API int llmgpu_tokenize(const llmgpu_model *model, const char *text, size_t len, uint32_t flags,
                               int32_t *tokens, size_t capacity, size_t *n_tokens);

/**
 * Token ids to text, without a NUL. Bytes that do not form UTF-8 are given as U+FFFD.
 *
 * @param model    whose vocabulary
 * @param tokens   ids
 * @param n_tokens how many
 * @param flags    llmgpu_tokenize_flags
 * @param text     receives the text; may be NULL when `capacity` is 0
 * @param capacity bytes at `text`
 * @param len      bytes of the text, also when the room is too small
 * @return 0; LLMGPU_E_RANGE; LLMGPU_E_INVALID for an id outside the vocabulary
 */
LLMGPU_API int llmgpu_detokenize(const llmgpu_model *model, const int32_t *tokens, size_t n_tokens, uint32_t flags,
                                 char *text, size_t capacity, size_t *len);

/**
 * Whether generation ends at a token: end of text, of turn, ...
 *
 * @param model whose vocabulary
 * @param token any id
 * @return 1 or 0; 0 for NULL
 */
LLMGPU_API int llmgpu_model_is_end(const llmgpu_model *model, int32_t token);

/**
 * Joins tokens to text as they come, never giving half a UTF-8 character.
 *
 * @par Thread-safety: one thread at a time
 */
typedef struct llmgpu_decoder llmgpu_decoder;

/**
 * Begins a text.
 *
 * @param out   to be freed with llmgpu_decoder_free(); NULL on failure. It keeps the model alive.
 * @param model whose vocabulary is used
 * @param flags llmgpu_tokenize_flags
 * @return 0, LLMGPU_E_NOMEM, LLMGPU_E_INVALID
 */
LLMGPU_API int llmgpu_decoder_create(llmgpu_decoder **out, const llmgpu_model *model, uint32_t flags);

/**
 * Adds a token.
 *
 * @param decoder of which text
 * @param token   its next id
 * @param text    what is now complete, with a NUL behind it; "" when a character is unfinished. Valid until the next call
 *                on the decoder.
 * @param len     its bytes; may be NULL
 * @return 0, LLMGPU_E_INVALID for an id outside the vocabulary, LLMGPU_E_NOMEM
 */
LLMGPU_API int llmgpu_decoder_push(llmgpu_decoder *decoder, int32_t token, const char **text, size_t *len);

/**
 * Gives U+FFFD for what is unfinished and begins a new text.
 *
 * @param decoder of which text
 * @param text    as of llmgpu_decoder_push()
 * @param len     its bytes; may be NULL
 * @return 0 or LLMGPU_E_INVALID
 */
LLMGPU_API int llmgpu_decoder_finish(llmgpu_decoder *decoder, const char **text, size_t *len);

/**
 * Frees a decoder.
 *
 * @param decoder NULL is allowed
 */
LLMGPU_API void llmgpu_decoder_free(llmgpu_decoder *decoder);

#ifdef __cplusplus
}
#endif

#endif
