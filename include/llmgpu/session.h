/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Sessions: one conversation each, with its key/value cache and its sampler. There are three ways to run one.
 *
 * Blocking, the simplest:
 *
 *     llmgpu_session_feed_text(s, prompt, strlen(prompt), flags);
 *     llmgpu_session_generate(s, 256, on_text, user);
 *
 * Pulling, inside a loop that has other things to do. next() never works by itself; llmgpu_context_step() does, for as
 * long as it is allowed to, and llmgpu_session_wait() until there is something to take:
 *
 *     llmgpu_session_feed(s, tokens, n);
 *     while ((rc = llmgpu_session_next(s, &token)) > 0) {
 *         if (rc == LLMGPU_AGAIN)
 *             llmgpu_context_step(ctx, 2000);
 *         else
 *             ...;
 *     }
 *
 * In the background: after llmgpu_context_start() a thread of the library does the work, and a file descriptor or a
 * callback tells when there is something to take.
 */
#ifndef LLMGPU_SESSION_H
#define LLMGPU_SESSION_H

#include "llmgpu/model.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * One conversation. It keeps its model and context alive.
 *
 * @par Thread-safety: one thread at a time, but for llmgpu_session_cancel(); different sessions may be used by different
 *      threads. Calls from two threads at once do no harm but to the order of things.
 */
typedef struct llmgpu_session llmgpu_session;

/**
 * How the next token is chosen. The order is: logit biases, penalties, the mask, top-k, top-p, min-p, temperature, draw.
 * top-p and min-p look at the probabilities before the temperature.
 *
 * The same model, seed and tokens give the same choice on the same device, however the prompt was cut into calls and
 * whatever else runs: the draw depends on the seed and the token's position.
 */
typedef struct llmgpu_sampler_params {
    uint32_t size;           /**< set by llmgpu_sampler_params_init() */
    float temperature;       /**< 0 (default): always the most probable token; else 0.0 .. 100 */
    float top_p;             /**< smallest set of tokens with at least this probability; 1 (default): all */
    float min_p;             /**< tokens at least this probable relative to the best; 0 (default): all */
    float repeat_penalty;    /**< divides positive and multiplies negative logits of recent tokens (Keskar et al. 2019);
                                  1 (default): off */
    float frequency_penalty; /**< subtracted once for each recent occurrence; 0 (default): off */
    float presence_penalty;  /**< subtracted once from each recent token; 0 (default): off */
    uint32_t top_k;          /**< the k most probable tokens; 0 (default): all */
    uint32_t penalty_last_n; /**< how many of the latest tokens, prompt included, are recent: 0 .. 256; default 64 */
    uint32_t reserved;       /**< 0 */
    uint64_t seed;           /**< of the draw; default 0 */
} llmgpu_sampler_params;

/**
 * Fills the defaults: greedy.
 *
 * @param params to fill
 * @param size   sizeof(llmgpu_sampler_params); see llmgpu_context_params_init()
 * @return 0 or LLMGPU_E_INVALID
 * @par Thread-safety: safe
 */
LLMGPU_API int llmgpu_sampler_params_init(llmgpu_sampler_params *params, size_t size);

/** What happens when a token is wanted and the context is full. */
enum llmgpu_when_full {
    LLMGPU_WHEN_FULL_ERROR = 0, /**< LLMGPU_E_CONTEXT_FULL */
    LLMGPU_WHEN_FULL_STOP = 1,  /**< the answer is over, as with an end token */
    LLMGPU_WHEN_FULL_RING = 2,  /**< the older half of the conversation is forgotten */
    LLMGPU_WHEN_FULL_SLIDE = 3, /**< its first n_keep tokens stay (a system prompt, attention sinks), and of the others
                                     the older half is forgotten */
};

/**
 * Parameters of llmgpu_session_create(). The limits are off when they are 0; what would pass one answers LLMGPU_E_LIMIT
 * with its name in the sentence, beside those of the context.
 */
