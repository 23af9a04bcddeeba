/* SPDX-License-Identifier: MIT
 *
 * A conversation: which tokens are in its context, what has been computed of them, and what the sampler gave.
 *
 * The last token fed is not computed until a next one is asked for: then one decode pass computes it and
 * samples. All tokens before it go through prefill passes. So what is computed how does not depend on how the
 * prompt was cut.
 *
 * Thread-safety: one thread at a time under the context's lock, but for lg_session_cancel().
 */
#ifndef LG_RUNTIME_SESSION_H
#define LG_RUNTIME_SESSION_H

#include "runtime/engine.h"

struct lg_session_params {
    uint32_t n_ctx, n_batch, tokens_per_submit;
    bool ignore_end; // end tokens do not end an answer
    struct lg_sampler sampler; // the parameters; counters and end tokens are filled in here
};

struct lg_session {
    struct lg_env *env;
    struct lg_engine *engine;
    struct lg_session_params params;
    uint32_t slot;
    bool has_slot;
    uint32_t n_past;  // tokens whose keys and values are in the cache
    bool has_pending; // there is a token behind them, fed or sampled, that is not computed yet
    int32_t pending;
    bool ended;         // the answer is over until more is fed
    uint32_t n_read;    // sampled tokens that were given out; those up to the sampler's n_sampled are unread
    uint32_t remaining; // tokens that may still be given; UINT32_MAX: no limit
    _Atomic int cancelled; // a request to stop that was not answered yet
    _Atomic int running;   // a call is working on the device
    uint64_t n_prompt, n_generated, prompt_ns, decode_ns, prompt_submits, decode_submits;
};

int lg_session_init(struct lg_session *s, struct lg_env *env, struct lg_engine *engine,
                    const struct lg_session_params *params);
/** A zeroed session is allowed. */
void lg_session_finish(struct lg_session *s);
void lg_session_reset(struct lg_session *s);

/* These do what include/llmgpu/session.h says of their namesakes; arguments are checked there. */
int lg_session_feed(struct lg_session *s, const int32_t *tokens, size_t n);
int lg_session_next(struct lg_session *s, int32_t *token);
int lg_session_score(struct lg_session *s, const int32_t *tokens, size_t n, float *log_probs, float *logits);
/** From any thread, also from a signal handler. */
void lg_session_cancel(struct lg_session *s);

#endif
