/* SPDX-License-Identifier: MIT */
#include "model/mix.h"

#include <stdio.h>
#include <strings.h>

enum { K_BLOCK = 256 };

static const struct lg_mix mixes[] = {
    {"F32", LG_TYPE_F32, 0},      {"F16", LG_TYPE_F16, 1},      {"BF16", LG_TYPE_BF16, 32},
    {"Q4_0", LG_TYPE_Q4_0, 2},    {"Q4_1", LG_TYPE_Q4_1, 3},    {"Q5_0", LG_TYPE_Q5_0, 8},
    {"Q5_1", LG_TYPE_Q5_1, 9},    {"Q8_0", LG_TYPE_Q8_0, 7},    {"Q2_K", LG_TYPE_Q2_K, 10},
    {"Q3_K_S", LG_TYPE_Q3_K, 11}, {"Q3_K_M", LG_TYPE_Q3_K, 12}, {"Q3_K_L", LG_TYPE_Q3_K, 13},
    {"Q4_K_S", LG_TYPE_Q4_K, 14}, {"Q4_K_M", LG_TYPE_Q4_K, 15}, {"Q5_K_S", LG_TYPE_Q5_K, 16},
    {"Q5_K_M", LG_TYPE_Q5_K, 17}, {"Q6_K", LG_TYPE_Q6_K, 18},
};

enum { N_MIXES = sizeof(mixes) / sizeof(mixes[0]) };

/** Names without a letter stand for the middle mix. */
static const char *const aliases[][2] = {{"Q3_K", "Q3_K_M"}, {"Q4_K", "Q4_K_M"}, {"Q5_K", "Q5_K_M"}};

/** Matrices that are not like the others. */
enum role { OTHER, VALUES, ATTENTION_OUT, DOWN, HEAD };

/** Layers i of n that a row is for. */
enum layers { ALL, FIRST_2, FIRST_4, FIRST_EIGHTH, FIRST_SIXTEENTH, ENDS_AND_EVERY_THIRD, SHARED };

/** The first row for a mix, a role and a layer counts; without any, a matrix has the mix's type. */
static const struct {
    const char *mix;
    enum role role;
    enum layers layers;
    enum lg_type type;
} choices[] = {
    {"Q2_K", VALUES, SHARED, LG_TYPE_Q4_K},
    {"Q2_K", VALUES, ALL, LG_TYPE_Q3_K},
    {"Q2_K", ATTENTION_OUT, ALL, LG_TYPE_Q3_K},
    {"Q2_K", DOWN, ALL, LG_TYPE_Q3_K},
    {"Q3_K_M", VALUES, FIRST_2, LG_TYPE_Q5_K},
    {"Q3_K_M", VALUES, ALL, LG_TYPE_Q4_K},
    {"Q3_K_M", ATTENTION_OUT, ALL, LG_TYPE_Q4_K},
    {"Q3_K_M", DOWN, FIRST_SIXTEENTH, LG_TYPE_Q5_K},
    {"Q3_K_M", DOWN, ALL, LG_TYPE_Q4_K},
    {"Q3_K_L", VALUES, ALL, LG_TYPE_Q5_K},
    {"Q3_K_L", ATTENTION_OUT, ALL, LG_TYPE_Q5_K},
    {"Q3_K_L", DOWN, ALL, LG_TYPE_Q5_K},
    {"Q4_K_S", VALUES, FIRST_4, LG_TYPE_Q5_K},
    {"Q4_K_S", DOWN, FIRST_EIGHTH, LG_TYPE_Q5_K},
    {"Q4_K_M", VALUES, ENDS_AND_EVERY_THIRD, LG_TYPE_Q6_K},
    {"Q4_K_M", DOWN, ENDS_AND_EVERY_THIRD, LG_TYPE_Q6_K},
    {"Q5_K_M", VALUES, ENDS_AND_EVERY_THIRD, LG_TYPE_Q6_K},
    {"Q5_K_M", DOWN, ENDS_AND_EVERY_THIRD, LG_TYPE_Q6_K},
};

/** What a type becomes whose blocks are longer than what rows are a multiple of. */
static const struct {
    enum lg_type from, to;
} shorter[] = {
    {LG_TYPE_Q2_K, LG_TYPE_Q4_0}, {LG_TYPE_Q3_K, LG_TYPE_Q4_0}, {LG_TYPE_Q4_K, LG_TYPE_Q5_0},
    {LG_TYPE_Q5_K, LG_TYPE_Q5_1}, {LG_TYPE_Q6_K, LG_TYPE_Q8_0},
};

/** Matrices that stay as they are: small, and much depends on them. */
static const char *const kept[] = {"_norm.weight", "position_embd.weight", "token_types.weight", "ffn_gate_inp.weight"};

const struct lg_mix *lg_mix_at(uint32_t index)
{
    return index < N_MIXES ? &mixes[index] : NULL;
}

const struct lg_mix *lg_mix_find(const char *name)
{
    for (size_t i = 0; i < sizeof(aliases) / sizeof(aliases[0]); i++)
        if (strcasecmp(name, aliases[i][0]) == 0)
            name = aliases[i][1];
    for (uint32_t i = 0; i < N_MIXES; i++)
        if (strcasecmp(name, mixes[i].name) == 0)
            return &mixes[i];
    return NULL;
}