typedef struct llmgpu_session_params {
    uint32_t size;              /**< set by llmgpu_session_params_init() */
    uint32_t n_ctx;             /**< tokens of context; 0 (default): what the model was trained for, at most 4096 */
    uint32_t n_batch;           /**< tokens of a prompt computed in one pass: 1 .. 4096, default 256 */
    uint32_t tokens_per_submit; /**< tokens decoded in one submission: 1 (default, least latency) .. 64. A step with a
                                     budget decodes one by one */
    uint32_t ignore_end;        /**< 1: end tokens do not end an answer; default 0 */
    uint32_t n_candidates;      /**< most probable tokens to be told with each, see llmgpu_session_get_candidates():
                                     0 (default) .. 32 */
    uint32_t max_prompt_tokens;    /**< tokens that may be fed until a reset */
    uint32_t max_generated_tokens; /**< tokens that may be generated until a reset */
    uint32_t max_time_ms;       /**< milliseconds of work on the device until a reset */
    uint32_t reserved;          /**< 0 */
    uint64_t max_memory;        /**< bytes of device memory that its cache may take */
    int32_t priority;           /**< -8 .. 8, default 0: who has more goes first; whoever waits gets a turn in the end */
    int32_t when_full;          /**< an llmgpu_when_full; default LLMGPU_WHEN_FULL_ERROR. What stays of a conversation that
                                     forgets is computed again, at the positions that it moves to; tokens that are fed make
                                     room for themselves in the same way */
    uint32_t n_keep;            /**< tokens that LLMGPU_WHEN_FULL_SLIDE keeps: 0 (default) .. n_ctx / 2 */
    uint32_t reserved_2;        /**< 0 */
} llmgpu_session_params;

/**
 * Fills the defaults.
 *
 * @param params to fill
 * @param size   sizeof(llmgpu_session_params); see llmgpu_context_params_init()
 * @return 0 or LLMGPU_E_INVALID
 * @par Thread-safety: safe
 */
LLMGPU_API int llmgpu_session_params_init(llmgpu_session_params *params, size_t size);

/**
 * Begins a conversation, with the greedy sampler.
 *
 * @param out    to be freed with llmgpu_session_free(); NULL on failure
 * @param model  what it talks to
 * @param params NULL: defaults
 * @return 0; LLMGPU_E_INVALID for a parameter out of range or a model without weights; LLMGPU_E_LIMIT; LLMGPU_E_NOMEM;
 *         LLMGPU_E_UNSUPPORTED for a cache beyond the device's limits; a device failure. The sentence is
 *         llmgpu_model_error().
 * @par Thread-safety: safe
 */
LLMGPU_API int llmgpu_session_create(llmgpu_session **out, llmgpu_model *model, const llmgpu_session_params *params);

/**
 * Another session with the same tokens, sampler, logit biases, stops and parameters. What was computed is shared,
 * page by page, until one of the two writes into it (copy on write). Tokens that the original has computed but not
 * given yet, and its deadline, notification and mask, stay with it.
 *
 * @param out      to be freed with llmgpu_session_free(); NULL on failure
 * @param original goes on as before
 * @return as llmgpu_session_create()
 */
LLMGPU_API int llmgpu_session_fork(llmgpu_session **out, llmgpu_session *original);

/**
 * Ends a conversation; sessions that share its pages go on.
 *
 * @param session NULL is allowed
 */
LLMGPU_API void llmgpu_session_free(llmgpu_session *session);

/**
 * The sentence of the last failed call on this session.
 *
 * @param session NULL is allowed
 * @return "" when there was none; valid until the next call on the session
 */
LLMGPU_API const char *llmgpu_session_error(const llmgpu_session *session);

/**
 * Changes how tokens are chosen, from the next one on.
 *
 * @param session whose tokens
 * @param sampler NULL: greedy
 * @return 0; LLMGPU_E_INVALID for a value out of range
 */
