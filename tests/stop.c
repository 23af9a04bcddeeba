/* SPDX-License-Identifier: MIT
 *
 * Stop texts: cut at random, a text gives what a search over the whole of it does.
 */
#include "test.h"
#include "text/stop.h"

enum { MAX_TEXT = 60 };

static struct test_rng rng = {11};

/** What is before the stop text that ends first in the whole; all when there is none. */
static size_t search(const struct lg_stops *stops, const char *text, size_t len, bool *found)
{
    for (size_t end = 1; end <= len; end++) {
        size_t longest = 0;
        for (uint32_t i = 0; i < stops->n; i++)
            if (stops->len[i] <= end && memcmp(text + end - stops->len[i], stops->text[i], stops->len[i]) == 0 &&
                stops->len[i] > longest)
                longest = stops->len[i];
        *found = longest > 0;
        if (longest)
            return end - longest;
    }
    *found = false;
    return len;
}

/** Pushes the text in random pieces. What came out, and whether it was stopped. */
static size_t push_all(const struct lg_stops *stops, const char *text, size_t len, char *out, bool *found)
{
    struct lg_stop_state state = {0};
    char piece[LG_STOP_ROOM(MAX_TEXT)];
    size_t n_out = 0, n;
    for (size_t at = 0, size; at < len; at += size) {
        size = test_randu(&rng, 1, 5);
        size = size < len - at ? size : len - at;
        *found = lg_stop_push(&state, stops, text + at, size, piece, &n);
        REQUIRE(n <= LG_STOP_ROOM(size));
        memcpy(out + n_out, piece, n);
        n_out += n;
        if (*found)
            return n_out;
        // No more is held back than may become a stop text.
        REQUIRE_INT(n_out + state.n_held, ==, at + size);
        bool begins = state.n_held == 0;
        for (uint32_t i = 0; i < stops->n; i++)
            begins |= state.n_held < stops->len[i] && memcmp(state.held, stops->text[i], state.n_held) == 0;
        REQUIRE(begins);
    }
    *found = false;
    return n_out + lg_stop_finish(&state, out + n_out);
}

/** Few letters, so that texts overlap themselves and each other. */
static void check_random(void)
{
    char text[MAX_TEXT], stop[8], out[MAX_TEXT + LG_MAX_STOP_LEN];
    int n_found = 0;
    for (int round = 0; round < 20000; round++) {
        struct lg_stops stops = {0};
        for (uint32_t i = test_randu(&rng, 0, 4); i > 0; i--) {
            size_t len = test_randu(&rng, 1, 8);
            for (size_t k = 0; k < len; k++)
                stop[k] = (char)('a' + test_randu(&rng, 0, 1));
            REQUIRE(lg_stops_add(&stops, stop, len));
        }
        size_t len = test_randu(&rng, 0, MAX_TEXT);
        for (size_t k = 0; k < len; k++)
            text[k] = (char)('a' + test_randu(&rng, 0, 2));
        bool expected, found = false;
        size_t before = search(&stops, text, len, &expected);
        REQUIRE_INT(push_all(&stops, text, len, out, &found), ==, before);
        REQUIRE(found == expected && memcmp(out, text, before) == 0);
        n_found += found;
    }
    REQUIRE(n_found > 5000 && n_found < 19000);
}

static void check_sizes(void)
{
    static struct lg_stops stops;
    struct lg_stop_state state = {0};
    char longest[LG_MAX_STOP_LEN], out[LG_STOP_ROOM(1)];
    size_t n;
    memset(longest, 'x', sizeof(longest));
    REQUIRE(lg_stops_add(&stops, longest, sizeof(longest)));
    for (int i = 0; i < LG_MAX_STOP_LEN - 1; i++)
        REQUIRE(!lg_stop_push(&state, &stops, "x", 1, out, &n) && n == 0);
    REQUIRE(lg_stop_push(&state, &stops, "x", 1, out, &n) && n == 0);
    for (int i = 0; i < 200; i++)
        REQUIRE(!lg_stop_push(&state, &stops, "x", 1, out, &n) && n == 0);
    REQUIRE(!lg_stop_push(&state, &stops, "y", 1, out, &n) && n == 201 && out[200] == 'y');
    for (int i = 1; i < LG_MAX_STOPS; i++)
        REQUIRE(lg_stops_add(&stops, "end", 3));
    REQUIRE(!lg_stops_add(&stops, "end", 3));
}

int main(void)
{
    check_random();
    check_sizes();
    return 0;
}
