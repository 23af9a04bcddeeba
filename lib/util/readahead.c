/* SPDX-License-Identifier: MIT */
#include "util/readahead.h"

#include <unistd.h>

#include "util/thread.h"

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
    ahead->started = lg_thread_start(&ahead->thread, work, ahead);
}

void lg_readahead_stop(struct lg_readahead *ahead)
{
    if (!ahead->started)
        return;
    atomic_store(&ahead->stop, true);
    pthread_join(ahead->thread, NULL);
    ahead->started = false;
}
