/* SPDX-License-Identifier: MIT
 * What the files of the GGUF reader share. */
#ifndef LG_GGUF_INTERNAL_H
#define LG_GGUF_INTERNAL_H

#include "gguf/gguf.h"
#include "util/readahead.h"

/** Most keys or tensors of a file; slots number them in 32 bits. */
#define LG_GGUF_MAX_ENTRIES (UINT32_C(1) << 30)

/** A table of names by hash, with open addressing. Zeroed: empty. */
struct lg_gguf_index {
    const void *entries; // not owned; each begins with its name, a struct lg_str
    size_t stride;       // bytes from one entry to the next
    uint32_t *slots;     // entry + 1, 0 when free; at most half are taken
    uint64_t mask;       // number of slots - 1
    uint64_t seed;       // random, so that a file cannot be made of names that collide
};

/** Bytes of the name in messages, with a NUL. */
#define LG_GGUF_LABEL 161

/** What hides behind lg_gguf::priv. */
struct lg_gguf_priv {
    struct lg_filemap map; // zeroed for bytes in memory
    struct lg_readahead ahead; // of it
    struct lg_gguf_io io;  // zeroed unless callbacks read the file
    uint8_t *window;       // the beginning of a file that callbacks read
    uint64_t window_size;  // bytes
    struct lg_gguf_index keys, names;
    char label[LG_GGUF_LABEL]; // the file in messages
};

/**
 * Builds the table.
 *
 * @param twin set to the first entry whose name an earlier one has, `n` when there is none
 * @return 0 or LLMGPU_E_NOMEM
 */
int lg_gguf_index_build(struct lg_gguf_index *index, struct lg_env *env, const void *entries, size_t stride,
                        uint64_t n, uint64_t *twin);
void lg_gguf_index_finish(struct lg_gguf_index *index, struct lg_env *env);
const void *lg_gguf_index_find(const struct lg_gguf_index *index, const char *name, size_t len);

/**
 * Reads the header from the first `size` bytes of the file into a gguf without entries; what was read before a failure
 * is released by lg_gguf_clear().
 *
 * @param wanted set to 0; or, on failure, to how many bytes the header has at least, when that is more than `size`
 */
int lg_gguf_read(struct lg_gguf *gguf, const uint8_t *bytes, uint64_t size, uint64_t *wanted);
/** Releases the entries and their indices. */
void lg_gguf_clear(struct lg_gguf *gguf);

/** Bytes of a value of a fixed-size type; 0 for strings, arrays and unknown types. */
size_t lg_gguf_type_size(uint32_t type);

#endif
