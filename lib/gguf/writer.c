/* SPDX-License-Identifier: MIT */
#include "gguf/writer.h"

#include "gguf/internal.h"
#include "util/checked.h"

enum {
    DEFAULT_ALIGNMENT = 32,
    HEADER_BYTES = 4 + 4 + 8 + 8, // before the metadata
    FIRST_ROOM = 4096,
    ZEROS = 4096,
};

static const uint8_t zeros[ZEROS];

void lg_gguf_writer_init(struct lg_gguf_writer *w, struct lg_env *env)
{
    *w = (struct lg_gguf_writer){.env = env, .alignment = DEFAULT_ALIGNMENT};
}

void lg_gguf_writer_finish(struct lg_gguf_writer *w)
{
    lg_free(w->env, w->metadata.data);
    lg_free(w->env, w->tensors.data);
    lg_free(w->env, w->sizes.data);
    lg_gguf_writer_init(w, w->env);
}

static int append_to_file(void *user, const void *data, size_t size)
{
    return lg_newfile_write(user, data, size);
}

struct lg_gguf_sink lg_gguf_sink_to(struct lg_newfile *file)
{
    return (struct lg_gguf_sink){append_to_file, file};
}

/* ---- bytes */

static int add_bytes(struct lg_env *env, struct lg_gguf_bytes *b, const void *data, size_t n)
{
    size_t size, room = b->room ? b->room : FIRST_ROOM;
    if (!lg_add_size(b->size, n, &size) || size > SIZE_MAX / 2)
        return lg_fail_nomem(env, "the header of a GGUF file", UINT64_MAX);
    while (room < size)
        room *= 2;
    if (room != b->room) {
        uint8_t *grown = lg_resize(env, b->data, room);
        if (!grown)
            return lg_fail_nomem(env, "the header of a GGUF file", room);
        b->data = grown;
        b->room = room;
    }
    if (n)
        memcpy(b->data + b->size, data, n);
    b->size = size;
    return 0;
}

static int add_uint(struct lg_env *env, struct lg_gguf_bytes *b, uint64_t value, size_t n)
{
    uint8_t le[8];
    for (size_t i = 0; i < n; i++)
        le[i] = (uint8_t)(value >> 8 * i);
    return add_bytes(env, b, le, n);
}

static int add_str(struct lg_env *env, struct lg_gguf_bytes *b, struct lg_str s)
{
    LG_TRY(add_uint(env, b, s.len, 8));
    return add_bytes(env, b, s.ptr, s.len);
}

/* ---- metadata */

static int add_values(struct lg_gguf_writer *w, const struct lg_gguf_kv *kv, enum lg_gguf_type type)
{
    if (type != LG_GGUF_STRING)
        return add_bytes(w->env, &w->metadata, kv->data, (size_t)kv->n * lg_gguf_type_size(type));
    for (uint64_t i = 0; i < kv->n; i++) {
        LG_TRY(lg_poll_at(w->env, i));
        LG_TRY(add_str(w->env, &w->metadata, kv->strings[i]));
    }
    return 0;
}

int lg_gguf_put(struct lg_gguf_writer *w, const struct lg_gguf_kv *kv)
{
    enum lg_gguf_type type = kv->type == LG_GGUF_ARRAY ? kv->array_type : kv->type;
    if (lg_str_eq(kv->key, "general.alignment"))
        w->alignment = (uint64_t)lg_gguf_integer(kv, 0);
    LG_TRY(add_str(w->env, &w->metadata, kv->key));
    LG_TRY(add_uint(w->env, &w->metadata, kv->type, 4));
    if (kv->type == LG_GGUF_ARRAY) {
        LG_TRY(add_uint(w->env, &w->metadata, type, 4));
        LG_TRY(add_uint(w->env, &w->metadata, kv->n, 8));
    }
    LG_TRY(add_values(w, kv, type));
    w->n_kv++;
    return 0;
}

static int put_word(struct lg_gguf_writer *w, const char *key, enum lg_gguf_type type, uint32_t bits)
{
    uint8_t le[4] = {bits & 255, bits >> 8 & 255, bits >> 16 & 255, bits >> 24};
    struct lg_gguf_kv kv = {.key = {key, strlen(key)}, .type = type, .n = 1, .data = le};
    return lg_gguf_put(w, &kv);
}

int lg_gguf_put_u32(struct lg_gguf_writer *w, const char *key, uint32_t value)
{
    return put_word(w, key, LG_GGUF_U32, value);
}

int lg_gguf_put_f32(struct lg_gguf_writer *w, const char *key, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return put_word(w, key, LG_GGUF_F32, bits);
}

int lg_gguf_put_str(struct lg_gguf_writer *w, const char *key, const char *value)
{
    struct lg_str s = {value, strlen(value)};
    struct lg_gguf_kv kv = {.key = {key, strlen(key)}, .type = LG_GGUF_STRING, .n = 1, .strings = &s};
    return lg_gguf_put(w, &kv);
}

