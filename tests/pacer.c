/* SPDX-License-Identifier: MIT
 *
 * Pacers: the figures of the ramp, the controller's answers on a device of two lines of physics, what
 * readings that are missing, old, absurd or gone end in, and use from several threads at once.
 */
#define LLMGPU_EXPERIMENTAL
#include <pthread.h>

#include "llmgpu/pacer.h"
#include "pacer/laws.h"
#include "test.h"

enum { SECOND = 1000000 };

static llmgpu_pacer_params params_of(int32_t policy)
{
    llmgpu_pacer_params params;
    REQUIRE_INT(llmgpu_pacer_params_init(&params, sizeof(params)), ==, 0);
    params.policy = policy;
    return params;
}

static llmgpu_pacer *create(const llmgpu_pacer_params *params)
{
    llmgpu_pacer *pacer;
    REQUIRE_INT(llmgpu_pacer_create(&pacer, params), ==, 0);
    return pacer;
}

static llmgpu_measure known(double value)
{
    return (llmgpu_measure){.value = value, .known = 1, .source = "test"};
}

static void observe(llmgpu_pacer *pacer, double temperature, double power, double seconds)
{
    llmgpu_reading reading = {.temperature = known(temperature), .power = known(power)};
    REQUIRE_INT(llmgpu_pacer_observe(pacer, &reading, sizeof(reading), (uint64_t)(seconds * SECOND)), ==, 0);
}

static llmgpu_pacer_stats stats_of(llmgpu_pacer *pacer)
{
    llmgpu_pacer_stats stats;
    REQUIRE_INT(llmgpu_pacer_get_stats(pacer, &stats, sizeof(stats)), ==, 0);
    return stats;
}

static const char *status_of(llmgpu_pacer *pacer)
{
    static char text[256];
    size_t len;
    REQUIRE_INT(llmgpu_pacer_status(pacer, text, sizeof(text), &len), ==, 0);
    REQUIRE_INT(len, ==, strlen(text));
    return text;
}

static bool says(llmgpu_pacer *pacer, const char *what)
{
    return strstr(status_of(pacer), what) != NULL;
}

/* ---- the ramp */

static int ramp_pause(double temperature, double power, float target, float budget)
{
    llmgpu_pacer_params params = params_of(LLMGPU_PACE_RAMP);
    params.target = target;
    params.power = budget;
    llmgpu_pacer *pacer = create(&params);
    observe(pacer, temperature, power, 1);
    int pause = llmgpu_pacer_pause(pacer, 1 * SECOND, 8000);
    llmgpu_pacer_free(pacer);
    return pause;
}

static void check_ramp(void)
{
    REQUIRE_INT(ramp_pause(45, 28, 75, 0), ==, 1000);
    REQUIRE_INT(ramp_pause(73, 28, 75, 0), ==, 30000);
    REQUIRE_INT(ramp_pause(85, 28, 75, 0), ==, 50000);
    REQUIRE_INT(ramp_pause(99, 28, 75, 0), ==, 50000);
    REQUIRE_INT(ramp_pause(50, 28, 75, 0), ==, 1000);    // where it begins
    REQUIRE_INT(ramp_pause(61.5, 28, 75, 0), ==, 15500); // half way
    REQUIRE_INT(ramp_pause(79, 28, 75, 0), ==, 40000);
    REQUIRE_INT(ramp_pause(83, 28, 85, 0), ==, 30000);
    REQUIRE_INT(ramp_pause(45, 40, 75, 60), ==, 1000); // power far below its budget
    REQUIRE_INT(ramp_pause(45, 60, 75, 60), ==, 30000);
    REQUIRE_INT(ramp_pause(45, 80, 75, 60), ==, 50000);
    for (double t = 20; t < 100; t += 0.25)
        REQUIRE(lg_ramp_temperature(t, 75, 85) <= lg_ramp_temperature(t + 0.25, 75, 85));
}

/* ---- PI */

