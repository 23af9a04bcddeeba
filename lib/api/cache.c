/* SPDX-License-Identifier: MIT
 *
 * Models by name within a budget. Loading is done without the cache's lock: the entry says that it is being done, and who
 * wants the same model waits, or goes on with the one that is there.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "api/handles.h"
#include "api/params.h"

enum { MAX_NAME = 128, MAX_PATH = 1024, MAX_ENTRIES = 1 << 16 };

/** What tells a file from another one that took its place. */
struct identity {
    uint64_t device, inode, size;
    int64_t seconds, nanoseconds;
};

struct entry {
    char name[MAX_NAME], path[MAX_PATH];
    struct identity file; // of what is loaded
    uint64_t file_bytes;  // of the file as it was seen last
    llmgpu_model *model;  // NULL: not loaded
    uint64_t used;        // the cache's count when it was last asked for
    uint64_t n_acquired;
    bool pinned, loading;
};

struct llmgpu_model_cache {
    llmgpu_context *ctx;
    llmgpu_model_cache_params params;
    pthread_mutex_t lock;
    pthread_cond_t loaded; // one more, or not
    struct entry *entries;
    uint32_t n_entries, cap_entries;
    uint64_t n_uses;
    uint64_t n_reserved_bytes; // of files that are being loaded
    uint32_t n_reserved;
    llmgpu_model_cache_stats stats; // the counters
};

static const llmgpu_model_cache_params defaults = {.size = sizeof(llmgpu_model_cache_params)};

#define PARAMS_LEAST LG_SIZE_TO(llmgpu_model_cache_params, max_bytes)

int llmgpu_model_cache_params_init(llmgpu_model_cache_params *params, size_t size)
{
    return lg_api_params_init(params, size, &defaults, sizeof(defaults), PARAMS_LEAST);
}

/* ---- beginning and ending */

static int create(struct lg_env *env, llmgpu_context *ctx, const llmgpu_model_cache_params *params,
                  llmgpu_model_cache **out)
{
    llmgpu_model_cache_params p = defaults;
    if (params)
        LG_TRY(lg_api_params_in(env, &p, sizeof(p), PARAMS_LEAST, params));
    llmgpu_model_cache *cache = lg_alloc(env, sizeof(*cache));
    if (!cache)
        return lg_fail_nomem(env, "a cache of models", sizeof(*cache));
    if (pthread_mutex_init(&cache->lock, NULL) != 0) {
        lg_free(env, cache);
        return lg_fail_nomem(env, "a lock", sizeof(cache->lock));
    }
    if (pthread_cond_init(&cache->loaded, NULL) != 0) {
        pthread_mutex_destroy(&cache->lock);
        lg_free(env, cache);
        return lg_fail_nomem(env, "a condition", sizeof(cache->loaded));
    }
    cache->ctx = ctx;
    cache->params = p;
    lg_api_context_ref(ctx);
    *out = cache;
    return 0;
}

int llmgpu_model_cache_create(llmgpu_model_cache **out, llmgpu_context *ctx, const llmgpu_model_cache_params *params)
{
    if (out)
        *out = NULL;
    if (!out || !ctx)
        return LLMGPU_E_INVALID;
    struct lg_env env;
    lg_env_child(&env, &ctx->env);
    return lg_api_report(ctx, &env, create(&env, ctx, params, out));
}

void llmgpu_model_cache_free(llmgpu_model_cache *cache)
{
    if (!cache)
        return;
    llmgpu_context *ctx = cache->ctx;
    for (uint32_t i = 0; i < cache->n_entries; i++)
        llmgpu_model_free(cache->entries[i].model);
    pthread_cond_destroy(&cache->loaded);
    pthread_mutex_destroy(&cache->lock);
    lg_free(&ctx->env, cache->entries);
    lg_free(&ctx->env, cache);
    lg_api_context_unref(ctx);
}

/* ---- finding */

static struct entry *find(llmgpu_model_cache *cache, const char *name)
{
    for (uint32_t i = 0; i < cache->n_entries; i++)
        if (strcmp(cache->entries[i].name, name) == 0)
            return &cache->entries[i];
    return NULL;
}

