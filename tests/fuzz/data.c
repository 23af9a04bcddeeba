/* SPDX-License-Identifier: MIT
 *
 * Lines of data sets: the first byte chooses a vocabulary and a template, the second what counts, and each
 * line of the rest is a sample or says why it is none. The same when an allocation fails.
 */
#include "fuzz.h"
#include "heap.h"
#include "train/data_parts.h"
#include "vocab_build.h"

static const char *const templates[] = {
    NULL,
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[{{ m.content | trim }}]{% else %} {{ "
    "m.content }} "
    "{{ eos_token }}{% endif %}{% endfor %}",
    "{% for m in messages %}{% if loop.last %}{{ m.content }}{% else %}{{ m.content | upper }}{% endif %}{% "
    "endfor %}{{ tools }}",
    "{{ messages[0].content[2:] }}{{ messages | length }}",
};

enum { N_TEMPLATES = sizeof(templates) / sizeof(templates[0]) };

/** Made once, for speed; the process ends with them. */
static struct lg_env base;
static struct lg_vocab *vocabs[2];
static struct lg_template *parsed[N_TEMPLATES];

static void make(void)
{
    static struct small_vocab small;
    static struct build file;
    lg_env_init(&base);
    for (size_t i = 0; i < 2; i++) {
        struct lg_gguf *gguf;
        if (i == 0)
            small_bpe(&small, "llama-bpe");
        else
            small_spm(&small);
        small_build(&small, &file);
        REQUIRE_INT(lg_gguf_parse(&base, "small", file.data, file.size, &gguf), ==, 0);
        REQUIRE_INT(lg_vocab_create(&base, gguf, &vocabs[i]), ==, 0);
        lg_gguf_close(gguf);
    }
    for (size_t i = 1; i < N_TEMPLATES; i++)
        REQUIRE_INT(lg_template_parse(&base, templates[i], strlen(templates[i]), NULL, &parsed[i]), ==, 0);
}

static void check(const struct lg_sample_reader *reader, struct lg_str line, uint64_t fail_at)
{
    struct test_heap heap;
    struct lg_env env;
    struct lg_sample sample = {0};
    test_heap_env(&env, &heap, fail_at);
    int rc = lg_sample_read(&env, reader, line, &sample);
    REQUIRE(rc == 0 ||
            ((rc == LLMGPU_E_FORMAT || rc == LLMGPU_E_TEMPLATE || (rc == LLMGPU_E_NOMEM && fail_at)) &&
             *env.error));
    REQUIRE(rc == 0 || sample.n == 0);
    for (uint32_t i = 0; i < sample.n; i++) {
        REQUIRE(sample.tokens[i] >= 0 && (uint32_t)sample.tokens[i] < lg_vocab_size(reader->vocab));
        REQUIRE(sample.counts[i] == 1 || (sample.counts[i] == 0 && !reader->all));
    }
    lg_sample_free(&env, &sample);
    REQUIRE_INT(heap.live, ==, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 64 << 10)
        return 0;
    if (!vocabs[0])
        make();
    const struct lg_sample_reader reader = {
        .vocab = vocabs[data[0] & 1],
        .template = parsed[data[0] / 2 % N_TEMPLATES],
        .plain = data[1] & 1,
        .all = data[1] & 2,
    };
    const char *at = (const char *)data + 2, *end = (const char *)data + size;
    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        struct lg_str line = {at, (size_t)((stop ? stop : end) - at)};
        check(&reader, line, 0);
        check(&reader, line, 1 + data[1] / 4);
        at = stop ? stop + 1 : end;
    }
    return 0;
}
