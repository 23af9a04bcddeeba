/* SPDX-License-Identifier: MIT
 *
 * Speculative decoding (Leviathan et al. 2023; prompt lookup after Saxena 2023): tokens are drafted, and one decode pass
 * computes the last token and all drafted ones, each in a row of its own, and draws a token after each. What was drawn after
 * one is the next token; it counts as long as it is the draft that the next row was computed for. As a draw depends on nothing
 * but logits, seed and position, the tokens are those that would have been drawn one by one, to the last bit, so the
 * distribution cannot change.
 *
 * Needs the scheduler's lock. Private to lib/runtime.
 */
#ifndef LG_RUNTIME_SPECULATE_H
#define LG_RUNTIME_SPECULATE_H

#include "runtime/session.h"

/** Drafts what may follow the conversation, at most n tokens, in s->drafts; says how many. */
uint32_t lg_speculate(struct lg_session *s, uint32_t n);
/** The session that has to work before the next token can be drafted; NULL: none. */
struct lg_session *lg_speculate_waits_for(struct lg_session *s);
/** Appends the tokens that a pass has drawn, `drawn` being those after the last token and after each draft. */
void lg_speculate_take(struct lg_session *s, const uint32_t *drawn);

#endif