static void check_pi(void)
{
    // A constant error of 1: gain at once, and as much again in each time of the integral.
    struct lg_pi pi = {.gain = 0.1, .seconds = 10, .forward = 0.2, .duty = 0.2};
    double duty = lg_pi_step(&pi, 1, 0.2, 0, 0);
    REQUIRE(fabs(duty - 0.3) < 1e-9);
    for (int i = 0; i < 100; i++)
        duty = lg_pi_step(&pi, 1, duty, 0, 0.1);
    REQUIRE(fabs(duty - 0.4) < 1e-9);

    // An hour at either end is not remembered: the answer comes back at once.
    for (int i = 0; i < 3600; i++)
        REQUIRE(lg_pi_step(&pi, 20, 1, 0.02, 1) <= 1);
    REQUIRE(lg_pi_step(&pi, -9, 1, 0.02, 1) < 0.3);
    for (int i = 0; i < 3600; i++)
        REQUIRE(lg_pi_step(&pi, -20, 0.02, 0.02, 1) >= 0.02);
    REQUIRE(lg_pi_step(&pi, 9, 0.02, 0.02, 1) > 0.7);

    // Nor is an hour in which another limit held the lower duty.
    pi = (struct lg_pi){.gain = 0.1, .seconds = 10, .forward = 0.2, .duty = 0.2};
    for (int i = 0; i < 3600; i++)
        duty = lg_pi_step(&pi, 1, 0.1, 0.02, 1);
    REQUIRE(duty < 0.5);
}

/* ---- a device of one mass */

struct device {
    double temperature, room, degrees, tau, idle, watts;
    double time, busy; // seconds; share of the last one with work
};

/** A second in slices of `slice` with the pauses that the pacer asks for; then sensors are read. */
static void live(struct device *d, llmgpu_pacer *pacer, double slice, bool work)
{
    double end = d->time + 1, worked = 0, from = d->time;
    while (d->time < end) {
        double busy = work ? slice : 0, pause = end - d->time;
        d->time += busy;
        if (work)
            pause =
                1e-6 * llmgpu_pacer_pause(pacer, (uint64_t)(d->time * SECOND), (uint64_t)(slice * SECOND));
        d->time += pause;
        worked += busy;
        double duty = busy / (busy + pause), all = busy + pause;
        d->temperature += (d->room + d->degrees * duty - d->temperature) * (1 - exp(-all / d->tau));
    }
    d->busy = worked / (d->time - from);
    observe(pacer, floor(d->temperature + 0.5), d->idle + (d->watts - d->idle) * d->busy, d->time);
}

static const struct device warm = {
    .temperature = 30, .room = 30, .degrees = 70, .tau = 60, .idle = 10, .watts = 60};

/** However heavy and hot the device and however long its slices are, it ends just below the target. */
static void check_step_response(void)
{
    static const double taus[] = {15, 60, 300}, degrees[] = {50, 70, 150}, slices[] = {0.002, 0.03, 0.4};
    for (int i = 0; i < 27; i++) {
        struct device d = warm;
        llmgpu_pacer_params params = params_of(LLMGPU_PACE_CONTROL);
        llmgpu_pacer *pacer = create(&params);
        double slice = slices[i / 9], most = 0, least = 200, first = 0, n_first = 0;
        d.tau = taus[i % 3];
        d.degrees = degrees[i / 3 % 3];
        observe(pacer, d.temperature, d.idle, 0);
        for (int second = 0; second < 3600; second++) {
            live(&d, pacer, slice, true);
            if (second >= 1200) {
                most = fmax(most, d.temperature);
                least = fmin(least, d.temperature);
                first += d.busy;
                n_first++;
            }
        }
        REQUIRE(most < 75.6 && least > 73.4); // neither above, nor far below, nor back and forth
        double duty = 44.5 / d.degrees;
        REQUIRE(fabs(first / n_first - duty) < 0.03 * duty + 0.01); // as much work as that allows
        llmgpu_pacer_stats stats = stats_of(pacer);
        REQUIRE(stats.pauses > 0 && stats.pause_us > 0 && stats.blind == 0);
        llmgpu_pacer_free(pacer);
    }
}

