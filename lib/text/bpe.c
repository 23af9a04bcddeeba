/* SPDX-License-Identifier: MIT
 *
 * Byte-level BPE. Vocabularies of this family are text: each of the 256 bytes is spelt as a printable
 * character, its own where it has one and the next free one from U+0100 where it has not. Merging works on
 * token ids; only the tables that are made when loading know the spelling.
 */
#include "text/internal.h"
#include "text/utf8.h"
#include "util/checked.h"

static bool is_printable(uint32_t byte)
{
    return (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
}

/** Number of bytes from 0 to 0xad that have no character of their own: 33 controls and space, 34 from 0x7f,
 * and 0xad. */
enum { N_CONTROLS = 0x21, FIRST_SPELT = 0x100, N_SPELT = 68 };

static uint32_t byte_to_char(uint32_t byte)
{
    if (is_printable(byte))
        return byte;
    if (byte < N_CONTROLS)
        return FIRST_SPELT + byte;
    if (byte == 0xad)
        return FIRST_SPELT + N_SPELT - 1;
    return FIRST_SPELT + N_CONTROLS + byte - 0x7f;
}

/** The inverse; -1 for characters that spell no byte. */
static int char_to_byte(uint32_t c)
{
    if (c < FIRST_SPELT)
        return is_printable(c) ? (int)c : -1;
    if (c < FIRST_SPELT + N_CONTROLS)
        return (int)(c - FIRST_SPELT);
    if (c < FIRST_SPELT + N_SPELT - 1)
        return (int)(c - FIRST_SPELT - N_CONTROLS + 0x7f);
    return c == FIRST_SPELT + N_SPELT - 1 ? 0xad : -1;
}

/** Writes the character of a byte: 1 or 2 bytes. */
static size_t spell_byte(uint8_t byte, char *out)
{
    uint32_t c = byte_to_char(byte);
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    out[0] = (char)(0xc0 | c >> 6);
    out[1] = (char)(0x80 | (c & 0x3f));
    return 2;
}

size_t lg_bpe_decode_text(struct lg_str text, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < text.len;) {
        int len = lg_utf8_len(text.ptr + i, text.len - i);
        int byte = len > 0 ? char_to_byte(lg_utf8_decode(text.ptr + i, len)) : -1;
        size_t step = len > 0 ? (size_t)len : 1;
        if (byte >= 0) {
            out[n++] = (char)byte;
        } else { // not a spelling: the text stands for itself
            memcpy(out + n, text.ptr + i, step);
            n += step;
        }
        i += step;
    }
    return n;
}

static uint32_t hash_pair(int32_t left, int32_t right)
{
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15u;
    return (uint32_t)(h >> 32) ^ (uint32_t)(h >> 15);
}

/** The slot of the pair, or the free one where it belongs. */
static struct lg_merge *find_slot(const struct lg_vocab *vocab, int32_t left, int32_t right)
{
    uint32_t i = hash_pair(left, right) & vocab->merges_mask;
    while (vocab->merges[i].rank && (vocab->merges[i].left != left || vocab->merges[i].right != right))
        i = (i + 1) & vocab->merges_mask;
    return &vocab->merges[i];
}

/*
 * Merges are looked up in batches, in steps: what one step of a batch asks the memory for is there when the next step
 * needs it, where single lookups would wait for each.
 */
enum { BATCH = 32 };

struct merge_part {
    const char *text;
    size_t len;
    uint32_t hash;
    int32_t token; // -1: none has this text
};

struct merge_loader {
    struct lg_env *env;
    struct lg_vocab *vocab;
    char *joined;    // a text of max_len bytes
    uint32_t likely; // most files list tokens in the order of the merges that make them: the next of these
    struct merge_part parts[2 * BATCH]; // left and right of each
    int32_t merged[BATCH];              // -1: none is
};

/** Cuts the merge "left right". */
static int cut(const struct merge_loader *l, struct lg_str text, uint32_t index, struct merge_part parts[2])
{
    const char *space = text.len > 1 ? memchr(text.ptr + 1, ' ', text.len - 1) : NULL;
    if (!space)
        return lg_fail(l->env, LLMGPU_E_FORMAT,
                       "tokenizer.ggml.merges: merge %u has no space between two tokens", index);
    size_t len = (size_t)(space - text.ptr);
    parts[0] = (struct merge_part){.text = text.ptr, .len = len};
    parts[1] = (struct merge_part){.text = space + 1, .len = text.len - len - 1};
    for (int i = 0; i < 2; i++) {
        parts[i].hash = lg_vocab_hash(parts[i].text, parts[i].len);
        __builtin_prefetch(&l->vocab->by_text[parts[i].hash & l->vocab->by_text_mask]);
    }
    return 0;
}

