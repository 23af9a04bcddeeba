/* SPDX-License-Identifier: MIT
 * UTF-8 as Unicode defines it: no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef LG_TEXT_UTF8_H
#define LG_TEXT_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * Looks at the character that begins at `s`.
 *
 * @return its length, 1 to 4; 0 when the bytes end inside a character that is right so far; or -n when the
 * first n bytes can never be part of one
 */
static inline int lg_utf8_len(const char *s, size_t n)
{
    if (n == 0)
        return 0;
    uint8_t lead = (uint8_t)s[0], lo = 0x80, hi = 0xbf;
    size_t len;
    if (lead < 0x80)
        return 1;
    if (lead >= 0xc2 && lead <= 0xdf)
        len = 2;
    else if (lead >= 0xe0 && lead <= 0xef)
        len = 3;
    else if (lead >= 0xf0 && lead <= 0xf4)
        len = 4;
    else
        return -1;
    // The second byte rules out overlong forms, surrogates and what is above U+10FFFF.
    if (lead == 0xe0)
        lo = 0xa0;
    else if (lead == 0xed)
        hi = 0x9f;
    else if (lead == 0xf0)
        lo = 0x90;
    else if (lead == 0xf4)
        hi = 0x8f;
    for (size_t i = 1; i < len; i++, lo = 0x80, hi = 0xbf) {
        if (i == n)
            return 0;
        if ((uint8_t)s[i] < lo || (uint8_t)s[i] > hi)
            return -(int)i;
    }
    return (int)len;
}

/** Length of the character at `s`, or 1 for a byte that begins none. n > 0. */
static inline size_t lg_utf8_step(const char *s, size_t n)
{
    int len = lg_utf8_len(s, n);
    return len > 0 ? (size_t)len : 1;
}

/** Number of bytes at the start of `s` that are valid. */
static inline size_t lg_utf8_valid_prefix(const char *s, size_t n)
{
    size_t i = 0;
    while (i < n) {
        int len = lg_utf8_len(s + i, n - i);
        if (len <= 0)
            break;
        i += (size_t)len;
    }
    return i;
}

/** The code point of a valid character of `len` bytes. */
static inline uint32_t lg_utf8_decode(const char *s, int len)
{
    if (len == 1)
        return (uint8_t)s[0];
    uint32_t cp = (uint8_t)s[0] & (0xffu >> (len + 1));
    for (int i = 1; i < len; i++)
        cp = cp << 6 | ((uint8_t)s[i] & 0x3fu);
    return cp;
}

#endif
