/* SPDX-License-Identifier: MIT
 *
 * Loading a model that was made in memory and using it: what tests of whole models share.
 */
#ifndef LG_TESTS_MODEL_USE_H
#define LG_TESTS_MODEL_USE_H

#include "model_build.h"
#include "llmgpu/session.h"
#include "runtime/scheduler.h"
#include "stream.h"

/** A model and one session on a device. Zeroed but for env and dev to begin with. */
struct use {
    struct lg_env *env;
    struct lg_device *dev;
    struct lg_model *model;
    struct lg_scheduler sched;
    struct lg_engine engine;
    struct lg_session session;
};

/** What runs the model that is loaded. */
static inline int use_engine(struct use *u)
{
    LG_TRY(lg_scheduler_init(&u->sched, u->env, u->dev));
    lg_engine_init(&u->engine, u->env, u->model);
    return 0;
}

static inline int use_load(struct use *u, const void *file, size_t size)
{
    struct lg_gguf *gguf;
    LG_TRY(lg_gguf_parse(u->env, "model.gguf", file, size, &gguf));
    LG_TRY(lg_model_load_gguf(u->env, u->dev, gguf, false, &u->model));
    return use_engine(u);
}

/** The same through callbacks, `window` bytes at first. */
static inline int use_load_stream(struct use *u, struct stream *stream, uint64_t window)
{
    struct lg_gguf *gguf;
    struct lg_gguf_io io = stream_io(stream, window);
    LG_TRY(lg_gguf_open_io(u->env, "model.gguf", &io, &gguf));
    LG_TRY(lg_model_load_gguf(u->env, u->dev, gguf, false, &u->model));
    return use_engine(u);
}

static inline struct lg_session_params use_params(uint32_t n_ctx, bool sampled)
{
    return (struct lg_session_params){
        .n_ctx = n_ctx,
        .n_batch = 4,
        .tokens_per_submit = 1,
        .ignore_end = true,
        .sampler =
            {
                .temperature = sampled ? 0.8f : 0,
                .top_k = sampled ? 20 : 0,
                .top_p = sampled ? 0.9f : 1,
                .min_p = sampled ? 0.01f : 0,
                .repeat_penalty = sampled ? 1.1f : 1,
                .penalty_last_n = 64,
                .seed_lo = 1,
            },
    };
}

static inline int use_start(struct use *u, uint32_t n_ctx, bool sampled)
{
    struct lg_session_params params = use_params(n_ctx, sampled);
    return lg_session_init(&u->session, u->env, &u->sched, &u->engine, &params);
}

/** The next token, once it is there. */
static inline int use_next(struct lg_session *s, int32_t *token)
{
    int rc;
    while ((rc = lg_session_next(s, token)) == LLMGPU_AGAIN)
        LG_TRY(lg_scheduler_wait(s->sched, s, LG_WAIT_NEXT, UINT64_MAX));
    return rc;
}

/** Feeds `n` tokens that `first` begins and takes `n_out`; each is inside the vocabulary. */
static inline int use_generate(struct lg_session *s, int32_t first, uint32_t n, int32_t *out, uint32_t n_out)
{
    uint32_t n_vocab = s->engine->model->hp.n_vocab;
    for (uint32_t i = 0; i < n; i++) {
        int32_t token = (first + (int32_t)i) % (int32_t)n_vocab;
        LG_TRY(lg_session_feed(s, &token, 1));
    }
    for (uint32_t i = 0; i < n_out; i++) {
        int rc = use_next(s, &out[i]);
        LG_TRY(rc);
        REQUIRE_INT(rc, ==, 1);
        REQUIRE(out[i] >= 0 && (uint32_t)out[i] < n_vocab);
    }
    return 0;
}

/** NULL and half-made things are allowed; `env` and `dev` remain. */
static inline void use_end(struct use *u)
{
    lg_session_finish(&u->session);
    lg_engine_finish(&u->engine);
    if (u->sched.env)
        lg_scheduler_finish(&u->sched);
    u->sched.env = NULL;
    lg_model_destroy(u->model);
    u->model = NULL;
}

#endif
