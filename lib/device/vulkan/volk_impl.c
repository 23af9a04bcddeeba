/* SPDX-License-Identifier: MIT
 * volk for builds where it comes as two files and no library. */
#define VOLK_IMPLEMENTATION
#include <volk.h>
