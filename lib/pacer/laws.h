/* SPDX-License-Identifier: MIT
 *
 * The laws by which pauses are found: numbers in, numbers out.
 */
#ifndef LG_PACER_LAWS_H
#define LG_PACER_LAWS_H

#include <stdbool.h>
#include <stdint.h>

/* ---- the ramp */

/**
 * Milliseconds of pause after each slice.
 *
 * Up to 25 degrees below the target, 1. From there in a straight line to 30 at 2 degrees below it, and on to 50 at critical,
 * where it stays.
 */
double lg_ramp_temperature(double temperature, double target, double critical);

/** The same by power: 1 up to 80% of the budget, 30 at the budget, 50 from 125% on. */
double lg_ramp_power(double power, double budget);

/* ---- the device, as it is learned */

/**
 * The temperature as a first-order answer to the share of time with work: T' = a T + b duty + c from one period to the next,
 * by recursive least squares that forget. So many degrees are what work without pauses adds, so many what is there without
 * work, and in so many seconds it comes and goes.
 */
#define LG_THERMAL_SMOOTH 2.0 // seconds, of the temperatures that it is given

struct lg_thermal {
    double w[3], p[3][3];     // a, b, c and their covariance, for temperatures in units of 100 C
    double last, last_duty;   // temperature at the last period's end, and share of work in it
    double share, duty, time; // smoothed share of work; seconds of that, and in all, since
    bool begun;
    double degrees, rest, tau; // learned: per duty, without work, seconds; 0: not yet
};

void lg_thermal_init(struct lg_thermal *model);
/** A smoothed temperature after `dt` seconds, in which `worked` seconds were of work. */
void lg_thermal_add(struct lg_thermal *model, double temperature, double dt, double worked);
/** The history is torn: what is learned stays. */
void lg_thermal_break(struct lg_thermal *model);

/* ---- the controller */

/**
 * Holds one number, the temperature or the power, at or below an aim by the share of time with work, PI with anti-windup. One
 * of zeros begins without pauses.
 */
struct lg_pi {
    double gain, seconds; // of duty by unit; of the integral
    double forward;       // duty that is expected to hold the aim; moved into and out of `sum` as it changes
    double sum;           // what is added to that
    double duty;          // that is answered
};

/**
 * @param error what is left to the aim; negative above it
 * @param used  duty that was in force, which another limit may have made the lower
 * @return the duty, [least, 1]
 */
double lg_pi_step(struct lg_pi *pi, double error, double used, double least, double dt);
/** What is expected changes; the duty jumps by that if `jump`, else it stays. */
void lg_pi_forward(struct lg_pi *pi, double forward, bool jump);

#endif
