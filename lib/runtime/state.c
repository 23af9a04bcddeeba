/* SPDX-License-Identifier: MIT */
#include "runtime/state.h"

#include <math.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "gguf/types.h"
#include "util/checked.h"

/** Bytes of keys or values that are asked of the target at once, but at least one row. */
enum { PIECE = 1 << 20 };

_Static_assert(sizeof(struct lg_state_head) == 120, "no padding, the same everywhere");

/** Where the parts of a state lie. */
struct layout {
    uint64_t tokens, runs, kv, checksum; // offsets
    uint64_t kv_bytes;                   // of a layer's keys, and of its values
    uint64_t size;
};

static bool lay_out(const struct lg_state_head *h, struct layout *l)
{
    uint64_t kv_all;
    *l = (struct layout){.tokens = sizeof(*h)};
    l->runs = l->tokens + (uint64_t)h->n_tokens * sizeof(int32_t);
    l->kv = (l->runs + (uint64_t)h->n_runs * sizeof(uint32_t) + 7) / 8 * 8;
    return lg_mul_u64((uint64_t)h->n_computed * h->n_cols, sizeof(float), &l->kv_bytes) &&
           lg_mul_u64(l->kv_bytes, UINT64_C(2) * h->n_layers, &kv_all) &&
           lg_add_u64(l->kv, kv_all, &l->checksum) && lg_add_u64(l->checksum, sizeof(uint64_t), &l->size);
}

uint64_t lg_state_hash(const int32_t *tokens, uint32_t n)
{
    return n ? XXH3_64bits(tokens, n * sizeof(*tokens)) : 0;
}

/* ---- writing
 * ----------------------------------------------------------------------------------------------------- */

static void make_head(const struct lg_state_model *model, const struct lg_state *s, struct lg_state_head *h)
{
    const struct lg_sampler *p = &s->sampler;
    *h = (struct lg_state_head){
        .magic = LG_STATE_MAGIC,
        .version = LG_STATE_VERSION,
        .flags = (s->full ? LG_STATE_FULL : 0) | (s->ended ? LG_STATE_ENDED : 0),
        .model = model->fingerprint,
        .prefix_hash = s->prefix_hash,
        .n_prompt = s->n_prompt,
        .n_generated = s->n_generated,
        .seed = (uint64_t)p->seed_hi << 32 | p->seed_lo,
        .n_prefix = s->n_prefix,
        .n_tokens = s->n_tokens,
        .n_runs = s->n_runs,
        .temperature = p->temperature,
        .top_p = p->top_p,
        .min_p = p->min_p,
        .repeat_penalty = p->repeat_penalty,
        .frequency_penalty = p->frequency_penalty,
        .presence_penalty = p->presence_penalty,
        .top_k = p->top_k,
        .penalty_last_n = p->penalty_last_n,
    };
    if (s->full) {
        h->n_computed = s->n_computed;
        h->n_layers = model->n_layers;
        h->n_cols = model->n_cols;
        h->kv_type = LG_TYPE_F32;
    }
}

static int plan(struct lg_env *env, const struct lg_state_model *model, const struct lg_state *s,
                struct lg_state_head *h, struct layout *l)
{
    make_head(model, s, h);
    if (!lay_out(h, l))
        return lg_fail_nomem(env, "a saved state", UINT64_MAX);
    h->size = l->size;
    return 0;
}

int lg_state_size(struct lg_env *env, const struct lg_state_model *model, const struct lg_state *s,
                  uint64_t *size)
{
    struct lg_state_head h;
    struct layout l = {0};
    LG_TRY(plan(env, model, s, &h, &l));
    *size = l.size;
    return 0;
}

/** A target, and the hash of what it has got. */
struct writer {
    const struct lg_state_target *target;
    XXH3_state_t hash;
};

static int put(struct writer *w, const void *data, size_t size)
{
    XXH3_64bits_update(&w->hash, data, size);
    return size ? w->target->put(w->target->user, data, size) : 0;
}

static int put_rows(struct writer *w, const struct lg_state_head *h, uint32_t layer, bool values, float *rows,
                    uint32_t max_rows)
{
    for (uint32_t done = 0, n; done < h->n_computed; done += n) {
        n = lg_min_u32(max_rows, h->n_computed - done);
        LG_TRY(w->target->read_kv(w->target->user, layer, values, done, n, rows));
        LG_TRY(put(w, rows, (size_t)n * h->n_cols * sizeof(*rows)));
    }
    return 0;
}

static int put_kv(struct lg_env *env, struct writer *w, const struct lg_state_head *h)
{
    uint64_t row_bytes = (uint64_t)h->n_cols * sizeof(float);
    if (h->n_computed == 0 || row_bytes == 0)
        return 0;
    uint32_t max_rows = row_bytes < PIECE ? (uint32_t)(PIECE / row_bytes) : 1;
    max_rows = lg_min_u32(max_rows, h->n_computed);
    float *rows = lg_alloc_array(env, max_rows, row_bytes);
    if (!rows)
        return lg_fail_nomem(env, "keys and values on their way", max_rows * row_bytes);
    int rc = 0;
    for (uint32_t i = 0; i < 2 * h->n_layers && rc == 0; i++)
        rc = put_rows(w, h, i / 2, i % 2, rows, max_rows);
    lg_free(env, rows);
    return rc;
}

