/* SPDX-License-Identifier: MIT
 *
 * Well-known tokens. The file names some by id; which other tokens end a turn can only be told by their text.
 */
#include <strings.h>

#include "text/internal.h"

/** Texts that end a turn, the surest first. All but the last few end a generation wherever they are found. */
static const struct {
    const char *text;
    bool ends; // as a token of this text; without it only when it is the EOT token
} turn_ends[] = {
    {"<|eot_id|>", true},
    {"<|im_end|>", true},
    {"<|end|>", true},
    {"<end_of_turn>", true},
    {"<|return|>", true},
    {"<|call|>", true},
    {"<|flush|>", true},
    {"<|calls|>", true},
    {"<|eom_id|>", true},
    {"<end_of_utterance>", true},
    {"<EOT>", true},
    {"_<EOT>", true},
    {"[EOT]", true},
    {"[EOS]", true},
    {"<|END_OF_TURN_TOKEN|>", true},
    {"<|end_of_text|>", true},
    {"<|endoftext|>", true},
    {"<\xef\xbd\x9c"
     "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>",
     false},
    {"</s>", false},
};

/** Reads an id; a missing one keeps its default, and all bits set, which some writers use, means none. */
static int load_id(struct lg_env *env, const struct lg_gguf *gguf, const struct lg_vocab *vocab,
                   const char *key, int32_t *id)
{
    const struct lg_gguf_kv *kv = lg_gguf_find(gguf, key);
    if (!kv) {
        if (*id >= 0 && (uint32_t)*id >= vocab->n_tokens)
            *id = -1;
        return 0;
    }
    if (kv->type > LG_GGUF_I32 && kv->type != LG_GGUF_U64 && kv->type != LG_GGUF_I64)
        return lg_fail(env, LLMGPU_E_FORMAT, "%s is a %s, not an integer", key, lg_gguf_type_name(kv->type));
    int64_t value = lg_gguf_integer(kv, 0);
    if (value == -1 || value == UINT32_MAX) {
        *id = -1;
        return 0;
    }
    if (value < 0 || value >= vocab->n_tokens)
        return lg_fail(env, LLMGPU_E_FORMAT, "%s is %lld, but there are %u tokens", key, (long long)value,
                       vocab->n_tokens);
    *id = (int32_t)value;
    return 0;
}

static int load_ids(struct lg_env *env, const struct lg_gguf *gguf, struct lg_vocab *vocab)
{
    struct lg_vocab_special *s = &vocab->special;
    *s = (struct lg_vocab_special){-1, -1, -1, -1, -1, -1, false, false};
    if (vocab->family == LG_VOCAB_SPM) {
        s->unk = 0;
        s->bos = 1;
        s->eos = 2;
    }
    const struct {
        const char *key;
        int32_t *id;
    } ids[] = {
        {"tokenizer.ggml.bos_token_id", &s->bos},       {"tokenizer.ggml.eos_token_id", &s->eos},
        {"tokenizer.ggml.eot_token_id", &s->eot},       {"tokenizer.ggml.unknown_token_id", &s->unk},
        {"tokenizer.ggml.seperator_token_id", &s->sep}, {"tokenizer.ggml.padding_token_id", &s->pad},
    };
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
        LG_TRY(load_id(env, gguf, vocab, ids[i].key, ids[i].id));
    return 0;
}

/** Whether the encoder adds BOS and EOS. */
static int load_additions(struct lg_env *env, const struct lg_gguf *gguf, struct lg_vocab *vocab)
{
    struct lg_vocab_special *s = &vocab->special;
    s->add_bos = vocab->family == LG_VOCAB_SPM || lg_pretok_adds_bos(vocab->pretok);
    LG_TRY(lg_gguf_get_bool(gguf, env, "tokenizer.ggml.add_bos_token", &s->add_bos));
    LG_TRY(lg_gguf_get_bool(gguf, env, "tokenizer.ggml.add_eos_token", &s->add_eos));
    s->add_bos = s->add_bos && s->bos >= 0;
    s->add_eos = s->add_eos && s->eos >= 0;
    return 0;
}

/** A token that ends a turn is a control token, whatever the file says. */
static void mark_end(struct lg_vocab *vocab, int32_t token, bool control)
{
    if (token < 0)
        return;
    vocab->tokens[token].is_end = true;
    if (control)
        vocab->tokens[token].attr = LG_TOKEN_CONTROL;
}

static void find_ends(struct lg_vocab *vocab)
{
    for (size_t i = 0; i < sizeof(turn_ends) / sizeof(turn_ends[0]); i++) {
        int32_t token = lg_vocab_find(vocab, turn_ends[i].text, strlen(turn_ends[i].text));
        if (token >= 0 && vocab->special.eot < 0)
            vocab->special.eot = token;
        if (turn_ends[i].ends)
            mark_end(vocab, token, true);
    }
    mark_end(vocab, vocab->special.eot, false);
    mark_end(vocab, vocab->special.eos, false);
}

/** Phi-3's special tokens swallow the white space behind them, which no key of the file says. */
static void mark_stripping(const struct lg_gguf *gguf, struct lg_vocab *vocab)
{
    static const char *const exceptions[] = {"<unk>", "<s>", "<|endoftext|>"};
    const struct lg_gguf_kv *kv = lg_gguf_find(gguf, "general.name");
    if (!kv || kv->type != LG_GGUF_STRING)
        return;
    bool is_phi3 = false;
    for (size_t i = 0; i + 4 <= kv->strings->len && !is_phi3; i++) {
        const char *s = kv->strings->ptr + i;
        size_t skip = s[3] == '-' && i + 5 <= kv->strings->len;
        is_phi3 = strncasecmp(s, "phi", 3) == 0 && s[3 + skip] == '3';
    }
    if (!is_phi3)
        return;
    for (uint32_t i = 0; i < vocab->n_tokens; i++)
        vocab->tokens[i].strips_right =
            vocab->tokens[i].attr & (LG_TOKEN_CONTROL | LG_TOKEN_USER_DEFINED | LG_TOKEN_UNKNOWN);
    for (size_t i = 0; i < sizeof(exceptions) / sizeof(exceptions[0]); i++) {
        int32_t token = lg_vocab_find(vocab, exceptions[i], strlen(exceptions[i]));
        if (token >= 0)
            vocab->tokens[token].strips_right = false;
    }
}

int lg_special_load(struct lg_env *env, const struct lg_gguf *gguf, struct lg_vocab *vocab)
{
    LG_TRY(load_ids(env, gguf, vocab));
    LG_TRY(load_additions(env, gguf, vocab));
    find_ends(vocab);
    mark_stripping(gguf, vocab);
    return lg_split_index(env, vocab);
}
