/* SPDX-License-Identifier: MIT */
#ifndef LG_TESTS_FUZZ_FUZZ_H
#define LG_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/** What each target defines: one input; returns 0. What must not happen ends the program. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
