/* SPDX-License-Identifier: MIT
 * The walk over a file's header. */
#include <stdio.h>
#include <stdlib.h>

#include "gguf/internal.h"
#include "util/checked.h"

#define DEFAULT_ALIGNMENT 32
#define MIN_ALIGNMENT 8
#define MAX_ALIGNMENT (UINT64_C(1) << 20)
#define MAX_NAME 65535 // bytes of a key (the format's limit) or a tensor's name

// The least that an entry takes in a file, with a name of one byte.
#define MIN_KV_BYTES (8 + 1 + 4 + 1)
#define MIN_TENSOR_BYTES (8 + 1 + 4 + 8 + 4 + 8)

struct reader {
    struct lg_gguf *gguf;
    const uint8_t *bytes; // the beginning of the file
    uint64_t n_bytes;     // of it
    uint64_t wanted;      // bytes of it that are needed to go on; 0: enough are there
    uint64_t pos;         // bytes from the start of the file, never beyond n_bytes
    const char *kind;     // what is being read: "key", "tensor", NULL for the header
    struct lg_str name;   // of the entry being read; .ptr is NULL while it is not known
    uint64_t index, n;    // the entry's number, from 0, of how many
};

const char *lg_gguf_quote(struct lg_str s, char out[LG_GGUF_QUOTE])
{
    size_t used = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (used + sizeof("\\xff...") > LG_GGUF_QUOTE) {
            memcpy(out + used, "...", 3);
            used += 3;
            break;
        }
        unsigned char c = (unsigned char)s.ptr[i];
        if (c >= 0x20 && c < 0x7f && c != '\'' && c != '\\')
            out[used++] = (char)c;
        else
            used += (size_t)snprintf(out + used, LG_GGUF_QUOTE - used, "\\x%02x", c);
    }
    out[used] = '\0';
    return out;
}

/** Fails with a sentence that begins with the file and the entry being read. */
static int __attribute__((format(printf, 3, 4))) fail(const struct reader *r, int code, const char *fmt, ...)
{
    char what[384], name[LG_GGUF_QUOTE], where[LG_GGUF_QUOTE + 32] = "";
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof(what), fmt, args);
    va_end(args);
    if (r->kind && r->name.ptr)
        snprintf(where, sizeof(where), "%s '%s': ", r->kind, lg_gguf_quote(r->name, name));
    else if (r->kind)
        snprintf(where, sizeof(where), "%s %llu of %llu: ", r->kind, (unsigned long long)r->index + 1,
                 (unsigned long long)r->n);
    const struct lg_gguf_priv *priv = r->gguf->priv;
    return lg_fail(r->gguf->env, code, "%s: %s%s", priv->label, where, what);
}

/** Holds a size against the end of the file. */
static int need(const struct reader *r, uint64_t size, const char *what)
{
    if (size <= r->gguf->file_size - r->pos)
        return 0;
    return fail(r, LLMGPU_E_FORMAT, "%s needs %llu bytes at offset %llu, but the file ends at %llu", what,
                (unsigned long long)size, (unsigned long long)r->pos, (unsigned long long)r->gguf->file_size);
}

/** The same for `n` pieces of at least `size` bytes each. */
static int need_array(const struct reader *r, uint64_t n, uint64_t size, const char *what)
{
    uint64_t total;
    if (lg_mul_u64(n, size, &total))
        return need(r, total, what);
    return fail(r, LLMGPU_E_FORMAT, "%s has %llu elements at offset %llu, but the file ends at %llu", what,
                (unsigned long long)n, (unsigned long long)r->pos, (unsigned long long)r->gguf->file_size);
}

/** Looks at bytes that are inside the file. */
static int peek(struct reader *r, uint64_t size, const uint8_t **out)
{
    if (size > r->n_bytes - r->pos) {
        r->wanted = r->pos + size;
        return LLMGPU_E_INTERNAL; // which nobody sees: all is read again from more bytes
    }
    *out = r->bytes + r->pos;
    return 0;
}

