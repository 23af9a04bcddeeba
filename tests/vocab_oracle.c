/* SPDX-License-Identifier: MIT
 * Vocabularies against ids and texts that llama.cpp gives: the shared oracles, real vocabularies, and model
 * fixtures. */
#include "json.h"
#include "text/vocab.h"

struct subject {
    struct lg_env env;
    struct lg_gguf *gguf;
    struct lg_vocab *vocab;
};

static void subject_open(struct subject *s, const char *path)
{
    lg_env_init(&s->env);
    int rc = lg_gguf_open(&s->env, path, &s->gguf);
    if (rc == 0)
        rc = lg_vocab_create(&s->env, s->gguf, &s->vocab);
    if (rc < 0)
        fprintf(stderr, "%s: %s\n", path, s->env.error);
    REQUIRE_INT(rc, ==, 0);
}

static void subject_close(struct subject *s)
{
    lg_vocab_destroy(s->vocab);
    lg_gguf_close(s->gguf);
}

static unsigned n_failures;

static void print_ids(const char *name, const int32_t *ids, size_t n)
{
    fprintf(stderr, "  %s:", name);
    for (size_t i = 0; i < n; i++)
        fprintf(stderr, " %d", ids[i]);
    fputc('\n', stderr);
}

static void check_ids(const struct subject *s, const char *where, const char *text, size_t len,
                      uint32_t flags, const int32_t *want, size_t n_want)
{
    struct lg_env env;
    lg_env_child(&env, &s->env);
    int32_t *ids;
    size_t n;
    REQUIRE_INT(lg_vocab_encode(s->vocab, &env, text, len, flags, &ids, &n), ==, 0);
    if (n != n_want || memcmp(ids, want, n * sizeof(*ids)) != 0) {
        fprintf(stderr, "%s: '%.*s', flags %u\n", where, (int)len, text, flags);
        print_ids("got", ids, n);
        print_ids("want", want, n_want);
        n_failures++;
    }
    lg_free(&env, ids);
}

/** Checks the pieces put together, but for the space that the decoder drops, and the decoder where they are
 * UTF-8. */
static void check_text(const struct subject *s, const char *where, const int32_t *ids, size_t n,
                       const struct json *want)
{
    char pieces[8192], text[8192];
    size_t n_pieces = 0, n_text = 0;
    struct lg_decoder d = {0};
    for (size_t i = 0; i < n; i++) {
        struct lg_str piece;
        lg_vocab_piece(s->vocab, ids[i], true, &piece);
        REQUIRE_INT(n_pieces + piece.len, <, sizeof(pieces));
        memcpy(pieces + n_pieces, piece.ptr, piece.len);
        n_pieces += piece.len;
        int len = lg_decoder_push(&d, s->vocab, ids[i], true, text + n_text, sizeof(text) - n_text);
        REQUIRE_INT(len, >=, 0);
        n_text += (size_t)len;
    }
    int len = lg_decoder_finish(&d, text + n_text, sizeof(text) - n_text);
    REQUIRE_INT(len, ==, 0);
    bool same_text = n_text == want->len && memcmp(text, want->str, n_text) == 0;
    // The oracle's text has no leading space where the vocabulary adds one.
    size_t skip = n_pieces == want->len + 1 && pieces[0] == ' ';
    bool same_pieces = n_pieces - skip == want->len && memcmp(pieces + skip, want->str, want->len) == 0;
    if (!same_text || !same_pieces) {
        fprintf(stderr, "%s: text '%.*s', pieces '%.*s', want '%s'\n", where, (int)n_text, text,
                (int)n_pieces, pieces, want->str);
        n_failures++;
    }
}

static size_t read_ids(const struct json *array, int32_t *ids, size_t cap)
{
    REQUIRE(array && array->len <= cap);
    size_t n = 0;
    for (const struct json *id = array->first; id; id = id->next)
        ids[n++] = (int32_t)id->number;
    return n;
}

static void check_oracle(const char *kind)
{
    char name[256], path[256];
    snprintf(name, sizeof(name), "oracle/visible/tokenizers/%s.json", kind);
    struct json *oracle = json_load(test_shared_path(name));
    snprintf(path, sizeof(path), "oracle/visible/tokenizers/%s", json_get(oracle, "model")->str);
    struct subject s = {0};
    subject_open(&s, test_shared_path(path));
    unsigned n_cases = 0;
    for (const struct json *c = json_get(oracle, "cases")->first; c; c = c->next, n_cases++) {
        const struct json *text = json_get(c, "text");
        int32_t want[4096];
        size_t n_want = read_ids(json_get(c, "ids"), want, 4096);
        uint32_t flags = (json_get(c, "add_special")->number != 0 ? LG_ENCODE_ADD_SPECIAL : 0u) |
                         (json_get(c, "parse_special")->number != 0 ? LG_ENCODE_PARSE_SPECIAL : 0u);
        check_ids(&s, kind, text->str, text->len, flags, want, n_want);
        check_text(&s, kind, want, n_want, json_get(c, "detok"));
    }
    REQUIRE_INT(n_cases, >=, 84);
    printf("%s: %u cases\n", kind, n_cases);
    json_free(oracle);
    subject_close(&s);
}

