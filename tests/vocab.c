/* SPDX-License-Identifier: MIT */
#include <pthread.h>

#include "heap.h"
#include "text/utf8.h"
#include "vocab_build.h"

/** A vocabulary and what it was made of. */
struct subject {
    struct lg_env env;
    struct build file;
    struct lg_gguf *gguf;
    struct lg_vocab *vocab;
};

static int try_open(struct subject *s, const struct small_vocab *small)
{
    lg_env_init(&s->env);
    small_build(small, &s->file);
    REQUIRE_INT(lg_gguf_parse(&s->env, "small", s->file.data, s->file.size, &s->gguf), ==, 0);
    int rc = lg_vocab_create(&s->env, s->gguf, &s->vocab);
    REQUIRE((rc == 0) == (s->vocab != NULL));
    return rc;
}

static void open_small(struct subject *s, const struct small_vocab *small)
{
    int rc = try_open(s, small);
    if (rc < 0)
        fprintf(stderr, "%s\n", s->env.error);
    REQUIRE_INT(rc, ==, 0);
}

static void open_bundled(struct subject *s)
{
    const char *folder = getenv("LLMGPU_BUNDLED");
    REQUIRE(folder);
    char path[1024];
    snprintf(path, sizeof(path), "%s/tavern-3.7m-q8_0.gguf", folder);
    lg_env_init(&s->env);
    REQUIRE_INT(lg_gguf_open(&s->env, path, &s->gguf), ==, 0);
    REQUIRE_INT(lg_vocab_create(&s->env, s->gguf, &s->vocab), ==, 0);
}

static void close_subject(struct subject *s)
{
    lg_vocab_destroy(s->vocab);
    lg_gguf_close(s->gguf);
}

static size_t encode(struct subject *s, const char *text, size_t len, uint32_t flags, int32_t **ids)
{
    size_t n;
    int rc = lg_vocab_encode(s->vocab, &s->env, text, len, flags, ids, &n);
    if (rc < 0)
        fprintf(stderr, "%s\n", s->env.error);
    REQUIRE_INT(rc, ==, 0);
    REQUIRE(*ids);
    return n;
}

/** Checks the tokens of a text by their spelling, with '|' between them. */
static void check_tokens(struct subject *s, const char *text, uint32_t flags, const char *want)
{
    int32_t *ids;
    size_t n = encode(s, text, strlen(text), flags, &ids);
    char got[512] = "";
    for (size_t i = 0; i < n; i++) {
        struct lg_str piece;
        lg_vocab_piece(s->vocab, ids[i], true, &piece);
        snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%.*s", i ? "|" : "", (int)piece.len,
                 piece.ptr);
    }
    lg_free(&s->env, ids);
    REQUIRE_STR(got, want);
}

static bool is_utf8(const char *text, size_t n)
{
    return lg_utf8_valid_prefix(text, n) == n;
}

/** What a reader of UTF-8 makes of any bytes. */
static size_t replace_invalid(const char *in, size_t n, char *out)
{
    size_t n_out = 0;
    for (size_t i = 0; i < n;) {
        int len = lg_utf8_len(in + i, n - i);
        if (len <= 0) {
            memcpy(out + n_out, "\xef\xbf\xbd", 3);
            n_out += 3;
            i += len < 0 ? (size_t)-len : n - i;
        } else {
            memcpy(out + n_out, in + i, (size_t)len);
            n_out += (size_t)len;
            i += (size_t)len;
        }
    }
    return n_out;
}

enum { MAX_TEXT = 400 };

