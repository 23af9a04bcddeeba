/* SPDX-License-Identifier: MIT
 *
 * Writing GGUF files, version 3; gguf.h has the layout. Metadata and the list of tensors come first and are kept in
 * memory; then the header goes out, and after it the tensors' bytes, in the order of the list and in pieces of any size,
 * so that no tensor has to be in memory as a whole.
 *
 *     lg_gguf_writer_init(&w, env);
 *     lg_gguf_put_str(&w, "general.architecture", "llama");    // and other metadata
 *     lg_gguf_add_tensor(&w, &tensor);                         // and others
 *     lg_gguf_write_header(&w, &sink);
 *     lg_gguf_write_data(&w, bytes, n);                        // until all bytes of all tensors were given
 *     lg_gguf_write_end(&w);
 *     lg_gguf_writer_finish(&w);
 *
 * Each of them that can fail does with LLMGPU_E_NOMEM, LLMGPU_E_INVALID, or whatever the sink says.
 */
#ifndef LG_GGUF_WRITER_H
#define LG_GGUF_WRITER_H

#include "gguf/gguf.h"
#include "util/newfile.h"

/** Where a file goes: appends bytes; 0, or a negative code with a sentence in the writer's env. */
struct lg_gguf_sink {
    int (*write)(void *user, const void *data, size_t size);
    void *user;
};

/** Bytes that grow. */
struct lg_gguf_bytes {
    uint8_t *data;
    size_t size, room;
};

struct lg_gguf_writer {
    struct lg_env *env;
    struct lg_gguf_sink sink;
    struct lg_gguf_bytes metadata, tensors, sizes; // as the file has them; u64 bytes of each tensor
    uint64_t n_kv, n_tensors;
    uint64_t alignment;  // bytes: 32, or what "general.alignment" was
    uint64_t data_size;  // bytes of the tensors so far, with padding
    uint64_t next, left; // tensor whose bytes come next, and how many of them are missing
};

void lg_gguf_writer_init(struct lg_gguf_writer *w, struct lg_env *env);
/** Lets go of its memory. */
void lg_gguf_writer_finish(struct lg_gguf_writer *w);
/** A sink that appends to a file. */
struct lg_gguf_sink lg_gguf_sink_to(struct lg_newfile *file);

/** Adds metadata as a reader gave it. Each key may come once. */
int lg_gguf_put(struct lg_gguf_writer *w, const struct lg_gguf_kv *kv);
int lg_gguf_put_u32(struct lg_gguf_writer *w, const char *key, uint32_t value);
int lg_gguf_put_f32(struct lg_gguf_writer *w, const char *key, float value);
int lg_gguf_put_str(struct lg_gguf_writer *w, const char *key, const char *value);

/**
 * Adds a tensor, with its name, dims and type; its size is computed. After "general.alignment", where there is one. Each
 * name may come once. LLMGPU_E_INVALID also for a shape that the type cannot have.
 */
int lg_gguf_add_tensor(struct lg_gguf_writer *w, const struct lg_gguf_tensor *t);
/** Bytes that a tensor of these dims takes in a type; false when it cannot have them. */
bool lg_gguf_tensor_size(const uint64_t dims[4], uint32_t type, uint64_t *out);

/** Bytes of the whole file. */
uint64_t lg_gguf_file_size(const struct lg_gguf_writer *w);
/** Begins the file. `sink` is copied. */
int lg_gguf_write_header(struct lg_gguf_writer *w, const struct lg_gguf_sink *sink);
/** Appends bytes of tensors, and the padding behind each. */
int lg_gguf_write_data(struct lg_gguf_writer *w, const void *data, size_t size);
/** Holds that all bytes were given. */
int lg_gguf_write_end(struct lg_gguf_writer *w);

#endif
