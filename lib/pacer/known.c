/* SPDX-License-Identifier: MIT */
#include "pacer/known.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/** A member of a reading: where it is, what it can be, and whether it stays as it is. */
static const struct member {
    size_t offset;
    double least, most;
    bool lasts;
} members[] = {
    {offsetof(llmgpu_reading, temperature), -40, 150, false},
    {offsetof(llmgpu_reading, hotspot), -40, 150, false},
    {offsetof(llmgpu_reading, memory_temperature), -40, 150, false},
    {offsetof(llmgpu_reading, temperature_limit), 20, 150, true},
    {offsetof(llmgpu_reading, temperature_critical), 20, 150, true},
    {offsetof(llmgpu_reading, power), 0, 5000, false},
    {offsetof(llmgpu_reading, power_limit), 1, 5000, true},
    {offsetof(llmgpu_reading, clock), 0, 20000, false},
    {offsetof(llmgpu_reading, clock_max), 1, 20000, true},
    {offsetof(llmgpu_reading, throttle), 0, 7, false},
    {offsetof(llmgpu_reading, busy), 0, 1, false},
    {offsetof(llmgpu_reading, memory_used), 0, 0x1p60, false},
    {offsetof(llmgpu_reading, memory_total), 0, 0x1p60, true},
    {offsetof(llmgpu_reading, energy), 0, 1e18, false},
    {offsetof(llmgpu_reading, on_battery), 0, 1, false},
};

enum { N_MEMBERS = sizeof(members) / sizeof(members[0]) };

_Static_assert(N_MEMBERS == sizeof(llmgpu_reading) / sizeof(llmgpu_measure), "a member is missing");

static llmgpu_measure *measure_of(llmgpu_reading *reading, const struct member *member)
{
    return (llmgpu_measure *)(void *)((char *)reading + member->offset);
}

void lg_known_check(llmgpu_reading *reading)
{
    for (const struct member *m = members; m < members + N_MEMBERS; m++) {
        llmgpu_measure *measure = measure_of(reading, m);
        bool good = measure->known && measure->value >= m->least && measure->value <= m->most &&
                    measure->age >= 0 && isfinite(measure->age);
        if (!good)
            memset(measure, 0, sizeof(*measure));
        measure->source[sizeof(measure->source) - 1] = '\0';
    }
}

void lg_known_age(llmgpu_reading *reading, double seconds, double stale)
{
    for (const struct member *m = members; m < members + N_MEMBERS; m++) {
        llmgpu_measure *measure = measure_of(reading, m);
        if (!measure->known)
            continue;
        measure->age += seconds;
        if (!m->lasts && measure->age > stale)
            memset(measure, 0, sizeof(*measure));
    }
}
