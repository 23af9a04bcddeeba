/* SPDX-License-Identifier: MIT
 *
 * Maps of files: pages that enter and leave them, and a thread that reads ahead. Page faults tell what was there.
 */
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "test.h"
#include "util/readahead.h"

enum { SIZE = (5 << 20) + 777, OFFSET = 5000 };
#ifdef __SANITIZE_ADDRESS__
enum { PAGE_FAULTS = 0 }; // its shadow has faults of its own: they are not counted
#else
enum { PAGE_FAULTS = 32 }; // the system enters 16 pages at a time, some 80 in all
#endif

static char path[] = "/tmp/lg-readahead-XXXXXX";
static struct lg_env env;

static uint8_t byte_at(size_t i)
{
    return (uint8_t)((i + OFFSET) * 2654435761u >> 24);
}

static void write_file(void)
{
    int fd = mkstemp(path);
    FILE *file = fd >= 0 ? fdopen(fd, "wb") : NULL;
    REQUIRE(file);
    for (size_t i = 0; i < OFFSET + SIZE; i++)
        fputc((uint8_t)(i * 2654435761u >> 24), file);
    REQUIRE_INT(fclose(file), ==, 0);
}

/** Holds the bytes of a part against the file's. Returns how many page faults that took. */
static long read_part(const struct lg_filemap *map, size_t from, size_t size)
{
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    for (size_t i = from; i < from + size; i++)
        if (map->data[i] != byte_at(i))
            REQUIRE_INT(i, ==, -1);
    getrusage(RUSAGE_SELF, &after);
    return after.ru_minflt + after.ru_majflt - before.ru_minflt - before.ru_majflt;
}

/** Whether the system enters pages on demand; Linux does from 5.14 on. */
static bool can_enter(void)
{
    void *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(page != MAP_FAILED);
    bool can = madvise(page, 4096, 22) == 0;
    munmap(page, 4096);
    return can;
}

static void open_map(struct lg_filemap *map)
{
    REQUIRE_INT(lg_filemap_open_part(&env, path, OFFSET, 0, map), ==, 0);
    REQUIRE_INT(map->size, ==, SIZE);
}

static void check_hints(void)
{
    struct lg_filemap map, none = {0};
    open_map(&map);
    lg_filemap_want(&map, 0, SIZE);
    lg_filemap_enter(&map, 0, SIZE);
    long entered = read_part(&map, 0, SIZE);
    REQUIRE(!can_enter() || !PAGE_FAULTS || entered < PAGE_FAULTS);
    lg_filemap_leave(&map, 1000, SIZE - 1001);
    REQUIRE_INT(read_part(&map, 0, SIZE), >=, PAGE_FAULTS); // and still the same bytes
    lg_filemap_leave(&map, 10, 20);                         // no whole page
    long again = read_part(&map, 0, 4096);
    REQUIRE(!PAGE_FAULTS || again == 0);
    lg_filemap_enter(&none, 0, 0);
    lg_filemap_close(&map);
}

/** Waits until reading has come to its end by itself. */
static void wait_for(struct lg_readahead *ahead)
{
    REQUIRE(ahead->started);
    REQUIRE_INT(pthread_join(ahead->thread, NULL), ==, 0);
    ahead->started = false;
}

static void check_ahead(size_t first, bool in_place)
{
    struct lg_filemap map;
    struct lg_readahead ahead = {0};
    open_map(&map);
    lg_readahead_start(&ahead, &map, first, in_place);
    wait_for(&ahead);
    long faults = read_part(&map, 0, SIZE);
    if (in_place && can_enter() && PAGE_FAULTS)
        REQUIRE_INT(faults, <, PAGE_FAULTS);
    else
        REQUIRE_INT(faults, >=, PAGE_FAULTS);
    lg_readahead_stop(&ahead);
    lg_filemap_close(&map);
}

static void check_stop(void)
{
    struct lg_filemap map;
    struct lg_readahead ahead = {0};
    lg_readahead_stop(&ahead);
    lg_readahead_start(&ahead, &(struct lg_filemap){0}, 0, true);
    REQUIRE(!ahead.started); // nothing to read
    for (int i = 0; i < 50; i++) {
        open_map(&map);
        lg_readahead_start(&ahead, &map, (size_t)i << 17, i % 2);
        lg_readahead_start(&ahead, &map, 0, true); // it is on its way
        if (i % 3 == 0)
            usleep((unsigned)i * 10);
        lg_readahead_stop(&ahead);
        lg_readahead_stop(&ahead);
        lg_filemap_close(&map);
    }
}

int main(void)
{
    lg_env_init(&env);
    write_file();
    check_hints();
    check_ahead(0, true);
    check_ahead(3 << 20, true);
    check_ahead(SIZE + 10, true); // from the beginning
    check_ahead(3 << 20, false);
    check_stop();
    REQUIRE_INT(unlink(path), ==, 0);
    return 0;
}
