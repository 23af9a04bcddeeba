/* SPDX-License-Identifier: MIT
 *
 * A file with the shape of a model of half a billion weights and a vocabulary of 151,936 tokens, so that what loading
 * takes can be measured anywhere. Only its header is in memory; all weights are zeros that nobody has to store, or drawn
 * when they are read.
 */
#ifndef LG_TESTS_LARGE_BUILD_H
#define LG_TESTS_LARGE_BUILD_H

#include "gguf/gguf.h"
#include "test.h"
#include "vocab_build.h"

enum { LARGE_VOCAB = 151936, LARGE_TEXT = 24, LARGE_TENSORS = 304 };

struct large {
    uint8_t *head;
    size_t head_size, cap;
    uint64_t size, next_tensor; // of the file; where the next tensor's data is, from the beginning of the data
    uint32_t n_tensors;
    struct {
        uint64_t at, size; // bytes, from the beginning of the data
        bool is_vector;
    } tensors[LARGE_TENSORS];
    char (*texts)[LARGE_TEXT + 1];
    enum lg_type type; // of matrices
};

static inline void large_bytes(struct large *l, const void *data, size_t size)
{
    if (size > l->cap - l->head_size) {
        l->cap = 2 * (l->cap + size);
        l->head = realloc(l->head, l->cap);
        REQUIRE(l->head);
    }
    memcpy(l->head + l->head_size, data, size);
    l->head_size += size;
}

static inline void large_uint(struct large *l, uint64_t value, size_t bytes)
{
    uint8_t le[8];
    for (size_t i = 0; i < bytes; i++)
        le[i] = (uint8_t)(value >> 8 * i);
    large_bytes(l, le, bytes);
}

static inline void large_str(struct large *l, const char *s)
{
    large_uint(l, strlen(s), 8);
    large_bytes(l, s, strlen(s));
}

static inline void large_u32(struct large *l, const char *key, uint32_t value)
{
    large_str(l, key);
    large_uint(l, LG_GGUF_U32, 4);
    large_uint(l, value, 4);
}

static inline void large_text(struct large *l, const char *key, const char *value)
{
    large_str(l, key);
    large_uint(l, LG_GGUF_STRING, 4);
    large_str(l, value);
}

static inline void large_array(struct large *l, const char *key, enum lg_gguf_type type, uint64_t n)
{
    large_str(l, key);
    large_uint(l, LG_GGUF_ARRAY, 4);
    large_uint(l, type, 4);
    large_uint(l, n, 8);
}

/** The bytes, then what two earlier tokens give together, as the merges say. */
static inline void large_vocab(struct large *l)
{
    enum { N_MERGES = LARGE_VOCAB - 256 };
    struct test_rng rng = {7};
    uint32_t (*pairs)[2] = malloc(N_MERGES * sizeof(*pairs));
    l->texts = malloc(LARGE_VOCAB * sizeof(*l->texts));
    REQUIRE(pairs && l->texts);
    for (uint32_t i = 0; i < LARGE_VOCAB; i++) {
        if (i < 256) {
            small_spell(i, l->texts[i]);
            continue;
        }
        uint32_t *pair = pairs[i - 256];
        char joined[2 * LARGE_TEXT + 1];
        do {
            pair[0] = test_randu(&rng, 0, i - 1);
            pair[1] = test_randu(&rng, 0, i < 4096 ? i - 1 : 4095);
            snprintf(joined, sizeof(joined), "%s%s", l->texts[pair[0]], l->texts[pair[1]]);
        } while (strlen(joined) > LARGE_TEXT);
        memcpy(l->texts[i], joined, sizeof(l->texts[i]));
    }
    large_text(l, "tokenizer.ggml.model", "gpt2");
    large_text(l, "tokenizer.ggml.pre", "qwen2");
    large_array(l, "tokenizer.ggml.tokens", LG_GGUF_STRING, LARGE_VOCAB);
    for (uint32_t i = 0; i < LARGE_VOCAB; i++)
        large_str(l, l->texts[i]);
    large_array(l, "tokenizer.ggml.token_type", LG_GGUF_I32, LARGE_VOCAB);
    for (uint32_t i = 0; i < LARGE_VOCAB; i++)
        large_uint(l, 1, 4);
    large_array(l, "tokenizer.ggml.merges", LG_GGUF_STRING, N_MERGES);
    for (uint32_t i = 0; i < N_MERGES; i++) {
        char merge[2 * LARGE_TEXT + 2];
        snprintf(merge, sizeof(merge), "%s %s", l->texts[pairs[i][0]], l->texts[pairs[i][1]]);
        large_str(l, merge);
    }
    free(pairs);
}

/** A matrix, or a vector of `cols` when rows is 0. `layer` is what "%u" in the name stands for. */
static inline void large_tensor(struct large *l, const char *name, uint32_t layer, uint64_t rows, uint64_t cols)
{
    char text[64];
    const char *mark = strstr(name, "%u");
    if (mark)
        snprintf(text, sizeof(text), "%.*s%u%s", (int)(mark - name), name, layer, mark + 2);
    else
        snprintf(text, sizeof(text), "%s", name);
    enum lg_type type = rows ? l->type : LG_TYPE_F32;
    const struct lg_type_info *info = lg_type_info(type);
    large_str(l, text);
    large_uint(l, rows ? 2 : 1, 4);
    large_uint(l, cols, 8);
    if (rows)
        large_uint(l, rows, 8);
    large_uint(l, type, 4);
    large_uint(l, l->next_tensor, 8);
    uint64_t size = (rows ? rows : 1) * cols / info->block_elements * info->block_bytes;
    REQUIRE_INT(l->n_tensors, <, LARGE_TENSORS);
    l->tensors[l->n_tensors].at = l->next_tensor;
    l->tensors[l->n_tensors].size = size;
    l->tensors[l->n_tensors].is_vector = !rows;
    l->next_tensor = (l->next_tensor + size + 31) / 32 * 32;
    l->n_tensors++;
}