static int take(struct reader *r, uint64_t size, const char *what, const uint8_t **out)
{
    LG_TRY(need(r, size, what));
    LG_TRY(peek(r, size, out));
    r->pos += size;
    return 0;
}

static int read_u32(struct reader *r, const char *what, uint32_t *out)
{
    const uint8_t *p;
    LG_TRY(take(r, 4, what, &p));
    *out = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    return 0;
}

static int read_u64(struct reader *r, const char *what, uint64_t *out)
{
    uint32_t low, high;
    LG_TRY(need(r, 8, what));
    LG_TRY(read_u32(r, what, &low));
    LG_TRY(read_u32(r, what, &high));
    *out = low | (uint64_t)high << 32;
    return 0;
}

static int read_str(struct reader *r, const char *what, struct lg_str *out)
{
    uint64_t len;
    const uint8_t *p;
    LG_TRY(read_u64(r, what, &len));
    LG_TRY(take(r, len, what, &p));
    *out = (struct lg_str){(const char *)p, (size_t)len};
    return 0;
}

/** Reads the name that an entry begins with. */
static int read_name(struct reader *r, struct lg_str *out)
{
    LG_TRY(read_str(r, "its name", out));
    if (out->len == 0)
        return fail(r, LLMGPU_E_FORMAT, "its name is empty");
    if (out->len > MAX_NAME)
        return fail(r, LLMGPU_E_FORMAT, "its name has %llu bytes, more than %d", (unsigned long long)out->len,
                    MAX_NAME);
    r->name = *out;
    return 0;
}

static int read_strings(struct reader *r, struct lg_gguf_kv *kv)
{
    struct lg_env *env = r->gguf->env;
    LG_TRY(need_array(r, kv->n, 8, "its value"));
    // Walked twice, so that memory is asked for only when the strings are really there.
    const uint64_t start = r->pos;
    struct lg_str s;
    for (uint64_t i = 0; i < kv->n; i++) {
        LG_TRY(lg_poll_at(env, i));
        LG_TRY(read_str(r, "its value", &s));
    }
    struct lg_str *strings = lg_alloc_array(env, (size_t)kv->n, sizeof(*strings));
    if (!strings)
        return lg_fail_nomem(env, "the strings of a GGUF file", kv->n * sizeof(*strings));
    kv->strings = strings;
    r->pos = start;
    for (uint64_t i = 0; i < kv->n; i++) {
        LG_TRY(lg_poll_at(env, i));
        LG_TRY(read_str(r, "its value", &strings[i]));
    }
    kv->data = kv->type == LG_GGUF_STRING ? (const uint8_t *)strings[0].ptr : r->bytes + start;
    return 0;
}

static int read_value(struct reader *r, struct lg_gguf_kv *kv, uint32_t type)
{
    if (type == LG_GGUF_ARRAY)
        return fail(r, LLMGPU_E_FORMAT, "its items are arrays");
    if (type == LG_GGUF_STRING)
        return read_strings(r, kv);
    size_t size = lg_gguf_type_size(type);
    if (size == 0)
        return fail(r, LLMGPU_E_FORMAT, "value type %u is unknown", type);
    LG_TRY(need_array(r, kv->n, size, "its value"));
    LG_TRY(take(r, kv->n * size, "its value", &kv->data));
    for (uint64_t i = 0; type == LG_GGUF_BOOL && i < kv->n; i++)
        if (kv->data[i] > 1)
            return fail(r, LLMGPU_E_FORMAT, "a bool is %u, neither 0 nor 1", kv->data[i]);
    return 0;
}

static int read_kv(struct reader *r, struct lg_gguf_kv *kv)
{
    uint32_t type;
    LG_TRY(read_name(r, &kv->key));
    LG_TRY(read_u32(r, "its type", &type));
    kv->type = type;
    kv->n = 1;
    if (type == LG_GGUF_ARRAY) {
        LG_TRY(read_u32(r, "its type", &type));
        kv->array_type = type;
        LG_TRY(read_u64(r, "its length", &kv->n));
    }
    return read_value(r, kv, type);
}