/** A new entry, which needs the lock. */
static int add(struct lg_env *env, llmgpu_model_cache *cache, const char *name, struct entry **out)
{
    if (cache->n_entries == MAX_ENTRIES)
        return lg_fail(env, LLMGPU_E_LIMIT, "a cache knows at most %d models", MAX_ENTRIES);
    if (cache->n_entries == cache->cap_entries) {
        uint32_t cap = cache->cap_entries ? 2 * cache->cap_entries : 16;
        struct entry *grown = lg_alloc_array(env, cap, sizeof(*grown));
        if (!grown)
            return lg_fail_nomem(env, "a list of models", cap * sizeof(*grown));
        if (cache->n_entries)
            memcpy(grown, cache->entries, cache->n_entries * sizeof(*grown));
        lg_free(env, cache->entries);
        cache->entries = grown;
        cache->cap_entries = cap;
    }
    *out = &cache->entries[cache->n_entries++];
    **out = (struct entry){0};
    memcpy((*out)->name, name, strlen(name) + 1);
    return 0;
}

static bool is_gguf(const char *path)
{
    char magic[4];
    FILE *f = fopen(path, "rbe");
    bool is = f && fread(magic, 1, sizeof(magic), f) == sizeof(magic) && memcmp(magic, "GGUF", 4) == 0;
    if (f)
        fclose(f);
    return is;
}

/** Notes a file of a folder when it is a model. 1 when it was. */
static int note(struct lg_env *env, llmgpu_model_cache *cache, const char *folder, const char *file)
{
    char name[MAX_NAME], path[MAX_PATH];
    struct stat st;
    size_t len = strlen(file), end = sizeof(".gguf") - 1;
    if (len <= end || strcmp(file + len - end, ".gguf") != 0 || len - end >= sizeof(name) ||
        snprintf(path, sizeof(path), "%s/%s", folder, file) >= (int)sizeof(path) || stat(path, &st) != 0 ||
        !S_ISREG(st.st_mode) || !is_gguf(path))
        return 0;
    memcpy(name, file, len - end);
    name[len - end] = '\0';
    pthread_mutex_lock(&cache->lock);
    struct entry *e = find(cache, name);
    int rc = e ? 0 : add(env, cache, name, &e);
    if (rc == 0) {
        memcpy(e->path, path, sizeof(path));
        e->file_bytes = (uint64_t)st.st_size;
    }
    pthread_mutex_unlock(&cache->lock);
    return rc < 0 ? rc : 1;
}

static int scan(struct lg_env *env, llmgpu_model_cache *cache, const char *folder)
{
    int n = 0, rc = 0;
    DIR *dir = opendir(folder);
    if (!dir)
        return lg_fail(env, LLMGPU_E_IO, "%s: %s", folder, strerror(errno));
    for (struct dirent *d; rc >= 0 && (d = readdir(dir)) != NULL; n += rc > 0)
        rc = note(env, cache, folder, d->d_name);
    closedir(dir);
    return rc < 0 ? rc : n;
}

int llmgpu_model_cache_scan(llmgpu_model_cache *cache, const char *folder)
{
    if (!cache || !folder)
        return LLMGPU_E_INVALID;
    struct lg_env env;
    lg_env_child(&env, &cache->ctx->env);
    return lg_api_report(cache->ctx, &env, scan(&env, cache, folder));
}

/* ---- making room */

/** Somebody beside the cache has it. */
static bool in_use(const struct entry *e)
{
    return e->model && atomic_load(&e->model->refs) > 1;
}

static uint64_t loaded_bytes(const llmgpu_model_cache *cache, uint32_t *n)
{
    uint64_t bytes = cache->n_reserved_bytes;
    *n = cache->n_reserved;
    for (uint32_t i = 0; i < cache->n_entries; i++) {
        bytes += cache->entries[i].model ? cache->entries[i].file.size : 0;
        *n += cache->entries[i].model != NULL;
    }
    return bytes;
}

