/* SPDX-License-Identifier: MIT */
#ifndef LG_RUNTIME_TUNE_H
#define LG_RUNTIME_TUNE_H

#include "runtime/engine.h"

/**
 * Chooses the sizes of an engine's kernels by measuring, once, before its first pass is recorded; where nothing is
 * measured (lg_device::tuning_path) all stays as it is. Candidates run a pass of a few of the model's layers, on buffers of
 * their own. What earlier runs found counts as found; what does not fit into the time is left to later ones. A failure to
 * measure is no failure, but for a device that is lost or a submission that was cancelled.
 */
int lg_tune(struct lg_engine *engine);

#endif
