/* SPDX-License-Identifier: MIT */
#include "util/env.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/checked.h"

static void *default_alloc(void *user, size_t size)
{
    (void)user;
    return malloc(size);
}

static void *default_resize(void *user, void *ptr, size_t size)
{
    (void)user;
    return realloc(ptr, size);
}

static void default_release(void *user, void *ptr)
{
    (void)user;
    free(ptr);
}

void lg_env_init(struct lg_env *env)
{
    memset(env, 0, sizeof(*env));
    env->alloc = default_alloc;
    env->resize = default_resize;
    env->release = default_release;
    env->stats = &env->own_stats;
}

void lg_env_child(struct lg_env *env, const struct lg_env *parent)
{
    memset(env, 0, sizeof(*env));
    env->alloc = parent->alloc;
    env->resize = parent->resize;
    env->release = parent->release;
    env->log = parent->log;
    env->user = parent->user;
    env->stats = parent->stats;
}

void *lg_alloc(struct lg_env *env, size_t size)
{
    atomic_fetch_add_explicit(&env->stats->n_allocs, 1, memory_order_relaxed);
    void *ptr = env->alloc(env->user, size ? size : 1);
    if (ptr)
        memset(ptr, 0, size);
    return ptr;
}

void *lg_alloc_array(struct lg_env *env, size_t n, size_t size)
{
    size_t total;
    return lg_mul_size(n, size, &total) ? lg_alloc(env, total) : NULL;
}

void *lg_resize(struct lg_env *env, void *ptr, size_t size)
{
    atomic_fetch_add_explicit(&env->stats->n_allocs, 1, memory_order_relaxed);
    return env->resize(env->user, ptr, size ? size : 1);
}

void lg_free(struct lg_env *env, void *ptr)
{
    if (ptr)
        env->release(env->user, ptr);
}

char *lg_strndup(struct lg_env *env, const char *s, size_t len)
{
    char *copy = len < SIZE_MAX ? lg_alloc(env, len + 1) : NULL;
    if (copy)
        memcpy(copy, s, len);
    return copy;
}

int lg_fail(struct lg_env *env, int code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(env->error, sizeof(env->error), fmt, args);
    va_end(args);
    lg_log(env, LG_LOG_DEBUG, "%s", env->error);
    return code;
}

int lg_note(struct lg_env *env, int code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(env->error, sizeof(env->error), fmt, args);
    va_end(args);
    return code;
}

int lg_fail_nomem(struct lg_env *env, const char *what, uint64_t size)
{
    return lg_fail(env, LLMGPU_E_NOMEM, "out of memory: %llu bytes for %s", (unsigned long long)size, what);
}

void lg_log(const struct lg_env *env, int level, const char *fmt, ...)
{
    if (!env->log)
        return;
    char line[640];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    env->log(env->user, level, line);
}

void lg_watch_begin(struct lg_env *env, uint64_t total)
{
    if (!env->watch)
        return;
    env->watch->done = 0;
    env->watch->total = total;
}

int lg_watch_add(struct lg_env *env, uint64_t n)
{
    struct lg_watch *w = env->watch;
    if (!w)
        return 0;
    w->done = n < w->total - w->done ? w->done + n : w->total;
    return w->tell(w->user, w->done, w->total) ? lg_fail(env, LLMGPU_E_CANCELLED, "cancelled") : 0;
}

int lg_watch_end(struct lg_env *env)
{
    return lg_watch_add(env, UINT64_MAX);
}
