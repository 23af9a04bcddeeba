/* SPDX-License-Identifier: MIT
 *
 * A conversation: which tokens are in it, which of them the model has computed, and which were given to the caller.
 * All of it is on the host, so it can be rewound, forked, saved, and computed again on another device.
 *
 *     tokens   0 .... n_past .... n_visible .... n_tokens
 *              computed           fed or given   sampled, not given yet
 *
 * The last token is not computed until a next one is wanted: then one decode pass computes it and samples. All
 * tokens before it go through prefill passes. So what is computed how does not depend on how the prompt was cut.
 * The two round differently, so a token that is computed again, after its keys and values were lost, goes through a
 * pass of the same kind as the first time.
 *
 * Nothing here works on the device; the scheduler does, between two calls or on another thread.
 *
 * Thread-safety: conversations are guarded by the scheduler's lock, which every function here takes for itself.
 */
#ifndef LG_RUNTIME_SESSION_H
#define LG_RUNTIME_SESSION_H

#include "llmgpu/session.h"
#include "runtime/engine.h"

struct lg_scheduler;

/** What a caller waits for. */
enum lg_wait { LG_WAIT_NOTHING, LG_WAIT_NEXT, LG_WAIT_PREFILL };

/** What a session may use until it is reset; each is off when it is 0. */
struct lg_limits {
    uint32_t prompt_tokens, generated_tokens, time_ms;
};

struct lg_session_params {
    uint32_t n_ctx, n_batch, tokens_per_submit;
    bool ignore_end;           // end tokens do not end an answer
    uint32_t n_candidates;     // told with each token; when there are any, tokens_per_submit is 1
    struct lg_sampler sampler; // the parameters; counters and end tokens are filled in here
    struct lg_limits limits;
    uint64_t max_memory; // bytes of its caches
    int priority;
    enum llmgpu_when_full when_full;
    uint32_t n_keep; // tokens of the head, for LLMGPU_WHEN_FULL_SLIDE
};

/** A token that was sampled, and what else could have been. */
struct lg_choice {
    bool known;
    struct lg_candidate chosen, top[LG_MAX_CANDIDATES];
};

/**
 * Which tokens a session may draw, asked before each (mask.c). Changed with both the turn and the lock; its arrays with the
 * turn.
 */
struct lg_mask {
    int (*ask)(void *user, const int32_t *tokens, size_t n_tokens, uint32_t *mask, size_t n_words); // NULL: all
    void *user;
    uint32_t *words; // [LG_MASK_WORDS(n_vocab)], the answer; NULL until it is set for the first time
    int32_t *tokens; // [n_ctx + 1] that were told
    uint32_t n_tokens, epoch, inputs; // of the conversation then
    bool all;                         // every token may be drawn
};

enum { LG_MAX_DRAFT = 16 }; // tokens drafted at once

/** A session's part of the next step (batching.c). */
struct lg_wish {
    struct lg_session *s;
    enum lg_run_kind kind;
    bool replay;
    uint32_t first, n; // positions that it writes; of a decode pass n is how many tokens it may sample
    uint32_t n_drafts; // rows that follow the first in a decode pass
    uint32_t most;     // decode passes that may follow one another before the host has looked
};

/** Of a conversation's first n pages. Who changes their tokens sets n to 0; that they begin otherwise is seen. */
struct lg_hashed {
    struct lg_prefix_hash begin, hash;
    uint32_t n;
};

/** Stop tokens beside the vocabulary's end tokens. */
enum { LG_MAX_STOP_TOKENS = 16 };

struct lg_session {
    struct lg_env *env; // of the caller's thread
    struct lg_scheduler *sched;
    struct lg_engine *engine;
    const struct lg_model *model; // the engine's, for who has not the turn that the engine is read with
    struct lg_session_params params;
    struct lg_session *next, **link; // in the scheduler's list
    uint32_t slot;                   // of the engine; changed with the turn only
    bool has_slot;
    bool planned;    // rows of it are in the pass that is being made ready
    uint8_t **moved; // [pages of n_ctx] keys and values of pages that were moved to the host; NULL: none
    uint64_t ticket; // of the scheduler, drawn when it was last in a pass or was given something to do: the lowest goes first
    uint64_t asked;  // passes that had begun when it was last in one or was given something to do
    int waits_for;   // an lg_wait: a caller sleeps until it has come
    bool wishes;         // it wants something of the plan that is being made:
    struct lg_wish wish; // its own, or its drafter's
    struct lg_slot_lora lora; // its adapter; changed with both the turn and the lock
    struct lg_hashed hashed;  // changed with the lock; brought up to date with the turn too