LLMGPU_API int llmgpu_session_set_sampler(llmgpu_session *session, const llmgpu_sampler_params *sampler);

/** What is added to the logit of a token. */
typedef struct llmgpu_logit_bias {
    int32_t token; /**< id */
    float bias;    /**< -1000 .. 1000; -infinity: the token is never drawn */
} llmgpu_logit_bias;

/**
 * Makes tokens more or less probable, from the next one on, in place of the biases that were set before. They are added to
 * the model's logits before all that llmgpu_sampler_params says; probabilities that are told stay those of the model. A
 * reset keeps them, a fork has them too, and a saved state does not. What was sampled and not taken yet is forgotten.
 *
 * @param session whose tokens
 * @param biases  copied; each token once
 * @param n       how many: 0 (none any more) .. 256
 * @return 0; LLMGPU_E_INVALID for a token twice or outside of the vocabulary, a value out of range, or when no token is
 *         left; LLMGPU_E_LIMIT beyond 256
 */
LLMGPU_API int llmgpu_session_set_logit_bias(llmgpu_session *session, const llmgpu_logit_bias *biases, size_t n);

/* ---- what goes in ------------------------------------------------------------------------------------------------ */

/**
 * Adds tokens to the conversation. Nothing is computed here. Sampled tokens that were not taken yet are forgotten: the
 * new ones come in their place.
 *
 * @param session where they are added
 * @param tokens  ids, each inside the vocabulary
 * @param n       how many; 0 is no failure
 * @return 0; LLMGPU_E_CONTEXT_FULL when they do not fit, LLMGPU_E_LIMIT (nothing is added); LLMGPU_E_CANCELLED;
 *         LLMGPU_E_TIMEOUT; LLMGPU_E_INVALID
 */
LLMGPU_API int llmgpu_session_feed(llmgpu_session *session, const int32_t *tokens, size_t n);

/**
 * The same of a text, tokenised as by llmgpu_tokenize().
 *
 * @param session where it is added
 * @param text    UTF-8; a NUL is a byte like others
 * @param len     bytes of it
 * @param flags   llmgpu_tokenize_flags
 * @return as llmgpu_session_feed(); LLMGPU_E_NOMEM
 */
LLMGPU_API int llmgpu_session_feed_text(llmgpu_session *session, const char *text, size_t len, uint32_t flags);

/* ---- what comes out ---------------------------------------------------------------------------------------------- */

/** What llmgpu_session_next() and llmgpu_session_next_text() answer beside failures. */
enum llmgpu_next {
    LLMGPU_DONE = 0,  /**< the answer is over until more is fed */
    LLMGPU_TOKEN = 1, /**< there is one */
    LLMGPU_AGAIN = 2, /**< not yet: work has to be done first */
};

/**
 * The next token of the model's answer; an end token is given, then the answer is over. Does no work and does not wait.
 *
 * @param session of which conversation
 * @param token   the id, when the answer is LLMGPU_TOKEN
 * @return LLMGPU_TOKEN, LLMGPU_DONE, LLMGPU_AGAIN; LLMGPU_E_CONTEXT_FULL; LLMGPU_E_CANCELLED, once; LLMGPU_E_TIMEOUT;
 *         LLMGPU_E_LIMIT; LLMGPU_E_INVALID when nothing was fed; a device failure
 */
LLMGPU_API int llmgpu_session_next(llmgpu_session *session, int32_t *token);

/**
 * The next piece of the answer's text: whole characters, without end tokens, and without what may still become a stop
 * string. It takes tokens as llmgpu_session_next() does; use one of the two for an answer.
 *
 * @param session of which conversation
 * @param text    `*len` bytes with a NUL behind them, valid until the next call on the session
 * @param len     bytes of it; may be NULL
 * @return as llmgpu_session_next()
 */
