/* SPDX-License-Identifier: MIT
 *
 * Readings as a pacer takes them: what cannot be and what is too old is unknown.
 */
#ifndef LG_PACER_KNOWN_H
#define LG_PACER_KNOWN_H

#ifndef LLMGPU_EXPERIMENTAL
#define LLMGPU_EXPERIMENTAL
#endif
#include "llmgpu/pacer.h"

/** Makes unknown what no device can have, and everything whose age is none. */
void lg_known_check(llmgpu_reading *reading);

/** Makes everything older by `seconds`, and unknown what is then older than `stale`. Limits and sizes do not age. */
void lg_known_age(llmgpu_reading *reading, double seconds, double stale);

#endif
