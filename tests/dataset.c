/* SPDX-License-Identifier: MIT
 *
 * Data sets: what lines of every shape become, what of it counts, how samples share micro-batches, and that a
 * place which was saved is a place. Samples are written as text, with what counts in brackets.
 */
#define LLMGPU_EXPERIMENTAL
#include <unistd.h>

#include "heap.h"
#include "llmgpu/llmgpu.h"
#include "train/data_parts.h"
#include "util/checked.h"
#include "vocab_build.h"

static char folder[] = "/tmp/llmgpu-data-XXXXXX";

/** Writes a file into the folder. */
static const char *put_file(const char *name, const char *bytes, size_t len)
{
    static char paths[8][128];
    static unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    REQUIRE(f && fwrite(bytes, 1, len, f) == len && fclose(f) == 0);
    return path;
}

static const char *put_text(const char *name, const char *text)
{
    return put_file(name, text, strlen(text));
}

/* ---- vocabularies */

static const char chatml[] = "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\\n' + m['content'] + "
                             "'<|im_end|>' + '\\n'}}{% endfor %}"
                             "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/* Answers begin with a space and end with one before the end token, as those of Llama 2 do. */
static const char llama[] =
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content | trim }} [/INST]"
    "{% elif m.role == 'assistant' %} {{ m.content | trim }} {{ eos_token }}{% else %}{{ raise_exception('no "
    "role') }}"
    "{% endif %}{% endfor %}";

/* Refuses to begin with nothing, and shows only the last answer's thoughts. */
static const char thinker[] =
    "{{ messages[0].role }}:{% for m in messages %}{% if m.role == 'assistant' and not loop.last %}"
    "<|im_start|>{{ m.content.split('|')[-1] }}<|im_end|>{% else %}<|im_start|>{{ m.content }}<|im_end|>{% "
    "endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>{% endif %}";

struct subject {
    struct lg_env env;
    struct lg_vocab *vocab;
};

static void make_vocab(struct subject *s, bool spm, const char *pre)
{
    static struct small_vocab small;
    static struct build file;
    struct lg_gguf *gguf;
    if (spm)
        small_spm(&small);
    else
        small_bpe(&small, pre);
    small_build(&small, &file);
    lg_env_init(&s->env);
    REQUIRE_INT(lg_gguf_parse(&s->env, "small", file.data, file.size, &gguf), ==, 0);
    REQUIRE_INT(lg_vocab_create(&s->env, gguf, &s->vocab), ==, 0);
    lg_gguf_close(gguf);
}

/** A sample as text. */
static const char *spell(const struct lg_vocab *vocab, const int32_t *tokens, const uint8_t *counts,
                         uint32_t n)
{
    static char out[1 << 16];
    size_t len = 0;
    bool in = false;
    for (uint32_t i = 0; i < n; i++) {
        struct lg_str piece;
        lg_vocab_piece(vocab, tokens[i], true, &piece);
        REQUIRE(len + piece.len + 3 < sizeof(out));
        if (in != counts[i])
            out[len++] = counts[i] ? '[' : ']';
        in = counts[i];
        memcpy(out + len, piece.ptr, piece.len);
        len += piece.len;
    }
    if (in)
        out[len++] = ']';
    out[len] = '\0';
    return out;
}

static int read_sample(struct subject *s, const char *template_text, bool plain, bool all, const char *line,
                       const char **out)
{
    struct lg_template *template = NULL;
    struct lg_sample sample = {0};
    if (template_text)
        REQUIRE_INT(lg_template_parse(&s->env, template_text, strlen(template_text), NULL, &template), ==, 0);
    const struct lg_sample_reader reader = {
        .vocab = s->vocab, .template = template, .plain = plain, .all = all};
    s->env.error[0] = '\0';
    int rc = lg_sample_read(&s->env, &reader, (struct lg_str){line, strlen(line)}, &sample);
    *out = spell(s->vocab, sample.tokens, sample.counts, sample.n);
    lg_sample_free(&s->env, &sample);
    lg_template_destroy(template);
    return rc;
}

static void expect(struct subject *s, const char *template_text, const char *line, const char *expected)
{
    const char *got;
    int rc = read_sample(s, template_text, false, false, line, &got);
    if (rc < 0)
        fprintf(stderr, "%s: %s\n", line, s->env.error);
    REQUIRE_INT(rc, ==, 0);
    REQUIRE_STR(got, expected);
}

#define SAYS(role, text) "{\"role\":\"" role "\",\"content\":\"" text "\"}"

