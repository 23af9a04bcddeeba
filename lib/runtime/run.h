/* SPDX-License-Identifier: MIT
 *
 * Running a pass in pieces. Without a budget a piece is as much as takes about 25 ms, or a whole token; under a budget it
 * is as many dispatches as fit into what is left, by the times they took before. Private to lib/runtime.
 */
#ifndef LG_RUNTIME_RUN_H
#define LG_RUNTIME_RUN_H

#include "runtime/engine.h"

/**
 * Prepares a pass over the rows of all members, in place of one that runs. It must be built for as many rows; in a decode
 * pass each member has one, unless it has drafts, and a sampler that is set up unless it is replayed.
 *
 * @param repeat how often it is submitted at once, each sample being its sequence's next token; of a pass that samples
 */
void lg_run_begin(struct lg_engine *engine, struct lg_pass *pass, enum lg_run_kind kind, const struct lg_member *members,
                  uint32_t n, uint32_t repeat);
/** Forgets the pass that runs, if one does. */
void lg_run_drop(struct lg_engine *engine);
/** Whether a session has rows in it. */
bool lg_run_has(const struct lg_engine *engine, const struct lg_session *s);

/** How much of a pass may be done. */
struct lg_room {
    bool budgeted;      // what follows holds
    bool first;         // nothing was done in this budget yet: do at least one dispatch
    uint64_t left_ns;   // of the budget
    uint64_t budget_ns; // the whole
};

enum lg_progress { LG_RUN_GOES_ON, LG_RUN_FINISHED, LG_RUN_NO_ROOM };

/**
 * Does the next piece.
 *
 * @return an lg_progress; LLMGPU_E_CANCELLED when the device was stopped: the pass has to begin again; another failure
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
void lg_batch_write(struct lg_engine *engine, uint32_t slot, const int32_t *tokens, uint32_t n, uint32_t pos);
void lg_batch_dims(struct lg_engine *engine, uint32_t rows, uint32_t out, uint32_t sample, uint32_t score,
                   uint32_t top);
/** How many of n slices to submit so that it takes about 25 ms. */
uint32_t lg_run_slices(const struct lg_pass *pass, uint32_t n);
/** Submits slices of the pass's program and sleeps until they are done; learns what a slice takes. */
int lg_run_submit(struct lg_engine *engine, struct lg_pass *pass, uint32_t first, uint32_t n, uint32_t repeat);

#endif
