/* SPDX-License-Identifier: MIT
 *
 * Small models made in memory, complete with a vocabulary, and what can be wrong with them: metadata and
 * tensors are lists that a test changes before it writes the file.
 */
#ifndef LG_TESTS_MODEL_BUILD_H
#define LG_TESTS_MODEL_BUILD_H

#include "gguf/quants.h"
#include "push.h"
#include "vocab_build.h"

/** A value of metadata: text, a number, or an array of it. */
struct model_kv {
    char key[64];
    enum lg_gguf_type type;
    double number;
    const char *text; // when the type is LG_GGUF_STRING
    uint32_t n;       // elements of an array; 0: not one
    double step;      // from element to element
};

struct model_tensor {
    char name[64];
    uint32_t n_dims;
    uint64_t dims[4]; // fastest first
    uint32_t type;
    bool filled; // every element is `fill` (F32 only), otherwise they are random
    float fill;
};

/** What a model is made of. */
struct model_shape {
    const char *arch; // "llama", "qwen2", "gpt2"
    uint32_t n_layers, n_embd, n_heads, n_kv, n_ff, n_ctx;
    uint32_t head_dim;        // 0: n_embd / n_heads, and the file does not say it
    uint32_t n_vocab;         // rows of the token table; 0: as many as there are tokens
    bool untied;              // has an output matrix of its own
    enum lg_type type;        // of matrices
    enum lg_type vector_type; // of norms and biases
};

struct model_build {
    struct model_kv kv[48];
    struct model_tensor tensors[96];
    uint32_t n_kv, n_tensors;
    struct small_vocab vocab;
    struct build vocab_file;
    struct test_rng rng;
    struct build file; // model_write() makes it
};

/* ---- lists ---------------------------------------------------------------------------------------- */

/** The value of a key, or a new one. */
static inline struct model_kv *model_set(struct model_build *m, const char *key, enum lg_gguf_type type,
                                         double number)
{
    uint32_t i = 0;
    while (i < m->n_kv && strcmp(m->kv[i].key, key) != 0)
        i++;
    REQUIRE(i < sizeof(m->kv) / sizeof(m->kv[0]));
    m->n_kv = i == m->n_kv ? i + 1 : m->n_kv;
    m->kv[i] = (struct model_kv){.type = type, .number = number};
    snprintf(m->kv[i].key, sizeof(m->kv[i].key), "%s", key);
    return &m->kv[i];
}

static inline void model_set_text(struct model_build *m, const char *key, const char *text)
{
    model_set(m, key, LG_GGUF_STRING, 0)->text = text;
}

static inline struct model_kv *model_kv(struct model_build *m, const char *key)
{
    for (uint32_t i = 0; i < m->n_kv; i++)
        if (strcmp(m->kv[i].key, key) == 0)
            return &m->kv[i];
    fprintf(stderr, "the model has no key '%s'\n", key);
    exit(1);
}

static inline void model_drop(struct model_build *m, const char *key)
{
    *model_kv(m, key) = m->kv[m->n_kv - 1];
    m->n_kv--;
}

static inline struct model_tensor *model_tensor(struct model_build *m, const char *name)
{
    for (uint32_t i = 0; i < m->n_tensors; i++)
        if (strcmp(m->tensors[i].name, name) == 0)
            return &m->tensors[i];
    fprintf(stderr, "the model has no tensor '%s'\n", name);
    exit(1);
}

static inline void model_drop_tensor(struct model_build *m, const char *name)
{
    *model_tensor(m, name) = m->tensors[m->n_tensors - 1];
    m->n_tensors--;
}

/** Adds a matrix [rows, cols], or a vector of `cols` when rows is 0. `layer` is what "%u" in the name stands
 * for. */
static inline struct model_tensor *model_add(struct model_build *m, const char *name, uint32_t layer,
                                             uint64_t rows, uint64_t cols, enum lg_type type)
{
    REQUIRE(m->n_tensors < sizeof(m->tensors) / sizeof(m->tensors[0]));
    struct model_tensor *t = &m->tensors[m->n_tensors++];
    *t = (struct model_tensor){.n_dims = rows ? 2 : 1, .dims = {cols, rows ? rows : 1, 1, 1}, .type = type};
    const char *mark = strstr(name, "%u");
    if (mark)
        snprintf(t->name, sizeof(t->name), "%.*s%u%s", (int)(mark - name), name, layer, mark + 2);
    else
        snprintf(t->name, sizeof(t->name), "%s", name);
    return t;
}