/** What the controller learns of the device is true, within what whole degrees let be known. */
static void check_learned(void)
{
    struct device d = warm;
    llmgpu_pacer_params params = params_of(LLMGPU_PACE_CONTROL);
    llmgpu_pacer *pacer = create(&params);
    for (int second = 0; second < 7200; second++)
        live(&d, pacer, 0.02, second % 1200 >= 300); // with breaks, so that rest and work can be told apart
    llmgpu_pacer_stats stats = stats_of(pacer);
    REQUIRE(fabs(stats.degrees_per_duty - 70) < 7);
    REQUIRE(fabs(stats.time_constant - 60) < 9);
    llmgpu_pacer_free(pacer);
}

/* ---- devices of three masses */

/** Die, sink and case, from the die on: joules by kelvin, and kelvin by watt to the next. */
struct card {
    double c[3], r[3], idle, watts, room;
    double t[3], time; // degrees, seconds
    double highest;    // of the die, since that was set
    double sum, share; // over the time since they were set: of the die, seconds of work
    double since;
};

/** How it is read and what it works in. */
struct setting {
    double target, every, delay, noise, slice, power;
    double most;       // degrees above the target: 1, or 2 if a slice alone makes the die swing by as much
    double next;       // time of the next reading
    double was[2], at; // as read and not told yet: degrees, watts; when
    uint32_t seed;
};

static double random_of(struct setting *s)
{
    s->seed = s->seed * 1664525 + 1013904223;
    return (double)(s->seed >> 8) / (1 << 23) - 1;
}

static void card_run(struct card *d, double share, double dt)
{
    double watts = d->idle + (d->watts - d->idle) * share, flow[3];
    for (int i = 0; i < 3; i++)
        flow[i] = (d->t[i] - (i < 2 ? d->t[i + 1] : d->room)) / d->r[i];
    for (int i = 0; i < 3; i++)
        d->t[i] += ((i > 0 ? flow[i - 1] : watts) - flow[i]) / d->c[i] * dt;
    d->time += dt;
    d->highest = fmax(d->highest, d->t[0]);
    d->sum += d->t[0] * dt;
    d->share += share * dt;
}

static void card_count(struct card *d)
{
    d->highest = d->sum = d->share = 0;
    d->since = d->time;
}

/** Readings are whole degrees with noise, and told `delay` later. */
static void card_read(const struct card *d, llmgpu_pacer *pacer, struct setting *s, double share)
{
    if (s->delay > 0 && s->at > 0)
        observe(pacer, s->was[0], s->was[1], d->time);
    s->was[0] = floor(d->t[0] + s->noise * random_of(s) + 0.5);
    s->was[1] = d->idle + (d->watts - d->idle) * share;
    s->at = d->time;
    if (s->delay <= 0)
        observe(pacer, s->was[0], s->was[1], d->time);
    s->next = d->time + fmax(s->every, s->delay);
}

/** With work in slices and the pauses that the pacer asks for, or without, and then read only if somebody
 * looks. */
static void card_live(struct card *d, llmgpu_pacer *pacer, struct setting *s, double seconds, bool work,
                      bool read)
{
    const double step = 0.02;
    double end = d->time + seconds, left = 0, pause = 0, worked = 0, last = d->time;
    while (d->time < end) {
        if (work && left <= 0 && pause <= 0)
            left = s->slice;
        double dt = left > 0 ? fmin(step, left) : pause > 0 ? fmin(step, pause) : step;
        bool busy = left > 0;
        card_run(d, busy, dt);
        worked += busy ? dt : 0;
        left -= busy ? dt : 0;
        pause -= busy ? 0 : dt;
        if (busy && left <= 1e-9) {
            left = 0;
            pause =
                1e-6 * llmgpu_pacer_pause(pacer, (uint64_t)(d->time * SECOND), (uint64_t)(s->slice * SECOND));
        }
        if (pause <= 1e-9)
            pause = 0;
        if (read && d->time >= s->next) {
            card_read(d, pacer, s, worked / (d->time - last));
            last = d->time;
            worked = 0;
        }
    }
}