/** Who goes first, but for `keep`; NULL: nobody may. */
static struct entry *find_oldest(llmgpu_model_cache *cache, const struct entry *keep)
{
    struct entry *oldest = NULL;
    for (uint32_t i = 0; i < cache->n_entries; i++) {
        struct entry *e = &cache->entries[i];
        if (e != keep && e->model && !e->pinned && !e->loading && !in_use(e) && (!oldest || e->used < oldest->used))
            oldest = e;
    }
    return oldest;
}

/** Evicts until a file of so many bytes fits; needs the lock, which it lets go of for moments. */
static int make_room(struct lg_env *env, llmgpu_model_cache *cache, uint32_t index, uint64_t bytes)
{
    const llmgpu_model_cache_params *p = &cache->params;
    for (;;) {
        uint32_t n;
        uint64_t used = loaded_bytes(cache, &n);
        bool fits = (!p->max_bytes || (bytes <= p->max_bytes && used <= p->max_bytes - bytes)) &&
                    (!p->max_models || n < p->max_models);
        if (fits)
            return 0;
        struct entry *oldest = find_oldest(cache, &cache->entries[index]);
        if (!oldest)
            return lg_fail(env, LLMGPU_E_LIMIT, "limit %s of the model cache: %u models of %llu bytes are in use or pinned, "
                           "'%s' has %llu", p->max_bytes && used + bytes > p->max_bytes ? "max_bytes" : "max_models", n,
                           (unsigned long long)used, cache->entries[index].name, (unsigned long long)bytes);
        llmgpu_model *model = oldest->model;
        oldest->model = NULL;
        cache->stats.evictions++;
        pthread_mutex_unlock(&cache->lock); // it may take the turn to be freed
        llmgpu_model_free(model);
        pthread_mutex_lock(&cache->lock);
    }
}

/* ---- asking for */

static int identify(struct lg_env *env, const char *path, struct identity *id)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return lg_fail(env, LLMGPU_E_IO, "%s: %s", path, strerror(errno));
    *id = (struct identity){.device = st.st_dev, .inode = st.st_ino, .size = (uint64_t)st.st_size,
                            .seconds = st.st_mtim.tv_sec, .nanoseconds = st.st_mtim.tv_nsec};
    return 0;
}

static llmgpu_model *hand_out(llmgpu_model_cache *cache, struct entry *e, bool hit)
{
    e->used = ++cache->n_uses;
    e->n_acquired++;
    cache->stats.hits += hit;
    lg_api_model_ref(e->model);
    return e->model;
}

/** Loads the file of an entry in place of what it had. Needs the lock, and lets go of it meanwhile. */
static int load(struct lg_env *env, llmgpu_model_cache *cache, uint32_t index, const struct identity *id)
{
    char path[MAX_PATH];
    llmgpu_model *model = NULL;
    cache->entries[index].loading = true;
    int rc = make_room(env, cache, index, id->size);
    if (rc == 0) {
        memcpy(path, cache->entries[index].path, sizeof(path));
        cache->n_reserved_bytes += id->size;
        cache->n_reserved++;
        pthread_mutex_unlock(&cache->lock);
        rc = llmgpu_model_load(&model, cache->ctx, path, NULL);
        if (rc < 0)
            snprintf(env->error, sizeof(env->error), "%s", llmgpu_context_error(cache->ctx));
        pthread_mutex_lock(&cache->lock);
        cache->n_reserved_bytes -= id->size;
        cache->n_reserved--;
    }
    struct entry *e = &cache->entries[index]; // the list may have moved
    llmgpu_model *old = NULL;
    e->loading = false;
    if (rc == 0) {
        old = e->model;
        e->model = model;
        e->file = *id;
        e->file_bytes = id->size;
        cache->stats.misses++;
        cache->stats.swaps += old != NULL;
    }
    pthread_cond_broadcast(&cache->loaded);
    if (old) {
        pthread_mutex_unlock(&cache->lock);
        llmgpu_model_free(old);
        pthread_mutex_lock(&cache->lock);
    }
    return rc;
}

