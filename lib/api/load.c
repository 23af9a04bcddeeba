/* SPDX-License-Identifier: MIT
 *
 * How models come in: from a file, from memory, or through callbacks; and what one would take.
 */
#include <string.h>

#include "api/handles.h"
#include "api/params.h"
#include "runtime/estimate.h"
#include "util/clock.h"

#define PARAMS_LEAST LG_SIZE_TO(llmgpu_model_params, progress_user)
#define IO_LEAST LG_SIZE_TO(llmgpu_io, user)

static const llmgpu_model_params defaults = {.size = sizeof(llmgpu_model_params)};

int llmgpu_model_params_init(llmgpu_model_params *params, size_t size)
{
    return lg_api_params_init(params, size, &defaults, sizeof(defaults), PARAMS_LEAST);
}

/* ---- where a file is */

/** One of a path, memory and callbacks. */
struct source {
    const char *what; // it is, for who forgot it
    const char *path;
    const void *data;
    size_t size; // of `data`
    const llmgpu_io *io;
    bool taken; // io: who has it will close it
};

/** The bytes of a file of `size` bytes that the parameters choose, from p->file_offset on. */
static int choose_part(struct lg_env *env, uint64_t size, const llmgpu_model_params *p, uint64_t *length)
{
    uint64_t offset = p->file_offset;
    if (offset > size || p->file_length > size - offset)
        return lg_fail(env, LLMGPU_E_INVALID, "%llu bytes at offset %llu are not in a file of %llu",
                       (unsigned long long)p->file_length, (unsigned long long)offset,
                       (unsigned long long)size);
    *length = p->file_length ? p->file_length : size - offset;
    return *length <= SIZE_MAX / 2
               ? 0
               : lg_fail(env, LLMGPU_E_INVALID, "a file of %llu bytes", (unsigned long long)size);
}

static int open_io(struct lg_env *env, struct source *source, const llmgpu_model_params *p,
                   struct lg_gguf **out)
{
    llmgpu_io io = {0};
    LG_TRY(lg_api_params_in(env, &io, sizeof(io), IO_LEAST, source->io));
    LG_TRY(lg_api_check_reserved(env, io.reserved));
    struct lg_gguf_io file = {.read = io.read, .close = io.close, .user = io.user, .offset = p->file_offset};
    if (!io.read)
        return lg_fail(env, LLMGPU_E_INVALID, "an llmgpu_io without a callback to read with");
    LG_TRY(choose_part(env, io.file_size, p, &file.size));
    source->taken = true;
    return lg_gguf_open_io(env, "the stream", &file, out);
}

static int open_file(struct lg_env *env, struct source *source, const llmgpu_model_params *p,
                     struct lg_gguf **out)
{
    uint64_t length = 0;
    if (source->io)
        return open_io(env, source, p, out);
    if (source->path)
        return lg_gguf_open_part(env, source->path, p->file_offset, p->file_length, out);
    if (!source->data)
        return lg_fail(env, LLMGPU_E_INVALID, "no %s is given", source->what);
    LG_TRY(choose_part(env, source->size, p, &length));
    return lg_gguf_parse(env, "the memory", (const uint8_t *)source->data + p->file_offset, (size_t)length,
                         out);
}

static void close_source(const struct source *source)
{
    const llmgpu_io *io = source->io;
    if (io && io->close && !source->taken)
        io->close(io->user);
}

/* ---- loading */

/** Who may stop a load. */
struct loading {
    llmgpu_context *ctx;
    int n_cancels; // of the context when it began
    const llmgpu_model_params *params;
};

static int tell(void *user, uint64_t done, uint64_t total)
{
    const struct loading *l = user;
    if (atomic_load(&l->ctx->cancel_load) != l->n_cancels)
        return 1;
    return l->params->progress ? l->params->progress(l->params->progress_user, done, total) : 0;
}

/** All of the model that needs no device. It lives with `env`. `ctx`: it will get the weights, too; NULL: it will not. */
static int open_model(struct lg_env *env, const llmgpu_context *ctx, struct source *source,
                      const llmgpu_model_params *p, struct lg_model **out)
{
    struct lg_gguf *gguf;
    LG_TRY(open_file(env, source, p, &gguf));
    if (ctx && !p->vocab_only)
        lg_model_read_ahead(gguf, ctx->in_place);
    return lg_model_open(env, gguf, p->vocab_only != 0, out);
}

/** The rest of it. Needs the turn. `in_place`: whether the device reads the weights where the file is. */
static int put_weights(llmgpu_model *model, bool *in_place)
{
    llmgpu_context *ctx = model->ctx;
    uint64_t start = lg_now_ns();
    LG_TRY(lg_model_put_weights(model->model, ctx->dev));
    model->put_ns = lg_now_ns() - start;
    *in_place = model->model->file_buf != NULL;
    model->env.watch = NULL; // who recovers the context puts the weights again
    lg_engine_init(&model->engine, &ctx->dev_env, model->model);
    int rc = lg_engine_keep_in(&model->engine, (uint32_t)ctx->params.kv_type);
    if (rc < 0) {
        lg_model_drop_weights(model->model);
        return rc;
    }
    lg_engine_limit(&model->engine, ctx->params.max_kv_memory);
    lg_api_model_join(model);
    return 0;
}

/** Runs without the turn: others may be putting the weights on a device anew. */
static void log_speed(const llmgpu_model *model, bool in_place)
{
    const struct lg_model *m = model->model;
    const char *how = in_place ? "are read in place" : "were put on the device";
    if (!m->vocab_only)
        lg_log(&model->env, LG_LOG_INFO, "loaded in %.1f ms: %.1f MB of weights %s in %.1f ms, %.2f GB/s",
               1e-6 * (double)model->load_ns, 1e-6 * (double)m->weight_bytes, how, 1e-6 * (double)model->put_ns,
               (double)m->weight_bytes / (double)(model->put_ns + 1));
}

