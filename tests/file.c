/* SPDX-License-Identifier: MIT
 * Looking into a file through the public header; and misuse of it. */
#include <unistd.h>

#include "gguf_build.h"
#include "llmgpu/llmgpu.h"

static struct build build;
static char path[1024];

static void write_file(void)
{
    const char *dir = getenv("TMPDIR");
    snprintf(path, sizeof(path), "%s/llmgpu-test-XXXXXX", dir ? dir : "/tmp");
    int fd = mkstemp(path);
    REQUIRE(fd >= 0);
    REQUIRE(write(fd, build.data, build.size) == (ssize_t)build.size);
    close(fd);
}

static void require_metadata(const llmgpu_file *file, uint64_t index, const char *key, const char *type,
                             const char *item_type, uint64_t n_items)
{
    llmgpu_file_metadata m;
    REQUIRE_INT(llmgpu_file_get_metadata(file, index, &m, sizeof(m)), ==, 0);
    REQUIRE(m.key_len == strlen(key) && memcmp(m.key, key, m.key_len) == 0);
    REQUIRE_STR(m.type, type);
    REQUIRE_STR(m.item_type, item_type);
    REQUIRE_INT(m.n_items, ==, n_items);
}

static llmgpu_file_value value_of(const llmgpu_file *file, uint64_t index, uint64_t item, int32_t kind)
{
    llmgpu_file_value v;
    REQUIRE_INT(llmgpu_file_get_value(file, index, item, &v, sizeof(v)), ==, 0);
    REQUIRE_INT(v.kind, ==, kind);
    return v;
}

static void check_values(const llmgpu_file *file)
{
    llmgpu_file_value v = value_of(file, 0, 0, LLMGPU_VALUE_STRING);
    REQUIRE(v.string_len == 6 && memcmp(v.string, "sample", 6) == 0);
    require_metadata(file, 0, "general.architecture", "string", "", 1);
    require_metadata(file, 1, "general.alignment", "u32", "", 1);
    REQUIRE_INT(value_of(file, 1, 0, LLMGPU_VALUE_INTEGER).integer, ==, 64);
    require_metadata(file, 5, "array.i8", "array", "i8", 2);
    REQUIRE_INT(value_of(file, 5, 0, LLMGPU_VALUE_INTEGER).integer, ==, -128);
    REQUIRE_INT(value_of(file, 5, 1, LLMGPU_VALUE_INTEGER).integer, ==, 127);
    require_metadata(file, 14, "value.f32", "f32", "", 1);
    REQUIRE(value_of(file, 14, 0, LLMGPU_VALUE_NUMBER).number == 1.5);
    require_metadata(file, 17, "array.bool", "array", "bool", 2);
    REQUIRE_INT(value_of(file, 17, 0, LLMGPU_VALUE_BOOL).integer, ==, 1);
    REQUIRE_INT(value_of(file, 17, 1, LLMGPU_VALUE_BOOL).integer, ==, 0);
    require_metadata(file, 19, "array.u64", "array", "u64", 2);
    REQUIRE(value_of(file, 19, 0, LLMGPU_VALUE_NUMBER).number == 0x1p64);
    REQUIRE_INT(value_of(file, 19, 1, LLMGPU_VALUE_INTEGER).integer, ==, INT64_MAX);
    require_metadata(file, 25, "array.string", "array", "string", 3);
    v = value_of(file, 25, 2, LLMGPU_VALUE_STRING);
    REQUIRE(v.string_len == 6 && memcmp(v.string, "th\xffree", 6) == 0);
    require_metadata(file, 26, "array.empty", "array", "u16", 0);

    llmgpu_file_metadata m;
    REQUIRE_INT(llmgpu_file_get_metadata(file, 27, &m, sizeof(m)), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_file_get_value(file, 26, 0, &v, sizeof(v)), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_file_get_value(file, 1, 1, &v, sizeof(v)), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_file_get_value(file, 27, 0, &v, sizeof(v)), ==, LLMGPU_E_INVALID);
}

static void check_tensors(const llmgpu_file *file)
{
    llmgpu_file_tensor t;
    REQUIRE_INT(llmgpu_file_get_tensor(file, 1, &t, sizeof(t)), ==, 0);
    REQUIRE(t.name_len == 6 && memcmp(t.name, "blocks", 6) == 0);
    REQUIRE_STR(t.type, "Q8_0");
    REQUIRE(t.n_dims == 2 && t.dims[0] == 64 && t.dims[1] == 2 && t.dims[2] == 1 && t.dims[3] == 1);
    REQUIRE_INT(t.size, ==, 136);
    REQUIRE_INT(t.offset, ==, build.size - 326 + 128);
    REQUIRE_INT(llmgpu_file_get_tensor(file, 4, &t, sizeof(t)), ==, LLMGPU_E_INVALID);
}