/** Encodes, decodes as a stream, and compares with the text. */
static void check_round_trip(struct subject *s, const char *text, size_t len, uint32_t flags)
{
    int32_t *ids;
    size_t n = encode(s, text, len, flags, &ids), n_got = 0;
    static char got[8 * MAX_TEXT], want[3 * MAX_TEXT];
    struct lg_decoder d = {0};
    for (size_t i = 0; i < n; i++) {
        struct lg_str piece;
        lg_vocab_piece(s->vocab, ids[i], false, &piece);
        struct lg_decoder before = d;
        char out[1024];
        REQUIRE_INT(LG_DECODER_ROOM(piece.len), <=, sizeof(out));
        int n_out = lg_decoder_push(&d, s->vocab, ids[i], false, out, LG_DECODER_ROOM(piece.len));
        REQUIRE_INT(n_out, >=, 0);
        REQUIRE(is_utf8(out, (size_t)n_out));
        if (n_out > 0) { // what does not fit changes nothing
            struct lg_decoder again = before;
            REQUIRE_INT(lg_decoder_push(&again, s->vocab, ids[i], false, out, (size_t)n_out - 1), ==,
                        LLMGPU_E_RANGE);
            REQUIRE_INT(memcmp(&again, &before, sizeof(again)), ==, 0);
            REQUIRE_INT(lg_decoder_push(&again, s->vocab, ids[i], false, out, (size_t)n_out), ==, n_out);
        }
        REQUIRE_INT(n_got + (size_t)n_out, <=, sizeof(got) - 3);
        memcpy(got + n_got, out, (size_t)n_out);
        n_got += (size_t)n_out;
    }
    if (d.n_pending > 0)
        REQUIRE_INT(lg_decoder_finish(&d, got + n_got, 2), ==, LLMGPU_E_RANGE);
    n_got += (size_t)lg_decoder_finish(&d, got + n_got, 3);
    REQUIRE_INT(d.n_pending, ==, 0);
    lg_free(&s->env, ids);

    size_t n_want = replace_invalid(text, len, want);
    if (n_got != n_want || memcmp(got, want, n_got) != 0)
        fprintf(stderr, "got '%.*s', want '%.*s'\n", (int)n_got, got, (int)n_want, want);
    REQUIRE_INT(n_got, ==, n_want);
    REQUIRE_INT(memcmp(got, want, n_got), ==, 0);
}

static size_t random_text(struct test_rng *rng, char *out)
{
    static const char *const parts[] = {
        " ",
        "  ",
        "a",
        "the",
        " the",
        "hello",
        "\n",
        "\r\n",
        "\t",
        "33",
        "'s",
        "'LL",
        "ing",
        "...",
        "\xc3\xa9",
        "\xe4\xb8\x96",
        "\xf0\x9f\xa6\x99",
        "\xcc\x81",
        "\xc2\xa0",
        "\xe3\x80\x80",
        "\xd0\x96",
        "<",
        "<tool",
        "ool>",
        "><",
        "<|im_",
        "abab",
        "\xe1\xa0\x8e",
        "<s>",
    };
    size_t len = 0, n = test_randu(rng, 0, 40);
    for (size_t i = 0; i < n; i++) {
        const char *part = parts[test_randu(rng, 0, sizeof(parts) / sizeof(parts[0]) - 1)];
        memcpy(out + len, part, strlen(part));
        len += strlen(part);
    }
    return len;
}

static size_t random_bytes(struct test_rng *rng, char *out)
{
    size_t n = test_randu(rng, 0, MAX_TEXT);
    for (size_t i = 0; i < n; i++)
        out[i] = (char)test_rand(rng);
    return n;
}

static void check_round_trips(struct subject *s, uint32_t seed)
{
    struct test_rng rng = {seed};
    char text[MAX_TEXT];
    for (int i = 0; i < 300; i++) {
        check_round_trip(s, text, random_text(&rng, text), LG_ENCODE_ADD_SPECIAL);
        check_round_trip(s, text, random_bytes(&rng, text), LG_ENCODE_ADD_SPECIAL);
    }
}

static const char *const pretokenisers[] = {
    "default",     "gpt-2",  "llama-bpe", "smaug-bpe",  "qwen2",        "qwen35",
    "starcoder",   "falcon", "bloom",     "viking",     "deepseek-llm", "deepseek-coder",
    "deepseek-v3", "gpt-4o", "tekken",    "bailingmoe", "seed-coder",
};

static void test_round_trips(void)
{
    struct small_vocab small;
    for (size_t i = 0; i < sizeof(pretokenisers) / sizeof(pretokenisers[0]); i++) {
        struct subject s = {0};
        small_bpe(&small, pretokenisers[i]);
        open_small(&s, &small);
        check_round_trips(&s, (uint32_t)i);
        close_subject(&s);
    }
    for (int prefix = -1; prefix <= 1; prefix++) {
        struct subject s = {0};
        small_spm(&small);
        // A user-defined token would take a space with it.
        small.n_tokens--;
        small.n_scores = small.n_types = small.n_tokens;
        small.add_space_prefix = prefix;
        open_small(&s, &small);
        check_round_trips(&s, 77);
        close_subject(&s);
    }
    struct subject s = {0};
    open_bundled(&s);
    check_round_trips(&s, 99);
    close_subject(&s);
}