/** Bytes of a tensor, from its type and dimensions. */
static int measure_tensor(const struct reader *r, struct lg_gguf_tensor *t, uint32_t type)
{
    const struct lg_type_info *info = lg_type_info(type);
    if (!info)
        return fail(r, LLMGPU_E_UNSUPPORTED, "tensor type %u is unknown", type);
    t->type = type;
    uint64_t n = 1;
    for (uint32_t d = 0; d < t->n_dims; d++)
        if (!lg_mul_u64(n, t->dims[d], &n) || n > INT64_MAX)
            return fail(r, LLMGPU_E_FORMAT, "its number of elements overflows");
    if (t->dims[0] % info->block_elements)
        return fail(r, LLMGPU_E_FORMAT, "rows of %llu elements are not a multiple of the %u in a %s block",
                    (unsigned long long)t->dims[0], info->block_elements, info->name);
    if (!lg_mul_u64(n / info->block_elements, info->block_bytes, &t->size))
        return fail(r, LLMGPU_E_FORMAT, "its number of bytes overflows");
    return 0;
}

static int read_tensor(struct reader *r, struct lg_gguf_tensor *t)
{
    uint32_t type;
    LG_TRY(read_name(r, &t->name));
    LG_TRY(read_u32(r, "its number of dimensions", &t->n_dims));
    if (t->n_dims < 1 || t->n_dims > 4)
        return fail(r, LLMGPU_E_FORMAT, "%u dimensions are not 1 to 4", t->n_dims);
    for (uint32_t d = 0; d < 4; d++) {
        t->dims[d] = 1;
        if (d < t->n_dims)
            LG_TRY(read_u64(r, "its dimensions", &t->dims[d]));
        if (t->dims[d] == 0)
            return fail(r, LLMGPU_E_FORMAT, "dimension %u is 0", d);
    }
    LG_TRY(read_u32(r, "its type", &type));
    LG_TRY(read_u64(r, "its offset", &t->offset));
    return measure_tensor(r, t, type);
}

/**
 * The array with room for element n, zeroed, or NULL. Arrays double, so that memory follows what was read
 * rather than the count that the file claims.
 */
static void *grow(const struct reader *r, void *array, uint64_t n, size_t size)
{
    const uint64_t first = 16;
    if (n == 0 || (n >= first && (n & (n - 1)) == 0)) {
        uint64_t capacity = n ? n * 2 : first;
        array = lg_resize(r->gguf->env, array, (size_t)capacity * size);
        if (!array) {
            lg_fail_nomem(r->gguf->env, "the entries of a GGUF file", capacity * size);
            return NULL;
        }
    }
    memset((char *)array + n * size, 0, size);
    return array;
}

static void begin(struct reader *r, const char *kind, uint64_t index, uint64_t n)
{
    r->kind = kind;
    r->index = index;
    r->n = n;
    r->name = (struct lg_str){0};
}

static int read_metadata(struct reader *r, uint64_t n)
{
    struct lg_gguf *gguf = r->gguf;
    struct lg_gguf_priv *priv = gguf->priv;
    for (uint64_t i = 0; i < n; i++) {
        begin(r, "key", i, n);
        LG_TRY(lg_poll_at(gguf->env, i));
        struct lg_gguf_kv *kv = grow(r, gguf->kv, i, sizeof(*kv));
        if (!kv)
            return LLMGPU_E_NOMEM;
        gguf->kv = kv;
        gguf->n_kv = i + 1;
        LG_TRY(read_kv(r, &gguf->kv[i]));
    }
    uint64_t twin;
    LG_TRY(lg_gguf_index_build(&priv->keys, gguf->env, gguf->kv, sizeof(gguf->kv[0]), n, &twin));
    if (twin == n)
        return 0;
    r->name = gguf->kv[twin].key;
    return fail(r, LLMGPU_E_FORMAT, "is there twice");
}

