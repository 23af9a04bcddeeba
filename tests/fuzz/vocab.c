/* SPDX-License-Identifier: MIT
 *
 * Text: the first byte chooses a vocabulary, the second the flags, and the rest is the text. It is encoded
 * and decoded again; what comes out is the text, but for bytes that are no UTF-8, which may come back as
 * U+FFFD, and for what SentencePiece cannot tell from a space. The same with an allocation that fails.
 */
#include "fuzz.h"
#include "heap.h"
#include "text/utf8.h"
#include "vocab_build.h"

/** The vocabularies: each pre-tokeniser, then SentencePiece with and without the space before the text. */
static const char *const pretokenisers[] = {
    "default",   "gpt-2",  "llama-bpe",  "smaug-bpe",    "qwen2",          "qwen35",
    "starcoder", "falcon", "bloom",      "deepseek-llm", "deepseek-coder", "deepseek-v3",
    "gpt-4o",    "tekken", "bailingmoe", "viking",       "seed-coder",
};

enum { N_BPE = sizeof(pretokenisers) / sizeof(pretokenisers[0]), N_VOCABS = N_BPE + 2 };

/** Made once, for speed; the process ends with them. */
static struct lg_env base;
static struct lg_vocab *vocabs[N_VOCABS];

static struct lg_vocab *get_vocab(size_t i)
{
    if (vocabs[i])
        return vocabs[i];
    static struct small_vocab small;
    static struct build file;
    if (i < N_BPE)
        small_bpe(&small, pretokenisers[i]);
    else
        small_spm(&small);
    small.add_space_prefix = i < N_BPE ? -1 : i == N_BPE;
    small_build(&small, &file);
    struct lg_gguf *gguf;
    lg_env_init(&base);
    REQUIRE_INT(lg_gguf_parse(&base, "small", file.data, file.size, &gguf), ==, 0);
    REQUIRE_INT(lg_vocab_create(&base, gguf, &vocabs[i]), ==, 0);
    lg_gguf_close(gguf);
    return vocabs[i];
}

/** The pieces one after another, without the space that SentencePiece puts before the text. */
static size_t join(const struct lg_vocab *vocab, bool spaced, const int32_t *ids, size_t n, char *out)
{
    size_t len = 0;
    for (size_t i = 0; i < n; i++) {
        struct lg_str piece;
        REQUIRE(ids[i] >= 0 && (uint32_t)ids[i] < lg_vocab_size(vocab));
        lg_vocab_piece(vocab, ids[i], true, &piece);
        bool skip = spaced && i == 0 && piece.len > 0 && piece.ptr[0] == ' ';
        memcpy(out + len, piece.ptr + skip, piece.len - skip);
        len += piece.len - skip;
    }
    return len;
}

/** SentencePiece writes a space as U+2581, so the character itself comes back as a space. */
static size_t fold_spaces(const char *text, size_t len, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < len; n++) {
        bool fold = len - i >= 3 && memcmp(text + i, "\xe2\x96\x81", 3) == 0;
        out[n] = fold ? ' ' : text[i];
        i += fold ? 3 : 1;
    }
    return n;
}

static void check_stream(const struct lg_vocab *vocab, const int32_t *ids, size_t n)
{
    struct lg_decoder d = {0};
    char out[256];
    for (size_t i = 0; i < n; i++) {
        struct lg_str piece;
        lg_vocab_piece(vocab, ids[i], true, &piece);
        REQUIRE(LG_DECODER_ROOM(piece.len) <= sizeof(out));
        int len = lg_decoder_push(&d, vocab, ids[i], true, out, LG_DECODER_ROOM(piece.len));
        REQUIRE(len >= 0 && lg_utf8_valid_prefix(out, (size_t)len) == (size_t)len);
    }
    REQUIRE(lg_decoder_finish(&d, out, sizeof(out)) >= 0);
}

static void check(size_t which, const char *text, size_t len, uint32_t flags, uint64_t fail_at)
{
    const struct lg_vocab *vocab = get_vocab(which);
    struct test_heap heap;
    struct lg_env env;
    int32_t *ids;
    size_t n;
    test_heap_env(&env, &heap, fail_at);
    int rc = lg_vocab_encode(vocab, &env, text, len, flags, &ids, &n);
    if (rc < 0) {
        REQUIRE(rc == LLMGPU_E_NOMEM && fail_at > 0 && !ids && env.error[0]);
    } else {
        check_stream(vocab, ids, n);
        char *got = malloc(32 * n + 1), *want = malloc(len + 1);
        REQUIRE(got && want);
        // A special token takes the space prefix of what follows it with it; only texts without are compared
        // there.
        bool spm = which >= N_BPE, spaced = which == N_BPE, has_special = false;
        for (size_t i = 0; i < n; i++)
            has_special |= lg_vocab_attr(vocab, ids[i]) != LG_TOKEN_NORMAL &&
                           lg_vocab_attr(vocab, ids[i]) != LG_TOKEN_BYTE;
        size_t n_got = join(vocab, spaced, ids, n, got), n_want = len;
        memcpy(want, text, len);
        if (spm)
            n_want = fold_spaces(text, len, want);
        if (!spaced || !has_special) {
            REQUIRE_INT(n_got, ==, n_want);
            REQUIRE_INT(memcmp(got, want, n_got), ==, 0);
        }
        free(got);
        free(want);
    }
    lg_free(&env, ids);
    REQUIRE_INT(heap.live, ==, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    size_t which = data[0] % N_VOCABS;
    uint32_t flags = data[1] & 1 ? LG_ENCODE_PARSE_SPECIAL : 0;
    const char *text = (const char *)data + 2;
    check(which, text, size - 2, flags, 0);
    check(which, text, size - 2, flags, 1 + data[1] / 2 % 16);
    return 0;
}