/** One pair after another, the best of all each time: what the queue must equal. */
static size_t merge_naively(const struct small_vocab *v, bool spm, char parts[][64], size_t n)
{
    for (;;) {
        size_t best = n;
        double best_order = 1e9;
        for (size_t i = 0; i + 1 < n; i++) {
            char pair[160];
            double order = 1e9;
            snprintf(pair, sizeof(pair), spm ? "%.63s%.63s" : "%.63s %.63s", parts[i], parts[i + 1]);
            if (spm) {
                for (uint32_t t = 0; t < v->n_tokens; t++)
                    if (strcmp(v->tokens[t].text, pair) == 0)
                        order = -(double)v->tokens[t].score;
            } else {
                for (uint32_t m = v->n_merges; m-- > 0;)
                    if (strcmp(v->merges[m], pair) == 0)
                        order = m;
            }
            if (order < best_order) {
                best = i;
                best_order = order;
            }
        }
        if (best == n)
            return n;
        size_t len = strlen(parts[best]);
        memcpy(parts[best] + len, parts[best + 1], 64 - len);
        memmove(parts[best + 1], parts[best + 2], (n - best - 2) * sizeof(parts[0]));
        n--;
    }
}

static void test_merging(void)
{
    enum { N_POOL = 44, LEN = 70 };
    struct test_rng rng = {5};
    for (int round = 0; round < 400; round++) {
        bool spm = round % 2;
        struct small_vocab small;
        if (spm)
            small_spm(&small);
        else
            small_bpe(&small, "gpt-2");
        small.add_space_prefix = spm ? 0 : -1;
        // Random merges over a small alphabet, of parts that exist.
        char pool[N_POOL][32] = {"a", "b", "c", "d"};
        for (size_t n = 4; n < N_POOL; n++) {
            const char *left = pool[test_randu(&rng, 0, (uint32_t)n - 1)],
                       *right = pool[test_randu(&rng, 0, (uint32_t)n - 1)];
            if (strlen(left) + strlen(right) > 12)
                left = right = "d";
            snprintf(pool[n], sizeof(pool[n]), "%.12s%.12s", left, right);
            if (spm)
                small_add(&small, pool[n], TYPE_NORMAL, (float)test_randu(&rng, 0, 9) - 5);
            else
                small_merge(&small, left, right);
        }
        struct subject s = {0};
        open_small(&s, &small);
        char text[LEN + 1] = "", parts[LEN][64];
        size_t len = test_randu(&rng, 1, LEN);
        for (size_t i = 0; i < len; i++) {
            text[i] = (char)('a' + test_randu(&rng, 0, 3));
            snprintf(parts[i], sizeof(parts[i]), "%c", text[i]);
        }
        size_t n_parts = merge_naively(&small, spm, parts, len);
        char want[2 * LEN + 1] = "";
        for (size_t i = 0; i < n_parts; i++)
            snprintf(want + strlen(want), sizeof(want) - strlen(want), "%s%.63s", i ? "|" : "", parts[i]);
        check_tokens(&s, text, 0, want);
        close_subject(&s);
    }
}