/** Texts of `.inp` are separated by a line of their own, ids of each are a line of `.out`. */
static void check_real(const char *kind)
{
    static const char separator[] = "\n__ggml_vocab_test__\n";
    char name[128], inp[140], out[140];
    snprintf(name, sizeof(name), "vocab/ggml-vocab-%s.gguf", kind);
    snprintf(inp, sizeof(inp), "%s.inp", name);
    snprintf(out, sizeof(out), "%s.out", name);
    struct subject s = {0};
    subject_open(&s, test_shared_path(name));
    char *texts = test_read_file(test_shared_path(inp), NULL),
         *lines = test_read_file(test_shared_path(out), NULL);
    unsigned n_cases = 0;
    char *line = lines;
    for (char *text = texts, *end; *text && (end = strstr(text, separator)); text = end + strlen(separator)) {
        int32_t want[4096];
        size_t n_want = 0;
        for (line += strspn(line, " "); *line && *line != '\n'; line += strspn(line, " "))
            want[n_want++] = (int32_t)strtol(line, &line, 10);
        line += *line == '\n';
        check_ids(&s, kind, text, (size_t)(end - text), 0, want, n_want);
        n_cases++;
    }
    REQUIRE_INT(n_cases, >=, 46);
    REQUIRE_INT(*line, ==, 0);
    printf("vocab %s: %u cases\n", kind, n_cases);
    free(texts);
    free(lines);
    subject_close(&s);
}

/** A model's fixture: one prompt, or a list of cases with one each. */
static void check_fixture(const char *folder, const char *file)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", folder, file);
    struct json *fixture = json_load(test_shared_path(path));
    snprintf(path, sizeof(path), "models/%s%s", strstr(folder, "tavern") ? "tavern/" : "",
             json_get(fixture, "model")->str);
    struct subject s = {0};
    subject_open(&s, test_shared_path(path));
    const struct json *cases = json_get(fixture, "cases");
    for (const struct json *c = cases ? cases->first : fixture; c; c = cases ? c->next : NULL) {
        const struct json *prompt = json_get(c, "prompt"),
                          *ids = json_get(c, cases ? "prompt_ids" : "prompt_tokens");
        REQUIRE(prompt && ids);
        int32_t want[4096];
        size_t n_want = read_ids(ids, want, 4096);
        check_ids(&s, file, prompt->str, prompt->len, LG_ENCODE_ADD_SPECIAL | LG_ENCODE_PARSE_SPECIAL, want,
                  n_want);
        // A case's text is what the greedy tokens give; of the other fixtures it is prompt and answer
        // together.
        const struct json *greedy = json_get(c, cases ? "greedy_ids" : "greedy_tokens"),
                          *text = json_get(c, "text");
        if (greedy && text && !cases) {
            n_want += read_ids(greedy, want + n_want, 4096 - n_want);
            check_text(&s, file, want, n_want, text);
        }
    }
    json_free(fixture);
    subject_close(&s);
}

int main(void)
{
    if (!test_shared())
        return TEST_SKIP;
    static const char *const kinds[] = {"gpt-2", "llama-bpe", "qwen2", "spm", "spm-gemma"};
    static const char *const vocabs[] = {"deepseek-coder", "deepseek-llm", "falcon", "gpt-2", "llama-bpe",
                                         "llama-spm",      "mpt",          "phi-3",  "qwen2"};
    static const char *const models[] = {
        "atome-vanilla-1m-f16", "atome-vanilla-1m-q4_0", "atome-vanilla-1m-q8_0", "stories260K-bf16",
        "stories260K-f16",      "stories260K-f32",       "stories260K-q4_0",      "stories260K-q4_k_m",
        "stories260K-q5_0",     "stories260K-q8_0",      "stories3M-f16",         "stories3M-q4_0",
        "stories3M-q4_k_m",     "stories3M-q8_0",
    };
    static const char *const taverns[] = {"fixtures-f16.json", "fixtures-q4_k_m.json", "fixtures-q8_0.json"};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        check_oracle(kinds[i]);
    for (size_t i = 0; i < sizeof(vocabs) / sizeof(vocabs[0]); i++)
        check_real(vocabs[i]);
    for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++) {
        char file[64];
        snprintf(file, sizeof(file), "%s.json", models[i]);
        check_fixture("models/fixtures", file);
    }
    for (size_t i = 0; i < sizeof(taverns) / sizeof(taverns[0]); i++)
        check_fixture("models/tavern", taverns[i]);
    REQUIRE_INT(n_failures, ==, 0);
    return 0;
}