/** A laptop, a card and a server, with resistances and masses half to twice as great. */
static struct card card_of(int kind, double resistance, double mass, double warmer)
{
    static const struct card cards[] = {
        {.c = {14, 160, 900}, .r = {0.12, 0.85, 0.25}, .idle = 12, .watts = 60, .room = 26},
        {.c = {25, 350, 3000}, .r = {0.08, 0.46, 0.10}, .idle = 22, .watts = 120, .room = 27},
        {.c = {90, 700, 4000}, .r = {0.04, 0.17, 0.03}, .idle = 55, .watts = 300, .room = 30},
    };
    struct card d = cards[kind];
    d.room += warmer;
    for (int i = 2; i >= 0; i--) {
        d.c[i] *= mass;
        d.r[i] *= resistance;
        d.t[i] = (i < 2 ? d.t[i + 1] : d.room) + 0.6 * d.idle * d.r[i];
    }
    return d;
}

static double card_ends(const struct card *d, double share)
{
    return d->room + (d->idle + (d->watts - d->idle) * share) * (d->r[0] + d->r[1] + d->r[2]);
}

static void card_check(const struct card *d, const struct setting *s, const char *when)
{
    double mean = d->sum / (d->time - d->since);
    if (d->highest > s->target + s->most || fabs(mean - s->target) > 1)
        printf("%s: target %.1f, highest %.2f, mean %.2f; every %.1f delay %.0f noise %.1f slice %.3f\n",
               when, s->target, d->highest, mean, s->every, s->delay, s->noise, s->slice);
    REQUIRE(d->highest <= s->target + s->most);
    REQUIRE(fabs(mean - s->target) <= 1);
}

/** Never more than that above any target: not from cold, not when work resumes, not while it goes on. */
static void check_overshoot(void)
{
    static const double scales[] = {0.5, 1, 2}, shares[] = {0.3, 0.55, 0.8}, breaks[] = {30, 300, 1200};
    static const double every[] = {0.2, 0.5, 1}, slices[] = {0.002, 0.02, 0.1, 0.4};
    int n = 0;
    for (int i = 0; i < 27; i++) {
        struct card d = card_of(i % 3, scales[i / 3 % 3], scales[i / 9], 10 * (i % 5 - 2) / 2.0);
        struct setting s = {.every = every[(i + i / 3) % 3],
                            .delay = i / 2 % 2,
                            .noise = i % 4 == 1 ? 0.5 : 0,
                            .slice = slices[(i + i / 4) % 4],
                            .seed = (uint32_t)i + 1};
        s.most = s.slice >= 0.4 && scales[i / 9] < 1 ? 2 : 1;
        s.target = floor(fmin(95, fmax(50, card_ends(&d, shares[(i / 3 + i / 9) % 3]))));
        if (s.target > card_ends(&d, 0.95) || s.target < card_ends(&d, 0.05))
            continue;
        llmgpu_pacer_params params = params_of(LLMGPU_PACE_CONTROL);
        params.target = (float)s.target;
        llmgpu_pacer *pacer = create(&params);
        card_read(&d, pacer, &s, 0);
        card_count(&d);
        card_live(&d, pacer, &s, 1800, true, true);
        REQUIRE(d.highest <= s.target + s.most); // a device that nothing is known of
        for (int stretch = 0; stretch < 2; stretch++) {
            card_live(&d, pacer, &s, breaks[(i + stretch) % 3], false, i % 2);
            s.at = i % 2 ? s.at : 0; // what was read before is not told after a break in which nobody looks
            double highest = (card_count(&d), card_live(&d, pacer, &s, 900, true, true), d.highest);
            card_count(&d);
            card_live(&d, pacer, &s, 600, true, true);
            d.highest = fmax(d.highest, highest);
            card_check(&d, &s, stretch ? "second" : "first");
        }
        llmgpu_pacer_free(pacer);
        n++;
    }
    REQUIRE_INT(n, >=, 20);
}

static void check_cool(void)
{
    struct device d = warm;
    llmgpu_pacer_params params = params_of(LLMGPU_PACE_CONTROL);
    llmgpu_pacer *pacer = create(&params);
    d.degrees = 40; // 70 at the most
    for (int second = 0; second < 1200; second++)
        live(&d, pacer, 0.02, true);
    llmgpu_pacer_stats stats = stats_of(pacer);
    REQUIRE_INT(stats.pauses, ==, 0);
    REQUIRE_INT(stats.above_us, ==, 0);
    REQUIRE(stats.duty == 1);
    REQUIRE(says(pacer, "control: 70 C of 75 C, 60 W; no pauses"));
    llmgpu_pacer_free(pacer);
}