static void check_file(void)
{
    llmgpu_file *file;
    char error[200] = "stale";
    build_sample(&build, 3);
    write_file();
    REQUIRE_INT(llmgpu_file_open(&file, path, error, sizeof(error)), ==, 0);
    REQUIRE_STR(error, "");
    llmgpu_file_info info;
    REQUIRE_INT(llmgpu_file_get_info(file, &info, sizeof(info)), ==, 0);
    REQUIRE(info.version == 3 && info.n_metadata == 27 && info.n_tensors == 4 && info.alignment == 64);
    REQUIRE_INT(info.n_params, ==, 12 + 128 + 5 + 6);
    REQUIRE_INT(info.tensor_bytes, ==, 48 + 136 + 10 + 6);
    REQUIRE_INT(info.file_bytes, ==, build.size);
    check_values(file);
    check_tensors(file);

    REQUIRE_INT(llmgpu_file_get_info(file, NULL, 0), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_file_get_metadata(file, 0, NULL, 0), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_file_get_value(file, 0, 0, NULL, 0), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_file_get_tensor(file, 0, NULL, 0), ==, LLMGPU_E_INVALID);
    llmgpu_file_close(file);
    unlink(path);
}

static void check_misuse(void)
{
    llmgpu_file *file = (llmgpu_file *)&build;
    llmgpu_file_info info;
    llmgpu_file_metadata m;
    llmgpu_file_value v;
    llmgpu_file_tensor t;
    char error[200];
    REQUIRE_INT(llmgpu_file_open(NULL, "x", error, sizeof(error)), ==, LLMGPU_E_INVALID);
    REQUIRE(strlen(error) > 10);
    REQUIRE_INT(llmgpu_file_open(&file, NULL, error, sizeof(error)), ==, LLMGPU_E_INVALID);
    REQUIRE(!file && strlen(error) > 10);
    llmgpu_file_close(NULL);
    REQUIRE_INT(llmgpu_file_get_info(NULL, &info, sizeof(info)), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_file_get_metadata(NULL, 0, &m, sizeof(m)), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_file_get_value(NULL, 0, 0, &v, sizeof(v)), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_file_get_tensor(NULL, 0, &t, sizeof(t)), ==, LLMGPU_E_INVALID);
}

static void check_failures(void)
{
    llmgpu_file *file = (llmgpu_file *)&build;
    char error[200], brief[8];
    REQUIRE_INT(llmgpu_file_open(&file, "/nowhere/missing.gguf", error, sizeof(error)), ==, LLMGPU_E_IO);
    REQUIRE(!file && strstr(error, "/nowhere/missing.gguf"));
    REQUIRE_INT(llmgpu_file_open(&file, "/nowhere/missing.gguf", NULL, 0), ==, LLMGPU_E_IO);
    REQUIRE_INT(llmgpu_file_open(&file, "/nowhere/missing.gguf", NULL, 9), ==, LLMGPU_E_IO);
    REQUIRE_INT(llmgpu_file_open(&file, "/nowhere/missing.gguf", brief, sizeof(brief)), ==, LLMGPU_E_IO);
    REQUIRE_STR(brief, "cannot ");
    REQUIRE_INT(llmgpu_file_open(&file, "/nowhere/missing.gguf", brief, 0), ==, LLMGPU_E_IO);
    REQUIRE_STR(brief, "cannot ");

    build_sample(&build, 3);
    build.size -= 3;
    write_file();
    REQUIRE_INT(llmgpu_file_open(&file, path, error, sizeof(error)), ==, LLMGPU_E_FORMAT);
    REQUIRE(!file && strstr(error, "tensor 'four': 6 bytes end 3 beyond the file"));
    unlink(path);
}

static void check_names(void)
{
    char version[32];
    snprintf(version, sizeof(version), "%d.%d.%d", LLMGPU_VERSION_MAJOR, LLMGPU_VERSION_MINOR,
             LLMGPU_VERSION_PATCH);
    REQUIRE_STR(llmgpu_version(), version);
    REQUIRE_STR(llmgpu_status_name(0), "LLMGPU_OK");
    REQUIRE_STR(llmgpu_status_name(LLMGPU_E_FORMAT), "LLMGPU_E_FORMAT");
    REQUIRE_STR(llmgpu_status_name(LLMGPU_E_RANGE), "LLMGPU_E_RANGE");
    REQUIRE_STR(llmgpu_status_name(LLMGPU_E_INTERNAL), "LLMGPU_E_INTERNAL");
    static const int unknown[] = {1, -16, -98, -100, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
        REQUIRE_STR(llmgpu_status_name(unknown[i]), "unknown error");
}

int main(void)
{
    check_file();
    check_misuse();
    check_failures();
    check_names();
    return 0;
}
