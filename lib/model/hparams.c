/* SPDX-License-Identifier: MIT
 *
 * Hyper-parameters from metadata. Exporters did not always agree on names, so each quantity has a list of
 * spellings.
 */
#include "model/loader.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/** Sizes beyond these are lies: they would overflow what is computed from them. */
enum { MAX_LAYERS = 4096, MAX_WIDTH = 1 << 20, MAX_CTX = 1 << 28, MAX_HEADS = 65535, MAX_HEAD_DIM = 256 };

/**
 * The value of the first spelling that the file has: with the architecture's prefix, then as it is. A
 * per-layer array counts when all its elements are equal.
 */
static int find(struct lg_model *model, const char *names, const struct lg_gguf_kv **out)
{
    char key[192];
    *out = NULL;
    for (const char *name = names; *name;) {
        int len = (int)strcspn(name, " ");
        snprintf(key, sizeof(key), "%s.%.*s", model->arch, len, name);
        if ((*out = lg_gguf_find(model->gguf, key)) ||
            (*out = lg_gguf_find(model->gguf, key + strlen(model->arch) + 1)))
            break;
        name += len;
        name += *name == ' ';
    }
    const struct lg_gguf_kv *kv = *out;
    if (!kv)
        return 0;
    enum lg_gguf_type item = kv->type == LG_GGUF_ARRAY ? kv->array_type : kv->type;
    if (item == LG_GGUF_STRING || item == LG_GGUF_BOOL || kv->n == 0)
        return lg_fail(model->env, LLMGPU_E_FORMAT, "metadata '%.*s' is not a number", (int)kv->key.len,
                       kv->key.ptr);
    for (uint64_t i = 1; i < kv->n; i++)
        if (lg_gguf_number(kv, i) != lg_gguf_number(kv, 0))
            return lg_fail(model->env, LLMGPU_E_UNSUPPORTED, "metadata '%.*s' differs from layer to layer",
                           (int)kv->key.len, kv->key.ptr);
    return 1;
}

static int missing(struct lg_model *model, const char *names)
{
    return lg_fail(model->env, LLMGPU_E_FORMAT, "metadata '%s.%.*s' is missing", model->arch,
                   (int)strcspn(names, " "), names);
}

static int get_number(struct lg_model *model, const char *names, double min, double max, double *out)
{
    const struct lg_gguf_kv *kv;
    int found = find(model, names, &kv);
    if (found <= 0)
        return found;
    *out = lg_gguf_number(kv, 0);
    if (!(*out >= min && *out <= max))
        return lg_fail(model->env, LLMGPU_E_FORMAT, "metadata '%.*s' is %g, not in %g .. %g",
                       (int)kv->key.len, kv->key.ptr, *out, min, max);
    return 1;
}

int lg_hparam_u32_or(struct lg_model *model, const char *names, uint32_t fallback, uint32_t *out)
{
    double value = fallback;
    int found = get_number(model, names, 0, UINT32_MAX, &value);
    LG_TRY(found);
    if (value != floor(value))
        return lg_fail(model->env, LLMGPU_E_FORMAT, "metadata '%s.%.*s' is %g, not a whole number",
                       model->arch, (int)strcspn(names, " "), names, value);
    *out = (uint32_t)value;
    return found;
}

int lg_hparam_u32(struct lg_model *model, const char *names, uint32_t *out)
{
    int found = lg_hparam_u32_or(model, names, 0, out);
    return found == 0 ? missing(model, names) : found;
}

int lg_hparam_f32_or(struct lg_model *model, const char *names, float fallback, float *out)
{
    double value = fallback;
    int found = get_number(model, names, -3e38, 3e38, &value);
    LG_TRY(found);
    *out = (float)value;
    return found;
}

int lg_hparam_f32(struct lg_model *model, const char *names, float *out)
{
    int found = lg_hparam_f32_or(model, names, 0, out);
    return found == 0 ? missing(model, names) : found;
}

static int check(struct lg_model *model, bool ok, const char *what, uint32_t value)
{
    return ok ? 0 : lg_fail(model->env, LLMGPU_E_FORMAT, "%s of %u is impossible", what, value);
}

static int check_sizes(struct lg_model *model)
{
    const struct lg_hparams *hp = &model->hp;
    LG_TRY(check(model, hp->n_layers >= 1 && hp->n_layers <= MAX_LAYERS, "a block count", hp->n_layers));
    LG_TRY(check(model, hp->n_embd >= 1 && hp->n_embd <= MAX_WIDTH, "an embedding length", hp->n_embd));
    LG_TRY(check(model, hp->n_ff >= 1 && hp->n_ff <= MAX_WIDTH, "a feed-forward length", hp->n_ff));
    LG_TRY(check(model, hp->n_heads >= 1 && hp->n_heads <= MAX_HEADS, "a head count", hp->n_heads));
    LG_TRY(check(model, hp->n_kv >= 1 && hp->n_kv <= hp->n_heads && hp->n_heads % hp->n_kv == 0,
                 "a key/value head count", hp->n_kv));
    LG_TRY(check(model, hp->n_ctx_train >= 1 && hp->n_ctx_train <= MAX_CTX, "a context length",
                 hp->n_ctx_train));
    if (hp->head_dim > MAX_HEAD_DIM)
        return lg_fail(model->env, LLMGPU_E_UNSUPPORTED, "heads of %u elements: at most %d are supported",
                       hp->head_dim, MAX_HEAD_DIM);
    return check(model, hp->head_dim >= 1, "a head size", hp->head_dim);
}

