/* SPDX-License-Identifier: MIT
 * Encoding speed of real vocabularies, on prose and on texts that are hard for merging and matching. */
#include "json.h"
#include "text/vocab.h"
#include "util/clock.h"

enum { N_RUNS = 3 };

struct text {
    const char *name;
    char *bytes;
    size_t len;
};

static double now(void)
{
    return 1e-9 * (double)lg_now_ns();
}

static struct text repeat(const char *name, const char *unit, const char *end)
{
    size_t size = 1000000, len = 0, unit_len = strlen(unit);
    struct text text = {.name = name, .bytes = malloc(size)};
    REQUIRE(text.bytes);
    for (; len + unit_len + strlen(end) <= size; len += unit_len)
        memcpy(text.bytes + len, unit, unit_len);
    memcpy(text.bytes + len, end, strlen(end));
    text.len = len + strlen(end);
    return text;
}

static void measure(struct lg_env *env, const struct lg_vocab *vocab, const struct text *text)
{
    double best = 1e9;
    size_t n = 0;
    for (int run = 0; run < N_RUNS; run++) {
        int32_t *ids;
        double begin = now();
        REQUIRE_INT(lg_vocab_encode(vocab, env, text->bytes, text->len, LG_ENCODE_PARSE_SPECIAL, &ids, &n),
                    ==, 0);
        double seconds = now() - begin;
        best = seconds < best ? seconds : best;
        lg_free(env, ids);
    }
    printf("  %-16s %8.2f MB/s %8zu tokens\n", text->name, 1e-6 * (double)text->len / best, n);
}

static void bench(const char *kind, const struct text *texts, size_t n_texts)
{
    char name[128];
    snprintf(name, sizeof(name), "vocab/ggml-vocab-%s.gguf", kind);
    struct lg_env env;
    lg_env_init(&env);
    struct lg_gguf *gguf;
    struct lg_vocab *vocab;
    REQUIRE_INT(lg_gguf_open(&env, test_shared_path(name), &gguf), ==, 0);
    double begin = now();
    REQUIRE_INT(lg_vocab_create(&env, gguf, &vocab), ==, 0);
    printf("%s: %u tokens loaded in %.0f ms\n", kind, lg_vocab_size(vocab), 1e3 * (now() - begin));
    for (size_t i = 0; i < n_texts; i++)
        measure(&env, vocab, &texts[i]);
    lg_vocab_destroy(vocab);
    lg_gguf_close(gguf);
}

int main(void)
{
    if (!test_shared())
        return TEST_SKIP;
    static const char *const kinds[] = {"gpt-2",  "qwen2", "llama-bpe",      "deepseek-llm",
                                        "falcon", "mpt",   "deepseek-coder", "llama-spm"};
    struct text texts[] = {
        {.name = "tinyshakespeare"},
        repeat("a", "a", ""),
        repeat("spaces", " ", ""),
        repeat("spaces, then han", " ", "\xe4\xb8\x80"),
        repeat("newlines", "\n", "x"),
        repeat("space newline", " \n", "x"),
        repeat("one emoji", "\xf0\x9f\xa6\x99", ""),
        repeat("digits", "7", ""),
        repeat("apostrophes", "'", ""),
        repeat("invalid UTF-8", "\xe2\x82", ""),
    };
    texts[0].bytes = test_read_file(test_shared_path("text/tinyshakespeare.txt"), &texts[0].len);
    size_t n_texts = sizeof(texts) / sizeof(texts[0]);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        bench(kinds[i], texts, n_texts);
    for (size_t i = 0; i < n_texts; i++)
        free(texts[i].bytes);
    return 0;
}
