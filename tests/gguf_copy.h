/* SPDX-License-Identifier: MIT
 *
 * Writing again what was read, into memory, and comparing the two.
 */
#ifndef LG_TESTS_GGUF_COPY_H
#define LG_TESTS_GGUF_COPY_H

#include "gguf/writer.h"
#include "test.h"

/** A file in memory; free() its data. */
struct copy {
    uint8_t *data;
    size_t size;
    uint64_t fail_at; // bytes from which on writing fails; 0: never
};

static inline int copy_append(void *user, const void *data, size_t size)
{
    struct copy *c = user;
    if (c->fail_at && c->size + size >= c->fail_at)
        return LLMGPU_E_IO;
    c->data = realloc(c->data, c->size + size + 1);
    REQUIRE(c->data);
    memcpy(c->data + c->size, data, size);
    c->size += size;
    return 0;
}

/** Gives a writer all metadata and tensors of a file, and their bytes in pieces. */
static inline int copy_all(struct lg_gguf_writer *w, const struct lg_gguf *gguf, struct copy *out, size_t piece)
{
    struct lg_gguf_sink sink = {copy_append, out};
    for (uint64_t i = 0; i < gguf->n_kv; i++)
        LG_TRY(lg_gguf_put(w, &gguf->kv[i]));
    for (uint64_t i = 0; i < gguf->n_tensors; i++)
        LG_TRY(lg_gguf_add_tensor(w, &gguf->tensors[i]));
    LG_TRY(lg_gguf_write_header(w, &sink));
    for (uint64_t i = 0; i < gguf->n_tensors; i++) {
        const struct lg_gguf_tensor *t = &gguf->tensors[i];
        for (uint64_t at = 0; at < t->size; at += piece)
            LG_TRY(lg_gguf_write_data(w, t->data + at, t->size - at < piece ? (size_t)(t->size - at) : piece));
    }
    return lg_gguf_write_end(w);
}

static inline int copy_gguf(struct lg_env *env, const struct lg_gguf *gguf, struct copy *out, size_t piece)
{
    struct lg_gguf_writer w;
    lg_gguf_writer_init(&w, env);
    int rc = copy_all(&w, gguf, out, piece);
    if (rc == 0)
        REQUIRE_INT(lg_gguf_file_size(&w), ==, out->size);
    lg_gguf_writer_finish(&w);
    return rc;
}

static inline bool copy_same_str(struct lg_str a, struct lg_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/** Requires that both files have the same metadata and tensors, to the bit. */
static inline void copy_compare(const struct lg_gguf *a, const struct lg_gguf *b)
{
    REQUIRE(a->n_kv == b->n_kv && a->n_tensors == b->n_tensors && a->alignment == b->alignment);
    for (uint64_t i = 0; i < a->n_kv; i++) {
        const struct lg_gguf_kv *x = &a->kv[i], *y = &b->kv[i];
        enum lg_gguf_type type = x->type == LG_GGUF_ARRAY ? x->array_type : x->type;
        REQUIRE(copy_same_str(x->key, y->key) && x->type == y->type && x->n == y->n);
        REQUIRE(x->type != LG_GGUF_ARRAY || x->array_type == y->array_type);
        for (uint64_t k = 0; k < x->n; k++) {
            if (type == LG_GGUF_STRING) {
                REQUIRE(copy_same_str(x->strings[k], y->strings[k]));
                continue;
            }
            double p = lg_gguf_number(x, k), q = lg_gguf_number(y, k);
            REQUIRE(lg_gguf_integer(x, k) == lg_gguf_integer(y, k));
            REQUIRE(memcmp(&p, &q, sizeof(p)) == 0);
        }
    }
    for (uint64_t i = 0; i < a->n_tensors; i++) {
        const struct lg_gguf_tensor *x = &a->tensors[i], *y = &b->tensors[i];
        REQUIRE(copy_same_str(x->name, y->name) && x->type == y->type && x->n_dims == y->n_dims && x->size == y->size);
        REQUIRE(memcmp(x->dims, y->dims, sizeof(x->dims)) == 0);
        REQUIRE_INT((y->offset - b->data_offset) % b->alignment, ==, 0);
        REQUIRE(memcmp(x->data, y->data, (size_t)x->size) == 0);
    }
}

#endif