static void test_specials(void)
{
    struct small_vocab small;
    struct subject s = {0};
    small_bpe(&small, "gpt-2");
    open_small(&s, &small);
    const uint32_t parse = LG_ENCODE_PARSE_SPECIAL;
    check_tokens(&s, "a<tool>b", 0, "a|<tool>|b");
    check_tokens(&s, "<tool <tool>", 0, "<tool| |<tool>");
    // The longest token is taken first, though another begins to its left.
    check_tokens(&s, "<tool><|im_end|>", 0, "<tool>|<|||i|m|_|e|n|d|||>");
    check_tokens(&s, "<tool><|im_end|>", parse, "<tool>|<|im_end|>");
    check_tokens(&s, "xool><tool><", 0, "x|ool|>|<tool>|<");
    check_tokens(&s, "ool><tool", 0, "ool|>|<tool"); // of equal lengths, the smaller id
    check_tokens(&s, "ool><ool><", 0, "ool><|ool><");
    check_tokens(&s, "<|im_start|>the the<|im_end|>", parse, "<|im_start|>|the| the|<|im_end|>");
    check_tokens(&s, "", LG_ENCODE_ADD_SPECIAL, "");

    const struct lg_vocab_special *special = lg_vocab_special(s.vocab);
    REQUIRE_INT(special->bos, ==, small.bos);
    REQUIRE_INT(special->eos, ==, small.eos);
    REQUIRE_INT(special->eot, ==, small.eos);
    REQUIRE_INT(special->unk, ==, -1);
    REQUIRE(!special->add_bos && !special->add_eos);
    REQUIRE_INT(lg_vocab_size(s.vocab), ==, small.n_tokens);
    REQUIRE_INT(lg_vocab_find(s.vocab, "<|im_end|>", 10), ==, small.eos);
    REQUIRE_INT(lg_vocab_find(s.vocab, "<|im_end|", 9), ==, -1);
    REQUIRE_INT(lg_vocab_find(s.vocab, "", 0), ==, -1);
    REQUIRE(lg_vocab_is_end(s.vocab, (int32_t)small.eos) && lg_vocab_is_end(s.vocab, (int32_t)small.bos));
    REQUIRE(!lg_vocab_is_end(s.vocab, 5) && !lg_vocab_is_end(s.vocab, -1) &&
            !lg_vocab_is_end(s.vocab, 1 << 30));
    REQUIRE_INT(lg_vocab_attr(s.vocab, (int32_t)small.eos), ==, LG_TOKEN_CONTROL);
    REQUIRE_INT(lg_vocab_attr(s.vocab, 0), ==, LG_TOKEN_NORMAL);
    REQUIRE_INT(lg_vocab_attr(s.vocab, (int32_t)small.n_tokens), ==, 0);
    struct lg_str piece;
    lg_vocab_piece(s.vocab, (int32_t)small.eos, false, &piece);
    REQUIRE_INT(piece.len, ==, 0);
    lg_vocab_piece(s.vocab, -7, true, &piece);
    REQUIRE(piece.ptr && piece.len == 0);
    lg_vocab_piece(s.vocab, ' ', false, &piece);
    REQUIRE(lg_str_eq(piece, " "));
    close_subject(&s);

    s = (struct subject){0};
    small_spm(&small);
    open_small(&s, &small);
    check_tokens(&s, "the", LG_ENCODE_ADD_SPECIAL, "<s>| the");
    check_tokens(&s, "<s>the", parse, "<s>| the");
    check_tokens(&s, "a<tool>a", 0, " a|<tool>| a");
    check_tokens(&s, "", LG_ENCODE_ADD_SPECIAL, "<s>");
    REQUIRE_INT(lg_vocab_special(s.vocab)->unk, ==, 0);
    REQUIRE(lg_vocab_is_end(s.vocab, 2));
    close_subject(&s);
}

