/* SPDX-License-Identifier: MIT
 *
 * What a test needs: checks that say where they failed, and the folder of shared data. A test is a program that returns
 * 0, or TEST_SKIP when what it needs is not on this machine.
 */
#ifndef LG_TESTS_TEST_H
#define LG_TESTS_TEST_H

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEST_SKIP 77

#define REQUIRE(cond)                                                                                        \
    do {                                                                                                     \
        if (!(cond)) {                                                                                       \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #cond);                               \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

#define REQUIRE_INT(a, op, b)                                                                                \
    do {                                                                                                     \
        long long a_ = (long long)(a), b_ = (long long)(b);                                                  \
        if (!(a_ op b_)) {                                                                                   \
            fprintf(stderr, "%s:%d: failed: %s %s %s: %lld, %lld\n", __FILE__, __LINE__, #a, #op, #b, a_, b_); \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

#define REQUIRE_STR(a, b)                                                                                    \
    do {                                                                                                     \
        const char *a_ = (a), *b_ = (b);                                                                     \
        if (strcmp(a_, b_) != 0) {                                                                           \
            fprintf(stderr, "%s:%d: failed: %s is '%s', not '%s'\n", __FILE__, __LINE__, #a, a_, b_);        \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

/** The folder of oracles, models and vocabularies; NULL when this checkout has none beside it. */
static inline const char *test_shared(void)
{
    const char *dir = getenv("LLMGPU_SHARED");
    return dir && *dir ? dir : NULL;
}

/** A path inside the shared folder, in one of a few static buffers. */
static inline const char *test_shared_path(const char *name)
{
    static char paths[8][1024];
    static unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof(paths[0]), "%s/%s", test_shared(), name);
    return path;
}

/** A small random generator (PCG, O'Neill 2014), so that a printed seed repeats a failure anywhere. */
struct test_rng {
    uint64_t state;
};

static inline uint32_t test_rand(struct test_rng *rng)
{
    uint64_t old = rng->state;
    rng->state = old * 6364136223846793005u + 1442695040888963407u;
    uint32_t xorshifted = (uint32_t)(((old >> 18) ^ old) >> 27), rot = (uint32_t)(old >> 59);
    return xorshifted >> rot | xorshifted << ((32 - rot) & 31);
}

/** Uniform in [lo, hi). */
static inline float test_randf(struct test_rng *rng, float lo, float hi)
{
    return lo + (hi - lo) * (float)(test_rand(rng) >> 8) * 0x1p-24f;
}

/** Uniform in [lo, hi]. */
static inline uint32_t test_randu(struct test_rng *rng, uint32_t lo, uint32_t hi)
{
    return lo + test_rand(rng) % (hi - lo + 1);
}

#endif