/* ---- families ------------------------------------------------------------------------------------- */

/** A name of a tensor and its shape by letters: C width, Q query, K key/value and A all heads, F, V, P
 * positions. */
struct model_part {
    const char *name;
    char rows, cols; // rows 0: a vector
};

static const struct model_part model_llama_layer[] = {
    {"blk.%u.attn_norm.weight", 0, 'C'},     {"blk.%u.attn_q.weight", 'Q', 'C'},
    {"blk.%u.attn_k.weight", 'K', 'C'},      {"blk.%u.attn_v.weight", 'K', 'C'},
    {"blk.%u.attn_output.weight", 'C', 'Q'}, {"blk.%u.ffn_norm.weight", 0, 'C'},
    {"blk.%u.ffn_gate.weight", 'F', 'C'},    {"blk.%u.ffn_up.weight", 'F', 'C'},
    {"blk.%u.ffn_down.weight", 'C', 'F'},    {NULL, 0, 0},
};
static const struct model_part model_qwen2_layer[] = {
    {"blk.%u.attn_q.bias", 0, 'Q'},
    {"blk.%u.attn_k.bias", 0, 'K'},
    {"blk.%u.attn_v.bias", 0, 'K'},
    {NULL, 0, 0},
};
static const struct model_part model_llama_rest[] = {
    {"token_embd.weight", 'V', 'C'},
    {"output_norm.weight", 0, 'C'},
    {NULL, 0, 0},
};
static const struct model_part model_gpt2_layer[] = {
    {"blk.%u.attn_norm.weight", 0, 'C'},
    {"blk.%u.attn_norm.bias", 0, 'C'},
    {"blk.%u.attn_qkv.weight", 'A', 'C'},
    {"blk.%u.attn_qkv.bias", 0, 'A'},
    {"blk.%u.attn_output.weight", 'C', 'Q'},
    {"blk.%u.attn_output.bias", 0, 'C'},
    {"blk.%u.ffn_norm.weight", 0, 'C'},
    {"blk.%u.ffn_norm.bias", 0, 'C'},
    {"blk.%u.ffn_up.weight", 'F', 'C'},
    {"blk.%u.ffn_up.bias", 0, 'F'},
    {"blk.%u.ffn_down.weight", 'C', 'F'},
    {"blk.%u.ffn_down.bias", 0, 'C'},
    {NULL, 0, 0},
};
static const struct model_part model_gpt2_rest[] = {
    {"token_embd.weight", 'V', 'C'},
    {"position_embd.weight", 'P', 'C'},
    {"output_norm.weight", 0, 'C'},
    {"output_norm.bias", 0, 'C'},
    {NULL, 0, 0},
};

static inline uint32_t model_size(const struct model_build *m, const struct model_shape *s, char letter)
{
    uint32_t D = s->head_dim ? s->head_dim : s->n_embd / s->n_heads;
    switch (letter) {
    case 'C': return s->n_embd;
    case 'Q': return s->n_heads * D;
    case 'K': return s->n_kv * D;
    case 'A': return (s->n_heads + 2 * s->n_kv) * D;
    case 'F': return s->n_ff;
    case 'V': return s->n_vocab ? s->n_vocab : m->vocab.n_tokens;
    case 'P': return s->n_ctx;
    default: return 0;
    }
}

static inline void model_add_parts(struct model_build *m, const struct model_shape *s,
                                   const struct model_part *parts, uint32_t layer)
{
    for (; parts->name; parts++)
        model_add(m, parts->name, layer, model_size(m, s, parts->rows), model_size(m, s, parts->cols),
                  parts->rows ? s->type : s->vector_type);
}

static inline void model_set_u32(struct model_build *m, const char *arch, const char *name, uint32_t value)
{
    char key[64];
    snprintf(key, sizeof(key), "%s.%s", arch, name);
    model_set(m, key, LG_GGUF_U32, value);
}