/** The token of both parts together, or -1. */
static int32_t find_joined(struct merge_loader *l, const struct merge_part parts[2])
{
    const struct lg_vocab *vocab = l->vocab;
    size_t len = parts[0].len + parts[1].len;
    if (len > vocab->max_len)
        return -1;
    memcpy(l->joined, parts[0].text, parts[0].len);
    memcpy(l->joined + parts[0].len, parts[1].text, parts[1].len);
    if (!vocab->has_twins && l->likely < vocab->n_tokens) {
        struct lg_str text = vocab->tokens[l->likely].text;
        if (text.len == len && memcmp(text.ptr, l->joined, len) == 0)
            return (int32_t)l->likely++;
    }
    int32_t token = lg_vocab_find(vocab, l->joined, len);
    l->likely = (uint32_t)token + 1;
    return token;
}

/** Adds merges [first, first + n). One whose parts or result are no tokens can never be seen, and is left out. */
static int add_merges(struct merge_loader *l, const struct lg_str *texts, uint32_t first, uint32_t n)
{
    struct lg_vocab *vocab = l->vocab;
    for (uint32_t i = 0; i < n; i++)
        LG_TRY(cut(l, texts[first + i], first + i, &l->parts[2 * i]));
    for (uint32_t i = 0; i < 2 * n; i++) {
        uint32_t id = vocab->by_text[l->parts[i].hash & vocab->by_text_mask].id;
        __builtin_prefetch(&vocab->tokens[id ? id - 1 : 0]);
    }
    for (uint32_t i = 0; i < 2 * n; i++) {
        uint32_t id = vocab->by_text[l->parts[i].hash & vocab->by_text_mask].id;
        __builtin_prefetch(vocab->tokens[id ? id - 1 : 0].text.ptr);
    }
    for (uint32_t i = 0; i < n; i++) {
        struct merge_part *left = &l->parts[2 * i], *right = left + 1;
        left->token = lg_vocab_find_hashed(vocab, left->text, left->len, left->hash);
        right->token = lg_vocab_find_hashed(vocab, right->text, right->len, right->hash);
        l->merged[i] = left->token < 0 || right->token < 0 ? -1 : find_joined(l, left);
        if (l->merged[i] >= 0)
            __builtin_prefetch(&vocab->merges[hash_pair(left->token, right->token) & vocab->merges_mask], 1);
    }
    for (uint32_t i = 0; i < n; i++) {
        int32_t left = l->parts[2 * i].token, right = l->parts[2 * i + 1].token;
        struct lg_merge *slot = l->merged[i] >= 0 ? find_slot(vocab, left, right) : NULL;
        if (slot && !slot->rank) // the first of two equal merges counts
            *slot = (struct lg_merge){.left = left, .right = right, .merged = l->merged[i], .rank = first + i + 1};
    }
    return 0;
}

static int load_merges(struct lg_env *env, const struct lg_gguf *gguf, struct lg_vocab *vocab)
{
    const struct lg_gguf_kv *kv = lg_gguf_find(gguf, "tokenizer.ggml.merges");
    if (!kv || kv->type != LG_GGUF_ARRAY || kv->array_type != LG_GGUF_STRING)
        return lg_fail(env, LLMGPU_E_FORMAT,
                       "tokenizer.ggml.merges is %s: a gpt2 vocabulary needs an array of strings",
                       kv ? lg_gguf_type_name(kv->type) : "missing");
    if (kv->n > INT32_MAX / 4)
        return lg_fail(env, LLMGPU_E_FORMAT, "tokenizer.ggml.merges has %llu entries",
                       (unsigned long long)kv->n);
    uint32_t slots = 16;
    while (slots < 2 * kv->n)
        slots *= 2;
    vocab->merges = lg_alloc_array(env, slots, sizeof(*vocab->merges));
    if (!vocab->merges)
        return lg_fail_nomem(env, "merges", (uint64_t)slots * sizeof(*vocab->merges));
    vocab->merges_mask = slots - 1;

    struct merge_loader l = {.env = env, .vocab = vocab, .joined = lg_alloc(env, vocab->max_len)};
    if (!l.joined)
        return lg_fail_nomem(env, "merges", vocab->max_len);
    int rc = 0;
    for (uint32_t i = 0; i < kv->n && rc == 0; i += BATCH) {
        rc = lg_poll_at(env, i);
        if (rc == 0)
            rc = add_merges(&l, kv->strings, i, kv->n - i < BATCH ? (uint32_t)kv->n - i : BATCH);
    }
    lg_free(env, l.joined);
    return rc;
}

