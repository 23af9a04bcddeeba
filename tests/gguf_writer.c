/* SPDX-License-Identifier: MIT
 * The GGUF writer: what is read, written and read again is the same, for a file with every kind of value and for every model
 * of the shared data; and what it refuses. */
#include <dirent.h>

#include "gguf_build.h"
#include "gguf_copy.h"
#include "heap.h"

static struct build build;

static void check_round_trip(struct lg_env *env, const struct lg_gguf *gguf, size_t piece)
{
    struct copy copy = {0}, again = {0};
    struct lg_gguf *back;
    REQUIRE_INT(copy_gguf(env, gguf, &copy, piece), ==, 0);
    REQUIRE_INT(copy.size % gguf->alignment, ==, 0);
    int rc = lg_gguf_parse(env, "copy", copy.data, copy.size, &back);
    if (rc < 0)
        fprintf(stderr, "%s\n", env->error);
    REQUIRE_INT(rc, ==, 0);
    REQUIRE_INT(back->version, ==, 3);
    copy_compare(gguf, back);
    REQUIRE_INT(copy_gguf(env, back, &again, 1 << 20), ==, 0);
    REQUIRE(again.size == copy.size && memcmp(again.data, copy.data, copy.size) == 0);
    lg_gguf_close(back);
    free(copy.data);
    free(again.data);
}

static void check_sample(void)
{
    struct lg_env env;
    struct lg_gguf *gguf;
    lg_env_init(&env);
    for (uint32_t version = 2; version <= 3; version++) {
        build_sample(&build, version);
        REQUIRE_INT(lg_gguf_parse(&env, "sample", build.data, build.size, &gguf), ==, 0);
        for (size_t piece = 1; piece <= 64; piece += 9)
            check_round_trip(&env, gguf, piece);
        lg_gguf_close(gguf);
    }
}

/** Nothing but a header. */
static void check_empty(void)
{
    struct lg_env env;
    struct lg_gguf *gguf;
    lg_env_init(&env);
    build_header(&build, 3, 0, 0);
    REQUIRE_INT(lg_gguf_parse(&env, "empty", build.data, build.size, &gguf), ==, 0);
    check_round_trip(&env, gguf, 1);
    lg_gguf_close(gguf);
}

static void check_values(void)
{
    struct lg_env env;
    struct lg_gguf_writer w;
    struct copy copy = {0};
    struct lg_gguf_sink sink = {copy_append, &copy};
    struct lg_gguf *gguf;
    struct lg_str text;
    uint32_t u = 0;
    float f = 0;
    lg_env_init(&env);
    lg_gguf_writer_init(&w, &env);
    REQUIRE_INT(lg_gguf_put_u32(&w, "u", 4000000000u), ==, 0);
    REQUIRE_INT(lg_gguf_put_f32(&w, "f", -0.1f), ==, 0);
    REQUIRE_INT(lg_gguf_put_str(&w, "s", "text"), ==, 0);
    REQUIRE_INT(lg_gguf_put_u32(&w, "general.alignment", 256), ==, 0);
    REQUIRE_INT(lg_gguf_write_header(&w, &sink), ==, 0);
    REQUIRE_INT(lg_gguf_write_end(&w), ==, 0);
    REQUIRE_INT(copy.size, ==, 256);
    lg_gguf_writer_finish(&w);
    REQUIRE_INT(lg_gguf_parse(&env, "values", copy.data, copy.size, &gguf), ==, 0);
    REQUIRE(lg_gguf_get_u32(gguf, &env, "u", &u) == 1 && u == 4000000000u);
    REQUIRE(lg_gguf_get_f32(gguf, &env, "f", &f) == 1 && f == -0.1f);
    REQUIRE(lg_gguf_get_str(gguf, &env, "s", &text) == 1 && lg_str_eq(text, "text"));
    lg_gguf_close(gguf);
    free(copy.data);
}

static int add(struct lg_gguf_writer *w, uint32_t n_dims, uint64_t x, uint64_t y, uint32_t type)
{
    struct lg_gguf_tensor t = {.name = {"t", 1}, .n_dims = n_dims, .dims = {x, y, 1, 1}, .type = type};
    return lg_gguf_add_tensor(w, &t);
}

