/* SPDX-License-Identifier: MIT */
#include "util/filemap.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int map_fd(struct lg_env *env, const char *path, int fd, struct lg_filemap *out)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return lg_fail(env, LLMGPU_E_IO, "cannot read '%s': %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return lg_fail(env, LLMGPU_E_IO, "cannot read '%s': not a regular file", path);
    if (st.st_size == 0)
        return 0;
    void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED)
        return lg_fail(env, errno == ENOMEM ? LLMGPU_E_NOMEM : LLMGPU_E_IO, "cannot map '%s': %s", path, strerror(errno));
    out->data = data;
    out->size = (size_t)st.st_size;
    return 0;
}

int lg_filemap_open(struct lg_env *env, const char *path, struct lg_filemap *out)
{
    memset(out, 0, sizeof(*out));
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); // a FIFO must not hang the host
    if (fd < 0)
        return lg_fail(env, LLMGPU_E_IO, "cannot open '%s': %s", path, strerror(errno));
    int rc = map_fd(env, path, fd, out);
    close(fd);
    return rc;
}

void lg_filemap_close(struct lg_filemap *map)
{
    if (map->data)
        munmap((void *)map->data, map->size);
    memset(map, 0, sizeof(*map));
}

void lg_filemap_prefetch(const struct lg_filemap *map)
{
    if (map->data)
        madvise((void *)map->data, map->size, MADV_WILLNEED);
}
