/* SPDX-License-Identifier: MIT */
#include "pacer/pacer.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "pacer/parts.h"

static const uint64_t LOOK_US = 1000000;    // without observations, what is known is looked at again so often
static const uint64_t LONGEST_US = 1000000; // slices; longer ones are several
static const double SHORTEST_US = 200;      // pauses that are made; shorter ones add up

int lg_pacer_create(struct lg_env *env, const llmgpu_pacer_params *params, struct lg_pacer **out)
{
    struct lg_pacer *p = lg_alloc(env, sizeof(*p));
    if (!p)
        return lg_fail_nomem(env, "a pacer", sizeof(*p));
    if (pthread_mutex_init(&p->lock, NULL) != 0) {
        lg_free(env, p);
        return lg_fail(env, LLMGPU_E_NOMEM, "the system gives no lock");
    }
    p->params = *params;
    p->duty = 1;
    p->heat.pi = p->power.pi = (struct lg_pi){.forward = 1, .duty = 1};
    p->heat.last_duty = 1;
    lg_thermal_init(&p->thermal);
    lg_die_init(&p->die);
    p->stats.policy = params->policy;
    lg_pacer_decide(p, false, 0, 0);
    *out = p;
    return 0;
}

void lg_pacer_free(struct lg_env *env, struct lg_pacer *p)
{
    if (!p)
        return;
    pthread_mutex_destroy(&p->lock);
    lg_free(env, p);
}

/** Adds the time since the last look to the counters, by what was known in it. */
static void count(struct lg_pacer *p, uint64_t us)
{
    const llmgpu_reading *r = &p->stats.reading;
    const llmgpu_pace_goal *goal = &p->stats.goal;
    if (p->stats.blind)
        p->stats.blind_us += us;
    if (r->temperature.known && r->temperature.value > goal->target)
        p->stats.above_us += us;
    if (!r->power.known)
        return;
    if (goal->power > 0 && p->power.mean > 1.02 * goal->power)
        p->stats.over_us += us;
    p->stats.joules += r->power.value * 1e-6 * (double)us;
    p->stats.joules_us += us;
}

/** What is probably done of the slice that will be told next: it began when the last pause ended. */
static uint64_t begun_us(const struct lg_pacer *p, uint64_t now_us)
{
    uint64_t us = now_us > p->resumed_us ? now_us - p->resumed_us : 0;
    return us < p->slice_us ? us : p->slice_us;
}

/** Goes on to a time; `reading` is what is known then, or NULL: what was, older. */
static void look(struct lg_pacer *p, const llmgpu_reading *reading, uint64_t now_us)
{
    uint64_t us = p->begun ? now_us - p->seen_us : 0;
    count(p, us);
    if (reading) {
        p->stats.reading = *reading;
        lg_known_check(&p->stats.reading);
    }
    lg_known_age(&p->stats.reading, reading ? 0 : 1e-6 * (double)us, (double)p->params.stale);
    uint64_t worked_us = p->stats.worked_us + begun_us(p, now_us);
    double worked = 1e-6 * ((double)worked_us - (double)p->seen_worked_us);
    p->begun = true;
    p->seen_us = now_us;
    p->seen_worked_us = worked_us;
    lg_pacer_decide(p, reading != NULL, 1e-6 * (double)us, worked);
}

/** Times never go back. */
static uint64_t advance(struct lg_pacer *p, uint64_t now_us)
{
    if (now_us > p->now_us)
        p->now_us = now_us;
    return p->now_us;
}

void lg_pacer_observe(struct lg_pacer *p, const llmgpu_reading *reading, uint64_t now_us)
{
    static const llmgpu_reading nothing;
    pthread_mutex_lock(&p->lock);
    look(p, reading ? reading : &nothing, advance(p, now_us));
    p->stats.observations++;
    pthread_mutex_unlock(&p->lock);
}

/** Microseconds: those of the law, or the work's share of them, which add up. */
static double find_pause(struct lg_pacer *p, uint64_t worked_us)
{
    double share = lg_pacer_share(p), pause;
    p->owed_us = share < 1 ? p->owed_us + (double)worked_us * (1 / share - 1) : 0;
    pause = fmax(p->fixed_us, p->owed_us);
    if (pause < SHORTEST_US)
        return 0;
    p->owed_us = 0;
    return fmin(pause, LG_PACE_MAX_US);
}

