/* SPDX-License-Identifier: MIT */
#ifndef LG_UTIL_THREAD_H
#define LG_UTIL_THREAD_H

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>

/** Starts a thread on which no signal handler of the host runs. False when the system gives none. */
static inline bool lg_thread_start(pthread_t *out, void *(*run)(void *user), void *user)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    bool started = pthread_create(out, NULL, run, user) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return started;
}

#endif
