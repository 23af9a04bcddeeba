/* SPDX-License-Identifier: MIT
 *
 * Which rows go through the next pass, and what becomes of it. Sessions of one model that want the same kind of pass share
 * it: all that are due for a token, or the next tokens of several prompts. Who has waited longest goes first. A session's
 * results do not depend on who else is in a pass, only when they come does.
 *
 * All of it needs the turn, and takes the lock for moments. Private to lib/runtime.
 */
#ifndef LG_RUNTIME_BATCHING_H
#define LG_RUNTIME_BATCHING_H

#include "runtime/run.h"
#include "runtime/scheduler.h"

enum { LG_WORK_NONE = 100 }; // beside the values of lg_progress: there was nothing to do

/**
 * A piece of work: of a pass that runs, or of a new one.
 *
 * @param s     for whom, together with others whose callers wait as well; NULL: for whoever's turn it is among all
 * @param ahead how many sampled tokens may wait for being given
 * @return an lg_progress or LG_WORK_NONE; failures go to the sessions
 */
int lg_work(struct lg_scheduler *sched, struct lg_session *s, const struct lg_room *room, uint32_t ahead);

/** Makes the passes of a session ready, and its pages of n positions from `first` on. */
int lg_batching_prepare(struct lg_session *s, uint32_t first, uint32_t n, struct lg_pass **decode);

#endif
