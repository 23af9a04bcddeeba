/* SPDX-License-Identifier: MIT */
#include "model/lora_parts.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <sys/stat.h>

#include "gguf/quants.h"
#include "model/loader.h"
#include "model/safetensors.h"
#include "util/checked.h"

// clang-format off
const struct lg_lora_name lg_lora_names[LG_N_LORA_NAMES] = {
    {"attn_q", "self_attn.q_proj", NULL, LG_TARGET_Q, 1, false},
    {"attn_k", "self_attn.k_proj", NULL, LG_TARGET_K, 1, false},
    {"attn_v", "self_attn.v_proj", NULL, LG_TARGET_V, 1, false},
    {"attn_qkv", NULL, "attn.c_attn", LG_TARGET_Q, 3, true},
    {"attn_output", "self_attn.o_proj", "attn.c_proj", LG_TARGET_O, 1, false},
    {"ffn_gate", "mlp.gate_proj", NULL, LG_TARGET_GATE, 1, false},
    {"ffn_up", "mlp.up_proj", "mlp.c_fc", LG_TARGET_UP, 1, false},
    {"ffn_down", "mlp.down_proj", "mlp.c_proj", LG_TARGET_DOWN, 1, false},
};
// clang-format on

int lg_lora_fail(const struct lg_lora *lora, int code, const struct lg_gguf_tensor *t, const char *what)
{
    char name[LG_GGUF_QUOTE];
    return lg_fail(lora->env, code, "tensor '%s': %s", lg_gguf_quote(t->name, name), what);
}

/* ---- names ------------------------------------------------------------------------------------------- */

bool lg_lora_take_prefix(struct lg_str *s, const char *prefix)
{
    size_t n = strlen(prefix);
    if (s->len < n || memcmp(s->ptr, prefix, n) != 0)
        return false;
    s->ptr += n;
    s->len -= n;
    return true;
}

bool lg_lora_take_suffix(struct lg_str *s, const char *suffix)
{
    size_t n = strlen(suffix);
    if (s->len < n || memcmp(s->ptr + s->len - n, suffix, n) != 0)
        return false;
    s->len -= n;
    return true;
}

bool lg_lora_take_number(struct lg_str *s, uint32_t *out)
{
    size_t n = 0;
    uint32_t value = 0;
    while (n < s->len && n < 6 && s->ptr[n] >= '0' && s->ptr[n] <= '9')
        value = value * 10 + (uint32_t)(s->ptr[n++] - '0');
    if (n == 0 || (n > 1 && s->ptr[0] == '0'))
        return false;
    s->ptr += n;
    s->len -= n;
    *out = value;
    return true;
}

const struct lg_lora_name *lg_lora_find_name(struct lg_str base, uint32_t *layer)
{
    if (!lg_lora_take_prefix(&base, "blk.") || !lg_lora_take_number(&base, layer) || !lg_lora_take_prefix(&base, ".") ||
        !lg_lora_take_suffix(&base, ".weight"))
        return NULL;
    for (size_t i = 0; i < LG_N_LORA_NAMES; i++)
        if (lg_str_eq(base, lg_lora_names[i].gguf))
            return &lg_lora_names[i];
    return NULL;
}

/* ---- shapes ------------------------------------------------------------------------------------------ */

/** Holds a pair against the matrix that it adds to. */
static int check_pair(const struct lg_lora *lora, const struct lg_gguf_tensor *a,
                      const struct lg_gguf_tensor *b, uint32_t rows, uint32_t cols)
{
    uint64_t rank = a->dims[1];
    if (a->dims[0] != cols || a->dims[2] != 1 || a->dims[3] != 1)
        return lg_fail(lora->env, LLMGPU_E_UNSUPPORTED, "tensor '%.*s' is [%llu, %llu], not [rank, %u]",
                       (int)a->name.len, a->name.ptr, (unsigned long long)rank,
                       (unsigned long long)a->dims[0], cols);
    if (b->dims[1] != rows || b->dims[2] != 1 || b->dims[3] != 1)
        return lg_fail(lora->env, LLMGPU_E_UNSUPPORTED, "tensor '%.*s' is [%llu, %llu], not [%u, rank]",
                       (int)b->name.len, b->name.ptr, (unsigned long long)b->dims[1],
                       (unsigned long long)b->dims[0], rows);
    if (b->dims[0] != rank)
        return lg_fail(lora->env, LLMGPU_E_FORMAT, "tensor '%.*s' has rank %llu, its other half %llu",
                       (int)b->name.len, b->name.ptr, (unsigned long long)b->dims[0],
                       (unsigned long long)rank);
    if (rank > LG_MAX_RANK)
        return lg_fail(lora->env, LLMGPU_E_UNSUPPORTED,
                       "tensor '%.*s' has rank %llu; at most %d is supported", (int)a->name.len, a->name.ptr,
                       (unsigned long long)rank, LG_MAX_RANK);
    if (!lg_type_has_kernels(a->type) || !lg_type_has_kernels(b->type))
        return lg_lora_fail(lora, LLMGPU_E_UNSUPPORTED, lg_type_has_kernels(a->type) ? b : a,
                           "its type is not supported");
    return 0;
}

