/* SPDX-License-Identifier: MIT
 * The GGUF reader on right files: every field of every kind; and on every way to damage one a little. */
#include <dirent.h>

#include "gguf_build.h"
#include "heap.h"

static struct build build;

static struct lg_gguf *parse(struct lg_env *env, const struct build *b)
{
    struct lg_gguf *gguf;
    if (lg_gguf_parse(env, "sample", b->data, b->size, &gguf) != 0)
        fprintf(stderr, "%s\n", env->error);
    REQUIRE(gguf);
    return gguf;
}

static const struct lg_gguf_kv *find(const struct lg_gguf *gguf, const char *kind, enum lg_gguf_type type)
{
    char key[32];
    snprintf(key, sizeof(key), "%s.%s", kind, lg_gguf_type_name(type));
    const struct lg_gguf_kv *kv = lg_gguf_find(gguf, key);
    REQUIRE(kv);
    return kv;
}

static void check_scalars(const struct lg_gguf *gguf)
{
    static const struct {
        enum lg_gguf_type type;
        int64_t integers[2];
        double numbers[2];
    } expected[] = {
        {LG_GGUF_U8, {0xfe, 1}, {0xfe, 1}},
        {LG_GGUF_I8, {-128, 127}, {-128, 127}},
        {LG_GGUF_U16, {0xfffe, 1}, {0xfffe, 1}},
        {LG_GGUF_I16, {-32768, 32767}, {-32768, 32767}},
        {LG_GGUF_U32, {0xfffffffe, 1}, {0xfffffffe, 1}},
        {LG_GGUF_I32, {INT32_MIN, INT32_MAX}, {INT32_MIN, INT32_MAX}},
        {LG_GGUF_F32, {1, INT64_MIN}, {1.5, -INFINITY}},
        {LG_GGUF_BOOL, {1, 0}, {1, 0}},
        {LG_GGUF_U64, {INT64_MAX, INT64_MAX}, {0x1p64, 0x1p63}},
        {LG_GGUF_I64, {INT64_MIN, INT64_MAX}, {-0x1p63, 0x1p63}},
        {LG_GGUF_F64, {-2, INT64_MAX}, {-2.5, 0x1.fffffffffffffp1023}},
    };
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        const struct lg_gguf_kv *value = find(gguf, "value", expected[i].type);
        const struct lg_gguf_kv *array = find(gguf, "array", expected[i].type);
        REQUIRE(value->type == expected[i].type && value->n == 1 && !value->strings);
        REQUIRE(array->type == LG_GGUF_ARRAY && array->array_type == expected[i].type && array->n == 2);
        REQUIRE_INT(lg_gguf_integer(value, 0), ==, expected[i].integers[0]);
        REQUIRE(lg_gguf_number(value, 0) == expected[i].numbers[0]);
        for (uint64_t item = 0; item < 2; item++) {
            REQUIRE_INT(lg_gguf_integer(array, item), ==, expected[i].integers[item]);
            REQUIRE(lg_gguf_number(array, item) == expected[i].numbers[item]);
        }
    }
}

static void check_strings(const struct lg_gguf *gguf)
{
    const struct lg_gguf_kv *value = lg_gguf_find(gguf, "value.string");
    REQUIRE(value && value->type == LG_GGUF_STRING && value->n == 1 && lg_str_eq(value->strings[0], ""));
    const struct lg_gguf_kv *name = lg_gguf_find(gguf, "general.architecture");
    REQUIRE(name && name->data == (const uint8_t *)name->strings[0].ptr &&
            lg_str_eq(name->strings[0], "sample"));
    const struct lg_gguf_kv *array = lg_gguf_find(gguf, "array.string");
    REQUIRE(array && array->type == LG_GGUF_ARRAY && array->array_type == LG_GGUF_STRING && array->n == 3);
    REQUIRE(lg_str_eq(array->strings[0], "one"));
    REQUIRE(lg_str_eq(array->strings[1], ""));
    REQUIRE(lg_str_eq(array->strings[2], "th\xff"
                                         "ree"));
    const struct lg_gguf_kv *empty = lg_gguf_find(gguf, "array.empty");
    REQUIRE(empty && empty->type == LG_GGUF_ARRAY && empty->array_type == LG_GGUF_U16 && empty->n == 0);
}