static void check_chatml(void)
{
    struct subject s;
    const char *got;
    make_vocab(&s, false, "qwen2");
    const char *templates[] = {chatml, NULL}; // the model's, and the one for models without
    for (int i = 0; i < 2; i++) {
        expect(&s, templates[i],
               "{\"messages\":[" SAYS("system", "be") "," SAYS("user", "hi") "," SAYS(
                   "assistant", "the ball") "," SAYS("user", "a") "," SAYS("assistant", "\\n\\nb") "]}",
               "<|im_start|>system\nbe<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
               "[the "
               "ball<|im_end|>]\n<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n[\n\nb<|im_end|>]\n");
        expect(&s, templates[i], "{\"prompt\":\"what\",\"completion\":\"this\"}",
               "<|im_start|>user\nwhat<|im_end|>\n<|im_start|>assistant\n[this<|im_end|>]\n");
        expect(&s, templates[i],
               "{\"instruction\":\"add\",\"input\":\"1\",\"output\":\"2\",\"text\":\"other\"}",
               "<|im_start|>user\nadd\n\n1<|im_end|>\n<|im_start|>assistant\n[2<|im_end|>]\n");
        expect(&s, templates[i], "{\"instruction\":\"add\",\"input\":\"\",\"output\":\"2\"}",
               "<|im_start|>user\nadd<|im_end|>\n<|im_start|>assistant\n[2<|im_end|>]\n");
        expect(&s, templates[i], "{\"messages\":[" SAYS("assistant", "hm") "]}",
               "<|im_start|>assistant\n[hm<|im_end|>]\n");
        expect(&s, templates[i], "{\"messages\":[" SAYS("user", "hm") "]}",
               "<|im_start|>user\nhm<|im_end|>\n");
    }
    expect(&s, chatml, "{\"text\":\"once <|im_start|>\"}", "[once <|im_start|><|im_end|>]");
    expect(&s, chatml, "{\"text\":\"once<|im_end|>\"}", "[once<|im_end|>]");
    expect(&s, chatml, "{\"tokens\":[97,98,99],\"mask\":[0,true,0]}", "a[b]c");
    expect(&s, chatml, "{\"tokens\":[97,98]}", "[ab]");
    expect(&s, chatml, "   \r", "");

    REQUIRE_INT(read_sample(&s, chatml, false, true, "{\"prompt\":\"a\",\"completion\":\"b\"}", &got), ==, 0);
    REQUIRE_STR(got, "[<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n]");
    REQUIRE_INT(read_sample(&s, NULL, true, false, "{\"prompt\":\"a\\n\",\"completion\":\"b\"}", &got), ==,
                0);
    REQUIRE_STR(got, "a\n[b<|im_end|>]");
    lg_vocab_destroy(s.vocab);

    make_vocab(&s, false, "llama-bpe"); // puts BOS before a text, but not a second one
    expect(&s, chatml, "{\"text\":\"aa\"}", "[<|endoftext|>aa<|im_end|>]");
    expect(&s, chatml, "{\"text\":\"<|endoftext|>aa\"}", "[<|endoftext|>aa<|im_end|>]");
    expect(&s, NULL, "{\"prompt\":\"a\",\"completion\":\"b\"}",
           "<|endoftext|><|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n[b<|im_end|>]\n");
    lg_vocab_destroy(s.vocab);
}

/** A vocabulary that puts a space before a text: parts of one must not get it. */
static void check_llama(void)
{
    struct subject s;
    const char *got;
    make_vocab(&s, true, NULL);
    expect(&s, llama,
           "{\"messages\":[" SAYS("user", " the ") "," SAYS("assistant", "hello") "," SAYS(
               "user", "ab") "," SAYS("assistant", "cd ") "]}",
           "<s> [INST] the [/INST][ hello </s>] [INST] ab [/INST][ cd </s>]");
    REQUIRE_INT(read_sample(&s, NULL, true, false, "{\"prompt\":\"the\",\"completion\":\"hello\"}", &got), ==,
                0);
    REQUIRE_STR(got, "<s> the[hello</s>]");
    REQUIRE_INT(read_sample(&s, llama, false, false, "{\"messages\":[" SAYS("system", "a") "]}", &got), ==,
                LLMGPU_E_TEMPLATE);
    REQUIRE(strstr(s.env.error, "no role"));

    // The prompt is cut into tokens as it is when a model is asked.
    struct lg_template *template;
    struct lg_sample sample = {0};
    static const char line[] = "{\"prompt\":\"the\",\"completion\":\"hello\"}",
                      asked[] = "[INST] the [/INST]";
    REQUIRE_INT(lg_template_parse(&s.env, llama, sizeof(llama) - 1, NULL, &template), ==, 0);
    const struct lg_sample_reader reader = {.vocab = s.vocab, .template = template};
    REQUIRE_INT(lg_sample_read(&s.env, &reader, (struct lg_str){line, sizeof(line) - 1}, &sample), ==, 0);
    int32_t *tokens;
    size_t n;
    REQUIRE_INT(
        lg_vocab_encode(s.vocab, &s.env, asked, sizeof(asked) - 1, LG_ENCODE_ADD_SPECIAL, &tokens, &n), ==,
        0);
    REQUIRE(n < sample.n && memcmp(tokens, sample.tokens, n * sizeof(*tokens)) == 0);
    REQUIRE(!sample.counts[n - 1] && sample.counts[n]);
    lg_free(&s.env, tokens);
    lg_sample_free(&s.env, &sample);
    lg_template_destroy(template);
    lg_vocab_destroy(s.vocab);
}

