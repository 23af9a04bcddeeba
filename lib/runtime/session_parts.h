/* SPDX-License-Identifier: MIT
 *
 * What the files of a session share: session.c, conversation.c, settings.c and restore.c. All but lg_session_lock() needs the
 * scheduler's lock. Private to them.
 */
#ifndef LG_RUNTIME_SESSION_PARTS_H
#define LG_RUNTIME_SESSION_PARTS_H

#include "runtime/session.h"

/** Begins a call. What was not asked for by calls, such as a deadline that passed, is told by who works next. */
void lg_session_lock(struct lg_session *s);
/** Ends a call that may have changed what there is to tell or to do. Failures in between are noted, and logged here. */
int lg_session_unlock(struct lg_session *s, int rc);

/** The vocabulary's end tokens, for the sampler to stop at; what does not fit is stopped at on the host. */
void lg_session_set_end_tokens(struct lg_session *s);

/** How many tokens are there for good: those that were computed at some time, and the one behind them. */
uint32_t lg_session_count_kept(const struct lg_session *s);
/** Cuts the conversation off behind n tokens. Nothing that runs for it means anything any more. */
void lg_session_cut(struct lg_session *s, uint32_t n);
/** Forgets sampled tokens that were not given. A prefill that runs is not touched by that. */
void lg_session_drop_unread(struct lg_session *s);
/** Answers a request to stop, once: what was fed and never computed is forgotten. LLMGPU_E_CANCELLED, or 0 without one. */
int lg_session_answer_cancel(struct lg_session *s);

bool lg_session_out_of_time(const struct lg_session *s);
bool lg_session_past_deadline(const struct lg_session *s);
/** Notes the sentence for what lg_session_look() found, and returns that. */
int lg_session_tell(struct lg_session *s, int code);

#endif
