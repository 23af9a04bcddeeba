/* SPDX-License-Identifier: MIT
 *
 * Writing GGUF files in memory, right ones and wrong ones, and reading everything that a parsed one holds.
 */
#ifndef LG_TESTS_GGUF_BUILD_H
#define LG_TESTS_GGUF_BUILD_H

#include "gguf/gguf.h"
#include "test.h"

struct build {
    uint8_t data[1 << 20];
    size_t size;
};

static inline void build_bytes(struct build *b, const void *data, size_t size)
{
    REQUIRE(size <= sizeof(b->data) - b->size);
    memcpy(b->data + b->size, data, size);
    b->size += size;
}

static inline void build_uint(struct build *b, uint64_t value, size_t bytes)
{
    uint8_t le[8];
    for (size_t i = 0; i < bytes; i++)
        le[i] = (uint8_t)(value >> 8 * i);
    build_bytes(b, le, bytes);
}

static inline void build_u32(struct build *b, uint32_t value)
{
    build_uint(b, value, 4);
}

static inline void build_u64(struct build *b, uint64_t value)
{
    build_uint(b, value, 8);
}

static inline void build_f32(struct build *b, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    build_u32(b, bits);
}

static inline void build_f64(struct build *b, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    build_u64(b, bits);
}

static inline void build_str(struct build *b, const char *s)
{
    build_u64(b, strlen(s));
    build_bytes(b, s, strlen(s));
}

static inline void build_header(struct build *b, uint32_t version, uint64_t n_tensors, uint64_t n_kv)
{
    b->size = 0;
    build_bytes(b, "GGUF", 4);
    build_u32(b, version);
    build_u64(b, n_tensors);
    build_u64(b, n_kv);
}

/** A key and its type; the value follows. */
static inline void build_key(struct build *b, const char *key, uint32_t type)
{
    build_str(b, key);
    build_u32(b, type);
}

/** The key of an array; `n` items follow. */
static inline void build_array(struct build *b, const char *key, uint32_t item_type, uint64_t n)
{
    build_key(b, key, LG_GGUF_ARRAY);
    build_u32(b, item_type);
    build_u64(b, n);
}

static inline void build_kv_u32(struct build *b, const char *key, uint32_t value)
{
    build_key(b, key, LG_GGUF_U32);
    build_u32(b, value);
}

static inline void build_kv_str(struct build *b, const char *key, const char *value)
{
    build_key(b, key, LG_GGUF_STRING);
    build_str(b, value);
}

static inline void build_tensor(struct build *b, const char *name, uint32_t n_dims, const uint64_t *dims,
                                uint32_t type, uint64_t offset)
{
    build_str(b, name);
    build_u32(b, n_dims);
    for (uint32_t d = 0; d < n_dims; d++)
        build_u64(b, dims[d]);
    build_u32(b, type);
    build_u64(b, offset);
}

static inline void build_fill(struct build *b, uint8_t byte, size_t n)
{
    REQUIRE(n <= sizeof(b->data) - b->size);
    memset(b->data + b->size, byte, n);
    b->size += n;
}

/** Padding up to the tensor data. */
static inline void build_align(struct build *b, size_t alignment)
{
    build_fill(b, 0, (alignment - b->size % alignment) % alignment);
}

