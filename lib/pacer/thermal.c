/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <string.h>

#include "pacer/laws.h"

static const double PERIOD = 5;         // seconds
static const double SCALE = 100;        // degrees, so that all regressors are about 1
static const double FORGET = 0.995;     // per period that says something
static const double BEGIN_P = 100;      // variance of what is not known yet
static const double LEAST_MOVE = 1;     // degrees in a period; less says nothing that rounding would not
static const double LEAST_CHANGE = 0.1; // of the duty from one period to the next, which says something, too
static const double SURE = 3; // variance of what work adds, below which it is known from what else is there

void lg_thermal_init(struct lg_thermal *m)
{
    memset(m, 0, sizeof(*m));
    m->w[0] = 0.95; // 100 s, 70 degrees by work over 30 without
    m->w[1] = 0.05 * 70 / SCALE;
    m->w[2] = 0.05 * 30 / SCALE;
    for (int i = 0; i < 3; i++)
        m->p[i][i] = BEGIN_P;
}

void lg_thermal_break(struct lg_thermal *m)
{
    m->begun = false;
}

/** One equation: y = w . x. */
static void learn(struct lg_thermal *m, const double x[3], double y)
{
    double px[3], s = FORGET, e = y;
    for (int i = 0; i < 3; i++) {
        px[i] = m->p[i][0] * x[0] + m->p[i][1] * x[1] + m->p[i][2] * x[2];
        e -= m->w[i] * x[i];
    }
    for (int i = 0; i < 3; i++)
        s += x[i] * px[i];
    for (int i = 0; i < 3; i++)
        m->w[i] += px[i] / s * e;
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) {
            double p = (m->p[i][j] - px[i] * px[j] / s) / FORGET;
            m->p[i][j] = fmin(BEGIN_P, fmax(-BEGIN_P, p)); // what is not excited must not grow without end
        }
}

/** Takes what the numbers mean, if they can mean a device. */
static void explain(struct lg_thermal *m)
{
    double a = m->w[0], degrees = SCALE * m->w[1] / (1 - a), rest = SCALE * m->w[2] / (1 - a);
    if (!(a > 0.05 && a < 0.9995) || !(degrees > 5 && degrees < 400) || !(rest > -40 && rest < 100) ||
        m->p[1][1] > SURE)
        return;
    m->degrees = degrees;
    m->rest = rest;
    m->tau = -PERIOD / log(a);
}

void lg_thermal_add(struct lg_thermal *m, double temperature, double dt, double worked)
{
    if (!m->begun) {
        m->begun = true;
        m->last = temperature;
        m->time = m->duty = m->share = 0;
        return;
    }
    // Work is smoothed as the temperature is: then what is learned is neither slower nor more than the
    // device.
    if (dt > 0)
        m->share += (1 - exp(-dt / LG_THERMAL_SMOOTH)) * (fmin(1, worked / dt) - m->share);
    m->time += dt;
    m->duty += m->share * dt;
    if (m->time < PERIOD)
        return;
    // A period that was much longer is another equation.
    double duty = fmin(1, m->duty / m->time);
    bool tells = fabs(temperature - m->last) >= LEAST_MOVE || fabs(duty - m->last_duty) >= LEAST_CHANGE;
    if (m->time < 1.5 * PERIOD && tells) {
        const double x[3] = {m->last / SCALE, duty, 1};
        learn(m, x, temperature / SCALE);
        explain(m);
    }
    m->last = temperature;
    m->last_duty = duty;
    m->time = m->duty = 0;
}