LLMGPU_API int llmgpu_session_next_text(llmgpu_session *session, const char **text, size_t *len);

/**
 * Works, or with a background thread sleeps, until llmgpu_session_next() will not answer LLMGPU_AGAIN.
 *
 * @param session    of which conversation
 * @param timeout_us microseconds; 0 only looks; UINT64_MAX: no limit
 * @return 0; LLMGPU_E_TIMEOUT. Other failures are told by llmgpu_session_next().
 */
LLMGPU_API int llmgpu_session_wait(llmgpu_session *session, uint64_t timeout_us);

/**
 * Works, or with a background thread sleeps, until all that was fed is computed but for the last token, which is computed
 * with the next one. No tokens are generated by it.
 *
 * @param session what it was fed to
 * @return 0; LLMGPU_E_CANCELLED: what was not computed yet is forgotten; LLMGPU_E_TIMEOUT; LLMGPU_E_LIMIT; a device failure
 */
LLMGPU_API int llmgpu_session_prefill(llmgpu_session *session);

/**
 * Makes everything ready that a first step would otherwise have to do: passes are recorded, the driver compiles their
 * kernels, and slices are measured, so that llmgpu_context_step() keeps to its budgets from the first on. For a loading
 * screen; it takes as long as a few tokens, and where a driver compiles for the first time some seconds.
 *
 * @param session whose conversation stays as it is
 * @return 0; LLMGPU_E_CONTEXT_FULL; LLMGPU_E_CANCELLED; LLMGPU_E_NOMEM; LLMGPU_E_BUSY; a device failure
 */
LLMGPU_API int llmgpu_session_warm_up(llmgpu_session *session);

/**
 * Receives the text of an answer.
 *
 * @param user as given to llmgpu_session_generate()
 * @param text whole characters with a NUL behind them, valid during the call
 * @param len  bytes of it
 * @return 0 to go on; anything else ends llmgpu_session_generate() with LLMGPU_E_CANCELLED
 */
typedef int (*llmgpu_text_fn)(void *user, const char *text, size_t len);

/**
 * Generates until the answer is over, and returns then.
 *
 * @param session    of which conversation
 * @param max_tokens at most so many; UINT32_MAX: as many as fit
 * @param on_text    called for each piece of text on this thread; NULL: the text is not wanted
 * @param user       passed to on_text
 * @return 0; LLMGPU_E_CANCELLED; LLMGPU_E_CONTEXT_FULL, LLMGPU_E_TIMEOUT, LLMGPU_E_LIMIT: the text until then was given;
 *         LLMGPU_E_INVALID; a device failure
 */
LLMGPU_API int llmgpu_session_generate(llmgpu_session *session, uint32_t max_tokens, llmgpu_text_fn on_text, void *user);

/**
 * Limits how many more tokens llmgpu_session_next() will give, so that no work is done beyond them; UINT32_MAX (the
 * state of a new session) is no limit.
 *
 * @param session of which conversation
 * @param n       tokens from now on
 * @return 0 or LLMGPU_E_INVALID
 */
LLMGPU_API int llmgpu_session_set_remaining(llmgpu_session *session, uint32_t n);

/**
 * Ends answers at a text, which is cut off: wherever it lies in the tokens. The context keeps the tokens up to the one
 * that completed it.
 *
 * @param session whose answers
 * @param text    copied
 * @param len     its bytes: 1 .. 256
 * @return 0; LLMGPU_E_LIMIT beyond 16 texts; LLMGPU_E_NOMEM; LLMGPU_E_INVALID
 */
LLMGPU_API int llmgpu_session_add_stop(llmgpu_session *session, const char *text, size_t len);

/**
 * Ends answers at a token, beside the model's own end tokens and also when these are ignored.
 *
 * @param session whose answers
 * @param token   an id of the vocabulary
 * @return 0; LLMGPU_E_LIMIT beyond 16 tokens; LLMGPU_E_INVALID
 */
