/* SPDX-License-Identifier: MIT
 *
 * Who works when. A context has one device, worked on in turns, and any number of sessions with something to do. The work
 * is done by whoever asks for it: a step with its budget, a caller that waits for its session, or a thread in the
 * background; each does a piece of the pass that runs, whosever it is, before another one begins.
 *
 * Two locks: `turn` is held by who works on the device, for as long as a piece takes; `lock` guards the
 * conversations and is held for moments only, so that tokens can be taken and fed while the device works. Who needs
 * both takes the turn first.
 */
#ifndef LG_RUNTIME_SCHEDULER_H
#define LG_RUNTIME_SCHEDULER_H

#include "runtime/latency.h"
#include "runtime/session.h"
#include "util/turn.h"

/** Something that is put off until the turn is given back. */
struct lg_later {
    struct lg_later *next;
    void (*run)(struct lg_later *later); // has the turn; `later` may be gone afterwards
};

/** Somebody who sees to its sessions between two pieces of work, whoever does them. */
struct lg_tender {
    struct lg_tender *next, **link; // in the scheduler's list; needs the turn
    uint64_t (*tend)(struct lg_tender *tender); // has the turn; the moment when it wants to be asked again
};

/** What somebody who fills the time that sessions leave may take of it. */
struct lg_gap {
    uint64_t left_ns;   // of the budget
    uint64_t budget_ns; // the whole
    bool first;         // at least one slice is to be done
};

/** Somebody who has work that can wait: it is done where sessions leave time. */
struct lg_filler {
    struct lg_filler *next, **link; // in the scheduler's list; changed with both
    bool (*fill)(struct lg_filler *filler, const struct lg_gap *gap); // has the turn; false when nothing fits. It may remove itself
    void (*cancel)(struct lg_filler *filler);                         // has the lock
    uint32_t share;    // percent of the time that it has where sessions leave less; 0 .. 99
    int64_t owed_ns;   // what it has not had of that; needs the turn
    uint64_t slice_ns; // its longest slice; the same
};

struct lg_scheduler {
    struct lg_env *env; // of all that works with the turn: the device's, the engines'
    pthread_mutex_t lock;
    pthread_cond_t changed; // there is something to tell, or to do
    struct lg_turn turn;
    struct lg_later *later; // a list; needs the turn
    struct lg_tender *tenders; // a list; needs the turn
    struct lg_filler *fillers; // a list, whoever is next at first; changed with both
    struct lg_device *dev;       // changed with both
    struct lg_session *sessions; // a list
    uint32_t n_sessions;
    uint64_t n_tickets;          // drawn so far
    uint64_t n_passes;           // begun so far
    uint64_t longest_wait;       // of a session with something to do, in passes of others
    uint64_t busy_ns;            // that they took
    uint64_t n_prefilled, n_adopted;     // tokens of prompts that were computed, and that others had computed
    uint64_t n_hits;                     // times that a session took over what others had computed
    uint64_t n_moved_out, n_moved_in;    // pages, to the host and back
    uint32_t n_running;                  // sessions in the step that runs
    struct lg_latency first, between;    // from feeding to the first token, and from one token to the next
    struct lg_pool_counts pools;         // of all engines; needs nothing
    pthread_t thread;
    bool thread_runs, thread_ends;
    uint64_t n_calls; // that may have given the thread something to do
    bool stepping; // a step is working
    _Atomic int step_cancelled;
    uint64_t n_steps, overrun_ns; // steps that did something; the worst of them
    uint64_t slice_ns;            // the longest dispatch of the pass that steps ran last
    uint64_t fill_slice_ns;       // and the longest slice of who filled the rest last
};

/** 0 or LLMGPU_E_NOMEM. The device may come later. */
int lg_scheduler_init(struct lg_scheduler *sched, struct lg_env *env, struct lg_device *dev);
/** Sessions must be finished and the thread stopped. */
void lg_scheduler_finish(struct lg_scheduler *sched);

/** Gives the turn back, after what was put off meanwhile. */
void lg_scheduler_give(struct lg_scheduler *sched);
/**
 * Takes the turn for something that destroys what a call may be using, and returns true; or, within a callback of such a
 * call, puts it off until that gives its turn back, and returns false.
 */
bool lg_scheduler_now_or_later(struct lg_scheduler *sched, struct lg_later *later);

/**
 * Works for at most budget_ns; UINT64_MAX: until nothing is left to do. Sessions come first, then who fills the time that they
 * leave; one who was promised a share of the time comes before them when it has not had it.
 *
 * @param used nanoseconds; 0 when there was nothing to do
 * @return 0; LLMGPU_E_BUSY; LLMGPU_E_CANCELLED; LLMGPU_E_DEVICE_LOST
 */
int lg_scheduler_step(struct lg_scheduler *sched, uint64_t budget_ns, uint64_t *used);

/** Starts and stops the thread in the background. LLMGPU_E_INVALID when it runs already; LLMGPU_E_NOMEM; LLMGPU_E_BUSY when
 * it would wait for itself. */
int lg_scheduler_start(struct lg_scheduler *sched);
int lg_scheduler_stop(struct lg_scheduler *sched);
/** Ends a change made while working: tells who waits, and calls who asked to be called. Releases the lock. */
void lg_scheduler_unlock_changed(struct lg_scheduler *sched, struct lg_session *s);
/** Cancels all sessions and fillers and a step that runs. Not from a signal handler. */
void lg_scheduler_cancel(struct lg_scheduler *sched);
/** Wakes the thread in the background. Needs the lock. */
void lg_scheduler_wake(struct lg_scheduler *sched);

/** Needs the turn. */
void lg_scheduler_add_tender(struct lg_scheduler *sched, struct lg_tender *tender);
/** The same; one that was not added is allowed. */
void lg_scheduler_remove_tender(struct lg_tender *tender);
/** Needs the turn, and not the lock; so that it waits its turn. */
void lg_scheduler_add_filler(struct lg_scheduler *sched, struct lg_filler *filler);
/** The same; one that is in no list is allowed. Tells who waits. */
void lg_scheduler_remove_filler(struct lg_scheduler *sched, struct lg_filler *filler);
/**
 * Does a piece of work for whoever's turn it is; none where the thread in the background works.
 *
 * @param next_ns when to give up waiting for the turn; lowered to when there may be something to do again
 * @return 1 when anything was done, else 0; LLMGPU_E_BUSY
 */
int lg_scheduler_work(struct lg_scheduler *sched, uint64_t *next_ns);

/** Has a session's steps keep to their budget from the first on. Needs the turn. */
int lg_scheduler_warm_up(struct lg_scheduler *sched, struct lg_session *s);


/**
 * Works, or sleeps while a thread works, until the session has something to tell (or has computed all but its last token).
 *
 * @param until_ns moment of lg_now_ns(); UINT64_MAX: none
 * @return 0; LLMGPU_E_TIMEOUT; LLMGPU_E_BUSY
 */
int lg_scheduler_wait(struct lg_scheduler *sched, struct lg_session *s, enum lg_wait what, uint64_t until_ns);

#endif