/* ---- tensors */

bool lg_gguf_tensor_size(const uint64_t dims[4], uint32_t type, uint64_t *out)
{
    const struct lg_type_info *info = lg_type_info(type);
    if (!info || dims[0] == 0 || dims[0] % info->block_elements)
        return false;
    uint64_t size = dims[0] / info->block_elements;
    for (int d = 1; d < 4; d++)
        if (dims[d] == 0 || !lg_mul_u64(size, dims[d], &size))
            return false;
    return lg_mul_u64(size, info->block_bytes, out);
}

int lg_gguf_add_tensor(struct lg_gguf_writer *w, const struct lg_gguf_tensor *t)
{
    uint64_t size, end;
    char name[LG_GGUF_QUOTE];
    if (t->n_dims < 1 || t->n_dims > 4 || !lg_gguf_tensor_size(t->dims, t->type, &size) ||
        !lg_add_u64(w->data_size, size, &end) || !lg_align_u64(end, w->alignment, &end))
        return lg_fail(w->env, LLMGPU_E_INVALID, "tensor '%s': its type cannot have its shape",
                       lg_gguf_quote(t->name, name));
    LG_TRY(add_str(w->env, &w->tensors, t->name));
    LG_TRY(add_uint(w->env, &w->tensors, t->n_dims, 4));
    for (uint32_t d = 0; d < t->n_dims; d++)
        LG_TRY(add_uint(w->env, &w->tensors, t->dims[d], 8));
    LG_TRY(add_uint(w->env, &w->tensors, t->type, 4));
    LG_TRY(add_uint(w->env, &w->tensors, w->data_size, 8));
    LG_TRY(add_bytes(w->env, &w->sizes, &size, sizeof(size)));
    w->data_size = end;
    w->n_tensors++;
    return 0;
}

/* ---- the file */

static uint64_t padding(const struct lg_gguf_writer *w, uint64_t size)
{
    return (w->alignment - size % w->alignment) % w->alignment;
}

static int write_zeros(struct lg_gguf_writer *w, uint64_t n)
{
    for (size_t piece; n > 0; n -= piece) {
        piece = n < ZEROS ? (size_t)n : ZEROS;
        LG_TRY(w->sink.write(w->sink.user, zeros, piece));
    }
    return 0;
}

uint64_t lg_gguf_file_size(const struct lg_gguf_writer *w)
{
    uint64_t header = HEADER_BYTES + (uint64_t)w->metadata.size + w->tensors.size;
    return header + padding(w, header) + w->data_size;
}

static uint64_t size_of(const struct lg_gguf_writer *w, uint64_t tensor)
{
    uint64_t size = 0;
    if (tensor < w->n_tensors)
        memcpy(&size, w->sizes.data + tensor * sizeof(size), sizeof(size));
    return size;
}

int lg_gguf_write_header(struct lg_gguf_writer *w, const struct lg_gguf_sink *sink)
{
    struct lg_gguf_bytes start = {0};
    w->sink = *sink;
    w->next = 0;
    w->left = size_of(w, 0);
    int rc = add_bytes(w->env, &start, "GGUF", 4);
    if (rc == 0)
        rc = add_uint(w->env, &start, 3, 4);
    if (rc == 0)
        rc = add_uint(w->env, &start, w->n_tensors, 8);
    if (rc == 0)
        rc = add_uint(w->env, &start, w->n_kv, 8);
    if (rc == 0)
        rc = sink->write(sink->user, start.data, start.size);
    if (rc == 0 && w->metadata.size)
        rc = sink->write(sink->user, w->metadata.data, w->metadata.size);
    if (rc == 0 && w->tensors.size)
        rc = sink->write(sink->user, w->tensors.data, w->tensors.size);
    lg_free(w->env, start.data);
    LG_TRY(rc);
    return write_zeros(w, padding(w, HEADER_BYTES + (uint64_t)w->metadata.size + w->tensors.size));
}

int lg_gguf_write_data(struct lg_gguf_writer *w, const void *data, size_t size)
{
    for (const uint8_t *at = data; size > 0;) {
        if (w->next == w->n_tensors)
            return lg_fail(w->env, LLMGPU_E_INVALID, "%zu bytes more than the tensors have", size);
        size_t n = size < w->left ? size : (size_t)w->left;
        LG_TRY(w->sink.write(w->sink.user, at, n));
        at += n;
        size -= n;
        w->left -= n;
        if (w->left)
            continue;
        LG_TRY(write_zeros(w, padding(w, size_of(w, w->next))));
        w->left = size_of(w, ++w->next);
    }
    return 0;
}

int lg_gguf_write_end(struct lg_gguf_writer *w)
{
    if (w->next == w->n_tensors)
        return 0;
    return lg_fail(w->env, LLMGPU_E_INVALID, "tensor %llu of %llu misses %llu bytes",
                   (unsigned long long)w->next + 1, (unsigned long long)w->n_tensors, (unsigned long long)w->left);
}