LLMGPU_API int llmgpu_session_add_stop_token(llmgpu_session *session, int32_t token);

/**
 * Removes all stop texts and stop tokens.
 *
 * @param session whose answers
 * @return 0 or LLMGPU_E_INVALID
 */
LLMGPU_API int llmgpu_session_clear_stops(llmgpu_session *session);

/* ---- stopping, waiting ------------------------------------------------------------------------------------------- */

/**
 * Makes the running call, or the next one, answer LLMGPU_E_CANCELLED: within 50 ms on the CPU, and on a GPU after the
 * submission that runs, which is about 25 ms of a prompt, or llmgpu_session_params::tokens_per_submit tokens. What was
 * fed and not computed yet is forgotten; the rest stays, and the session can go on.
 *
 * @param session NULL is allowed
 * @par Thread-safety: safe, also in a signal handler
 */
LLMGPU_API void llmgpu_session_cancel(llmgpu_session *session);

/**
 * Changes how urgent the session is beside the context's others, from its next pass on.
 *
 * @param session  whose
 * @param priority as in llmgpu_session_params
 * @return 0 or LLMGPU_E_INVALID
 */
LLMGPU_API int llmgpu_session_set_priority(llmgpu_session *session, int32_t priority);

/** Where tokens are drafted (speculative decoding). */
enum llmgpu_speculation {
    LLMGPU_SPECULATION_NONE = 0,
    LLMGPU_SPECULATION_LOOKUP = 1, /**< from what was said after the same words before (prompt lookup) */
    LLMGPU_SPECULATION_DRAFT = 2,  /**< from a session of another, smaller model */
};

/**
 * Has tokens drafted, and several of them checked in one pass. Tokens stay the same as without, to the last bit, whatever
 * the sampler: a draft only counts when it is what would have been drawn (Leviathan et al. 2023, with the draws coupled). It
 * pays where a pass of several rows costs little more than one of a single row. Sessions that are told candidates draft
 * nothing. llmgpu_session_stats tells how many drafts counted.
 *
 * @param session whose tokens
 * @param kind    an llmgpu_speculation
 * @param n_draft tokens to draft at once, 1 .. 16
 * @param draft   for LLMGPU_SPECULATION_DRAFT, otherwise NULL: a session of the same context whose model has the same
 *                vocabulary. Its conversation becomes that of `session`, and nobody else may use it until it is freed, or
 *                given up by another call of this function; freeing it ends the drafting. A draft is right the more often, the
 *                more alike the samplers of the two are, their seeds among them.
 * @return 0; LLMGPU_E_INVALID, also for a session that drafts for another one
 */
LLMGPU_API int llmgpu_session_set_speculation(llmgpu_session *session, int kind, uint32_t n_draft, llmgpu_session *draft);

/**
 * Sets a time after which the session does no more work and its calls answer LLMGPU_E_TIMEOUT, until another is set.
 *
 * @param session what it holds for
 * @param ms      milliseconds from now; 0: none
 * @return 0 or LLMGPU_E_INVALID
 */
LLMGPU_API int llmgpu_session_set_deadline(llmgpu_session *session, uint32_t ms);

/**
 * A file descriptor for poll() and its kin: readable while llmgpu_session_next() would not answer LLMGPU_AGAIN. It
 * belongs to the session, which closes it; it must not be read.
 *
 * @param session of which conversation
 * @return the descriptor; LLMGPU_E_NOMEM when the system gives none; LLMGPU_E_INVALID
 */
LLMGPU_API int llmgpu_session_fd(llmgpu_session *session);

/**
 * Has a function called when llmgpu_session_next() begins to have something: once until it has answered LLMGPU_AGAIN again.
 *
 * @param session of which conversation
 * @param notify  NULL: none
 * @param user    passed to it
 * @return 0 or LLMGPU_E_INVALID
 * @par Thread-safety: `notify` is called on the thread that does the work; it must not call the library
 */
