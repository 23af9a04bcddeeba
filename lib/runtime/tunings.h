/* SPDX-License-Identifier: MIT
 *
 * What was found by measuring, as it is kept in a file:
 *
 *     "lgtune\0\1" | u64 key of the device | u64 XXH3 of what follows | n x { u64 key, u64 ns, u32 chosen, u32 n_tried }
 *
 * The file is not trusted: what is not exactly that, for that device, holds nothing.
 */
#ifndef LG_RUNTIME_TUNINGS_H
#define LG_RUNTIME_TUNINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LG_MAX_TUNINGS = 256 };

/** What is known of the candidates of one choice. */
struct lg_tuning_found {
    uint64_t key;     // of the choice and the model's shapes
    uint64_t ns;      // that the best took; 0: not measured
    uint32_t chosen;  // candidate
    uint32_t n_tried; // candidates, the first ones
};

/** The latest LG_MAX_TUNINGS, the oldest first. */
struct lg_tunings {
    struct lg_tuning_found found[LG_MAX_TUNINGS];
    uint32_t n;
};

enum { LG_TUNINGS_HEAD = 24, LG_MAX_TUNINGS_BYTES = LG_TUNINGS_HEAD + LG_MAX_TUNINGS * 24 };

/** Reads a file; false, with nothing found, when it is none of this device. */
bool lg_tunings_parse(struct lg_tunings *t, uint64_t device_key, const void *data, size_t size);
/** Writes one. Returns its bytes. */
size_t lg_tunings_write(const struct lg_tunings *t, uint64_t device_key, uint8_t out[LG_MAX_TUNINGS_BYTES]);

/** NULL when nothing is known. */
const struct lg_tuning_found *lg_tunings_find(const struct lg_tunings *t, uint64_t key);
/** Adds what was found as the latest, in place of what was known; the oldest goes when there is no room. */
void lg_tunings_put(struct lg_tunings *t, const struct lg_tuning_found *found);

#endif