int lg_mix_shape(struct lg_env *env, const struct lg_gguf *gguf, struct lg_mix_shape *out)
{
    struct lg_str arch = {"", 0};
    uint32_t numbers[3] = {0, 0, 0};
    static const char *const names[] = {"block_count", "attention.head_count", "attention.head_count_kv"};
    LG_TRY(lg_gguf_get_str(gguf, env, "general.architecture", &arch));
    for (int i = 0; i < 3; i++) {
        char key[128];
        snprintf(key, sizeof(key), "%.*s.%s", arch.len < 64 ? (int)arch.len : 64, arch.ptr, names[i]);
        const struct lg_gguf_kv *kv = lg_gguf_find(gguf, key);
        if (kv && kv->type != LG_GGUF_ARRAY) // some have a number for each layer
            LG_TRY(lg_gguf_get_u32(gguf, env, key, &numbers[i]));
    }
    *out = (struct lg_mix_shape){
        .n_layers = numbers[0],
        .sharing = numbers[2] ? numbers[1] / numbers[2] : 1,
        .tied = !lg_gguf_find_tensor(gguf, "output.weight"),
    };
    return 0;
}

static bool ends_with(struct lg_str s, const char *end)
{
    size_t n = strlen(end);
    return s.len >= n && memcmp(s.ptr + s.len - n, end, n) == 0;
}

/** The number of "blk.N.", or 0. */
static uint32_t layer_of(struct lg_str name)
{
    uint32_t layer = 0;
    for (size_t i = 4; name.len > 4 && memcmp(name.ptr, "blk.", 4) == 0 && i < name.len && i < 10; i++) {
        if (name.ptr[i] < '0' || name.ptr[i] > '9')
            break;
        layer = layer * 10 + (uint32_t)(name.ptr[i] - '0');
    }
    return layer;
}

static enum role role_of(const struct lg_mix_shape *shape, struct lg_str name)
{
    if (lg_str_eq(name, shape->tied ? "token_embd.weight" : "output.weight"))
        return HEAD;
    if (ends_with(name, "attn_v.weight") || ends_with(name, "attn_qkv.weight"))
        return VALUES;
    if (ends_with(name, "attn_output.weight"))
        return ATTENTION_OUT;
    return ends_with(name, "ffn_down.weight") ? DOWN : OTHER;
}

static bool is_for(enum layers layers, const struct lg_mix_shape *shape, uint32_t i)
{
    uint32_t n = shape->n_layers;
    switch (layers) {
    case ALL: return true;
    case FIRST_2: return i < 2;
    case FIRST_4: return i < 4;
    case FIRST_EIGHTH: return i < n / 8;
    case FIRST_SIXTEENTH: return i < n / 16;
    case ENDS_AND_EVERY_THIRD: return i < n / 8 || i >= (uint64_t)n * 7 / 8 || (i - n / 8) % 3 == 2;
    case SHARED: return shape->sharing >= 4;
    }
    return false;
}

static enum lg_type choose(const struct lg_mix *mix, const struct lg_mix_shape *shape, const struct lg_gguf_tensor *t)
{
    enum { LARGE = 80 }; // layers of models whose values are shared by so many heads that more bits cost little
    enum role role = role_of(shape, t->name);
    enum lg_type type = mix->type;
    if (role == HEAD)
        return t->dims[0] % K_BLOCK || type == LG_TYPE_Q8_0 ? LG_TYPE_Q8_0 : LG_TYPE_Q6_K;
    for (size_t i = 0; i < sizeof(choices) / sizeof(choices[0]); i++) {
        if (choices[i].role == role && strcmp(choices[i].mix, mix->name) == 0 &&
            is_for(choices[i].layers, shape, layer_of(t->name))) {
            type = choices[i].type;
            break;
        }
    }
    if (role == VALUES && shape->n_layers == LARGE && (type == LG_TYPE_Q3_K || type == LG_TYPE_Q4_K))
        type = LG_TYPE_Q5_K;
    return type;
}

static bool is_matrix(const struct lg_gguf_tensor *t)
{
    if (!ends_with(t->name, "weight") || (t->dims[1] == 1 && t->dims[2] == 1 && t->dims[3] == 1))
        return false;
    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
        if (ends_with(t->name, kept[i]))
            return false;
    return true;
}

enum lg_type lg_mix_type(const struct lg_mix *mix, const struct lg_mix_shape *shape, const struct lg_gguf_tensor *t)
{
    if (!is_matrix(t))
        return t->type;
    if (lg_type_info(mix->type)->block_elements == 1)
        return mix->type;
    enum lg_type type = choose(mix, shape, t);
    for (size_t i = 0; i < sizeof(shorter) / sizeof(shorter[0]) && t->dims[0] % K_BLOCK; i++) {
        if (type == shorter[i].from) {
            type = shorter[i].to;
            break;
        }
    }
    return t->dims[0] % lg_type_info(type)->block_elements ? LG_TYPE_F16 : type;
}