/** Beginnings that are none: answers are found by other contents in their place. */
static void check_thinker(void)
{
    struct subject s;
    make_vocab(&s, false, "qwen2");
    expect(&s, thinker,
           "{\"messages\":[" SAYS("user", "a") "," SAYS("assistant", "hm|b") "," SAYS("user", "c") "," SAYS(
               "assistant", "hm|d") "]}",
           "user:<|im_start|>a<|im_end|><|im_start|>[b<|im_end|>]<|im_start|>c<|im_end|><|im_start|>[hm|d<|"
           "im_end|>]");
    expect(&s, thinker, "{\"messages\":[" SAYS("assistant", "b") "," SAYS("user", "c") "]}",
           "assistant:<|im_start|>[b<|im_end|>]<|im_start|>c<|im_end|>");
    const char *got;
    REQUIRE_INT(read_sample(&s, "{% for m in messages %}{{ m.content | upper | length }}{% endfor %}", false,
                            false, "{\"messages\":[" SAYS("user", "c") "," SAYS("assistant", "bb") "]}",
                            &got),
                ==, 0);
    REQUIRE_STR(got, "1[2]"); // whatever it is, it is what the model has to say
    REQUIRE_INT(read_sample(&s, "{{ messages | length }}", false, false,
                            "{\"messages\":[" SAYS("user", "c") "," SAYS("assistant", "bb") "]}", &got),
                ==, LLMGPU_E_TEMPLATE);
    REQUIRE(strstr(s.env.error, "message 2"));
    lg_vocab_destroy(s.vocab);
}

static void check_bad(void)
{
    static const struct {
        const char *line, *says;
    } bad[] = {
        {"{", "byte 1"},
        {"[]", "no object"},
        {"{}", "none of"},
        {"{\"text\":3}", "text"},
        {"{\"text\":\"\xff\"}", "UTF-8"},
        {"{\"text\":\"a\"} x", "behind"},
        {"{\"messages\":[]}", "empty"},
        {"{\"messages\":{}}", "list"},
        {"{\"messages\":[3]}", "message 1 has no role"},
        {"{\"messages\":[{\"role\":\"user\"},{\"content\":\"a\"}]}", "message 2 has no role"},
        {"{\"prompt\":\"a\"}", "completion"},
        {"{\"prompt\":3,\"completion\":\"a\"}", "prompt"},
        {"{\"instruction\":\"a\",\"input\":\"b\"}", "output"},
        {"{\"instruction\":\"a\",\"input\":7,\"output\":\"b\"}", "input"},
        {"{\"tokens\":\"1\"}", "lists"},
        {"{\"tokens\":[1,2],\"mask\":[1]}", "same length"},
        {"{\"tokens\":[1,100000]}", "token 1 "},
        {"{\"tokens\":[1,-1]}", "token 1 "},
        {"{\"tokens\":[1.5]}", "token 0 "},
        {"{\"tokens\":[1],\"mask\":[2]}", "mask of token 0"},
    };
    struct subject s;
    const char *got;
    make_vocab(&s, false, "qwen2");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        REQUIRE_INT(read_sample(&s, chatml, false, false, bad[i].line, &got), ==, LLMGPU_E_FORMAT);
        if (!strstr(s.env.error, bad[i].says))
            fprintf(stderr, "%s: %s\n", bad[i].line, s.env.error);
        REQUIRE(strstr(s.env.error, bad[i].says));
        REQUIRE_STR(got, "");
    }
    lg_vocab_destroy(s.vocab);
}

/* ---- orders */

static void check_order(void)
{
    static const uint64_t sizes[] = {1, 2, 3, 4, 5, 7, 16, 17, 100, 1000, 4096, 4097, 65537};
    static uint8_t seen[65537];
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (uint64_t seed = 0; seed < 3; seed++) {
            struct lg_order order = lg_order_make(sizes[i], seed << 33, seed);
            memset(seen, 0, sizeof(seen));
            for (uint64_t place = 0; place < sizes[i]; place++) {
                uint64_t at = lg_order_at(&order, place);
                REQUIRE(at < sizes[i] && !seen[at]);
                seen[at] = 1;
            }
        }
    }
    // Each may stand anywhere, and seeds and rounds differ.
    unsigned stands[7][7] = {{0}}, same = 0;
    for (uint64_t round = 0; round < 7000; round++) {
        struct lg_order order = lg_order_make(7, 5, round);
        for (uint64_t place = 0; place < 7; place++)
            stands[place][lg_order_at(&order, place)]++;
    }
    for (int i = 0; i < 49; i++)
        REQUIRE(stands[i / 7][i % 7] > 800 && stands[i / 7][i % 7] < 1200);
    struct lg_order a = lg_order_make(1000, 1, 0), b = lg_order_make(1000, 2, 0),
                    c = lg_order_make(1000, 1, 1);
    for (uint64_t place = 0; place < 1000; place++)
        same += (lg_order_at(&a, place) == lg_order_at(&b, place)) +
                (lg_order_at(&a, place) == lg_order_at(&c, place)) + (lg_order_at(&a, place) == place);
    REQUIRE_INT(same, <, 30);
    struct lg_order large = lg_order_make(UINT64_C(1) << 62, 3, 0);
    REQUIRE(lg_order_at(&large, (UINT64_C(1) << 62) - 1) < UINT64_C(1) << 62);
}

