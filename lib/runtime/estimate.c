/* SPDX-License-Identifier: MIT */
#include "runtime/estimate.h"

#include "runtime/pass.h"
#include "util/checked.h"

/** The buffers that one session after another grows to, and the passes that a prompt and an answer need. */
static int make_sessions(struct lg_engine *e, const struct lg_session_params *params, uint32_t n_sessions)
{
    uint32_t n_pages = lg_div_up(params->n_ctx, LG_PAGE_SIZE);
    uint32_t n_batch = lg_min_u32(params->n_batch, lg_engine_rows_limit(e));
    if (n_sessions > LG_MAX_SLOTS)
        return lg_fail(e->env, LLMGPU_E_NOMEM, "%u sessions: a model has at most %d", n_sessions,
                       LG_MAX_SLOTS);
    LG_TRY(lg_engine_grow(e, n_sessions * n_pages, n_pages, n_batch));
    LG_TRY(lg_pass_build(e, &e->plain.prefill, NULL, LG_PREFILL, LG_TAIL_NONE, e->prefill_rows));
    uint32_t rows = lg_engine_decode_rows(e, n_sessions);
    if (params->n_candidates)
        return lg_pass_build(e, &e->plain.decode_top, NULL, LG_DECODE, LG_TAIL_SAMPLE_TOP, rows);
    return lg_pass_build(e, &e->plain.decode, NULL, LG_DECODE, LG_TAIL_SAMPLE, rows);
}

static int estimate(struct lg_model *model, struct lg_device *dry, const struct lg_session_params *params,
                    uint32_t n_sessions, uint32_t kv_type, struct lg_estimate *out)
{
    LG_TRY(lg_model_put_weights(model, dry));
    *out = (struct lg_estimate){.weights = dry->stats.memory_used};
    out->mapped = model->file_buf ? model->file_buf->size : 0;
    if (n_sessions == 0)
        return 0;
    struct lg_engine engine;
    lg_engine_init(&engine, model->env, model);
    int rc = lg_engine_keep_in(&engine, kv_type);
    if (rc == 0)
        rc = make_sessions(&engine, params, n_sessions);
    out->caches = lg_engine_cache_bytes(&engine, engine.n_pages * LG_PAGE_SIZE);
    out->work = dry->stats.memory_used - out->weights - out->caches;
    lg_engine_finish(&engine);
    return rc;
}

int lg_estimate(struct lg_model *model, const struct lg_device_info *like,
                const struct lg_session_params *params, uint32_t n_sessions, uint32_t kv_type,
                struct lg_estimate *out)
{
    struct lg_device *dry;
    LG_TRY(lg_dry_device_open(model->env, like, &dry));
    int rc = estimate(model, dry, params, n_sessions, kv_type, out);
    lg_model_drop_weights(model);
    lg_device_close(dry);
    return rc;
}
