/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifndef LLMGPU_EXPERIMENTAL
#define LLMGPU_EXPERIMENTAL
#endif
#include "api/params.h"
#include "pacer/pacer.h"

/** It belongs to no context, so it has an env of its own. */
struct llmgpu_pacer {
    struct lg_env env;
    struct lg_pacer *pacer;
};

#define PARAMS_LEAST LG_SIZE_TO(llmgpu_pacer_params, schedule_user)
#define READING_LEAST LG_SIZE_TO(llmgpu_reading, on_battery)

enum { MAX_STATUS = 256 };

static const llmgpu_pacer_params defaults = {
    .size = sizeof(llmgpu_pacer_params),
    .target = 75,
    .quiet = 0.5f,
    .stale = 5,
    .hold = 30,
    .blind = 1,
};

int llmgpu_pacer_params_init(llmgpu_pacer_params *params, size_t size)
{
    return lg_api_params_init(params, size, &defaults, sizeof(defaults), PARAMS_LEAST);
}

static bool in(float x, float least, float most)
{
    return x >= least && x <= most;
}

static int check_params(const llmgpu_pacer_params *p)
{
    bool good = p->policy >= LLMGPU_PACE_CONTROL && p->policy <= LLMGPU_PACE_HOST &&
                (p->policy != LLMGPU_PACE_HOST || p->host) && (p->target == 0 || in(p->target, 20, 120)) &&
                (p->critical == 0 || (in(p->critical, 20, 135) && p->critical > p->target)) &&
                in(p->power, 0, 5000) && p->quiet > 0 && p->quiet <= 1 && in(p->stale, 0.1f, 3600) &&
                in(p->hold, 0, 3600) && in(p->blind, 0.01f, 1);
    return good ? 0 : LLMGPU_E_INVALID;
}

int llmgpu_pacer_create(llmgpu_pacer **out, const llmgpu_pacer_params *params)
{
    if (!out)
        return LLMGPU_E_INVALID;
    *out = NULL;
    struct lg_env env;
    lg_env_init(&env);
    llmgpu_pacer_params p = defaults;
    if (params)
        LG_TRY(lg_api_params_in(&env, &p, sizeof(p), PARAMS_LEAST, params));
    LG_TRY(check_params(&p));
    llmgpu_pacer *made = lg_alloc(&env, sizeof(*made));
    if (!made)
        return LLMGPU_E_NOMEM;
    lg_env_init(&made->env);
    int rc = lg_pacer_create(&made->env, &p, &made->pacer);
    if (rc < 0) {
        lg_free(&env, made);
        return rc;
    }
    *out = made;
    return 0;
}

void llmgpu_pacer_free(llmgpu_pacer *pacer)
{
    if (!pacer)
        return;
    struct lg_env env;
    lg_env_init(&env);
    lg_pacer_free(&pacer->env, pacer->pacer);
    lg_free(&env, pacer);
}

int llmgpu_pacer_observe(llmgpu_pacer *pacer, const llmgpu_reading *reading, size_t size, uint64_t now_us)
{
    llmgpu_reading own = {0};
    if (!pacer || (reading && (size < READING_LEAST || size > 4096)))
        return LLMGPU_E_INVALID;
    if (reading)
        memcpy(&own, reading, size < sizeof(own) ? size : sizeof(own));
    lg_pacer_observe(pacer->pacer, reading ? &own : NULL, now_us);
    return 0;
}

int llmgpu_pacer_pause(llmgpu_pacer *pacer, uint64_t now_us, uint64_t worked_us)
{
    return pacer ? (int)lg_pacer_pause(pacer->pacer, now_us, worked_us) : LLMGPU_E_INVALID;
}

int llmgpu_pacer_get_stats(llmgpu_pacer *pacer, llmgpu_pacer_stats *out, size_t size)
{
    if (!pacer)
        return LLMGPU_E_INVALID;
    llmgpu_pacer_stats stats;
    lg_pacer_stats(pacer->pacer, &stats);
    return lg_api_info_out(out, size, &stats, sizeof(stats), LG_SIZE_TO(llmgpu_pacer_stats, reading));
}

int llmgpu_pacer_status(llmgpu_pacer *pacer, char *text, size_t capacity, size_t *len)
{
    char line[MAX_STATUS];
    if (!pacer || !len || (!text && capacity))
        return LLMGPU_E_INVALID;
    *len = lg_pacer_status(pacer->pacer, line, sizeof(line));
    if (*len > capacity)
        return LLMGPU_E_RANGE;
    memcpy(text, line, *len);
    if (*len < capacity)
        text[*len] = '\0';
    return 0;
}
