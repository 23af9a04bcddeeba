/* SPDX-License-Identifier: MIT */
#include "util/readahead.h"

#include <signal.h>
#include <unistd.h>

enum {
    STEP = 2 << 20,    // bytes; a slow disk takes some 20 ms for them, which is how long stopping may take
    WINDOW = 16 << 20, // bytes that the disk is asked for before they are waited for
};

/** Asks for one part of the map, STEP by STEP. */
static void read_part(struct lg_readahead *ahead, size_t from, size_t to)
{
    const struct lg_filemap *map = &ahead->map;
    size_t asked = from;
    for (size_t at = from; at < to && !atomic_load(&ahead->stop); at += STEP) {
        for (; asked < to && asked - at < WINDOW; asked += STEP)
            lg_filemap_want(map, asked, to - asked < STEP ? to - asked : STEP);
        if (ahead->in_place)
            lg_filemap_enter(map, at, to - at < STEP ? to - at : STEP);
    }
}

static void *work(void *user)
{
    struct lg_readahead *ahead = user;
    read_part(ahead, ahead->first, ahead->map.size);
    read_part(ahead, 0, ahead->first);
    return NULL;
}

/** Whether the file would push itself out of the system's cache. */
static bool is_beyond_memory(size_t size)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    return pages > 0 && page > 0 && size / (size_t)page >= (size_t)pages;
}

void lg_readahead_start(struct lg_readahead *ahead, const struct lg_filemap *map, size_t first, bool in_place)
{
    if (ahead->started || !map->data || is_beyond_memory(map->size))
        return;
    ahead->map = *map;
    ahead->first = first < map->size ? first : 0;
    ahead->in_place = in_place;
    atomic_store(&ahead->stop, false);
    // The host's signal handlers must not run on our threads.
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    ahead->started = pthread_create(&ahead->thread, NULL, work, ahead) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

void lg_readahead_stop(struct lg_readahead *ahead)
{
    if (!ahead->started)
        return;
    atomic_store(&ahead->stop, true);
    pthread_join(ahead->thread, NULL);
    ahead->started = false;
}
