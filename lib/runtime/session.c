/* SPDX-License-Identifier: MIT */
#include "runtime/session.h"

#include <string.h>

#include "util/checked.h"
#include "util/clock.h"

/** The vocabulary's end tokens, for the sampler to stop at; what does not fit is stopped at on the host. */
static void set_end_tokens(struct lg_sampler *sampler, const struct lg_vocab *vocab)
{
    for (uint32_t id = 0; id < lg_vocab_size(vocab) && sampler->n_end < LG_MAX_END; id++)
        if (lg_vocab_is_end(vocab, (int32_t)id))
            sampler->end[sampler->n_end++] = id;
}

int lg_session_init(struct lg_session *s, struct lg_env *env, struct lg_engine *engine,
                    const struct lg_session_params *params)
{
    *s = (struct lg_session){.env = env, .engine = engine, .params = *params};
    if (!params->ignore_end)
        set_end_tokens(&s->params.sampler, engine->model->vocab);
    s->params.n_batch = lg_min_u32(params->n_batch, lg_engine_rows_limit(engine));
    int slot = lg_engine_take_slot(engine, params->n_ctx, s->params.n_batch);
    LG_TRY(slot);
    s->slot = (uint32_t)slot;
    s->has_slot = true;
    lg_session_reset(s);
    return 0;
}

void lg_session_finish(struct lg_session *s)
{
    if (s->has_slot)
        lg_engine_drop_slot(s->engine, s->slot);
    memset(s, 0, sizeof(*s));
}

void lg_session_reset(struct lg_session *s)
{
    *lg_engine_sampler(s->engine, s->slot) = s->params.sampler;
    s->n_past = s->n_read = 0;
    s->has_pending = s->ended = false;
    s->remaining = UINT32_MAX;
    s->n_prompt = s->n_generated = s->prompt_ns = s->decode_ns = s->prompt_submits = s->decode_submits = 0;
}

void lg_session_cancel(struct lg_session *s)
{
    atomic_store(&s->cancelled, 1);
    if (atomic_load(&s->running))
        lg_device_cancel(s->engine->dev);
}

/** Answers a request to stop, once. */
static int take_cancel(struct lg_session *s)
{
    if (atomic_exchange(&s->cancelled, 0))
        return lg_fail(s->env, LLMGPU_E_CANCELLED, "cancelled");
    return 0;
}

/** The device was stopped, but not for this session: a request came as its session had just finished. */
static bool stopped_for_another(struct lg_session *s, int rc)
{
    return rc == LLMGPU_E_CANCELLED && !atomic_load(&s->cancelled);
}

/** Makes tokens known to the penalties. */
static void remember(struct lg_session *s, const int32_t *tokens, uint32_t n)
{
    struct lg_sampler *sampler = lg_engine_sampler(s->engine, s->slot);
    uint32_t *history = lg_engine_history(s->engine, s->slot);
    for (uint32_t i = 0; i < n; i++)
        history[sampler->n_history++ % LG_HISTORY] = (uint32_t)tokens[i];
}

/** One prefill pass of at most n_batch rows at n_past. */
static int prefill_pass(struct lg_session *s, const int32_t *tokens, uint32_t n)
{
    struct lg_stop stop = {&s->cancelled};
    int rc;
    do {
        rc = lg_engine_prefill(s->engine, s->slot, tokens, n, s->n_past, &stop);
    } while (stopped_for_another(s, rc));
    if (rc == LLMGPU_E_CANCELLED)
        return take_cancel(s);
    if (rc == 0)
        s->n_past += n;
    return rc;
}

/** Sampled tokens that the caller has not taken are taken back: its input comes instead of them. */
static void drop_unread(struct lg_session *s)
{
    struct lg_sampler *sampler = lg_engine_sampler(s->engine, s->slot);
    uint32_t unread = sampler->n_sampled - s->n_read;
    if (unread == 0)
        return;
    sampler->n_sampled -= unread;
    sampler->n_history -= unread;
    s->n_past -= unread;
    // The token before them was sampled, or fed when none of this answer was taken.
    s->pending = (int32_t)lg_engine_history(s->engine, s->slot)[(sampler->n_history - 1) % LG_HISTORY];
}

static int feed(struct lg_session *s, const int32_t *tokens, size_t n)
{
    if (s->has_pending) {
        LG_TRY(prefill_pass(s, &s->pending, 1));
        s->has_pending = false;
    }
    for (size_t done = 0; done < n - 1;) {
        size_t left = n - 1 - done;
        uint32_t rows = (uint32_t)(left < s->params.n_batch ? left : s->params.n_batch);
        LG_TRY(prefill_pass(s, tokens + done, rows));
        remember(s, tokens + done, rows);
        done += rows;
    }
    s->pending = tokens[n - 1];
    s->has_pending = true;
    remember(s, &s->pending, 1);
    return 0;
}