int lg_state_write(struct lg_env *env, const struct lg_state_model *model, const struct lg_state *s,
                   const struct lg_state_target *target)
{
    static const uint8_t zeros[8];
    struct writer w = {.target = target};
    struct lg_state_head h;
    struct layout l = {0};
    LG_TRY(plan(env, model, s, &h, &l));
    XXH3_64bits_reset(&w.hash);
    size_t runs_size = s->n_runs * sizeof(uint32_t);
    LG_TRY(put(&w, &h, sizeof(h)));
    LG_TRY(put(&w, s->tokens, s->n_tokens * sizeof(int32_t)));
    LG_TRY(put(&w, s->runs, runs_size));
    LG_TRY(put(&w, zeros, l.kv - l.runs - runs_size));
    LG_TRY(put_kv(env, &w, &h));
    uint64_t checksum = XXH3_64bits_digest(&w.hash);
    return target->put(target->user, &checksum, sizeof(checksum));
}

/* ---- reading
 * ----------------------------------------------------------------------------------------------------- */

static int damaged(struct lg_env *env, const char *what)
{
    return lg_fail(env, LLMGPU_E_FORMAT, "the saved state is damaged: %s", what);
}

/** The head of a state that is whole. */
static int read_head(struct lg_env *env, const void *data, size_t size, struct lg_state_head *h)
{
    const size_t n_known = offsetof(struct lg_state_head, flags); // of every version
    if (size < n_known || memcmp(data, LG_STATE_MAGIC, sizeof(h->magic)) != 0)
        return lg_fail(env, LLMGPU_E_FORMAT, "this is no saved state");
    memcpy(h, data, n_known);
    if (h->version > LG_STATE_VERSION)
        return lg_fail(env, LLMGPU_E_UNSUPPORTED,
                       "the saved state is of format %u, this library reads up to %d", h->version,
                       LG_STATE_VERSION);
    if (h->version == 0)
        return damaged(env, "it has no version");
    if (size < sizeof(*h) + sizeof(uint64_t))
        return damaged(env, "it is cut off");
    memcpy(h, data, sizeof(*h));
    if (h->size != size)
        return lg_fail(env, LLMGPU_E_FORMAT, "the saved state is damaged: it has %zu bytes, and says %llu",
                       size, (unsigned long long)h->size);
    uint64_t checksum;
    memcpy(&checksum, (const uint8_t *)data + size - sizeof(checksum), sizeof(checksum));
    if (XXH3_64bits(data, size - sizeof(checksum)) != checksum)
        return damaged(env, "the checksum is wrong");
    return 0;
}

static int check_counts(struct lg_env *env, const struct lg_state_model *model, const struct lg_state_head *h,
                        struct layout *l)
{
    bool full = h->flags & LG_STATE_FULL;
    if (h->flags & ~(uint32_t)(LG_STATE_FULL | LG_STATE_ENDED) || h->unused)
        return damaged(env, "unknown flags");
    if (!full && (h->n_computed || h->n_layers || h->n_cols || h->kv_type))
        return damaged(env, "it has keys and values that it should not have");
    if (full && (h->n_layers != model->n_layers || h->n_cols != model->n_cols))
        return damaged(env, "its keys and values have other shapes than the model's");
    if (full && h->kv_type != LG_TYPE_F32)
        return lg_fail(env, LLMGPU_E_UNSUPPORTED, "the saved state has keys and values of type %u",
                       h->kv_type);
    if (h->n_computed && h->n_computed >= h->n_tokens) // the last one never is
        return damaged(env, "too many tokens are computed");
    if (h->n_prefix > UINT32_MAX - h->n_tokens || (h->n_prefix == 0 && h->prefix_hash) ||
        (h->n_prefix && !h->n_tokens))
        return damaged(env, "its prefix");
    if (!lay_out(h, l) || l->size != h->size)
        return damaged(env, "its counts do not make its size");
    return 0;
}

static int check_tokens(struct lg_env *env, const uint8_t *tokens, uint32_t n, uint32_t n_vocab)
{
    for (uint32_t i = 0; i < n; i++) {
        int32_t token;
        memcpy(&token, tokens + (size_t)i * sizeof(token), sizeof(token));
        if (token < 0 || (uint32_t)token >= n_vocab)
            return lg_fail(env, LLMGPU_E_FORMAT, "the saved state is damaged: token %u is %d, not in 0 .. %u",
                           i, token, n_vocab - 1);
    }
    return 0;
}