static void check_power(void)
{
    struct device d = warm;
    llmgpu_pacer_params params = params_of(LLMGPU_PACE_CONTROL);
    params.power = 35;
    llmgpu_pacer *pacer = create(&params);
    d.degrees = 40;
    double sum = 0;
    for (int second = 0; second < 600; second++) {
        live(&d, pacer, 0.02, true);
        sum += second >= 60 ? d.idle + (d.watts - d.idle) * d.busy : 0;
    }
    REQUIRE(sum / 540 < 35.4 && sum / 540 > 34);
    llmgpu_pacer_stats stats = stats_of(pacer);
    REQUIRE(stats.over_us < 15 * SECOND); // until it is held
    REQUIRE(fabs(stats.joules - sum) < 0.1 * sum + 5000);
    // Both limits, the lower one first: then that of the temperature has not wound up.
    d.degrees = 90;
    for (int second = 0; second < 1200; second++)
        live(&d, pacer, 0.02, true);
    REQUIRE(d.temperature < 75.6 && d.temperature > 73);
    llmgpu_pacer_free(pacer);
}

/* ---- goals */

static void evening(void *user, uint64_t now_us, llmgpu_pace_goal *goal)
{
    (void)user;
    if (now_us >= 100 * (uint64_t)SECOND)
        goal->target = now_us >= 200 * (uint64_t)SECOND ? 4000 : 60; // the last one cannot be
}

static void check_goals(void)
{
    llmgpu_pacer_params params = params_of(LLMGPU_PACE_CONTROL);
    params.schedule = evening;
    llmgpu_pacer *pacer = create(&params);
    observe(pacer, 50, 20, 1);
    REQUIRE(stats_of(pacer).goal.target == 75 && stats_of(pacer).goal.critical == 85);
    observe(pacer, 50, 20, 100);
    REQUIRE(stats_of(pacer).goal.target == 60);
    observe(pacer, 50, 20, 200);
    REQUIRE(stats_of(pacer).goal.target == 75);
    llmgpu_pacer_free(pacer);

    params = params_of(LLMGPU_PACE_CONTROL);
    params.target = 0;
    pacer = create(&params);
    REQUIRE(stats_of(pacer).goal.target == 75);
    llmgpu_reading reading = {.temperature = known(50),
                              .temperature_limit = known(93),
                              .power = known(20),
                              .power_limit = known(100),
                              .on_battery = known(1)};
    REQUIRE_INT(llmgpu_pacer_observe(pacer, &reading, sizeof(reading), SECOND), ==, 0);
    llmgpu_pacer_stats stats = stats_of(pacer);
    REQUIRE(stats.goal.target == 90 && stats.goal.critical == 95 &&
            stats.goal.power == 50); // half, on battery
    REQUIRE(says(pacer, "on battery"));
    observe(pacer, 50, 20, 2); // a limit that is told once holds
    REQUIRE(stats_of(pacer).goal.target == 90);
    llmgpu_pacer_free(pacer);
}

/** What the device itself does not let happen is not aimed at. */
static void check_lowered(void)
{
    llmgpu_reading reading = {.temperature = known(80), .temperature_limit = known(87)};
    for (int target = 86; target <= 90; target += 2) {
        llmgpu_pacer_params params = params_of(LLMGPU_PACE_CONTROL);
        params.target = (float)target;
        llmgpu_pacer *pacer = create(&params);
        REQUIRE(stats_of(pacer).goal.target == target);
        REQUIRE_INT(llmgpu_pacer_observe(pacer, &reading, sizeof(reading), SECOND), ==, 0);
        REQUIRE(stats_of(pacer).goal.target == (target < 87 ? target : 84));
        REQUIRE(says(pacer, "80 C of 84 C, as the device slows down at 87 C") == (target >= 87));
        llmgpu_pacer_free(pacer);
    }
}

