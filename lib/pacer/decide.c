/* SPDX-License-Identifier: MIT */
#include <math.h>

#include "pacer/parts.h"

static const double LEAST_DUTY = 0.02;
static const double SMOOTH = LG_THERMAL_SMOOTH; // seconds, of temperature and power
static const double AHEAD = 1;                  // seconds for which is foreseen what the next readings tell
static const double MARGIN = 0.5; // degrees below the target that are aimed at, as sensors give whole ones
static const double PEAK = 0.1, MOST_MARGIN = 0.95; // the same of slices so long that the die heats up in
                                                    // each: readings may all be of the ends of pauses
static const double NEAR = 5; // degrees below the target that are hot
static const double GAP = 10; // seconds without a look after which what was smoothed is of another time
static const double DEFAULT_TARGET = 75, BELOW_LIMIT = 3;

static double smooth(double dt, double seconds)
{
    return 1 - exp(-dt / seconds);
}

/* ---- what is to be held */

static bool in(double x, double least, double most)
{
    return x >= least && x <= most;
}

/** A critical temperature from what is known: the device's own limit, within reason. */
static double default_critical(double target, double limit)
{
    return limit > 0 ? fmin(target + 15, fmax(target + 5, limit)) : target + 10;
}

/** What the device would not let happen is not aimed at: there it slows itself down. */
static double possible(const struct lg_pacer *p, double target)
{
    bool never = p->params.policy == LLMGPU_PACE_CONTROL && p->device_limit > 0 && target >= p->device_limit;
    return never ? p->device_limit - BELOW_LIMIT : target;
}

static void find_goal(struct lg_pacer *p)
{
    const llmgpu_pacer_params *params = &p->params;
    double limit = p->device_limit;
    llmgpu_pace_goal goal = {.target = (double)params->target, .power = (double)params->power};
    if (goal.target <= 0)
        goal.target = limit > 0 ? limit - BELOW_LIMIT : DEFAULT_TARGET;
    double wanted = goal.target;
    goal.target = possible(p, wanted);
    goal.critical = params->critical > 0 ? (double)params->critical : default_critical(goal.target, limit);
    if (params->schedule) {
        llmgpu_pace_goal asked = goal;
        params->schedule(params->schedule_user, p->now_us, &asked);
        if (in(asked.target, 20, 120) && asked.target != goal.target) {
            wanted = asked.target;
            goal.target = possible(p, wanted);
            goal.critical = fmax(goal.critical, goal.target + 5);
        }
        if (in(asked.critical, goal.target, 135))
            goal.critical = asked.critical;
        if (in(asked.power, 0, 5000))
            goal.power = asked.power;
    }
    double share = p->on_battery ? (double)params->quiet : 1;
    if (share < 1 && p->power_limit > 0 && p->power.ever)
        goal.power = goal.power > 0 ? fmin(goal.power, share * p->power_limit) : share * p->power_limit;
    p->lowered = goal.target < wanted;
    p->stats.goal = goal;
}

/** A share that on battery takes the place of a budget, where power is not known. */
static double quiet_duty(const struct lg_pacer *p)
{
    return p->on_battery && !(p->power_limit > 0 && p->power.ever) ? (double)p->params.quiet : 1;
}

/* ---- smoothing */

/** Takes a measurement; what was lost for long begins anew. */
static void follow(struct lg_limit *limit, const llmgpu_measure *measure, double dt)
{
    limit->known = measure->known;
    if (!measure->known) {
        limit->lost += dt;
        return;
    }
    if (!limit->ever || limit->lost + dt > GAP) {
        limit->mean = measure->value;
    } else if (dt > 0) {
        limit->mean += smooth(dt, SMOOTH) * (measure->value - limit->mean);
    }
    limit->ever = true;
    limit->lost = 0;
}

/* ---- the controller's two limits */

/** Lost measurements: the pace stays for a while; a device that was hot is then slowed gently to half of it.
 */
static double lost_duty(const struct lg_pacer *p)
{
    const struct lg_limit *heat = &p->heat;
    double hold = (double)p->params.hold;
    if (!heat->ever)
        return 1;
    if (heat->lost <= hold)
        return heat->last_duty;
    if (!heat->hot)
        return 1;
    double way = hold > 0 ? fmin(1, (heat->lost - hold) / hold) : 1;
    return fmax(LEAST_DUTY, heat->last_duty * (1 - 0.5 * way));
}

static double heat_duty(struct lg_pacer *p)
{
    struct lg_limit *heat = &p->heat;
    const llmgpu_pace_goal *goal = &p->stats.goal;
    if (!heat->known)
        return lost_duty(p);
    double temperature = p->stats.reading.temperature.value;
    double peak = lg_die_peak(&p->die, 1e-6 * (double)p->slice_us, p->duty);
    double aim = goal->target - fmin(MOST_MARGIN, fmax(MARGIN, peak + PEAK));
    double duty = fmin(1, fmax(LEAST_DUTY, lg_die_duty(&p->die, aim, AHEAD)));
    heat->critical = temperature >= goal->critical || (heat->critical && temperature >= goal->target);
    heat->hot = temperature > goal->target - NEAR || duty < 1;
    heat->last_duty = heat->critical ? LEAST_DUTY : duty;
    return heat->last_duty;
}

