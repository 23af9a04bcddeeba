/* SPDX-License-Identifier: MIT
 *
 * Keys and values in every type that they may be kept in, on the device that the first argument names: how far logits come
 * to lie from those of float32, that they are the same however a text is cut, what they take, and that saved ones come back
 * bit for bit.
 */
#include <float.h>
#include <math.h>
#include <unistd.h>

#include "gguf/kv_rows.h"
#include "llmgpu/llmgpu.h"
#include "model_build.h"

enum { N_TEXT = 150, N_CTX = 256, MAX_VOCAB = 1024, N_ANSWER = 12 };

/*
 * What a number may be off by, beside the largest of its 32: half a place of float16; half a step of 127, the factor being
 * off by half a place too; a step of 8, as the other sign ends at 7.
 */
static const float off_by[] = {[LG_KV_F32] = 0, [LG_KV_F16] = 0x1p-11f, [LG_KV_Q8_0] = 0.5f / 127 + 0x1p-11f,
                               [LG_KV_Q4_0] = 1.0f / 8 + 0x1p-11f};
static const char *const names[] = {"f32", "f16", "q8_0", "q4_0"};

static struct test_rng rng = {7};
static struct model_build build;
static char path[64];

/* ---- rows */

static void check_row(uint32_t type, uint32_t n, float scale)
{
    float *x = calloc(n, sizeof(*x)), *y = calloc(n, sizeof(*y));
    size_t size = lg_kv_row_bytes(type, n);
    uint8_t *row = malloc(size), *again = malloc(size);
    REQUIRE(x && y && row && again);
    for (uint32_t i = 0; i < n; i++)
        x[i] = test_randu(&rng, 0, 9) ? scale * ((float)test_randu(&rng, 0, 1 << 24) * 0x1p-23f - 1) : 0;
    memset(row, 1, size);
    memset(again, 2, size);
    lg_kv_encode(type, x, n, 0, n, row);
    lg_kv_decode(type, row, n, 0, n, y);
    for (uint32_t i = 0; i < n; i++) {
        float most = fabsf(x[i]);
        for (uint32_t j = i / 32 * 32; type >= LG_KV_Q8_0 && j < i / 32 * 32 + 32; j++)
            most = fmaxf(most, fabsf(x[j]));
        float least = type == LG_KV_F32 ? 0 : type == LG_KV_F16 ? 0x1p-25f : 0x1p-25f * 127; // half a subnormal
        if (type == LG_KV_F16 ? most <= 65504 : type == LG_KV_F32 || most <= 65504 * 7)
            REQUIRE(fabsf(y[i] - x[i]) <= most * off_by[type] + least);
        REQUIRE(isfinite(y[i]));
    }
    lg_kv_encode(type, y, n, 0, n, again);
    REQUIRE(memcmp(row, again, size) == 0);
    free(x);
    free(y);
    free(row);
    free(again);
}

static void test_rows(void)
{
    static const float scales[] = {0, 1e-9f, 1e-7f, 3e-6f, 1e-4f, 0.01f, 1, 30, 1e4f, 6e4f, 1e6f, 1e30f};
    for (uint32_t type = 0; type < LG_N_KV_TYPES; type++) {
        for (size_t s = 0; s < sizeof(scales) / sizeof(scales[0]); s++) {
            for (uint32_t i = 0; i < 200; i++)
                check_row(type, type < LG_KV_Q8_0 ? test_randu(&rng, 1, 99) : 32 * test_randu(&rng, 1, 9), scales[s]);
        }
    }
}

/* ---- models */

static struct fixture {
    const char *device;
    llmgpu_context *ctx;
    llmgpu_model *model;
    uint32_t n_vocab;
} f;

