/* SPDX-License-Identifier: MIT
 *
 * What tests through the public API share: a context on the device that the test's argument names, the bundled model or
 * a tiny one, and sessions on it.
 */
#ifndef LG_TESTS_API_H
#define LG_TESTS_API_H

#include <pthread.h>
#include <time.h>

#include "llmgpu/llmgpu.h"
#include "model_build.h"
#include "test.h"
#include "util/clock.h"

enum { GREEDY = 0, DRAWN = 7, WILD = 100 }; // seeds; with the first nothing is drawn, from the last on anything is

static const char api_prompt[] = "<|im_start|>system\nYour name is Brenna. You are the blacksmith of Oakford. You are "
                                 "grumpy.<|im_end|>\n<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n";

/** A context with a model, and tokens of a prompt. */
struct api {
    const char *device;
    llmgpu_context *ctx;
    llmgpu_model *model;
    int32_t ids[128];
    size_t n;
    bool on_cpu;
    uint32_t n_vocab;
};

/** A context; `params` may be NULL. Ends the test where there is no such device. */
static inline llmgpu_context *api_context(const char *device, const llmgpu_context_params *params)
{
    char error[512];
    llmgpu_context *ctx;
    llmgpu_context_params p;
    REQUIRE_INT(llmgpu_context_params_init(&p, sizeof(p)), ==, 0);
    if (params)
        p = *params;
    p.device = device;
    p.error = error;
    p.error_size = sizeof(error);
    int rc = llmgpu_context_create(&ctx, &p);
    if (rc == LLMGPU_E_NO_DEVICE) {
        fprintf(stderr, "%s\n", error);
        exit(TEST_SKIP);
    }
    REQUIRE_INT(rc, ==, 0);
    return ctx;
}

static inline const char *api_bundled(void)
{
    static char path[1024];
    REQUIRE(getenv("LLMGPU_BUNDLED"));
    snprintf(path, sizeof(path), "%s/tavern-3.7m-q8_0.gguf", getenv("LLMGPU_BUNDLED"));
    return path;
}

/** The bundled model; `params` of its context may be NULL. */
static inline void api_open(struct api *a, const char *device, const llmgpu_context_params *params)
{
    llmgpu_model_info info;
    *a = (struct api){.device = device, .on_cpu = strcmp(device, "cpu") == 0};
    a->ctx = api_context(device, params);
    REQUIRE_INT(llmgpu_model_load(&a->model, a->ctx, api_bundled(), NULL), ==, 0);
    REQUIRE_INT(llmgpu_model_get_info(a->model, &info, sizeof(info)), ==, 0);
    a->n_vocab = info.n_vocab;
    REQUIRE_INT(llmgpu_tokenize(a->model, api_prompt, strlen(api_prompt), LLMGPU_TOKENIZE_PARSE_SPECIAL, a->ids, 128,
                                &a->n), ==, 0);
}

/** A model of some thousand weights, quick on every device. Its tokens are its own; a->ids are some of them. */
static inline void api_open_tiny(struct api *a, const char *device, const llmgpu_context_params *params)
{
    static struct model_build m; // the CPU device reads its weights in place
    struct model_shape shape = model_tiny("qwen2");
    llmgpu_model_info info;
    shape.n_ctx = 512;
    if (m.file.size == 0) {
        model_init(&m, &shape);
        model_write(&m);
    }
    *a = (struct api){.device = device, .on_cpu = strcmp(device, "cpu") == 0};
    a->ctx = api_context(device, params);
    REQUIRE_INT(llmgpu_model_load_memory(&a->model, a->ctx, m.file.data, m.file.size, NULL), ==, 0);
    REQUIRE_INT(llmgpu_model_get_info(a->model, &info, sizeof(info)), ==, 0);
    a->n_vocab = info.n_vocab;
    a->n = 40;
    for (size_t i = 0; i < a->n; i++)
        a->ids[i] = (int32_t)((i * 37 + 11) % a->n_vocab);
}

