/* SPDX-License-Identifier: MIT
 *
 * A lock that is taken in turns: who came first is served first, one can give up waiting, and taking it twice on one
 * thread is a failure instead of a deadlock. For what is held long, such as a device that works.
 */
#ifndef LG_UTIL_TURN_H
#define LG_UTIL_TURN_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct lg_turn_waiter;

struct lg_turn {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    struct lg_turn_waiter *first, **last; // waiting, the oldest first
    bool held;
    pthread_t owner; // when held
};

/** 0 or LLMGPU_E_NOMEM. */
int lg_turn_init(struct lg_turn *turn);
/** Nobody may hold it or wait. */
void lg_turn_finish(struct lg_turn *turn);

/**
 * Waits for the turn.
 *
 * @param until_ns moment of lg_now_ns() to give up at; UINT64_MAX: never
 * @return 0; LLMGPU_E_TIMEOUT; LLMGPU_E_BUSY when this thread has it already
 */
int lg_turn_take(struct lg_turn *turn, uint64_t until_ns);
void lg_turn_give(struct lg_turn *turn);
/** Whether this thread has it. */
bool lg_turn_is_mine(struct lg_turn *turn);

/** A condition whose timed waits are on the clock of lg_now_ns(). */
int lg_cond_init(pthread_cond_t *cond);
/** Waits, at the most until a moment of lg_now_ns(). False when it has come. */
bool lg_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t until_ns);

#endif