static int open_context(int32_t kv_type)
{
    char error[512];
    llmgpu_context_params p;
    llmgpu_context_params_init(&p, sizeof(p));
    p.device = f.device;
    p.check = 1;
    p.kv_type = kv_type;
    p.error = error;
    p.error_size = sizeof(error);
    int rc = llmgpu_context_create(&f.ctx, &p);
    if (rc == LLMGPU_E_NO_DEVICE) {
        fprintf(stderr, "%s\n", error);
        exit(TEST_SKIP);
    }
    return rc;
}

static void open_all(int32_t kv_type)
{
    llmgpu_model_info info;
    REQUIRE_INT(open_context(kv_type), ==, 0);
    REQUIRE_INT(llmgpu_model_load(&f.model, f.ctx, path, NULL), ==, 0);
    REQUIRE_INT(llmgpu_model_get_info(f.model, &info, sizeof(info)), ==, 0);
    f.n_vocab = info.n_vocab;
    REQUIRE_INT(f.n_vocab, <=, MAX_VOCAB);
}

static void close_all(void)
{
    llmgpu_context_stats stats;
    REQUIRE_INT(llmgpu_context_get_stats(f.ctx, &stats, sizeof(stats)), ==, 0);
    REQUIRE_INT(stats.check_messages, ==, 0);
    llmgpu_model_free(f.model);
    llmgpu_context_free(f.ctx);
}

static llmgpu_session_params params_of(uint32_t n_batch)
{
    llmgpu_session_params p;
    llmgpu_session_params_init(&p, sizeof(p));
    p.n_ctx = N_CTX;
    p.n_batch = n_batch;
    p.ignore_end = 1;
    return p;
}

static llmgpu_session *begin(uint32_t n_batch)
{
    llmgpu_session *s;
    llmgpu_session_params p = params_of(n_batch);
    REQUIRE_INT(llmgpu_session_create(&s, f.model, &p), ==, 0);
    return s;
}

static void take(llmgpu_session *s, int32_t answer[N_ANSWER])
{
    for (int i = 0; i < N_ANSWER; i++) {
        int rc;
        while ((rc = llmgpu_session_next(s, &answer[i])) == LLMGPU_AGAIN)
            REQUIRE_INT(llmgpu_context_step(f.ctx, UINT32_MAX), >=, 0);
        REQUIRE_INT(rc, ==, LLMGPU_TOKEN);
    }
}

static uint64_t cache_bytes(void)
{
    llmgpu_estimate e;
    llmgpu_session_params p = params_of(32);
    REQUIRE_INT(llmgpu_model_estimate(&e, sizeof(e), f.ctx, path, NULL, &p, 1), ==, 0);
    return e.cache_bytes;
}

static void save(llmgpu_session *s, uint8_t **data, size_t *size)
{
    REQUIRE_INT(llmgpu_session_save(s, LLMGPU_STATE_FULL, NULL, NULL, 0, size), ==, LLMGPU_E_RANGE);
    REQUIRE((*data = malloc(*size)) != NULL);
    REQUIRE_INT(llmgpu_session_save(s, LLMGPU_STATE_FULL, NULL, *data, *size, size), ==, 0);
}

/** What comes back is saved as the same bytes, and goes on in the same way. */
static void test_state(const int32_t *text)
{
    uint8_t *first, *second;
    size_t n_first, n_second;
    int32_t said[N_ANSWER], expected[N_ANSWER], found[N_ANSWER];
    llmgpu_session *a = begin(32), *b = begin(32);
    REQUIRE_INT(llmgpu_session_feed(a, text, N_TEXT), ==, 0);
    take(a, said);
    save(a, &first, &n_first);
    REQUIRE_INT(llmgpu_session_restore(b, first, n_first), ==, 0);
    save(b, &second, &n_second);
    REQUIRE_INT(n_first, ==, n_second);
    REQUIRE(memcmp(first, second, n_first) == 0);
    take(a, expected);
    take(b, found);
    REQUIRE(memcmp(expected, found, sizeof(found)) == 0);
    llmgpu_session_free(a);
    llmgpu_session_free(b);
    free(first);
    free(second);
}

