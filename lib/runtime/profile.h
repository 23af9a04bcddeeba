/* SPDX-License-Identifier: MIT
 *
 * Where the time of a pass goes: the pass is run for nobody, each dispatch on the clock, and what dispatches
 * of one kernel under one label took is added up.
 */
#ifndef LG_RUNTIME_PROFILE_H
#define LG_RUNTIME_PROFILE_H

#include "runtime/scheduler.h"

/** The dispatches of one kernel under one label. */
struct lg_profile_row {
    const char *kernel, *label; // of the library
    uint32_t calls;             // in a pass
    uint64_t ns;                // of them together: the sum of the medians of each
    uint64_t bytes, flops;      // graph/work.h
};

struct lg_profile {
    struct lg_profile_row *rows; // the most nanoseconds first
    uint32_t n_rows;
    uint32_t n_dispatches, n_barriers;
    uint64_t pass_ns; // the median of whole passes, with their submission
};

/**
 * Profiles a session's next pass, of kind LG_RUN_PREFILL with n_tokens or LG_RUN_DECODE with one; its
 * conversation stays as it is. Needs the turn.
 *
 * @param n_passes that are measured, after one that is not
 * @param out      to be freed with lg_profile_finish()
 * @return 0; LLMGPU_E_CONTEXT_FULL; LLMGPU_E_UNSUPPORTED where the device measures nothing;
 * LLMGPU_E_CANCELLED; a failure
 */
int lg_profile_run(struct lg_session *s, enum lg_run_kind kind, uint32_t n_tokens, uint32_t n_passes,
                   struct lg_profile *out);
void lg_profile_finish(struct lg_env *env, struct lg_profile *profile);

/**
 * What a dispatch costs inside a chain, with the barrier before it: nanoseconds of each of many, one after
 * another in one submission, that copy a row; the best of several submissions.
 */
int lg_dispatch_measure(struct lg_env *env, struct lg_device *dev, double *ns);

#endif
