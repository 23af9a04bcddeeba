/* SPDX-License-Identifier: MIT */
#include "util/newfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_TRIES = 100 }; // names that somebody else has

static int fail(const struct lg_newfile *file, const char *what)
{
    return lg_fail(file->env, LLMGPU_E_IO, "cannot %s '%s': %s", what, file->path, strerror(errno));
}

void lg_newfile_folders(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0777);
        *slash = '/';
    }
}

int lg_newfile_open(struct lg_env *env, const char *path, struct lg_newfile *out)
{
    size_t size = strlen(path) + sizeof(".0123456789.99.tmp");
    *out = (struct lg_newfile){.env = env, .path = path, .fd = -1, .temp = lg_alloc(env, size)};
    if (!out->temp)
        return lg_fail_nomem(env, "the name of a file", size);
    for (int i = 0; i < MAX_TRIES && out->fd < 0; i++) {
        snprintf(out->temp, size, "%s.%u.%d.tmp", path, (unsigned)getpid(), i);
        out->fd = open(out->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (out->fd < 0 && errno != EEXIST)
            break;
    }
    if (out->fd >= 0)
        return 0;
    int rc = fail(out, "write");
    lg_free(env, out->temp);
    out->temp = NULL;
    return rc;
}

int lg_newfile_write(struct lg_newfile *file, const void *data, size_t size)
{
    for (const char *at = data; size > 0;) {
        ssize_t n = write(file->fd, at, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return fail(file, "write");
        at += n;
        size -= (size_t)n;
    }
    return 0;
}

/** So that the new name survives a loss of power; where a folder cannot be synced there is nothing to be
 * done. */
static void sync_folder(struct lg_newfile *file)
{
    char *slash = strrchr(file->temp, '/');
    if (slash)
        slash[slash == file->temp] = '\0';
    int fd = open(slash ? file->temp : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    fsync(fd);
    close(fd);
}

int lg_newfile_close(struct lg_newfile *file, int rc)
{
    if (!file->temp)
        return rc;
    if (rc == 0 && fsync(file->fd) != 0)
        rc = fail(file, "write");
    if (close(file->fd) != 0 && rc == 0)
        rc = fail(file, "write");
    if (rc == 0 && rename(file->temp, file->path) != 0)
        rc = fail(file, "replace");
    if (rc < 0)
        unlink(file->temp);
    else
        sync_folder(file);
    lg_free(file->env, file->temp);
    file->temp = NULL;
    return rc;
}
