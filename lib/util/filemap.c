/* SPDX-License-Identifier: MIT */
#include "util/filemap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int map_fd(struct lg_env *env, const char *path, int fd, uint64_t offset, uint64_t size,
                  struct lg_filemap *out)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return lg_fail(env, LLMGPU_E_IO, "cannot read '%s': %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return lg_fail(env, LLMGPU_E_IO, "cannot read '%s': not a regular file", path);
    uint64_t all = (uint64_t)st.st_size;
    if (offset > all || size > all - offset)
        return lg_fail(env, LLMGPU_E_IO, "cannot read '%s': %llu bytes at offset %llu, but it ends at %llu",
                       path, (unsigned long long)size, (unsigned long long)offset, (unsigned long long)all);
    size = size ? size : all - offset;
    if (size == 0)
        return 0;
    long page = sysconf(_SC_PAGESIZE);
    size_t lead = (size_t)(offset % (uint64_t)(page > 0 ? page : 1));
    void *start = mmap(NULL, (size_t)size + lead, PROT_READ, MAP_PRIVATE, fd, (off_t)(offset - lead));
    if (start == MAP_FAILED)
        return lg_fail(env, errno == ENOMEM ? LLMGPU_E_NOMEM : LLMGPU_E_IO, "cannot map '%s': %s", path, strerror(errno));
    *out = (struct lg_filemap){.data = (const uint8_t *)start + lead, .size = (size_t)size, .lead = lead};
    return 0;
}

int lg_filemap_open_part(struct lg_env *env, const char *path, uint64_t offset, uint64_t size,
                         struct lg_filemap *out)
{
    memset(out, 0, sizeof(*out));
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); // a FIFO must not hang the host
    if (fd < 0)
        return lg_fail(env, LLMGPU_E_IO, "cannot open '%s': %s", path, strerror(errno));
    int rc = map_fd(env, path, fd, offset, size, out);
    close(fd);
    return rc;
}

int lg_filemap_open(struct lg_env *env, const char *path, struct lg_filemap *out)
{
    return lg_filemap_open_part(env, path, 0, 0, out);
}

/** Where the system's map begins. */
static void *start_of(const struct lg_filemap *map)
{
    return (void *)(map->data - map->lead);
}

void lg_filemap_close(struct lg_filemap *map)
{
    if (map->data)
        munmap(start_of(map), map->size + map->lead);
    memset(map, 0, sizeof(*map));
}

/** Pages that the part touches, or, when `inner`, those that it fills. */
static void advise(const struct lg_filemap *map, size_t offset, size_t size, bool inner, int advice)
{
    long page = sysconf(_SC_PAGESIZE);
    if (!map->data || page <= 0)
        return;
    size_t mask = (size_t)page - 1, begin = map->lead + offset, end = begin + size;
    begin = (inner ? begin + mask : begin) & ~mask;
    end = (inner ? end : end + mask) & ~mask;
    if (begin < end)
        madvise((uint8_t *)start_of(map) + begin, end - begin, advice);
}

void lg_filemap_want(const struct lg_filemap *map, size_t offset, size_t size)
{
    advise(map, offset, size, false, MADV_WILLNEED);
}

void lg_filemap_enter(const struct lg_filemap *map, size_t offset, size_t size)
{
#ifdef MADV_POPULATE_READ
    advise(map, offset, size, false, MADV_POPULATE_READ);
#else
    advise(map, offset, size, false, 22); // Linux 5.14's number for it; older ones refuse it
#endif
}

void lg_filemap_leave(const struct lg_filemap *map, size_t offset, size_t size)
{
    advise(map, offset, size, true, MADV_DONTNEED);
}
