/* SPDX-License-Identifier: MIT
 *
 * Reading GGUF files, versions 2 and 3 (little-endian). The layout, as the format's specification has it:
 *
 *     magic "GGUF" | u32 version | u64 n_tensors | u64 n_kv
 *     n_kv     x  string key | u32 value type | value          (string: u64 length, bytes, no NUL)
 *     n_tensors x string name | u32 n_dims | u64 dims[n_dims] (fastest first) | u32 type | u64 offset
 *     padding to `general.alignment` (default 32) | tensor data, offsets relative to here
 *
 * The file is not trusted: each size is computed with checked arithmetic and held against the file's end before
 * anything is read or allocated, and what the parser allocates is bounded by a small multiple of the file's size.
 *
 * The bytes are mapped, in the caller's memory, or read by callbacks. Of the latter only what lies before the tensor
 * data is kept in memory; the data itself is read when it is asked for.
 *
 * Thread-safety: an lg_gguf is immutable once open.
 */
#ifndef LG_GGUF_GGUF_H
#define LG_GGUF_GGUF_H

#include <stdbool.h>
#include <string.h>

#include "gguf/types.h"
#include "util/env.h"

/** Bytes inside the file, without a NUL. */
struct lg_str {
    const char *ptr;
    size_t len;
};

enum lg_gguf_type {
    LG_GGUF_U8 = 0,
    LG_GGUF_I8 = 1,
    LG_GGUF_U16 = 2,
    LG_GGUF_I16 = 3,
    LG_GGUF_U32 = 4,
    LG_GGUF_I32 = 5,
    LG_GGUF_F32 = 6,
    LG_GGUF_BOOL = 7,
    LG_GGUF_STRING = 8,
    LG_GGUF_ARRAY = 9,
    LG_GGUF_U64 = 10,
    LG_GGUF_I64 = 11,
    LG_GGUF_F64 = 12,
};

struct lg_gguf_kv {
    struct lg_str key;
    enum lg_gguf_type type;
    enum lg_gguf_type array_type; // of the elements, when type is LG_GGUF_ARRAY (nested arrays are refused)
    uint64_t n;                   // elements of an array; 1 otherwise
    const uint8_t *data;          // the value in the file, unaligned: the scalar, string bytes, or packed elements
    const struct lg_str *strings; // the elements of an array of strings; the string itself for LG_GGUF_STRING
};

struct lg_gguf_tensor {
    struct lg_str name;
    uint32_t n_dims;       // 1 to 4
    uint64_t dims[4];      // fastest first; 1 beyond n_dims; none is 0
    enum lg_type type;     // always one that lg_type_info() knows
    uint64_t offset;       // bytes from the start of the file
    uint64_t size;         // bytes; offset + size is inside the file
    const uint8_t *data;   // its bytes; NULL where the file is read by callbacks
};

struct lg_gguf {
    struct lg_env *env;
    uint32_t version;
    uint64_t n_kv, n_tensors;
    struct lg_gguf_kv *kv;          // n_kv
    struct lg_gguf_tensor *tensors; // n_tensors, names unique
    uint64_t alignment;             // bytes
    uint64_t data_offset;           // where tensor data begins
    const uint8_t *file;            // the whole file; NULL where it is read by callbacks
    size_t file_size;
    void *priv;                     // where the bytes come from, and indices
};

/** A file behind callbacks. */
struct lg_gguf_io {
    int (*read)(void *user, uint64_t offset, void *to, size_t n); // 0, or anything else when it failed
    void (*close)(void *user); // NULL: nothing to do
    void *user;
    uint64_t offset, size; // where the GGUF begins in it, and its bytes
    uint64_t window;       // bytes that are read at first, then twice as many until the header is there; 0: 64 KiB
};

/**
 * Maps and reads a file. LLMGPU_E_IO, LLMGPU_E_FORMAT, LLMGPU_E_UNSUPPORTED (version 1, big-endian, an unknown tensor
 * type) or LLMGPU_E_NOMEM, with a sentence that names the key or tensor. `env` must outlive the result.
 */