static int load_pretok(struct lg_env *env, const struct lg_gguf *gguf, struct lg_vocab *vocab)
{
    struct lg_str name = {"default", 7};
    int found = lg_gguf_get_str(gguf, env, "tokenizer.ggml.pre", &name);
    LG_TRY(found);
    if (!found)
        lg_log(env, LG_LOG_WARN,
               "the file names no pre-tokeniser (tokenizer.ggml.pre): its tokens may differ from the "
               "model's own");
    vocab->pretok = lg_pretok_find(name);
    if (!vocab->pretok)
        return lg_fail(env, LLMGPU_E_UNSUPPORTED,
                       "the pre-tokeniser '%.*s' (tokenizer.ggml.pre) is not known",
                       (int)(name.len < 64 ? name.len : 64), name.ptr);
    return lg_pretok_compile(env, vocab);
}

int lg_bpe_load(struct lg_env *env, const struct lg_gguf *gguf, struct lg_vocab *vocab)
{
    LG_TRY(load_pretok(env, gguf, vocab));
    LG_TRY(load_merges(env, gguf, vocab));
    for (uint32_t byte = 0; byte < 256; byte++) {
        char text[2];
        vocab->byte_token[byte] = lg_vocab_find(vocab, text, spell_byte((uint8_t)byte, text));
    }
    return 0;
}

static bool find_pair(const struct lg_vocab *vocab, const char *text, const struct lg_symbol *left,
                      const struct lg_symbol *right, uint32_t *order, int32_t *merged)
{
    (void)text;
    if (left->token < 0 || right->token < 0)
        return false;
    const struct lg_merge *merge = find_slot(vocab, left->token, right->token);
    *order = merge->rank;
    *merged = merge->merged;
    return merge->rank != 0;
}

/** The token that is this whole piece, or -1. */
static int find_whole(struct lg_encoder *e, const char *text, size_t len, int32_t *token)
{
    *token = -1;
    if (len > e->vocab->max_len)
        return 0;
    LG_TRY(lg_encoder_grow(e->env, (void **)&e->word, &e->cap_word, 2 * len, 1));
    size_t n = 0;
    for (size_t i = 0; i < len; i++)
        n += spell_byte((uint8_t)text[i], e->word + n);
    *token = lg_vocab_find(e->vocab, e->word, n);
    return 0;
}

int lg_bpe_encode_piece(struct lg_encoder *e, const char *text, size_t len)
{
    const struct lg_vocab *vocab = e->vocab;
    if (lg_pretok_ignores_merges(vocab->pretok)) {
        int32_t whole;
        LG_TRY(find_whole(e, text, len, &whole));
        if (whole >= 0)
            return lg_encoder_emit(e, whole);
    }
    if (len == 1)
        return lg_encoder_emit_byte(e, (uint8_t)text[0]);
    LG_TRY(lg_symbols_reserve(e, len));
    for (size_t i = 0; i < len; i++)
        e->symbols[i] = (struct lg_symbol){
            .token = vocab->byte_token[(uint8_t)text[i]],
            .prev = (int32_t)i - 1,
            .next = i + 1 < len ? (int32_t)i + 1 : -1,
            .start = (uint32_t)i,
            .len = 1,
        };
    lg_symbols_merge(e, len, text, find_pair);
    for (int32_t i = 0; i >= 0; i = e->symbols[i].next) {
        const struct lg_symbol *s = &e->symbols[i];
        LG_TRY(s->token >= 0 ? lg_encoder_emit(e, s->token)
                             : lg_encoder_emit_byte(e, (uint8_t)text[s->start]));
    }
    return 0;
}
