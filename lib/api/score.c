/* SPDX-License-Identifier: MIT
 *
 * Probabilities and embeddings.
 */
#include "api/handles.h"
#include "util/checked.h"

_Static_assert(LG_MAX_CANDIDATES == 32, "include/llmgpu/session.h says so");

static llmgpu_candidate make_candidate(struct lg_candidate c)
{
    return (llmgpu_candidate){.token = (int32_t)c.token, .log_prob = c.log_prob};
}

int llmgpu_session_get_candidates(const llmgpu_session *s, llmgpu_candidate *chosen, llmgpu_candidate *top,
                                  size_t capacity, size_t *n)
{
    if (!s || !n || (!top && capacity))
        return LLMGPU_E_INVALID;
    const struct lg_session *in = &s->session;
    pthread_mutex_lock(&in->sched->lock);
    struct lg_choice given = in->given;
    size_t known = given.known ? in->params.n_candidates : 0;
    pthread_mutex_unlock(&in->sched->lock);
    *n = capacity < known ? capacity : known;
    for (size_t i = 0; i < *n; i++)
        top[i] = make_candidate(given.top[i]);
    if (chosen)
        *chosen = make_candidate(given.chosen);
    return given.known ? 0 : LLMGPU_E_INVALID;
}

static int score(llmgpu_session *s, const int32_t *tokens, size_t n, const struct lg_scores *out)
{
    LG_TRY(lg_api_enter(s->model->ctx, &s->env));
    int rc = lg_api_check_tokens(s, tokens, n);
    if (rc == 0) {
        lg_api_answer_begin(s); // the text takes the conversation's place
        rc = lg_session_score(&s->session, tokens, n, out);
    }
    return lg_api_leave(s->model->ctx, &s->env, rc);
}

int llmgpu_session_score(llmgpu_session *s, const int32_t *tokens, size_t n, float *log_probs, float *logits)
{
    struct lg_scores out = {.log_probs = log_probs, .logits = logits};
    return s && tokens && n ? score(s, tokens, n, &out) : LLMGPU_E_INVALID;
}

int llmgpu_session_score_top(llmgpu_session *s, const int32_t *tokens, size_t n, float *log_probs,
                             uint32_t n_top, llmgpu_candidate *top)
{
    if (!s || !tokens || n == 0 || !top)
        return LLMGPU_E_INVALID;
    uint32_t most = lg_min_u32(LG_MAX_CANDIDATES, s->model->model->hp.n_vocab);
    if (n_top < 1 || n_top > most)
        return lg_fail(&s->env, LLMGPU_E_INVALID, "%u candidates are not in 1 .. %u", n_top, most);
    struct lg_scores out = {.log_probs = log_probs, .top = top, .n_top = n_top};
    return score(s, tokens, n, &out);
}

static int embed(llmgpu_session *s, const int32_t *tokens, size_t n, int pooling, int normalize, float *out)
{
    if (pooling < LLMGPU_POOLING_MEAN || pooling > LLMGPU_POOLING_NONE)
        return lg_fail(&s->env, LLMGPU_E_INVALID, "there is no pooling %d", pooling);
    LG_TRY(lg_api_check_tokens(s, tokens, n));
    lg_api_answer_begin(s);
    return lg_session_embed(&s->session, tokens, n, (enum llmgpu_pooling)pooling, normalize != 0, out);
}

int llmgpu_session_embed(llmgpu_session *s, const int32_t *tokens, size_t n, int pooling, int normalize,
                         float *out)
{
    if (!s || !tokens || n == 0 || !out)
        return LLMGPU_E_INVALID;
    LG_TRY(lg_api_enter(s->model->ctx, &s->env));
    return lg_api_leave(s->model->ctx, &s->env, embed(s, tokens, n, pooling, normalize, out));
}
