/* SPDX-License-Identifier: MIT
 *
 * A GGUF file whose metadata becomes a vocabulary, whatever it says: it is made, or refused with a sentence,
 * and one that is made encodes and decodes. The same with an allocation that fails.
 */
#include "fuzz.h"
#include "gguf/gguf.h"
#include "heap.h"
#include "text/vocab.h"

static void use(struct lg_env *env, const struct lg_vocab *vocab)
{
    static const char text[] = "<s> the the  aaaa 333 \n\n\xe4\xb8\x96\xff<0x41><|im_end|>";
    for (uint32_t flags = 0; flags < 4; flags++) {
        int32_t *ids;
        size_t n;
        if (lg_vocab_encode(vocab, env, text, sizeof(text) - 1, flags, &ids, &n) < 0)
            continue;
        struct lg_decoder d = {0};
        for (size_t i = 0; i < n; i++) {
            struct lg_str piece;
            REQUIRE(ids[i] >= 0 && (uint32_t)ids[i] < lg_vocab_size(vocab));
            lg_vocab_piece(vocab, ids[i], flags & 1, &piece);
            size_t cap = LG_DECODER_ROOM(piece.len);
            char *out = malloc(cap);
            REQUIRE(out && lg_decoder_push(&d, vocab, ids[i], flags & 1, out, cap) >= 0);
            free(out);
        }
        lg_free(env, ids);
    }
    const struct lg_vocab_special *s = lg_vocab_special(vocab);
    const int32_t ids[] = {s->bos, s->eos, s->eot, s->unk, s->sep, s->pad};
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
        REQUIRE(ids[i] >= -1 && (ids[i] < 0 || (uint32_t)ids[i] < lg_vocab_size(vocab)));
    REQUIRE(!s->add_bos || s->bos >= 0);
    REQUIRE(!s->add_eos || s->eos >= 0);
}

static int make(const struct lg_gguf *gguf, uint64_t fail_at)
{
    struct test_heap heap;
    struct lg_env env;
    struct lg_vocab *vocab;
    test_heap_env(&env, &heap, fail_at);
    int rc = lg_vocab_create(&env, gguf, &vocab);
    REQUIRE((rc == 0) == (vocab != NULL));
    if (rc == 0)
        use(&env, vocab);
    else
        REQUIRE(env.error[0]);
    lg_vocab_destroy(vocab);
    REQUIRE_INT(heap.live, ==, 0);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lg_env env;
    struct lg_gguf *gguf;
    lg_env_init(&env);
    if (lg_gguf_parse(&env, "fuzz", data, size, &gguf) < 0)
        return 0;
    int rc = make(gguf, 0);
    REQUIRE(rc == 0 || rc == LLMGPU_E_FORMAT || rc == LLMGPU_E_UNSUPPORTED);
    int failed = make(gguf, 1 + size % 32);
    REQUIRE(failed == rc || failed == LLMGPU_E_NOMEM);
    lg_gguf_close(gguf);
    return 0;
}
