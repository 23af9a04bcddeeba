/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Sessions: one conversation each, with its key/value cache and its sampler.
 *
 *     llmgpu_session_feed(s, tokens, n);
 *     while (llmgpu_session_next(s, &token) == 1)
 *         ...;
 */
#ifndef LLMGPU_SESSION_H
#define LLMGPU_SESSION_H

#include "llmgpu/model.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * One conversation.
 *
 * @par Thread-safety: one thread at a time, but for llmgpu_session_cancel(); different sessions may be used by different
 *      threads
 */
typedef struct llmgpu_session llmgpu_session;

/** Layout of the parameter structs of this header that the caller was compiled with. */
#define LLMGPU_SESSION_PARAMS_VERSION 1

/**
 * How the next token is chosen. The order is: penalties, top-k, top-p, min-p, temperature, draw. top-p and min-p look at
 * the probabilities before the temperature.
 *
 * The same model, seed and tokens give the same choice on the same device, however the prompt was cut into calls.
 */
typedef struct llmgpu_sampler_params {
    float temperature;       /**< 0 (default): always the most probable token; else 0.0 .. 100 */
    float top_p;             /**< smallest set of tokens with at least this probability; 1 (default): all */
    float min_p;             /**< tokens at least this probable relative to the best; 0 (default): all */
    float repeat_penalty;    /**< divides positive and multiplies negative logits of recent tokens (Keskar et al. 2019); 1 (default): off */
    float frequency_penalty; /**< subtracted once for each recent occurrence; 0 (default): off */
    float presence_penalty;  /**< subtracted once from each recent token; 0 (default): off */
    uint32_t top_k;          /**< the k most probable tokens; 0 (default): all */
    uint32_t penalty_last_n; /**< how many of the latest tokens, prompt included, are recent: 0 .. 256; default 64 */
    uint64_t seed;           /**< of the draw; default 0 */
} llmgpu_sampler_params;

/** Parameters of llmgpu_session_create(). */
typedef struct llmgpu_session_params {
    uint32_t version;           /**< set by llmgpu_session_params_init() */
    uint32_t n_ctx;             /**< tokens of context; 0 (default): what the model was trained for, at most 4096 */
    uint32_t n_batch;           /**< tokens of a prompt computed in one pass: 1 .. 4096, default 256 */
    uint32_t tokens_per_submit; /**< tokens decoded in one submission: 1 (default, least latency) .. 64 */
    uint32_t ignore_end;        /**< 1: end tokens do not end an answer; default 0 */
    uint32_t reserved;          /**< 0 */
    llmgpu_sampler_params sampler; /**< how tokens are chosen */
} llmgpu_session_params;

/** Fills the defaults; as llmgpu_context_params_init(). */
LLMGPU_API int llmgpu_session_params_init(llmgpu_session_params *params, uint32_t version);

/**
 * Begins a conversation.
 *
 * @param out    to be freed with llmgpu_session_free() before the model; NULL on failure
 * @param params NULL: defaults
 * @return 0; LLMGPU_E_INVALID for a parameter out of range or a model without weights; LLMGPU_E_NOMEM; a device
 *         failure. The sentence is in llmgpu_context_error() of the model's context.
 */
LLMGPU_API int llmgpu_session_create(llmgpu_session **out, llmgpu_model *model, const llmgpu_session_params *params);

/** NULL is allowed. */
LLMGPU_API void llmgpu_session_free(llmgpu_session *session);

/** The sentence of the last failed call on this session, "" when there was none. */
LLMGPU_API const char *llmgpu_session_error(const llmgpu_session *session);

/**
 * Adds tokens to the conversation and computes all but the last, which is computed when the next token is asked for: so
 * the work on a prompt does not depend on how it is cut into calls.
 *
 * @param tokens `n` ids, each inside the vocabulary
 * @return 0; LLMGPU_E_CONTEXT_FULL when they do not fit (nothing is added); LLMGPU_E_CANCELLED (what was computed is
 *         kept); LLMGPU_E_INVALID; a device failure
 */
LLMGPU_API int llmgpu_session_feed(llmgpu_session *session, const int32_t *tokens, size_t n);

/**
 * The next token of the model's answer. An end token is given once, then the answer is over until more is fed.
 *
 * @param token the id
 * @return 1 with a token; 0 when the answer is over; LLMGPU_E_CONTEXT_FULL; LLMGPU_E_CANCELLED; LLMGPU_E_INVALID when
 *         nothing was fed; a device failure
 */
LLMGPU_API int llmgpu_session_next(llmgpu_session *session, int32_t *token);

/**
 * Limits how many more tokens llmgpu_session_next() will give, so that no work is done beyond them; UINT32_MAX (the
 * state of a new session) is no limit.
 */
LLMGPU_API int llmgpu_session_set_remaining(llmgpu_session *session, uint32_t n);

/** Forgets the conversation but keeps the parameters; the seed begins anew. */
LLMGPU_API int llmgpu_session_reset(llmgpu_session *session);

/**
 * Makes the running call, or the next one, answer LLMGPU_E_CANCELLED soon.
 *
 * @par Thread-safety: safe, also in a signal handler
 */
LLMGPU_API void llmgpu_session_cancel(llmgpu_session *session);

/**
 * Scores a text: forgets the conversation, then computes how probable each token is after those before it.
 *
 * @param tokens    `n` ids, 1 <= n <= n_ctx
 * @param log_probs n - 1 natural logarithms: log_probs[i] is that of tokens[i + 1]; may be NULL
 * @param logits    [n, n_vocab] logits, row i after tokens[0..i]; may be NULL
 * @return 0, LLMGPU_E_CONTEXT_FULL, LLMGPU_E_CANCELLED, LLMGPU_E_INVALID, or a device failure
 */
LLMGPU_API int llmgpu_session_score(llmgpu_session *session, const int32_t *tokens, size_t n, float *log_probs,
                                    float *logits);

/** Counters of a session since it was created or reset. */
typedef struct llmgpu_session_stats {
    uint32_t n_ctx;          /**< tokens of context it has room for */
    uint32_t n_tokens;       /**< tokens in its context */
    uint32_t n_prompt;       /**< tokens fed */
    uint32_t n_generated;    /**< tokens given */
    uint64_t prompt_ns;      /**< nanoseconds spent in feeding */
    uint64_t decode_ns;      /**< nanoseconds spent in generating */
    uint64_t prompt_submits; /**< submissions to the device for feeding */
    uint64_t decode_submits; /**< submissions to the device for generating */
} llmgpu_session_stats;

/** Reads the counters. LLMGPU_E_INVALID for NULL. */
LLMGPU_API int llmgpu_session_get_stats(const llmgpu_session *session, llmgpu_session_stats *out);

#ifdef __cplusplus
}
#endif

#endif