/* ---- lines */

static void expect_lines(const char *const *paths, size_t n_paths, const char *const *expected, uint64_t n)
{
    struct lg_env env;
    struct lg_lines lines;
    lg_env_init(&env);
    REQUIRE_INT(lg_lines_open(&env, paths, n_paths, &lines), ==, 0);
    REQUIRE_INT(lines.n, ==, n);
    for (uint64_t i = 0; i < n; i++) {
        struct lg_str line = lg_lines_get(&lines, i);
        REQUIRE(line.len == strlen(expected[i]) && memcmp(line.ptr, expected[i], line.len) == 0);
    }
    lg_lines_close(&env, &lines);
}

static void check_lines(void)
{
    const char *paths[] = {put_text("a", "one\r\ntwo\n\nthree"), put_text("empty", ""),
                           put_text("b", "\xef\xbb\xbf"
                                         "four\n"),
                           put_text("c", "\n"), put_text("empty2", "")};
    const char *expected[] = {"one\r", "two", "", "three", "four", ""};
    expect_lines(paths, 5, expected, 6);
    expect_lines(paths + 1, 2, expected + 4, 1);

    struct lg_env env;
    struct lg_lines lines;
    lg_env_init(&env);
    REQUIRE_INT(lg_lines_open(&env, paths + 1, 1, &lines), ==, LLMGPU_E_FORMAT);
    REQUIRE(strstr(env.error, "empty"));
    REQUIRE_INT(lg_lines_open(&env, (const char *[]){"/nowhere/x"}, 1, &lines), ==, LLMGPU_E_IO);

    // Lines that reach over the parts in which a file is looked through, and many short ones.
    size_t len = (size_t)40 << 20;
    char *big = malloc(len);
    REQUIRE(big);
    memset(big, 'x', len);
    for (size_t i = (size_t)20 << 20; i < (size_t)21 << 20; i += 2)
        big[i] = '\n';
    big[((size_t)16 << 20) - 1] = '\n';
    const char *path = put_file("big", big, len);
    REQUIRE_INT(lg_lines_open(&env, &path, 1, &lines), ==, 0);
    REQUIRE_INT(lines.n, ==, (1 << 19) + 2);
    REQUIRE_INT(lg_lines_get(&lines, 0).len, ==, (16 << 20) - 1);
    REQUIRE_INT(lg_lines_get(&lines, 1).len, ==, 4 << 20);
    REQUIRE_INT(lg_lines_get(&lines, 2).len, ==, 1);
    REQUIRE_INT(lg_lines_get(&lines, lines.n - 1).len, ==, (19 << 20) + 1);
    lg_lines_close(&env, &lines);
    free(big);
    unlink(path);
}

/* ---- places in a data set */

enum { N_LINES = 200, ROWS = 64 };

/** Line i is of tokens that say which it is: the first two i in base 256, the third its place; length 2
 * .. 60. */
static uint32_t length_of(uint32_t line)
{
    return 2 + line * 37 % 59;
}

static const char *put_samples(const char *name, uint32_t n)
{
    static char text[1 << 17];
    size_t len = 0;
    for (uint32_t i = 0; i < n; i++) {
        len += (size_t)sprintf(text + len, "{\"tokens\":[%u,%u", i >> 8, i & 255);
        for (uint32_t t = 2; t < length_of(i); t++)
            len += (size_t)sprintf(text + len, ",%u", t);
        len += (size_t)sprintf(text + len, "]}\n");
        REQUIRE(len < sizeof(text) - 1024);
    }
    return put_file(name, text, len);
}

static struct lg_data *open_lines(struct subject *s, const char *path, const struct lg_data_params *params)
{
    struct lg_data *data;
    int rc = lg_data_open(&s->env, s->vocab, &path, 1, params, &data);
    if (rc < 0)
        fprintf(stderr, "%s\n", s->env.error);
    REQUIRE_INT(rc, ==, 0);
    return data;
}