int lg_gguf_open(struct lg_env *env, const char *path, struct lg_gguf **out);
/** The same of a part of a file: `size` bytes at `offset`, or all that follow it when `size` is 0. */
int lg_gguf_open_part(struct lg_env *env, const char *path, uint64_t offset, uint64_t size, struct lg_gguf **out);
/** The same for bytes in memory, which must stay valid; `name` is used in messages. */
int lg_gguf_parse(struct lg_env *env, const char *name, const void *data, size_t size, struct lg_gguf **out);
/**
 * The same for a file behind callbacks, which is taken over: its close() is called once, also when this fails. A header
 * beyond 1 GiB is LLMGPU_E_UNSUPPORTED, because it would have to be kept in memory.
 */
int lg_gguf_open_io(struct lg_env *env, const char *name, const struct lg_gguf_io *io, struct lg_gguf **out);
/** NULL is allowed. */
void lg_gguf_close(struct lg_gguf *gguf);

/**
 * Copies `size` bytes of the file from `offset` on, which must be inside. With callbacks they are read in pieces,
 * between which lg_poll(env) is asked. LLMGPU_E_IO or LLMGPU_E_CANCELLED, and never for a file in memory.
 */
int lg_gguf_fetch(const struct lg_gguf *gguf, struct lg_env *env, uint64_t offset, uint64_t size, void *to);

/**
 * Begins to read a mapped file into memory, beginning at byte `first`, while something else is done; only a hint.
 *
 * @param in_place the data will be used where it is mapped, not copied from there
 */
void lg_gguf_read_ahead(struct lg_gguf *gguf, uint64_t first, bool in_place);
/** `size` bytes of the file from `offset` on, which are about to be copied; NULL where callbacks read it. */
const uint8_t *lg_gguf_lend(const struct lg_gguf *gguf, uint64_t offset, uint64_t size);
/** And have been: they need not stay in memory. */
void lg_gguf_take_back(const struct lg_gguf *gguf, uint64_t offset, uint64_t size);

/** NULL when there is no such key or tensor. Constant time. */
const struct lg_gguf_kv *lg_gguf_find(const struct lg_gguf *gguf, const char *key);
const struct lg_gguf_tensor *lg_gguf_find_tensor(const struct lg_gguf *gguf, const char *name);

/*
 * Typed access. Each returns 1 and sets *out when the key is there with a compatible type, 0 when the key is missing
 * (*out untouched), and fails with LLMGPU_E_FORMAT, with a sentence in env->error, when the value has another type or
 * does not fit (integers convert between widths and signs when the value fits).
 */
int lg_gguf_get_u32(const struct lg_gguf *gguf, struct lg_env *env, const char *key, uint32_t *out);
int lg_gguf_get_f32(const struct lg_gguf *gguf, struct lg_env *env, const char *key, float *out);
int lg_gguf_get_bool(const struct lg_gguf *gguf, struct lg_env *env, const char *key, bool *out);
int lg_gguf_get_str(const struct lg_gguf *gguf, struct lg_env *env, const char *key, struct lg_str *out);

/** Element i of a numeric value or array as a double or integer (no bounds check: i < kv->n, numeric type). */
double lg_gguf_number(const struct lg_gguf_kv *kv, uint64_t i);
int64_t lg_gguf_integer(const struct lg_gguf_kv *kv, uint64_t i);

/** "u32", "string", "array", ...; "?" when unknown. */
const char *lg_gguf_type_name(enum lg_gguf_type type);

/** Bytes that lg_gguf_quote() fills at most. */
#define LG_GGUF_QUOTE 128

/** A name that came from a file, as printable ASCII for messages: the rest is escaped, what is long is cut. */
const char *lg_gguf_quote(struct lg_str s, char out[LG_GGUF_QUOTE]);

static inline bool lg_str_eq(struct lg_str s, const char *z)
{
    return strlen(z) == s.len && memcmp(s.ptr, z, s.len) == 0;
}

#endif