/** Logits however the text is cut. */
static void score(const int32_t *text, float *logits)
{
    size_t n = (size_t)N_TEXT * f.n_vocab;
    float *other = malloc(n * sizeof(*other));
    llmgpu_session *a = begin(64), *b = begin(7);
    REQUIRE(other);
    REQUIRE_INT(llmgpu_session_score(a, text, N_TEXT, NULL, logits), ==, 0);
    REQUIRE_INT(llmgpu_session_score(b, text, N_TEXT, NULL, other), ==, 0);
    REQUIRE(memcmp(logits, other, n * sizeof(*other)) == 0);
    llmgpu_session_free(a);
    llmgpu_session_free(b);
    free(other);
}

/** The distance of two rows of logits, beside the length of one. */
static double distance(const float *a, const float *b, size_t n)
{
    double apart = 0, length = 0;
    for (size_t i = 0; i < n; i++) {
        apart += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        length += (double)b[i] * b[i];
    }
    return sqrt(apart / length);
}

static void test_model(const char *arch)
{
    static float exact[N_TEXT * MAX_VOCAB], logits[N_TEXT * MAX_VOCAB];
    int32_t text[N_TEXT];
    uint64_t all = 0;
    struct model_shape shape = model_tiny(arch);
    shape.n_ctx = N_CTX;
    model_fit_kv(&shape, LG_KV_Q8_0);
    model_init(&build, &shape);
    model_write(&build);
    snprintf(path, sizeof(path), "/tmp/llmgpu-kv-XXXXXX");
    int fd = mkstemp(path);
    REQUIRE(fd >= 0 && write(fd, build.file.data, build.file.size) == (ssize_t)build.file.size);
    close(fd);
    for (uint32_t type = 0; type < LG_N_KV_TYPES; type++) {
        open_all((int32_t)type);
        for (int i = 0; type == 0 && i < N_TEXT; i++)
            text[i] = (int32_t)test_randu(&rng, 0, f.n_vocab - 1);
        score(text, type == 0 ? exact : logits);
        uint64_t bytes = cache_bytes();
        all = type == 0 ? bytes : all;
        static const uint64_t of_128[] = {128, 64, 34, 18}; // bytes of 32 numbers
        REQUIRE_INT(bytes * 128, ==, all * of_128[type]);
        double apart = type == 0 ? 0 : distance(logits, exact, (size_t)N_TEXT * f.n_vocab);
        printf("%s %s: logits are off by %g, caches of %llu bytes\n", arch, names[type], apart,
               (unsigned long long)bytes);
        // The largest of 32 numbers is about 3 times their length by each, an error spread evenly up to a bound 1 / sqrt(3)
        // of it; sums of many are off by no more, and attention is one part of what goes into the logits.
        REQUIRE(type == 0 || (apart > 0 && apart <= 3 / sqrt(3) * (double)off_by[type]));
        test_state(text);
        close_all();
    }
    unlink(path);
}

/* ---- what does not fit */

static void test_refused(void)
{
    struct model_shape shape = model_tiny("llama"); // heads of 8
    model_init(&build, &shape);
    model_write(&build);
    for (int32_t type = LLMGPU_KV_Q8_0; type <= LLMGPU_KV_Q4_0; type++) {
        REQUIRE_INT(open_context(type), ==, 0);
        REQUIRE_INT(llmgpu_model_load_memory(&f.model, f.ctx, build.file.data, build.file.size, NULL), ==,
                    LLMGPU_E_UNSUPPORTED);
        REQUIRE(strstr(llmgpu_context_error(f.ctx), "heads have 8 elements"));
        llmgpu_context_free(f.ctx);
    }
    REQUIRE_INT(open_context(-1), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(open_context(4), ==, LLMGPU_E_INVALID);
}

int main(int argc, char **argv)
{
    f.device = argc > 1 ? argv[1] : "cpu";
    test_rows();
    test_refused();
    test_model("llama");
    test_model("gpt2");
    return 0;
}
