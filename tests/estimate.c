/* SPDX-License-Identifier: MIT
 *
 * What a model is said to take, and what it then takes, on the device that the first argument names. The
 * promise is 2%; since both come from the same code, they are the same number.
 */
#include <unistd.h>

#include "heap.h"
#include "llmgpu/llmgpu.h"
#include "model_build.h"

static struct model_build m;
static const char *device;
static bool on_cpu;
static struct test_heap heap;

static llmgpu_context *open_context(uint64_t max_memory)
{
    llmgpu_context *ctx;
    llmgpu_context_params p;
    REQUIRE_INT(llmgpu_context_params_init(&p, sizeof(p)), ==, 0);
    p.device = device;
    p.n_threads = 2;
    p.max_memory = max_memory;
    p.alloc = test_heap_alloc;
    p.resize = test_heap_resize;
    p.release = test_heap_release;
    p.alloc_user = &heap;
    int rc = llmgpu_context_create(&ctx, &p);
    if (rc == LLMGPU_E_NO_DEVICE)
        exit(TEST_SKIP);
    REQUIRE_INT(rc, ==, 0);
    return ctx;
}

static uint64_t device_bytes(const llmgpu_context *ctx)
{
    llmgpu_context_stats stats;
    REQUIRE_INT(llmgpu_context_get_stats(ctx, &stats, sizeof(stats)), ==, 0);
    return stats.device_bytes;
}

static llmgpu_session_params session_params(uint32_t n_ctx, uint32_t n_batch)
{
    llmgpu_session_params p;
    REQUIRE_INT(llmgpu_session_params_init(&p, sizeof(p)), ==, 0);
    p.n_ctx = n_ctx;
    p.n_batch = n_batch;
    return p;
}

static void require_ok(const llmgpu_context *ctx, int rc)
{
    if (rc < 0)
        fprintf(stderr, "%s\n", llmgpu_context_error(ctx));
    REQUIRE_INT(rc, ==, 0);
}

/** A prompt and an answer for each, at the same time. */
static void use(llmgpu_context *ctx, llmgpu_session **sessions, uint32_t n)
{
    static const int32_t prompt[] = {3, 50, 90, 4, 7};
    int32_t token;
    for (uint32_t i = 0; i < n; i++)
        REQUIRE_INT(llmgpu_session_feed(sessions[i], prompt, 5), ==, 0);
    for (int round = 0; round < 3; round++) {
        REQUIRE_INT(llmgpu_context_step(ctx, UINT32_MAX), >=, 0);
        for (uint32_t i = 0; i < n; i++)
            REQUIRE_INT(llmgpu_session_next(sessions[i], &token), ==, LLMGPU_TOKEN);
    }
}

/** Says, loads and uses; then looks. */
static void compare(llmgpu_context *ctx, const char *path, const llmgpu_session_params *p,
                    uint32_t n_sessions)
{
    enum { MAX_SESSIONS = 4 };
    llmgpu_estimate e;
    llmgpu_model *model;
    llmgpu_model_info info;
    llmgpu_session *sessions[MAX_SESSIONS];
    size_t live = heap.live;
    REQUIRE(n_sessions <= MAX_SESSIONS);
    require_ok(ctx, llmgpu_model_estimate(&e, sizeof(e), ctx, path, NULL, p, n_sessions));
    REQUIRE(device_bytes(ctx) == 0 && heap.live == live);
    REQUIRE_INT(e.device_bytes, ==, e.weight_bytes + e.cache_bytes + e.work_bytes);

    require_ok(ctx, llmgpu_model_load(&model, ctx, path, NULL));
    REQUIRE_INT(device_bytes(ctx), ==, e.weight_bytes);
    REQUIRE_INT(llmgpu_model_get_info(model, &info, sizeof(info)), ==, 0);
    REQUIRE_INT(e.weight_bytes + e.mapped_bytes, >=, info.weight_bytes);
    REQUIRE(on_cpu ? e.mapped_bytes > e.weight_bytes : e.mapped_bytes == 0);
    for (uint32_t i = 0; i < n_sessions; i++)
        require_ok(ctx, llmgpu_session_create(&sessions[i], model, p));
    use(ctx, sessions, n_sessions);
    uint64_t taken = device_bytes(ctx);
    uint64_t differ = taken > e.device_bytes ? taken - e.device_bytes : e.device_bytes - taken;
    printf("%-12.12s %u sessions: %9llu bytes: weights %llu, caches %llu, work %llu; %+lld\n",
           info.architecture, n_sessions, (unsigned long long)e.device_bytes,
           (unsigned long long)e.weight_bytes, (unsigned long long)e.cache_bytes,
           (unsigned long long)e.work_bytes, (long long)(taken - e.device_bytes));
    REQUIRE_INT(50 * differ, <=, taken); // the promise
    REQUIRE_INT(differ, ==, 0);
    if (n_sessions == 0)
        REQUIRE(e.cache_bytes == 0 && e.work_bytes == 0);
    for (uint32_t i = 0; i < n_sessions; i++)
        llmgpu_session_free(sessions[i]);
    llmgpu_model_free(model);
    REQUIRE(device_bytes(ctx) == 0 && (!on_cpu || heap.live == live)); // Vulkan keeps its pipelines
}

static void make_file(char path[], const struct model_shape *shape)
{
    model_init(&m, shape);
    model_write(&m);
    int fd = mkstemp(path);
    REQUIRE(fd >= 0 && write(fd, m.file.data, m.file.size) == (ssize_t)m.file.size);
    close(fd);
}