static int load(struct lg_env *env, llmgpu_context *ctx, struct source *source, const llmgpu_model_params *p,
                llmgpu_model **out)
{
    uint64_t start = lg_now_ns();
    struct loading loading = {ctx, atomic_load(&ctx->cancel_load), p};
    struct lg_watch watch = {.tell = tell, .user = &loading};
    bool in_place = false;
    llmgpu_model *model = lg_alloc(env, sizeof(*model));
    if (!model)
        return lg_fail_nomem(env, "a model", sizeof(*model));
    model->refs = 1;
    model->ctx = ctx;
    lg_env_child(&model->env, env);
    model->env.watch = &watch;
    int rc = open_model(&model->env, ctx, source, p, &model->model);
    if (rc == 0)
        rc = lg_api_enter(ctx, &model->env);
    if (rc == 0)
        rc = lg_api_leave(ctx, &model->env, put_weights(model, &in_place));
    if (rc < 0) {
        model->env.watch = NULL;
        memcpy(env->error, model->env.error, sizeof(env->error));
        lg_model_destroy(model->model);
        lg_free(env, model);
        return rc;
    }
    model->load_ns = lg_now_ns() - start;
    log_speed(model, in_place);
    *out = model;
    return 0;
}

static int load_from(llmgpu_model **out, llmgpu_context *ctx, struct source *source,
                     const llmgpu_model_params *params)
{
    if (out)
        *out = NULL;
    if (!out || !ctx) {
        close_source(source);
        return LLMGPU_E_INVALID;
    }
    struct lg_env env;
    lg_env_child(&env, &ctx->env);
    llmgpu_model_params p = defaults;
    lg_api_context_ref(ctx); // which a callback may free
    int rc = params ? lg_api_params_in(&env, &p, sizeof(p), PARAMS_LEAST, params) : 0;
    if (rc == 0)
        rc = load(&env, ctx, source, &p, out);
    close_source(source);
    lg_api_report(ctx, &env, rc);
    lg_api_context_unref(ctx);
    return rc;
}

int llmgpu_model_load(llmgpu_model **out, llmgpu_context *ctx, const char *path,
                      const llmgpu_model_params *params)
{
    struct source source = {.what = "path", .path = path};
    return load_from(out, ctx, &source, params);
}

int llmgpu_model_load_memory(llmgpu_model **out, llmgpu_context *ctx, const void *data, size_t size,
                             const llmgpu_model_params *params)
{
    struct source source = {.what = "memory", .data = data, .size = size};
    return load_from(out, ctx, &source, params);
}

int llmgpu_model_load_io(llmgpu_model **out, llmgpu_context *ctx, const llmgpu_io *io,
                         const llmgpu_model_params *params)
{
    struct source source = {.what = "llmgpu_io", .io = io && io->size >= IO_LEAST ? io : NULL};
    return load_from(out, ctx, &source, params);
}

/* ---- estimating */

static int estimate(struct lg_env *env, llmgpu_context *ctx, struct source *source,
                    const llmgpu_model_params *p, const llmgpu_session_params *session, uint32_t n_sessions,
                    llmgpu_estimate *out)
{
    struct lg_device_info like;
    struct lg_session_params s = {0};
    struct lg_estimate e = {0};
    struct lg_model *model;
    LG_TRY(lg_api_enter(ctx, env));
    like = ctx->dev->info;
    if (lg_device_memory_budget(ctx->dev, &out->available_bytes) < 0)
        out->available_bytes = 0;
    lg_api_leave(ctx, env, 0);

    LG_TRY(open_model(env, NULL, source, p, &model));
    int rc = 0;
    if (n_sessions && model->vocab_only)
        rc = lg_fail(env, LLMGPU_E_INVALID, "there are no sessions of a model without weights");
    if (rc == 0 && n_sessions)
        rc = lg_api_session_params(env, ctx, model, session, &s);
    if (rc == 0)
        rc = lg_estimate(model, &like, &s, n_sessions, (uint32_t)ctx->params.kv_type, &e);
    lg_model_destroy(model);
    out->weight_bytes = e.weights;
    out->cache_bytes = e.caches;
    out->work_bytes = e.work;
    out->mapped_bytes = e.mapped;
    out->device_bytes = e.weights + e.caches + e.work;
    return rc;
}

int llmgpu_model_estimate(llmgpu_estimate *out, size_t size, llmgpu_context *ctx, const char *path,
                          const llmgpu_model_params *params, const llmgpu_session_params *session,
                          uint32_t n_sessions)
{
    if (!ctx)
        return LLMGPU_E_INVALID;
    struct lg_env env;
    lg_env_child(&env, &ctx->env);
    llmgpu_model_params p = defaults;
    llmgpu_estimate e = {0};
    struct source source = {.what = "path", .path = path};
    struct loading loading = {ctx, atomic_load(&ctx->cancel_load), &p};
    struct lg_watch watch = {.tell = tell, .user = &loading};
    int rc = lg_api_info_out(out, size, &e, sizeof(e), LG_SIZE_TO(llmgpu_estimate, available_bytes));
    if (rc < 0)
        return rc;
    rc = params ? lg_api_params_in(&env, &p, sizeof(p), PARAMS_LEAST, params) : 0;
    env.watch = &watch;
    if (rc == 0)
        rc = estimate(&env, ctx, &source, &p, session, n_sessions, &e);
    if (rc == 0)
        rc = lg_api_info_out(out, size, &e, sizeof(e), LG_SIZE_TO(llmgpu_estimate, available_bytes));
    return lg_api_report(ctx, &env, rc);
}
