/* SPDX-License-Identifier: MIT
 * The thread pool: every item exactly once, whatever the sizes, and sleep between the jobs. */
#include "test.h"

#include <time.h>
#include <unistd.h>

#include "util/pool.h"

enum { MAX_ITEMS = 5000 };

struct tally {
    _Atomic uint32_t hits[MAX_ITEMS];
    uint32_t n, chunk;
};

static void touch(void *user, uint32_t first, uint32_t last)
{
    struct tally *t = user;
    REQUIRE(first < last && last <= t->n && last - first <= 8 * t->chunk);
    for (uint32_t i = first; i < last; i++)
        t->hits[i]++;
}

static void test_every_item_once(struct lg_pool *pool, uint64_t seed)
{
    struct test_rng rng = {seed};
    struct tally *t = calloc(1, sizeof(*t));
    for (uint32_t round = 1; round <= 2000; round++) {
        t->n = test_randu(&rng, 0, round % 10 ? 40 : MAX_ITEMS);
        t->chunk = test_randu(&rng, 1, 20);
        for (uint32_t i = 0; i < t->n; i++)
            t->hits[i] = 0;
        lg_pool_run(pool, touch, t, t->n, t->chunk);
        for (uint32_t i = 0; i < t->n; i++)
            REQUIRE_INT(t->hits[i], ==, 1);
        if (round % 100 == 0)
            usleep(1000); // long enough for the threads to fall asleep
    }
    free(t);
}

static void test_sleep(struct lg_pool *pool)
{
    struct tally *t = calloc(1, sizeof(*t));
    t->n = 100;
    t->chunk = 1;
    lg_pool_run(pool, touch, t, t->n, t->chunk);
    usleep(20000);
    struct timespec before, after;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    usleep(200000);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    double used = (double)(after.tv_sec - before.tv_sec) + (double)(after.tv_nsec - before.tv_nsec) * 1e-9;
    REQUIRE(used < 0.05);
    free(t);
}

int main(void)
{
    struct lg_env env;
    lg_env_init(&env);
    for (uint32_t n_threads = 1; n_threads <= 5; n_threads++) {
        struct lg_pool *pool = NULL;
        REQUIRE_INT(lg_pool_create(&env, n_threads, &pool), ==, 0);
        uint64_t allocations = env.stats->n_allocs;
        test_every_item_once(pool, n_threads);
        test_sleep(pool);
        REQUIRE_INT(env.stats->n_allocs, ==, allocations);
        lg_pool_destroy(pool);
    }
    lg_pool_destroy(NULL);
    return 0;
}
