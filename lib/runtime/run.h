/* SPDX-License-Identifier: MIT
 *
 * Running passes in pieces. Without a budget a piece is as much as takes about 25 ms, or a whole token, and those of a
 * prefill and a decode pass are submitted together; under a budget it is as many dispatches of one pass as fit into what is
 * left, by the times they took before.
 *
 * Of decode passes one may be submitted behind the other before the host has seen what the first has sampled: it finds its
 * rows on the device. So the device has something to do while the host looks at the tokens. Private to lib/runtime.
 */
#ifndef LG_RUNTIME_RUN_H
#define LG_RUNTIME_RUN_H

#include "runtime/engine.h"

/**
 * Prepares a pass over the rows of all members, in place of one of its kind that runs. It must be built for as many rows; in a decode
 * pass each member has one, unless it has drafts, and a sampler that is set up unless it is replayed.
 *
 * @param repeat how often it is submitted at once, each sample being its sequence's next token; of a pass that samples
 * @param most   how many may follow one another in the same way, in submissions of their own; 1, or `repeat` is 1
 */
void lg_run_begin(struct lg_engine *engine, struct lg_pass *pass, enum lg_run_kind kind, const struct lg_member *members,
                  uint32_t n, uint32_t repeat, uint32_t most);
/** Forgets the passes that run, if any do, once the device has done what was submitted of them. */
void lg_run_drop(struct lg_engine *engine);
/** The same of one kind. */
void lg_run_drop_kind(struct lg_engine *engine, enum lg_run_kind kind);
/** Whether any runs. */
bool lg_run_any(const struct lg_engine *engine);
/** Whether a session has rows in one. */
bool lg_run_has(const struct lg_engine *engine, const struct lg_session *s);

/** Whether another decode pass can be submitted behind the one that runs, and soon be over. */
bool lg_run_may_fly(const struct lg_engine *engine);
/** Whether some is submitted and was not waited for. */
bool lg_run_flies(const struct lg_engine *engine);
/** Whether the device has still something to do of that. */
bool lg_run_is_busy(const struct lg_engine *engine);

/** How much of the passes may be done. */
struct lg_room {
    uint32_t n_ahead;   // decode passes that may be under way at once, if they may fly; 0: 1
    bool budgeted;      // what follows holds
    bool first;         // nothing was done in this budget yet: do at least one dispatch
    uint64_t left_ns;   // of the budget
    uint64_t budget_ns; // the whole
};

enum lg_progress { LG_RUN_GOES_ON, LG_RUN_FINISHED, LG_RUN_NO_ROOM };

/**
 * Does the next pieces; of passes whose last one was done `finished` is set, and the caller drops them. What flies is waited
 * for under any budget, and LG_RUN_DECODE has a token more for each call then.
 *
 * @return an lg_progress: LG_RUN_FINISHED when all are; LLMGPU_E_CANCELLED when the device was stopped: the passes have to
 *         begin again; another failure
 */
int lg_run_advance(struct lg_engine *engine, const struct lg_room *room);

/** How many rows a prefill under a budget has at first. */
uint32_t lg_run_first_rows(struct lg_engine *engine);
/**
 * Has the driver compile the kernels of passes that are built, and measures each dispatch. At most lg_run_first_rows()
 * positions from `pos` on are written; they are the slot's own.
 */
int lg_run_warm_up(struct lg_engine *engine, struct lg_pass *decode, uint32_t slot, uint32_t pos, uint32_t rows);

/** Writes what a batch is made of; for lg_run_* and scores. */
void lg_batch_write(const struct lg_batch *batch, uint32_t slot, const int32_t *tokens, uint32_t n, uint32_t pos);
void lg_batch_dims(const struct lg_batch *batch, uint32_t rows, uint32_t out, uint32_t sample, uint32_t score,
                   uint32_t top);
/** How many of n slices to submit so that it takes about 25 ms. */
uint32_t lg_run_slices(const struct lg_pass *pass, uint32_t n);
/** Submits slices of the pass's program and sleeps until they are done; learns what a slice takes. */
int lg_run_submit(struct lg_engine *engine, struct lg_pass *pass, uint32_t first, uint32_t n, uint32_t repeat);

#endif
