/* SPDX-License-Identifier: MIT
 *
 * A small JSON writer. It puts the commas; the caller sees to it that keys and values alternate.
 *
 *     json_begin(&j, '{');
 *     json_key(&j, "n");
 *     json_int(&j, 3);
 *     json_end(&j, '}');
 */
#ifndef CLI_JSON_H
#define CLI_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct json {
    FILE *out;
    bool comma; // a value precedes at this level
};

void json_begin(struct json *j, char bracket);
void json_end(struct json *j, char bracket);
void json_key(struct json *j, const char *key);
/** A key that need not be UTF-8 nor end in a NUL. */
void json_key_bytes(struct json *j, const char *key, size_t len);
void json_int(struct json *j, int64_t value);
void json_uint(struct json *j, uint64_t value);
void json_bool(struct json *j, bool value);
void json_null(struct json *j);
/** The fewest digits that read back as the same number; null for what JSON cannot say (infinities, NaN). */
void json_number(struct json *j, double value);
/** The same for a number that was a float. */
void json_float(struct json *j, float value);
void json_string(struct json *j, const char *text);
/** Bytes that are not UTF-8 become U+FFFD. */
void json_bytes(struct json *j, const char *text, size_t len);
/** [1,2,3] */
void json_ids(struct json *j, const int32_t *ids, size_t n);

/** Writes a text as a JSON string has it, without the quotes, so that a terminal is safe from it. */
void json_write_escaped(FILE *out, const char *text, size_t len);

/** Bytes of the UTF-8 character at `text`, 1 .. 4; 0 when there is none (also for surrogates and overlong
 * forms). */
size_t json_utf8_len(const char *text, size_t len);

#endif
