/* SPDX-License-Identifier: MIT
 *
 * Reading safetensors files:
 *
 *     u64 length of the header | header | tensor data
 *
 * The header is a JSON object: for each tensor its name with {"dtype", "shape" (slowest first), "data_offsets": [begin, end]},
 * counted from where the data begins; "__metadata__" is not read. Only tensors of float32, float16 and bfloat16 are known.
 *
 * The file is not trusted: sizes are computed with checked arithmetic and held against the file's end, and what is allocated
 * is bounded by a multiple of the header's size.
 *
 * Thread-safety: immutable once open.
 */
#ifndef LG_MODEL_SAFETENSORS_H
#define LG_MODEL_SAFETENSORS_H

#include "gguf/gguf.h"
#include "util/arena.h"
#include "util/filemap.h"

struct lg_safetensors {
    struct lg_env *env;
    struct lg_filemap map; // of the file, when it was opened by name
    struct lg_arena arena; // of the header
    struct lg_gguf_tensor *tensors;
    uint32_t n_tensors; // names unique
};

/** Whether bytes begin as such a file does, and not as a GGUF file. */
bool lg_safetensors_is(const void *data, size_t size);
/** Maps and reads a file. LLMGPU_E_IO, _FORMAT, _UNSUPPORTED (a type) or _NOMEM. `env` must outlive the result. */
int lg_safetensors_open(struct lg_env *env, const char *path, struct lg_safetensors **out);
/** The same for bytes in memory, which must stay valid; `name` is used in messages. */
int lg_safetensors_parse(struct lg_env *env, const char *name, const void *data, size_t size,
                         struct lg_safetensors **out);
/** NULL is allowed. */
void lg_safetensors_close(struct lg_safetensors *st);

/** NULL when there is none of that name. */
const struct lg_gguf_tensor *lg_safetensors_find(const struct lg_safetensors *st, struct lg_str name);

#endif
