/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Agents: sessions that serve a queue of requests. Each takes the next one that is for it, answers it, leaves the result to
 * be taken, and goes on. Nothing has a thread of its own: agents get on whenever somebody works on the context, which is a
 * step, a caller that waits, or the background thread. Experimental.
 *
 *     llmgpu_agents_create(&agents, model, NULL);
 *     llmgpu_agents_add(agents, session, NULL);          // as many as answers are to be made at a time
 *     request.text = "...";
 *     llmgpu_agents_submit(agents, &request, &id);       // as often as is wanted
 *     while (llmgpu_agents_wait(agents, 0, UINT64_MAX) == 0 &&
 *            llmgpu_agents_take(agents, 0, &result, sizeof(result), text, sizeof(text)) == LLMGPU_TAKEN)
 *         ...;
 *
 * Everything is bounded. What keys and values take, and how many tokens prompts had in common, is told by
 * llmgpu_context_get_stats().
 */
#ifndef LLMGPU_AGENT_H
#define LLMGPU_AGENT_H

#include "llmgpu/chat.h"

#ifdef LLMGPU_EXPERIMENTAL

#ifdef __cplusplus
extern "C" {
#endif

/**
 * A queue of requests, and the agents that serve it. It keeps its model and the agents' sessions alive.
 *
 * @par Thread-safety: its functions may be called from any thread
 */
typedef struct llmgpu_agents llmgpu_agents;

/** How a request ended. */
enum llmgpu_outcome {
    LLMGPU_OUTCOME_DONE = 0,         /**< the answer is whole: an end token, a stop token or a stop text */
    LLMGPU_OUTCOME_LENGTH = 1,       /**< it has as many tokens as it may */
    LLMGPU_OUTCOME_FULL = 2,         /**< the session's context is full */
    LLMGPU_OUTCOME_CANCELLED = 3,    /**< by llmgpu_agents_cancel() or llmgpu_context_cancel(), or its agent is gone */
    LLMGPU_OUTCOME_EXPIRED = 4,      /**< nobody had begun it in the time given */
    LLMGPU_OUTCOME_TIMEOUT = 5,      /**< it was not answered in the time given */
    LLMGPU_OUTCOME_FAILED = 6,       /**< by a failure; llmgpu_result::status is its code */
    LLMGPU_N_OUTCOMES = 7,           /**< how many there are */
};

/** What an audit is told of a request that ended. Pointers are valid during the call. */
typedef struct llmgpu_audit {
    const char *owner;         /**< for whom */
    uint64_t id;               /**< of the request */
    uint64_t model;            /**< hash of the model */
    int64_t asked_unix_ms;     /**< when, in milliseconds since 1970 */
    uint64_t wait_us;          /**< microseconds in the queue */
    uint64_t run_us;           /**< microseconds from then on */
    uint32_t n_prompt;         /**< tokens fed */
    uint32_t n_generated;      /**< tokens of the answer */
    int32_t outcome;           /**< an llmgpu_outcome */
    int32_t status;            /**< the code of a failure; 0 */
    int32_t agent;             /**< who answered; -1: nobody */
    int32_t reserved;          /**< 0 */
    const char *prompt;        /**< with llmgpu_agents_params::audit_text: the request's text; else, or for tokens, NULL */
    const char *answer;        /**< in the same way the answer's */
    size_t prompt_len;         /**< bytes of it */
    size_t answer_len;         /**< bytes of it */
} llmgpu_audit;

/**
 * Is told of each request that ended.
 *
 * @param user  as given in the parameters
 * @param audit what there is to tell
 * @par Thread-safety: called on the thread that works, or on that of the call which ended it; it must not call the library
 */
typedef void (*llmgpu_audit_fn)(void *user, const llmgpu_audit *audit);

/** Parameters of llmgpu_agents_create(). */
typedef struct llmgpu_agents_params {
    uint32_t size;         /**< set by llmgpu_agents_params_init() */
    uint32_t max_requests; /**< queued, being answered, and results that were not taken: 1 .. 65536, default 256 */
    uint32_t max_owners;   /**< that are known at a time: 1 .. 65536, default 256 */
    uint32_t max_mail;     /**< messages in an agent's mailbox: 1 .. 4096, default 16 */
    uint32_t max_text;     /**< bytes of a request's text or a message: 1 .. 2^24, default 65536 */
    uint32_t ageing_ms;    /**< milliseconds of waiting that a step of priority counts as much as: 0 .. 2^24, default 1000;
                                a request is never passed by what comes later than the difference of their priorities
                                times this */
    uint32_t audit_text;   /**< 1: the audit is told texts; default 0 */
    uint32_t reserved;     /**< 0 */
    llmgpu_audit_fn audit; /**< NULL (default): none */
    void *audit_user;      /**< passed to it */
    void (*notify)(void *user); /**< called when a result has come, as the audit is; NULL (default): none */
    void *notify_user;     /**< passed to it */
} llmgpu_agents_params;

/**
 * Fills the defaults.
 *
 * @param params to fill
 * @param size   sizeof(llmgpu_agents_params); see llmgpu_context_params_init()
 * @return 0 or LLMGPU_E_INVALID
 * @par Thread-safety: safe
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_agents_params_init(llmgpu_agents_params *params, size_t size);

/**
 * Makes a queue without agents.
 *
 * @param out    to be freed with llmgpu_agents_free(); NULL on failure
 * @param model  of the agents' sessions
 * @param params NULL: defaults
 * @return 0; LLMGPU_E_INVALID; LLMGPU_E_NOMEM; LLMGPU_E_BUSY from within a callback; LLMGPU_E_IO when the model's file, of
 *         which a little is read for an audit, is gone. The sentence is llmgpu_model_error().
 * @par Thread-safety: safe
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_agents_create(llmgpu_agents **out, llmgpu_model *model,
                                                 const llmgpu_agents_params *params);

/**
 * Frees queue, agents and results. What is queued or being answered ends without being told to anybody.
 *
 * @param agents NULL is allowed
 * @par Thread-safety: nothing else may use the handle; its context may be worked on
 */
LLMGPU_EXPERIMENTAL_API void llmgpu_agents_free(llmgpu_agents *agents);

/**
 * The sentence of the last failed call.
 *
 * @param agents NULL is allowed
 * @return "" when there was none; valid until the next call
 * @par Thread-safety: only while no other thread calls
 */
LLMGPU_EXPERIMENTAL_API const char *llmgpu_agents_error(const llmgpu_agents *agents);

/* ---- agents ------------------------------------------------------------------------------------------------------ */

/** Parameters of llmgpu_agents_add(). */
typedef struct llmgpu_agent_params {
    uint32_t size;         /**< set by llmgpu_agent_params_init() */
    uint32_t keep;         /**< 1: it remembers what it was asked and answered; 0 (default): each request begins with what
                                the session had when it became an agent's */
    uint32_t own_only;     /**< 1: it serves only what is addressed to it; 0 (default): also what is for anybody */
    uint32_t reserved;     /**< 0 */
    const char *persona;   /**< the system prompt, the first message of its conversations; copied; NULL (default): none */
} llmgpu_agent_params;

/**
 * Fills the defaults.
 *
 * @param params to fill
 * @param size   sizeof(llmgpu_agent_params); see llmgpu_context_params_init()
 * @return 0 or LLMGPU_E_INVALID
 * @par Thread-safety: safe
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_agent_params_init(llmgpu_agent_params *params, size_t size);

/**
 * Makes a session an agent. How it samples and where its answers stop is set on the session before. From now on only its
 * counters may be asked for; its handle may be freed.
 *
 * @param agents  whose
 * @param session of the same model
 * @param params  NULL: defaults
 * @return its number, 0 .. 63, which one gets again that comes after it was removed; LLMGPU_E_LIMIT when there are 64;
 *         LLMGPU_E_INVALID, also when it is one already; LLMGPU_E_NOMEM; LLMGPU_E_BUSY from within a callback
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_agents_add(llmgpu_agents *agents, llmgpu_session *session,
                                              const llmgpu_agent_params *params);

/**
 * Takes an agent away; its mail is forgotten, and what it answers or is addressed to it is cancelled. Its session samples
 * as it did before, and is the caller's again.
 *
 * @param agents whose
 * @param agent  its number
 * @return 0; LLMGPU_E_INVALID when there is none; LLMGPU_E_BUSY from within a callback
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_agents_remove(llmgpu_agents *agents, int32_t agent);

/**
 * Puts a message into an agent's mailbox. When the agent begins its next request, all of them are put in front of that, in
 * the order in which they came; an answer that is being generated does not see them.
 *
 * @param agents whose
 * @param agent  its number
 * @param role   of the message in conversations; not read when the request is a text as it is; NULL: "user"
 * @param text   UTF-8, copied
 * @param len    bytes of it
 * @return 0; LLMGPU_E_LIMIT when the mailbox is full (max_mail) or the text too long (max_text); LLMGPU_E_INVALID;
 *         LLMGPU_E_NOMEM
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_agents_mail(llmgpu_agents *agents, int32_t agent, const char *role, const char *text,
                                               size_t len);

/* ---- requests ---------------------------------------------------------------------------------------------------- */

/** Parameters of llmgpu_agents_submit(). All is copied. */
typedef struct llmgpu_request {
    uint32_t size;         /**< set by llmgpu_request_init() */
    int32_t priority;      /**< -16 .. 16, default 0; see llmgpu_agents_params::ageing_ms */
    const char *owner;     /**< for whom, at most 63 bytes; NULL (default) is "" */
    const char *role;      /**< of the message that the text is in a conversation, "user" say, to be rendered by the model's
                                template (ChatML where there is none); NULL (default): the text is fed as it is */
    const char *text;      /**< UTF-8; not read when there are tokens */
    size_t len;            /**< bytes of it */
    const int32_t *tokens; /**< to be fed in place of a text; NULL (default) */
    size_t n_tokens;       /**< how many */
    uint32_t flags;        /**< llmgpu_tokenize_flags of a text that is fed as it is; default 0 */
    int32_t agent;         /**< who is to answer; -1 (default): anybody */
    int32_t mail_to;       /**< in whose mailbox the answer is put as well, as by llmgpu_agents_mail(); -1 (default) */
    uint32_t max_tokens;   /**< of the answer; 0 (default): as many as fit */
    uint32_t max_wait_ms;  /**< milliseconds until it has to be begun; 0 (default): any number */
    uint32_t max_run_ms;   /**< milliseconds from then on; 0 (default): any number */
    const llmgpu_sampler_params *sampler; /**< NULL (default): the session's */
} llmgpu_request;

/**
 * Fills the defaults.
 *
 * @param request to fill
 * @param size    sizeof(llmgpu_request); see llmgpu_context_params_init()
 * @return 0 or LLMGPU_E_INVALID
 * @par Thread-safety: safe
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_request_init(llmgpu_request *request, size_t size);

/**
 * Asks for something. A request that is not answered to its end leaves nothing in an agent's memory.
 *
 * @param agents  whom
 * @param request what
 * @param id      receives its number, from 1; may be NULL
 * @return 0; LLMGPU_E_LIMIT when the queue (max_requests), its owner's share of it (max_queued), the owners (max_owners) or
 *         the text (max_text) is too much; LLMGPU_E_INVALID; LLMGPU_E_NOMEM
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_agents_submit(llmgpu_agents *agents, const llmgpu_request *request, uint64_t *id);

/**
 * Ends a request: at once when it is queued, else before the next piece of work.
 *
 * @param agents whom it was asked of
 * @param id     its number
 * @return 0, also when it has ended; LLMGPU_E_INVALID when there is none of that number
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_agents_cancel(llmgpu_agents *agents, uint64_t id);

/**
 * Limits what an owner gets.
 *
 * @param agents            of whom
 * @param owner             at most 63 bytes; NULL: each who has no limits of their own
 * @param tokens_per_minute fed and generated; when they are used up, requests wait; 0: any number
 * @param max_active        requests that are being answered at a time; others wait; 0: any number
 * @param max_queued        requests that wait; more are refused; 0: any number
 * @return 0; LLMGPU_E_LIMIT when there are max_owners already; LLMGPU_E_INVALID
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_agents_set_quota(llmgpu_agents *agents, const char *owner, uint32_t tokens_per_minute,
                                                    uint32_t max_active, uint32_t max_queued);

/* ---- results ----------------------------------------------------------------------------------------------------- */

/** What became of a request. */
typedef struct llmgpu_result {
    uint64_t id;          /**< of the request */
    char owner[64];       /**< for whom */
    int32_t agent;        /**< who answered; -1: nobody */
    int32_t outcome;      /**< an llmgpu_outcome */
    int32_t status;       /**< the code of a failure; 0 */
    int32_t mail_status;  /**< 0, or why the answer is not in the mailbox that it was meant for */
    uint32_t n_prompt;    /**< tokens fed */
    uint32_t n_generated; /**< tokens of the answer */
    uint64_t len;         /**< bytes of its text */
    uint64_t wait_us;     /**< microseconds in the queue */
    uint64_t first_us;    /**< microseconds from asking to the first token; 0: there was none */
    uint64_t whole_us;    /**< microseconds from asking to the end */
} llmgpu_result;

/** What llmgpu_agents_take() answers beside failures. */
enum llmgpu_take {
    LLMGPU_TAKE_NOTHING = 0, /**< there is none, and none will come of what was asked so far */
    LLMGPU_TAKEN = 1,        /**< there is one */
    LLMGPU_TAKE_AGAIN = 2,   /**< not yet: work has to be done first */
};

/**
 * Takes a result, which makes room for another request. Does no work and does not wait.
 *
 * @param agents   whose
 * @param id       of a request; 0: what ended first
 * @param out      to fill
 * @param size     sizeof(llmgpu_result)
 * @param text     receives the answer, and a NUL behind it where there is room; may be NULL when `capacity` is 0
 * @param capacity bytes at `text`
 * @return an llmgpu_take; LLMGPU_E_RANGE when the room is too small: the result stays, and `out` tells its size;
 *         LLMGPU_E_INVALID
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_agents_take(llmgpu_agents *agents, uint64_t id, llmgpu_result *out, size_t size,
                                               char *text, size_t capacity);

/**
 * Works, or with a background thread sleeps, until llmgpu_agents_take() will not answer LLMGPU_TAKE_AGAIN. All sessions of
 * the context are worked on.
 *
 * @param agents     whose results
 * @param id         of a request; 0: what ends first
 * @param timeout_us microseconds; 0 only looks; UINT64_MAX: no limit
 * @return 0; LLMGPU_E_TIMEOUT; LLMGPU_E_BUSY from within a callback; LLMGPU_E_INVALID
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_agents_wait(llmgpu_agents *agents, uint64_t id, uint64_t timeout_us);

/* ---- counters ---------------------------------------------------------------------------------------------------- */

/** Counters since the queue was made. */
typedef struct llmgpu_agents_stats {
    uint32_t n_agents;  /**< now */
    uint32_t n_queued;  /**< requests that wait now */
    uint32_t n_active;  /**< that are being answered now */
    uint32_t n_results; /**< that were not taken yet */
    uint32_t n_owners;  /**< that are known now */
    uint32_t n_mail;    /**< messages in mailboxes now */
    uint64_t submitted; /**< requests that were asked */
    uint64_t refused;   /**< and that were not, for a limit */
    uint64_t outcomes[8];      /**< requests that ended, by llmgpu_outcome */
    uint64_t prompt_tokens;    /**< fed for them */
    uint64_t generated_tokens; /**< in their answers */
    uint64_t mail_delivered;   /**< messages that agents began with */
    uint64_t mail_refused;     /**< messages that found a mailbox full, or nobody */
    llmgpu_latency waiting;    /**< in the queue */
    llmgpu_latency first;      /**< until the first token */
    llmgpu_latency whole;      /**< until the end */
} llmgpu_agents_stats;

/**
 * Reads the counters.
 *
 * @param agents whose
 * @param out    to fill
 * @param size   sizeof(llmgpu_agents_stats)
 * @return 0 or LLMGPU_E_INVALID
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_agents_get_stats(const llmgpu_agents *agents, llmgpu_agents_stats *out, size_t size);

#ifdef __cplusplus
}
#endif

#endif

#endif
