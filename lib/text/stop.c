/* SPDX-License-Identifier: MIT */
#include "text/stop.h"

#include <string.h>

bool lg_stops_add(struct lg_stops *stops, const char *text, size_t len)
{
    if (stops->n == LG_MAX_STOPS)
        return false;
    memcpy(stops->text[stops->n], text, len);
    stops->len[stops->n++] = (uint16_t)len;
    return true;
}

/** Bytes of the longest stop text that the first `end` bytes end with; 0: none. */
static size_t match_at(const struct lg_stops *stops, const char *text, size_t end)
{
    size_t longest = 0;
    for (uint32_t i = 0; i < stops->n; i++) {
        size_t len = stops->len[i];
        if (len <= end && len > longest && memcmp(text + end - len, stops->text[i], len) == 0)
            longest = len;
    }
    return longest;
}

/** Bytes of the longest end of a text that is a beginning, and not all, of a stop text. */
static size_t count_begun(const struct lg_stops *stops, const char *text, size_t len)
{
    size_t most = len < LG_MAX_STOP_LEN - 1 ? len : LG_MAX_STOP_LEN - 1;
    for (size_t n = most; n > 0; n--)
        for (uint32_t i = 0; i < stops->n; i++)
            if (n < stops->len[i] && memcmp(text + len - n, stops->text[i], n) == 0)
                return n;
    return 0;
}

bool lg_stop_push(struct lg_stop_state *state, const struct lg_stops *stops, const char *text, size_t len, char *out,
                  size_t *n)
{
    size_t total = state->n_held + len;
    memcpy(out, state->held, state->n_held);
    memcpy(out + state->n_held, text, len);
    for (size_t end = state->n_held + 1; end <= total; end++) {
        size_t found = match_at(stops, out, end);
        if (found == 0)
            continue;
        *n = end - found;
        state->n_held = 0;
        return true;
    }
    size_t held = count_begun(stops, out, total);
    memcpy(state->held, out + total - held, held);
    state->n_held = (uint32_t)held;
    *n = total - held;
    return false;
}

size_t lg_stop_finish(struct lg_stop_state *state, char *out)
{
    size_t n = state->n_held;
    memcpy(out, state->held, n);
    state->n_held = 0;
    return n;
}
