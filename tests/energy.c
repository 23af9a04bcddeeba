/* SPDX-License-Identifier: MIT
 * Energy from counters and from power, with what is not covered told. */
#include "test.h"

#include "pacer/energy.h"

#define S UINT64_C(1000000000)

static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-9 * (fabs(a) + fabs(b)) + 1e-12;
}

/* Adds a sample at a time in seconds; negative values are unknown. */
static void add(struct lg_energy *e, double at, double power, double counter)
{
    uint64_t ns = (uint64_t)(at * 1e9);
    lg_energy_add(e, &(struct lg_energy_sample){
                         .now_ns = ns,
                         .power_ns = power < 0 ? 0 : ns,
                         .counter_ns = counter < 0 ? 0 : ns,
                         .power = power,
                         .counter = counter,
                     });
}

static void require(const struct lg_energy *e, double joules, double covered, double span)
{
    struct lg_energy_total total;
    lg_energy_total(e, &total);
    if (!near(total.joules, joules) || !near((double)total.covered_ns * 1e-9, covered) ||
        !near((double)total.span_ns * 1e-9, span)) {
        fprintf(stderr, "%g J in %g of %g s\n", total.joules, (double)total.covered_ns * 1e-9,
                (double)total.span_ns * 1e-9);
        REQUIRE(!"as expected");
    }
}

static void test_power(void)
{
    struct lg_energy e = {.max_gap_ns = 2 * S};
    require(&e, 0, 0, 0);
    add(&e, 10, 100, -1);
    require(&e, 0, 0, 0);
    add(&e, 11, 200, -1);
    require(&e, 150, 1, 1);
    add(&e, 13, 100, -1);
    require(&e, 450, 3, 3);
    add(&e, 16, 100, -1); // three seconds are too long to know what was in between
    require(&e, 450, 3, 6);
    add(&e, 17, -1, -1);
    add(&e, 18, 50, -1);
    require(&e, 600, 5, 8);
    add(&e, 18, 500, -1); // the same moment again
    require(&e, 600, 5, 8);
}

/** A ramp is exact, whenever it is looked at. */
static void test_ramp(void)
{
    struct test_rng rng = {1};
    struct lg_energy e = {.max_gap_ns = S};
    double at = 5, joules = 0;
    add(&e, at, 10 + 3 * at, -1);
    for (int i = 0; i < 1000; i++) {
        double next = at + (double)test_randf(&rng, 0.01f, 0.9f);
        joules += (next - at) * (10 + 1.5 * (at + next));
        at = next;
        add(&e, at, 10 + 3 * at, -1);
    }
    struct lg_energy_total total;
    lg_energy_total(&e, &total);
    REQUIRE(fabs(total.joules - joules) < 1e-6 * joules);
    REQUIRE(lg_energy_coverage(&total) == 1);
}

static void test_counter(void)
{
    struct lg_energy e = {.max_gap_ns = 2 * S};
    add(&e, 1, 7, 1000); // what power says does not matter
    add(&e, 2, 7, 1100);
    require(&e, 100, 1, 1);
    add(&e, 60, -1, 1700); // counters count on while nobody looks
    require(&e, 700, 59, 59);
    add(&e, 61, 20, -1);
    add(&e, 62, 30, -1); // while it is gone, power stands in
    require(&e, 725, 60, 61);
    add(&e, 63, 40, 9999); // it is back, and what it counted meanwhile would be counted twice
    require(&e, 760, 61, 62);
    add(&e, 64, 40, 10099);
    require(&e, 860, 62, 63);
    add(&e, 65, -1, 50); // it began anew
    require(&e, 860, 62, 64);
    add(&e, 66, -1, 60);
    require(&e, 870, 63, 65);
    add(&e, 67, -1, 1e9); // no device takes that much
    require(&e, 870, 63, 66);

    struct lg_energy gone = {.max_gap_ns = 2 * S};
    add(&gone, 1, -1, 10);
    add(&gone, 2, -1, -1);
    add(&gone, 3, -1, 30); // nothing was known in between, so what it counted is all there is
    require(&gone, 20, 2, 2);
}

/** Power that was measured a moment after the counter does not push that aside. */
static void test_two_clocks(void)
{
    struct lg_energy e = {.max_gap_ns = 2 * S};
    for (uint64_t i = 1; i <= 10; i++)
        lg_energy_add(&e, &(struct lg_energy_sample){.now_ns = i * S,
                                                     .counter_ns = i * S,
                                                     .power_ns = i * S + S / 10,
                                                     .counter = 50.0 * (double)i,
                                                     .power = 999});
    require(&e, 450, 9, 9);
}

static void test_per(void)
{
    struct lg_energy_total from = {100, 9 * S, 10 * S}, to = {400, 12 * S, 13 * S},
                           total = lg_energy_between(&from, &to);
    double joules;
    REQUIRE(near(total.joules, 300) && total.covered_ns == 3 * S && total.span_ns == 3 * S);
    REQUIRE(lg_energy_per(&total, 3, 600, &joules) && near(joules, 0.5));
    REQUIRE(lg_energy_per(&total, 1.5, 600, &joules) && near(joules, 0.25)); // half of the time of the total
    REQUIRE(!lg_energy_per(&total, 3, 0, &joules));
    total.span_ns = 4 * S; // a quarter is not known
    REQUIRE(near(lg_energy_coverage(&total), 0.75));
    REQUIRE(!lg_energy_per(&total, 4, 600, &joules));
    total = (struct lg_energy_total){0};
    REQUIRE(lg_energy_coverage(&total) == 0);
    REQUIRE(!lg_energy_per(&total, 1, 1, &joules));
}

int main(void)
{
    test_power();
    test_ramp();
    test_counter();
    test_two_clocks();
    test_per();
    return 0;
}
