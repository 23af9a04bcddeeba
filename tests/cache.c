/* SPDX-License-Identifier: MIT
 *
 * The cache of models on the device that the first argument names: what is found, who goes when there is no room, files that
 * change under the models, and several threads that ask at once.
 */
#define LLMGPU_EXPERIMENTAL
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "llmgpu/llmgpu.h"
#include "model_build.h"

enum { N_MODELS = 4, N_THREADS = 4, N_ROUNDS = 40 };

static char folder[] = "/tmp/llmgpu-cache-XXXXXX";
static const char *const names[N_MODELS] = {"a", "b", "c", "d"};
static llmgpu_context *ctx;
static uint64_t one; // bytes of a file

static const char *path_of(const char *name, const char *end)
{
    static _Thread_local char path[128];
    snprintf(path, sizeof(path), "%s/%s%s", folder, name, end);
    return path;
}

/** A model with so many layers, put in place at once as an editor would. */
static void write_model(const char *name, uint32_t n_layers)
{
    static struct model_build build;
    char path[128];
    struct model_shape shape = model_tiny("llama");
    shape.n_layers = n_layers;
    model_init(&build, &shape);
    model_write(&build);
    snprintf(path, sizeof(path), "%s", path_of(name, ".new"));
    FILE *f = fopen(path, "wb");
    REQUIRE(f && fwrite(build.file.data, 1, build.file.size, f) == build.file.size && fclose(f) == 0);
    REQUIRE(rename(path, path_of(name, ".gguf")) == 0);
    one = build.file.size;
}

static llmgpu_model_cache *open_cache(uint32_t max_models, uint64_t max_bytes)
{
    llmgpu_model_cache *cache;
    llmgpu_model_cache_params p;
    REQUIRE_INT(llmgpu_model_cache_params_init(&p, sizeof(p)), ==, 0);
    p.max_models = max_models;
    p.max_bytes = max_bytes;
    REQUIRE_INT(llmgpu_model_cache_create(&cache, ctx, &p), ==, 0);
    REQUIRE_INT(llmgpu_model_cache_scan(cache, folder), ==, N_MODELS);
    return cache;
}

static llmgpu_model *get(llmgpu_model_cache *cache, const char *name)
{
    llmgpu_model *model;
    int rc = llmgpu_model_cache_acquire(cache, name, &model);
    if (rc < 0)
        fprintf(stderr, "%s\n", llmgpu_context_error(ctx));
    REQUIRE_INT(rc, ==, 0);
    return model;
}

static void touch(llmgpu_model_cache *cache, const char *name)
{
    llmgpu_model_free(get(cache, name));
}

static llmgpu_model_cache_stats stats_of(llmgpu_model_cache *cache)
{
    llmgpu_model_cache_stats stats;
    REQUIRE_INT(llmgpu_model_cache_get_stats(cache, &stats, sizeof(stats)), ==, 0);
    return stats;
}

static llmgpu_model_cache_entry entry_of(llmgpu_model_cache *cache, const char *name)
{
    llmgpu_model_cache_entry e;
    for (uint32_t i = 0; llmgpu_model_cache_get(cache, i, &e, sizeof(e)) == 0; i++)
        if (strcmp(e.name, name) == 0)
            return e;
    REQUIRE(!"known");
    return e;
}

static void answer(llmgpu_model *model)
{
    static const int32_t prompt[] = {3, 40, 7};
    llmgpu_session *s;
    int32_t token;
    REQUIRE_INT(llmgpu_session_create(&s, model, NULL), ==, 0);
    REQUIRE_INT(llmgpu_session_feed(s, prompt, 3), ==, 0);
    REQUIRE_INT(llmgpu_session_wait(s, UINT64_MAX), ==, 0);
    REQUIRE_INT(llmgpu_session_next(s, &token), ==, LLMGPU_TOKEN);
    llmgpu_session_free(s);
}

static void test_found(void)
{
    llmgpu_model_cache *cache = open_cache(0, 0);
    llmgpu_model_cache_entry e;
    llmgpu_model *model;
    REQUIRE_INT(stats_of(cache).n_models, ==, N_MODELS);
    REQUIRE_INT(llmgpu_model_cache_scan(cache, folder), ==, N_MODELS); // again
    REQUIRE_INT(stats_of(cache).n_models, ==, N_MODELS);
    for (int i = 0; i < N_MODELS; i++) {
        e = entry_of(cache, names[i]);
        REQUIRE_STR(e.path, path_of(names[i], ".gguf"));
        REQUIRE(e.file_bytes == one && !e.loaded && !e.in_use && !e.pinned && e.n_acquired == 0);
    }
    REQUIRE_INT(llmgpu_model_cache_get(cache, N_MODELS, &e, sizeof(e)), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_model_cache_acquire(cache, "text", &model), ==, LLMGPU_E_INVALID);
    REQUIRE(!model && strstr(llmgpu_context_error(ctx), "text"));
    REQUIRE_INT(llmgpu_model_cache_scan(cache, "/nowhere/at/all"), ==, LLMGPU_E_IO);
    REQUIRE_INT(llmgpu_model_cache_pin(cache, "x", 1), ==, LLMGPU_E_INVALID);
    llmgpu_model_cache_free(cache);
}

