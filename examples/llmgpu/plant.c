/* SPDX-License-Identifier: MIT */
#include "plant.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/*
 * Where the numbers are from: (V) a vendor's specification or manual, (P) what others have published, (D)
 * derived from these, (A) assumed. docs/pacer.md has the whole list, and how much depends on what is assumed.
 *
 * laptop   60 W: a GPU of the RTX 3050 class, which builders set to 35 .. 80 W (V); 87 C (P).
 * desktop  120 W and 95 C: GeForce GTX 1660 (V).
 * server   300 W: A100 PCIe 80 GB (V); slows down at 89 C, as nvidia-smi -q shows for it (P).
 * trimmed  as desktop, with GPU Boost's target of 83 C (P).
 *
 * COARSE is hardware slowdown: clocks lower "by a factor of 2 or more" (V, the reference of NVML); that the
 * voltage stays is assumed (A). Its band of 10 K is, too (A): firmware can say up to 15, and Linux' nouveau
 * takes 3 to slow down and 5 at critical where it says nothing (P). Resistances: a working cooler has about
 * (75 - 25) C / watts (P, D); these are 1.4 to 1.6 times that, for what throttles at all has dust in it, a
 * warm case or little air (A). Masses are those of copper and aluminium of usual weight (D). Idle power is
 * with clocks up, as it is a moment after work (A, within what owners report).
 */
const struct plant_kind plant_kinds[] = {
    {.name = "laptop",
     .title = "laptop GPU, RTX 3050 class",
     .watts = 60,
     .idle = 12,
     .leak = 0.012,
     .warm = 80,
     .c_die = 14,
     .c_sink = 160,
     .c_case = 900,
     .r_die = 0.12,
     .r_sink = 0.85,
     .r_case = 0.25,
     .room = 26,
     .swing = 3,
     .throttle = PLANT_COARSE,
     .limit = 87,
     .hysteresis = 10,
     .hold = 1,
     .slow = 0.5,
     .clock = 1500,
     .tokens = 45,
     .slice = 0.022,
     .target = 86},
    {.name = "desktop",
     .title = "graphics card, GTX 1660 class",
     .watts = 120,
     .idle = 22,
     .leak = 0.012,
     .warm = 80,
     .c_die = 25,
     .c_sink = 350,
     .c_case = 3000,
     .r_die = 0.08,
     .r_sink = 0.46,
     .r_case = 0.10,
     .room = 27,
     .swing = 3,
     .throttle = PLANT_COARSE,
     .limit = 95,
     .hysteresis = 10,
     .hold = 1,
     .slow = 0.5,
     .clock = 1785,
     .tokens = 60,
     .slice = 0.016,
     .target = 94},
    {.name = "server",
     .title = "server card, A100 PCIe class",
     .watts = 300,
     .idle = 55,
     .leak = 0.012,
     .warm = 80,
     .c_die = 90,
     .c_sink = 700,
     .c_case = 4000,
     .r_die = 0.04,
     .r_sink = 0.17,
     .r_case = 0.03,
     .room = 30,
     .swing = 2,
     .throttle = PLANT_COARSE,
     .limit = 89,
     .hysteresis = 10,
     .hold = 1,
     .slow = 0.5,
     .clock = 1410,
     .tokens = 160,
     .slice = 0.006,
     .target = 88},
    {.name = "trimmed",
     .title = "graphics card that trims its clock",
     .watts = 120,
     .idle = 22,
     .leak = 0.012,
     .warm = 80,
     .c_die = 25,
     .c_sink = 350,
     .c_case = 3000,
     .r_die = 0.08,
     .r_sink = 0.46,
     .r_case = 0.10,
     .room = 27,
     .swing = 3,
     .throttle = PLANT_TRIM,
     .limit = 83,
     .slow = 0.3,
     .clock = 1785,
     .tokens = 60,
     .slice = 0.016,
     .target = 82},
    {.name = NULL},
};

static const double STEP =
    0.02; // seconds, of integration at the most: a hundredth of the shortest time constant
static const double TRIM_SECONDS = 1; // between two steps of TRIM
static const double TRIM_MHZ = 15;    // of a step
static const double DAY = 86400, WARMEST = 15 * 3600, MORNING = 8 * 3600;
static const double LEAST_VOLTAGE = 0.7; // of that at full clock; reached at that share of it, too