static void check_tensors(const struct lg_gguf *gguf)
{
    static const struct {
        const char *name;
        uint32_t type, n_dims;
        uint64_t dims[4], offset, size;
    } expected[] = {
        {"matrix", LG_TYPE_F32, 2, {4, 3, 1, 1}, 0, 48},
        {"blocks", LG_TYPE_Q8_0, 2, {64, 2, 1, 1}, 128, 136},
        {"vector", LG_TYPE_F16, 1, {5, 1, 1, 1}, 64, 10},
        {"four", 24, 4, {1, 2, 1, 3}, 320, 6},
    };
    REQUIRE_INT(gguf->n_tensors, ==, 4);
    for (size_t i = 0; i < 4; i++) {
        const struct lg_gguf_tensor *t = &gguf->tensors[i];
        REQUIRE(lg_gguf_find_tensor(gguf, expected[i].name) == t);
        REQUIRE(lg_str_eq(t->name, expected[i].name));
        REQUIRE_INT(t->type, ==, expected[i].type);
        REQUIRE_INT(t->n_dims, ==, expected[i].n_dims);
        REQUIRE(memcmp(t->dims, expected[i].dims, sizeof(t->dims)) == 0);
        REQUIRE_INT(t->offset, ==, gguf->data_offset + expected[i].offset);
        REQUIRE_INT(t->size, ==, expected[i].size);
        REQUIRE(t->data == gguf->file + t->offset);
        REQUIRE_INT(t->data[0], ==, 0x11);
    }
}

static void check_sample(uint32_t version)
{
    struct lg_env env;
    lg_env_init(&env);
    build_sample(&build, version);
    struct lg_gguf *gguf = parse(&env, &build);
    REQUIRE_INT(gguf->version, ==, version);
    REQUIRE_INT(gguf->n_kv, ==, 27);
    REQUIRE_INT(gguf->alignment, ==, 64);
    REQUIRE_INT(gguf->data_offset, ==, build.size - 326);
    REQUIRE_INT(gguf->file_size, ==, build.size);
    REQUIRE(gguf->file == build.data);
    REQUIRE(lg_str_eq(gguf->kv[0].key, "general.architecture"));
    check_scalars(gguf);
    check_strings(gguf);
    check_tensors(gguf);
    walk_gguf(gguf, &env);
    REQUIRE(!lg_gguf_find(gguf, "matrix") && !lg_gguf_find(gguf, "") && !lg_gguf_find(gguf, "value.u"));
    REQUIRE(!lg_gguf_find_tensor(gguf, "value.u8") && !lg_gguf_find_tensor(gguf, ""));
    lg_gguf_close(gguf);
}

