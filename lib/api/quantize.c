/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdio.h>

#ifndef LLMGPU_EXPERIMENTAL
#define LLMGPU_EXPERIMENTAL
#endif
#include "api/params.h"
#include "llmgpu/quantize.h"
#include "model/merge.h"
#include "model/rewrite.h"

enum { MAX_ADAPTERS = 64, MAX_THREADS = 1024 };

#define MAX_SCALE 100.0f
#define PARAMS_LEAST LG_SIZE_TO(llmgpu_quantize_params, error_size)

static const llmgpu_quantize_params defaults = {.size = sizeof(llmgpu_quantize_params)};

/** A call: its env lives as long as it does. */
struct call {
    struct lg_env env;
    struct lg_watch watch;
    llmgpu_quantize_params params;
};

int llmgpu_quantize_params_init(llmgpu_quantize_params *params, size_t size)
{
    return lg_api_params_init(params, size, &defaults, sizeof(defaults), PARAMS_LEAST);
}

const char *llmgpu_quantize_type(uint32_t index)
{
    const struct lg_mix *mix = lg_mix_at(index);
    return mix ? mix->name : NULL;
}

static int tell(void *user, uint64_t done, uint64_t total)
{
    const llmgpu_quantize_params *p = user;
    return p->progress(p->progress_user, done, total);
}

static void report(void *user, const struct lg_rewritten *r)
{
    const llmgpu_quantize_params *p = user;
    const struct lg_gguf_tensor *t = r->from;
    llmgpu_quantize_tensor tensor = {
        .name = t->name.ptr,
        .name_len = t->name.len,
        .from_type = lg_type_info(t->type)->name,
        .to_type = lg_type_info(r->type)->name,
        .n_dims = t->n_dims,
        .merged = r->merged,
        .dims = {t->dims[0], t->dims[1], t->dims[2], t->dims[3]},
        .from_bytes = t->size,
        .to_bytes = r->size,
        .rms = r->rms,
        .rmse = r->rmse,
        .max_error = r->max_error,
    };
    p->report(p->report_user, &tensor);
}

static int begin(struct call *call, const llmgpu_quantize_params *params)
{
    lg_env_init(&call->env);
    call->params = defaults;
    if (params)
        LG_TRY(lg_api_params_in(&call->env, &call->params, sizeof(call->params), PARAMS_LEAST, params));
    if (call->params.n_threads > MAX_THREADS)
        return lg_fail(&call->env, LLMGPU_E_INVALID, "n_threads is %u, more than %d", call->params.n_threads,
                       MAX_THREADS);
    call->watch = (struct lg_watch){.tell = tell, .user = &call->params};
    return 0;
}

/** Gives the sentence to who asked for it. */
static int end(const struct call *call, int rc)
{
    const llmgpu_quantize_params *p = &call->params;
    if (p->error && p->error_size)
        snprintf(p->error, p->error_size, "%s", rc < 0 ? call->env.error : "");
    return rc;
}

static int find_mix(struct call *call, const char *type, const struct lg_mix **out)
{
    char names[256] = "";
    *out = type ? lg_mix_find(type) : NULL;
    if (!type || *out)
        return 0;
    for (uint32_t i = 0, used = 0; lg_mix_at(i) && used < sizeof(names); i++)
        used += (uint32_t)snprintf(names + used, sizeof(names) - used, "%s%s", i ? ", " : "", lg_mix_at(i)->name);
    return lg_fail(&call->env, LLMGPU_E_INVALID, "there is no type '%.60s'; there are %s", type, names);
}

static int rewrite(struct call *call, const struct lg_gguf *in, const char *to, const struct lg_mix *mix,
                   const struct lg_merge *merge)
{
    struct lg_rewrite_options options = {
        .mix = mix,
        .n_threads = call->params.n_threads,
        .merge = merge,
        .report = call->params.report ? report : NULL,
        .user = &call->params,
    };
    call->env.watch = call->params.progress ? &call->watch : NULL;
    int rc = lg_rewrite(&call->env, in, to, &options);
    call->env.watch = NULL;
    return rc;
}

static int quantize(struct call *call, const char *from, const char *to, const char *type)
{
    const struct lg_mix *mix;
    struct lg_gguf *in;
    if (!from || !to || !type)
        return lg_fail(&call->env, LLMGPU_E_INVALID, "no %s is given", !from || !to ? "path" : "type");
    LG_TRY(find_mix(call, type, &mix));
    LG_TRY(lg_gguf_open(&call->env, from, &in));
    int rc = rewrite(call, in, to, mix, NULL);
    lg_gguf_close(in);
    return rc;
}

int llmgpu_quantize(const char *from, const char *to, const char *type, const llmgpu_quantize_params *params)
{
    struct call call;
    int rc = begin(&call, params);
    return end(&call, rc < 0 ? rc : quantize(&call, from, to, type));
}

static int check_adapters(struct call *call, const llmgpu_merge_adapter *adapters, size_t n)
{
    if (!adapters || n < 1 || n > MAX_ADAPTERS)
        return lg_fail(&call->env, LLMGPU_E_INVALID, "%zu adapters are given, not 1 to %d", adapters ? n : 0,
                       MAX_ADAPTERS);
    for (size_t i = 0; i < n; i++) {
        LG_TRY(lg_api_check_reserved(&call->env, adapters[i].reserved));
        if (!adapters[i].path)
            return lg_fail(&call->env, LLMGPU_E_INVALID, "no path is given");
        if (!(fabsf(adapters[i].scale) <= MAX_SCALE))
            return lg_fail(&call->env, LLMGPU_E_INVALID, "a scale of %g is not within -100 .. 100",
                           (double)adapters[i].scale);
    }
    return 0;
}

static int merge(struct call *call, const char *base, const llmgpu_merge_adapter *adapters, size_t n, const char *to,
                 const char *type)
{
    struct lg_merge_source sources[MAX_ADAPTERS];
    const struct lg_mix *mix;
    struct lg_merge *m;
    if (!base || !to)
        return lg_fail(&call->env, LLMGPU_E_INVALID, "no path is given");
    LG_TRY(check_adapters(call, adapters, n));
    LG_TRY(find_mix(call, type, &mix));
    for (size_t i = 0; i < n; i++)
        sources[i] = (struct lg_merge_source){adapters[i].path, adapters[i].scale};
    LG_TRY(lg_merge_open(&call->env, base, sources, (uint32_t)n, &m));
    int rc = rewrite(call, m->model->gguf, to, mix, m);
    lg_merge_close(m);
    return rc;
}

int llmgpu_merge(const char *base, const llmgpu_merge_adapter *adapters, size_t n_adapters, const char *to,
                 const char *type, const llmgpu_quantize_params *params)
{
    struct call call;
    int rc = begin(&call, params);
    return end(&call, rc < 0 ? rc : merge(&call, base, adapters, n_adapters, to, type));
}
