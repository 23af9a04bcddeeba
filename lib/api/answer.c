/* SPDX-License-Identifier: MIT
 *
 * The ways in which an answer comes: pulled token by token or as text, waited for, or generated at one go.
 */
#include <string.h>

#include "api/handles.h"
#include "util/clock.h"

/** Begins a call: errors from here on are this call's. */
static void clear(llmgpu_session *s)
{
    s->env.error[0] = '\0';
}

void lg_api_answer_reset(llmgpu_session *s)
{
    s->answer.decoder = (struct lg_decoder){.started = true}; // an answer goes on with a text
    s->answer.stop.n_held = 0;
    s->answer.ended = false;
}

void lg_api_answer_begin(llmgpu_session *s)
{
    pthread_mutex_lock(&s->lock);
    lg_api_answer_reset(s);
    if (s->answer.limited)
        lg_session_set_remaining(&s->session, UINT32_MAX);
    s->answer.limited = false;
    pthread_mutex_unlock(&s->lock);
}

int lg_api_answer_limit(llmgpu_session *s, uint32_t n, bool limited)
{
    pthread_mutex_lock(&s->lock);
    s->answer.limited = limited;
    int rc = lg_session_set_remaining(&s->session, n);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

void lg_api_answer_finish(llmgpu_session *s)
{
    lg_free(&s->env, s->answer.text);
    s->answer.text = NULL;
}

/** Room for a piece of `room` bytes as it comes, in `raw`, and in front of it, as it is given. */
static int reserve(llmgpu_session *s, size_t room, char **raw)
{
    struct lg_answer *a = &s->answer;
    size_t given = LG_STOP_ROOM(room) + 1, size = given + room;
    if (size > a->cap) {
        char *text = lg_resize(&s->env, a->text, size);
        if (!text)
            return lg_fail_nomem(&s->env, "an answer's text", size);
        a->text = text;
        a->cap = size;
    }
    *raw = a->text + given;
    return 0;
}

/** The text that a token completes; its length. A stop text in it ends the answer. */
static int add_token(llmgpu_session *s, int32_t token)
{
    const struct lg_vocab *vocab = s->model->model->vocab;
    struct lg_answer *a = &s->answer;
    struct lg_str piece;
    char *raw = NULL;
    size_t n;
    a->ended = false;
    lg_vocab_piece(vocab, token, false, &piece);
    LG_TRY(reserve(s, LG_DECODER_ROOM(piece.len), &raw));
    int len = lg_decoder_push(&a->decoder, vocab, token, false, raw, LG_DECODER_ROOM(piece.len));
    LG_TRY(len);
    if (lg_stop_push(&a->stop, &a->stops, raw, (size_t)len, a->text, &n)) {
        lg_session_close(&s->session);
        lg_api_answer_reset(s);
        a->ended = true;
    }
    return (int)n;
}

static int replay(llmgpu_session *s, int32_t token, struct lg_place *place)
{
    const struct lg_vocab *vocab = s->model->model->vocab;
    struct lg_str piece;
    char *raw = NULL;
    size_t n;
    lg_vocab_piece(vocab, token, false, &piece);
    LG_TRY(reserve(s, LG_DECODER_ROOM(piece.len), &raw));
    int len = lg_decoder_push(&place->decoder, vocab, token, false, raw, LG_DECODER_ROOM(piece.len));
    LG_TRY(len);
    lg_stop_push(&place->stop, &s->answer.stops, raw, (size_t)len, s->answer.text, &n);
    return 0;
}

int lg_api_answer_replay(llmgpu_session *s, const void *tokens, uint32_t n, struct lg_place *place)
{
    int rc = 0;
    *place = (struct lg_place){.decoder = {.started = true}};
    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < n && rc == 0; i++) {
        int32_t token;
        memcpy(&token, (const uint8_t *)tokens + i * sizeof(token), sizeof(token));
        rc = replay(s, token, place);
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

void lg_api_answer_resume(llmgpu_session *s, const struct lg_place *place)
{
    lg_api_answer_begin(s);
    pthread_mutex_lock(&s->lock);
    s->answer.decoder = place->decoder;
    s->answer.stop = place->stop;
    pthread_mutex_unlock(&s->lock);
}

/** What was held back until the end; its length. */
static int end_text(llmgpu_session *s)
{
    struct lg_answer *a = &s->answer;
    char *raw = NULL;
    size_t n;
    if (a->ended)
        return 0;
    LG_TRY(reserve(s, LG_DECODER_ROOM(0), &raw));
    int len = lg_decoder_finish(&a->decoder, raw, LG_DECODER_ROOM(0));
    LG_TRY(len);
    if (!lg_stop_push(&a->stop, &a->stops, raw, (size_t)len, a->text, &n))
        n += lg_stop_finish(&a->stop, a->text + n);
    lg_api_answer_reset(s);
    a->ended = true;
    return (int)n;
}

static int give(llmgpu_session *s, int n, const char **text, size_t *len)
{
    s->answer.text[n] = '\0';
    *text = s->answer.text;
    if (len)
        *len = (size_t)n;
    return LLMGPU_TOKEN;
}

int llmgpu_session_next(llmgpu_session *s, int32_t *token)
{
    if (!s || !token)
        return LLMGPU_E_INVALID;
    clear(s);
    pthread_mutex_lock(&s->lock);
    int rc = lg_session_next(&s->session, token);
    if (rc == LLMGPU_TOKEN && s->answer.stops.n) { // whose text nobody asks for
        int n = add_token(s, *token);
        rc = n < 0 ? n : rc;
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

/** Whether text that is held back is given before this answer of lg_session_next(): it says it again. */
static bool ends_text(int rc)
{
    return rc == LLMGPU_DONE || rc == LLMGPU_E_CONTEXT_FULL || rc == LLMGPU_E_TIMEOUT || rc == LLMGPU_E_LIMIT;
}

static int next_text(llmgpu_session *s, const char **text, size_t *len)
{
    int rc, n;
    int32_t token;
    while ((rc = lg_session_next(&s->session, &token)) == LLMGPU_TOKEN) {
        n = add_token(s, token);
        LG_TRY(n);
        if (n > 0)
            return give(s, n, text, len);
    }
    if (!ends_text(rc))
        return rc;
    n = end_text(s);
    LG_TRY(n);
    return n > 0 ? give(s, n, text, len) : rc;
}

int llmgpu_session_next_text(llmgpu_session *s, const char **text, size_t *len)
{
    if (!s || !text)
        return LLMGPU_E_INVALID;
    clear(s);
    pthread_mutex_lock(&s->lock);
    int rc = next_text(s, text, len);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

int llmgpu_session_add_stop(llmgpu_session *s, const char *text, size_t len)
{
    if (!s || !text)
        return LLMGPU_E_INVALID;
    clear(s);
    if (len < 1 || len > LG_MAX_STOP_LEN)
        return lg_fail(&s->env, LLMGPU_E_INVALID, "a stop text of %zu bytes; it has 1 .. %d", len, LG_MAX_STOP_LEN);
    pthread_mutex_lock(&s->lock);
    bool fits = lg_stops_add(&s->answer.stops, text, len);
    pthread_mutex_unlock(&s->lock);
    if (!fits)
        return lg_fail(&s->env, LLMGPU_E_LIMIT, "a session has at most %d stop texts", LG_MAX_STOPS);
    return 0;
}

int llmgpu_session_add_stop_token(llmgpu_session *s, int32_t token)
{
    if (!s || token < 0 || (uint32_t)token >= s->model->model->hp.n_vocab)
        return LLMGPU_E_INVALID;
    clear(s);
    return lg_session_add_stop_token(&s->session, token);
}

int llmgpu_session_clear_stops(llmgpu_session *s)
{
    if (!s)
        return LLMGPU_E_INVALID;
    pthread_mutex_lock(&s->lock);
    s->answer.stops.n = 0;
    pthread_mutex_unlock(&s->lock);
    lg_session_clear_stop_tokens(&s->session);
    return 0;
}

/** A moment of lg_now_ns(), from now. */
static uint64_t moment(uint64_t us)
{
    uint64_t now = lg_now_ns();
    return us < (UINT64_MAX - now) / 1000 ? now + us * 1000 : UINT64_MAX;
}

static int wait_for(llmgpu_session *s, enum lg_wait what, uint64_t until_ns)
{
    int rc = lg_scheduler_wait(&s->model->ctx->sched, &s->session, what, until_ns);
    if (rc == LLMGPU_E_BUSY)
        return lg_fail(&s->env, rc, "called from within a callback");
    return rc == LLMGPU_E_TIMEOUT ? lg_fail(&s->env, rc, "nothing came in the time given") : rc;
}

static int prefill(llmgpu_session *s)
{
    int rc;
    do {
        LG_TRY(wait_for(s, LG_WAIT_PREFILL, UINT64_MAX));
    } while ((rc = lg_session_settle(&s->session)) == LLMGPU_AGAIN);
    return rc;
}

static int generate(llmgpu_session *s, uint32_t max_tokens, llmgpu_text_fn on_text, void *user)
{
    const char *text;
    size_t len;
    int rc;
    lg_api_answer_limit(s, max_tokens, max_tokens != UINT32_MAX);
    while ((rc = llmgpu_session_next_text(s, &text, &len)) > 0) {
        if (rc == LLMGPU_AGAIN)
            LG_TRY(wait_for(s, LG_WAIT_NEXT, UINT64_MAX));
        else if (on_text && on_text(user, text, len) != 0)
            return lg_fail(&s->env, LLMGPU_E_CANCELLED, "the text callback ended the answer");
    }
    return rc;
}

/* Callbacks may free the session of the calls that call them; then it lives until these return. */

int llmgpu_session_wait(llmgpu_session *s, uint64_t timeout_us)
{
    if (!s)
        return LLMGPU_E_INVALID;
    clear(s);
    lg_api_session_ref(s);
    int rc = wait_for(s, LG_WAIT_NEXT, moment(timeout_us));
    lg_api_session_unref(s);
    return rc;
}

int llmgpu_session_prefill(llmgpu_session *s)
{
    if (!s)
        return LLMGPU_E_INVALID;
    clear(s);
    lg_api_session_ref(s);
    int rc = prefill(s);
    lg_api_session_unref(s);
    return rc;
}

int llmgpu_session_generate(llmgpu_session *s, uint32_t max_tokens, llmgpu_text_fn on_text, void *user)
{
    if (!s)
        return LLMGPU_E_INVALID;
    lg_api_session_ref(s);
    int rc = generate(s, max_tokens, on_text, user);
    lg_api_session_unref(s);
    return rc;
}

int llmgpu_session_warm_up(llmgpu_session *s)
{
    if (!s)
        return LLMGPU_E_INVALID;
    LG_TRY(lg_api_enter(s->model->ctx, &s->env));
    return lg_api_leave(s->model->ctx, &s->env, lg_scheduler_warm_up(&s->model->ctx->sched, &s->session));
}
