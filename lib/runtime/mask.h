/* SPDX-License-Identifier: MIT
 *
 * Masks: a session's own function says before each token which ones may be drawn. It is called by who works, with the turn
 * and without the lock, and is told a copy of the tokens, so that calls of other threads may change the conversation
 * meanwhile; an answer to what is no longer so is not used.
 *
 * All of it needs the turn, and the lock where it says so. Private to lib/runtime.
 */
#ifndef LG_RUNTIME_MASK_H
#define LG_RUNTIME_MASK_H

#include "runtime/session.h"

/** Makes a session's arrays, which lg_session_finish() frees. */
int lg_mask_reserve(struct lg_session *s);
/**
 * Asks for the mask of the next token, if the session has one. LLMGPU_E_INVALID when no token is left, LLMGPU_E_CANCELLED when
 * that is the answer, or a failure to make room for masks, with a sentence in the scheduler's env.
 */
int lg_mask_ask(struct lg_session *s);
/** Whether the answer is still to the conversation as it is. Needs the lock too. */
bool lg_mask_is_current(const struct lg_session *s);
/** Has the next pass see it. Needs the lock too. */
void lg_mask_write(const struct lg_session *s, struct lg_sampler *sampler);
/**
 * Whether a token that was sampled is one of those that may be: where the model gives each of them no probability, or no
 * number, it is not. Then a sentence is in the scheduler's env.
 */
bool lg_mask_allows(const struct lg_session *s, uint32_t token);

#endif