static int check_runs(struct lg_env *env, const uint8_t *runs, uint32_t n, uint32_t n_tokens)
{
    uint32_t left = n_tokens;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t run;
        memcpy(&run, runs + (size_t)i * sizeof(run), sizeof(run));
        if (run > left || (run == 0 && i > 0))
            return damaged(env, "its runs");
        left -= run;
    }
    return left ? damaged(env, "its runs") : 0;
}

static int check_padding(struct lg_env *env, const uint8_t *data, const struct lg_state_head *h,
                         const struct layout *l)
{
    for (uint64_t i = l->runs + (uint64_t)h->n_runs * sizeof(uint32_t); i < l->kv; i++)
        if (data[i])
            return damaged(env, "its padding");
    return 0;
}

static struct lg_sampler sampler_of(const struct lg_state_head *h)
{
    return (struct lg_sampler){
        .temperature = h->temperature,
        .top_p = h->top_p,
        .min_p = h->min_p,
        .repeat_penalty = h->repeat_penalty,
        .frequency_penalty = h->frequency_penalty,
        .presence_penalty = h->presence_penalty,
        .top_k = h->top_k,
        .penalty_last_n = h->penalty_last_n,
        .seed_lo = (uint32_t)h->seed,
        .seed_hi = (uint32_t)(h->seed >> 32),
    };
}

int lg_state_parse(struct lg_env *env, const struct lg_state_model *model, const void *data, size_t size,
                   struct lg_state *out)
{
    const uint8_t *bytes = data;
    struct lg_state_head h;
    struct layout l = {0};
    LG_TRY(read_head(env, data, size, &h));
    if (h.model != model->fingerprint)
        return lg_fail(env, LLMGPU_E_INVALID, "the saved state is of another model");
    LG_TRY(check_counts(env, model, &h, &l));
    LG_TRY(check_tokens(env, bytes + l.tokens, h.n_tokens, model->n_vocab));
    LG_TRY(check_runs(env, bytes + l.runs, h.n_runs, h.n_tokens));
    LG_TRY(check_padding(env, bytes, &h, &l));
    struct lg_sampler sampler = sampler_of(&h);
    if (lg_sampler_check(env, &sampler) < 0)
        return damaged(env, "its sampler");
    *out = (struct lg_state){
        .full = h.flags & LG_STATE_FULL,
        .ended = h.flags & LG_STATE_ENDED,
        .sampler = sampler,
        .n_prompt = h.n_prompt,
        .n_generated = h.n_generated,
        .prefix_hash = h.prefix_hash,
        .n_prefix = h.n_prefix,
        .n_tokens = h.n_tokens,
        .n_runs = h.n_runs,
        .n_computed = h.n_computed,
        .tokens = bytes + l.tokens,
        .runs = bytes + l.runs,
        .kv = h.flags & LG_STATE_FULL ? bytes + l.kv : NULL,
    };
    return 0;
}

const uint8_t *lg_state_kv(const struct lg_state_model *model, const struct lg_state *s, uint32_t layer,
                           bool values)
{
    return s->kv + (2 * (size_t)layer + values) * s->n_computed * model->n_cols * sizeof(float);
}

uint32_t lg_state_answer(const struct lg_state *s)
{
    uint32_t last, before;
    // Runs of decoded tokens are the odd ones; the pass that computed a token sampled the one behind it.
    if (s->ended || s->n_runs < 3 || s->n_runs % 2 == 0)
        return 0;
    memcpy(&last, (const uint8_t *)s->runs + (s->n_runs - 1) * sizeof(last), sizeof(last));
    memcpy(&before, (const uint8_t *)s->runs + (s->n_runs - 2) * sizeof(before), sizeof(before));
    return last == 1 ? before : 0;
}

int lg_sampler_check(struct lg_env *env, const struct lg_sampler *p)
{
    const struct {
        bool ok; // false also for NaN
        const char *what, *range;
        float value;
    } checks[] = {
        {p->temperature >= 0 && p->temperature <= 100, "a temperature", "0 .. 100", p->temperature},
        {p->top_p > 0 && p->top_p <= 1, "a top-p", "(0, 1]", p->top_p},
        {p->min_p >= 0 && p->min_p <= 1, "a min-p", "0 .. 1", p->min_p},
        {p->repeat_penalty > 0 && p->repeat_penalty <= 100, "a repeat penalty", "(0, 100]",
         p->repeat_penalty},
        {fabsf(p->frequency_penalty) <= 100, "a frequency penalty", "-100 .. 100", p->frequency_penalty},
        {fabsf(p->presence_penalty) <= 100, "a presence penalty", "-100 .. 100", p->presence_penalty},
        {p->penalty_last_n <= LG_HISTORY, "a penalty window", "0 .. 256", (float)p->penalty_last_n},
    };
    for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++)
        if (!checks[i].ok)
            return lg_fail(env, LLMGPU_E_INVALID, "%s of %g is not in %s", checks[i].what,
                           (double)checks[i].value, checks[i].range);
    return 0;
}
