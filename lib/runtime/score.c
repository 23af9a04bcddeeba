/* SPDX-License-Identifier: MIT
 * Passes over a text whose results the host reads: log-probabilities, logits, candidates, hidden states. */
#include <math.h>
#include <string.h>

#include "runtime/pass.h"
#include "runtime/run.h"
#include "runtime/sharing.h"
#include "runtime/session.h"
#include "util/checked.h"
#include "util/clock.h"

uint32_t lg_engine_score_rows(const struct lg_engine *e)
{
    uint64_t limit =
        LG_MAX_SCORE_BYTES < e->dev->info.max_view_size ? LG_MAX_SCORE_BYTES : e->dev->info.max_view_size;
    uint64_t rows = limit / (e->model->hp.n_vocab * sizeof(float));
    return lg_max_u32(1, lg_min_u32(e->prefill_rows, (uint32_t)rows));
}

/** A whole pass, in submissions short enough to be stopped between. */
static int run_all(struct lg_session *s, struct lg_pass *pass)
{
    uint32_t n_slices = pass->chain.program->n_slices, n;
    uint64_t ns = 0;
    for (uint32_t first = 0; first < n_slices; first += n) {
        LG_TRY(lg_session_go_on(s, ns));
        uint64_t begin = lg_now_ns();
        n = lg_run_slices(pass, n_slices - first);
        LG_TRY(lg_run_submit(s->engine, pass, first, n, 1));
        ns = lg_now_ns() - begin;
    }
    return lg_session_go_on(s, ns);
}

/** Some of a text's tokens, which go through one pass. */
struct part {
    const int32_t *tokens; // of the whole text
    uint32_t n_all;
    uint32_t first, n;
};

typedef int part_fn(struct lg_session *s, const struct part *part, void *user);

/** Cuts a text into parts of at most max_rows. */
static int for_parts(struct lg_session *s, const int32_t *tokens, size_t n, uint32_t max_rows, part_fn *fn, void *user)
{
    struct part part = {.tokens = tokens, .n_all = (uint32_t)n};
    LG_TRY(lg_session_begin_text(s, n));
    for (; part.first < n; part.first += part.n) {
        part.n = lg_min_u32(max_rows, part.n_all - part.first);
        LG_TRY(fn(s, &part, user));
    }
    return 0;
}

/** The session's passes, as its adapter asks for them. */
static struct lg_passes *passes_of(struct lg_session *s)
{
    *lg_engine_lora(s->engine, s->slot) = s->lora;
    return lg_engine_passes(s->engine, s->slot);
}

/** Makes ready what a part's pass needs. */
static int prepare(struct lg_session *s, const struct part *part, struct lg_pass *pass, enum lg_pass_tail tail,
                   uint32_t max_rows)
{
    struct lg_engine *e = s->engine;
    LG_TRY(lg_share_need_room(s, part->first, part->n));
    LG_TRY(lg_pass_build(e, pass, lg_engine_adapters(e, s->slot), LG_PREFILL, tail, max_rows));
    lg_run_drop(e); // whose pass it was begins it again
    lg_batch_write(&e->prompts, s->slot, part->tokens + part->first, part->n, part->first);
    return 0;
}

/* ---- scores */

/** Candidates of n rows, at most LG_MAX_CANDIDATES + 1 of each, into the caller's n_top of each. */
static void read_top(const struct lg_pass *pass, uint32_t n, uint32_t n_top, llmgpu_candidate *out)
{
    const struct lg_candidate *row = pass->top->map;
    for (uint32_t i = 0; i < n; i++, row += LG_MAX_CANDIDATES + 1)
        for (uint32_t k = 0; k < n_top; k++)
            *out++ = (llmgpu_candidate){.token = (int32_t)row[k].token, .log_prob = row[k].log_prob};
}

static int score_part(struct lg_session *s, const struct part *part, void *user)
{
    const struct lg_scores *out = user;
    struct lg_engine *e = s->engine;
    struct lg_pass *pass = &passes_of(s)->score;
    uint32_t n = part->n, first = part->first, n_vocab = e->model->hp.n_vocab, n_targets = 0;
    LG_TRY(prepare(s, part, pass, LG_TAIL_SCORE, lg_engine_score_rows(e)));
    if (out->log_probs)
        n_targets = first + n == part->n_all ? n - 1 : n; // nothing comes after the last token
    lg_batch_dims(&e->prompts, n, n, 0, n_targets, out->top ? n : 0);
    if (n_targets)
        memcpy(e->prompts.targets->map, part->tokens + first + 1, n_targets * sizeof(*part->tokens));
    LG_TRY(run_all(s, pass));
    struct lg_view v = pass->views.log_probs;
    v.size = n_targets * sizeof(float);
    if (n_targets)
        LG_TRY(lg_download(e->dev, v, out->log_probs + first));
    v = pass->views.logits;
    v.size = (uint64_t)n * n_vocab * sizeof(float);
    if (out->logits)
        LG_TRY(lg_download(e->dev, v, out->logits + (size_t)first * n_vocab));
    if (out->top)
        read_top(pass, n, out->n_top, out->top + (size_t)first * out->n_top);
    return 0;
}

