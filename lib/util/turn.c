/* SPDX-License-Identifier: MIT */
#include "util/turn.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "llmgpu/error.h"

struct lg_turn_waiter {
    struct lg_turn_waiter *next;
};

int lg_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attr;
    if (pthread_condattr_init(&attr) != 0)
        return LLMGPU_E_NOMEM;
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    int error = pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
    return error ? LLMGPU_E_NOMEM : 0;
}

bool lg_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t until_ns)
{
    if (until_ns == UINT64_MAX)
        return pthread_cond_wait(cond, lock) == 0;
    struct timespec until = {.tv_sec = (time_t)(until_ns / 1000000000), .tv_nsec = (long)(until_ns % 1000000000)};
    return pthread_cond_timedwait(cond, lock, &until) != ETIMEDOUT;
}

int lg_turn_init(struct lg_turn *turn)
{
    memset(turn, 0, sizeof(*turn));
    turn->last = &turn->first;
    if (pthread_mutex_init(&turn->lock, NULL) != 0)
        return LLMGPU_E_NOMEM;
    int rc = lg_cond_init(&turn->moved);
    if (rc < 0)
        pthread_mutex_destroy(&turn->lock);
    return rc;
}

void lg_turn_finish(struct lg_turn *turn)
{
    pthread_cond_destroy(&turn->moved);
    pthread_mutex_destroy(&turn->lock);
}

static void leave_queue(struct lg_turn *turn, struct lg_turn_waiter *me)
{
    struct lg_turn_waiter **at = &turn->first;
    while (*at != me)
        at = &(*at)->next;
    *at = me->next;
    if (!me->next)
        turn->last = at;
}

int lg_turn_take(struct lg_turn *turn, uint64_t until_ns)
{
    pthread_mutex_lock(&turn->lock);
    if (turn->held && pthread_equal(turn->owner, pthread_self())) {
        pthread_mutex_unlock(&turn->lock);
        return LLMGPU_E_BUSY;
    }
    struct lg_turn_waiter me = {0};
    *turn->last = &me;
    turn->last = &me.next;
    bool in_time = true;
    while (in_time && (turn->held || turn->first != &me))
        in_time = lg_cond_wait(&turn->moved, &turn->lock, until_ns);
    bool mine = !turn->held && turn->first == &me;
    leave_queue(turn, &me);
    if (mine) {
        turn->held = true;
        turn->owner = pthread_self();
    } else
        pthread_cond_broadcast(&turn->moved); // who stood behind may be the first now
    pthread_mutex_unlock(&turn->lock);
    return mine ? 0 : LLMGPU_E_TIMEOUT;
}

bool lg_turn_is_mine(struct lg_turn *turn)
{
    pthread_mutex_lock(&turn->lock);
    bool mine = turn->held && pthread_equal(turn->owner, pthread_self());
    pthread_mutex_unlock(&turn->lock);
    return mine;
}

void lg_turn_give(struct lg_turn *turn)
{
    pthread_mutex_lock(&turn->lock);
    turn->held = false;
    pthread_cond_broadcast(&turn->moved);
    pthread_mutex_unlock(&turn->lock);
}
