/* SPDX-License-Identifier: MIT
 * Reads a mapped file ahead of its use, on a thread of its own. */
#ifndef LG_UTIL_READAHEAD_H
#define LG_UTIL_READAHEAD_H

#include <pthread.h>
#include <stdbool.h>

#include "util/filemap.h"

/** Zeroed: nothing is read. */
struct lg_readahead {
    struct lg_filemap map; // not owned
    size_t first;          // byte of the map where reading begins; what lies before it comes last
    bool in_place;         // pages are entered in the map, too
    _Atomic bool stop;
    bool started;
    pthread_t thread;
};

/**
 * Begins to read; only a hint, which is not taken when the system gives no thread or less memory than the file has. The
 * map must stay until lg_readahead_stop(). Once started it is not started again before that.
 *
 * @param in_place the bytes will be used where they are mapped: their pages are entered in the map, so that nobody
 *                 else has to wait for that; otherwise they only come into the system's cache
 */
void lg_readahead_start(struct lg_readahead *ahead, const struct lg_filemap *map, size_t first, bool in_place);
/** Ends it wherever it is, after a few MiB at the most. */
void lg_readahead_stop(struct lg_readahead *ahead);

#endif
