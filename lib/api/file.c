/* SPDX-License-Identifier: MIT */
#include "llmgpu/file.h"

#include <stdio.h>

#include "api/params.h"
#include "gguf/gguf.h"

struct llmgpu_file {
    struct lg_env env;
    struct lg_gguf *gguf;
};

static void tell(char *error, size_t error_size, const char *sentence)
{
    if (error && error_size)
        snprintf(error, error_size, "%s", sentence);
}

static int open_file(struct lg_env *env, const char *path, llmgpu_file **out)
{
    if (!path)
        return lg_fail(env, LLMGPU_E_INVALID, "no path is given");
    struct llmgpu_file *file = lg_alloc(env, sizeof(*file));
    if (!file)
        return lg_fail_nomem(env, "a file handle", sizeof(*file));
    lg_env_init(&file->env);
    *out = file;
    return lg_gguf_open(&file->env, path, &file->gguf);
}

int llmgpu_file_open(llmgpu_file **out, const char *path, char *error, size_t error_size)
{
    tell(error, error_size, "");
    if (!out) {
        tell(error, error_size, "no place for the handle is given");
        return LLMGPU_E_INVALID;
    }
    *out = NULL;
    struct lg_env env;
    lg_env_init(&env);
    int rc = open_file(&env, path, out);
    if (rc < 0) {
        tell(error, error_size, *out ? (*out)->env.error : env.error);
        llmgpu_file_close(*out);
        *out = NULL;
    }
    return rc;
}

void llmgpu_file_close(llmgpu_file *file)
{
    if (!file)
        return;
    lg_gguf_close(file->gguf);
    lg_free(&file->env, file);
}

int llmgpu_file_get_info(const llmgpu_file *file, llmgpu_file_info *out, size_t size)
{
    if (!file)
        return LLMGPU_E_INVALID;
    const struct lg_gguf *gguf = file->gguf;
    llmgpu_file_info found = {
        .version = gguf->version,
        .n_metadata = gguf->n_kv,
        .n_tensors = gguf->n_tensors,
        .file_bytes = gguf->file_size,
        .alignment = gguf->alignment,
    };
    // Neither sum overflows: tensors do not overlap and a byte of the file holds at most a few elements.
    for (uint64_t i = 0; i < gguf->n_tensors; i++) {
        const struct lg_gguf_tensor *t = &gguf->tensors[i];
        found.n_params += t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3];
        found.tensor_bytes += t->size;
    }
    return lg_api_info_out(out, size, &found, sizeof(found), LG_SIZE_TO(llmgpu_file_info, alignment));
}

int llmgpu_file_get_metadata(const llmgpu_file *file, uint64_t index, llmgpu_file_metadata *out, size_t size)
{
    if (!file || index >= file->gguf->n_kv)
        return LLMGPU_E_INVALID;
    const struct lg_gguf_kv *kv = &file->gguf->kv[index];
    llmgpu_file_metadata found = {
        .key = kv->key.ptr,
        .key_len = kv->key.len,
        .type = lg_gguf_type_name(kv->type),
        .item_type = kv->type == LG_GGUF_ARRAY ? lg_gguf_type_name(kv->array_type) : "",
        .n_items = kv->n,
    };
    return lg_api_info_out(out, size, &found, sizeof(found), LG_SIZE_TO(llmgpu_file_metadata, n_items));
}

int llmgpu_file_get_value(const llmgpu_file *file, uint64_t index, uint64_t item, llmgpu_file_value *out, size_t size)
{
    if (!file || index >= file->gguf->n_kv || item >= file->gguf->kv[index].n)
        return LLMGPU_E_INVALID;
    const struct lg_gguf_kv *kv = &file->gguf->kv[index];
    llmgpu_file_value found = {0};
    const enum lg_gguf_type type = kv->type == LG_GGUF_ARRAY ? kv->array_type : kv->type;
    bool beyond_i64 = type == LG_GGUF_U64 && kv->data[item * 8 + 7] >> 7;
    switch (type) {
    case LG_GGUF_STRING:
        found.kind = LLMGPU_VALUE_STRING;
        found.string = kv->strings[item].ptr;
        found.string_len = kv->strings[item].len;
        return lg_api_info_out(out, size, &found, sizeof(found), LG_SIZE_TO(llmgpu_file_value, string_len));
    case LG_GGUF_BOOL: found.kind = LLMGPU_VALUE_BOOL; break;
    case LG_GGUF_F32:
    case LG_GGUF_F64: found.kind = LLMGPU_VALUE_NUMBER; break;
    default: found.kind = beyond_i64 ? LLMGPU_VALUE_NUMBER : LLMGPU_VALUE_INTEGER;
    }
    found.integer = lg_gguf_integer(kv, item);
    found.number = lg_gguf_number(kv, item);
    return lg_api_info_out(out, size, &found, sizeof(found), LG_SIZE_TO(llmgpu_file_value, string_len));
}

int llmgpu_file_get_tensor(const llmgpu_file *file, uint64_t index, llmgpu_file_tensor *out, size_t size)
{
    if (!file || index >= file->gguf->n_tensors)
        return LLMGPU_E_INVALID;
    const struct lg_gguf_tensor *t = &file->gguf->tensors[index];
    llmgpu_file_tensor found = {
        .name = t->name.ptr,
        .name_len = t->name.len,
        .type = lg_type_info(t->type)->name,
        .n_dims = t->n_dims,
        .dims = {t->dims[0], t->dims[1], t->dims[2], t->dims[3]},
        .offset = t->offset,
        .size = t->size,
    };
    return lg_api_info_out(out, size, &found, sizeof(found), LG_SIZE_TO(llmgpu_file_tensor, size));
}