int lg_session_feed(struct lg_session *s, const int32_t *tokens, size_t n)
{
    if (n == 0)
        return 0;
    LG_TRY(take_cancel(s));
    drop_unread(s);
    uint32_t used = s->n_past + s->has_pending;
    if (used > s->params.n_ctx || n > s->params.n_ctx - used)
        return lg_fail(s->env, LLMGPU_E_CONTEXT_FULL,
                       "%zu tokens do not fit: %u of the context's %u are taken", n, used, s->params.n_ctx);
    uint64_t begin = lg_now_ns(), submits = s->engine->dev->stats.submits;
    atomic_store(&s->running, 1);
    int rc = feed(s, tokens, n);
    atomic_store(&s->running, 0);
    s->ended = false;
    s->n_prompt += rc == 0 ? n : 0;
    s->prompt_ns += lg_now_ns() - begin;
    s->prompt_submits += s->engine->dev->stats.submits - submits;
    return rc;
}

/** Decodes the next few tokens in one submission; the sampler's ring has them. */
static int decode(struct lg_session *s)
{
    struct lg_sampler *sampler = lg_engine_sampler(s->engine, s->slot);
    uint32_t before = sampler->n_sampled, room = s->params.n_ctx - s->n_past;
    uint32_t n = lg_min_u32(lg_min_u32(s->params.tokens_per_submit, s->remaining), room);
    int rc;
    do {
        sampler->n_remaining = n;
        sampler->ended = 0;
        rc = lg_engine_decode(s->engine, s->slot, s->pending, s->n_past, n);
    } while (stopped_for_another(s, rc) && sampler->n_sampled == before);

    uint32_t sampled = sampler->n_sampled - before;
    s->n_past += sampled;
    if (sampled)
        s->pending = (int32_t)lg_engine_ring(s->engine, s->slot)[(sampler->n_sampled - 1) % LG_RING];
    return rc == LLMGPU_E_CANCELLED ? take_cancel(s) : rc;
}

static int decode_timed(struct lg_session *s)
{
    uint64_t begin = lg_now_ns(), submits = s->engine->dev->stats.submits;
    atomic_store(&s->running, 1);
    int rc = decode(s);
    atomic_store(&s->running, 0);
    s->decode_ns += lg_now_ns() - begin;
    s->decode_submits += s->engine->dev->stats.submits - submits;
    return rc;
}

int lg_session_next(struct lg_session *s, int32_t *token)
{
    LG_TRY(take_cancel(s));
    if (s->ended || s->remaining == 0)
        return 0;
    if (s->n_read == lg_engine_sampler(s->engine, s->slot)->n_sampled) {
        if (!s->has_pending)
            return lg_fail(s->env, LLMGPU_E_INVALID, "no token was fed to continue from");
        if (s->n_past >= s->params.n_ctx)
            return lg_fail(s->env, LLMGPU_E_CONTEXT_FULL, "the context of %u tokens is full",
                           s->params.n_ctx);
        LG_TRY(decode_timed(s));
    }
    *token = (int32_t)lg_engine_ring(s->engine, s->slot)[s->n_read++ % LG_RING];
    s->n_generated++;
    if (s->remaining != UINT32_MAX)
        s->remaining--;
    s->ended = !s->params.ignore_end && lg_vocab_is_end(s->engine->model->vocab, *token);
    if (s->ended)
        drop_unread(s);
    return 1;
}

static int score(struct lg_session *s, const int32_t *tokens, size_t n, float *log_probs, float *logits)
{
    struct lg_stop stop = {&s->cancelled};
    uint32_t max_rows = lg_engine_score_rows(s->engine);
    for (size_t done = 0; done < n;) {
        uint32_t rows = (uint32_t)(n - done < max_rows ? n - done : max_rows);
        uint32_t n_targets = done + rows == n ? rows - 1 : rows; // nothing comes after the last token
        int rc;
        do {
            rc = lg_engine_score(s->engine, s->slot, tokens + done, rows, (uint32_t)done,
                                 log_probs ? tokens + done + 1 : NULL, n_targets,
                                 log_probs ? log_probs + done : NULL,
                                 logits ? logits + done * s->engine->model->hp.n_vocab : NULL, &stop);
        } while (stopped_for_another(s, rc));
        if (rc < 0)
            return rc == LLMGPU_E_CANCELLED ? take_cancel(s) : rc;
        done += rows;
    }
    return 0;
}

int lg_session_score(struct lg_session *s, const int32_t *tokens, size_t n, float *log_probs, float *logits)
{
    LG_TRY(take_cancel(s));
    lg_session_reset(s);
    if (n > s->params.n_ctx)
        return lg_fail(s->env, LLMGPU_E_CONTEXT_FULL, "%zu tokens do not fit into a context of %u", n,
                       s->params.n_ctx);
    atomic_store(&s->running, 1);
    int rc = score(s, tokens, n, log_probs, logits);
    atomic_store(&s->running, 0);
    return rc;
}