static uint32_t number_bytes(const struct lg_lora_part *part)
{
    return part->a->type == LG_TYPE_F16 && part->b->type == LG_TYPE_F16 ? 2 : 4;
}

/** Bytes of a half of a pair on the device: `rank` rows. */
static uint64_t half_bytes(const struct lg_lora_part *part, uint32_t n_cols)
{
    uint64_t row = (uint64_t)lg_div_up(n_cols, 4) * 4 * number_bytes(part);
    return (part->rank * row + 15) / 16 * 16;
}

/* ---- reading ----------------------------------------------------------------------------------------- */

/** The other half of a pair, of which `a` is lora_a; NULL when it is missing. */
static const struct lg_gguf_tensor *find_half(const struct lg_lora *lora, const struct lg_gguf_tensor *a)
{
    char name[64];
    if (a->name.len >= sizeof(name))
        return NULL;
    memcpy(name, a->name.ptr, a->name.len);
    name[a->name.len] = 0;
    name[a->name.len - 1] = a->name.ptr[a->name.len - 1] == 'a' ? 'b' : 'a';
    return lg_gguf_find_tensor(lora->gguf, name);
}

int lg_lora_check_target(const struct lg_lora *lora, const struct lg_gguf_tensor *t, uint32_t layer,
                         const struct lg_lora_name *name)
{
    const struct lg_model *model = lora->model;
    const struct lg_weight *w =
        layer < model->hp.n_layers ? lg_layer_target(&model->w.layers[layer], name->first) : NULL;
    if (!w || !w->view.buf || (name->first <= LG_TARGET_V && name->fused != model->fused_qkv))
        return lg_lora_fail(lora, LLMGPU_E_UNSUPPORTED, t, "the model has no such tensor");
    return 0;
}

int lg_lora_add_pair(struct lg_lora *lora, const struct lg_gguf_tensor *a, const struct lg_gguf_tensor *b, uint32_t layer,
                     const struct lg_lora_name *name, bool swapped)
{
    const struct lg_layer *l = &lora->model->w.layers[layer];
    uint32_t rows = 0;
    for (uint32_t i = 0; i < name->n; i++)
        rows += lg_layer_target(l, name->first + i)->rows;
    LG_TRY(check_pair(lora, a, b, rows, lg_layer_target(l, name->first)->cols));
    rows = 0;
    for (uint32_t i = 0; i < name->n; i++) {
        lora->parts[layer * LG_N_TARGETS + name->first + i] = (struct lg_lora_part){
            .a = a,
            .b = b,
            .rank = (uint32_t)a->dims[1],
            .b_first = rows,
            .head = swapped && name->first <= LG_TARGET_K ? lora->model->hp.head_dim : 0,
        };
        rows += lg_layer_target(l, name->first + i)->rows;
    }
    lora->rank = lg_max_u32(lora->rank, (uint32_t)a->dims[1]);
    lora->n_targets++;
    return 0;
}

/** Takes a tensor; the halves are taken together, with lora_a. */
static int read_tensor(struct lg_lora *lora, const struct lg_gguf_tensor *t)
{
    struct lg_str base = t->name;
    uint32_t layer = 0;
    bool is_a = lg_lora_take_suffix(&base, ".lora_a");
    if (!is_a && !lg_lora_take_suffix(&base, ".lora_b"))
        return lg_lora_fail(lora, LLMGPU_E_UNSUPPORTED, t, "only .lora_a and .lora_b are supported");
    const struct lg_lora_name *name = lg_lora_find_name(base, &layer);
    if (!name)
        return lg_lora_fail(lora, LLMGPU_E_UNSUPPORTED, t, "adapters to this tensor are not supported");
    LG_TRY(lg_lora_check_target(lora, t, layer, name));
    const struct lg_gguf_tensor *other = find_half(lora, t);
    if (!other)
        return lg_lora_fail(lora, LLMGPU_E_FORMAT, t, "its other half is missing");
    return is_a ? lg_lora_add_pair(lora, t, other, layer, name, false) : 0;
}

