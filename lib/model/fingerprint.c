/* SPDX-License-Identifier: MIT */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "model/model.h"

/** Bytes from the middle of each tensor: training changes them all, and a file of any size is read in a
 * moment. */
enum { SAMPLE = 256 };

static void add(XXH3_state_t *hash, const void *data, size_t size)
{
    XXH3_64bits_update(hash, data, size);
}

static void add_u64(XXH3_state_t *hash, uint64_t v)
{
    add(hash, &v, sizeof(v));
}

static void add_str(XXH3_state_t *hash, struct lg_str s)
{
    add_u64(hash, s.len);
    add(hash, s.ptr, s.len);
}

/** A hyper-parameter as the file has it, so that what this library makes of it does not matter. */
static void add_kv(XXH3_state_t *hash, const struct lg_gguf_kv *kv)
{
    bool text = kv->type == LG_GGUF_STRING || (kv->type == LG_GGUF_ARRAY && kv->array_type == LG_GGUF_STRING);
    add_str(hash, kv->key);
    add_u64(hash, kv->n);
    for (uint64_t i = 0; i < kv->n; i++) {
        double number = text ? 0 : lg_gguf_number(kv, i);
        if (text)
            add_str(hash, kv->strings[i]);
        else
            add(hash, &number, sizeof(number));
    }
}

static int add_tensor(XXH3_state_t *hash, const struct lg_gguf *gguf, struct lg_env *env,
                      const struct lg_gguf_tensor *t)
{
    uint8_t sample[SAMPLE];
    uint64_t size = t->size < SAMPLE ? t->size : SAMPLE;
    LG_TRY(lg_gguf_fetch(gguf, env, t->offset + (t->size - size) / 2, size, sample));
    add_str(hash, t->name);
    add(hash, t->dims, sizeof(t->dims));
    add_u64(hash, t->type);
    add(hash, sample, size);
    return 0;
}

int lg_model_fingerprint(const struct lg_model *model, struct lg_env *env, uint64_t *out)
{
    const struct lg_gguf *gguf = model->gguf;
    size_t n_arch = strlen(model->arch);
    XXH3_state_t hash;
    XXH3_64bits_reset(&hash);
    add_str(&hash, (struct lg_str){model->arch, n_arch});
    add_u64(&hash, model->hp.n_vocab);
    for (uint64_t i = 0; i < gguf->n_kv; i++) {
        struct lg_str key = gguf->kv[i].key;
        if (key.len > n_arch && memcmp(key.ptr, model->arch, n_arch) == 0 && key.ptr[n_arch] == '.')
            add_kv(&hash, &gguf->kv[i]);
    }
    for (uint64_t i = 0; i < gguf->n_tensors; i++)
        LG_TRY(add_tensor(&hash, gguf, env, &gguf->tensors[i]));
    *out = XXH3_64bits_digest(&hash);
    return 0;
}
