/* SPDX-License-Identifier: MIT
 *
 * SentencePiece BPE: spaces become U+2581, characters merge while the joined text is a token, the best score
 * first, and what is no token in the end becomes byte tokens.
 */
#include "text/internal.h"
#include "text/utf8.h"

enum { SPACE_LEN = sizeof(LG_SPM_SPACE) - 1 };

static bool is_space(const char *s, size_t n)
{
    return n >= SPACE_LEN && memcmp(s, LG_SPM_SPACE, SPACE_LEN) == 0;
}

size_t lg_spm_decode_text(struct lg_str text, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < text.len;) {
        bool space = is_space(text.ptr + i, text.len - i);
        out[n++] = space ? ' ' : text.ptr[i];
        i += space ? SPACE_LEN : 1;
    }
    return n;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int lg_spm_parse_byte(struct lg_str text)
{
    if (text.len != 6 || memcmp(text.ptr, "<0x", 3) != 0 || text.ptr[5] != '>')
        return -1;
    int hi = hex_digit(text.ptr[3]), lo = hex_digit(text.ptr[4]);
    return hi < 0 || lo < 0 ? -1 : hi << 4 | lo;
}

static void load_bytes(struct lg_vocab *vocab)
{
    static const char digits[] = "0123456789ABCDEF";
    for (uint32_t byte = 0; byte < 256; byte++) {
        char text[] = {'<', '0', 'x', digits[byte >> 4], digits[byte & 15], '>'};
        int32_t token = lg_vocab_find(vocab, text, sizeof(text));
        if (token < 0)
            token = lg_vocab_find(vocab, (const char[]){(char)byte}, 1);
        vocab->byte_token[byte] = token;
    }
}

/** Whether no token has a space behind something else. */
static bool splits_at_spaces(const struct lg_vocab *vocab)
{
    for (uint32_t i = 0; i < vocab->n_tokens; i++) {
        struct lg_str text = vocab->tokens[i].text;
        bool in_word = false;
        for (size_t j = 0; j < text.len;) {
            bool space = is_space(text.ptr + j, text.len - j);
            if (space && in_word)
                return false;
            in_word = !space;
            j += space ? SPACE_LEN : 1;
        }
    }
    return true;
}

static int load_scores(struct lg_env *env, const struct lg_gguf *gguf, struct lg_vocab *vocab)
{
    const struct lg_gguf_kv *kv = lg_gguf_find(gguf, "tokenizer.ggml.scores");
    if (!kv || kv->type != LG_GGUF_ARRAY || (kv->array_type != LG_GGUF_F32 && kv->array_type != LG_GGUF_F64))
        return lg_fail(env, LLMGPU_E_FORMAT,
                       "tokenizer.ggml.scores is %s: a llama vocabulary needs an array of f32",
                       kv ? "of another type" : "missing");
    if (kv->n != vocab->n_tokens)
        return lg_fail(env, LLMGPU_E_FORMAT, "tokenizer.ggml.scores has %llu entries for %u tokens",
                       (unsigned long long)kv->n, vocab->n_tokens);
    for (uint32_t i = 0; i < vocab->n_tokens; i++) {
        LG_TRY(lg_poll_at(env, i));
        vocab->tokens[i].score = (float)lg_gguf_number(kv, i);
    }
    return 0;
}

int lg_spm_load(struct lg_env *env, const struct lg_gguf *gguf, struct lg_vocab *vocab)
{
    LG_TRY(load_scores(env, gguf, vocab));
    vocab->add_space_prefix = true;
    LG_TRY(lg_gguf_get_bool(gguf, env, "tokenizer.ggml.add_space_prefix", &vocab->add_space_prefix));
    vocab->splits_at_spaces = splits_at_spaces(vocab);
    load_bytes(vocab);
    return 0;
}

/** Maps a score to a number that is smaller for better scores. */
static uint32_t score_order(float score)
{
    uint32_t bits;
    score += 0.0f; // -0 and 0 are equal
    memcpy(&bits, &score, sizeof(bits));
    return bits & 0x80000000u ? bits : 0x7fffffffu - bits;
}

static bool find_pair(const struct lg_vocab *vocab, const char *text, const struct lg_symbol *left,
                      const struct lg_symbol *right, uint32_t *order, int32_t *merged)
{
    *merged = lg_vocab_find(vocab, text + left->start, (size_t)left->len + right->len);
    if (*merged < 0)
        return false;
    *order = score_order(vocab->tokens[*merged].score);
    return true;
}

/** Encodes a piece that no token reaches out of. */
static int encode_piece(struct lg_encoder *e, const char *text, size_t len)
{
    LG_TRY(lg_symbols_reserve(e, len));
    size_t n = 0;
    for (size_t i = 0, step; i < len; i += step, n++) {
        step = lg_utf8_step(text + i, len - i);
        e->symbols[n] = (struct lg_symbol){
            .token = lg_vocab_find(e->vocab, text + i, step),
            .prev = (int32_t)n - 1,
            .next = i + step < len ? (int32_t)n + 1 : -1,
            .start = (uint32_t)i,
            .len = (uint32_t)step,
        };
    }
    lg_symbols_merge(e, n, text, find_pair);
    for (int32_t i = 0; i >= 0; i = e->symbols[i].next) {
        const struct lg_symbol *s = &e->symbols[i];
        if (s->token >= 0) {
            LG_TRY(lg_encoder_emit(e, s->token));
            continue;
        }
        for (uint32_t j = 0; j < s->len; j++)
            LG_TRY(lg_encoder_emit_byte(e, (uint8_t)text[s->start + j]));
    }
    return 0;
}

/** The end of the word that begins at `i`: spaces, then what is no space. */
static size_t word_end(const char *text, size_t len, size_t i)
{
    while (i < len && is_space(text + i, len - i))
        i += SPACE_LEN;
    while (i < len && !is_space(text + i, len - i))
        i++;
    return i;
}

int lg_spm_encode(struct lg_encoder *e, const char *text, size_t len, bool space_before)
{
    size_t n_spaces = space_before;
    for (size_t i = 0; i < len; i++)
        n_spaces += text[i] == ' ';
    size_t escaped_len = len + space_before + n_spaces * (SPACE_LEN - 1);
    if (escaped_len > INT32_MAX)
        return lg_fail(e->env, LLMGPU_E_INVALID,
                       "the text is too long: %zu bytes with its spaces written as U+2581", escaped_len);
    LG_TRY(lg_encoder_grow(e->env, (void **)&e->word, &e->cap_word, escaped_len, 1));
    size_t n = 0;
    for (size_t i = 0; i < len + space_before; i++) {
        char c = i < space_before ? ' ' : text[i - space_before];
        size_t step = c == ' ' ? SPACE_LEN : 1;
        memcpy(e->word + n, c == ' ' ? LG_SPM_SPACE : &c, step);
        n += step;
    }
    for (size_t i = 0, end; i < n; i = end) {
        end = e->vocab->splits_at_spaces ? word_end(e->word, n, i) : n;
        LG_TRY(encode_piece(e, e->word + i, end - i));
    }
    return 0;
}
