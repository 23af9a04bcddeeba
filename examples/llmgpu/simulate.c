/* SPDX-License-Identifier: MIT */
#include "simulate.h"

#include <math.h>
#include <string.h>

static const double READ_EVERY = 0.5;                 // seconds
static const double BREAK_EVERY = 14400, BREAK = 600; // seconds: the last of each
static const double SETTLING = 1800, RESUMING = 900;  // seconds after the beginning, and after a break
static const double STRETCH = 300;                    // seconds over which swings and mean powers are taken

const char *simulate_policy_name(int32_t policy)
{
    return policy == LLMGPU_PACE_OFF ? "off" : policy == LLMGPU_PACE_RAMP ? "ramp" : "control";
}

/** A stretch of time that is being looked at. */
struct window {
    double begin, low, high, sum, tokens, joules;
    uint32_t n;
};

struct run {
    struct simulate_result *out;
    llmgpu_pacer *pacer;
    struct plant plant;
    double begin, now, end; // of the plant's time
    double next_read;
    double tokens, last_tokens;
    double sum_c; // of readings while there is work
    uint64_t n_c;
    double swing_sum;
    uint32_t n_swings;
    struct window stretch, point;
    double work_joules;
};

static void window_begin(struct window *w, const struct run *run)
{
    *w = (struct window){.begin = run->plant.time,
                         .low = INFINITY,
                         .high = -INFINITY,
                         .tokens = run->tokens,
                         .joules = run->plant.joules};
}

static void window_add(struct window *w, double x)
{
    w->low = fmin(w->low, x);
    w->high = fmax(w->high, x);
    w->sum += x;
    w->n++;
}

/** Seconds into the stretch of work, or negative in a break. */
static double into_work(const struct run *run)
{
    double at = fmod(run->plant.time - run->begin, BREAK_EVERY);
    return at < BREAK_EVERY - BREAK ? at : -1;
}

static bool is_settled(const struct run *run)
{
    return run->plant.time - run->begin >= SETTLING;
}

static void end_stretch(struct run *run)
{
    double into = into_work(run);
    if (is_settled(run) && into >= RESUMING + STRETCH) {
        run->swing_sum += run->stretch.high - run->stretch.low;
        run->n_swings++;
    }
    if (is_settled(run))
        run->out->settled_power_w =
            fmax(run->out->settled_power_w, (run->plant.joules - run->stretch.joules) / STRETCH);
    window_begin(&run->stretch, run);
}

static void end_point(struct run *run)
{
    struct simulate_result *out = run->out;
    double seconds = run->plant.time - run->point.begin;
    if (out->n_points < SIMULATE_MAX_POINTS && run->point.n > 0)
        out->points[out->n_points++] = (struct simulate_point){
            .low = (float)run->point.low,
            .high = (float)run->point.high,
            .mean = (float)(run->point.sum / run->point.n),
            .speed = (float)((run->tokens - run->point.tokens) / seconds),
        };
    window_begin(&run->point, run);
}

/** What sensors say, for the pacer; and what is true, for the results. */
static void observe(struct run *run)
{
    struct simulate_result *out = run->out;
    struct plant *plant = &run->plant;
    llmgpu_reading reading;
    double since = plant->time - plant->read_time;
    plant_read(plant, &reading);
    llmgpu_pacer_observe(run->pacer, &reading, sizeof(reading), (uint64_t)((plant->time - run->begin) * 1e6));
    run->next_read = plant->time + READ_EVERY;
    window_add(&run->stretch, plant->die);
    window_add(&run->point, plant->die);
    if (into_work(run) >= 0) {
        run->sum_c += plant->die;
        run->n_c++;
        run->work_joules += reading.power.value * since;
    }
    out->max_c = fmax(out->max_c, plant->die);
    if (is_settled(run))
        out->settled_max_c = fmax(out->settled_max_c, plant->die);
    out->above_s += plant->die > out->target ? since : 0;
    out->throttled_s += plant->slowed && into_work(run) >= 0 ? since : 0;
    if (plant->time - run->stretch.begin >= STRETCH)
        end_stretch(run);
    if (plant->time - run->point.begin >= (run->end - run->begin) / SIMULATE_MAX_POINTS)
        end_point(run);
}

/** Time in which there is no work on the device, with readings in between. */
static void rest(struct run *run, double seconds)
{
    double end = run->plant.time + seconds;
    while (end - run->plant.time > 1e-9) {
        double part = fmin(end, run->next_read) - run->plant.time;
        plant_run(&run->plant, false, fmax(part, 1e-6));
        if (run->plant.time >= run->next_read)
            observe(run);
    }
}

static void work(struct run *run)
{
    struct plant *plant = &run->plant;
    double seconds = plant->kind->slice / plant->clock;
    run->tokens += plant->kind->tokens * plant->kind->slice;
    plant_run(plant, true, seconds);
    if (plant->time >= run->next_read)
        observe(run);
    run->out->work_s += seconds;
    int pause = llmgpu_pacer_pause(run->pacer, (uint64_t)((plant->time - run->begin) * 1e6),
                                   (uint64_t)(seconds * 1e6));
    if (pause > 0)
        rest(run, 1e-6 * pause);
}

static void finish(struct run *run)
{
    struct simulate_result *out = run->out;
    llmgpu_pacer_stats stats;
    llmgpu_pacer_get_stats(run->pacer, &stats, sizeof(stats));
    out->tokens = run->tokens;
    out->held = stats.goal.target;
    out->joules = run->plant.joules;
    out->pauses = stats.pauses;
    out->pause_s = 1e-6 * (double)stats.pause_us;
    out->work_s += out->pause_s;
    out->mean_w = out->work_s > 0 ? run->work_joules / out->work_s : 0;
    out->mean_c = run->n_c > 0 ? run->sum_c / (double)run->n_c : 0;
    out->swing_c = run->n_swings > 0 ? run->swing_sum / run->n_swings : 0;
}

int simulate(struct simulate_result *out, const struct plant_kind *kind, const llmgpu_pacer_params *params,
             double hours)
{
    struct run run = {.out = out};
    int status = llmgpu_pacer_create(&run.pacer, params);
    if (status < 0)
        return status;
    *out = (struct simulate_result){.kind = kind,
                                    .policy = params->policy,
                                    .hours = hours,
                                    .target = (double)params->target,
                                    .power = (double)params->power};
    plant_init(&run.plant, kind);
    run.begin = run.plant.time;
    run.end = run.begin + 3600 * hours;
    window_begin(&run.stretch, &run);
    window_begin(&run.point, &run);
    observe(&run);
    while (run.plant.time < run.end) {
        if (into_work(&run) >= 0)
            work(&run);
        else
            rest(&run, READ_EVERY);
    }
    finish(&run);
    llmgpu_pacer_free(run.pacer);
    return 0;
}
