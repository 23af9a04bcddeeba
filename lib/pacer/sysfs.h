/* SPDX-License-Identifier: MIT
 *
 * Small files in which a system says what it measures, and what such text can be. Nothing here fails aloud: a
 * file that is missing, unreadable, empty or of something else has no value.
 */
#ifndef LG_PACER_SYSFS_H
#define LG_PACER_SYSFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    LG_SYSFS_PATH = 1024, // bytes of a path
    LG_SYSFS_NAME = 64,   // of a name in a folder; longer ones are passed over
    LG_SYSFS_TEXT = 4096, // of what is read of a file
};

/** The text of dir/file without blanks at its end, up to what fits; false when there is none. */
bool lg_sysfs_text(const char *dir, const char *file, char *out, size_t size);
/** The number that is all of dir/file. */
bool lg_sysfs_number(const char *dir, const char *file, double *out);
/** The number in the line "key number..." or "key: number..." of a text. */
bool lg_sysfs_line(const char *text, const char *key, double *out);
/** Names in a folder that begin so, ascending; how many there are, at most `max`. */
uint32_t lg_sysfs_list(const char *dir, const char *prefix, char (*out)[LG_SYSFS_NAME], uint32_t max);
/** Puts a path together; false when it does not fit. */
bool lg_sysfs_path(char *out, size_t size, const char *dir, const char *file);

/** A decimal number with blanks around it and nothing else, in whatever locale. */
bool lg_parse_number(const char *text, size_t len, double *out);
/** The same as 0x... */
bool lg_parse_hex(const char *text, size_t len, uint64_t *out);

#endif