LLMGPU_API int llmgpu_session_set_notify(llmgpu_session *session, void (*notify)(void *user), void *user);

/* ---- state ------------------------------------------------------------------------------------------------------- */

/**
 * Forgets the conversation but keeps parameters, sampler, logit biases, mask and stops.
 *
 * @param session what is emptied
 * @return 0 or LLMGPU_E_INVALID
 */
LLMGPU_API int llmgpu_session_reset(llmgpu_session *session);

/**
 * Goes back to an earlier point: the first n tokens stay, as if the rest had never been.
 *
 * @param session of which conversation
 * @param n       at most llmgpu_session_stats::n_tokens
 * @return 0 or LLMGPU_E_INVALID
 */
LLMGPU_API int llmgpu_session_rewind(llmgpu_session *session, uint32_t n);

/**
 * The tokens of the conversation: fed and taken.
 *
 * @param session  to read
 * @param tokens   receives the ids; may be NULL when `capacity` is 0
 * @param capacity how many fit
 * @param n_tokens how many there are, also when the room is too small
 * @return 0, LLMGPU_E_RANGE or LLMGPU_E_INVALID
 */
LLMGPU_API int llmgpu_session_get_tokens(const llmgpu_session *session, int32_t *tokens, size_t capacity,
                                         size_t *n_tokens);

/** How much of a session is saved. */
enum llmgpu_state_kind {
    LLMGPU_STATE_COMPACT = 0, /**< tokens and sampler: a few bytes a token; computed again when needed */
    LLMGPU_STATE_FULL = 1,    /**< and the keys and values: goes on at once */
};

/**
 * Saves a session into memory. What is saved can be restored to any session of the same model, on any device; on the same
 * device it goes on with the same tokens as the original. A compact state is saved and restored without waiting for the
 * device.
 *
 * @param session  what is saved; it goes on as before
 * @param kind     an llmgpu_state_kind
 * @param base     a session that begins with the same tokens (the persona's prompt, say): only what is different from it
 *                 is saved, a delta, to be restored to a session that begins with the same; NULL: everything
 * @param buffer   receives the state; may be NULL when `capacity` is 0
 * @param capacity bytes at `buffer`
 * @param size     bytes of the state, also when the room is too small
 * @return 0; LLMGPU_E_RANGE; LLMGPU_E_INVALID for a base of another model; LLMGPU_E_IO when the model's file, of which a
 *         little is read the first time, is gone; LLMGPU_E_BUSY from within a callback; LLMGPU_E_NOMEM; a device failure
 */
LLMGPU_API int llmgpu_session_save(llmgpu_session *session, int kind, const llmgpu_session *base, void *buffer,
                                   size_t capacity, size_t *size);

/**
 * The same into a file, which is replaced as a whole or not at all.
 *
 * @param session what is saved
 * @param kind    an llmgpu_state_kind
 * @param base    as of llmgpu_session_save()
 * @param path    file name
 * @return as llmgpu_session_save(); LLMGPU_E_IO when it cannot be written
 */
LLMGPU_API int llmgpu_session_save_file(llmgpu_session *session, int kind, const llmgpu_session *base, const char *path);

/**
 * Puts a saved state in the place of the session's own; of a delta, behind the tokens that it builds on, which the
 * session must begin with. The sampler is restored; limits, stops, parameters, logit biases, the mask and the adapter
 * are not.
 *
 * @param session of the same model
 * @param state   checked as any file is: it may come from anywhere
 * @param size    bytes of it
 * @return 0; LLMGPU_E_FORMAT for what is damaged; LLMGPU_E_UNSUPPORTED for a newer format; LLMGPU_E_INVALID for another
 *         model's, or for a delta whose beginning the session does not have; LLMGPU_E_CONTEXT_FULL when it does not fit;
 *         LLMGPU_E_LIMIT when more was fed or generated than this session may; LLMGPU_E_CANCELLED; LLMGPU_E_IO,
 *         LLMGPU_E_BUSY, LLMGPU_E_NOMEM as of llmgpu_session_save(); a device failure. On failure the session is as before.
 */