static inline void large_tensors(struct large *l, uint32_t n_layers)
{
    enum { C = 896, KV = 128, F = 4864 };
    large_tensor(l, "token_embd.weight", 0, LARGE_VOCAB, C);
    large_tensor(l, "output_norm.weight", 0, 0, C);
    for (uint32_t i = 0; i < n_layers; i++) {
        large_tensor(l, "blk.%u.attn_norm.weight", i, 0, C);
        large_tensor(l, "blk.%u.attn_q.weight", i, C, C);
        large_tensor(l, "blk.%u.attn_q.bias", i, 0, C);
        large_tensor(l, "blk.%u.attn_k.weight", i, KV, C);
        large_tensor(l, "blk.%u.attn_k.bias", i, 0, KV);
        large_tensor(l, "blk.%u.attn_v.weight", i, KV, C);
        large_tensor(l, "blk.%u.attn_v.bias", i, 0, KV);
        large_tensor(l, "blk.%u.attn_output.weight", i, C, C);
        large_tensor(l, "blk.%u.ffn_norm.weight", i, 0, C);
        large_tensor(l, "blk.%u.ffn_gate.weight", i, F, C);
        large_tensor(l, "blk.%u.ffn_up.weight", i, F, C);
        large_tensor(l, "blk.%u.ffn_down.weight", i, C, F);
    }
}

/** Makes the header; `n_layers` is 24 in the real one. */
static inline void large_make(struct large *l, enum lg_type type, uint32_t n_layers)
{
    enum { N_KV = 14, N_TENSORS_AT = 8 };
    *l = (struct large){.type = type};
    large_bytes(l, "GGUF", 4);
    large_uint(l, 3, 4);
    large_uint(l, 0, 8); // the tensors, counted below
    large_uint(l, N_KV, 8);
    large_text(l, "general.architecture", "qwen2");
    large_u32(l, "qwen2.block_count", n_layers);
    large_u32(l, "qwen2.context_length", 32768);
    large_u32(l, "qwen2.embedding_length", 896);
    large_u32(l, "qwen2.feed_forward_length", 4864);
    large_u32(l, "qwen2.attention.head_count", 14);
    large_u32(l, "qwen2.attention.head_count_kv", 2);
    large_str(l, "qwen2.attention.layer_norm_rms_epsilon");
    large_uint(l, LG_GGUF_F32, 4);
    large_uint(l, 0x358637bd, 4); // 1e-6
    large_u32(l, "tokenizer.ggml.eos_token_id", 300);
    large_vocab(l);
    large_tensors(l, n_layers);
    l->head[N_TENSORS_AT] = (uint8_t)l->n_tensors;
    l->head[N_TENSORS_AT + 1] = (uint8_t)(l->n_tensors >> 8);
    while (l->head_size % 32)
        large_uint(l, 0, 1);
    l->size = l->head_size + l->next_tensor;
}

static inline void large_free(struct large *l)
{
    free(l->texts);
    free(l->head);
}

/** As llmgpu_io::read; `user` is the struct large. */
static inline int large_read(void *user, uint64_t offset, void *to, size_t n)
{
    const struct large *l = user;
    REQUIRE(offset <= l->size && n <= l->size - offset);
    size_t head = offset < l->head_size ? l->head_size - (size_t)offset : 0;
    head = head < n ? head : n;
    memcpy(to, l->head + (head ? offset : 0), head);
    memset((uint8_t *)to + head, 0, n - head);
    return 0;
}

/** Block number `i` of a tensor: vectors are ones, and matrices of Q8_0 small numbers, the same every time. */
static inline size_t large_block(bool is_vector, uint64_t i, uint8_t out[34])
{
    const float one = 1;
    const uint16_t scale = 0x0c00; // 2^-12
    if (is_vector) {
        memcpy(out, &one, sizeof(one));
        return sizeof(one);
    }
    memcpy(out, &scale, sizeof(scale));
    for (uint64_t k = 0, x = i; k < 4; k++) {
        x = (x + 0x9e3779b97f4a7c15) * 0xbf58476d1ce4e5b9;
        x ^= x >> 29;
        memcpy(out + 2 + 8 * k, &x, sizeof(x));
    }
    return 34;
}

/** The same with weights that are not all alike; of Q8_0 only. */
static inline int large_read_drawn(void *user, uint64_t offset, void *to, size_t n)
{
    const struct large *l = user;
    large_read(user, offset, to, n);
    for (uint32_t t = 0; t < l->n_tensors; t++) {
        uint64_t begin = l->head_size + l->tensors[t].at, end = begin + l->tensors[t].size;
        uint64_t at = offset > begin ? offset : begin, last = offset + n < end ? offset + n : end;
        while (at < last) {
            uint8_t block[34];
            uint64_t i = (at - begin) / (l->tensors[t].is_vector ? 4 : 34);
            size_t size = large_block(l->tensors[t].is_vector, i + ((uint64_t)t << 40), block);
            size_t skip = (size_t)(at - begin - i * size), take = size - skip;
            take = take < last - at ? take : (size_t)(last - at);
            memcpy((uint8_t *)to + (at - offset), block + skip, take);
            at += take;
        }
    }
    return 0;
}

#endif