/** Checks a micro-batch by itself, and counts the lines in it. */
static void check_batch(const struct lg_train_batch *b, const struct lg_data_params *p, uint32_t *lines)
{
    uint32_t sample = UINT32_MAX, n_targets = 0, row = 0;
    REQUIRE(b->n_rows > 0 && b->n_rows <= p->n_ctx * p->n_batch && (p->pack || b->n_samples <= p->n_batch));
    while (row < b->n_rows) {
        uint32_t line = (uint32_t)b->tokens[row] << 8, rows;
        REQUIRE_INT(b->sample[row], ==, ++sample);
        line += (uint32_t)b->targets[row]; // the second token
        REQUIRE(line < N_LINES);
        rows = lg_min_u32(length_of(line) - 1, p->n_ctx);
        for (uint32_t i = 0; i < rows; i++, row++) {
            REQUIRE(row < b->n_rows && b->sample[row] == sample && b->pos[row] == i);
            REQUIRE_INT(b->tokens[row], ==, i == 0 ? line >> 8 : i == 1 ? line & 255 : i);
            REQUIRE_INT(b->targets[row], ==, i == 0 ? line & 255 : i + 1);
            n_targets++;
        }
        lines[line]++;
    }
    REQUIRE(sample + 1 == b->n_samples && n_targets == b->n_targets);
}

/** What a data set gives until it ends: how often each line. */
static uint32_t read_all(struct lg_data *data, const struct lg_data_params *p, uint32_t *lines)
{
    struct lg_env env;
    struct lg_train_batch batch;
    uint32_t n = 0;
    int rc;
    lg_env_init(&env);
    memset(lines, 0, N_LINES * sizeof(*lines));
    REQUIRE_INT(lg_train_batch_create(&env, lg_data_max_rows(data), &batch), ==, 0);
    while ((rc = lg_data_next(data, &batch)) > 0) {
        check_batch(&batch, p, lines);
        n++;
    }
    REQUIRE_INT(rc, ==, 0);
    lg_train_batch_free(&env, &batch);
    return n;
}

static void check_passes(struct subject *s)
{
    const char *path = put_samples("samples", N_LINES);
    uint32_t lines[N_LINES], n_rows = 0;
    for (uint32_t i = 0; i < N_LINES; i++)
        n_rows += length_of(i) - 1;
    for (int pack = 0; pack < 2; pack++) {
        for (int shuffle = 0; shuffle < 2; shuffle++) {
            struct lg_data_params p = {
                .n_ctx = ROWS, .n_batch = 4, .pack = pack, .shuffle = shuffle, .n_passes = 3, .seed = 9};
            struct lg_data *data = open_lines(s, path, &p);
            struct lg_data_stats stats;
            REQUIRE_INT(lg_data_count(data, &stats), ==, 0);
            uint32_t n = read_all(data, &p, lines);
            for (uint32_t i = 0; i < N_LINES; i++)
                REQUIRE_INT(lines[i], ==, 3);
            REQUIRE_INT(lg_data_stats(data)->n_batches, ==, n);
            REQUIRE_INT(lg_data_stats(data)->n_samples, ==, 3 * N_LINES);
            REQUIRE_INT(lg_data_stats(data)->n_rows, ==, 3 * n_rows);
            REQUIRE(stats.n_samples == N_LINES && stats.n_lines == N_LINES && stats.n_rows == n_rows &&
                    stats.max_rows == 59);
            REQUIRE(stats.n_targets == n_rows && stats.n_bad == 0 && stats.n_cut == 0 && stats.n_idle == 0);
            if (pack) // nearly full
                REQUIRE_INT(n, <=, 3 * n_rows / (4 * ROWS) * 103 / 100 + 1);
            else
                REQUIRE_INT(n, ==, 3 * N_LINES / 4);
            lg_data_close(data);
        }
    }
}

/** In the order of the files, without packing, samples come as they stand and begin again. */
static void check_in_order(struct subject *s)
{
    const char *path = put_samples("seven", 7);
    struct lg_data_params p = {.n_ctx = ROWS, .n_batch = 2};
    struct lg_data *data = open_lines(s, path, &p);
    struct lg_train_batch batch;
    REQUIRE_INT(lg_train_batch_create(&s->env, 2 * ROWS, &batch), ==, 0);
    for (uint32_t step = 0; step < 20; step++) {
        REQUIRE_INT(lg_data_next(data, &batch), ==, 1);
        REQUIRE_INT(batch.n_samples, ==, 2);
        REQUIRE_INT(batch.n_rows, ==, length_of(2 * step % 7) + length_of((2 * step + 1) % 7) - 2);
        REQUIRE_INT(batch.targets[0], ==, 2 * step % 7);
    }
    lg_train_batch_free(&s->env, &batch);
    lg_data_close(data);
}

static uint64_t hash_batch(const struct lg_train_batch *b)
{
    uint64_t hash = b->n_rows;
    for (uint32_t i = 0; i < b->n_rows; i++)
        hash = hash * 6364136223846793005u + (uint64_t)b->tokens[i] * 31 + (uint64_t)b->targets[i] * 7 +
               b->pos[i] * 3 + b->sample[i];
    return hash;
}

