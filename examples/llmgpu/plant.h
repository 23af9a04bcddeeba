/* SPDX-License-Identifier: MIT
 *
 * A device as heat sees it: die, heat sink and case as thermal masses between resistances, with a card's own way of slowing
 * down. What is work, power and heat in it is simulated; the time is what the caller says.
 */
#ifndef CLI_PLANT_H
#define CLI_PLANT_H

#include <stdbool.h>

#include <llmgpu/pacer.h>

/** How a device slows down by itself. */
enum plant_throttle {
    PLANT_COARSE, // at the limit to a lower clock, until it is `hysteresis` cooler and at least for `hold`
    PLANT_TRIM,   // above the limit by steps of the clock, with the voltage, and up again below it
};

struct plant_kind {
    const char *name, *title;
    double watts, idle; // of work at full clock, and with the clock up and nothing to do; at `warm`
    double leak;        // share of `idle` that it grows by with each degree
    double warm;        // degrees at which these were measured
    double c_die, c_sink, c_case; // joules per kelvin
    double r_die, r_sink, r_case; // kelvin per watt: die to sink, to the air in the case, to the room
    double room, swing; // degrees: mean, and how much warmer the afternoon is than that
    enum plant_throttle throttle;
    double limit, hysteresis; // degrees
    double hold;        // seconds
    double slow;        // clock of COARSE, or the lowest of TRIM, as a share
    double clock;       // megahertz
    double tokens;      // a second at full clock; in proportion to it
    double slice;       // seconds of a slice at full clock
    double target;      // degrees that a pacer is told, unless the caller says otherwise
};

/** Ends with a name of NULL. */
extern const struct plant_kind plant_kinds[];

/** NULL when there is none of that name. */
const struct plant_kind *plant_find(const char *name);

struct plant {
    const struct plant_kind *kind;
    double die, sink, box; // degrees
    double time;           // seconds since midnight
    double clock;          // share of the full one
    double slow_time;      // seconds since it was slowed down, or trimmed
    bool slowed;
    double joules;         // taken
    double read_joules, read_time; // at the last reading
};

/** In the morning, as warm as a night without work leaves it. */
void plant_init(struct plant *plant, const struct plant_kind *kind);
/** `seconds` of work or of none. */
void plant_run(struct plant *plant, bool busy, double seconds);
/** What sensors would tell: whole degrees, the mean power since the last reading. */
void plant_read(struct plant *plant, llmgpu_reading *out);

#endif
