/* SPDX-License-Identifier: MIT
 *
 * Small adapters made in memory, for models that were; as with models, the lists can be changed before the
 * file is written. The vocabulary that comes along is of no use to them, and does no harm.
 */
#ifndef LG_TESTS_LORA_BUILD_H
#define LG_TESTS_LORA_BUILD_H

#include "model_build.h"

/** What an adapter is made of. */
struct lora_shape {
    uint32_t rank;
    float alpha;
    enum lg_type a_type, b_type;
    const char *only; // matrices whose names contain this; NULL: all of the blocks
};

/** An adapter for a model whose lists are complete. */
static inline void lora_init(struct model_build *m, const struct model_build *base,
                             const struct lora_shape *s)
{
    memset(m, 0, sizeof(*m));
    small_bpe(&m->vocab, "gpt-2");
    model_set_text(m, "general.type", "adapter");
    model_set_text(m, "general.name", "a test's adapter");
    model_set_text(m, "general.architecture", base->kv[0].text);
    model_set_text(m, "adapter.type", "lora");
    model_set(m, "adapter.lora.alpha", LG_GGUF_F32, s->alpha);
    for (uint32_t i = 0; i < base->n_tensors; i++) {
        const struct model_tensor *t = &base->tensors[i];
        char name[64];
        if (t->n_dims != 2 || strncmp(t->name, "blk.", 4) != 0 || (s->only && !strstr(t->name, s->only)))
            continue;
        REQUIRE(snprintf(name, sizeof(name), "%s.lora_a", t->name) < (int)sizeof(name));
        model_add(m, name, 0, s->rank, t->dims[0], s->a_type);
        name[strlen(name) - 1] = 'b';
        model_add(m, name, 0, t->dims[1], s->rank, s->b_type);
    }
}

/** The same, written. `seed` makes its numbers. */
static inline void lora_write(struct model_build *m, const struct model_build *base,
                              const struct lora_shape *s, uint64_t seed)
{
    lora_init(m, base, s);
    model_write_seeded(m, seed);
}

#endif