int lg_session_score(struct lg_session *s, const int32_t *tokens, size_t n, const struct lg_scores *out)
{
    int rc = for_parts(s, tokens, n, lg_engine_score_rows(s->engine), score_part, (void *)out);
    return lg_session_end_work(s, rc);
}

/* ---- embeddings */

struct embedding {
    enum llmgpu_pooling pooling;
    float *out;
    float *rows; // of a part, when they are pooled
    double *sum; // for the mean
    struct lg_pass *pass; // that ran last
};

/** Rows [first, first + n) of a part's hidden states. */
static int read_rows(const struct lg_engine *e, const struct lg_pass *pass, uint32_t first, uint32_t n, float *out)
{
    uint64_t row = e->model->hp.n_embd * sizeof(float);
    struct lg_view v = pass->views.h;
    v.offset += first * row;
    v.size = n * row;
    return lg_download(e->dev, v, out);
}

static int add_rows(const struct lg_engine *e, uint32_t n, struct embedding *m)
{
    uint32_t C = e->model->hp.n_embd;
    LG_TRY(read_rows(e, m->pass, 0, n, m->rows));
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t c = 0; c < C; c++)
            m->sum[c] += m->rows[(size_t)i * C + c];
    return 0;
}

static int embed_part(struct lg_session *s, const struct part *part, void *user)
{
    struct embedding *m = user;
    struct lg_engine *e = s->engine;
    m->pass = &passes_of(s)->embed;
    LG_TRY(prepare(s, part, m->pass, LG_TAIL_EMBED, e->prefill_rows));
    lg_batch_dims(&e->prompts, part->n, part->n, 0, 0, 0);
    LG_TRY(run_all(s, m->pass));
    bool first = part->first == 0, last = part->first + part->n == part->n_all;
    switch (m->pooling) {
    case LLMGPU_POOLING_NONE: return read_rows(e, m->pass, 0, part->n, m->out + (size_t)part->first * e->model->hp.n_embd);
    case LLMGPU_POOLING_MEAN: return add_rows(e, part->n, m);
    case LLMGPU_POOLING_CLS: return first ? read_rows(e, m->pass, 0, 1, m->out) : 0;
    case LLMGPU_POOLING_LAST: return last ? read_rows(e, m->pass, part->n - 1, 1, m->out) : 0;
    }
    return 0;
}

/** Scales a vector to length 1; one of zeros stays. */
static void scale_to_1(float *x, uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    double scale = sum > 0 ? 1 / sqrt(sum) : 0;
    for (uint32_t i = 0; i < n; i++)
        x[i] = (float)(x[i] * scale);
}

/** The vectors of all parts, with m's buffers. */
static int embed(struct lg_session *s, const int32_t *tokens, size_t n, struct embedding *m)
{
    struct lg_engine *e = s->engine;
    uint32_t C = e->model->hp.n_embd, max_rows = e->prefill_rows;
    size_t n_rows = n < max_rows ? n : max_rows;
    if (m->pooling == LLMGPU_POOLING_MEAN) {
        m->sum = lg_alloc_array(s->env, C, sizeof(*m->sum));
        m->rows = lg_alloc_array(s->env, n_rows, C * sizeof(*m->rows));
        if (!m->sum || !m->rows)
            return lg_fail_nomem(s->env, "hidden states", n_rows * C * sizeof(*m->rows));
    }
    LG_TRY(for_parts(s, tokens, n, max_rows, embed_part, m));
    for (uint32_t c = 0; m->sum && c < C; c++)
        m->out[c] = (float)(m->sum[c] / (double)n);
    return 0;
}

int lg_session_embed(struct lg_session *s, const int32_t *tokens, size_t n, enum llmgpu_pooling pooling, bool normalize,
                     float *out)
{
    struct embedding m = {.pooling = pooling, .out = out};
    uint32_t C = s->model->hp.n_embd;
    int rc = embed(s, tokens, n, &m);
    lg_free(s->env, m.sum);
    lg_free(s->env, m.rows);
    for (size_t i = 0; rc == 0 && normalize && i < (pooling == LLMGPU_POOLING_NONE ? n : 1); i++)
        scale_to_1(out + i * C, C);
    return lg_session_end_work(s, rc);
}