LLMGPU_API int llmgpu_session_restore(llmgpu_session *session, const void *state, size_t size);

/**
 * The same from a file.
 *
 * @param session of the same model
 * @param path    file name
 * @return as llmgpu_session_restore(); LLMGPU_E_IO when it cannot be read
 */
LLMGPU_API int llmgpu_session_restore_file(llmgpu_session *session, const char *path);

/* ---- probabilities and embeddings -------------------------------------------------------------------------------- */

/** A token and how probable it is. */
typedef struct llmgpu_candidate {
    int32_t token;  /**< id */
    float log_prob; /**< natural logarithm, of the model's own distribution: before biases,
                         penalties, masks and temperature */
} llmgpu_candidate;

/**
 * The probabilities behind the token that llmgpu_session_next() gave last. Only for sessions with n_candidates > 0; they
 * decode token by token.
 *
 * @param session  of which conversation
 * @param chosen   that token; may be NULL
 * @param top      the most probable ones, descending; may be NULL when capacity is 0
 * @param capacity room in `top`; at most n_candidates are written
 * @param n        how many were written
 * @return 0; LLMGPU_E_INVALID when no token was given, or n_candidates is 0
 */
LLMGPU_API int llmgpu_session_get_candidates(const llmgpu_session *session, llmgpu_candidate *chosen,
                                             llmgpu_candidate *top, size_t capacity, size_t *n);

/**
 * Scores a text: forgets the conversation, then computes how probable each token is after those before it. Blocks.
 *
 * @param session   whose parameters and model
 * @param tokens    ids, each inside the vocabulary
 * @param n         how many: 1 .. n_ctx
 * @param log_probs n - 1 natural logarithms: log_probs[i] is that of tokens[i + 1]; may be NULL
 * @param logits    [n, n_vocab] logits, row i after tokens[0..i]; may be NULL
 * @return 0, LLMGPU_E_CONTEXT_FULL, LLMGPU_E_CANCELLED, LLMGPU_E_TIMEOUT, LLMGPU_E_LIMIT, LLMGPU_E_INVALID, or a device
 *         failure
 */
LLMGPU_API int llmgpu_session_score(llmgpu_session *session, const int32_t *tokens, size_t n, float *log_probs,
                                    float *logits);

/**
 * The same with the most probable tokens at each place.
 *
 * @param session   whose parameters and model
 * @param tokens    ids, each inside the vocabulary
 * @param n         how many: 1 .. n_ctx
 * @param log_probs as of llmgpu_session_score()
 * @param n_top     how many: 1 .. 32, at most the vocabulary
 * @param top       [n, n_top], row i what may follow tokens[0..i], descending
 * @return as llmgpu_session_score()
 */
LLMGPU_API int llmgpu_session_score_top(llmgpu_session *session, const int32_t *tokens, size_t n, float *log_probs,
                                        uint32_t n_top, llmgpu_candidate *top);

/** How the vectors of a text's tokens become one. */
enum llmgpu_pooling {
    LLMGPU_POOLING_MEAN = 0, /**< the mean of all */
    LLMGPU_POOLING_LAST = 1, /**< the last token's: what a causal model has seen everything with */
    LLMGPU_POOLING_CLS = 2,  /**< the first token's */
    LLMGPU_POOLING_NONE = 3, /**< one vector for each token */
};

/**
 * The vector of a text: the model's final hidden states, after its last norm. Forgets the conversation. Blocks.
 *
 * @param session   whose parameters and model
 * @param tokens    ids, each inside the vocabulary
 * @param n         how many: 1 .. n_ctx
 * @param pooling   an llmgpu_pooling
 * @param normalize 1: vectors are scaled to length 1
 * @param out       n_embd floats; [n, n_embd] for LLMGPU_POOLING_NONE
 * @return as llmgpu_session_score()
 */
