/* SPDX-License-Identifier: MIT
 *
 * Small vocabularies made in memory: every byte, a few merges or words, a few special tokens.
 */
#ifndef LG_TESTS_VOCAB_BUILD_H
#define LG_TESTS_VOCAB_BUILD_H

#include "gguf_build.h"
#include "text/vocab.h"

enum { TYPE_NORMAL = 1, TYPE_UNKNOWN, TYPE_CONTROL, TYPE_USER, TYPE_UNUSED, TYPE_BYTE };

struct small_token {
    char text[32];
    int32_t type;
    float score;
};

/** What a vocabulary's file says; a test changes it before it builds. */
struct small_vocab {
    const char *model, *pre;
    struct small_token tokens[640];
    uint32_t n_tokens;
    char merges[256][48];
    uint32_t n_merges;
    int64_t bos, eos;     // written as u32 when not negative
    const char *without;  // a key that is left out
    uint32_t tokens_type; // of the arrays' elements
    uint32_t merges_type, scores_type, types_type;
    uint32_t n_scores, n_types; // lengths of these arrays
    int add_space_prefix;       // -1: not written
};

static inline uint32_t small_add(struct small_vocab *v, const char *text, int32_t type, float score)
{
    REQUIRE(v->n_tokens < sizeof(v->tokens) / sizeof(v->tokens[0]));
    struct small_token *t = &v->tokens[v->n_tokens];
    snprintf(t->text, sizeof(t->text), "%s", text);
    t->type = type;
    t->score = score;
    v->n_scores = v->n_types = v->n_tokens + 1;
    return v->n_tokens++;
}

/** How byte-level vocabularies spell a byte. */
static inline void small_spell(uint32_t byte, char out[3])
{
    uint32_t c = 256, b = 0;
    for (;; b++) {
        bool own = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        if (b == byte) {
            c = own ? b : c;
            break;
        }
        c += !own;
    }
    int n = 0;
    if (c < 0x80) {
        out[n++] = (char)c;
    } else {
        out[n++] = (char)(0xc0 | c >> 6);
        out[n++] = (char)(0x80 | (c & 0x3f));
    }
    out[n] = 0;
}

static inline void small_merge(struct small_vocab *v, const char *left, const char *right)
{
    REQUIRE(v->n_merges < sizeof(v->merges) / sizeof(v->merges[0]));
    snprintf(v->merges[v->n_merges++], sizeof(v->merges[0]), "%s %s", left, right);
    char joined[32];
    snprintf(joined, sizeof(joined), "%s%s", left, right);
    small_add(v, joined, TYPE_NORMAL, 0);
}

static inline void small_defaults(struct small_vocab *v)
{
    v->bos = v->eos = -1;
    v->tokens_type = v->merges_type = LG_GGUF_STRING;
    v->scores_type = LG_GGUF_F32;
    v->types_type = LG_GGUF_I32;
    v->add_space_prefix = -1;
}

/** Byte-level: ids 0 to 255 are the bytes. */
static inline void small_bpe(struct small_vocab *v, const char *pre)
{
    static const char *const merges[][2] = {
        {"t", "h"},           {"th", "e"},
        {"\u0120", "the"},    {"l", "l"},
        {"e", "ll"},          {"a", "a"},
        {"aa", "aa"},         {"\u0120", "\u0120"},
        {"\u010a", "\u010a"}, {"\u0120\u0120", "\u0120\u0120"},
        {"3", "3"},           {"33", "3"},
        {"\u00e4", "\u00b8"}, {"i", "n"},
        {"in", "g"},          {"a", "b"},
        {"b", "a"},           {"ab", "ab"},
        {"\u0120", "a"},      {"'", "s"},
    };
    memset(v, 0, sizeof(*v));
    small_defaults(v);
    v->model = "gpt2";
    v->pre = pre;
    for (uint32_t byte = 0; byte < 256; byte++) {
        char text[3];
        small_spell(byte, text);
        small_add(v, text, TYPE_NORMAL, 0);
    }
    for (size_t i = 0; i < sizeof(merges) / sizeof(merges[0]); i++)
        small_merge(v, merges[i][0], merges[i][1]);
    v->bos = small_add(v, "<|endoftext|>", TYPE_CONTROL, 0);
    small_add(v, "<|im_start|>", TYPE_CONTROL, 0);
    v->eos = small_add(v, "<|im_end|>", TYPE_CONTROL, 0);
    small_add(v, "<tool>", TYPE_USER, 0);
    small_add(v, "<tool", TYPE_USER, 0);
    small_add(v, "ool><", TYPE_USER, 0);
    small_add(v, "ool", TYPE_USER, 0);
}