static uint32_t by_host(void *user, const llmgpu_reading *reading, const llmgpu_pace_goal *goal,
                        uint64_t now_us)
{
    (void)user;
    REQUIRE(goal->target == 75 && now_us <= 3 * SECOND);
    return reading->temperature.known ? (uint32_t)(1000 * reading->temperature.value) : 7;
}

static void check_host(void)
{
    llmgpu_pacer_params params = params_of(LLMGPU_PACE_HOST);
    llmgpu_pacer *pacer;
    REQUIRE_INT(llmgpu_pacer_create(&pacer, &params), ==, LLMGPU_E_INVALID); // without a law
    REQUIRE(!pacer);
    params.host = by_host;
    params.blind = 0.5f; // not of this law
    static const double temperatures[] = {40, 80};
    pacer = create(&params);
    for (int i = 0; i < 2; i++) {
        observe(pacer, temperatures[i], 20, i + 1);
        REQUIRE_INT(llmgpu_pacer_pause(pacer, (uint64_t)(i + 1) * SECOND, 5000), ==,
                    (int)(1000 * temperatures[i]));
    }
    REQUIRE_INT(llmgpu_pacer_observe(pacer, NULL, 0, 3 * SECOND), ==, 0);
    REQUIRE_INT(llmgpu_pacer_pause(pacer, 3 * SECOND, 5000), ==, 0); // too short to be made
    llmgpu_pacer_free(pacer);
}

/* ---- what is not known */

static const double absurd[] = {NAN, INFINITY, -INFINITY, -273, 4000, 151};

static void check_blind(void)
{
    static const int32_t policies[] = {LLMGPU_PACE_CONTROL, LLMGPU_PACE_RAMP};
    for (size_t i = 0; i < 2; i++) {
        llmgpu_pacer_params params = params_of(policies[i]);
        llmgpu_pacer *pacer = create(&params);
        for (int second = 1; second < 100; second++) {
            REQUIRE_INT(llmgpu_pacer_observe(pacer, NULL, 0, (uint64_t)second * SECOND), ==, 0);
            REQUIRE_INT(llmgpu_pacer_pause(pacer, (uint64_t)second * SECOND, 20000), ==, 0);
        }
        REQUIRE(says(pacer, "temperature unknown, power unknown; paces blind; no pauses"));
        REQUIRE(stats_of(pacer).blind == 1 && stats_of(pacer).blind_us == 98 * (uint64_t)SECOND);
        llmgpu_pacer_free(pacer);

        params.blind = 0.5f;
        pacer = create(&params);
        REQUIRE_INT(llmgpu_pacer_pause(pacer, SECOND, 20000), ==, 20000);
        observe(pacer, 50, 20, 2); // now it is known
        REQUIRE_INT(llmgpu_pacer_pause(pacer, 2 * SECOND, 20000), ==,
                    policies[i] == LLMGPU_PACE_RAMP ? 1000 : 0);
        llmgpu_pacer_free(pacer);
    }
}

static void check_absurd(void)
{
    for (size_t i = 0; i < sizeof(absurd) / sizeof(absurd[0]); i++) {
        llmgpu_pacer_params params = params_of(LLMGPU_PACE_RAMP);
        llmgpu_pacer *pacer = create(&params);
        observe(pacer, absurd[i], i == 3 ? -1 : absurd[i] < 0 || absurd[i] > 5000 ? absurd[i] : NAN, 1);
        llmgpu_pacer_stats stats = stats_of(pacer);
        REQUIRE(!stats.reading.temperature.known && stats.reading.temperature.value == 0);
        REQUIRE(!stats.reading.power.known && stats.blind == 1 && stats.joules == 0);
        REQUIRE_INT(llmgpu_pacer_pause(pacer, SECOND, 20000), ==, 0);
        llmgpu_pacer_free(pacer);
    }
    llmgpu_pacer_params params = params_of(LLMGPU_PACE_CONTROL);
    llmgpu_pacer *pacer = create(&params);
    llmgpu_reading reading = {
        .temperature = known(50), .power = known(20), .throttle = known(1e9), .temperature_limit = known(0)};
    reading.power.age = -5;
    reading.temperature.age = 6; // older than 5 seconds
    memset(reading.clock.source, 'x', sizeof(reading.clock.source));
    reading.clock.known = 1;
    REQUIRE_INT(llmgpu_pacer_observe(pacer, &reading, sizeof(reading), SECOND), ==, 0);
    llmgpu_pacer_stats stats = stats_of(pacer);
    REQUIRE(!stats.reading.temperature.known && !stats.reading.power.known && !stats.reading.throttle.known);
    REQUIRE(!stats.reading.temperature_limit.known && stats.goal.critical == 85);
    REQUIRE_INT(strlen(stats.reading.clock.source), ==, sizeof(reading.clock.source) - 1);
    llmgpu_pacer_free(pacer);
}