/** What power a lost sensor would tell is best foretold by the pace that held it: that stays. */
static double power_duty(struct lg_pacer *p, double dt)
{
    struct lg_limit *power = &p->power;
    double budget = p->stats.goal.power;
    if (budget <= 0 || !power->ever) {
        power->pi = (struct lg_pi){.forward = 1, .duty = 1};
        return 1;
    }
    if (!power->known)
        return power->pi.duty;
    double full =
        fmax(budget, power->mean / fmax(0.1, p->duty)); // watts of work without pauses, at the least
    power->pi.gain = 0.5 / full;
    power->pi.seconds = 1.5;
    return lg_pi_step(&power->pi, budget - power->mean, p->duty, LEAST_DUTY, dt);
}

/* ---- laws */

static void decide_control(struct lg_pacer *p, double dt)
{
    double heat = heat_duty(p), power = power_duty(p, dt);
    double duty = fmin(heat, power);
    if (duty >= 1 || duty <= LEAST_DUTY || fabs(duty - p->duty) > 0.002) // smaller changes are noise
        p->duty = duty;
}

static void decide_ramp(struct lg_pacer *p)
{
    const llmgpu_pace_goal *goal = &p->stats.goal;
    struct lg_limit *heat = &p->heat, *power = &p->power;
    double ms = 0, hold = (double)p->params.hold;
    if (heat->known) {
        double temperature = p->stats.reading.temperature.value;
        ms = lg_ramp_temperature(temperature, goal->target, goal->critical);
        heat->hot = temperature > goal->target - NEAR;
        heat->last_duty = ms;
    } else if (heat->ever && heat->lost <= hold) {
        ms = heat->last_duty;
    } else if (heat->ever && heat->hot) { // as at critical
        double way = hold > 0 ? fmin(1, (heat->lost - hold) / hold) : 1;
        ms = heat->last_duty +
             way * (lg_ramp_temperature(goal->critical, goal->target, goal->critical) - heat->last_duty);
    }
    if (power->ever && goal->power > 0)
        ms = fmax(ms, lg_ramp_power(power->mean, goal->power));
    p->fixed_us = 1000 * ms;
}

void lg_pacer_decide(struct lg_pacer *p, bool fresh, double dt, double worked)
{
    const llmgpu_reading *reading = &p->stats.reading;
    if (reading->temperature_limit.known)
        p->device_limit = reading->temperature_limit.value;
    if (reading->power_limit.known)
        p->power_limit = reading->power_limit.value;
    if (reading->on_battery.known)
        p->on_battery = reading->on_battery.value > 0;
    follow(&p->heat, &reading->temperature, dt);
    follow(&p->power, &reading->power, dt);
    find_goal(p);
    if (p->heat.known && dt <= GAP)
        lg_thermal_add(&p->thermal, p->heat.mean, dt, worked);
    else
        lg_thermal_break(&p->thermal);
    p->die_seconds += dt;
    p->die_worked += worked;
    if (p->die_seconds > GAP)
        lg_die_break(&p->die);
    if (p->heat.known && fresh) {
        lg_die_add(&p->die, reading->temperature.value, p->die_seconds, p->die_worked);
        p->die_seconds = p->die_worked = 0;
    }
    p->stats.blind = !p->heat.known && !(p->power.known && p->stats.goal.power > 0);
    p->fixed_us = 0;
    if (p->params.policy == LLMGPU_PACE_CONTROL)
        decide_control(p, fmin(dt, GAP));
    else if (p->params.policy == LLMGPU_PACE_RAMP)
        decide_ramp(p);
    else if (p->params.policy == LLMGPU_PACE_HOST && p->params.host)
        p->fixed_us = p->params.host(p->params.host_user, reading, &p->stats.goal, p->now_us);
    if (p->fixed_us > LG_PACE_MAX_US)
        p->fixed_us = LG_PACE_MAX_US;
}

double lg_pacer_share(const struct lg_pacer *p)
{
    if (p->params.policy == LLMGPU_PACE_OFF || p->params.policy == LLMGPU_PACE_HOST)
        return 1;
    double duty = p->params.policy == LLMGPU_PACE_CONTROL ? p->duty : 1;
    // Blind from the beginning, or for so long that nothing of what was known is held any more.
    if (p->stats.blind && !p->heat.ever && !(p->power.ever && p->stats.goal.power > 0))
        duty = fmin(duty, (double)p->params.blind);
    return fmin(duty, quiet_duty(p));
}
