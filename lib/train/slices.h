/* SPDX-License-Identifier: MIT
 *
 * A trainer's work in slices: layers, or for a step that others leave little time, dispatches. What each
 * takes is learned, so that one knows which of them fit into a budget. Private to lib/train.
 */
#ifndef LG_TRAIN_SLICES_H
#define LG_TRAIN_SLICES_H

#include "train/trainer.h"

/** What is left of the time for a call. */
struct lg_train_budget {
    uint64_t left_ns, whole_ns; // UINT64_MAX: there is no end
    bool first;                 // nothing was done yet
};

/** What slices are run of. */
struct lg_train_part {
    struct lg_program *program;
    uint64_t *ns; // what each takes, 0: not measured; NULL: that is not kept
};

/** That of the step that is under way. */
struct lg_train_part lg_trainer_part(const struct lg_trainer *trainer);
/** The place of a slice of the chain in it. */
uint32_t lg_trainer_place(const struct lg_trainer *trainer, uint32_t slice);
/** Makes the program whose slices are dispatches, once. LLMGPU_E_NOMEM; a failure of the device. */
int lg_trainer_build_fine(struct lg_trainer *trainer);
/** A micro-batch of more rows than those that times are of may take as many times as long. */
void lg_trainer_scale_times(struct lg_trainer *trainer, uint32_t rows);

bool lg_trainer_is_cancelled(const struct lg_trainer *trainer);
/** Runs slices [*slice, end) as far as the budget goes. 1; 0 when the next one does not fit; a failure. */
int lg_trainer_run(struct lg_trainer *trainer, const struct lg_train_part *part, uint32_t *slice,
                   uint32_t end, struct lg_train_budget *budget);

#endif
