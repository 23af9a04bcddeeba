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

/* ---- the die over its sink */

enum { LG_DIE_GUESSES = 9, LG_DIE_STATE = 4 };

/** The device if the die's own rise took a certain time: a Kalman filter of what is there and what it does. */
struct lg_die_guess {
    double share;              // of work, as late as the die's answer to it
    double x[LG_DIE_STATE];    // sink, its rate without work, the die's rise by work, the sink's rate by work
    double p[LG_DIE_STATE][LG_DIE_STATE];
    double errors;             // of its predictions, lately
};

/**
 * Temperature as work makes it: the die is at once so many degrees above its sink as there is work, and the sink follows
 * slowly.
 */
struct lg_die {
    struct lg_die_guess guesses[LG_DIE_GUESSES], *best;
    double now, usual; // share of work over some seconds, and over more
    double owed;   // seconds of work that were told but are not in any share
    bool begun;
};

void lg_die_init(struct lg_die *die);
/** A temperature, as it is read, after `dt` seconds in which `worked` seconds were of work. */
void lg_die_add(struct lg_die *die, double temperature, double dt, double worked);
/** The history is torn: what is learned stays. */
void lg_die_break(struct lg_die *die);
/** The share of work with which the die comes to `aim` and stays there; it may be below 0 or above 1. */
double lg_die_duty(const struct lg_die *die, double aim, double ahead);
/** Degrees above its mean to which the die comes within each of such slices, of so many seconds. */
double lg_die_peak(const struct lg_die *die, double slice, double duty);

/* ---- the controller */

/**
 * Holds one number, the power, at or below an aim by the share of time with work, PI with anti-windup. One
 * of zeros begins without pauses.
 */
struct lg_pi {
    double gain, seconds; // of duty by unit; of the integral
    double forward;       // duty that is expected to hold the aim
    double sum;           // what is added to that
    double duty;          // that is answered
};

/**
 * @param error what is left to the aim; negative above it
 * @param used  duty that was in force, which another limit may have made the lower
 * @return the duty, [least, 1]
 */
double lg_pi_step(struct lg_pi *pi, double error, double used, double least, double dt);

#endif
