/* SPDX-License-Identifier: MIT
 * Passes whose results the host reads: logits and log-probabilities of given tokens. */
#include <string.h>

#include "runtime/pass.h"
#include "runtime/run.h"
#include "runtime/session.h"
#include "util/checked.h"
#include "util/clock.h"

uint32_t lg_engine_score_rows(const struct lg_engine *e)
{
    uint64_t limit =
        LG_MAX_SCORE_BYTES < e->dev->info.max_view_size ? LG_MAX_SCORE_BYTES : e->dev->info.max_view_size;
    uint64_t rows = limit / (e->model->hp.n_vocab * sizeof(float));
    return lg_max_u32(1, lg_min_u32(e->batch.max_rows, (uint32_t)rows));
}

/** A whole pass, in submissions short enough to be stopped between. */
static int run_all(struct lg_engine *e, struct lg_pass *pass, const struct lg_stop *stop)
{
    uint32_t n_slices = pass->chain.program->n_slices, n;
    for (uint32_t first = 0; first < n_slices; first += n) {
        if (atomic_load(stop->cancelled))
            return lg_fail(e->env, LLMGPU_E_CANCELLED, "cancelled");
        if (lg_now_ns() >= stop->until_ns)
            return lg_fail(e->env, LLMGPU_E_TIMEOUT, "the session's deadline has passed");
        n = lg_run_slices(pass, n_slices - first);
        LG_TRY(lg_run_submit(e, pass, first, n, 1));
    }
    return 0;
}

int lg_engine_score(struct lg_engine *e, uint32_t slot, const int32_t *tokens, uint32_t n, uint32_t pos,
                    const int32_t *targets, uint32_t n_targets, float *log_probs, float *logits,
                    const struct lg_stop *stop)
{
    LG_TRY(lg_engine_own_pages(e, slot, pos, n));
    struct lg_pass *pass = &lg_engine_passes(e, slot)->score;
    LG_TRY(lg_pass_build(e, pass, lg_engine_adapters(e, slot), LG_PREFILL, LG_TAIL_SCORE, lg_engine_score_rows(e)));
    if (!log_probs)
        n_targets = 0;
    lg_run_drop(e); // whose pass it was begins it again
    lg_batch_write(e, slot, tokens, n, pos);
    lg_batch_dims(e, n, n, 0, n_targets);
    if (n_targets)
        memcpy(e->batch.targets->map, targets, n_targets * sizeof(*targets));
    LG_TRY(run_all(e, pass, stop));
    struct lg_view v = pass->views.log_probs;
    v.size = n_targets * sizeof(float);
    if (n_targets)
        LG_TRY(lg_download(e->dev, v, log_probs));
    v = pass->views.logits;
    v.size = (uint64_t)n * e->model->hp.n_vocab * sizeof(float);
    return logits ? lg_download(e->dev, v, logits) : 0;
}
