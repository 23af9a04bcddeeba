/* SPDX-License-Identifier: MIT
 *
 * What sessions of one pool have to do with each other: beginnings that one has computed and the others take over, and pages
 * that one gives up to another while nobody talks to it.
 *
 * All of it needs the turn. Private to lib/runtime.
 */
#ifndef LG_RUNTIME_SHARING_H
#define LG_RUNTIME_SHARING_H

#include "runtime/scheduler.h"

/** Makes what a session's prefill has computed known, from page number `first` on. Needs the lock too. */
void lg_share_publish(struct lg_session *s, uint32_t first);
/** Takes over the pages that a session would compute next, as far as they are known. Needs the lock too. */
void lg_share_adopt(struct lg_session *s);
/** Whether the page that b would compute next is one that a's next pass works on: b had better wait for it. Needs the lock
 * too. */
bool lg_share_same_page(const struct lg_session *a, const struct lg_session *b);

/**
 * Makes positions [first, first + n) ready to be written and those before ready to be read, bringing back what was moved to
 * the host. Where the pool is full, idle sessions' pages are moved there, and if `force` those of any other that has no rows
 * in the plan.
 *
 * @return 0; how many pages are missing; a failure
 */
int lg_share_make_room(struct lg_session *s, uint32_t first, uint32_t n, bool force);
/** The same by force, and pages that are missing are a failure. */
int lg_share_need_room(struct lg_session *s, uint32_t first, uint32_t n);
/** Frees what was moved to the host. */
void lg_share_forget(struct lg_session *s);

#endif
