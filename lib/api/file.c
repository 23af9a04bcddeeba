/* SPDX-License-Identifier: MIT */
#include "llmgpu/file.h"

#include <stdio.h>

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

int llmgpu_file_get_info(const llmgpu_file *file, llmgpu_file_info *out)
{
    if (!file || !out)
        return LLMGPU_E_INVALID;
    const struct lg_gguf *gguf = file->gguf;
    *out = (llmgpu_file_info){
        .version = gguf->version,
        .n_metadata = gguf->n_kv,
        .n_tensors = gguf->n_tensors,
        .file_bytes = gguf->file_size,
        .alignment = gguf->alignment,
    };
    // Neither sum overflows: tensors do not overlap and a byte of the file holds at most a few elements.
    for (uint64_t i = 0; i < gguf->n_tensors; i++) {
        const struct lg_gguf_tensor *t = &gguf->tensors[i];
        out->n_params += t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3];
        out->tensor_bytes += t->size;
    }
    return 0;
}

int llmgpu_file_get_metadata(const llmgpu_file *file, uint64_t index, llmgpu_file_metadata *out)
{
    if (!file || !out || index >= file->gguf->n_kv)
        return LLMGPU_E_INVALID;
    const struct lg_gguf_kv *kv = &file->gguf->kv[index];
    *out = (llmgpu_file_metadata){
        .key = kv->key.ptr,
        .key_len = kv->key.len,
        .type = lg_gguf_type_name(kv->type),
        .item_type = kv->type == LG_GGUF_ARRAY ? lg_gguf_type_name(kv->array_type) : "",
        .n_items = kv->n,
    };
    return 0;
}

int llmgpu_file_get_value(const llmgpu_file *file, uint64_t index, uint64_t item, llmgpu_file_value *out)
{
    if (!file || !out || index >= file->gguf->n_kv || item >= file->gguf->kv[index].n)
        return LLMGPU_E_INVALID;
    const struct lg_gguf_kv *kv = &file->gguf->kv[index];
    *out = (llmgpu_file_value){0};
    const enum lg_gguf_type type = kv->type == LG_GGUF_ARRAY ? kv->array_type : kv->type;
    bool beyond_i64 = type == LG_GGUF_U64 && kv->data[item * 8 + 7] >> 7;
    switch (type) {
    case LG_GGUF_STRING:
        out->kind = LLMGPU_VALUE_STRING;
        out->string = kv->strings[item].ptr;
        out->string_len = kv->strings[item].len;
        return 0;
    case LG_GGUF_BOOL: out->kind = LLMGPU_VALUE_BOOL; break;
    case LG_GGUF_F32:
    case LG_GGUF_F64: out->kind = LLMGPU_VALUE_NUMBER; break;
    default: out->kind = beyond_i64 ? LLMGPU_VALUE_NUMBER : LLMGPU_VALUE_INTEGER;
    }
    out->integer = lg_gguf_integer(kv, item);
    out->number = lg_gguf_number(kv, item);
    return 0;
}

int llmgpu_file_get_tensor(const llmgpu_file *file, uint64_t index, llmgpu_file_tensor *out)
{
    if (!file || !out || index >= file->gguf->n_tensors)
        return LLMGPU_E_INVALID;
    const struct lg_gguf_tensor *t = &file->gguf->tensors[index];
    *out = (llmgpu_file_tensor){
        .name = t->name.ptr,
        .name_len = t->name.len,
        .type = lg_type_info(t->type)->name,
        .n_dims = t->n_dims,
        .dims = {t->dims[0], t->dims[1], t->dims[2], t->dims[3]},
        .offset = t->offset,
        .size = t->size,
    };
    return 0;
}
