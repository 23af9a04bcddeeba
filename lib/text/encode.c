/* SPDX-License-Identifier: MIT */
#include "text/internal.h"

int lg_encoder_emit(struct lg_encoder *e, int32_t token)
{
    LG_TRY(lg_encoder_grow(e->env, (void **)&e->ids, &e->cap_ids, e->n_ids + 1, sizeof(*e->ids)));
    e->ids[e->n_ids++] = token;
    return 0;
}

int lg_encoder_emit_byte(struct lg_encoder *e, uint8_t byte)
{
    int32_t token = e->vocab->byte_token[byte];
    if (token < 0)
        token = e->vocab->special.unk;
    return token < 0 ? 0 : lg_encoder_emit(e, token);
}

/** Encodes text between special tokens; `after_special` at the beginning too. */
static int encode_plain(struct lg_encoder *e, const char *text, size_t len, bool after_special)
{
    if (len == 0)
        return 0;
    if (e->vocab->family == LG_VOCAB_SPM)
        return lg_spm_encode(e, text, len, after_special && e->vocab->add_space_prefix);
    return lg_pretok_run(e, text, len);
}

static int encode_between(struct lg_encoder *e, const char *text, size_t len, const struct lg_split *splits,
                          size_t n_splits, bool begins)
{
    size_t pos = 0;
    for (size_t i = 0; i < n_splits; pos = splits[i++].end) {
        LG_TRY(encode_plain(e, text + pos, splits[i].start - pos, begins || i > 0));
        LG_TRY(lg_encoder_emit(e, splits[i].token));
    }
    return encode_plain(e, text + pos, len - pos, begins || n_splits > 0);
}

static int encode(struct lg_encoder *e, const char *text, size_t len, uint32_t flags)
{
    const struct lg_vocab_special *special = &e->vocab->special;
    bool add = flags & LG_ENCODE_ADD_SPECIAL;
    // A guess that mostly holds; it makes the array exist when there are no tokens, too.
    LG_TRY(lg_encoder_grow(e->env, (void **)&e->ids, &e->cap_ids, len / 4 + 8, sizeof(*e->ids)));
    if (e->vocab->family == LG_VOCAB_BPE)
        LG_TRY(lg_pretok_begin(e));
    if (add && special->add_bos)
        LG_TRY(lg_encoder_emit(e, special->bos));

    struct lg_split *splits;
    size_t n_splits;
    LG_TRY(
        lg_split_specials(e->vocab, e->env, text, len, flags & LG_ENCODE_PARSE_SPECIAL, &splits, &n_splits));
    int rc = encode_between(e, text, len, splits, n_splits, !(flags & LG_ENCODE_CONTINUE));
    lg_free(e->env, splits);
    LG_TRY(rc);

    return add && special->add_eos ? lg_encoder_emit(e, special->eos) : 0;
}

int lg_vocab_encode(const struct lg_vocab *vocab, struct lg_env *env, const char *text, size_t len,
                    uint32_t flags, int32_t **tokens, size_t *n_tokens)
{
    *tokens = NULL;
    *n_tokens = 0;
    if (len > INT32_MAX)
        return lg_fail(env, LLMGPU_E_INVALID, "the text is too long: %zu bytes, at most %d", len, INT32_MAX);
    struct lg_encoder e = {.vocab = vocab, .env = env};
    int rc = encode(&e, text, len, flags);
    if (rc == 0) {
        *tokens = e.ids;
        *n_tokens = e.n_ids;
    } else {
        lg_free(env, e.ids);
    }
    lg_pretok_end(&e);
    lg_free(env, e.symbols);
    lg_free(env, e.heap.keys);
    lg_free(env, e.word);
    return rc;
}