/** Wherever it stops, it goes on as if it had not. */
static void check_places(struct subject *s)
{
    enum { N = 60 };
    const char *path = put_samples("samples", N_LINES);
    for (int pack = 0; pack < 2; pack++) {
        struct lg_data_params p = {.n_ctx = ROWS, .n_batch = 2, .pack = pack, .shuffle = true, .seed = 3};
        uint64_t hashes[2 * N];
        uint8_t places[N][LG_DATA_PLACE_BYTES];
        size_t sizes[N];
        struct lg_train_batch batch;
        struct lg_data *data = open_lines(s, path, &p);
        REQUIRE_INT(lg_train_batch_create(&s->env, 2 * ROWS, &batch), ==, 0);
        for (uint32_t i = 0; i < 2 * N; i++) {
            if (i < N)
                sizes[i] = lg_data_save(data, places[i]);
            REQUIRE_INT(lg_data_next(data, &batch), ==, 1);
            hashes[i] = hash_batch(&batch);
        }
        for (uint32_t i = 0; i < N; i++) {
            struct lg_data *other = open_lines(s, path, &p);
            REQUIRE_INT(lg_data_restore(i % 2 ? other : data, places[i], sizes[i]), ==, 0);
            for (uint32_t k = i; k < i + N; k++) {
                REQUIRE_INT(lg_data_next(i % 2 ? other : data, &batch), ==, 1);
                REQUIRE(hash_batch(&batch) == hashes[k]);
            }
            lg_data_close(other);
        }
        // Each byte matters, and none harms.
        for (size_t byte = 0; byte < sizes[N - 1]; byte++) {
            places[N - 1][byte] ^= 0x81;
            int rc = lg_data_restore(data, places[N - 1], sizes[N - 1]);
            REQUIRE(rc == 0 || rc == LLMGPU_E_FORMAT);
            REQUIRE(byte >= 24 || rc == LLMGPU_E_FORMAT);
            REQUIRE_INT(lg_data_next(data, &batch), ==, 1);
            places[N - 1][byte] ^= 0x81;
        }
        REQUIRE_INT(lg_data_restore(data, places[N - 1], sizes[N - 1] - 1), ==, LLMGPU_E_FORMAT);
        REQUIRE_INT(lg_data_next(data, &batch), ==, 1);
        REQUIRE(hash_batch(&batch) == hashes[0]); // the beginning
        lg_data_close(data);

        p.seed++; // another order
        data = open_lines(s, path, &p);
        REQUIRE_INT(lg_data_restore(data, places[0], sizes[0]), ==, LLMGPU_E_FORMAT);
        lg_train_batch_free(&s->env, &batch);
        lg_data_close(data);
    }
}

static void check_split(struct subject *s)
{
    const char *path = put_samples("samples", N_LINES);
    struct lg_data_params p = {
        .n_ctx = ROWS, .n_batch = 4, .pack = true, .shuffle = true, .n_passes = 2, .seed = 11};
    struct lg_data *data = open_lines(s, path, &p), *other, *third;
    uint32_t lines[N_LINES], those[N_LINES], again[N_LINES];
    REQUIRE_INT(lg_data_split(data, &s->env, 0.1, &other), ==, 0);
    REQUIRE_INT(lg_data_split(data, &s->env, 0.1, &third), ==, LLMGPU_E_INVALID);
    REQUIRE(lg_data_stats(data)->n_lines == 180 && lg_data_stats(other)->n_lines == 20);
    read_all(data, &p, lines);
    lg_data_close(data);
    read_all(other, &p, those); // it outlives what it was split from
    for (uint32_t i = 0; i < N_LINES; i++)
        REQUIRE((lines[i] == 2 && those[i] == 0) || (lines[i] == 0 && those[i] == 1));
    lg_data_rewind(other);
    read_all(other, &p, again);
    REQUIRE(memcmp(those, again, sizeof(those)) == 0);
    lg_data_close(other);

    for (uint64_t seed = 11; seed < 13; seed++) { // by the seed alone
        p.seed = seed;
        data = open_lines(s, path, &p);
        REQUIRE_INT(lg_data_split(data, &s->env, 0.1, &other), ==, 0);
        read_all(other, &p, again);
        REQUIRE((memcmp(those, again, sizeof(those)) == 0) == (seed == 11));
        lg_data_close(other);
        lg_data_close(data);
    }
}