static int read_tensors(struct reader *r, uint64_t n)
{
    struct lg_gguf *gguf = r->gguf;
    struct lg_gguf_priv *priv = gguf->priv;
    for (uint64_t i = 0; i < n; i++) {
        begin(r, "tensor", i, n);
        LG_TRY(lg_poll_at(gguf->env, i));
        struct lg_gguf_tensor *tensors = grow(r, gguf->tensors, i, sizeof(*tensors));
        if (!tensors)
            return LLMGPU_E_NOMEM;
        gguf->tensors = tensors;
        LG_TRY(read_tensor(r, &gguf->tensors[i]));
        gguf->n_tensors = i + 1;
    }
    uint64_t twin;
    LG_TRY(lg_gguf_index_build(&priv->names, gguf->env, gguf->tensors, sizeof(gguf->tensors[0]), n, &twin));
    if (twin == n)
        return 0;
    r->name = gguf->tensors[twin].name;
    return fail(r, LLMGPU_E_FORMAT, "is there twice");
}

static int read_alignment(struct reader *r)
{
    struct lg_gguf *gguf = r->gguf;
    gguf->alignment = DEFAULT_ALIGNMENT;
    const struct lg_gguf_kv *kv = lg_gguf_find(gguf, "general.alignment");
    if (!kv)
        return 0;
    begin(r, "key", 0, 1);
    r->name = kv->key;
    if (kv->type != LG_GGUF_U32)
        return fail(r, LLMGPU_E_FORMAT, "is of type %s, not u32", lg_gguf_type_name(kv->type));
    uint64_t alignment = (uint64_t)lg_gguf_integer(kv, 0);
    if (alignment < MIN_ALIGNMENT || alignment > MAX_ALIGNMENT || (alignment & (alignment - 1)))
        return fail(r, LLMGPU_E_FORMAT, "%llu is not a power of two from %d to %llu",
                    (unsigned long long)alignment, MIN_ALIGNMENT, (unsigned long long)MAX_ALIGNMENT);
    gguf->alignment = alignment;
    return 0;
}

/** Turns offsets into the data section into places in the file. */
static int place_tensor(const struct reader *r, struct lg_gguf_tensor *t)
{
    const struct lg_gguf *gguf = r->gguf;
    uint64_t end;
    if (t->offset & (gguf->alignment - 1))
        return fail(r, LLMGPU_E_FORMAT, "offset %llu is not a multiple of the alignment, %llu",
                    (unsigned long long)t->offset, (unsigned long long)gguf->alignment);
    if (!lg_add_u64(t->offset, gguf->data_offset, &t->offset) || !lg_add_u64(t->offset, t->size, &end))
        return fail(r, LLMGPU_E_FORMAT, "its offset overflows");
    if (end > gguf->file_size)
        return fail(r, LLMGPU_E_FORMAT, "%llu bytes end %llu beyond the file", (unsigned long long)t->size,
                    (unsigned long long)(end - gguf->file_size));
    t->data = gguf->file ? gguf->file + t->offset : NULL;
    return 0;
}

