/* SPDX-License-Identifier: MIT */
#include "pacer/energy.h"

#define MAX_WATTS 10000.0 // a counter that went faster was not counting

static double seconds(uint64_t ns)
{
    return (double)ns * 1e-9;
}

static void cover(struct lg_energy *e, uint64_t from_ns, uint64_t to_ns, double joules)
{
    e->joules += joules;
    e->covered_ns += to_ns - from_ns;
    e->known_to_ns = to_ns;
}

/* The time since the counter was read last, unless some of it is known otherwise; false when it does not
 * tell. */
static bool add_counted(struct lg_energy *e, const struct lg_energy_sample *s)
{
    uint64_t from = e->last.counter_ns, to = s->counter_ns;
    double joules = s->counter - e->last.counter;
    bool counts = from && to > from && e->known_to_ns <= from && joules >= 0 &&
                  joules <= MAX_WATTS * seconds(to - from);
    if (counts)
        cover(e, from, to, joules);
    return counts;
}

/* The time since power was measured last, as far as it is not known and lies before `limit`; power between
 * goes in a straight line. */
static void add_measured(struct lg_energy *e, const struct lg_energy_sample *s, uint64_t limit_ns)
{
    uint64_t begin = e->last.power_ns, end = s->power_ns;
    if (!begin || end <= begin || end - begin > e->max_gap_ns)
        return;
    uint64_t from = begin > e->known_to_ns ? begin : e->known_to_ns, to = end < limit_ns ? end : limit_ns;
    if (to <= from)
        return;
    double slope = (s->power - e->last.power) / seconds(end - begin);
    double middle = e->last.power + slope * (seconds(from - begin) + seconds(to - begin)) / 2;
    cover(e, from, to, middle * seconds(to - from));
}

void lg_energy_add(struct lg_energy *e, const struct lg_energy_sample *s)
{
    if (!e->begin_ns)
        e->begin_ns = e->end_ns = s->now_ns;
    if (s->now_ns > e->end_ns)
        e->end_ns = s->now_ns;
    bool counted = s->counter_ns && add_counted(e, s);
    if (!counted && s->power_ns)
        add_measured(e, s, s->counter_ns ? s->counter_ns : UINT64_MAX);
    if (s->power_ns) {
        e->last.power = s->power;
        e->last.power_ns = s->power_ns;
    }
    if (s->counter_ns) {
        e->last.counter = s->counter;
        e->last.counter_ns = s->counter_ns;
    }
}

void lg_energy_total(const struct lg_energy *e, struct lg_energy_total *out)
{
    *out = (struct lg_energy_total){e->joules, e->covered_ns, e->end_ns - e->begin_ns};
}

struct lg_energy_total lg_energy_between(const struct lg_energy_total *from, const struct lg_energy_total *to)
{
    return (struct lg_energy_total){
        .joules = to->joules - from->joules,
        .covered_ns = to->covered_ns - from->covered_ns,
        .span_ns = to->span_ns - from->span_ns,
    };
}

double lg_energy_coverage(const struct lg_energy_total *total)
{
    if (!total->span_ns)
        return 0;
    double share = (double)total->covered_ns / (double)total->span_ns;
    return share < 1 ? share : 1; // a counter may have been read a moment after the sample began
}

bool lg_energy_per(const struct lg_energy_total *total, double s, uint64_t n, double *joules)
{
    if (!n || lg_energy_coverage(total) < 0.9)
        return false;
    *joules = total->joules / seconds(total->covered_ns) * s / (double)n;
    return true;
}