/** Long samples lose their ends; what then has nothing to learn is left out. */
static void check_cut(struct subject *s)
{
    const char *path = put_text(
        "cut", "{\"tokens\":[1,2,3,4,5,6,7]}\n\r\n{\"tokens\":[1,2,3,4,5,6],\"mask\":[1,0,0,0,0,1]}\n"
               "{\"tokens\":[1]}\n{\"tokens\":[1,2,3],\"mask\":[1,0,0]}\n{\"tokens\":[1,2,3,4,5]}");
    struct lg_data_params p = {.n_ctx = 4, .n_batch = 4, .n_passes = 1};
    struct lg_data *data = open_lines(s, path, &p);
    struct lg_train_batch batch;
    REQUIRE_INT(lg_train_batch_create(&s->env, 16, &batch), ==, 0);
    REQUIRE_INT(lg_data_next(data, &batch), ==, 1);
    REQUIRE(batch.n_samples == 2 && batch.n_rows == 8 && batch.targets[3] == 5 && batch.tokens[4] == 1);
    REQUIRE_INT(lg_data_next(data, &batch), ==, 0);
    REQUIRE_INT(lg_data_next(data, &batch), ==, 0);
    const struct lg_data_stats *stats = lg_data_stats(data);
    REQUIRE(stats->n_lines == 6 && stats->n_samples == 2 && stats->n_idle == 3 && stats->n_bad == 0);
    REQUIRE(stats->n_cut == 2 && stats->cut_tokens == 3 && stats->max_rows == 6);
    lg_train_batch_free(&s->env, &batch);
    lg_data_close(data);
}

struct log {
    char text[4096];
    int n;
};

static void keep_log(void *user, int level, const char *text)
{
    struct log *log = user;
    if (level == LG_LOG_WARN)
        log->n++;
    strncat(log->text, text, sizeof(log->text) - strlen(log->text) - 2);
    strcat(log->text, "\n");
}

static void check_skipped(struct subject *s)
{
    static const char text[] =
        "{\"tokens\":[1,2]}\r\n{\"tokens\":[1,2}\n\n{\"x\":1}\n{\"text\":\"\xff\"}\n{\"tokens\":[3,4]}\n";
    const char *path = put_text("bad", text);
    struct subject logged = *s;
    struct log log = {{0}, 0};
    logged.env.log = keep_log;
    logged.env.user = &log;
    struct lg_data_params p = {.n_ctx = 4, .n_batch = 4, .n_passes = 2, .n_told = 2};
    struct lg_data *data = open_lines(&logged, path, &p);
    struct lg_train_batch batch;
    REQUIRE_INT(lg_train_batch_create(&s->env, 16, &batch), ==, 0);
    REQUIRE_INT(lg_data_next(data, &batch), ==, 1);
    REQUIRE(batch.n_samples == 4 && batch.tokens[1] == 3);
    REQUIRE_INT(lg_data_stats(data)->n_bad, ==, 6);
    REQUIRE_INT(log.n, ==, 3);
    REQUIRE(strstr(log.text, "bad:2: ") && strstr(log.text, "bad:4: ") && !strstr(log.text, "bad:5: "));
    lg_data_close(data);

    p.strict = true;
    data = open_lines(s, path, &p);
    REQUIRE_INT(lg_data_next(data, &batch), ==, LLMGPU_E_FORMAT);
    REQUIRE(strstr(s->env.error, "bad:2: "));
    lg_data_close(data);

    p.strict = false;
    data = open_lines(s, put_text("none", "{}\n\n[]\n"), &p);
    REQUIRE_INT(lg_data_next(data, &batch), ==, LLMGPU_E_FORMAT);
    REQUIRE(strstr(s->env.error, "no line can be used"));
    lg_train_batch_free(&s->env, &batch);
    lg_data_close(data);
}

/** Each allocation fails in turn. */
static void check_memory(struct subject *s)
{
    const char *path = put_text(
        "memory", "{\"messages\":[" SAYS("user", "a") "," SAYS("assistant", "b") "]}\n{\"text\":\"abc\"}\n"
                                                                                 "{\"tokens\":[1,2,3]}\n");
    struct lg_data_params p = {.n_ctx = 16,
                               .n_batch = 2,
                               .pack = true,
                               .n_passes = 1,
                               .template_text = chatml,
                               .template_len = sizeof(chatml) - 1};
    int rc = LLMGPU_E_NOMEM;
    for (uint64_t fail_at = 1; rc < 0; fail_at++) {
        struct test_heap heap;
        struct lg_env env;
        struct lg_data *data, *other = NULL;
        struct lg_train_batch batch = {0};
        test_heap_env(&env, &heap, fail_at);
        rc = lg_data_open(&env, s->vocab, &path, 1, &p, &data);
        REQUIRE((rc == 0) == (data != NULL));
        if (rc == 0)
            rc = lg_data_split(data, &env, 0.3, &other);
        if (rc == 0)
            rc = lg_train_batch_create(&env, 32, &batch);
        while (rc >= 0 && (rc = lg_data_next(data, &batch)) > 0)
            ;
        while (rc >= 0 && other && (rc = lg_data_next(other, &batch)) > 0)
            ;
        REQUIRE(rc == 0 || (rc == LLMGPU_E_NOMEM && env.error[0]));
        lg_train_batch_free(&env, &batch);
        lg_data_close(data);
        lg_data_close(other);
        REQUIRE_INT(heap.live, ==, 0);
    }
}

/* ---- the public side */