/** Every pair of a value and an accessor: 1 and the value, or a failure that names the key. */
static void check_typed_access(void)
{
    struct lg_env env;
    lg_env_init(&env);
    build_header(&build, 3, 0, 8);
    build_key(&build, "u8", LG_GGUF_U8);
    build_uint(&build, 200, 1);
    build_key(&build, "i64", LG_GGUF_I64);
    build_u64(&build, 4000000000);
    build_key(&build, "negative", LG_GGUF_I32);
    build_u32(&build, (uint32_t)-1);
    build_key(&build, "large", LG_GGUF_U64);
    build_u64(&build, UINT64_C(1) << 32);
    build_key(&build, "f64", LG_GGUF_F64);
    build_f64(&build, 0.1);
    build_key(&build, "huge", LG_GGUF_F64);
    build_f64(&build, 1e300);
    build_key(&build, "bool", LG_GGUF_BOOL);
    build_uint(&build, 1, 1);
    build_kv_str(&build, "str", "text");
    struct lg_gguf *gguf = parse(&env, &build);

    uint32_t u = 7;
    REQUIRE(lg_gguf_get_u32(gguf, &env, "missing", &u) == 0 && u == 7);
    REQUIRE(lg_gguf_get_u32(gguf, &env, "u8", &u) == 1 && u == 200);
    REQUIRE(lg_gguf_get_u32(gguf, &env, "i64", &u) == 1 && u == 4000000000u);
    static const char *const not_u32[] = {"negative", "large", "f64", "huge", "bool", "str"};
    for (size_t i = 0; i < 6; i++) {
        REQUIRE_INT(lg_gguf_get_u32(gguf, &env, not_u32[i], &u), ==, LLMGPU_E_FORMAT);
        REQUIRE(strstr(env.error, not_u32[i]));
        REQUIRE_INT(u, ==, 4000000000u);
    }
    REQUIRE_INT(lg_gguf_get_u32(gguf, &env, "negative", &u), ==, LLMGPU_E_FORMAT);
    REQUIRE_STR(env.error, "key 'negative': -1 does not fit in 32 bits");

    float f = 7;
    REQUIRE(lg_gguf_get_f32(gguf, &env, "missing", &f) == 0 && f == 7);
    REQUIRE(lg_gguf_get_f32(gguf, &env, "f64", &f) == 1 && f == 0.1f);
    REQUIRE(lg_gguf_get_f32(gguf, &env, "negative", &f) == 1 && f == -1);
    REQUIRE_INT(lg_gguf_get_f32(gguf, &env, "huge", &f), ==, LLMGPU_E_FORMAT);
    REQUIRE_INT(lg_gguf_get_f32(gguf, &env, "bool", &f), ==, LLMGPU_E_FORMAT);
    REQUIRE_INT(lg_gguf_get_f32(gguf, &env, "str", &f), ==, LLMGPU_E_FORMAT);
    REQUIRE_STR(env.error, "key 'str': is of type string, not a number");

    bool flag = false;
    REQUIRE(lg_gguf_get_bool(gguf, &env, "missing", &flag) == 0 && !flag);
    REQUIRE(lg_gguf_get_bool(gguf, &env, "bool", &flag) == 1 && flag);
    REQUIRE_INT(lg_gguf_get_bool(gguf, &env, "u8", &flag), ==, LLMGPU_E_FORMAT);

    struct lg_str s;
    REQUIRE(lg_gguf_get_str(gguf, &env, "missing", &s) == 0);
    REQUIRE(lg_gguf_get_str(gguf, &env, "str", &s) == 1 && lg_str_eq(s, "text"));
    REQUIRE_INT(lg_gguf_get_str(gguf, &env, "u8", &s), ==, LLMGPU_E_FORMAT);
    lg_gguf_close(gguf);
}

/** An array is no scalar, whatever its items are. */
static void check_array_is_no_value(void)
{
    struct lg_env env;
    lg_env_init(&env);
    build_sample(&build, 3);
    struct lg_gguf *gguf = parse(&env, &build);
    uint32_t u;
    float f;
    bool flag;
    struct lg_str s;
    REQUIRE_INT(lg_gguf_get_u32(gguf, &env, "array.u32", &u), ==, LLMGPU_E_FORMAT);
    REQUIRE_STR(env.error, "key 'array.u32': is an array of u32, not an integer");
    REQUIRE_INT(lg_gguf_get_f32(gguf, &env, "array.f32", &f), ==, LLMGPU_E_FORMAT);
    REQUIRE_INT(lg_gguf_get_bool(gguf, &env, "array.bool", &flag), ==, LLMGPU_E_FORMAT);
    REQUIRE_INT(lg_gguf_get_str(gguf, &env, "array.string", &s), ==, LLMGPU_E_FORMAT);
    lg_gguf_close(gguf);
}