static inline void model_set_f32(struct model_build *m, const char *arch, const char *name, double value)
{
    char key[64];
    snprintf(key, sizeof(key), "%s.%s", arch, name);
    model_set(m, key, LG_GGUF_F32, value);
}

/** A model that loads, with the vocabulary of small_bpe(), which may be changed as well. */
static inline void model_init(struct model_build *m, const struct model_shape *s)
{
    bool gpt2 = strcmp(s->arch, "gpt2") == 0, qwen2 = strcmp(s->arch, "qwen2") == 0;
    memset(m, 0, sizeof(*m));
    small_bpe(&m->vocab, "gpt-2");
    model_set_text(m, "general.architecture", s->arch);
    model_set_u32(m, s->arch, "block_count", s->n_layers);
    model_set_u32(m, s->arch, "embedding_length", s->n_embd);
    model_set_u32(m, s->arch, "feed_forward_length", s->n_ff);
    model_set_u32(m, s->arch, "attention.head_count", s->n_heads);
    model_set_u32(m, s->arch, "context_length", s->n_ctx);
    if (s->n_kv != s->n_heads)
        model_set_u32(m, s->arch, "attention.head_count_kv", s->n_kv);
    if (s->head_dim) {
        model_set_u32(m, s->arch, "attention.key_length", s->head_dim);
        model_set_u32(m, s->arch, "attention.value_length", s->head_dim);
    }
    model_set_f32(m, s->arch, gpt2 ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon",
                  1e-5);
    if (!gpt2)
        model_set_f32(m, s->arch, "rope.freq_base", 10000);

    model_add_parts(m, s, gpt2 ? model_gpt2_rest : model_llama_rest, 0);
    if (s->untied)
        model_add(m, "output.weight", 0, model_size(m, s, 'V'), s->n_embd, s->type);
    for (uint32_t i = 0; i < s->n_layers; i++) {
        model_add_parts(m, s, gpt2 ? model_gpt2_layer : model_llama_layer, i);
        if (qwen2)
            model_add_parts(m, s, model_qwen2_layer, i);
    }
}

/** Two blocks of 32 elements, four heads on two: about 60 KB of weights in F32. */
static inline struct model_shape model_tiny(const char *arch)
{
    bool gpt2 = strcmp(arch, "gpt2") == 0;
    return (struct model_shape){
        .arch = arch,
        .n_layers = 2,
        .n_embd = 32,
        .n_heads = 4,
        .n_kv = gpt2 ? 4 : 2,
        .n_ff = 64,
        .n_ctx = 64,
        .type = LG_TYPE_F16,
        .vector_type = LG_TYPE_F32,
    };
}

/** Gives it heads that keys and values of an llmgpu_kv_type fit. */
static inline void model_fit_kv(struct model_shape *shape, int32_t kv_type)
{
    bool blocks = kv_type >= (int32_t)LG_KV_Q8_0;
    if (blocks && strcmp(shape->arch, "gpt2") == 0)
        shape->n_embd = 32 * shape->n_heads;
    else if (blocks)
        shape->head_dim = 32;
}

/* ---- writing -------------------------------------------------------------------------------------- */

static inline void model_write_number(struct build *b, enum lg_gguf_type type, double number)
{
    switch (type) {
    case LG_GGUF_U8:
    case LG_GGUF_I8:
    case LG_GGUF_BOOL: build_uint(b, (uint64_t)(int64_t)number, 1); break;
    case LG_GGUF_U16:
    case LG_GGUF_I16: build_uint(b, (uint64_t)(int64_t)number, 2); break;
    case LG_GGUF_U32:
    case LG_GGUF_I32: build_uint(b, (uint64_t)(int64_t)number, 4); break;
    case LG_GGUF_U64:
    case LG_GGUF_I64: build_uint(b, (uint64_t)(int64_t)number, 8); break;
    case LG_GGUF_F64: build_f64(b, number); break;
    default: build_f32(b, (float)number);
    }
}

static inline void model_write_kv(struct build *b, const struct model_kv *kv)
{
    if (kv->n)
        build_array(b, kv->key, kv->type, kv->n);
    else
        build_key(b, kv->key, kv->type);
    if (kv->type == LG_GGUF_STRING)
        build_str(b, kv->text);
    for (uint32_t i = 0; kv->type != LG_GGUF_STRING && i < (kv->n ? kv->n : 1); i++)
        model_write_number(b, kv->type, kv->number + i * kv->step);
}