/** SentencePiece: <unk>, <s>, </s>, then the bytes at 3 to 258. */
static inline void small_spm(struct small_vocab *v)
{
    static const char *const words[] = {
        "\u2581",
        "\u2581\u2581",
        "a",
        "b",
        "c",
        "d",
        "e",
        "h",
        "l",
        "o",
        "t",
        "\u00e9",
        "\u4e16",
        "he",
        "th",
        "the",
        "\u2581the",
        "ll",
        "lo",
        "hello",
        "ab",
        "ba",
        "\u2581a",
        "aa",
        "aaa",
        "\u2581hel",
        "hel",
        "\u2581hello",
        "abab",
        "cd",
        "\u2581\u2581\u2581",
    };
    memset(v, 0, sizeof(*v));
    small_defaults(v);
    v->model = "llama";
    v->pre = "default";
    small_add(v, "<unk>", TYPE_UNKNOWN, 0);
    v->bos = small_add(v, "<s>", TYPE_CONTROL, 0);
    v->eos = small_add(v, "</s>", TYPE_CONTROL, 0);
    for (uint32_t byte = 0; byte < 256; byte++) {
        char text[8];
        snprintf(text, sizeof(text), "<0x%02X>", byte);
        small_add(v, text, TYPE_BYTE, 0);
    }
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        small_add(v, words[i], TYPE_NORMAL, -(float)((i * 7) % 11));
    small_add(v, "<tool>", TYPE_USER, 0);
}

static inline bool small_has(const struct small_vocab *v, const char *key)
{
    return !v->without || strcmp(v->without, key) != 0;
}

/** Writes elements of the type wanted, so that only the type is wrong when a test asks for a wrong one. */
static inline void small_item(struct build *b, uint32_t type, const char *text, double number)
{
    if (type == LG_GGUF_STRING)
        build_str(b, text);
    else if (type == LG_GGUF_F32)
        build_f32(b, (float)number);
    else if (type == LG_GGUF_F64)
        build_f64(b, number);
    else
        build_u32(b, (uint32_t)(int32_t)number);
}

static inline void small_build(const struct small_vocab *v, struct build *b)
{
    const char *const all[] = {
        "tokenizer.ggml.model",      "tokenizer.ggml.pre",    "tokenizer.ggml.tokens",
        "tokenizer.ggml.token_type", "tokenizer.ggml.scores", "tokenizer.ggml.merges",
    };
    bool has[6];
    uint64_t n_kv = 0;
    for (size_t i = 0; i < 6; i++)
        n_kv += has[i] = small_has(v, all[i]);
    build_header(b, 3, 0, n_kv + (v->bos >= 0) + (v->eos >= 0) + (v->add_space_prefix >= 0));
    if (has[0])
        build_kv_str(b, all[0], v->model);
    if (has[1])
        build_kv_str(b, all[1], v->pre);
    if (has[2])
        build_array(b, all[2], v->tokens_type, v->n_tokens);
    for (uint32_t i = 0; has[2] && i < v->n_tokens; i++)
        small_item(b, v->tokens_type, v->tokens[i].text, i);
    if (has[3])
        build_array(b, all[3], v->types_type, v->n_types);
    for (uint32_t i = 0; has[3] && i < v->n_types; i++)
        small_item(b, v->types_type, "", v->tokens[i].type);
    if (has[4])
        build_array(b, all[4], v->scores_type, v->n_scores);
    for (uint32_t i = 0; has[4] && i < v->n_scores; i++)
        small_item(b, v->scores_type, "", v->tokens[i].score);
    if (has[5])
        build_array(b, all[5], v->merges_type, v->n_merges);
    for (uint32_t i = 0; has[5] && i < v->n_merges; i++)
        small_item(b, v->merges_type, v->merges[i], i);
    if (v->bos >= 0)
        build_kv_u32(b, "tokenizer.ggml.bos_token_id", (uint32_t)v->bos);
    if (v->eos >= 0)
        build_kv_u32(b, "tokenizer.ggml.eos_token_id", (uint32_t)v->eos);
    if (v->add_space_prefix >= 0) {
        build_key(b, "tokenizer.ggml.add_space_prefix", LG_GGUF_BOOL);
        build_uint(b, (uint64_t)v->add_space_prefix, 1);
    }
}

#endif