/** Metadata that has to be a certain text. */
static int check_text(const struct lg_lora *lora, const char *key, const char *expected)
{
    struct lg_str text = {"", 0};
    char quoted[LG_GGUF_QUOTE];
    int found = lg_gguf_get_str(lora->gguf, lora->env, key, &text);
    LG_TRY(found);
    if (found == 0)
        return lg_fail(lora->env, LLMGPU_E_FORMAT, "metadata '%s' is missing", key);
    if (!lg_str_eq(text, expected))
        return lg_fail(lora->env, LLMGPU_E_UNSUPPORTED, "metadata '%s' is '%s', not '%s'", key,
                       lg_gguf_quote(text, quoted), expected);
    return 0;
}

static int read_metadata(struct lg_lora *lora)
{
    struct lg_str name;
    LG_TRY(check_text(lora, "general.type", "adapter"));
    LG_TRY(check_text(lora, "adapter.type", "lora"));
    LG_TRY(check_text(lora, "general.architecture", lora->model->arch));
    if (lg_gguf_find(lora->gguf, "adapter.alora.invocation_tokens"))
        return lg_fail(lora->env, LLMGPU_E_UNSUPPORTED, "adapters that tokens invoke are not supported");
    LG_TRY(lg_gguf_get_f32(lora->gguf, lora->env, "adapter.lora.alpha", &lora->alpha));
    if (!isfinite(lora->alpha))
        return lg_fail(lora->env, LLMGPU_E_FORMAT, "metadata 'adapter.lora.alpha' is %g",
                       (double)lora->alpha);
    int found = lg_gguf_get_str(lora->gguf, lora->env, "general.name", &name);
    LG_TRY(found);
    if (found)
        snprintf(lora->name, sizeof(lora->name), "%.*s", name.len < 127 ? (int)name.len : 127, name.ptr);
    return 0;
}

static void count_bytes(struct lg_lora *lora)
{
    for (uint32_t i = 0; i < lora->model->hp.n_layers; i++) {
        uint64_t sum = 0;
        for (uint32_t k = 0; k < LG_N_TARGETS; k++) {
            const struct lg_lora_part *part = &lora->parts[i * LG_N_TARGETS + k];
            const struct lg_weight *w = lg_layer_target(&lora->model->w.layers[i], k);
            if (part->rank)
                sum += half_bytes(part, w->cols) + half_bytes(part, w->rows);
        }
        lora->layer_bytes = sum > lora->layer_bytes ? sum : lora->layer_bytes;
    }
}

int lg_lora_create(struct lg_env *env, const struct lg_model *model, struct lg_lora **out)
{
    size_t n_parts = (size_t)model->hp.n_layers * LG_N_TARGETS;
    if (model->vocab_only)
        return lg_fail(env, LLMGPU_E_INVALID, "the model was loaded without weights");
    struct lg_lora *lora = lg_alloc(env, sizeof(*lora));
    if (!lora)
        return lg_fail_nomem(env, "an adapter", sizeof(*lora));
    *lora = (struct lg_lora){.env = env, .model = model};
    lora->parts = lg_alloc_array(env, n_parts, sizeof(*lora->parts));
    if (!lora->parts) {
        lg_lora_destroy(lora);
        return lg_fail_nomem(env, "an adapter's parts", n_parts * sizeof(*lora->parts));
    }
    *out = lora;
    return 0;
}

int lg_lora_finish(struct lg_lora *lora, int rc, struct lg_lora **out)
{
    if (rc == 0 && lora->n_targets == 0)
        rc = lg_fail(lora->env, LLMGPU_E_FORMAT, "the adapter has no tensors");
    if (rc < 0) {
        lg_lora_destroy(lora);
        return rc;
    }
    count_bytes(lora);
    *out = lora;
    return 0;
}

static int read(struct lg_lora *lora)
{
    LG_TRY(read_metadata(lora));
    for (uint64_t i = 0; i < lora->gguf->n_tensors; i++)
        LG_TRY(read_tensor(lora, &lora->gguf->tensors[i]));
    return 0;
}

int lg_lora_load_gguf(struct lg_env *env, const struct lg_model *model, struct lg_gguf *gguf,
                      struct lg_lora **out)
{
    struct lg_lora *lora = NULL;
    *out = NULL;
    assert(gguf->file);
    int rc = lg_lora_create(env, model, &lora);
    if (rc < 0) {
        lg_gguf_close(gguf);
        return rc;
    }
    lora->gguf = gguf;
    return lg_lora_finish(lora, read(lora), out);
}

