/* SPDX-License-Identifier: MIT
 *
 * Stop texts: an answer ends where one of them appears in it, wherever the borders of its tokens lie. Text that may still
 * become one is held back.
 */
#ifndef LG_TEXT_STOP_H
#define LG_TEXT_STOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    LG_MAX_STOPS = 16,
    LG_MAX_STOP_LEN = 256, // bytes
};

/** The texts. A plain value: zero it to begin. */
struct lg_stops {
    uint32_t n;
    uint16_t len[LG_MAX_STOPS];
    char text[LG_MAX_STOPS][LG_MAX_STOP_LEN];
};

/** Adds a text of 1 .. LG_MAX_STOP_LEN bytes. False when there is no room for another. */
bool lg_stops_add(struct lg_stops *stops, const char *text, size_t len);

/** Where a search is. A plain value: zero it to begin. */
struct lg_stop_state {
    uint32_t n_held;
    char held[LG_MAX_STOP_LEN]; // the end of the text so far that begins some stop text
};

/** Room that lg_stop_push() needs for a piece of `len` bytes. */
#define LG_STOP_ROOM(len) (LG_MAX_STOP_LEN + (len))

/**
 * Searches a text as it comes. Of several stop texts the one that ends first counts, of those the longest.
 *
 * @param text the next `len` bytes
 * @param out  LG_STOP_ROOM(len) bytes for what can no longer be part of a stop text
 * @param n    its bytes
 * @return whether a stop text has appeared; then `out` ends where that begins, and the state is new
 */
bool lg_stop_push(struct lg_stop_state *state, const struct lg_stops *stops, const char *text, size_t len, char *out,
                  size_t *n);
/** Ends the text: gives what was held back, at most LG_MAX_STOP_LEN bytes, and makes the state new. */
size_t lg_stop_finish(struct lg_stop_state *state, char *out);

#endif
