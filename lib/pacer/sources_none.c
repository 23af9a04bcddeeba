/* SPDX-License-Identifier: MIT
 * Of systems without sources of their own: only the host's sensors are known. */
#include "pacer/source.h"

const struct lg_source_ops *const lg_sources[] = {NULL};
