/* SPDX-License-Identifier: MIT
 *
 * The pacer: readings and times in, pauses out. What it holds and how is said at llmgpu_pacer_params; its parameters are
 * checked by who creates it.
 *
 * Thread-safety: any thread may call. The host's functions are called with its lock.
 */
#ifndef LG_PACER_PACER_H
#define LG_PACER_PACER_H

#include "pacer/known.h"
#include "util/env.h"

struct lg_pacer;

/** LLMGPU_E_NOMEM. */
int lg_pacer_create(struct lg_env *env, const llmgpu_pacer_params *params, struct lg_pacer **out);
/** NULL is allowed. */
void lg_pacer_free(struct lg_env *env, struct lg_pacer *pacer);

/** NULL: nothing is known. */
void lg_pacer_observe(struct lg_pacer *pacer, const llmgpu_reading *reading, uint64_t now_us);
/** Microseconds to pause after so many of work. */
uint32_t lg_pacer_pause(struct lg_pacer *pacer, uint64_t now_us, uint64_t worked_us);
void lg_pacer_stats(struct lg_pacer *pacer, llmgpu_pacer_stats *out);
/** A line of at most `size` bytes with its NUL; its length. */
size_t lg_pacer_status(struct lg_pacer *pacer, char *out, size_t size);

#endif
