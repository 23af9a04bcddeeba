/* SPDX-License-Identifier: MIT
 * Text as Python sees it: characters, white space, lines. What is no UTF-8 is one character for each byte. */
#include "text/template/internal.h"
#include "text/utf8.h"

size_t lg_char_at(const char *s, size_t n, uint32_t *c)
{
    int len = lg_utf8_len(s, n);
    *c = len > 0 ? lg_utf8_decode(s, len) : 0x110000u + (uint8_t)s[0];
    return len > 0 ? (size_t)len : 1;
}

size_t lg_char_put(uint32_t c, char out[4])
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)((0xf00u >> n & 0xf0) | c);
    return n;
}

bool lg_char_is_space(uint32_t c)
{
    return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
           c == 0x3000;
}

bool lg_char_is_newline(uint32_t c)
{
    return (c >= 0x0a && c <= 0x0d) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

uint32_t lg_str_chars(struct lg_str s)
{
    uint32_t n = 0;
    for (size_t i = 0; i < s.len; n++)
        i += lg_utf8_step(s.ptr + i, s.len - i);
    return n;
}

size_t lg_str_offset(struct lg_str s, uint32_t i)
{
    size_t at = 0;
    for (; i > 0 && at < s.len; i--)
        at += lg_utf8_step(s.ptr + at, s.len - at);
    return at;
}

/** Where the last character begins; s is not empty. */
static size_t last_char(struct lg_str s)
{
    for (size_t n = 1; n <= 4 && n <= s.len; n++)
        if (lg_utf8_len(s.ptr + s.len - n, n) == (int)n)
            return s.len - n;
    return s.len - 1;
}

static bool is_stripped(struct lg_str character, uint32_t c, const struct lg_str *chars)
{
    if (!chars)
        return lg_char_is_space(c);
    return lg_str_find(*chars, character, 0) != SIZE_MAX;
}

struct lg_str lg_str_strip(struct lg_str s, int sides, const struct lg_str *chars)
{
    uint32_t c;
    while (sides & LG_STRIP_LEFT && s.len > 0) {
        size_t n = lg_char_at(s.ptr, s.len, &c);
        if (!is_stripped((struct lg_str){s.ptr, n}, c, chars))
            break;
        s.ptr += n;
        s.len -= n;
    }
    while (sides & LG_STRIP_RIGHT && s.len > 0) {
        size_t at = last_char(s);
        lg_char_at(s.ptr + at, s.len - at, &c);
        if (!is_stripped((struct lg_str){s.ptr + at, s.len - at}, c, chars))
            break;
        s.len = at;
    }
    return s;
}

size_t lg_str_find(struct lg_str s, struct lg_str needle, size_t from)
{
    if (from > s.len || needle.len > s.len - from)
        return SIZE_MAX;
    if (needle.len == 0)
        return from;
    const char *found = needle.len == 1 ? memchr(s.ptr + from, needle.ptr[0], s.len - from)
                                        : memmem(s.ptr + from, s.len - from, needle.ptr, needle.len);
    return found ? (size_t)(found - s.ptr) : SIZE_MAX;
}

int lg_tmpl_rfind(struct lg_tmpl_run *r, struct lg_str s, struct lg_str needle, size_t *out)
{
    *out = needle.len == 0 ? s.len : SIZE_MAX;
    LG_TRY(lg_tmpl_charge(r, 0, s.len));
    for (size_t at = 0; needle.len > 0 && (at = lg_str_find(s, needle, at)) != SIZE_MAX; at++) {
        LG_TRY(lg_tmpl_charge(r, 1 + needle.len / 2, 0)); // each search prepares for all of it
        *out = at;
    }
    return 0;
}

/* ---- making new ones -------------------------------------------------------------------------------- */

enum change { TO_UPPER, TO_LOWER, TO_CAPITALIZED };

static int change_case(struct lg_tmpl_run *r, struct lg_str s, enum change change, struct lg_value *out)
{
    size_t mark = r->n_out;
    for (size_t i = 0, n; i < s.len; i += n) {
        uint32_t c;
        char text[4];
        n = lg_char_at(s.ptr + i, s.len - i, &c);
        bool upper = change == TO_UPPER || (change == TO_CAPITALIZED && i == 0);
        uint32_t other = upper ? lg_char_upper(c) : lg_char_lower(c);
        if (c == 0xdf && upper)
            LG_TRY(lg_tmpl_write(r, change == TO_UPPER ? "SS" : "Ss", 2));
        else if (other == c)
            LG_TRY(lg_tmpl_write(r, s.ptr + i, n));
        else
            LG_TRY(lg_tmpl_write(r, text, lg_char_put(other, text)));
    }
    LG_TRY(lg_tmpl_charge(r, s.len / 8, 0));
    return lg_tmpl_take(r, mark, out);
}

int lg_tmpl_upper(struct lg_tmpl_run *r, struct lg_str s, struct lg_value *out)
{
    return change_case(r, s, TO_UPPER, out);
}

int lg_tmpl_lower(struct lg_tmpl_run *r, struct lg_str s, struct lg_value *out)
{
    return change_case(r, s, TO_LOWER, out);
}

int lg_tmpl_capitalize(struct lg_tmpl_run *r, struct lg_str s, struct lg_value *out)
{
    return change_case(r, s, TO_CAPITALIZED, out);
}

/** `from` "": `to` goes before each character and behind the last. */
static int insert(struct lg_tmpl_run *r, struct lg_str s, struct lg_str to, int64_t count)
{
    for (size_t i = 0, n; count > 0; i += n, count--) {
        LG_TRY(lg_tmpl_charge(r, 1, 0));
        LG_TRY(lg_tmpl_write(r, to.ptr, to.len));
        if (i == s.len)
            return 0;
        n = lg_utf8_step(s.ptr + i, s.len - i);
        LG_TRY(lg_tmpl_write(r, s.ptr + i, n));
        if (count == 1)
            return lg_tmpl_write(r, s.ptr + i + n, s.len - i - n);
    }
    return lg_tmpl_write(r, s.ptr, s.len);
}

int lg_tmpl_replace(struct lg_tmpl_run *r, struct lg_str s, struct lg_str from, struct lg_str to,
                    int64_t count, struct lg_value *out)
{
    size_t mark = r->n_out, at = 0, next;
    if (count < 0)
        count = INT64_MAX;
    LG_TRY(lg_tmpl_charge(r, 0, s.len));
    if (from.len == 0) {
        LG_TRY(insert(r, s, to, count));
        return lg_tmpl_take(r, mark, out);
    }
    for (; count > 0 && (next = lg_str_find(s, from, at)) != SIZE_MAX; at = next + from.len, count--) {
        LG_TRY(lg_tmpl_charge(r, 1, 0));
        LG_TRY(lg_tmpl_write(r, s.ptr + at, next - at));
        LG_TRY(lg_tmpl_write(r, to.ptr, to.len));
    }
    if (at == 0) {
        *out = lg_value_string(s.ptr, s.len);
        return 0;
    }
    LG_TRY(lg_tmpl_write(r, s.ptr + at, s.len - at));
    return lg_tmpl_take(r, mark, out);
}

int lg_tmpl_splitlines(struct lg_tmpl_run *r, struct lg_str s, bool keep_ends, struct lg_value *out)
{
    struct lg_tmpl_items items = {0};
    size_t start = 0;
    uint32_t c;
    LG_TRY(lg_tmpl_charge(r, s.len / 8, 0));
    for (size_t i = 0, n; i < s.len; i += n) {
        n = lg_char_at(s.ptr + i, s.len - i, &c);
        bool is_end = lg_char_is_newline(c), last = i + n == s.len;
        if (!is_end && !last)
            continue;
        size_t text_end = is_end ? i : i + n;
        if (c == '\r' && !last && s.ptr[i + 1] == '\n')
            n = 2;
        struct lg_value line = lg_value_string(s.ptr + start, (keep_ends ? i + n : text_end) - start);
        LG_TRY(lg_tmpl_items_add(r, &items, &line));
        start = i + n;
    }
    return lg_tmpl_list(r, items.items, items.n, items.cap, out);
}
