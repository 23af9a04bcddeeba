/* SPDX-License-Identifier: MIT
 *
 * What a module needs from its host: memory, a log, and a place for the sentence that explains a failure. Every
 * fallible function takes a `struct lg_env *` and returns 0 or a negative LLMGPU_E_* code; the sentence of the last
 * failure is in env->error.
 *
 * Thread-safety: the allocator and the log may be called from any thread; `error` belongs to one thread at a time, so
 * objects that live on different threads own an env each (lg_env_child).
 */
#ifndef LG_UTIL_ENV_H
#define LG_UTIL_ENV_H

#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "llmgpu/error.h"

enum lg_log_level { LG_LOG_ERROR = 0, LG_LOG_WARN = 1, LG_LOG_INFO = 2, LG_LOG_DEBUG = 3 };

/** Live numbers that all envs of one context share. */
struct lg_env_stats {
    _Atomic uint64_t n_allocs; // calls that asked the allocator for memory, ever
};

/** Who watches long work, such as loading a file: is told how far it is, and may stop it. */
struct lg_watch {
    int (*tell)(void *user, uint64_t done, uint64_t total); // called often; nonzero: the work is to stop
    void *user;
    uint64_t done, total; // bytes; kept by lg_watch_begin() and lg_watch_add()
};

struct lg_env {
    void *(*alloc)(void *user, size_t size);            // NULL when out of memory; aligned as malloc
    void *(*resize)(void *user, void *ptr, size_t size); // as realloc
    void (*release)(void *user, void *ptr);             // as free
    void (*log)(void *user, int level, const char *text); // may be NULL; `text` is one formatted line
    void *user;                                         // passed to each callback
    struct lg_env_stats *stats;                         // the root's own, or a parent's
    struct lg_env_stats own_stats;
    struct lg_watch *watch;                             // of what is being done; NULL: nobody watches
    char error[512];                                    // the last failure as a sentence, "" when there was none
};

/** Fills a root env with malloc, realloc, free and no log. */
void lg_env_init(struct lg_env *env);
/** Fills an env that shares the parent's callbacks and statistics, but not its watch; the parent must outlive it. */
void lg_env_child(struct lg_env *env, const struct lg_env *parent);

/** Zeroed memory, or NULL. A size of 0 gives a valid pointer. */
void *lg_alloc(struct lg_env *env, size_t size);
/** Zeroed memory for `n` elements; NULL when n * size overflows. */
void *lg_alloc_array(struct lg_env *env, size_t n, size_t size);
/** As realloc; the old block stays valid on NULL. New bytes are not zeroed. */
void *lg_resize(struct lg_env *env, void *ptr, size_t size);
/** NULL is allowed. */
void lg_free(struct lg_env *env, void *ptr);
/** A copy of `len` bytes with a NUL behind them, or NULL. */
char *lg_strndup(struct lg_env *env, const char *s, size_t len);

/** Stores the sentence and returns `code`, so that a failure is one line: return lg_fail(env, CODE, "..."). */
int lg_fail(struct lg_env *env, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/** The same without a line in the log, which is the host's code: for where a lock is held. */
int lg_note(struct lg_env *env, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/** LLMGPU_E_NOMEM with a sentence that names what was wanted. */
int lg_fail_nomem(struct lg_env *env, const char *what, uint64_t size);
void lg_log(const struct lg_env *env, int level, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/** Says how many bytes there are to deal with; none is done. */
void lg_watch_begin(struct lg_env *env, uint64_t total);
/** Counts bytes as done, as far as there are any, and tells. 0 or LLMGPU_E_CANCELLED. */
int lg_watch_add(struct lg_env *env, uint64_t n);
/** Counts all bytes as done, and tells. */
int lg_watch_end(struct lg_env *env);

/** Asks whether to go on, 0 or LLMGPU_E_CANCELLED: about every millisecond of work that may be cancelled. */
static inline int lg_poll(struct lg_env *env)
{
    return env->watch ? lg_watch_add(env, 0) : 0;
}

/** The same inside a loop over many small things: asks at some of its rounds. */
static inline int lg_poll_at(struct lg_env *env, uint64_t round)
{
    return round % 1024 == 0 ? lg_poll(env) : 0;
}

/** Forwards a failure to the caller. */
#define LG_TRY(expr)                                                                                         \
    do {                                                                                                     \
        int lg_try_rc_ = (expr);                                                                             \
        if (lg_try_rc_ < 0)                                                                                  \
            return lg_try_rc_;                                                                               \
    } while (0)

#endif