/** Nothing may be left on the device. */
static inline void api_close(struct api *a)
{
    llmgpu_context_stats stats;
    llmgpu_context_get_stats(a->ctx, &stats, sizeof(stats));
    REQUIRE_INT(stats.check_messages, ==, 0);
    REQUIRE_INT(stats.n_sessions, ==, 0);
    llmgpu_model_free(a->model);
    llmgpu_context_get_stats(a->ctx, &stats, sizeof(stats));
    REQUIRE_INT(stats.device_bytes, ==, 0);
    llmgpu_context_free(a->ctx);
}

static inline llmgpu_session_params api_params(uint32_t n_ctx)
{
    llmgpu_session_params p;
    REQUIRE_INT(llmgpu_session_params_init(&p, sizeof(p)), ==, 0);
    p.n_ctx = n_ctx;
    p.ignore_end = 1;
    return p;
}

/** What a seed stands for. */
static inline void api_set_seed(llmgpu_session *s, uint64_t seed)
{
    llmgpu_sampler_params p;
    REQUIRE_INT(llmgpu_sampler_params_init(&p, sizeof(p)), ==, 0);
    p.temperature = seed >= WILD ? 100 : 1.2f;
    p.top_k = seed >= WILD ? 0 : 50;
    p.top_p = seed >= WILD ? 1 : 0.95f;
    p.repeat_penalty = 1.1f;
    p.seed = seed;
    REQUIRE_INT(llmgpu_session_set_sampler(s, seed == GREEDY ? NULL : &p), ==, 0);
}

static inline llmgpu_session *api_session_with(struct api *a, const llmgpu_session_params *p, uint64_t seed)
{
    llmgpu_session *s;
    int rc = llmgpu_session_create(&s, a->model, p);
    if (rc < 0)
        fprintf(stderr, "%s\n", llmgpu_context_error(a->ctx));
    REQUIRE_INT(rc, ==, 0);
    api_set_seed(s, seed);
    return s;
}

static inline llmgpu_session *api_session(struct api *a, uint32_t n_ctx, uint64_t seed)
{
    llmgpu_session_params p = api_params(n_ctx);
    return api_session_with(a, &p, seed);
}

/** A session that was fed the prompt. */
static inline llmgpu_session *api_asked(struct api *a, uint32_t n_ctx, uint64_t seed)
{
    llmgpu_session *s = api_session(a, n_ctx, seed);
    REQUIRE_INT(llmgpu_session_feed(s, a->ids, a->n), ==, 0);
    return s;
}

/** The next token, once it is there; what next() says instead of one. */
static inline int api_next(llmgpu_session *s, int32_t *token)
{
    int rc;
    while ((rc = llmgpu_session_next(s, token)) == LLMGPU_AGAIN)
        REQUIRE_INT(llmgpu_session_wait(s, UINT64_MAX), ==, 0);
    return rc;
}

static inline void api_take(llmgpu_session *s, int32_t *out, int n)
{
    for (int i = 0; i < n; i++)
        REQUIRE_INT(api_next(s, &out[i]), ==, LLMGPU_TOKEN);
}

static inline void require_same(const int32_t *a, const int32_t *b, int n)
{
    for (int i = 0; i < n; i++)
        REQUIRE_INT(a[i], ==, b[i]);
}

/** What a lone session answers to the prompt. */
static inline void api_answer(struct api *a, uint64_t seed, int32_t *out, int n)
{
    llmgpu_session *s = api_asked(a, 256, seed);
    api_take(s, out, n);
    llmgpu_session_free(s);
}

static inline uint64_t api_device_bytes(const struct api *a)
{
    llmgpu_context_stats stats;
    REQUIRE_INT(llmgpu_context_get_stats(a->ctx, &stats, sizeof(stats)), ==, 0);
    return stats.device_bytes;
}

static inline llmgpu_session_stats api_stats(const llmgpu_session *s)
{
    llmgpu_session_stats stats;
    REQUIRE_INT(llmgpu_session_get_stats(s, &stats, sizeof(stats)), ==, 0);
    return stats;
}

static inline void sleep_us(uint64_t us)
{
    struct timespec t = {.tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000};
    nanosleep(&t, NULL);
}

static inline int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/** Sorts, and gives what `percent` of them do not exceed. */
static inline uint64_t percentile(uint64_t *values, size_t n, unsigned percent)
{
    qsort(values, n, sizeof(*values), compare_u64);
    return values[(n - 1) * percent / 100];
}

#endif