uint32_t lg_pacer_pause(struct lg_pacer *p, uint64_t now_us, uint64_t worked_us)
{
    pthread_mutex_lock(&p->lock);
    now_us = advance(p, now_us);
    if (p->begun && now_us - p->seen_us > LOOK_US)
        look(p, NULL, now_us);
    p->stats.worked_us += worked_us;
    uint32_t pause = (uint32_t)find_pause(p, worked_us);
    if (pause > 0) {
        p->stats.pauses++;
        p->stats.pause_us += pause;
    }
    p->resumed_us = now_us + pause;
    p->slice_us = worked_us < LONGEST_US ? worked_us : LONGEST_US;
    if (p->fixed_us > 0)
        p->stats.duty = (double)worked_us / ((double)worked_us + pause);
    pthread_mutex_unlock(&p->lock);
    return pause;
}

void lg_pacer_stats(struct lg_pacer *p, llmgpu_pacer_stats *out)
{
    pthread_mutex_lock(&p->lock);
    *out = p->stats;
    if (p->fixed_us <= 0)
        out->duty = lg_pacer_share(p);
    out->time_constant = p->thermal.tau;
    out->degrees_per_duty = p->thermal.degrees;
    lg_known_age(&out->reading, 1e-6 * (double)(p->now_us - p->seen_us), (double)p->params.stale);
    pthread_mutex_unlock(&p->lock);
}

/* ---- the line */

struct line {
    char *out;
    size_t size, len;
};

__attribute__((format(printf, 2, 3))) static void put(struct line *line, const char *fmt, ...)
{
    va_list list;
    va_start(list, fmt);
    int n = vsnprintf(line->out + line->len, line->size - line->len, fmt, list);
    va_end(list);
    size_t room = line->size - line->len - 1;
    line->len += n < 0 ? 0 : (size_t)n < room ? (size_t)n : room;
}

static void put_measures(struct line *line, const struct lg_pacer *p)
{
    const llmgpu_reading *r = &p->stats.reading;
    const llmgpu_pace_goal *goal = &p->stats.goal;
    if (r->temperature.known)
        put(line, "%.0f C of %.0f C", r->temperature.value, goal->target);
    else if (p->heat.ever)
        put(line, "temperature lost %.0f s ago%s", p->heat.lost, p->heat.hot ? " while hot" : "");
    else
        put(line, "temperature unknown");
    if (p->lowered)
        put(line, ", as the device slows down at %.0f C", p->device_limit);
    if (r->power.known && goal->power > 0)
        put(line, ", %.0f W of %.0f W", r->power.value, goal->power);
    else if (r->power.known)
        put(line, ", %.0f W", r->power.value);
    else
        put(line, ", power %s", p->power.ever ? "lost" : "unknown");
    if (p->on_battery)
        put(line, ", on battery");
}

size_t lg_pacer_status(struct lg_pacer *p, char *out, size_t size)
{
    static const char *const names[] = {
        [LLMGPU_PACE_CONTROL] = "control",
        [LLMGPU_PACE_OFF] = "off",
        [LLMGPU_PACE_RAMP] = "ramp",
        [LLMGPU_PACE_HOST] = "host",
    };
    struct line line = {.out = out, .size = size};
    pthread_mutex_lock(&p->lock);
    double share = lg_pacer_share(p);
    put(&line, "%s: ", names[p->params.policy]);
    put_measures(&line, p);
    if (p->stats.blind && p->params.policy != LLMGPU_PACE_OFF)
        put(&line, "; paces blind");
    if (p->fixed_us > 0)
        put(&line, "; pauses %.1f ms after each slice", 1e-3 * p->fixed_us);
    else if (share < 1)
        put(&line, "; works %.0f%% of the time", 100 * share);
    else
        put(&line, "; no pauses");
    pthread_mutex_unlock(&p->lock);
    return line.len;
}
