/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <string.h>

#include "pacer/laws.h"

enum { SINK, RATE, RISE, HEAT }; // of a guess's state

static const double taus[LG_DIE_GUESSES] = {0.4, 0.8, 1.2, 2, 3, 4.5, 7, 11, 16};
static const double BEGIN_RISE = 10, BEGIN_HEAT = 0.3; // degrees; degrees by second of work
static const double BEGIN_VAR[LG_DIE_STATE] = {1, 0.01, 36, 0.06};
static const double NOISE[LG_DIE_STATE] = {2e-3, 1e-4, 2e-3, 2e-6}; // variance that a second adds
static const double LEAST[LG_DIE_STATE] = {-60, -5, 1.5, 0.02}, MOST[LG_DIE_STATE] = {200, 5, 40, 2};
static const double READ_VAR = 0.2; // of a reading a second: steps of 1 C and as much of noise
static const double LEAST_VAR = 0.15;
static const double SOON = 6;            // seconds in which a gap to the aim is closed, at the latest
static const double NOW = 3, USUAL = 20; // seconds over which slices are not seen any more, and work is usual
static const double CHANGE = 0.1;        // of the share of work from the usual one, which says something
static const double FORGET = 120;        // seconds with changes after which a guess's errors are forgotten

void lg_die_init(struct lg_die *die)
{
    memset(die, 0, sizeof(*die));
    for (int i = 0; i < LG_DIE_GUESSES; i++) {
        struct lg_die_guess *g = &die->guesses[i];
        g->x[RISE] = BEGIN_RISE;
        g->x[HEAT] = BEGIN_HEAT;
        for (int k = 0; k < LG_DIE_STATE; k++)
            g->p[k][k] = BEGIN_VAR[k];
    }
    die->best = &die->guesses[3];
}

void lg_die_break(struct lg_die *die)
{
    die->begun = false;
}

/** After a time without readings: the sink is at what is read, less what work has done since; what was
 * learned stays. */
static void begin(struct lg_die *die, double temperature, double worked)
{
    die->begun = true;
    die->owed = die->now = die->usual = 0;
    for (int i = 0; i < LG_DIE_GUESSES; i++) {
        struct lg_die_guess *g = &die->guesses[i];
        g->share = 1 - exp(-fmax(0, worked) / taus[i]);
        g->x[SINK] = temperature - g->x[RISE] * g->share;
        g->x[RATE] = 0;
        for (int k = SINK; k <= RATE; k++) {
            for (int j = 0; j < LG_DIE_STATE; j++)
                g->p[k][j] = g->p[j][k] = 0;
            g->p[k][k] = BEGIN_VAR[k];
        }
        g->p[SINK][RISE] = g->p[RISE][SINK] = -g->share * g->p[RISE][RISE];
        g->p[SINK][SINK] += g->share * g->share * g->p[RISE][RISE];
    }
}

/** SINK grows by RATE and by HEAT for each second of work. */
static void predict(struct lg_die_guess *g, double tau, double dt, double duty, bool tells)
{
    double way[LG_DIE_STATE] = {[SINK] = 1, [RATE] = dt, [HEAT] = dt * duty}, row[LG_DIE_STATE] = {0};
    g->share += (1 - exp(-dt / tau)) * (duty - g->share);
    g->x[SINK] += dt * (g->x[RATE] + duty * g->x[HEAT]);
    for (int j = 0; j < LG_DIE_STATE; j++)
        for (int k = 0; k < LG_DIE_STATE; k++)
            row[j] += way[k] * g->p[k][j];
    double corner = 0;
    for (int k = 0; k < LG_DIE_STATE; k++)
        corner += row[k] * way[k];
    for (int j = 0; j < LG_DIE_STATE; j++)
        g->p[SINK][j] = g->p[j][SINK] = row[j];
    g->p[SINK][SINK] = corner;
    for (int k = 0; k < LG_DIE_STATE; k++)
        if (k <= RATE || (tells && g->p[k][k] < BEGIN_VAR[k]))
            g->p[k][k] += NOISE[k] * dt;
}

/** What is read is SINK and RISE for the share of work. Without changes of that nothing is learned of the
 * device. */
static void correct(struct lg_die_guess *g, double temperature, double dt, bool tells)
{
    double h[LG_DIE_STATE] = {[SINK] = 1, [RISE] = g->share}, ph[LG_DIE_STATE], gain[LG_DIE_STATE];
    double var = fmax(LEAST_VAR, READ_VAR / dt), s = var, error = temperature;
    for (int j = 0; j < LG_DIE_STATE; j++) {
        ph[j] = g->p[j][SINK] * h[SINK] + g->p[j][RISE] * h[RISE];
        error -= h[j] * g->x[j];
    }
    s += ph[SINK] * h[SINK] + ph[RISE] * h[RISE];
    for (int j = 0; j < LG_DIE_STATE; j++) {
        gain[j] = j <= RATE || tells ? ph[j] / s : 0;
        g->x[j] = fmin(MOST[j], fmax(LEAST[j], g->x[j] + gain[j] * error));
    }
    // (1 - gain h) p (1 - gain h)' + gain var gain', which holds for any gain
    for (int i = 0; i < LG_DIE_STATE; i++)
        for (int j = 0; j < LG_DIE_STATE; j++)
            g->p[i][j] += -gain[i] * ph[j] - ph[i] * gain[j] + gain[i] * s * gain[j];
    if (tells)
        g->errors += (1 - exp(-dt / FORGET)) * (error * error / s + log(s) - g->errors);
}

void lg_die_add(struct lg_die *die, double temperature, double dt, double worked)
{
    if (!die->begun || dt <= 0) {
        if (!die->begun)
            begin(die, temperature, worked);
        return;
    }
    // What does not fit, as slices are told at their ends, comes before or after.
    double duty = fmin(1, fmax(0, (worked + die->owed) / dt));
    die->owed = fmin(1, fmax(-1, worked + die->owed - duty * dt));
    die->now += (1 - exp(-dt / NOW)) * (duty - die->now);
    die->usual += (1 - exp(-dt / USUAL)) * (duty - die->usual);
    bool tells = fabs(die->now - die->usual) > CHANGE;
    for (int i = 0; i < LG_DIE_GUESSES; i++) {
        struct lg_die_guess *g = &die->guesses[i];
        predict(g, taus[i], dt, duty, tells);
        correct(g, temperature, dt, tells);
        if (g->errors < die->best->errors)
            die->best = g;
    }
}

double lg_die_duty(const struct lg_die *die, double aim, double ahead)
{
    // The sink's rate is RATE + duty HEAT, the die's own is RISE (duty - share) / late: what gives both what
    // is left to the aim, in the time that the die takes or a shorter one.
    const struct lg_die_guess *g = die->best;
    double late = taus[g - die->guesses] + ahead, now = g->x[RISE] * g->share;
    double left = (aim - g->x[SINK] - now) * fmax(1, late / SOON);
    return (left + now - late * g->x[RATE]) / (g->x[RISE] + late * g->x[HEAT]);
}

double lg_die_peak(const struct lg_die *die, double slice, double duty)
{
    const struct lg_die_guess *g = die->best;
    double tau = taus[g - die->guesses];
    if (slice <= 0 || duty <= 0 || duty >= 1)
        return 0;
    return g->x[RISE] * ((1 - exp(-slice / tau)) / (1 - exp(-slice / (duty * tau))) - duty);
}