static void test_evicted(uint32_t max_models, uint64_t max_bytes)
{
    llmgpu_model_cache *cache = open_cache(max_models, max_bytes);
    llmgpu_model *b, *other;
    touch(cache, "a");
    touch(cache, "b");
    touch(cache, "a");
    REQUIRE(stats_of(cache).hits == 1 && stats_of(cache).misses == 2 && stats_of(cache).loaded_bytes == 2 * one);
    touch(cache, "c"); // b was asked for longest ago
    REQUIRE(entry_of(cache, "a").loaded && !entry_of(cache, "b").loaded && entry_of(cache, "c").loaded);
    REQUIRE(stats_of(cache).evictions == 1 && stats_of(cache).n_loaded == 2);
    REQUIRE_INT(llmgpu_model_cache_pin(cache, "a", 1), ==, 0);
    b = get(cache, "b");
    REQUIRE(entry_of(cache, "a").loaded && entry_of(cache, "a").pinned && entry_of(cache, "b").in_use);
    REQUIRE(!entry_of(cache, "c").loaded);
    REQUIRE_INT(llmgpu_model_cache_acquire(cache, "d", &other), ==, LLMGPU_E_LIMIT);
    REQUIRE(strstr(llmgpu_context_error(ctx), max_models ? "max_models" : "max_bytes"));
    REQUIRE_INT(llmgpu_model_cache_pin(cache, "a", 0), ==, 0);
    touch(cache, "d");
    REQUIRE(!entry_of(cache, "a").loaded);
    llmgpu_model_cache_free(cache);
    answer(b); // it is its own now
    llmgpu_model_free(b);
}

/** A new file of the same name; one that cannot be loaded. */
static void test_swapped(void)
{
    llmgpu_model_cache *cache = open_cache(0, 0);
    llmgpu_model *old = get(cache, "a"), *young, *none;
    llmgpu_model_info info;
    uint64_t before = one;
    write_model("a", 3);
    young = get(cache, "a");
    REQUIRE(young != old && one > before && stats_of(cache).swaps == 1);
    REQUIRE_INT(llmgpu_model_get_info(young, &info, sizeof(info)), ==, 0);
    REQUIRE_INT(info.n_layers, ==, 3);
    answer(old);
    answer(young);
    REQUIRE_INT(unlink(path_of("a", ".gguf")), ==, 0);
    touch(cache, "a"); // what is loaded is there
    REQUIRE_INT(truncate(path_of("b", ".gguf"), 100), ==, 0);
    REQUIRE_INT(llmgpu_model_cache_acquire(cache, "b", &none), ==, LLMGPU_E_FORMAT);
    REQUIRE(!none && stats_of(cache).n_loaded == 1);
    write_model("a", 2);
    write_model("b", 2);
    touch(cache, "b");
    llmgpu_model_free(old);
    llmgpu_model_cache_free(cache);
    llmgpu_model_free(young);
}

static void *ask(void *user)
{
    static atomic_uint seeds;
    struct test_rng rng = {atomic_fetch_add(&seeds, 1)};
    for (int i = 0; i < N_ROUNDS; i++) {
        llmgpu_model *model;
        int rc = llmgpu_model_cache_acquire(user, names[test_randu(&rng, 0, N_MODELS - 1)], &model);
        REQUIRE(rc == 0 || rc == LLMGPU_E_LIMIT); // the others may have all that there is room for
        if (rc == 0 && i % 4 == 0)
            answer(model);
        llmgpu_model_free(model);
    }
    return NULL;
}

static void test_threads(void)
{
    llmgpu_model_cache *cache = open_cache(3, 0);
    pthread_t threads[N_THREADS];
    for (int i = 0; i < N_THREADS; i++)
        REQUIRE_INT(pthread_create(&threads[i], NULL, ask, cache), ==, 0);
    for (int i = 0; i < N_THREADS; i++)
        pthread_join(threads[i], NULL);
    llmgpu_model_cache_stats s = stats_of(cache);
    printf("%u hits, %u misses, %u evictions\n", (unsigned)s.hits, (unsigned)s.misses, (unsigned)s.evictions);
    REQUIRE(s.hits > 0 && s.misses > 0 && s.n_loaded <= 3 && s.misses - s.evictions == s.n_loaded);
    llmgpu_model_cache_free(cache);
}

int main(int argc, char **argv)
{
    char error[512];
    llmgpu_context_params p;
    REQUIRE(mkdtemp(folder));
    llmgpu_context_params_init(&p, sizeof(p));
    p.device = argc > 1 ? argv[1] : "cpu";
    p.error = error;
    p.error_size = sizeof(error);
    int rc = llmgpu_context_create(&ctx, &p);
    if (rc == LLMGPU_E_NO_DEVICE) {
        fprintf(stderr, "%s\n", error);
        return TEST_SKIP;
    }
    REQUIRE_INT(rc, ==, 0);
    for (int i = 0; i < N_MODELS; i++)
        write_model(names[i], 2);
    FILE *text = fopen(path_of("text", ".gguf"), "w");
    REQUIRE(text && fputs("no model", text) >= 0 && fclose(text) == 0);
    REQUIRE(mkdir(path_of("folder", ".gguf"), 0700) == 0);
    test_found();
    test_evicted(2, 0);
    test_evicted(0, 2 * one + 1);
    test_swapped();
    test_threads();
    llmgpu_context_free(ctx);
    for (int i = 0; i < N_MODELS; i++)
        unlink(path_of(names[i], ".gguf"));
    unlink(path_of("text", ".gguf"));
    rmdir(path_of("folder", ".gguf"));
    REQUIRE_INT(rmdir(folder), ==, 0);
    return 0;
}