    int32_t *tokens;  // [n_ctx + 1]
    uint8_t *decoded; // [n_ctx + 1], 1: a decode pass computed the token; 0 also where nothing did yet
    uint32_t n_tokens, n_visible, n_past; // n_past < n_tokens unless both are 0
    uint32_t n_kept;    // tokens that are to be computed again, and so are not forgotten when that is cancelled
    bool closed;        // the last token ends the answer
    uint32_t remaining; // tokens that may still be given; UINT32_MAX: no limit
    uint32_t epoch;     // changes when a pass that runs no longer means anything
    uint32_t inputs;    // changes when a sample that is being drawn no longer does
    int32_t stop_tokens[LG_MAX_STOP_TOKENS];
    uint32_t n_stop_tokens;
    struct lg_bias biases[LG_MAX_BIAS]; // of distinct tokens
    uint32_t n_biases;
    struct lg_mask mask;

    int failure; // of work in the background, until it is told
    char failure_text[sizeof(((struct lg_env *)0)->error)];
    _Atomic int cancelled; // a request to stop that was not answered yet
    uint64_t deadline_ns;  // moment of lg_now_ns(); UINT64_MAX: none
    _Atomic int fd;        // readable while there is something to tell; -1: not asked for
    bool ready;            // there is something to tell
    bool owes_call;        // and `notify` was not called for it yet
    void (*notify)(void *user);
    void *notify_user;

    enum llmgpu_speculation speculation;
    uint32_t n_draft;           // tokens to draft at once
    struct lg_session *drafter; // of another model; NULL: none
    bool drafts_for;            // it is somebody's drafter, who says when it works
    int32_t drafts[LG_MAX_DRAFT];
    uint32_t n_drafts; // in the pass that runs
    uint32_t n_found, found_behind, found_epoch; // drafts that were looked up, behind so many tokens of that epoch
    uint64_t n_drafted, n_accepted;

    struct lg_choice sampled, given; // of the last token that is not given yet, and the last one that is

    uint32_t n_prompt, n_generated; // fed, sampled
    uint32_t n_forgotten; // tokens that went as the context was full
    uint32_t n_adopted; // fed tokens whose keys and values another session had computed
    uint32_t n_shared; // tokens on pages of others too, when it was last asked
    uint64_t prompt_ns, decode_ns, prompt_submits, decode_submits;
    uint64_t fed_ns;   // when it was fed what no token has come after yet; 0: there is none such
    uint64_t token_ns; // when the last token was sampled, or given if that was the only one; 0: none
};

/** Takes a slot and joins the scheduler's sessions. Needs the turn. */
int lg_session_init(struct lg_session *s, struct lg_env *env, struct lg_scheduler *sched, struct lg_engine *engine,
                    const struct lg_session_params *params);
/** Copies the conversation of another, whose pages it shares. Needs the turn. */
int lg_session_fork(struct lg_session *s, struct lg_env *env, struct lg_session *original);
/** Needs the turn. A zeroed session is allowed. */
void lg_session_finish(struct lg_session *s);
/** Takes a slot again on an engine that was made anew; everything is computed again when it is wanted. Needs the turn. */
int lg_session_revive(struct lg_session *s);

/* These do what include/llmgpu/session.h says of their namesakes; arguments are checked there. */
void lg_session_reset(struct lg_session *s);
int lg_session_feed(struct lg_session *s, const int32_t *tokens, size_t n);
int lg_session_next(struct lg_session *s, int32_t *token);
/** 0 when all that was fed is computed but the last token, LLMGPU_AGAIN when it was not waited for, or why it is not. */
int lg_session_settle(struct lg_session *s);
int lg_session_rewind(struct lg_session *s, uint32_t n);
int lg_session_set_sampler(struct lg_session *s, const struct lg_sampler *sampler);
/** At most LG_MAX_BIAS, of distinct tokens. */
int lg_session_set_biases(struct lg_session *s, const struct lg_bias *biases, uint32_t n);
/** NULL: none. Needs the turn, so that the one before is not being asked when this returns. LLMGPU_E_NOMEM. */
int lg_session_set_mask(struct lg_session *s,
                        int (*ask)(void *user, const int32_t *tokens, size_t n_tokens, uint32_t *mask, size_t n_words),
                        void *user);
