/* SPDX-License-Identifier: MIT
 * A file that is written as a whole or not at all. */
#ifndef LG_UTIL_NEWFILE_H
#define LG_UTIL_NEWFILE_H

#include "util/env.h"

/** A file being written beside the one that it will replace. */
struct lg_newfile {
    struct lg_env *env;
    const char *path; // of the caller, until the end
    char *temp;
    int fd;
};

/** Creates the folders above a file; those that exist are left alone, and a failure shows when the file is opened.
 * `path` is as it was afterwards. */
void lg_newfile_folders(char *path);

/** Begins; nothing is there under `path` yet, or the old file is. LLMGPU_E_IO with the system's reason,
 * LLMGPU_E_NOMEM. */
int lg_newfile_open(struct lg_env *env, const char *path, struct lg_newfile *out);
/** Appends bytes. LLMGPU_E_IO. */
int lg_newfile_write(struct lg_newfile *file, const void *data, size_t size);
/**
 * Ends: with `rc` 0 the file takes its place, on disk before this returns; otherwise, or when that fails, it
 * goes away and what was there stays. Returns rc or LLMGPU_E_IO.
 */
int lg_newfile_close(struct lg_newfile *file, int rc);

#endif