/** A file with every type of metadata, as a value and as an array, and four tensors at an alignment of 64. */
static inline void build_sample(struct build *b, uint32_t version)
{
    static const struct {
        uint32_t type;
        size_t size;
        uint64_t bits[2];
    } scalars[] = {
        {LG_GGUF_U8, 1, {0xfe, 0x01}},
        {LG_GGUF_I8, 1, {0x80, 0x7f}},
        {LG_GGUF_U16, 2, {0xfffe, 0x0001}},
        {LG_GGUF_I16, 2, {0x8000, 0x7fff}},
        {LG_GGUF_U32, 4, {0xfffffffe, 0x00000001}},
        {LG_GGUF_I32, 4, {0x80000000, 0x7fffffff}},
        {LG_GGUF_F32, 4, {0x3fc00000, 0xff800000}}, // 1.5, -infinity
        {LG_GGUF_BOOL, 1, {1, 0}},
        {LG_GGUF_U64, 8, {0xfffffffffffffffe, 0x7fffffffffffffff}},
        {LG_GGUF_I64, 8, {0x8000000000000000, 0x7fffffffffffffff}},
        {LG_GGUF_F64, 8, {0xc004000000000000, 0x7fefffffffffffff}}, // -2.5, the largest double
    };
    const size_t n = sizeof(scalars) / sizeof(scalars[0]);
    char key[32];
    build_header(b, version, 4, n * 2 + 5);
    build_kv_str(b, "general.architecture", "sample");
    build_kv_u32(b, "general.alignment", 64);
    for (size_t i = 0; i < n; i++) {
        snprintf(key, sizeof(key), "value.%s", lg_gguf_type_name(scalars[i].type));
        build_key(b, key, scalars[i].type);
        build_uint(b, scalars[i].bits[0], scalars[i].size);
        snprintf(key, sizeof(key), "array.%s", lg_gguf_type_name(scalars[i].type));
        build_array(b, key, scalars[i].type, 2);
        build_uint(b, scalars[i].bits[0], scalars[i].size);
        build_uint(b, scalars[i].bits[1], scalars[i].size);
    }
    build_kv_str(b, "value.string", "");
    build_array(b, "array.string", LG_GGUF_STRING, 3);
    build_str(b, "one");
    build_str(b, "");
    build_str(b, "th\xff"
                 "ree");
    build_array(b, "array.empty", LG_GGUF_U16, 0);

    build_tensor(b, "matrix", 2, (uint64_t[]){4, 3}, LG_TYPE_F32, 0);       // 48 bytes
    build_tensor(b, "blocks", 2, (uint64_t[]){64, 2}, LG_TYPE_Q8_0, 128);   // 136 bytes
    build_tensor(b, "vector", 1, (uint64_t[]){5}, LG_TYPE_F16, 64);         // 10 bytes, out of order
    build_tensor(b, "four", 4, (uint64_t[]){1, 2, 1, 3}, 24 /* I8 */, 320); // 6 bytes
    build_align(b, 64);
    build_fill(b, 0x11, 326);
}

/** Reads every byte that a parsed file gives out, in every way there is. */
static inline void walk_gguf(const struct lg_gguf *gguf, struct lg_env *env)
{
    volatile uint64_t sum = 0; // keeps the reads
    (void)sum;
    char name[256];
    for (uint64_t i = 0; i < gguf->n_kv; i++) {
        const struct lg_gguf_kv *kv = &gguf->kv[i];
        enum lg_gguf_type type = kv->type == LG_GGUF_ARRAY ? kv->array_type : kv->type;
        for (uint64_t item = 0; item < kv->n; item++) {
            if (type == LG_GGUF_STRING) {
                for (size_t c = 0; c < kv->strings[item].len; c++)
                    sum += (uint8_t)kv->strings[item].ptr[c];
            } else {
                sum += (uint64_t)lg_gguf_integer(kv, item);
                sum += lg_gguf_number(kv, item) > 0;
            }
        }
        if (kv->key.len >= sizeof(name) || memchr(kv->key.ptr, 0, kv->key.len))
            continue;
        memcpy(name, kv->key.ptr, kv->key.len);
        name[kv->key.len] = 0;
        REQUIRE(lg_gguf_find(gguf, name) == kv);
        uint32_t u32;
        float f32;
        bool flag;
        struct lg_str str;
        int found = 0;
        found += lg_gguf_get_u32(gguf, env, name, &u32) == 1;
        found += lg_gguf_get_f32(gguf, env, name, &f32) == 1;
        found += lg_gguf_get_bool(gguf, env, name, &flag) == 1;
        found += lg_gguf_get_str(gguf, env, name, &str) == 1;
        REQUIRE_INT(found, <=, 2);
    }
    for (uint64_t i = 0; i < gguf->n_tensors; i++) {
        const struct lg_gguf_tensor *t = &gguf->tensors[i];
        uint8_t first, last;
        REQUIRE(t->offset <= gguf->file_size && t->size <= gguf->file_size - t->offset);
        REQUIRE(t->data == (gguf->file ? gguf->file + t->offset : NULL) && lg_type_info(t->type));
        REQUIRE_INT(lg_gguf_fetch(gguf, env, t->offset, 1, &first), ==, 0);
        REQUIRE_INT(lg_gguf_fetch(gguf, env, t->offset + t->size - 1, 1, &last), ==, 0);
        sum += first + last;
        if (t->name.len >= sizeof(name) || memchr(t->name.ptr, 0, t->name.len))
            continue;
        memcpy(name, t->name.ptr, t->name.len);
        name[t->name.len] = 0;
        REQUIRE(lg_gguf_find_tensor(gguf, name) == t);
    }
}

#endif