/** Seat 0: none. Needs the turn. */
void lg_session_set_lora(struct lg_session *s, uint32_t seat, float scale);
int lg_session_set_remaining(struct lg_session *s, uint32_t n);
int lg_session_add_stop_token(struct lg_session *s, int32_t token);
void lg_session_clear_stop_tokens(struct lg_session *s);
int lg_session_set_priority(struct lg_session *s, int priority);
int lg_session_set_speculation(struct lg_session *s, enum llmgpu_speculation kind, uint32_t n, struct lg_session *drafter);
int lg_session_set_deadline(struct lg_session *s, uint32_t ms);
int lg_session_set_notify(struct lg_session *s, void (*notify)(void *user), void *user);
int lg_session_fd(struct lg_session *s);
/** From any thread, also from a signal handler. */
void lg_session_cancel(struct lg_session *s);
/** Ends the answer here: what was sampled behind the tokens that were given is forgotten. */
void lg_session_close(struct lg_session *s);

/* ---- for restoring (restore.c, for save.c) */

struct lg_state;

/** 0 when a saved state can take the conversation's place, or why it cannot. `n_past`: tokens computed now. */
int lg_session_can_replace(struct lg_session *s, const struct lg_state *state, uint32_t *n_past);
/** Makes at most the first n tokens count as computed. */
void lg_session_lose_computed(struct lg_session *s, uint32_t n);
/**
 * Puts the state in the conversation's place; also asks again whether it can. Of its tokens n_past count as computed, the
 * caller having put their keys and values into the cache, and those of the prefix in any case as far as they are.
 */
int lg_session_replace(struct lg_session *s, const struct lg_state *state, uint32_t n_past);

/* ---- passes whose results the host reads (score.c); each blocks, needs the turn, and resets the session */

/** What is wanted of a text's n tokens; each may be NULL. */
struct lg_scores {
    float *log_probs;      // [n - 1]
    float *logits;         // [n, n_vocab]
    llmgpu_candidate *top; // [n, n_top]
    uint32_t n_top;        // 1 .. LG_MAX_CANDIDATES, at most the vocabulary
};

int lg_session_score(struct lg_session *s, const int32_t *tokens, size_t n, const struct lg_scores *out);
/** As llmgpu_session_embed(). */
int lg_session_embed(struct lg_session *s, const int32_t *tokens, size_t n, enum llmgpu_pooling pooling, bool normalize,
                     float *out);
/** Begins such a call. */
int lg_session_begin_text(struct lg_session *s, size_t n);
/** Counts nanoseconds of its work. 0 when there may be more of it, or why not. */
int lg_session_go_on(struct lg_session *s, uint64_t ns);
/** LLMGPU_E_CANCELLED when it was asked for: the request is answered with that. */
int lg_session_take_cancel(struct lg_session *s);
/** Ends work that is not the scheduler's: a request to stop that ended it is answered. Returns rc. */
int lg_session_end_work(struct lg_session *s, int rc);

/* ---- for the scheduler, which holds its lock */

/** What next() would answer now: a value of enum llmgpu_next, or the code of a failure. */
int lg_session_look(const struct lg_session *s);
/** Whether fed tokens are to be computed, all but the last. */
bool lg_session_wants_prefill(const struct lg_session *s);
/** How many tokens from n_past on, at most so many, go through the next such pass. `decoded`: its kind; it takes one. */
uint32_t lg_session_prefill_room(const struct lg_session *s, uint32_t most, bool *decoded);
/** Whether a token is to be sampled, when so many may wait for being given. */
bool lg_session_wants_decode(const struct lg_session *s, uint32_t ahead);
/** How many tokens one submission may sample now. */
uint32_t lg_session_decode_room(const struct lg_session *s);
/** Fills the slot's sampler and history for a pass that samples at most n tokens. */
void lg_session_set_up_sampler(struct lg_session *s, uint32_t n);
/** Appends n tokens that were sampled, the first being number `first` since the sampler was set up; its row was `row`. */
void lg_session_take_samples(struct lg_session *s, uint32_t first, uint32_t n, uint32_t row);
/** Has tokens from position n on be others than those that were hashed. */
void lg_session_change_from(struct lg_session *s, uint32_t n);
/** Appends a token that was sampled. */
void lg_session_append(struct lg_session *s, int32_t token);
/** Makes a drafter's conversation these tokens, of which it has the first n_common. False when it cannot. */
bool lg_session_follow(struct lg_session *s, const int32_t *tokens, uint32_t n, uint32_t n_common);
/** Keeps a failure until it is told. */
void lg_session_set_failure(struct lg_session *s, int code, const char *text);
/**
 * Has the session forget what it must for n more tokens to fit, when it is one that does (window.c). False when they do
 * not.
 */
bool lg_session_make_room(struct lg_session *s, size_t n);
/** Does what the session is to do when its context is full, if it is. */
void lg_session_look_for_room(struct lg_session *s);
/** Brings `ready` and the descriptor up to date. True when the session just became ready. */
bool lg_session_update_ready(struct lg_session *s);

#endif
