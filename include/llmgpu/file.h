/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Looking into a GGUF file without loading it: its metadata and its tensors.
 */
#ifndef LLMGPU_FILE_H
#define LLMGPU_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "llmgpu/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * An open GGUF file.
 *
 * @par Thread-safety: immutable once open
 */
typedef struct llmgpu_file llmgpu_file;

/**
 * Maps a file and reads its header. Files of architectures that cannot be run can be looked into.
 *
 * @param out        to be freed with llmgpu_file_close(); NULL on failure
 * @param path       file name
 * @param error      where the sentence of a failure goes; may be NULL
 * @param error_size bytes at `error`
 * @return 0, LLMGPU_E_IO, LLMGPU_E_FORMAT, LLMGPU_E_UNSUPPORTED, LLMGPU_E_NOMEM or LLMGPU_E_INVALID
 * @par Thread-safety: safe
 */
LLMGPU_API int llmgpu_file_open(llmgpu_file **out, const char *path, char *error, size_t error_size);

/**
 * Closes a file; what was read from it is gone with it.
 *
 * @param file NULL is allowed
 */
LLMGPU_API void llmgpu_file_close(llmgpu_file *file);

/** What the file says of itself. */
typedef struct llmgpu_file_info {
    uint32_t version;      /**< of the format: 2 or 3 */
    uint64_t n_metadata;   /**< key/value pairs */
    uint64_t n_tensors;    /**< tensors */
    uint64_t n_params;     /**< elements of all tensors */
    uint64_t tensor_bytes; /**< bytes of all tensors */
    uint64_t file_bytes;   /**< bytes of the file */
    uint64_t alignment;    /**< bytes */
} llmgpu_file_info;

/**
 * Reads what the file says of itself.
 *
 * @param file to read
 * @param out  to fill
 * @param size sizeof(llmgpu_file_info)
 * @return 0 or LLMGPU_E_INVALID
 */
LLMGPU_API int llmgpu_file_get_info(const llmgpu_file *file, llmgpu_file_info *out, size_t size);

/** A key/value pair. */
typedef struct llmgpu_file_metadata {
    const char *key;       /**< `key_len` bytes, no NUL; lives as long as the file is open */
    size_t key_len;        /**< bytes */
    const char *type;      /**< "u32", "string", "array", ... */
    const char *item_type; /**< of an array's items; "" otherwise */
    uint64_t n_items;      /**< of an array; 1 otherwise */
} llmgpu_file_metadata;

/**
 * A key/value pair, in the file's order.
 *
 * @param file  to read
 * @param index 0 .. n_metadata - 1
 * @param out   to fill
 * @param size  sizeof(llmgpu_file_metadata)
 * @return 0; LLMGPU_E_INVALID, also beyond the end
 */
LLMGPU_API int llmgpu_file_get_metadata(const llmgpu_file *file, uint64_t index, llmgpu_file_metadata *out,
                                        size_t size);

/** Kinds of values that llmgpu_file_get_value() gives. */
enum llmgpu_value_kind {
    LLMGPU_VALUE_INTEGER = 0,  /**< `integer`; for u64 beyond INT64_MAX `number` */
    LLMGPU_VALUE_NUMBER = 1,   /**< `number` */
    LLMGPU_VALUE_BOOL = 2,     /**< `integer`, 0 or 1 */
    LLMGPU_VALUE_STRING = 3,   /**< `string` */
};

/** One value. */
typedef struct llmgpu_file_value {
    int32_t kind;       /**< an llmgpu_value_kind */
    int64_t integer;    /**< 0 for other kinds, as below */
    double number;      /**< floating point numbers, and integers beyond int64_t */
    const char *string; /**< `string_len` bytes as the file has them, no NUL; not necessarily UTF-8; lives as long as the
                             file is open */
    size_t string_len;  /**< bytes */
} llmgpu_file_value;

/**
 * A value, or one of an array.
 *
 * @param file  to read
 * @param index 0 .. n_metadata - 1
 * @param item  0 .. n_items - 1
 * @param out   to fill
 * @param size  sizeof(llmgpu_file_value)
 * @return 0; LLMGPU_E_INVALID, also beyond the end
 */
LLMGPU_API int llmgpu_file_get_value(const llmgpu_file *file, uint64_t index, uint64_t item, llmgpu_file_value *out,
                                     size_t size);

/** A tensor. */
typedef struct llmgpu_file_tensor {
    const char *name;    /**< `name_len` bytes, no NUL; lives as long as the file is open */
    size_t name_len;     /**< bytes */
    const char *type;    /**< "Q4_K" */
    uint32_t n_dims;     /**< 1 .. 4 */
    uint64_t dims[4];    /**< elements, fastest first; 1 beyond n_dims */
    uint64_t offset;     /**< bytes from the start of the file */
    uint64_t size;       /**< bytes */
} llmgpu_file_tensor;

/**
 * A tensor, in the file's order.
 *
 * @param file  to read
 * @param index 0 .. n_tensors - 1
 * @param out   to fill
 * @param size  sizeof(llmgpu_file_tensor)
 * @return 0; LLMGPU_E_INVALID, also beyond the end
 */
LLMGPU_API int llmgpu_file_get_tensor(const llmgpu_file *file, uint64_t index, llmgpu_file_tensor *out, size_t size);

#ifdef __cplusplus
}
#endif

#endif