/** Without tensors, metadata or both, and without the padding that has nothing to align. */
static void check_small_files(void)
{
    struct lg_env env;
    lg_env_init(&env);
    build_header(&build, 3, 0, 0);
    struct lg_gguf *gguf = parse(&env, &build);
    REQUIRE(gguf->n_kv == 0 && gguf->n_tensors == 0 && gguf->alignment == 32 && gguf->data_offset == 24);
    REQUIRE(!lg_gguf_find(gguf, "x") && !lg_gguf_find_tensor(gguf, "x"));
    lg_gguf_close(gguf);

    build_header(&build, 3, 0, 1);
    build_kv_str(&build, "a", "b");
    gguf = parse(&env, &build);
    REQUIRE(gguf->n_kv == 1 && gguf->data_offset == build.size);
    lg_gguf_close(gguf);
    build_align(&build, 32);
    gguf = parse(&env, &build);
    REQUIRE_INT(gguf->data_offset, ==, build.size);
    lg_gguf_close(gguf);

    build_header(&build, 2, 1, 0);
    build_tensor(&build, "t", 1, (uint64_t[]){1}, LG_TYPE_F32, 0);
    build_align(&build, 32);
    build_f32(&build, 1.0f);
    gguf = parse(&env, &build);
    REQUIRE(gguf->n_tensors == 1 && gguf->tensors[0].size == 4);
    lg_gguf_close(gguf);
    lg_gguf_close(NULL);
}

/** Enough names to grow every array and crowd the tables. */
static void check_many_names(void)
{
    enum { N = 500 };
    struct lg_env env;
    lg_env_init(&env);
    build_header(&build, 3, N, N);
    char name[16];
    for (uint32_t i = 0; i < N; i++) {
        snprintf(name, sizeof(name), "key%u", i);
        build_kv_u32(&build, name, i);
    }
    for (uint32_t i = 0; i < N; i++) {
        snprintf(name, sizeof(name), "tensor%u", i);
        build_tensor(&build, name, 1, (uint64_t[]){1}, 24 /* I8 */, (N - 1 - i) * 32);
    }
    build_align(&build, 32);
    build_fill(&build, 0, (N - 1) * 32 + 1);
    struct lg_gguf *gguf = parse(&env, &build);
    walk_gguf(gguf, &env);
    uint32_t value;
    REQUIRE(lg_gguf_get_u32(gguf, &env, "key477", &value) == 1 && value == 477);
    REQUIRE(!lg_gguf_find(gguf, "key500"));
    lg_gguf_close(gguf);
}

/** Parses a copy that ends where its memory ends, so that a sanitizer sees a read beyond it. */
static int parse_exact(const uint8_t *data, size_t size, const char *what)
{
    struct test_heap heap;
    struct lg_env env;
    test_heap_env(&env, &heap, 0);
    uint8_t *copy = malloc(size);
    REQUIRE(copy || !size);
    if (size)
        memcpy(copy, data, size);
    struct lg_gguf *gguf;
    int rc = lg_gguf_parse(&env, "damaged", copy, size, &gguf);
    if (rc == 0) {
        walk_gguf(gguf, &env);
    } else {
        REQUIRE(!gguf);
        REQUIRE(rc == LLMGPU_E_FORMAT || rc == LLMGPU_E_UNSUPPORTED);
        REQUIRE(strncmp(env.error, "damaged: ", 9) == 0 && strlen(env.error) > 20);
        REQUIRE(strlen(env.error) < sizeof(env.error) - 1);
    }
    lg_gguf_close(gguf);
    if (heap.live != 0 || heap.peak > size * 8 + 8192)
        fprintf(stderr, "%s: %zu bytes leak, %zu at most\n", what, heap.live, heap.peak);
    REQUIRE_INT(heap.live, ==, 0);
    REQUIRE_INT(heap.peak, <=, size * 8 + 8192);
    free(copy);
    return rc;
}

static void check_truncation(void)
{
    build_sample(&build, 3);
    for (size_t size = 0; size < build.size; size++)
        REQUIRE_INT(parse_exact(build.data, size, "truncated"), ==, LLMGPU_E_FORMAT);
    REQUIRE_INT(parse_exact(build.data, build.size, "whole"), ==, 0);
}

