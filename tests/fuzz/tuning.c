/* SPDX-License-Identifier: MIT
 *
 * A file of measured sizes. The first byte says whether its checksum is put right before it is parsed. Whatever the bytes
 * are: nothing is found, or what is found is what was written, and written again it is the same bytes.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "fuzz.h"
#include "runtime/tunings.h"
#include "test.h"

enum { KEY = 0x4c47 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct lg_tunings t;
    static uint8_t back[LG_MAX_TUNINGS_BYTES];
    if (size < 1)
        return 0;
    size_t n = size - 1;
    uint8_t *copy = malloc(n ? n : 1);
    REQUIRE(copy);
    memcpy(copy, data + 1, n);
    if (data[0] & 1 && n >= LG_TUNINGS_HEAD) {
        uint64_t hash = XXH3_64bits(copy + LG_TUNINGS_HEAD, n - LG_TUNINGS_HEAD);
        memcpy(copy + 16, &hash, sizeof(hash));
    }
    if (lg_tunings_parse(&t, KEY, copy, n)) {
        REQUIRE_INT(lg_tunings_write(&t, KEY, back), ==, n);
        REQUIRE(memcmp(back, copy, n) == 0);
        for (uint32_t i = 0; i < t.n; i++) {
            REQUIRE(lg_tunings_find(&t, t.found[i].key) == &t.found[i]);
            REQUIRE_INT(t.found[i].chosen, <, t.found[i].n_tried);
        }
    } else {
        REQUIRE_INT(t.n, ==, 0);
    }
    free(copy);
    return 0;
}
