/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "train/data_parts.h"
#include "util/checked.h"

enum {
    CHUNK = 16 << 20, // bytes that are looked through at a time, and leave the map then
    FIRST_ROOM = 1024,
};

static int grow(struct lg_env *env, struct lg_lines *lines, uint64_t *room, uint64_t to)
{
    size_t size;
    uint64_t *offsets = NULL;
    if (lg_mul_size((size_t)to, sizeof(*offsets), &size))
        offsets = lg_resize(env, lines->offsets, size);
    if (!offsets)
        return lg_fail_nomem(env, "an index of lines", to * sizeof(*offsets));
    lines->offsets = offsets;
    *room = to;
    return 0;
}

static int add_line(struct lg_env *env, struct lg_lines *lines, uint64_t *room, uint64_t offset)
{
    if (lines->n == *room)
        LG_TRY(grow(env, lines, room, *room ? *room + *room / 2 : FIRST_ROOM));
    lines->offsets[lines->n++] = offset;
    return 0;
}

static int index_file(struct lg_env *env, struct lg_lines *lines, const struct lg_filemap *map,
                      uint64_t *room)
{
    if (map->size > 0)
        LG_TRY(add_line(env, lines, room, 0));
    for (size_t begin = 0, end; begin < map->size; begin = end) {
        end = map->size - begin > CHUNK ? begin + CHUNK : map->size;
        LG_TRY(lg_poll(env));
        for (size_t at = begin; at < end;) {
            const uint8_t *found = memchr(map->data + at, '\n', end - at);
            at = found ? (size_t)(found - map->data) + 1 : end;
            if (found && at < map->size)
                LG_TRY(add_line(env, lines, room, at));
        }
        lg_filemap_leave(map, begin, end - begin);
    }
    return 0;
}

int lg_lines_open(struct lg_env *env, const char *const *paths, size_t n_paths, struct lg_lines *out)
{
    uint64_t room = 0;
    *out = (struct lg_lines){.files = lg_alloc_array(env, n_paths, sizeof(*out->files))};
    int rc = out->files ? 0 : lg_fail_nomem(env, "a list of files", n_paths * sizeof(*out->files));
    for (size_t i = 0; rc == 0 && i < n_paths; i++) {
        struct lg_data_file *file = &out->files[out->n_files++];
        file->first = out->n;
        file->path = lg_strndup(env, paths[i], strlen(paths[i]));
        rc = file->path ? lg_filemap_open(env, paths[i], &file->map)
                        : lg_fail_nomem(env, "a path", strlen(paths[i]));
        if (rc == 0)
            rc = index_file(env, out, &file->map, &room);
    }
    if (rc == 0 && out->n == 0)
        rc = lg_fail(env, LLMGPU_E_FORMAT, "%s: there is nothing in %s", n_paths ? paths[0] : "no file",
                     n_paths > 1 ? "this and the other files" : "it");
    if (rc == 0)
        rc = grow(env, out, &room, out->n); // what is too much goes back
    if (rc < 0)
        lg_lines_close(env, out);
    return rc;
}

void lg_lines_close(struct lg_env *env, struct lg_lines *lines)
{
    for (size_t i = 0; i < lines->n_files; i++) {
        lg_filemap_close(&lines->files[i].map);
        lg_free(env, lines->files[i].path);
    }
    lg_free(env, lines->files);
    lg_free(env, lines->offsets);
    *lines = (struct lg_lines){0};
}

const struct lg_data_file *lg_lines_file(const struct lg_lines *lines, uint64_t line)
{
    size_t low = 0, high = lines->n_files;
    while (high - low > 1) { // files before `high` begin at or before the line
        size_t middle = low + (high - low) / 2;
        if (lines->files[middle].first <= line)
            low = middle;
        else
            high = middle;
    }
    return &lines->files[low];
}

struct lg_str lg_lines_get(const struct lg_lines *lines, uint64_t line)
{
    static const char mark[] = {'\xef', '\xbb', '\xbf'};
    const struct lg_data_file *file = lg_lines_file(lines, line);
    uint64_t begin = lines->offsets[line], end = file->map.size;
    bool last = line + 1 == lines->n || lg_lines_file(lines, line + 1) != file;
    if (!last)
        end = lines->offsets[line + 1];
    const char *text = (const char *)file->map.data;
    if (end > begin && text[end - 1] == '\n')
        end--;
    if (begin == 0 && end >= sizeof(mark) && memcmp(text, mark, sizeof(mark)) == 0)
        begin = sizeof(mark);
    return (struct lg_str){text + begin, (size_t)(end - begin)};
}