/** Duty after so many seconds in which nothing was told, though time goes on. */
static double duty_later(llmgpu_pacer *pacer, double *time, double seconds)
{
    for (double end = *time + seconds; *time < end; *time += 0.5)
        (void)llmgpu_pacer_pause(pacer, (uint64_t)(*time * SECOND), 20000);
    return stats_of(pacer).duty;
}

/** A sensor that is lost while hot: the pace stays, then work becomes half of that, and the status tells. */
static void check_lost(void)
{
    struct device d = warm;
    llmgpu_pacer_params params = params_of(LLMGPU_PACE_CONTROL);
    llmgpu_pacer *pacer = create(&params);
    for (int second = 0; second < 900; second++)
        live(&d, pacer, 0.02, true);
    double held = stats_of(pacer).duty, time = d.time;
    REQUIRE(held > 0.55 && held < 0.72);
    REQUIRE(fabs(duty_later(pacer, &time, 4) - held) < 0.02);
    REQUIRE(stats_of(pacer).reading.temperature.known);
    REQUIRE(fabs(duty_later(pacer, &time, 25) - held) < 0.02);
    REQUIRE(!stats_of(pacer).reading.temperature.known && stats_of(pacer).blind == 1);
    double gentle = duty_later(pacer, &time, 25);
    REQUIRE(gentle < held - 0.02 && gentle > held / 2 + 0.02);
    REQUIRE(fabs(duty_later(pacer, &time, 600) - held / 2) < 0.02);
    REQUIRE(says(pacer, "while hot") && says(pacer, "paces blind"));
    observe(pacer, 60, 20, time); // it is back, and the device has cooled down
    for (int i = 1; i <= 60; i++)
        observe(pacer, 60, 20, time + i);
    REQUIRE(stats_of(pacer).duty == 1 && stats_of(pacer).blind == 0);
    llmgpu_pacer_free(pacer);

    // Lost while cool: nothing is held against it.
    pacer = create(&params);
    observe(pacer, 50, 20, 1);
    time = 2;
    REQUIRE(duty_later(pacer, &time, 600) == 1);
    REQUIRE(says(pacer, "temperature lost") && !says(pacer, "while hot"));
    llmgpu_pacer_free(pacer);

    // The ramp holds, and then pauses as at critical.
    params = params_of(LLMGPU_PACE_RAMP);
    pacer = create(&params);
    observe(pacer, 73, 20, 1);
    time = 2;
    (void)duty_later(pacer, &time, 20);
    REQUIRE_INT(llmgpu_pacer_pause(pacer, (uint64_t)(time * SECOND), 20000), ==, 30000);
    (void)duty_later(pacer, &time, 100);
    REQUIRE_INT(llmgpu_pacer_pause(pacer, (uint64_t)(time * SECOND), 20000), ==, 50000);
    llmgpu_pacer_free(pacer);
}

static void check_critical(void)
{
    llmgpu_pacer_params params = params_of(LLMGPU_PACE_CONTROL);
    llmgpu_pacer *pacer = create(&params);
    for (int i = 1; i < 20; i++)
        observe(pacer, 60, 20, i);
    REQUIRE(stats_of(pacer).duty == 1);
    observe(pacer, 86, 20, 20);
    REQUIRE(stats_of(pacer).duty < 0.05);
    observe(pacer, 76, 20, 21); // until it is below the target again
    REQUIRE(stats_of(pacer).duty < 0.05);
    for (int i = 22; i < 60; i++)
        observe(pacer, 60, 20, i);
    REQUIRE(stats_of(pacer).duty > 0.9);
    llmgpu_pacer_free(pacer);
}

