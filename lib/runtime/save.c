/* SPDX-License-Identifier: MIT */
#include "runtime/save.h"

#include <string.h>

#include "runtime/kv.h"
#include "runtime/scheduler.h"
#include "runtime/sharing.h"
#include "util/checked.h"

int lg_save_identify(const struct lg_model *model, struct lg_env *env, struct lg_state_model *out)
{
    *out = (struct lg_state_model){
        .n_vocab = model->hp.n_vocab,
        .n_layers = model->hp.n_layers,
        .n_cols = model->hp.n_kv * model->hp.head_dim,
    };
    return lg_model_fingerprint(model, env, &out->fingerprint);
}

uint64_t lg_save_limit(const struct lg_state_model *model, uint32_t n_ctx)
{
    uint64_t each =
        sizeof(int32_t) + sizeof(uint32_t) + 2 * sizeof(float) * (uint64_t)model->n_layers * model->n_cols;
    return sizeof(struct lg_state_head) + (n_ctx + UINT64_C(1)) * each + 64;
}

/* ---- saving */

/** Room for what a conversation of n tokens is: the tokens, the runs, and how each was computed. */
struct room {
    int32_t *tokens;  // [n]
    uint32_t *runs;   // [n + 1]
    uint8_t *decoded; // [n]
};

static int make_room(struct lg_save *save, uint32_t n, struct room *room)
{
    size_t each = sizeof(*room->tokens) + sizeof(*room->runs) + sizeof(*room->decoded);
    lg_free(save->session->env, save->block);
    save->block = lg_alloc_array(save->session->env, (size_t)n + 1, each);
    if (!save->block)
        return lg_fail_nomem(save->session->env, "a copy of the conversation", (n + UINT64_C(1)) * each);
    room->tokens = save->block;
    room->runs = (uint32_t *)(room->tokens + n);
    room->decoded = (uint8_t *)(room->runs + n + 1);
    return 0;
}

/** Copies the conversation, whose last token counts as not computed. False when it has become longer than
 * `n`. */
static bool copy(struct lg_save *save, uint32_t n, struct room *room)
{
    const struct lg_session *s = save->session;
    struct lg_state *state = &save->state;
    pthread_mutex_lock(&s->sched->lock);
    bool fits = s->n_visible <= n;
    if (fits) {
        uint32_t unread = s->n_tokens - s->n_visible;
        state->n_tokens = s->n_visible;
        state->n_computed = s->n_visible ? lg_min_u32(s->n_past, s->n_visible - 1) : 0;
        state->ended = s->closed && unread == 0;
        state->sampler = s->params.sampler;
        state->n_prompt = s->n_prompt;
        state->n_generated = s->n_generated - unread;
        memcpy(room->tokens, s->tokens, s->n_visible * sizeof(*s->tokens));
        memcpy(room->decoded, s->decoded, s->n_visible ? s->n_visible - 1 : 0);
    }
    pthread_mutex_unlock(&s->sched->lock);
    return fits;
}

/** How many tokens a conversation has in common with these, but at least one of them is not among those. */
static uint32_t count_common(const struct lg_session *base, const int32_t *tokens, uint32_t n)
{
    uint32_t n_common = 0;
    pthread_mutex_lock(&base->sched->lock);
    uint32_t most = lg_min_u32(base->n_visible, n);
    while (n_common < most && base->tokens[n_common] == tokens[n_common])
        n_common++;
    pthread_mutex_unlock(&base->sched->lock);
    // The last of them is not computed where it is the end, so that it belongs to what follows.
    return n_common ? n_common - 1 : 0;
}

/** Tokens computed in the same way, in turns, beginning with those of a prompt; their number. */
static uint32_t make_runs(const uint8_t *decoded, uint32_t n, uint32_t *runs)
{
    uint32_t n_runs = 0;
    bool kind = false;
    for (uint32_t i = 0, begin = 0; begin < n; begin = i, kind = !kind) {
        while (i < n && decoded[i] == kind)
            i++;
        runs[n_runs++] = i - begin;
    }
    return n_runs;
}

