/* SPDX-License-Identifier: MIT */
#include <xxhash.h>

#include "text/internal.h"
#include "util/checked.h"

enum { BATCH = 32 }; // texts that are hashed before the first is looked up

/** Slot of a text in the hash table: the one that holds it, or the free one where it belongs. */
static struct lg_text_slot *text_slot(const struct lg_vocab *vocab, const char *text, size_t len, uint32_t hash)
{
    uint32_t i = hash & vocab->by_text_mask;
    for (; vocab->by_text[i].id; i = (i + 1) & vocab->by_text_mask) {
        if (vocab->by_text[i].hash != hash)
            continue;
        struct lg_str other = vocab->tokens[vocab->by_text[i].id - 1].text;
        if (other.len == len && memcmp(other.ptr, text, len) == 0)
            break;
    }
    return &vocab->by_text[i];
}

uint32_t lg_vocab_hash(const char *text, size_t len)
{
    return (uint32_t)XXH3_64bits(text, len);
}

int32_t lg_vocab_find_hashed(const struct lg_vocab *vocab, const char *text, size_t len, uint32_t hash)
{
    if (len == 0 || len > vocab->max_len)
        return -1;
    return (int32_t)text_slot(vocab, text, len, hash)->id - 1;
}

int32_t lg_vocab_find(const struct lg_vocab *vocab, const char *text, size_t len)
{
    return lg_vocab_find_hashed(vocab, text, len, lg_vocab_hash(text, len));
}

/** Copies the texts of tokens [first, first + n) to `at` and enters them in the table. Returns where the copies end. */
static char *add_texts(struct lg_vocab *vocab, const struct lg_str *texts, uint32_t first, uint32_t n, char *at)
{
    uint32_t hashes[BATCH];
    for (uint32_t i = 0; i < n; i++) { // at once, so that memory is waited for once
        hashes[i] = lg_vocab_hash(texts[first + i].ptr, texts[first + i].len);
        __builtin_prefetch(&vocab->by_text[hashes[i] & vocab->by_text_mask], 1);
    }
    for (uint32_t i = 0; i < n; i++) {
        struct lg_str text = texts[first + i];
        if (text.len == 0)
            continue;
        memcpy(at, text.ptr, text.len);
        vocab->tokens[first + i].text = (struct lg_str){at, text.len};
        at += text.len;
        if (text.len > vocab->max_len)
            vocab->max_len = text.len;
        struct lg_text_slot *slot = text_slot(vocab, text.ptr, text.len, hashes[i]);
        vocab->has_twins |= slot->id != 0;
        *slot = (struct lg_text_slot){hashes[i], first + i + 1};
    }
    return at;
}

/** Copies the token texts and makes the table of them. Of equal texts the last one is found. */
static int load_texts(struct lg_env *env, const struct lg_gguf *gguf, struct lg_vocab *vocab)
{
    const struct lg_gguf_kv *kv = lg_gguf_find(gguf, "tokenizer.ggml.tokens");
    if (!kv || kv->type != LG_GGUF_ARRAY || kv->array_type != LG_GGUF_STRING)
        return lg_fail(env, LLMGPU_E_FORMAT, "tokenizer.ggml.tokens is %s: it must be an array of strings",
                       kv ? "of another type" : "missing");
    if (kv->n == 0 || kv->n > INT32_MAX / 4)
        return lg_fail(env, LLMGPU_E_FORMAT, "tokenizer.ggml.tokens has %llu entries",
                       (unsigned long long)kv->n);
    vocab->n_tokens = (uint32_t)kv->n;
    size_t total = 0;
    for (uint32_t i = 0; i < vocab->n_tokens; i++)
        if (!lg_add_size(total, kv->strings[i].len, &total))
            return lg_fail_nomem(env, "token texts", UINT64_MAX);
    uint32_t slots = 16;
    while (slots < 2 * vocab->n_tokens)
        slots *= 2;
    vocab->tokens = lg_alloc_array(env, vocab->n_tokens, sizeof(*vocab->tokens));
    vocab->texts = lg_alloc(env, total);
    vocab->pieces = lg_alloc(env, total);
    vocab->by_text = lg_alloc_array(env, slots, sizeof(*vocab->by_text));
    if (!vocab->tokens || !vocab->texts || !vocab->pieces || !vocab->by_text)
        return lg_fail_nomem(env, "a vocabulary", total);
    vocab->by_text_mask = slots - 1;

    char *at = vocab->texts;
    for (uint32_t i = 0; i < vocab->n_tokens; i += BATCH) {
        LG_TRY(lg_poll_at(env, i));
        at = add_texts(vocab, kv->strings, i, lg_min_u32(BATCH, vocab->n_tokens - i), at);
    }
    return 0;
}