static void test_pretokenisers(void)
{
    static const struct {
        const char *pre, *text, *want; // merges give no tokens across pieces
    } cases[] = {
        {"gpt-2", "333333", "33|33|33"},
        {"llama-bpe", "33333", "333|33"},
        {"qwen2", "33", "3|3"},
        {"falcon", "3333", "333|3"},
        {"default", "3333", "333|3"},
        {"starcoder", "33", "3|3"},
        {"deepseek-coder", "33", "3|3"},
        {"gpt-2", "aaaa's", "aaaa|'s"},
        {"gpt-2", "a    the", "a|  | | the"},
        {"llama-bpe", "\n\n\n\n", "\n\n|\n\n"},
        {"deepseek-llm", "\n\n", "\n|\n"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct small_vocab small;
        struct subject s = {0};
        small_bpe(&small, cases[i].pre);
        open_small(&s, &small);
        check_tokens(&s, cases[i].text, 0, cases[i].want);
        close_subject(&s);
    }
}

/** Two decoders of the same tokens, one of them given the prompt first, differ in the first space only. */
static void test_decoder(void)
{
    struct small_vocab small;
    struct subject s = {0};
    small_spm(&small);
    open_small(&s, &small);
    int32_t the = lg_vocab_find(s.vocab, "\u2581the", 6), space = lg_vocab_find(s.vocab, "\u2581", 3);
    char out[64];
    struct lg_decoder d = {0};
    REQUIRE_INT(lg_decoder_push(&d, s.vocab, 1, false, out, sizeof(out)), ==, 0);
    REQUIRE_INT(lg_decoder_push(&d, s.vocab, the, false, out, sizeof(out)), ==, 3);
    REQUIRE_INT(memcmp(out, "the", 3), ==, 0);
    REQUIRE_INT(lg_decoder_push(&d, s.vocab, the, false, out, sizeof(out)), ==, 4);
    REQUIRE_INT(lg_decoder_push(&d, s.vocab, 1 << 20, false, out, sizeof(out)), ==, 0);
    REQUIRE_INT(lg_decoder_finish(&d, out, sizeof(out)), ==, 0);
    REQUIRE_INT(lg_decoder_push(&d, s.vocab, space, false, out, sizeof(out)), ==, 0);
    REQUIRE_INT(lg_decoder_push(&d, s.vocab, space, false, out, sizeof(out)), ==, 1);
    // U+1F999 as byte tokens, then a broken one.
    static const uint8_t bytes[] = {0xf0, 0x9f, 0xa6, 0x99, 0xf0, 0x9f, 'x'};
    static const int n_out[] = {0, 0, 0, 4, 0, 0, 4};
    for (size_t i = 0; i < sizeof(bytes); i++)
        REQUIRE_INT(lg_decoder_push(&d, s.vocab, 3 + bytes[i], false, out, sizeof(out)), ==, n_out[i]);
    REQUIRE_INT(memcmp(out, "\xef\xbf\xbdx", 4), ==, 0);
    close_subject(&s);
}

static void refuse(const struct small_vocab *small, int code, const char *word)
{
    struct subject s = {0};
    int rc = try_open(&s, small);
    if (rc != code || !strstr(s.env.error, word))
        fprintf(stderr, "%d '%s', want %d and '%s'\n", rc, s.env.error, code, word);
    REQUIRE_INT(rc, ==, code);
    REQUIRE(strstr(s.env.error, word));
    close_subject(&s);
}

#define REFUSE(base, change, code, word)            \
    do {                                            \
        struct small_vocab *v = malloc(sizeof(*v)); \
        REQUIRE(v);                                 \
        base;                                       \
        change;                                     \
        refuse(v, code, word);                      \
        free(v);                                    \
    } while (0)

static void test_hostile(void)
{
    const int format = LLMGPU_E_FORMAT, unsupported = LLMGPU_E_UNSUPPORTED;
    REFUSE(small_bpe(v, "gpt-2"), v->without = "tokenizer.ggml.model", format, "tokenizer.ggml.model");
    REFUSE(small_bpe(v, "gpt-2"), v->model = "rwkv", unsupported, "rwkv");
    REFUSE(small_bpe(v, "gpt-2"), v->model = "", unsupported, "''");
    REFUSE(small_bpe(v, "gpt-99"), (void)0, unsupported, "gpt-99");
    REFUSE(small_bpe(v, "gpt-2"), v->without = "tokenizer.ggml.tokens", format, "tokens");
    REFUSE(small_bpe(v, "gpt-2"), v->tokens_type = LG_GGUF_U32, format, "tokens");
    REFUSE(small_bpe(v, "gpt-2"), v->n_tokens = v->n_types = 0, format, "0 entries");
    REFUSE(small_bpe(v, "gpt-2"), v->without = "tokenizer.ggml.merges", format, "merges is missing");
    REFUSE(small_bpe(v, "gpt-2"), v->merges_type = LG_GGUF_F32, format, "merges");
    REFUSE(small_bpe(v, "gpt-2"), strcpy(v->merges[3], "nospace"), format, "merge 3");
    REFUSE(small_bpe(v, "gpt-2"), strcpy(v->merges[3], ""), format, "merge 3");
    REFUSE(small_bpe(v, "gpt-2"), strcpy(v->merges[3], " "), format, "merge 3");
    REFUSE(small_bpe(v, "gpt-2"), v->n_types--, format, "entries for");
    REFUSE(small_bpe(v, "gpt-2"), v->n_types = 0, format, "entries for");
    REFUSE(small_bpe(v, "gpt-2"), v->types_type = LG_GGUF_STRING, format, "token_type");
    REFUSE(small_bpe(v, "gpt-2"), v->types_type = LG_GGUF_F32, format, "token_type");
    REFUSE(small_bpe(v, "gpt-2"), v->tokens[9].type = 7, format, "token 9");
    REFUSE(small_bpe(v, "gpt-2"), v->tokens[9].type = -1, format, "token 9");
    REFUSE(small_bpe(v, "gpt-2"), v->bos = v->n_tokens, format, "bos_token_id");
    REFUSE(small_bpe(v, "gpt-2"), v->eos = 0x80000000, format, "eos_token_id");
    REFUSE(small_spm(v), v->without = "tokenizer.ggml.scores", format, "scores is missing");
    REFUSE(small_spm(v), v->scores_type = LG_GGUF_I32, format, "scores");
    REFUSE(small_spm(v), v->scores_type = LG_GGUF_STRING, format, "scores");
    REFUSE(small_spm(v), v->n_scores--, format, "entries for");
    REFUSE(small_spm(v), strcpy(v->tokens[7].text, "<0x-1>"), format, "token 7");
    REFUSE(small_spm(v), strcpy(v->tokens[7].text, "<0x123"), format, "token 7");
    REFUSE(small_spm(v), strcpy(v->tokens[7].text, ""), format, "token 7");
}

/** Files that are odd and yet mean something. */
static void test_odd(void)
{
    struct small_vocab small;
    struct subject s = {0};
    small_bpe(&small, "gpt-2");
    small.without = "tokenizer.ggml.pre"; // `default`
    small.bos = UINT32_MAX;               // none
    strcpy(small.merges[0], "x y z");     // parts that are no tokens
    strcpy(small.merges[1], " th e");
    strcpy(small.tokens['q'].text, "");
    strcpy(small.tokens['z'].text, "a"); // a text twice
    open_small(&s, &small);
    REQUIRE_INT(lg_vocab_special(s.vocab)->bos, ==, -1);
    REQUIRE_INT(lg_vocab_find(s.vocab, "a", 1), ==, 'z');
    check_tokens(&s, "aqa the", 0,
                 "a|a| |t|h|e"); // a byte without a token, and no unknown token to stand for it
    close_subject(&s);

    // SPM with no byte tokens: the unknown token stands in. A special token of invalid UTF-8, and NaN scores.
    s = (struct subject){0};
    small_spm(&small);
    memmove(&small.tokens[3], &small.tokens[3 + 256], (small.n_tokens - 3 - 256) * sizeof(small.tokens[0]));
    small.n_tokens -= 256;
    small_add(&small, "\xb8\x96", TYPE_USER, NAN);
    open_small(&s, &small);
    check_tokens(&s, "xa", 0, " |<unk>|a");
    int32_t *ids;
    REQUIRE_INT(encode(&s, "\xe4\xb8\x96", 3, 0, &ids), ==,
                3); // a space, the unknown byte, the special token
    lg_free(&s.env, ids);
    close_subject(&s);

    // Special ids that a family takes for granted, in a vocabulary that is too small for them.
    s = (struct subject){0};
    small_spm(&small);
    small.bos = small.eos = -1;
    small.n_tokens = small.n_scores = small.n_types = 1;
    open_small(&s, &small);
    REQUIRE_INT(lg_vocab_special(s.vocab)->bos, ==, -1);
    check_tokens(&s, "a", LG_ENCODE_ADD_SPECIAL, "<unk>|<unk>|<unk>|<unk>");
    close_subject(&s);
}

static void test_allocation_failures(void)
{
    static const char text[] = "the <tool> hello<|im_end|> \xff\xc3\xa9 aaaaaaaa";
    for (int spm = 0; spm < 2; spm++) {
        struct small_vocab small;
        struct build *file = malloc(sizeof(*file));
        REQUIRE(file);
        if (spm)
            small_spm(&small);
        else
            small_bpe(&small, "deepseek-llm");
        small_build(&small, file);
        int rc = LLMGPU_E_NOMEM;
        for (uint64_t fail_at = 1; rc == LLMGPU_E_NOMEM; fail_at++) {
            struct test_heap heap;
            struct lg_env env, parse_env;
            struct lg_gguf *gguf;
            struct lg_vocab *vocab;
            int32_t *ids = NULL;
            size_t n;
            lg_env_init(&parse_env);
            REQUIRE_INT(lg_gguf_parse(&parse_env, "small", file->data, file->size, &gguf), ==, 0);
            test_heap_env(&env, &heap, fail_at);
            rc = lg_vocab_create(&env, gguf, &vocab);
            if (rc == 0)
                rc = lg_vocab_encode(vocab, &env, text, sizeof(text) - 1, LG_ENCODE_PARSE_SPECIAL, &ids, &n);
            REQUIRE(rc == 0 || rc == LLMGPU_E_NOMEM);
            REQUIRE(rc == 0 || env.error[0]);
            lg_free(&env, ids);
            lg_vocab_destroy(vocab);
            lg_gguf_close(gguf);
            REQUIRE_INT(heap.live, ==, 0);
            REQUIRE_INT(fail_at, <, 1000);
        }
        REQUIRE_INT(rc, ==, 0);
        free(file);
    }
}

/** Texts that would take minutes if anything in the way were quadratic. */
static void test_long_texts(void)
{
    static const char *const units[] = {"a", " ", "\xf0\x9f\xa6\x99", "\n", " \n", "<tool", "'", "\xff"};
    enum { LEN = 200000 };
    char *text = malloc(LEN);
    REQUIRE(text);
    for (size_t p = 0; p <= sizeof(pretokenisers) / sizeof(pretokenisers[0]); p++) {
        struct small_vocab small;
        struct subject s = {0};
        if (p == 0)
            small_spm(&small);
        else
            small_bpe(&small, pretokenisers[p - 1]);
        open_small(&s, &small);
        for (size_t u = 0; u < sizeof(units) / sizeof(units[0]); u++) {
            size_t unit_len = strlen(units[u]), len = 0;
            for (; len + unit_len + 3 <= LEN; len += unit_len)
                memcpy(text + len, units[u], unit_len);
            memcpy(text + len, "\xe4\xb8\x80", 3);
            int32_t *ids;
            REQUIRE_INT(encode(&s, text, len + 3, 0, &ids), >, 0);
            lg_free(&s.env, ids);
        }
        close_subject(&s);
    }
    free(text);
}

enum { N_THREADS = 4 };

static void *encode_often(void *arg)
{
    struct subject *s = arg;
    struct lg_env env;
    lg_env_child(&env, &s->env);
    static const char text[] = "<|im_start|>the hello ing 333 aaaa \xe4\xb8\x96<|im_end|>";
    size_t n_first = 0;
    for (int i = 0; i < 200; i++) {
        int32_t *ids;
        size_t n;
        REQUIRE_INT(
            lg_vocab_encode(s->vocab, &env, text, sizeof(text) - 1, LG_ENCODE_PARSE_SPECIAL, &ids, &n), ==,
            0);
        REQUIRE(i == 0 || n == n_first);
        n_first = n;
        lg_free(&env, ids);
    }
    return NULL;
}

static void test_threads(void)
{
    struct small_vocab small;
    struct subject s = {0};
    small_bpe(&small, "qwen2");
    open_small(&s, &small);
    pthread_t threads[N_THREADS];
    for (size_t i = 0; i < N_THREADS; i++)
        REQUIRE_INT(pthread_create(&threads[i], NULL, encode_often, &s), ==, 0);
    for (size_t i = 0; i < N_THREADS; i++)
        REQUIRE_INT(pthread_join(threads[i], NULL), ==, 0);
    close_subject(&s);
}

static void test_utf8(void)
{
    static const struct {
        const char *bytes;
        int len;
    } cases[] = {
        {"a", 1},
        {"\xc3\xa9", 2},
        {"\xe4\xb8\x96", 3},
        {"\xf0\x9f\xa6\x99", 4},
        {"\xc3", 0},
        {"\xe4\xb8", 0},
        {"\xf0\x9f\xa6", 0},
        {"\x80", -1},
        {"\xc0\x80", -1},
        {"\xc1\xbf", -1},
        {"\xe0\x80", -1},
        {"\xe0\xa0\x80", 3},
        {"\xed\xa0\x80", -1},
        {"\xed\x9f\xbf", 3},
        {"\xf0\x80", -1},
        {"\xf4\x90", -1},
        {"\xf4\x8f\xbf\xbf", 4},
        {"\xf5", -1},
        {"\xff", -1},
        {"\xe4\xb8x", -2},
        {"\xf0\x9f\xa6x", -3},
        {"\xc3x", -1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        REQUIRE_INT(lg_utf8_len(cases[i].bytes, strlen(cases[i].bytes)), ==, cases[i].len);
    REQUIRE_INT(lg_utf8_len("", 0), ==, 0);
    REQUIRE_INT(lg_utf8_decode("\xf4\x8f\xbf\xbf", 4), ==, 0x10ffff);
    REQUIRE_INT(lg_utf8_decode("\xe4\xb8\x96", 3), ==, 0x4e16);
}

int main(void)
{
    test_utf8();
    test_specials();
    test_pretokenisers();
    test_merging();
    test_decoder();
    test_round_trips();
    test_hostile();
    test_odd();
    test_allocation_failures();
    test_threads();
    test_long_texts();
    return 0;
}
