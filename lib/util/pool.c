/* SPDX-License-Identifier: MIT
 *
 * A job is published in one atomic word: its generation and how many of its items nobody has taken yet. A
 * thread takes items by lowering that count. While the count is not 0 the caller cannot have finished the
 * job, so what a thread read of the job before it took items is still true once it has them; a thread that
 * comes late finds 0 and touches nothing.
 */
#include "util/pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <unistd.h>

#include "util/checked.h"
#include "util/clock.h"

enum {
    SPIN_NS = 10000, // waits shorter than this do not sleep
    MAX_CHUNKS = 8,  // that a thread takes at once
};

struct lg_pool {
    struct lg_env *env;
    uint32_t n_workers; // threads started, besides the caller

    /* the job; its parts are atomic because a late thread may look at them while the next job is written */
    _Atomic uint64_t open; // generation << 32 | items not taken
    _Atomic(lg_pool_fn *) fn;
    _Atomic(void *) user;
    _Atomic uint32_t n, chunk;
    char apart[64];        // what each piece writes twice is not on the line that waiting threads look at
    _Atomic uint32_t done; // items finished

    /* sleeping */
    pthread_mutex_t mutex;
    pthread_cond_t work;         // there are items to take, or `stop`
    pthread_cond_t finished;     // done == n
    _Atomic uint32_t n_sleeping; // workers at `work`
    _Atomic bool caller_sleeps;  // at `finished`
    _Atomic bool stop;

    pthread_t threads[]; // n_workers
};

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static bool has_items(struct lg_pool *pool)
{
    return (uint32_t)atomic_load(&pool->open) != 0;
}

static bool is_finished(struct lg_pool *pool)
{
    return atomic_load(&pool->done) == atomic_load_explicit(&pool->n, memory_order_relaxed);
}

static bool is_wanted(struct lg_pool *pool)
{
    return has_items(pool) || atomic_load(&pool->stop);
}

/* Waits a moment for a condition without sleeping; false when it did not come about. */
static bool spin_until(struct lg_pool *pool, bool (*condition)(struct lg_pool *))
{
    uint64_t end = 0;
    for (uint32_t i = 0; !condition(pool); i++) {
        relax();
        if (i % 16 != 15)
            continue;
        uint64_t now = lg_now_ns();
        if (end == 0)
            end = now + SPIN_NS;
        else if (now > end)
            return false;
    }
    return true;
}

/*
 * What a thread takes of the items that are left: large pieces first, which memory is read fastest in, and smaller ones
 * towards the end, so that all threads end at about the same time. All but the last are whole chunks.
 */
static uint32_t share_of(const struct lg_pool *pool, uint32_t left)
{
    uint32_t chunk = atomic_load_explicit(&pool->chunk, memory_order_relaxed);
    uint32_t share = left / (2 * (pool->n_workers + 1)) / chunk * chunk;
    return lg_min_u32(left, share > MAX_CHUNKS * chunk ? MAX_CHUNKS * chunk : lg_max_u32(share, chunk));
}

/* Takes items and works on them until none are left to take. */
static void work_on(struct lg_pool *pool)
{
    uint64_t open = atomic_load(&pool->open);
    while ((uint32_t)open != 0) {
        uint32_t left = (uint32_t)open, n = atomic_load_explicit(&pool->n, memory_order_relaxed);
        uint32_t take = share_of(pool, left);
        lg_pool_fn *fn = atomic_load_explicit(&pool->fn, memory_order_relaxed);
        void *user = atomic_load_explicit(&pool->user, memory_order_relaxed);
        if (!atomic_compare_exchange_weak(&pool->open, &open, open - take))
            continue;
        fn(user, n - left, n - left + take);
        if (atomic_fetch_add(&pool->done, take) + take == n && atomic_load(&pool->caller_sleeps)) {
            pthread_mutex_lock(&pool->mutex);
            pthread_cond_signal(&pool->finished);
            pthread_mutex_unlock(&pool->mutex);
        }
        open = atomic_load(&pool->open);
    }
}