static int load_types(struct lg_env *env, const struct lg_gguf *gguf, struct lg_vocab *vocab)
{
    static const uint8_t attrs[] = {
        [0] = LG_TOKEN_NORMAL, // "undefined"
        [1] = LG_TOKEN_NORMAL,       [2] = LG_TOKEN_UNKNOWN, [3] = LG_TOKEN_CONTROL,
        [4] = LG_TOKEN_USER_DEFINED, [5] = LG_TOKEN_UNUSED,  [6] = LG_TOKEN_BYTE,
    };
    for (uint32_t i = 0; i < vocab->n_tokens; i++)
        vocab->tokens[i].attr = LG_TOKEN_NORMAL;
    const struct lg_gguf_kv *kv = lg_gguf_find(gguf, "tokenizer.ggml.token_type");
    if (!kv)
        return 0;
    bool is_integer =
        kv->array_type <= LG_GGUF_I32 || kv->array_type == LG_GGUF_U64 || kv->array_type == LG_GGUF_I64;
    if (kv->type != LG_GGUF_ARRAY || !is_integer)
        return lg_fail(env, LLMGPU_E_FORMAT, "tokenizer.ggml.token_type is not an array of integers");
    if (kv->n != vocab->n_tokens)
        return lg_fail(env, LLMGPU_E_FORMAT, "tokenizer.ggml.token_type has %llu entries for %u tokens",
                       (unsigned long long)kv->n, vocab->n_tokens);
    for (uint32_t i = 0; i < vocab->n_tokens; i++) {
        int64_t type = lg_gguf_integer(kv, i);
        LG_TRY(lg_poll_at(env, i));
        if (type < 0 || type >= (int64_t)sizeof(attrs))
            return lg_fail(env, LLMGPU_E_FORMAT,
                           "tokenizer.ggml.token_type: token %u has the unknown type %lld", i,
                           (long long)type);
        vocab->tokens[i].attr = attrs[type];
    }
    return 0;
}

/** Works out what bytes each token stands for; never longer than its text. */
static int make_pieces(struct lg_env *env, struct lg_vocab *vocab)
{
    char *at = vocab->pieces;
    for (uint32_t i = 0; i < vocab->n_tokens; i++) {
        struct lg_token *token = &vocab->tokens[i];
        LG_TRY(lg_poll_at(env, i));
        if (token->attr & (LG_TOKEN_CONTROL | LG_TOKEN_UNKNOWN | LG_TOKEN_USER_DEFINED)) {
            token->piece = token->text;
            continue;
        }
        token->piece.ptr = at;
        if (token->attr == LG_TOKEN_BYTE && vocab->family == LG_VOCAB_SPM) {
            int byte = lg_spm_parse_byte(token->text);
            if (byte < 0)
                return lg_fail(env, LLMGPU_E_FORMAT,
                               "token %u is marked as a byte, but its text '%.*s' is not <0xHH>", i,
                               (int)(token->text.len < 32 ? token->text.len : 32), token->text.ptr);
            *at = (char)byte;
            token->piece.len = 1;
        } else if (vocab->family == LG_VOCAB_BPE) {
            token->piece.len = lg_bpe_decode_text(token->text, at);
        } else {
            token->piece.len = lg_spm_decode_text(token->text, at);
        }
        at += token->piece.len;
    }
    return 0;
}

