/* SPDX-License-Identifier: MIT */
#include <math.h>

#include "pacer/source.h"

#define NEAR_NS UINT64_C(5000000000) // a mean over a longer time says nothing of now
#define APART_NS UINT64_C(20000000)  // counters go in steps

const struct lg_measure_info lg_measures[LG_N_MEASURES] = {
    [LG_MEASURE_TEMPERATURE] = {"temperature", "C", -40, 150},
    [LG_MEASURE_HOTSPOT] = {"hotspot", "C", -40, 150},
    [LG_MEASURE_MEMORY_TEMPERATURE] = {"memory temperature", "C", -40, 150},
    [LG_MEASURE_TEMPERATURE_LIMIT] = {"temperature limit", "C", 20, 150},
    [LG_MEASURE_TEMPERATURE_CRITICAL] = {"temperature critical", "C", 20, 150},
    [LG_MEASURE_POWER] = {"power", "W", 0, 10000},
    [LG_MEASURE_POWER_LIMIT] = {"power limit", "W", 0.5, 10000},
    [LG_MEASURE_CLOCK] = {"clock", "MHz", 0, 20000},
    [LG_MEASURE_CLOCK_MAX] = {"clock max", "MHz", 1, 20000},
    [LG_MEASURE_THROTTLE] = {"throttle", "", 0, LG_THROTTLE_THERMAL | LG_THROTTLE_POWER | LG_THROTTLE_OTHER},
    [LG_MEASURE_BUSY] = {"busy", "", 0, 1},
    [LG_MEASURE_MEMORY_USED] = {"memory used", "bytes", 0, 0x1p50},
    [LG_MEASURE_MEMORY_TOTAL] = {"memory total", "bytes", 1, 0x1p50},
    [LG_MEASURE_ENERGY] = {"energy", "J", 0, 1e15},
    [LG_MEASURE_ON_BATTERY] = {"on battery", "", 0, 1},
};

bool lg_reading_set(struct lg_readings *readings, enum lg_measure measure, double value, uint64_t at_ns,
                    const char *source)
{
    const struct lg_measure_info *info = &lg_measures[measure];
    struct lg_reading *r = &readings->of[measure];
    if (r->known || !isfinite(value) || value < info->min || value > info->max)
        return false;
    *r = (struct lg_reading){.value = value, .at_ns = at_ns, .source = source, .known = true};
    return true;
}

bool lg_meter_power(struct lg_meter *m, double joules, uint64_t at_ns, double *watts)
{
    bool was_read = m->at_ns;
    uint64_t ns = at_ns - m->at_ns;
    if (was_read && ns < APART_NS) {
        *watts = m->watts;
        return m->told;
    }
    m->told = was_read && ns <= NEAR_NS && joules >= m->joules;
    m->watts = m->told ? (joules - m->joules) / ((double)ns * 1e-9) : 0;
    m->joules = joules;
    m->at_ns = at_ns;
    *watts = m->watts;
    return m->told;
}