const struct plant_kind *plant_find(const char *name)
{
    for (const struct plant_kind *kind = plant_kinds; kind->name; kind++)
        if (strcmp(kind->name, name) == 0)
            return kind;
    return NULL;
}

static double room(const struct plant *p)
{
    const double two_pi = 6.28318530717958648;
    return p->kind->room + p->kind->swing * cos(two_pi * (p->time - WARMEST) / DAY);
}

/** Watts. Slowing by hardware divides the clock; trimming lowers the voltage with it. */
static double power(const struct plant *p, bool busy)
{
    const struct plant_kind *k = p->kind;
    double idle = k->idle * (1 + k->leak * (p->die - k->warm));
    double voltage = k->throttle == PLANT_TRIM ? fmax(LEAST_VOLTAGE, p->clock) : 1;
    return fmax(0, idle) * voltage + (busy ? (k->watts - k->idle) * p->clock * voltage * voltage : 0);
}

static void throttle_coarse(struct plant *p)
{
    const struct plant_kind *k = p->kind;
    if (!p->slowed && p->die >= k->limit) {
        p->slowed = true;
        p->slow_time = 0;
    } else if (p->slowed && p->slow_time >= k->hold && p->die <= k->limit - k->hysteresis) {
        p->slowed = false;
    }
    p->clock = p->slowed ? k->slow : 1;
}

static void throttle_trim(struct plant *p)
{
    const struct plant_kind *k = p->kind;
    if (p->slow_time < TRIM_SECONDS)
        return;
    p->slow_time = 0;
    double step = TRIM_MHZ / k->clock;
    p->clock = fmin(1, fmax(k->slow, p->clock + (p->die > k->limit       ? -step
                                                 : p->die < k->limit - 1 ? step
                                                                         : 0)));
    p->slowed = p->clock < 1;
}

static void step(struct plant *p, bool busy, double dt)
{
    const struct plant_kind *k = p->kind;
    double watts = power(p, busy);
    double to_sink = (p->die - p->sink) / k->r_die, to_box = (p->sink - p->box) / k->r_sink;
    double to_room = (p->box - room(p)) / k->r_case;
    p->die += (watts - to_sink) / k->c_die * dt;
    p->sink += (to_sink - to_box) / k->c_sink * dt;
    p->box += (to_box - to_room) / k->c_case * dt;
    p->joules += watts * dt;
    p->time += dt;
    p->slow_time += dt;
    if (k->throttle == PLANT_COARSE)
        throttle_coarse(p);
    else
        throttle_trim(p);
}

void plant_run(struct plant *p, bool busy, double seconds)
{
    for (; seconds > STEP; seconds -= STEP)
        step(p, busy, STEP);
    step(p, busy, seconds);
}

void plant_init(struct plant *p, const struct plant_kind *kind)
{
    *p = (struct plant){.kind = kind, .time = MORNING, .clock = 1};
    double air = room(p), watts = kind->idle * 0.6; // clocks fall when there is nothing to do for long
    p->box = air + watts * kind->r_case;
    p->sink = p->box + watts * kind->r_sink;
    p->die = p->sink + watts * kind->r_die;
    p->read_time = p->time;
}

static llmgpu_measure known(double value)
{
    llmgpu_measure m = {.value = value, .known = 1};
    snprintf(m.source, sizeof(m.source), "plant");
    return m;
}

void plant_read(struct plant *p, llmgpu_reading *out)
{
    const struct plant_kind *k = p->kind;
    double seconds = p->time - p->read_time;
    *out = (llmgpu_reading){
        .temperature = known(floor(p->die + 0.5)),
        .temperature_limit = known(k->limit),
        .power_limit = known(k->watts),
        .clock = known(k->clock * p->clock),
        .clock_max = known(k->clock),
        .throttle = known(p->slowed ? LLMGPU_THROTTLE_THERMAL : 0),
    };
    if (seconds > 0)
        out->power = known((p->joules - p->read_joules) / seconds);
    p->read_joules = p->joules;
    p->read_time = p->time;
}