/** Where the float16 scales of a block are, those of float16 itself included; 0xff: there is none. */
static inline void model_scales(uint32_t type, uint8_t at[2])
{
    static const struct {
        uint32_t type;
        uint8_t at[2];
    } all[] = {
        {LG_TYPE_F16, {0, 0xff}},  {LG_TYPE_Q4_0, {0, 0xff}},   {LG_TYPE_Q4_1, {0, 2}},
        {LG_TYPE_Q5_0, {0, 0xff}}, {LG_TYPE_Q5_1, {0, 2}},      {LG_TYPE_Q8_0, {0, 0xff}},
        {LG_TYPE_Q2_K, {80, 82}},  {LG_TYPE_Q3_K, {108, 0xff}}, {LG_TYPE_Q4_K, {0, 2}},
        {LG_TYPE_Q5_K, {0, 2}},    {LG_TYPE_Q6_K, {208, 0xff}},
    };
    at[0] = at[1] = 0xff;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (all[i].type == type)
            memcpy(at, all[i].at, 2);
}

/** A block of random weights, small and finite. */
static inline void model_write_block(struct model_build *m, const struct model_tensor *t)
{
    const struct lg_type_info *info = lg_type_info(t->type);
    uint8_t block[256], at[2];
    REQUIRE_INT(info->block_bytes, <=, sizeof(block));
    for (uint32_t i = 0; i < info->block_bytes; i++)
        block[i] = (uint8_t)test_rand(&m->rng);
    float value = t->filled ? t->fill : test_randf(&m->rng, -0.5f, 0.5f);
    if (t->type == LG_TYPE_F32)
        memcpy(block, &value, sizeof(value));
    if (t->type == LG_TYPE_BF16)
        memcpy(block, (const uint8_t *)&value + 2, 2);
    model_scales(t->type, at);
    for (int i = 0; i < 2 && at[i] != 0xff; i++) {
        uint16_t half = lg_f32_to_f16(info->block_elements > 1 ? value / 64 : value);
        memcpy(block + at[i], &half, sizeof(half));
    }
    build_bytes(&m->file, block, info->block_bytes);
}

static inline uint64_t model_blocks(const struct model_tensor *t)
{
    return t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3] / lg_type_info(t->type)->block_elements;
}

/** Makes m->file of all but the data; returns how long that will be. */
static inline uint64_t model_write_head(struct model_build *m)
{
    enum { HEADER = 24, N_KV = 16, ALIGN = 32 };
    struct build *b = &m->file;
    uint64_t n_kv, offset = 0;
    small_build(&m->vocab, &m->vocab_file);
    memcpy(&n_kv, m->vocab_file.data + N_KV, sizeof(n_kv));
    build_header(b, 3, m->n_tensors, n_kv + m->n_kv);
    for (uint32_t i = 0; i < m->n_kv; i++)
        model_write_kv(b, &m->kv[i]);
    build_bytes(b, m->vocab_file.data + HEADER, m->vocab_file.size - HEADER);
    for (uint32_t i = 0; i < m->n_tensors; i++) {
        const struct model_tensor *t = &m->tensors[i];
        build_tensor(b, t->name, t->n_dims, t->dims, t->type, offset);
        offset += model_blocks(t) * lg_type_info(t->type)->block_bytes;
        offset = (offset + ALIGN - 1) / ALIGN * ALIGN;
    }
    build_align(b, ALIGN);
    return offset;
}

/** Makes m->file of what the lists say; `seed` makes the numbers. */
static inline void model_write_seeded(struct model_build *m, uint64_t seed)
{
    model_write_head(m);
    m->rng.state = seed;
    for (uint32_t i = 0; i < m->n_tensors; i++) {
        for (uint64_t k = 0; k < model_blocks(&m->tensors[i]); k++)
            model_write_block(m, &m->tensors[i]);
        build_align(&m->file, 32);
    }
}

static inline void model_write(struct model_build *m)
{
    model_write_seeded(m, 1);
}

#endif
