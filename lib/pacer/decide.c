/* SPDX-License-Identifier: MIT */
#include <math.h>

#include "pacer/parts.h"

static const double LEAST_DUTY = 0.02;
static const double SMOOTH = LG_THERMAL_SMOOTH; // seconds, of temperature and power
static const double SLOPE_SMOOTH = 3;           // seconds
static const double LEAD = 4; // seconds ahead for which the temperature is foreseen: what smoothing and the
                              // die's own mass hide
static const double MARGIN = 0.5; // degrees below the target that are aimed at, as sensors give whole ones
static const double NEAR = 5;     // degrees below the target that are hot
static const double GAP = 10;     // seconds without a look after which what was smoothed is of another time
static const double ANSWER = 8;   // seconds in which the controller closes a gap, as far as gains allow
static const double LEAST_GAIN = 0.01, MOST_GAIN = 0.1; // duty by degree
static const double UNLEARNED = 0.05;                   // of these, until the device is known
static const double DEFAULT_TARGET = 75;

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

static void find_goal(struct lg_pacer *p)
{
    const llmgpu_pacer_params *params = &p->params;
    double limit = p->device_limit;
    llmgpu_pace_goal goal = {.target = (double)params->target, .power = (double)params->power};
    if (goal.target <= 0)
        goal.target = limit > 0 ? limit - 3 : DEFAULT_TARGET;
    goal.critical = params->critical > 0 ? (double)params->critical : default_critical(goal.target, limit);
    if (params->schedule) {
        llmgpu_pace_goal asked = goal;
        params->schedule(params->schedule_user, p->now_us, &asked);
        if (in(asked.target, 20, 120) && asked.target != goal.target) {
            goal.target = asked.target;
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
        limit->slope = 0;
    } else if (dt > 0) {
        double before = limit->mean;
        limit->mean += smooth(dt, SMOOTH) * (measure->value - limit->mean);
        limit->slope += smooth(dt, SLOPE_SMOOTH) * ((limit->mean - before) / dt - limit->slope);
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

static double heat_duty(struct lg_pacer *p, double aim_before, double dt)
{
    struct lg_limit *heat = &p->heat;
    const llmgpu_pace_goal *goal = &p->stats.goal;
    if (!heat->known)
        return lost_duty(p);
    const struct lg_thermal *model = &p->thermal;
    double temperature = p->stats.reading.temperature.value, aim = goal->target - MARGIN;
    double degrees = model->degrees, gain = model->tau > 0 ? model->tau / (ANSWER * degrees) : UNLEARNED;
    // Who looks seldom must not act strongly.
    heat->pi.gain = fmin(MOST_GAIN, fmax(LEAST_GAIN, gain)) * fmin(1, 1 / fmax(dt, 0.1));
    heat->pi.seconds = model->tau > 0 ? fmin(20, fmax(8, model->tau)) : 20;
    double forward = model->tau > 0 ? fmin(1, fmax(0, (aim - model->rest) / degrees)) : 1;
    lg_pi_forward(&heat->pi, forward, heat->pi.duty >= 1 || aim != aim_before);
    double error = aim - (heat->mean + LEAD * heat->slope);
    double duty = lg_pi_step(&heat->pi, error, p->duty, LEAST_DUTY, dt);
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

static void decide_control(struct lg_pacer *p, double aim_before, double dt)
{
    double heat = heat_duty(p, aim_before, dt), power = power_duty(p, dt);
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

void lg_pacer_decide(struct lg_pacer *p, double dt, double worked)
{
    const llmgpu_reading *reading = &p->stats.reading;
    if (reading->temperature_limit.known)
        p->device_limit = reading->temperature_limit.value;
    if (reading->power_limit.known)
        p->power_limit = reading->power_limit.value;
    if (reading->on_battery.known)
        p->on_battery = reading->on_battery.value > 0;
    double aim_before = p->stats.goal.target - MARGIN;
    follow(&p->heat, &reading->temperature, dt);
    follow(&p->power, &reading->power, dt);
    find_goal(p);
    if (p->heat.known && dt <= GAP)
        lg_thermal_add(&p->thermal, p->heat.mean, dt, worked);
    else
        lg_thermal_break(&p->thermal);
    p->stats.blind = !p->heat.known && !(p->power.known && p->stats.goal.power > 0);
    p->fixed_us = 0;
    if (p->params.policy == LLMGPU_PACE_CONTROL)
        decide_control(p, aim_before, fmin(dt, GAP));
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