static int acquire(struct lg_env *env, llmgpu_model_cache *cache, const char *name, llmgpu_model **out)
{
    struct identity id;
    bool loaded_now = false;
    for (;;) {
        struct entry *e = find(cache, name);
        if (!e)
            return lg_fail(env, LLMGPU_E_INVALID, "the model cache knows no '%s'", name);
        int rc = loaded_now ? 0 : identify(env, e->path, &id);
        if (e->model && (e->loading || loaded_now || rc < 0 || memcmp(&id, &e->file, sizeof(id)) == 0)) {
            *out = hand_out(cache, e, !loaded_now);
            return 0;
        }
        LG_TRY(rc);
        if (e->loading) {
            pthread_cond_wait(&cache->loaded, &cache->lock);
            continue;
        }
        LG_TRY(load(env, cache, (uint32_t)(e - cache->entries), &id));
        loaded_now = true;
    }
}

int llmgpu_model_cache_acquire(llmgpu_model_cache *cache, const char *name, llmgpu_model **out)
{
    if (out)
        *out = NULL;
    if (!out || !cache || !name)
        return LLMGPU_E_INVALID;
    struct lg_env env;
    lg_env_child(&env, &cache->ctx->env);
    pthread_mutex_lock(&cache->lock);
    int rc = acquire(&env, cache, name, out);
    pthread_mutex_unlock(&cache->lock);
    return lg_api_report(cache->ctx, &env, rc);
}

/* ---- saying */

int llmgpu_model_cache_pin(llmgpu_model_cache *cache, const char *name, int pinned)
{
    if (!cache || !name || pinned < 0 || pinned > 1)
        return LLMGPU_E_INVALID;
    struct lg_env env;
    lg_env_child(&env, &cache->ctx->env);
    pthread_mutex_lock(&cache->lock);
    struct entry *e = find(cache, name);
    if (e)
        e->pinned = pinned;
    pthread_mutex_unlock(&cache->lock);
    int rc = e ? 0 : lg_fail(&env, LLMGPU_E_INVALID, "the model cache knows no '%s'", name);
    return lg_api_report(cache->ctx, &env, rc);
}

int llmgpu_model_cache_get(llmgpu_model_cache *cache, uint32_t index, llmgpu_model_cache_entry *out, size_t size)
{
    llmgpu_model_cache_entry info = {0};
    if (!cache || !out)
        return LLMGPU_E_INVALID;
    pthread_mutex_lock(&cache->lock);
    bool known = index < cache->n_entries;
    if (known) {
        const struct entry *e = &cache->entries[index];
        info = (llmgpu_model_cache_entry){
            .file_bytes = e->file_bytes,
            .n_acquired = e->n_acquired,
            .loaded = e->model != NULL,
            .in_use = in_use(e),
            .pinned = e->pinned,
        };
        memcpy(info.name, e->name, sizeof(info.name));
        memcpy(info.path, e->path, sizeof(info.path));
    }
    pthread_mutex_unlock(&cache->lock);
    return known ? lg_api_info_out(out, size, &info, sizeof(info), LG_SIZE_TO(llmgpu_model_cache_entry, reserved))
                 : LLMGPU_E_INVALID;
}

int llmgpu_model_cache_get_stats(llmgpu_model_cache *cache, llmgpu_model_cache_stats *out, size_t size)
{
    if (!cache)
        return LLMGPU_E_INVALID;
    pthread_mutex_lock(&cache->lock);
    llmgpu_model_cache_stats stats = cache->stats;
    stats.loaded_bytes = loaded_bytes(cache, &stats.n_loaded) - cache->n_reserved_bytes;
    stats.n_loaded -= cache->n_reserved;
    stats.n_models = cache->n_entries;
    pthread_mutex_unlock(&cache->lock);
    return lg_api_info_out(out, size, &stats, sizeof(stats), LG_SIZE_TO(llmgpu_model_cache_stats, n_loaded));
}
