/* SPDX-License-Identifier: MIT */
#include <math.h>

#include "pacer/laws.h"

double lg_pi_step(struct lg_pi *pi, double error, double used, double least, double dt)
{
    double wanted = pi->forward + pi->gain * error + pi->sum;
    double step = pi->gain * error * dt / pi->seconds;
    // Anti-windup: the sum does not move further into what cannot be done, or is not done as another limit is
    // lower.
    bool high = wanted >= 1 || used < pi->duty - 0.01, low = wanted <= least;
    if ((step > 0 && !high) || (step < 0 && !low))
        pi->sum += step;
    // Far below the aim what was added in other times is forgotten, so that work begins by what is expected.
    if (wanted >= 1 && error > 0)
        pi->sum -= pi->sum * fmin(1, dt / (4 * pi->seconds));
    pi->duty = fmin(1, fmax(least, pi->forward + pi->gain * error + pi->sum));
    return pi->duty;
}