/** Whether it is a folder, or a file that begins as safetensors do. */
static int is_peft(struct lg_env *env, const char *path, bool *out)
{
    struct stat st;
    struct lg_filemap map;
    *out = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
    if (*out)
        return 0;
    LG_TRY(lg_filemap_open(env, path, &map));
    *out = lg_safetensors_is(map.data, map.size);
    lg_filemap_close(&map);
    return 0;
}

int lg_lora_load(struct lg_env *env, const struct lg_model *model, const char *path, struct lg_lora **out)
{
    struct lg_gguf *gguf;
    bool peft;
    *out = NULL;
    LG_TRY(is_peft(env, path, &peft));
    if (peft)
        return lg_lora_load_peft_file(env, model, path, out);
    LG_TRY(lg_gguf_open(env, path, &gguf));
    return lg_lora_load_gguf(env, model, gguf, out);
}

void lg_lora_destroy(struct lg_lora *lora)
{
    if (!lora)
        return;
    lg_free(lora->env, lora->parts);
    lg_gguf_close(lora->gguf);
    lg_safetensors_close(lora->safetensors);
    lg_free(lora->env, lora);
}

/* ---- the device's form ------------------------------------------------------------------------------- */

/** Numbers of a tensor's row, as they are when they are float16 and wanted so, as float32 otherwise. */
static void read_row(const struct lg_gguf_tensor *t, uint64_t row, uint32_t bytes, void *out)
{
    const struct lg_type_info *info = lg_type_info(t->type);
    const uint8_t *data = t->data + row * (t->dims[0] / info->block_elements * info->block_bytes);
    if (bytes == 2)
        memcpy(out, data, t->dims[0] * 2);
    else
        lg_dequantize(t->type, data, out, t->dims[0]);
}

static void write_a(const struct lg_lora_part *part, const struct lg_weight *w, uint8_t *out)
{
    uint32_t bytes = number_bytes(part), stride = lg_div_up(w->cols, 4) * 4 * bytes;
    for (uint32_t i = 0; i < part->rank; i++)
        read_row(part->a, i, bytes, out + (uint64_t)i * stride);
}

/** The row of b that the matrix's row m is: files by halves have the rows 0, 1, 2, ... of a head where pairs have 0, 2, 4, ... */
static uint64_t row_of_b(const struct lg_lora_part *part, uint32_t m)
{
    if (part->head == 0)
        return (uint64_t)part->b_first + m;
    uint32_t at = m % part->head;
    return m - at + at % 2 * (part->head / 2) + at / 2;
}

static void write_b(const struct lg_lora_part *part, const struct lg_weight *w, uint8_t *out)
{
    float row[LG_MAX_RANK];
    uint32_t bytes = number_bytes(part), stride = lg_div_up(w->rows, 4) * 4 * bytes;
    for (uint32_t m = 0; m < w->rows; m++) {
        read_row(part->b, row_of_b(part, m), bytes, row);
        for (uint32_t i = 0; i < part->rank; i++)
            memcpy(out + (uint64_t)i * stride + m * bytes, (const uint8_t *)row + i * bytes, bytes);
    }
}

float lg_lora_factor(const struct lg_lora *lora, uint32_t rank)
{
    if (lora->alpha == 0 && lora->gguf)
        return 1;
    return lora->alpha / (lora->by_root ? sqrtf((float)rank) : (float)rank);
}

void lg_lora_write(const struct lg_lora *lora, uint32_t layer, uint8_t *out, uint64_t at,
                   struct lg_lora_pair *pairs)
{
    uint64_t used = 0;
    for (uint32_t k = 0; k < LG_N_TARGETS; k++) {
        const struct lg_lora_part *part = &lora->parts[layer * LG_N_TARGETS + k];
        const struct lg_weight *w = lg_layer_target(&lora->model->w.layers[layer], k);
        pairs[k] = (struct lg_lora_pair){.rank = part->rank};
        if (part->rank == 0)
            continue;
        uint64_t b_at = used + half_bytes(part, w->cols);
        pairs[k].a_at = (uint32_t)((at + used) / 8);
        pairs[k].b_at = (uint32_t)((at + b_at) / 8);
        pairs[k].half_size = number_bytes(part) == 2;
        pairs[k].factor = lg_lora_factor(lora, part->rank);
        write_a(part, w, out + used);
        write_b(part, w, out + b_at);
        used = b_at + half_bytes(part, w->rows);
    }
}

void lg_lora_decode(const struct lg_lora_part *part, const struct lg_weight *w, float *a, float *b)
{
    for (uint32_t i = 0; i < part->rank; i++)
        read_row(part->a, i, sizeof(float), a + (size_t)i * w->cols);
    for (uint32_t m = 0; m < w->rows; m++)
        read_row(part->b, row_of_b(part, m), sizeof(float), b + (size_t)m * part->rank);
}