int lg_save_begin(struct lg_save *save, struct lg_session *s, bool full, const struct lg_session *base,
                  const struct lg_state_model *model)
{
    struct lg_state *state = &save->state;
    struct room room = {0};
    uint32_t n;
    *save = (struct lg_save){.session = s, .model = *model};
    if (full && !s->has_slot)
        return lg_fail(s->env, LLMGPU_E_DEVICE_LOST, "the device is lost, and with it keys and values");
    if (full)
        LG_TRY(lg_share_need_room(s, 0, 0));
    do {
        pthread_mutex_lock(&s->sched->lock);
        n = s->n_visible;
        pthread_mutex_unlock(&s->sched->lock);
        LG_TRY(make_room(save, n, &room));
    } while (!copy(save, n, &room));

    uint32_t n_prefix = base ? count_common(base, room.tokens, state->n_tokens) : 0;
    state->full = full;
    state->n_prefix = n_prefix;
    state->prefix_hash = lg_state_hash(room.tokens, n_prefix);
    state->tokens = room.tokens + n_prefix;
    state->n_tokens -= n_prefix;
    state->n_computed = full && state->n_computed > n_prefix ? state->n_computed - n_prefix : 0;
    state->runs = room.runs;
    state->n_runs = make_runs(room.decoded + n_prefix, state->n_tokens, room.runs);
    return lg_state_size(s->env, &save->model, state, &save->size);
}

/** Bytes go to the caller; keys and values come from the slot. */
struct out {
    const struct lg_save *save;
    int (*put)(void *user, const void *data, size_t size);
    void *user;
};

static int put(void *user, const void *data, size_t size)
{
    const struct out *out = user;
    return out->put(out->user, data, size);
}

static int read_kv(void *user, uint32_t layer, bool values, uint32_t first, uint32_t n, float *rows)
{
    const struct lg_save *save = ((const struct out *)user)->save;
    const struct lg_session *s = save->session;
    return lg_engine_read_kv(s->engine, s->slot, layer, save->state.n_prefix + first, n, values ? NULL : rows,
                             values ? rows : NULL);
}

int lg_save_write(const struct lg_save *save, int (*to)(void *user, const void *data, size_t size),
                  void *user)
{
    struct out out = {.save = save, .put = to, .user = user};
    struct lg_state_target target = {.put = put, .read_kv = read_kv, .user = &out};
    return lg_state_write(save->session->env, &save->model, &save->state, &target);
}

void lg_save_finish(struct lg_save *save)
{
    if (save->session)
        lg_free(save->session->env, save->block);
    memset(save, 0, sizeof(*save));
}

/* ---- restoring */

/** Puts keys and values behind the prefix. */
static int write_kv(struct lg_session *s, const struct lg_state_model *model, const struct lg_state *state)
{
    for (uint32_t i = 0; i < model->n_layers; i++)
        LG_TRY(lg_engine_write_kv(s->engine, s->slot, i, state->n_prefix, state->n_computed,
                                  lg_state_kv(model, state, i, false), lg_state_kv(model, state, i, true)));
    return 0;
}

int lg_session_restore(struct lg_session *s, const struct lg_state_model *model, const struct lg_state *state)
{
    uint32_t n_past;
    LG_TRY(lg_session_can_replace(s, state, &n_past));
    bool goes_on = state->n_computed && s->has_slot && n_past >= state->n_prefix;
    if (goes_on) {
        LG_TRY(lg_share_need_room(s, state->n_prefix, state->n_computed));
        lg_session_lose_computed(s, state->n_prefix);
        LG_TRY(write_kv(s, model, state));
    }
    return lg_session_replace(s, state, goes_on ? state->n_prefix + state->n_computed : 0);
}