static void check_shapes(llmgpu_context *ctx)
{
    static const char *const archs[] = {"llama", "qwen2", "gpt2"};
    for (size_t i = 0; i < sizeof(archs) / sizeof(archs[0]); i++) {
        char path[] = "/tmp/llmgpu-test-XXXXXX";
        struct model_shape shape = model_tiny(archs[i]);
        shape.untied = i == 0;
        shape.type = i == 2 ? LG_TYPE_Q8_0 : LG_TYPE_F16;
        make_file(path, &shape);
        llmgpu_session_params small = session_params(40, 7), full = session_params(64, 64);
        compare(ctx, path, NULL, 0);
        compare(ctx, path, NULL, 1);
        compare(ctx, path, &small, 1);
        compare(ctx, path, &small, 4);
        compare(ctx, path, &full, 3);
        full.n_candidates = 5;
        compare(ctx, path, &full, 2);
        unlink(path);
    }
}

static const char *bundled(void)
{
    static char path[1024];
    REQUIRE(getenv("LLMGPU_BUNDLED"));
    snprintf(path, sizeof(path), "%s/tavern-3.7m-q8_0.gguf", getenv("LLMGPU_BUNDLED"));
    return path;
}

static void check_bundled(llmgpu_context *ctx)
{
    llmgpu_session_params p = session_params(2000, 300);
    p.tokens_per_submit = 4;
    compare(ctx, bundled(), NULL, 1);
    compare(ctx, bundled(), NULL, 2);
    compare(ctx, bundled(), &p, 2);
}

/** Sizes beyond the device and beyond the host's limit are what an estimate is for. */
static void check_beyond(void)
{
    char path[] = "/tmp/llmgpu-test-XXXXXX";
    struct model_shape shape = model_tiny("llama");
    llmgpu_context *ctx = open_context(4096);
    llmgpu_estimate e;
    llmgpu_model *model;
    make_file(path, &shape);
    llmgpu_session_params p = session_params(1 << 20, 256);
    p.max_memory = 1;
    uint32_t n = on_cpu ? 64 : 1; // of which a cache has to fit into one view
    require_ok(ctx, llmgpu_model_estimate(&e, sizeof(e), ctx, path, NULL, &p, n));
    REQUIRE_INT(e.cache_bytes, ==,
                UINT64_C(1) * n * (1 << 20) * 2 * 8 * 4 * 2 * 2); // two of two heads in two layers
    REQUIRE(on_cpu ? e.available_bytes > 0 : true);
    if (!on_cpu) {
        REQUIRE_INT(llmgpu_model_estimate(&e, sizeof(e), ctx, path, NULL, &p, 64), ==, LLMGPU_E_UNSUPPORTED);
        REQUIRE_INT(llmgpu_model_load(&model, ctx, path, NULL), ==, LLMGPU_E_LIMIT);
    }
    llmgpu_context_free(ctx);
    unlink(path);
}

static void refuse(llmgpu_context *ctx, int rc, int code, const char *says)
{
    if (rc != code || !strstr(llmgpu_context_error(ctx), says))
        fprintf(stderr, "%d '%s', not %d '%s'\n", rc, llmgpu_context_error(ctx), code, says);
    REQUIRE(rc == code && strstr(llmgpu_context_error(ctx), says));
}

static void check_refused(llmgpu_context *ctx)
{
    llmgpu_estimate e;
    llmgpu_model_params vocab;
    llmgpu_session_params p = session_params(0, 5000);
    const char *path = bundled();
    REQUIRE_INT(llmgpu_model_params_init(&vocab, sizeof(vocab)), ==, 0);
    vocab.vocab_only = 1;
    REQUIRE_INT(llmgpu_model_estimate(&e, sizeof(e), NULL, path, NULL, NULL, 1), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_model_estimate(NULL, sizeof(e), ctx, path, NULL, NULL, 1), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_model_estimate(&e, 8, ctx, path, NULL, NULL, 1), ==, LLMGPU_E_INVALID);
    refuse(ctx, llmgpu_model_estimate(&e, sizeof(e), ctx, NULL, NULL, NULL, 1), LLMGPU_E_INVALID, "no path");
    refuse(ctx, llmgpu_model_estimate(&e, sizeof(e), ctx, "/nowhere", NULL, NULL, 1), LLMGPU_E_IO,
           "/nowhere");
    refuse(ctx, llmgpu_model_estimate(&e, sizeof(e), ctx, path, NULL, &p, 1), LLMGPU_E_INVALID,
           "a batch of 5000");
    refuse(ctx, llmgpu_model_estimate(&e, sizeof(e), ctx, path, NULL, NULL, 65), LLMGPU_E_NOMEM,
           "at most 64");
    refuse(ctx, llmgpu_model_estimate(&e, sizeof(e), ctx, path, &vocab, NULL, 1), LLMGPU_E_INVALID,
           "without weights");
    require_ok(ctx, llmgpu_model_estimate(&e, sizeof(e), ctx, path, &vocab, NULL, 0));
    REQUIRE_INT(e.device_bytes, ==, 0);
    require_ok(ctx, llmgpu_model_estimate(&e, sizeof(e), ctx, path, NULL, NULL, 64));
}

int main(int argc, char **argv)
{
    device = argc > 1 ? argv[1] : "cpu";
    on_cpu = strcmp(device, "cpu") == 0;
    llmgpu_context *ctx = open_context(0);
    check_shapes(ctx);
    check_bundled(ctx);
    check_refused(ctx);
    llmgpu_context_free(ctx);
    check_beyond();
    REQUIRE_INT(heap.live, ==, 0);
    return 0;
}
