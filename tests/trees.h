/* SPDX-License-Identifier: MIT
 * Made-up trees of /sys and /proc: a folder that is there as long as the test. */
#ifndef LG_TESTS_TREES_H
#define LG_TESTS_TREES_H

#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test.h"

struct tree {
    char root[64];
};

static inline struct tree tree_new(void)
{
    struct tree t = {"/tmp/llmgpu-tree-XXXXXX"};
    REQUIRE(mkdtemp(t.root));
    return t;
}

static inline int tree_remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static inline void tree_path(const struct tree *t, const char *file, char out[1024])
{
    REQUIRE(snprintf(out, 1024, "%s/%s", t->root, file) < 1024);
}

/** Removes a file, or a folder with all in it; "." is the tree. */
static inline void tree_remove(const struct tree *t, const char *file)
{
    char path[1024];
    tree_path(t, file, path);
    if (strcmp(file, ".") == 0)
        snprintf(path, sizeof(path), "%s", t->root);
    REQUIRE_INT(nftw(path, tree_remove_one, 16, FTW_DEPTH | FTW_PHYS), ==, 0);
}

static inline void tree_put_bytes(const struct tree *t, const char *file, const void *data, size_t size)
{
    char path[1024];
    tree_path(t, file, path);
    for (char *slash = strchr(path + strlen(t->root) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0755);
        *slash = '/';
    }
    FILE *f = fopen(path, "wb");
    REQUIRE(f);
    REQUIRE(fwrite(data, 1, size, f) == size);
    REQUIRE_INT(fclose(f), ==, 0);
}

/** Writes a file as the kernel does, with a newline behind it. */
static inline void tree_put(const struct tree *t, const char *file, const char *text)
{
    char line[4096];
    REQUIRE(snprintf(line, sizeof(line), "%s\n", text) < (int)sizeof(line));
    tree_put_bytes(t, file, line, strlen(line));
}

/** The same in a folder. */
static inline void tree_put_in(const struct tree *t, const char *folder, const char *file, const char *text)
{
    char path[512];
    REQUIRE(snprintf(path, sizeof(path), "%s/%s", folder, file) < (int)sizeof(path));
    tree_put(t, path, text);
}

#endif