LLMGPU_API int llmgpu_session_embed(llmgpu_session *session, const int32_t *tokens, size_t n, int pooling, int normalize,
                                    float *out);

/* ---- counters ---------------------------------------------------------------------------------------------------- */

/** Counters of a session since it was created or reset. */
typedef struct llmgpu_session_stats {
    uint32_t n_ctx;          /**< tokens of context it has room for */
    uint32_t n_tokens;       /**< tokens of the conversation, fed and taken */
    uint32_t n_computed;     /**< of these, how many are computed */
    uint32_t n_prompt;       /**< tokens fed */
    uint32_t n_generated;    /**< tokens given */
    uint32_t n_shared;       /**< tokens whose pages are shared with another session */
    uint64_t prompt_ns;      /**< nanoseconds of work on what was fed */
    uint64_t decode_ns;      /**< nanoseconds of work on what was generated */
    uint64_t prompt_submits; /**< submissions to the device for feeding */
    uint64_t decode_submits; /**< submissions to the device for generating */
    uint32_t n_adopted;      /**< tokens fed whose keys and values another session had computed */
    uint32_t n_forgotten;    /**< tokens forgotten as the context was full */
    uint64_t n_drafted;      /**< tokens drafted */
    uint64_t n_accepted;     /**< of these, how many were what was drawn: their part is the acceptance rate */
} llmgpu_session_stats;

/**
 * Reads the counters.
 *
 * @param session to read
 * @param out     to fill
 * @param size    sizeof(llmgpu_session_stats)
 * @return 0 or LLMGPU_E_INVALID
 */
LLMGPU_API int llmgpu_session_get_stats(const llmgpu_session *session, llmgpu_session_stats *out, size_t size);

/* ---- masks, experimental ----------------------------------------------------------------------------------------- */

#ifdef LLMGPU_EXPERIMENTAL

/**
 * Says which tokens may be drawn next. It may be asked more than once about the same tokens, and about tokens that
 * llmgpu_session_next() has not given yet or, as something else is fed before, never gives; the tokens are all it should
 * depend on.
 *
 * @param user     as given to llmgpu_session_set_mask()
 * @param tokens   all of the conversation, fed and sampled; valid during the call
 * @param n_tokens how many
 * @param mask     to change: bit i % 32 of word i / 32 says whether token i may be drawn; all are 1 at first. Bits beyond the
 *                 vocabulary do not matter
 * @param n_words  words of it: the vocabulary's size / 32, rounded up
 * @return 0 to go on; anything else makes llmgpu_session_next() answer LLMGPU_E_CANCELLED
 */
typedef int (*llmgpu_mask_fn)(void *user, const int32_t *tokens, size_t n_tokens, uint32_t *mask, size_t n_words);

/**
 * Has a function asked before each token which ones may be drawn, for answers in a certain form. Such a session
 * decodes one token a submission, together with others as always, and does not speculate. When the mask leaves no
 * token, or none that the model gives any probability, llmgpu_session_next() answers LLMGPU_E_INVALID; the session
 * can go on with another mask, or when something else is fed. A reset keeps the mask; a fork has none, nor has a
 * saved state. What was sampled and not taken yet is forgotten.
 *
 * @param session whose tokens
 * @param mask    NULL: none; when this returns, the one before is not asked any more
 * @param user    passed to it
 * @return 0; LLMGPU_E_INVALID; LLMGPU_E_NOMEM; LLMGPU_E_BUSY from within a callback; a device failure
 * @par Thread-safety: `mask` is called on the thread that does the work, whose time it takes; it must not call the library
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_session_set_mask(llmgpu_session *session, llmgpu_mask_fn mask, void *user);

#endif

#ifdef __cplusplus
}
#endif

#endif
