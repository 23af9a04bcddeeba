/* SPDX-License-Identifier: MIT
 * A file mapped read-only. */
#ifndef LG_UTIL_FILEMAP_H
#define LG_UTIL_FILEMAP_H

#include "util/env.h"

struct lg_filemap {
    const uint8_t *data; // NULL when the file is empty or nothing is mapped
    size_t size;         // bytes
};

/** Maps a regular file. LLMGPU_E_IO with the system's reason when it cannot be opened or mapped. */
int lg_filemap_open(struct lg_env *env, const char *path, struct lg_filemap *out);
/** A zeroed map is allowed. */
void lg_filemap_close(struct lg_filemap *map);
/** Starts reading the whole file ahead; only a hint. */
void lg_filemap_prefetch(const struct lg_filemap *map);

#endif
