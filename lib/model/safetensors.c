/* SPDX-License-Identifier: MIT */
#include "model/safetensors.h"

#include "text/template.h"
#include "util/checked.h"

enum {
    LENGTH_BYTES = 8,
    MAX_HEADER = 16 << 20, // bytes; an adapter's has some hundred for each tensor
    ARENA_FACTOR = 64,     // bytes of values that a byte of JSON may become
    ARENA_LEAST = 1 << 20,
};

/** Where a file's bytes are. */
struct file {
    struct lg_env *env;
    const char *name;
    const uint8_t *header, *data;
    uint64_t header_size, data_size;
};

static uint64_t read_length(const uint8_t *p)
{
    uint64_t n = 0;
    for (int i = LENGTH_BYTES; i-- > 0;)
        n = n << 8 | p[i];
    return n;
}

bool lg_safetensors_is(const void *data, size_t size)
{
    const uint8_t *bytes = data;
    return size > LENGTH_BYTES && memcmp(bytes, "GGUF", 4) != 0 && bytes[LENGTH_BYTES] == '{';
}

/* ---- tensors */

static int fail_tensor(const struct file *f, int code, struct lg_str name, const char *what)
{
    char quoted[LG_GGUF_QUOTE];
    return lg_fail(f->env, code, "'%s': tensor '%s': %s", f->name, lg_gguf_quote(name, quoted), what);
}

static bool is_number(const struct lg_value *v, uint64_t *out)
{
    if (v->kind != LG_VALUE_INT || v->i < 0)
        return false;
    *out = (uint64_t)v->i;
    return true;
}

static int read_type(const struct file *f, const struct lg_value *about, struct lg_gguf_tensor *t)
{
    static const struct {
        const char *name;
        enum lg_type type;
    } types[] = {{"F32", LG_TYPE_F32}, {"F16", LG_TYPE_F16}, {"BF16", LG_TYPE_BF16}};
    const struct lg_value *v = lg_value_get(about, "dtype");
    if (!v || v->kind != LG_VALUE_STRING)
        return fail_tensor(f, LLMGPU_E_FORMAT, t->name, "its dtype is no text");
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (lg_str_eq((struct lg_str){v->s, v->n}, types[i].name)) {
            t->type = types[i].type;
            return 0;
        }
    }
    return fail_tensor(f, LLMGPU_E_UNSUPPORTED, t->name, "only F32, F16 and BF16 are supported");
}

/** The shape, and bytes of it. */
static int read_shape(const struct file *f, const struct lg_value *about, struct lg_gguf_tensor *t)
{
    const struct lg_value *v = lg_value_get(about, "shape");
    if (!v || v->kind != LG_VALUE_LIST)
        return fail_tensor(f, LLMGPU_E_FORMAT, t->name, "its shape is no list");
    uint32_t n = v->list->n;
    if (n > 4)
        return fail_tensor(f, LLMGPU_E_UNSUPPORTED, t->name, "it has more than 4 dimensions");
    t->n_dims = n ? n : 1;
    t->size = lg_type_info(t->type)->block_bytes;
    for (uint32_t i = 0; i < 4; i++) {
        t->dims[i] = 1;
        if (i < n && (!is_number(&v->list->items[n - 1 - i], &t->dims[i]) || t->dims[i] == 0))
            return fail_tensor(f, LLMGPU_E_FORMAT, t->name, "its shape is not of whole numbers above 0");
        if (!lg_mul_u64(t->size, t->dims[i], &t->size))
            return fail_tensor(f, LLMGPU_E_FORMAT, t->name, "its shape is too large");
    }
    return 0;
}

static int read_place(const struct file *f, const struct lg_value *about, struct lg_gguf_tensor *t)
{
    const struct lg_value *v = lg_value_get(about, "data_offsets");
    uint64_t begin, end;
    if (!v || v->kind != LG_VALUE_LIST || v->list->n != 2 || !is_number(&v->list->items[0], &begin) ||
        !is_number(&v->list->items[1], &end))
        return fail_tensor(f, LLMGPU_E_FORMAT, t->name, "its data_offsets are not two whole numbers");
    if (begin > end || end > f->data_size)
        return fail_tensor(f, LLMGPU_E_FORMAT, t->name, "its data_offsets are not inside the file");
    if (end - begin != t->size)
        return fail_tensor(f, LLMGPU_E_FORMAT, t->name, "its data_offsets do not fit its shape");
    t->offset = LENGTH_BYTES + f->header_size + begin;
    t->data = f->data + begin;
    return 0;
}

