/* SPDX-License-Identifier: MIT
 * A file mapped read-only. */
#ifndef LG_UTIL_FILEMAP_H
#define LG_UTIL_FILEMAP_H

#include "util/env.h"

struct lg_filemap {
    const uint8_t *data; // NULL when the file is empty or nothing is mapped
    size_t size;         // bytes
    size_t lead;         // bytes mapped before `data`, which need not lie on the border of a page
};

/** Maps a regular file. LLMGPU_E_IO with the system's reason when it cannot be opened or mapped. */
int lg_filemap_open(struct lg_env *env, const char *path, struct lg_filemap *out);
/**
 * The same of a part of it: `size` bytes at `offset`, or all that follow it when `size` is 0. LLMGPU_E_IO also when the
 * file ends before.
 */
int lg_filemap_open_part(struct lg_env *env, const char *path, uint64_t offset, uint64_t size, struct lg_filemap *out);
/** A zeroed map is allowed. */
void lg_filemap_close(struct lg_filemap *map);

/*
 * Hints to the system about a part of the map. Nothing of what the map shows changes.
 */
/** It will be read soon: the system reads it into its cache. */
void lg_filemap_want(const struct lg_filemap *map, size_t offset, size_t size);
/** It is read now: its pages are entered in the map at once, not one fault after another. */
void lg_filemap_enter(const struct lg_filemap *map, size_t offset, size_t size);
/** It is not read again soon: its pages, but for those that it shares with its neighbours, leave the map. */
void lg_filemap_leave(const struct lg_filemap *map, size_t offset, size_t size);

#endif
