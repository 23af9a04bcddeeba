/* SPDX-License-Identifier: MIT */
#include "pacer/laws.h"

static const double COOL_MS = 1, NEAR_MS = 30, CRITICAL_MS = 50;

/** From COOL_MS at `cool` over NEAR_MS at `near` to CRITICAL_MS at `critical`, in straight lines. */
static double ramp(double x, double cool, double near, double critical)
{
    if (x <= cool)
        return COOL_MS;
    if (x >= critical)
        return CRITICAL_MS;
    if (x <= near)
        return COOL_MS + (NEAR_MS - COOL_MS) * (x - cool) / (near - cool);
    return NEAR_MS + (CRITICAL_MS - NEAR_MS) * (x - near) / (critical - near);
}

double lg_ramp_temperature(double temperature, double target, double critical)
{
    return ramp(temperature, target - 25, target - 2, critical);
}

double lg_ramp_power(double power, double budget)
{
    return ramp(power, 0.8 * budget, budget, 1.25 * budget);
}
