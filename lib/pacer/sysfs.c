/* SPDX-License-Identifier: MIT */
#include "pacer/sysfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_DIGITS = 18 }; // that an int64_t surely holds

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static void trim(const char **text, size_t *len)
{
    for (; *len && is_blank(**text); (*text)++)
        --*len;
    while (*len && is_blank((*text)[*len - 1]))
        --*len;
}

/* Digits into a number as far as they go, which `n` counts; false when there are too many. */
static bool take_digits(const char *text, size_t len, int64_t *value, size_t *n)
{
    for (*n = 0; *n < len && is_digit(text[*n]); ++*n) {
        if (*value > INT64_MAX / 10 - 1)
            return false;
        *value = *value * 10 + (text[*n] - '0');
    }
    return true;
}

bool lg_parse_number(const char *text, size_t len, double *out)
{
    trim(&text, &len);
    bool minus = len && *text == '-';
    text += minus;
    len -= minus;
    int64_t value = 0;
    size_t n, n_after = 0;
    if (!take_digits(text, len, &value, &n) || n == 0)
        return false;
    double scale = 1;
    if (n < len && text[n] == '.') {
        if (!take_digits(text + n + 1, len - n - 1, &value, &n_after) || n_after == 0 || n_after > MAX_DIGITS)
            return false;
        for (size_t i = 0; i < n_after; i++)
            scale *= 10;
        n += 1 + n_after;
    }
    if (n != len)
        return false;
    *out = (minus ? -(double)value : (double)value) / scale;
    return true;
}

bool lg_parse_hex(const char *text, size_t len, uint64_t *out)
{
    trim(&text, &len);
    if (len < 3 || len > 18 || text[0] != '0' || (text[1] != 'x' && text[1] != 'X'))
        return false;
    *out = 0;
    for (size_t i = 2; i < len; i++) {
        char c = text[i];
        int digit = is_digit(c)            ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return false;
        *out = *out << 4 | (uint64_t)digit;
    }
    return true;
}

bool lg_sysfs_path(char *out, size_t size, const char *dir, const char *file)
{
    int n = snprintf(out, size, "%s/%s", dir, file);
    return n >= 0 && (size_t)n < size;
}

bool lg_sysfs_text(const char *dir, const char *file, char *out, size_t size)
{
    char path[LG_SYSFS_PATH];
    if (!lg_sysfs_path(path, sizeof(path), dir, file))
        return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); // a pipe of that name has nobody waiting
    if (fd < 0)
        return false;
    size_t len = 0;
    ssize_t n = 0;
    while (len < size - 1) {
        n = read(fd, out + len, size - 1 - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    close(fd);
    while (len && is_blank(out[len - 1]))
        len--;
    out[len] = '\0';
    return n >= 0 && len && !memchr(out, '\0', len);
}

bool lg_sysfs_number(const char *dir, const char *file, double *out)
{
    char text[64];
    return lg_sysfs_text(dir, file, text, sizeof(text)) && lg_parse_number(text, strlen(text), out);
}

bool lg_sysfs_line(const char *text, const char *key, double *out)
{
    size_t n = strlen(key);
    for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        if (strncmp(line, key, n) != 0 || (line[n] != ':' && !is_blank(line[n])))
            continue;
        const char *value = line + n + 1;
        value += strspn(value, " \t");
        return lg_parse_number(value, strcspn(value, " \t\n"), out);
    }
    return false;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

uint32_t lg_sysfs_list(const char *dir, const char *prefix, char (*out)[LG_SYSFS_NAME], uint32_t max)
{
    DIR *d = opendir(dir);
    if (!d)
        return 0;
    uint32_t n = 0;
    for (const struct dirent *entry; n < max && (entry = readdir(d));) {
        size_t len = strlen(entry->d_name);
        if (entry->d_name[0] != '.' && len < LG_SYSFS_NAME && !strncmp(entry->d_name, prefix, strlen(prefix)))
            memcpy(out[n++], entry->d_name, len + 1);
    }
    closedir(d);
    qsort(out, n, sizeof(*out), compare_names);
    return n;
}