static int load_family(struct lg_env *env, const struct lg_gguf *gguf, struct lg_vocab *vocab)
{
    struct lg_str model;
    int found = lg_gguf_get_str(gguf, env, "tokenizer.ggml.model", &model);
    LG_TRY(found);
    if (!found)
        return lg_fail(env, LLMGPU_E_FORMAT, "the file has no vocabulary: tokenizer.ggml.model is missing");
    if (lg_str_eq(model, "gpt2"))
        vocab->family = LG_VOCAB_BPE;
    else if (lg_str_eq(model, "llama"))
        vocab->family = LG_VOCAB_SPM;
    else
        return lg_fail(
            env, LLMGPU_E_UNSUPPORTED,
            "vocabularies of the family '%.*s' (tokenizer.ggml.model) are not supported: gpt2 and llama are",
            (int)(model.len < 64 ? model.len : 64), model.ptr);
    return 0;
}

int lg_vocab_create(struct lg_env *env, const struct lg_gguf *gguf, struct lg_vocab **out)
{
    *out = NULL;
    struct lg_vocab *vocab = lg_alloc(env, sizeof(*vocab));
    if (!vocab)
        return lg_fail_nomem(env, "a vocabulary", sizeof(*vocab));
    vocab->env = env;
    int rc = load_family(env, gguf, vocab);
    if (rc >= 0)
        rc = load_texts(env, gguf, vocab);
    if (rc >= 0)
        rc = load_types(env, gguf, vocab);
    if (rc >= 0)
        rc = vocab->family == LG_VOCAB_BPE ? lg_bpe_load(env, gguf, vocab) : lg_spm_load(env, gguf, vocab);
    if (rc >= 0)
        rc = lg_special_load(env, gguf, vocab);
    if (rc >= 0)
        rc = make_pieces(env, vocab);
    if (rc < 0) {
        lg_vocab_destroy(vocab);
        return rc;
    }
    *out = vocab;
    return 0;
}

void lg_vocab_destroy(struct lg_vocab *vocab)
{
    if (!vocab)
        return;
    lg_pretok_free(vocab);
    lg_free(vocab->env, vocab->merges);
    lg_free(vocab->env, vocab->specials);
    lg_free(vocab->env, vocab->special_by_rank);
    lg_free(vocab->env, vocab->by_text);
    lg_free(vocab->env, vocab->pieces);
    lg_free(vocab->env, vocab->texts);
    lg_free(vocab->env, vocab->tokens);
    lg_free(vocab->env, vocab);
}

uint32_t lg_vocab_size(const struct lg_vocab *vocab)
{
    return vocab->n_tokens;
}

const struct lg_vocab_special *lg_vocab_special(const struct lg_vocab *vocab)
{
    return &vocab->special;
}

static const struct lg_token *token_at(const struct lg_vocab *vocab, int32_t token)
{
    return token >= 0 && (uint32_t)token < vocab->n_tokens ? &vocab->tokens[token] : NULL;
}

bool lg_vocab_is_end(const struct lg_vocab *vocab, int32_t token)
{
    const struct lg_token *t = token_at(vocab, token);
    return t && t->is_end;
}

uint32_t lg_vocab_attr(const struct lg_vocab *vocab, int32_t token)
{
    const struct lg_token *t = token_at(vocab, token);
    return t ? t->attr : 0;
}

void lg_vocab_piece(const struct lg_vocab *vocab, int32_t token, bool special, struct lg_str *out)
{
    const struct lg_token *t = token_at(vocab, token);
    if (!t || (!special && t->attr & (LG_TOKEN_CONTROL | LG_TOKEN_UNKNOWN)))
        *out = (struct lg_str){"", 0};
    else
        *out = t->piece;
    if (!out->ptr)
        out->ptr = "";
}