/* ---- parameters and times */

static void check_params(void)
{
    static const struct {
        size_t offset;
        float value;
    } bad[] = {
        {offsetof(llmgpu_pacer_params, target), 10},    {offsetof(llmgpu_pacer_params, target), NAN},
        {offsetof(llmgpu_pacer_params, target), 121},   {offsetof(llmgpu_pacer_params, critical), 70},
        {offsetof(llmgpu_pacer_params, critical), 140}, {offsetof(llmgpu_pacer_params, power), -1},
        {offsetof(llmgpu_pacer_params, quiet), 0},      {offsetof(llmgpu_pacer_params, quiet), 1.5f},
        {offsetof(llmgpu_pacer_params, stale), 0},      {offsetof(llmgpu_pacer_params, hold), -1},
        {offsetof(llmgpu_pacer_params, blind), 0},      {offsetof(llmgpu_pacer_params, blind), NAN},
    };
    llmgpu_pacer *pacer;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        llmgpu_pacer_params params = params_of(LLMGPU_PACE_CONTROL);
        memcpy((char *)&params + bad[i].offset, &bad[i].value, sizeof(float));
        REQUIRE_INT(llmgpu_pacer_create(&pacer, &params), ==, LLMGPU_E_INVALID);
        REQUIRE(!pacer);
    }
    llmgpu_pacer_params params = params_of(4);
    REQUIRE_INT(llmgpu_pacer_create(&pacer, &params), ==, LLMGPU_E_INVALID);
}

static void check_times(void)
{
    llmgpu_pacer_params params = params_of(LLMGPU_PACE_RAMP);
    llmgpu_pacer *pacer = create(&params);
    char text[8];
    size_t len;
    observe(pacer, 76, 100, 10);
    observe(pacer, 76, 100, 12);
    observe(pacer, 76, 100, 11); // a clock that goes back stands still
    REQUIRE_INT(stats_of(pacer).above_us, ==, 2 * SECOND);
    REQUIRE(fabs(stats_of(pacer).joules - 200) < 1e-6);
    REQUIRE_INT(llmgpu_pacer_pause(pacer, UINT64_MAX, UINT64_MAX), >, 0);
    REQUIRE_INT(llmgpu_pacer_pause(pacer, UINT64_MAX, UINT64_MAX), <=, 10 * SECOND);
    REQUIRE_INT(llmgpu_pacer_status(pacer, text, sizeof(text), &len), ==, LLMGPU_E_RANGE);
    REQUIRE_INT(len, >, sizeof(text));
    llmgpu_pacer_free(pacer);
}

/* ---- threads */

static void *look_on(void *user)
{
    llmgpu_pacer *pacer = user;
    for (int i = 0; i < 20000; i++) {
        llmgpu_pacer_stats stats = stats_of(pacer);
        REQUIRE(stats.duty > 0 && stats.duty <= 1);
        char text[256];
        size_t len;
        REQUIRE_INT(llmgpu_pacer_status(pacer, text, sizeof(text), &len), ==, 0);
        (void)llmgpu_pacer_pause(pacer, (uint64_t)i * 1000, 1000);
    }
    return NULL;
}

static void check_threads(void)
{
    llmgpu_pacer_params params = params_of(LLMGPU_PACE_CONTROL);
    llmgpu_pacer *pacer = create(&params);
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        REQUIRE(pthread_create(&threads[i], NULL, look_on, pacer) == 0);
    for (int i = 0; i < 20000; i++)
        observe(pacer, 60 + i % 20, 40, i * 1e-3);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    REQUIRE_INT(stats_of(pacer).observations, ==, 20000);
    REQUIRE_INT(stats_of(pacer).worked_us, ==, 2 * 20000 * 1000);
    llmgpu_pacer_free(pacer);
}

int main(void)
{
    check_ramp();
    check_pi();
    check_step_response();
    check_learned();
    check_overshoot();
    check_cool();
    check_power();
    check_goals();
    check_lowered();
    check_host();
    check_blind();
    check_absurd();
    check_lost();
    check_critical();
    check_params();
    check_times();
    check_threads();
    return 0;
}
