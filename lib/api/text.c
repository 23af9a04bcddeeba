/* SPDX-License-Identifier: MIT */
#include "api/handles.h"

#include <string.h>

enum { ALL_FLAGS = LLMGPU_TOKENIZE_ADD_SPECIAL | LLMGPU_TOKENIZE_PARSE_SPECIAL | LLMGPU_DETOKENIZE_CONTINUE };

static bool are_flags(uint32_t flags)
{
    return !(flags & ~(uint32_t)ALL_FLAGS);
}

int lg_api_encode(const llmgpu_model *model, struct lg_env *env, const char *text, size_t len, uint32_t flags,
                  int32_t **tokens, size_t *n_tokens)
{
    if (!are_flags(flags))
        return lg_fail(env, LLMGPU_E_INVALID, "flags 0x%x that there are not", flags & ~(uint32_t)ALL_FLAGS);
    uint32_t how = (flags & LLMGPU_TOKENIZE_ADD_SPECIAL ? LG_ENCODE_ADD_SPECIAL : 0) |
                   (flags & LLMGPU_TOKENIZE_PARSE_SPECIAL ? LG_ENCODE_PARSE_SPECIAL : 0);
    return lg_vocab_encode(model->model->vocab, env, text ? text : "", len, how, tokens, n_tokens);
}

int llmgpu_tokenize(const llmgpu_model *model, const char *text, size_t len, uint32_t flags, int32_t *tokens,
                    size_t capacity, size_t *n_tokens)
{
    if (!model || (!text && len) || !n_tokens || (!tokens && capacity))
        return LLMGPU_E_INVALID;
    struct lg_env env; // the model is shared by threads, so is not where an error could be kept
    lg_env_child(&env, &model->ctx->env);
    int32_t *found = NULL;
    *n_tokens = 0;
    LG_TRY(lg_api_encode(model, &env, text, len, flags, &found, n_tokens));
    bool fits = *n_tokens <= capacity;
    if (fits && *n_tokens)
        memcpy(tokens, found, *n_tokens * sizeof(*tokens));
    lg_free(&env, found);
    return fits ? 0 : LLMGPU_E_RANGE;
}

struct llmgpu_decoder {
    llmgpu_model *model;
    struct lg_env env;
    struct lg_decoder state;
    bool special;
    char *text;
    size_t cap;
};

static bool is_token(const llmgpu_model *model, int32_t token)
{
    const struct lg_model *m = model->model;
    uint32_t n = m->vocab_only ? lg_vocab_size(m->vocab) : m->hp.n_vocab;
    return token >= 0 && (uint32_t)token < n;
}

static int reserve(llmgpu_decoder *d, size_t size)
{
    if (size <= d->cap)
        return 0;
    char *text = lg_resize(&d->env, d->text, 2 * size);
    if (!text)
        return LLMGPU_E_NOMEM;
    d->text = text;
    d->cap = 2 * size;
    return 0;
}

/** It does not count as a user of the model yet. */
static void init_decoder(llmgpu_decoder *d, const llmgpu_model *model, uint32_t flags)
{
    memset(d, 0, sizeof(*d));
    d->model = (llmgpu_model *)model;
    d->special = flags & LLMGPU_TOKENIZE_PARSE_SPECIAL;
    d->state.started = flags & LLMGPU_DETOKENIZE_CONTINUE;
    lg_env_child(&d->env, &model->ctx->env);
}

int llmgpu_decoder_create(llmgpu_decoder **out, const llmgpu_model *model, uint32_t flags)
{
    if (!out)
        return LLMGPU_E_INVALID;
    *out = NULL;
    if (!model || !are_flags(flags))
        return LLMGPU_E_INVALID;
    struct lg_env env;
    lg_env_child(&env, &model->ctx->env);
    llmgpu_decoder *d = lg_alloc(&env, sizeof(*d));
    if (!d)
        return LLMGPU_E_NOMEM;
    init_decoder(d, model, flags);
    int rc = reserve(d, 256);
    if (rc < 0) {
        lg_free(&env, d);
        return rc;
    }
    lg_api_model_ref(d->model);
    *out = d;
    return 0;
}

static int give(llmgpu_decoder *d, int written, const char **text, size_t *len)
{
    if (written < 0)
        return written;
    d->text[written] = '\0';
    *text = d->text;
    if (len)
        *len = (size_t)written;
    return 0;
}

int llmgpu_decoder_push(llmgpu_decoder *d, int32_t token, const char **text, size_t *len)
{
    if (!d || !text || !is_token(d->model, token))
        return LLMGPU_E_INVALID;
    struct lg_str piece;
    lg_vocab_piece(d->model->model->vocab, token, d->special, &piece);
    LG_TRY(reserve(d, LG_DECODER_ROOM(piece.len) + 1));
    return give(d, lg_decoder_push(&d->state, d->model->model->vocab, token, d->special, d->text, d->cap - 1),
                text, len);
}

int llmgpu_decoder_finish(llmgpu_decoder *d, const char **text, size_t *len)
{
    if (!d || !text)
        return LLMGPU_E_INVALID;
    return give(d, lg_decoder_finish(&d->state, d->text, d->cap - 1), text, len);
}

void llmgpu_decoder_free(llmgpu_decoder *d)
{
    if (!d)
        return;
    llmgpu_model *model = d->model;
    lg_free(&model->ctx->env, d->text);
    lg_free(&model->ctx->env, d);
    lg_api_model_unref(model);
}

/** Appends to a text of limited room, and counts on beyond it. */
static void append(char *text, size_t capacity, size_t *len, const char *piece, size_t piece_len)
{
    if (*len <= capacity && piece_len <= capacity - *len && piece_len)
        memcpy(text + *len, piece, piece_len);
    *len += piece_len;
}

int llmgpu_detokenize(const llmgpu_model *model, const int32_t *tokens, size_t n_tokens, uint32_t flags,
                      char *text, size_t capacity, size_t *len)
{
    if (!model || (!tokens && n_tokens) || n_tokens > INT32_MAX || (!text && capacity) || !len || !are_flags(flags))
        return LLMGPU_E_INVALID;
    llmgpu_decoder d;
    init_decoder(&d, model, flags);
    *len = 0;
    const char *piece;
    size_t piece_len;
    int rc = reserve(&d, 256);
    for (size_t i = 0; rc == 0 && i < n_tokens; i++) {
        rc = llmgpu_decoder_push(&d, tokens[i], &piece, &piece_len);
        if (rc == 0)
            append(text, capacity, len, piece, piece_len);
    }
    if (rc == 0 && (rc = llmgpu_decoder_finish(&d, &piece, &piece_len)) == 0)
        append(text, capacity, len, piece, piece_len);
    lg_free(&d.env, d.text);
    return rc < 0 ? rc : *len <= capacity ? 0 : LLMGPU_E_RANGE;
}
