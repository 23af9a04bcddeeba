/* SPDX-License-Identifier: MIT */
#include <stdio.h>

#include "api/handles.h"
#include "api/params.h"
#include "runtime/profile.h"

enum { MAX_PASSES = 1000 };

struct llmgpu_profile {
    llmgpu_model *model;
    struct lg_profile profile;
    uint32_t n_tokens;
};

static int check(llmgpu_session *s, int phase, uint32_t n_tokens, uint32_t n_passes)
{
    if (phase != LLMGPU_PROFILE_PREFILL && phase != LLMGPU_PROFILE_DECODE)
        return lg_fail(&s->env, LLMGPU_E_INVALID, "there is no phase %d", phase);
    uint32_t most = phase == LLMGPU_PROFILE_PREFILL ? s->session.params.n_batch : 1;
    if (n_tokens < 1 || n_tokens > most)
        return lg_fail(&s->env, LLMGPU_E_INVALID, "a pass of %u tokens is not one of 1 .. %u", n_tokens,
                       most);
    if (n_passes < 1 || n_passes > MAX_PASSES)
        return lg_fail(&s->env, LLMGPU_E_INVALID, "%u passes are not 1 .. %d", n_passes, MAX_PASSES);
    return 0;
}

static int create(llmgpu_session *s, int phase, uint32_t n_tokens, uint32_t n_passes, llmgpu_profile **out)
{
    enum lg_run_kind kind = phase == LLMGPU_PROFILE_PREFILL ? LG_RUN_PREFILL : LG_RUN_DECODE;
    s->env.error[0] = '\0';
    LG_TRY(check(s, phase, n_tokens, n_passes));
    llmgpu_profile *p = lg_alloc(&s->env, sizeof(*p));
    if (!p)
        return lg_fail_nomem(&s->env, "a profile", sizeof(*p));
    p->model = s->model;
    p->n_tokens = n_tokens;
    lg_api_model_ref(p->model);
    int rc = lg_api_enter_session(s);
    if (rc == 0)
        rc = lg_api_leave(s->model->ctx, &s->env,
                          lg_profile_run(&s->session, kind, n_tokens, n_passes, &p->profile));
    if (rc < 0) {
        llmgpu_profile_free(p);
        return rc;
    }
    *out = p;
    return 0;
}

int llmgpu_profile_create(llmgpu_profile **out, llmgpu_session *s, int phase, uint32_t n_tokens,
                          uint32_t n_passes)
{
    if (!out)
        return LLMGPU_E_INVALID;
    *out = NULL;
    return s ? create(s, phase, n_tokens, n_passes, out) : LLMGPU_E_INVALID;
}

void llmgpu_profile_free(llmgpu_profile *p)
{
    if (!p)
        return;
    llmgpu_model *model = p->model;
    lg_profile_finish(&model->ctx->env, &p->profile);
    lg_free(&model->ctx->env, p);
    lg_api_model_unref(model);
}

int llmgpu_profile_get_info(const llmgpu_profile *p, llmgpu_profile_info *out, size_t size)
{
    if (!p)
        return LLMGPU_E_INVALID;
    llmgpu_profile_info info = {
        .pass_ns = p->profile.pass_ns,
        .n_rows = p->profile.n_rows,
        .n_dispatches = p->profile.n_dispatches,
        .n_barriers = p->profile.n_barriers,
        .n_tokens = p->n_tokens,
    };
    for (uint32_t i = 0; i < info.n_rows; i++)
        info.kernels_ns += p->profile.rows[i].ns;
    return lg_api_info_out(out, size, &info, sizeof(info), LG_SIZE_TO(llmgpu_profile_info, n_tokens));
}

int llmgpu_profile_get_row(const llmgpu_profile *p, uint32_t index, llmgpu_profile_row *out, size_t size)
{
    if (!p || index >= p->profile.n_rows)
        return LLMGPU_E_INVALID;
    const struct lg_profile_row *from = &p->profile.rows[index];
    llmgpu_profile_row row = {
        .calls = from->calls, .ns = from->ns, .bytes = from->bytes, .flops = from->flops};
    snprintf(row.kernel, sizeof(row.kernel), "%s", from->kernel);
    snprintf(row.label, sizeof(row.label), "%s", from->label);
    return lg_api_info_out(out, size, &row, sizeof(row), LG_SIZE_TO(llmgpu_profile_row, flops));
}

int llmgpu_context_measure_dispatch(llmgpu_context *ctx, double *ns)
{
    if (!ctx || !ns)
        return LLMGPU_E_INVALID;
    struct lg_env env;
    lg_env_child(&env, &ctx->env);
    int rc = lg_api_enter(ctx, &env);
    if (rc == 0)
        rc = lg_api_leave(ctx, &env, lg_dispatch_measure(&ctx->dev_env, ctx->dev, ns));
    return lg_api_report(ctx, &env, rc);
}