static void check_corruption(void)
{
    build_sample(&build, 3);
    for (size_t at = 0; at < build.size - 326; at++) {
        const uint8_t right = build.data[at];
        const uint8_t wrong[] = {
            0, 1, 0x7f, 0x80, 0xff, right ^ 1, right ^ 0x20, (uint8_t)(right + 1), (uint8_t)(right - 1)};
        for (size_t i = 0; i < sizeof(wrong); i++) {
            build.data[at] = wrong[i];
            parse_exact(build.data, build.size, "corrupted");
        }
        build.data[at] = right;
    }
}

/** Each allocation fails once. */
static void check_out_of_memory(void)
{
    struct test_heap heap;
    struct lg_env env;
    struct lg_gguf *gguf;
    build_sample(&build, 3);
    test_heap_env(&env, &heap, 0);
    REQUIRE_INT(lg_gguf_parse(&env, "memory", build.data, build.size, &gguf), ==, 0);
    lg_gguf_close(gguf);
    const uint64_t n = heap.n;
    REQUIRE_INT(n, >=, 10);
    for (uint64_t i = 1; i <= n; i++) {
        test_heap_env(&env, &heap, i);
        REQUIRE_INT(lg_gguf_parse(&env, "memory", build.data, build.size, &gguf), ==, LLMGPU_E_NOMEM);
        REQUIRE(!gguf && strncmp(env.error, "out of memory", 13) == 0);
        REQUIRE_INT(heap.live, ==, 0);
    }
}

static void open_path(const char *path)
{
    struct lg_env env;
    struct lg_gguf *gguf;
    lg_env_init(&env);
    if (lg_gguf_open(&env, path, &gguf) != 0)
        fprintf(stderr, "%s\n", env.error);
    REQUIRE(gguf);
    walk_gguf(gguf, &env);
    REQUIRE(lg_gguf_find(gguf, "general.architecture"));
    lg_gguf_close(gguf);
}

/** Opens every GGUF file below a folder; returns how many. */
static int open_folder(const char *folder)
{
    DIR *dir = opendir(folder);
    if (!dir)
        fprintf(stderr, "missing: %s\n", folder);
    REQUIRE(dir);
    int n = 0;
    struct dirent *entry;
    while ((entry = readdir(dir))) {
        char path[2048];
        const char *dot = strrchr(entry->d_name, '.');
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        if (entry->d_type == DT_DIR && entry->d_name[0] != '.') {
            n += open_folder(path);
        } else if (dot && strcmp(dot, ".gguf") == 0) {
            open_path(path);
            n++;
        }
    }
    closedir(dir);
    return n;
}

static void check_open_failures(void)
{
    struct lg_env env;
    struct lg_gguf *gguf;
    lg_env_init(&env);
    REQUIRE_INT(lg_gguf_open(&env, "/nowhere/missing.gguf", &gguf), ==, LLMGPU_E_IO);
    REQUIRE(!gguf && strstr(env.error, "/nowhere/missing.gguf"));
    REQUIRE_INT(lg_gguf_open(&env, "/", &gguf), ==, LLMGPU_E_IO);
    REQUIRE_INT(lg_gguf_open(&env, "/dev/null", &gguf), ==, LLMGPU_E_IO);
}

int main(void)
{
    check_sample(2);
    check_sample(3);
    check_typed_access();
    check_array_is_no_value();
    check_small_files();
    check_many_names();
    check_truncation();
    check_corruption();
    check_out_of_memory();
    check_open_failures();
    if (getenv("LLMGPU_BUNDLED"))
        REQUIRE_INT(open_folder(getenv("LLMGPU_BUNDLED")), >=, 1);
    if (!test_shared())
        return TEST_SKIP;
    REQUIRE_INT(open_folder(test_shared_path("models")), >=, 10);
    REQUIRE_INT(open_folder(test_shared_path("vocab")), >=, 9);
    REQUIRE_INT(open_folder(test_shared_path("oracle/visible")), >=, 18);
    return 0;
}