static int by_offset(const void *a, const void *b)
{
    const struct lg_gguf_tensor *x = *(const struct lg_gguf_tensor *const *)a;
    const struct lg_gguf_tensor *y = *(const struct lg_gguf_tensor *const *)b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

static int check_overlap(struct reader *r)
{
    const struct lg_gguf *gguf = r->gguf;
    const struct lg_gguf_tensor **sorted =
        lg_alloc_array(gguf->env, (size_t)gguf->n_tensors, sizeof(*sorted));
    if (!sorted)
        return lg_fail_nomem(gguf->env, "an order of tensors", gguf->n_tensors * sizeof(*sorted));
    for (uint64_t i = 0; i < gguf->n_tensors; i++)
        sorted[i] = &gguf->tensors[i];
    qsort(sorted, (size_t)gguf->n_tensors, sizeof(*sorted), by_offset);
    int rc = 0;
    for (uint64_t i = 1; i < gguf->n_tensors && rc == 0; i++) {
        if (sorted[i - 1]->offset + sorted[i - 1]->size <= sorted[i]->offset)
            continue;
        char other[LG_GGUF_QUOTE];
        r->name = sorted[i]->name;
        rc = fail(r, LLMGPU_E_FORMAT, "its bytes overlap those of '%s'",
                  lg_gguf_quote(sorted[i - 1]->name, other));
    }
    lg_free(gguf->env, sorted);
    return rc;
}

static int place_tensors(struct reader *r)
{
    struct lg_gguf *gguf = r->gguf;
    if (!lg_align_u64(r->pos, gguf->alignment, &gguf->data_offset))
        return fail(r, LLMGPU_E_FORMAT, "the padding overflows");
    for (uint64_t i = 0; i < gguf->n_tensors; i++) {
        begin(r, "tensor", i, gguf->n_tensors);
        r->name = gguf->tensors[i].name;
        LG_TRY(place_tensor(r, &gguf->tensors[i]));
    }
    if (gguf->n_tensors)
        return check_overlap(r);
    if (gguf->data_offset > gguf->file_size) // without tensors the padding may be missing
        gguf->data_offset = gguf->file_size;
    return 0;
}

static int read_version(struct reader *r)
{
    static const uint8_t magic[4] = {'G', 'G', 'U', 'F'};
    const uint8_t *p;
    size_t size = r->gguf->file_size;
    if (size == 0)
        return fail(r, LLMGPU_E_FORMAT, "not a GGUF file: it is empty");
    size = size < sizeof(magic) ? size : sizeof(magic);
    LG_TRY(peek(r, size, &p));
    if (memcmp(p, magic, size) != 0)
        return fail(r, LLMGPU_E_FORMAT, "not a GGUF file: it does not begin with \"GGUF\"");
    LG_TRY(take(r, sizeof(magic), "the header", &p));
    LG_TRY(read_u32(r, "the header", &r->gguf->version));
    if (r->gguf->version == 2 || r->gguf->version == 3)
        return 0;
    if (r->gguf->version > 0 && (r->gguf->version & 0xffff) == 0)
        return fail(r, LLMGPU_E_UNSUPPORTED, "a big-endian GGUF file; only little-endian ones are supported");
    return fail(r, LLMGPU_E_UNSUPPORTED, "GGUF version %u; only 2 and 3 are supported", r->gguf->version);
}

static int read_all(struct reader *r)
{
    uint64_t n_tensors, n_kv;
    LG_TRY(read_version(r));
    LG_TRY(read_u64(r, "the header", &n_tensors));
    LG_TRY(read_u64(r, "the header", &n_kv));
    LG_TRY(need_array(r, n_kv, MIN_KV_BYTES, "the metadata"));
    LG_TRY(need_array(r, n_tensors, MIN_TENSOR_BYTES, "the list of tensors"));
    if (n_kv > LG_GGUF_MAX_ENTRIES || n_tensors > LG_GGUF_MAX_ENTRIES)
        return fail(r, LLMGPU_E_UNSUPPORTED, "more than %u keys or tensors", LG_GGUF_MAX_ENTRIES);
    LG_TRY(read_metadata(r, n_kv));
    LG_TRY(read_tensors(r, n_tensors));
    LG_TRY(read_alignment(r));
    return place_tensors(r);
}

int lg_gguf_read(struct lg_gguf *gguf, const uint8_t *bytes, uint64_t size, uint64_t *wanted)
{
    struct reader r = {.gguf = gguf, .bytes = bytes, .n_bytes = size};
    int rc = read_all(&r);
    *wanted = r.wanted;
    return rc;
}