static void check_refused(void)
{
    struct lg_env env;
    struct lg_gguf_writer w;
    struct copy copy = {0};
    struct lg_gguf_sink sink = {copy_append, &copy};
    uint8_t bytes[64] = {0};
    lg_env_init(&env);
    lg_gguf_writer_init(&w, &env);
    REQUIRE_INT(add(&w, 0, 4, 1, LG_TYPE_F32), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(add(&w, 5, 4, 1, LG_TYPE_F32), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(add(&w, 2, 4, 0, LG_TYPE_F32), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(add(&w, 2, 33, 1, LG_TYPE_Q8_0), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(add(&w, 2, 32, 1, 4), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(add(&w, 2, UINT64_C(1) << 40, UINT64_C(1) << 40, LG_TYPE_F32), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(add(&w, 1, UINT64_C(1) << 62, 1, LG_TYPE_F32), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(add(&w, 1, UINT64_MAX / 4, 1, LG_TYPE_F32), ==, LLMGPU_E_INVALID); // no room for the padding
    REQUIRE_INT(w.n_tensors, ==, 0);

    REQUIRE_INT(add(&w, 2, 4, 3, LG_TYPE_F32), ==, 0);
    REQUIRE_INT(lg_gguf_write_header(&w, &sink), ==, 0);
    REQUIRE_INT(lg_gguf_write_data(&w, bytes, 47), ==, 0);
    REQUIRE_INT(lg_gguf_write_end(&w), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(lg_gguf_write_data(&w, bytes, 1), ==, 0);
    REQUIRE_INT(lg_gguf_write_end(&w), ==, 0);
    REQUIRE_INT(lg_gguf_write_data(&w, bytes, 1), ==, LLMGPU_E_INVALID);
    lg_gguf_writer_finish(&w);
    free(copy.data);
}

/** Each allocation fails in turn, and then the sink, at every byte. */
static void check_failures(void)
{
    struct lg_env plain, env;
    struct lg_gguf *gguf;
    struct test_heap heap;
    int rc;
    lg_env_init(&plain);
    build_sample(&build, 3);
    REQUIRE_INT(lg_gguf_parse(&plain, "sample", build.data, build.size, &gguf), ==, 0);
    uint64_t n = 0;
    do {
        struct copy copy = {0};
        test_heap_env(&env, &heap, ++n);
        rc = copy_gguf(&env, gguf, &copy, 100);
        REQUIRE(rc == 0 || rc == LLMGPU_E_NOMEM);
        REQUIRE_INT(heap.live, ==, 0);
        free(copy.data);
    } while (rc != 0);
    REQUIRE_INT(n, >, 3);
    for (uint64_t at = 1;; at++) {
        struct copy copy = {.fail_at = at};
        rc = copy_gguf(&plain, gguf, &copy, 100);
        free(copy.data);
        if (rc == 0)
            break;
        REQUIRE_INT(rc, ==, LLMGPU_E_IO);
        REQUIRE_INT(at, <, 2 * build.size);
    }
    lg_gguf_close(gguf);
}

/** Every model of a folder of the shared data. */
static uint32_t check_folder(const char *name)
{
    uint32_t n = 0;
    DIR *dir = opendir(test_shared_path(name));
    for (struct dirent *e; dir && (e = readdir(dir));) {
        char path[1300];
        struct lg_env env;
        struct lg_gguf *gguf;
        size_t len = strlen(e->d_name);
        if (len < 5 || strcmp(e->d_name + len - 5, ".gguf") != 0)
            continue;
        lg_env_init(&env);
        snprintf(path, sizeof(path), "%s/%s", test_shared_path(name), e->d_name);
        REQUIRE_INT(lg_gguf_open(&env, path, &gguf), ==, 0);
        check_round_trip(&env, gguf, 1 << 16);
        lg_gguf_close(gguf);
        n++;
    }
    if (dir)
        closedir(dir);
    return n;
}

int main(void)
{
    check_sample();
    check_empty();
    check_values();
    check_refused();
    check_failures();
    if (!test_shared())
        return TEST_SKIP;
    REQUIRE_INT(check_folder("models"), >, 0);
    REQUIRE_INT(check_folder("oracle/visible/quant"), >, 0);
    REQUIRE_INT(check_folder("oracle/visible/lora"), >, 0);
    return 0;
}