static int read_tensor(const struct file *f, const struct lg_value *name, const struct lg_value *about,
                       struct lg_gguf_tensor *t)
{
    *t = (struct lg_gguf_tensor){.name = {name->s, name->n}};
    if (about->kind != LG_VALUE_DICT)
        return fail_tensor(f, LLMGPU_E_FORMAT, t->name, "it is no object");
    LG_TRY(read_type(f, about, t));
    LG_TRY(read_shape(f, about, t));
    return read_place(f, about, t);
}

/* ---- the file */

static int find_parts(struct file *f, const uint8_t *bytes, size_t size)
{
    uint64_t n = size >= LENGTH_BYTES ? read_length(bytes) : UINT64_MAX;
    if (size < LENGTH_BYTES || n > size - LENGTH_BYTES)
        return lg_fail(f->env, LLMGPU_E_FORMAT, "'%s' ends in its header", f->name);
    if (n > MAX_HEADER)
        return lg_fail(f->env, LLMGPU_E_UNSUPPORTED, "'%s' has a header of %llu bytes; at most %d are supported",
                       f->name, (unsigned long long)n, MAX_HEADER);
    f->header = bytes + LENGTH_BYTES;
    f->header_size = n;
    f->data = f->header + n;
    f->data_size = size - LENGTH_BYTES - n;
    return 0;
}

static int read_header(struct lg_safetensors *st, const struct file *f)
{
    struct lg_value header;
    lg_arena_init(&st->arena, f->env, (size_t)f->header_size * ARENA_FACTOR + ARENA_LEAST);
    LG_TRY(lg_json_parse(f->env, &st->arena, (const char *)f->header, (size_t)f->header_size, &header));
    if (header.kind != LG_VALUE_DICT)
        return lg_fail(f->env, LLMGPU_E_FORMAT, "'%s': the header is no object", f->name);
    const struct lg_dict *dict = header.dict;
    st->tensors = lg_alloc_array(f->env, dict->n + 1ull, sizeof(*st->tensors));
    if (!st->tensors)
        return lg_fail_nomem(f->env, "the list of tensors", (dict->n + 1ull) * sizeof(*st->tensors));
    for (uint32_t i = 0; i < dict->n; i++) {
        const struct lg_value *name = &dict->pairs[2 * i];
        if (lg_str_eq((struct lg_str){name->s, name->n}, "__metadata__"))
            continue;
        LG_TRY(read_tensor(f, name, name + 1, &st->tensors[st->n_tensors]));
        st->n_tensors++;
    }
    return 0;
}

/** Takes the map over, also when it fails. */
static int read_bytes(struct lg_env *env, const char *name, struct lg_filemap *map, const void *data, size_t size,
                      struct lg_safetensors **out)
{
    struct file f = {.env = env, .name = name};
    struct lg_safetensors *st = lg_alloc(env, sizeof(*st));
    if (!st) {
        lg_filemap_close(map);
        return lg_fail_nomem(env, "a safetensors file", sizeof(*st));
    }
    *st = (struct lg_safetensors){.env = env, .map = *map};
    int rc = find_parts(&f, data, size);
    if (rc == 0)
        rc = read_header(st, &f);
    if (rc < 0) {
        lg_safetensors_close(st);
        return rc;
    }
    *out = st;
    return 0;
}

int lg_safetensors_open(struct lg_env *env, const char *path, struct lg_safetensors **out)
{
    struct lg_filemap map;
    *out = NULL;
    LG_TRY(lg_filemap_open(env, path, &map));
    return read_bytes(env, path, &map, map.data, map.size, out);
}

int lg_safetensors_parse(struct lg_env *env, const char *name, const void *data, size_t size,
                         struct lg_safetensors **out)
{
    struct lg_filemap none = {0};
    *out = NULL;
    return read_bytes(env, name, &none, data, size, out);
}

void lg_safetensors_close(struct lg_safetensors *st)
{
    if (!st)
        return;
    lg_free(st->env, st->tensors);
    lg_arena_finish(&st->arena);
    lg_filemap_close(&st->map);
    lg_free(st->env, st);
}

const struct lg_gguf_tensor *lg_safetensors_find(const struct lg_safetensors *st, struct lg_str name)
{
    for (uint32_t i = 0; i < st->n_tensors; i++) {
        const struct lg_gguf_tensor *t = &st->tensors[i];
        if (t->name.len == name.len && memcmp(t->name.ptr, name.ptr, name.len) == 0)
            return t;
    }
    return NULL;
}