static void *worker(void *arg)
{
    struct lg_pool *pool = arg;
    for (;;) {
        if (!spin_until(pool, is_wanted)) {
            pthread_mutex_lock(&pool->mutex);
            atomic_fetch_add(&pool->n_sleeping, 1);
            while (!is_wanted(pool))
                pthread_cond_wait(&pool->work, &pool->mutex);
            atomic_fetch_sub(&pool->n_sleeping, 1);
            pthread_mutex_unlock(&pool->mutex);
        }
        if (atomic_load(&pool->stop))
            return NULL;
        work_on(pool);
    }
}

static void wake(struct lg_pool *pool, uint32_t wanted)
{
    uint32_t n = lg_min_u32(wanted, atomic_load(&pool->n_sleeping));
    if (n == 0)
        return;
    pthread_mutex_lock(&pool->mutex);
    for (uint32_t i = 0; i < n; i++)
        pthread_cond_signal(&pool->work);
    pthread_mutex_unlock(&pool->mutex);
}

void lg_pool_run(struct lg_pool *pool, lg_pool_fn *fn, void *user, uint32_t n, uint32_t chunk)
{
    if (pool->n_workers == 0 || n <= chunk) {
        for (uint32_t i = 0; i < n; i += lg_min_u32(chunk, n - i))
            fn(user, i, i + lg_min_u32(chunk, n - i));
        return;
    }
    atomic_store_explicit(&pool->fn, fn, memory_order_relaxed);
    atomic_store_explicit(&pool->user, user, memory_order_relaxed);
    atomic_store_explicit(&pool->n, n, memory_order_relaxed);
    atomic_store_explicit(&pool->chunk, chunk, memory_order_relaxed);
    atomic_store_explicit(&pool->done, 0, memory_order_relaxed);
    uint64_t generation = (atomic_load_explicit(&pool->open, memory_order_relaxed) >> 32) + 1;
    atomic_store(&pool->open, generation << 32 | n);
    wake(pool, lg_div_up(n, chunk) - 1);
    work_on(pool);
    if (spin_until(pool, is_finished))
        return;
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->caller_sleeps, true);
    while (!is_finished(pool))
        pthread_cond_wait(&pool->finished, &pool->mutex);
    atomic_store(&pool->caller_sleeps, false);
    pthread_mutex_unlock(&pool->mutex);
}

/* The host's signal handlers must not run on our threads. */
static int start_worker(struct lg_pool *pool)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int err = pthread_create(&pool->threads[pool->n_workers], NULL, worker, pool);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (err)
        return lg_fail(pool->env, LLMGPU_E_NOMEM, "cannot start thread %u of the pool (error %d)",
                       pool->n_workers + 1, err);
    pool->n_workers++;
    return 0;
}

uint32_t lg_pool_processors(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 0)
        return (uint32_t)CPU_COUNT(&set);
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (uint32_t)n : 1;
}

int lg_pool_create(struct lg_env *env, uint32_t n_threads, struct lg_pool **out)
{
    size_t size;
    if (!lg_mul_size(n_threads, sizeof(pthread_t), &size) ||
        !lg_add_size(size, sizeof(struct lg_pool) + 64, &size))
        return lg_fail(env, LLMGPU_E_INVALID, "%u threads are too many", n_threads);
    struct lg_pool *pool = lg_alloc(env, size);
    if (!pool)
        return lg_fail_nomem(env, "the thread pool", size);
    pool->env = env;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->finished, NULL);
    for (uint32_t i = 1; i < n_threads; i++) {
        int rc = start_worker(pool);
        if (rc < 0) {
            lg_pool_destroy(pool);
            return rc;
        }
    }
    *out = pool;
    return 0;
}

void lg_pool_destroy(struct lg_pool *pool)
{
    if (!pool)
        return;
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->stop, true);
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->mutex);
    for (uint32_t i = 0; i < pool->n_workers; i++)
        pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->finished);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->mutex);
    lg_free(pool->env, pool);
}