static void check_public(void)
{
    char model_path[1024];
    llmgpu_context *ctx;
    llmgpu_model *model;
    llmgpu_context_params cp;
    llmgpu_model_params mp;
    llmgpu_dataset_params p;
    llmgpu_dataset *d, *validation;
    llmgpu_dataset_stats stats;
    llmgpu_batch batch;
    snprintf(model_path, sizeof(model_path), "%s/tavern-3.7m-q8_0.gguf", getenv("LLMGPU_BUNDLED"));
    llmgpu_context_params_init(&cp, sizeof(cp));
    cp.device = "cpu";
    REQUIRE_INT(llmgpu_context_create(&ctx, &cp), ==, 0);
    llmgpu_model_params_init(&mp, sizeof(mp));
    mp.vocab_only = 1;
    REQUIRE_INT(llmgpu_model_load(&model, ctx, model_path, &mp), ==, 0);

    const char *path = put_samples("samples", N_LINES), *where;
    REQUIRE_INT(llmgpu_dataset_params_init(&p, sizeof(p)), ==, 0);
    REQUIRE_INT(llmgpu_dataset_open(&d, model, &path, 0, &p), ==, LLMGPU_E_INVALID);
    p.n_ctx = 0;
    REQUIRE_INT(llmgpu_dataset_open(&d, model, &path, 1, &p), ==, LLMGPU_E_INVALID);
    REQUIRE(!d && *llmgpu_model_error(model));
    p.n_ctx = ROWS;
    p.template_text = "{% for";
    p.template_len = 6;
    REQUIRE_INT(llmgpu_dataset_open(&d, model, &path, 1, &p), ==, LLMGPU_E_TEMPLATE);
    p.template_text = NULL;
    REQUIRE_INT(llmgpu_dataset_open(&d, model, &path, 1, &p), ==, 0);
    REQUIRE_INT(llmgpu_dataset_split(&validation, d, 1.5), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_dataset_split(&validation, d, 0.25), ==, 0);
    REQUIRE_INT(llmgpu_dataset_count(d, &stats, sizeof(stats)), ==, 0);
    REQUIRE_INT(stats.n_samples, ==, 150);

    uint8_t place[1024];
    int32_t tokens[64];
    uint8_t counts[64];
    size_t size, n;
    uint64_t number;
    REQUIRE_INT(llmgpu_dataset_next(d, &batch, sizeof(batch)), ==, 1);
    REQUIRE_INT(llmgpu_dataset_save(d, NULL, 0, &size), ==, LLMGPU_E_RANGE);
    REQUIRE_INT(llmgpu_dataset_save(d, place, sizeof(place), &size), ==, 0);
    REQUIRE_INT(llmgpu_dataset_next(d, &batch, sizeof(batch)), ==, 1);
    int32_t first = batch.targets[0];
    uint32_t n_rows = batch.n_rows;
    REQUIRE_INT(llmgpu_dataset_rewind(d), ==, 0);
    REQUIRE_INT(llmgpu_dataset_restore(d, place, size), ==, 0);
    REQUIRE_INT(llmgpu_dataset_next(d, &batch, sizeof(batch)), ==, 1);
    REQUIRE(batch.n_rows == n_rows && batch.targets[0] == first);
    REQUIRE_INT(llmgpu_dataset_restore(validation, place, size), ==, LLMGPU_E_FORMAT);
    REQUIRE_INT(llmgpu_dataset_get_sample(d, 3, tokens, counts, 64, &n), ==, 0);
    REQUIRE(n == length_of(3) && tokens[1] == 3 && tokens[2] == 2 && counts[0] == 1);
    REQUIRE_INT(llmgpu_dataset_get_sample(d, 3, NULL, NULL, 0, &n), ==, LLMGPU_E_RANGE);
    REQUIRE_INT(llmgpu_dataset_get_sample(d, N_LINES, tokens, counts, 64, &n), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_dataset_get_line(d, 7, &where, &number), ==, 0);
    REQUIRE(strcmp(where, path) == 0 && number == 8);

    uint32_t n_samples = 0;
    llmgpu_dataset_free(d);
    llmgpu_model_free(model);
    llmgpu_context_free(ctx); // the data set keeps what it needs
    while (llmgpu_dataset_next(validation, &batch, sizeof(batch)) > 0)
        n_samples += batch.n_samples;
    REQUIRE_INT(n_samples, ==, 50);
    llmgpu_dataset_free(validation);
}

int main(void)
{
    struct subject s;
    REQUIRE(mkdtemp(folder));
    check_chatml();
    check_llama();
    check_thinker();
    check_bad();
    check_order();
    check_lines();
    make_vocab(&s, false, "qwen2");
    check_passes(&s);
    check_in_order(&s);
    check_places(&s);
    check_split(&s);
    check_cut(&s);
    check_skipped(&s);
    check_memory(&s);
    lg_vocab_destroy(s.vocab);
    check_public();
    char command[64];
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    REQUIRE_INT(system(command), ==, 0);
    return 0;
}
