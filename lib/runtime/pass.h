/* SPDX-License-Identifier: MIT
 * Building and submitting an engine's chains. Private to lib/runtime. */
#ifndef LG_RUNTIME_PASS_H
#define LG_RUNTIME_PASS_H

#include "runtime/engine.h"

/** What a pass does behind the blocks. */
enum lg_pass_tail {
    LG_TAIL_NONE,
    LG_TAIL_SAMPLE,
    LG_TAIL_SAMPLE_TOP, // and candidates
    LG_TAIL_SCORE,      // candidates too, as LG_DIM_TOP says
    LG_TAIL_EMBED,      // the final norm
};

/**
 * Records a pass for up to max_rows rows; nothing when it is already there for as many. A smaller one is gone also on
 * failure.
 *
 * @param adapters what rows may have; NULL: none has one
 */
int lg_pass_build(struct lg_engine *engine, struct lg_pass *pass, const struct lg_adapters *adapters,
                  enum lg_phase phase, enum lg_pass_tail tail, uint32_t max_rows);
/** Records it a second time with each dispatch as a slice of its own, measured; nothing when that is there. */
int lg_pass_build_fine(struct lg_engine *engine, struct lg_pass *pass);
/** A zeroed pass is allowed. */
void lg_pass_finish(struct lg_pass *pass);

#endif