int lg_hparams_norm(struct lg_model *model, enum lg_norm_kind kind, const char *eps_names)
{
    struct lg_hparams *hp = &model->hp;
    hp->norm = kind;
    LG_TRY(lg_hparam_f32(model, eps_names, &hp->norm_eps));
    if (hp->norm_eps < 0)
        return lg_fail(model->env, LLMGPU_E_FORMAT, "a norm's epsilon of %g is impossible",
                       (double)hp->norm_eps);
    return 0;
}

int lg_hparams_common(struct lg_model *model)
{
    struct lg_hparams *hp = &model->hp;
    LG_TRY(lg_hparam_u32(model, "block_count n_layer num_hidden_layers num_layers", &hp->n_layers));
    LG_TRY(lg_hparam_u32(model, "embedding_length n_embd hidden_size d_model", &hp->n_embd));
    LG_TRY(lg_hparam_u32(model, "feed_forward_length n_ff intermediate_size n_inner", &hp->n_ff));
    LG_TRY(lg_hparam_u32(model, "attention.head_count head_count n_head num_attention_heads", &hp->n_heads));
    LG_TRY(lg_hparam_u32_or(model, "attention.head_count_kv head_count_kv n_head_kv num_key_value_heads",
                            hp->n_heads, &hp->n_kv));
    LG_TRY(
        lg_hparam_u32(model, "context_length n_ctx max_position_embeddings n_positions", &hp->n_ctx_train));
    if (hp->n_heads == 0)
        return check(model, false, "a head count", 0);
    int k_dim =
        lg_hparam_u32_or(model, "attention.key_length head_dim", hp->n_embd / hp->n_heads, &hp->head_dim);
    LG_TRY(k_dim);
    if (k_dim == 0 && hp->n_embd % hp->n_heads)
        return lg_fail(model->env, LLMGPU_E_FORMAT, "%u heads do not divide a width of %u", hp->n_heads,
                       hp->n_embd);
    uint32_t v_dim = 0;
    LG_TRY(lg_hparam_u32_or(model, "attention.value_length", hp->head_dim, &v_dim));
    if (v_dim != hp->head_dim)
        return lg_fail(model->env, LLMGPU_E_UNSUPPORTED, "keys of %u and values of %u elements", hp->head_dim,
                       v_dim);

    const struct lg_gguf_tensor *embd = lg_gguf_find_tensor(model->gguf, "token_embd.weight");
    if (!embd)
        return lg_fail(model->env, LLMGPU_E_FORMAT, "tensor 'token_embd.weight' is missing");
    hp->n_vocab = lg_vocab_size(model->vocab);
    if (embd->dims[1] < hp->n_vocab || embd->dims[1] > MAX_CTX)
        return lg_fail(model->env, LLMGPU_E_FORMAT, "tensor 'token_embd.weight' has %llu rows for %u tokens",
                       (unsigned long long)embd->dims[1], hp->n_vocab);
    hp->n_vocab = (uint32_t)embd->dims[1]; // tables may be padded beyond the vocabulary
    return check_sizes(model);
}

/** Scaling that multiplies positions; other kinds change the frequencies and need code of their own. */
static int read_scaling(struct lg_model *model)
{
    struct lg_hparams *hp = &model->hp;
    char key[128];
    struct lg_str type = {"linear", 6};
    snprintf(key, sizeof(key), "%s.rope.scaling.type", model->arch);
    int named = lg_gguf_get_str(model->gguf, model->env, key, &type);
    LG_TRY(named);
    if (lg_str_eq(type, "none"))
        return 0;
    // "llama3" scaling comes with its divisors as the tensor rope_freqs.weight.
    if (!lg_str_eq(type, "linear") && !lg_str_eq(type, "llama3"))
        return lg_fail(model->env, LLMGPU_E_UNSUPPORTED, "rope scaling '%.*s' is not supported",
                       type.len < 64 ? (int)type.len : 64, type.ptr);
    if (lg_str_eq(type, "llama3"))
        return 0;
    float factor;
    LG_TRY(lg_hparam_f32_or(model, "rope.scaling.factor rope.scale_linear", 1, &factor));
    hp->rope_scale = factor == 0 ? 1 : 1 / factor; // some files say 0 for none
    if (!(hp->rope_scale > 0) || isinf(hp->rope_scale))
        return lg_fail(model->env, LLMGPU_E_FORMAT, "a rope scaling factor of %g is impossible",
                       (double)factor);
    return 0;
}

int lg_hparams_rope(struct lg_model *model, enum lg_rope_kind kind)
{
    struct lg_hparams *hp = &model->hp;
    hp->rope = kind;
    hp->rope_scale = 1;
    LG_TRY(lg_hparam_u32_or(model, "rope.dimension_count n_rot rotary_dim", hp->head_dim, &hp->n_rot));
    LG_TRY(lg_hparam_f32_or(model, "rope.freq_base rope_theta", 10000, &hp->rope_base));
    if (hp->n_rot == 0 || hp->n_rot > hp->head_dim || hp->n_rot % 2)
        return lg_fail(model->env, LLMGPU_E_FORMAT, "%u rotated elements in heads of %u", hp->n_rot,
                       hp->head_dim);
    if (!(hp->rope_base > 0))
        return lg_fail(model->env, LLMGPU_E_FORMAT, "a rope base of %g is impossible", (double)hp->rope_base);
    return read_scaling(model);
}
