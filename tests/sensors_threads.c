/* SPDX-License-Identifier: MIT
 *
 * Sensors that are read by several threads while their own asks the sources, one of which takes its time; the
 * made-up library of NVIDIA's is the argument. Built with -Db_sanitize=thread, it is also free of races.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "sensors.h"

static const char *nvml_path;

/** A source that takes its time keeps nobody waiting. */
static void test_slow(void)
{
    struct tree t = tree_new();
    struct lg_device_info info = test_gpu(LG_DEVICE_DISCRETE);
    struct lg_sensors_options options = options_of(&t, &info);
    options.nvml = nvml_path;
    options.on_call = false;
    options.period_ms = 10;
    nvml_mode(&t, "slow 400");
    struct lg_sensors *s = open_sensors(&options);
    struct lg_readings r;
    struct lg_energy_total total;
    uint64_t begin = lg_now_ns(), longest = 0;
    bool known = false;
    while (lg_now_ns() - begin < UINT64_C(1500000000)) {
        uint64_t before = lg_now_ns();
        lg_sensors_read(s, &r);
        lg_sensors_energy(s, &total);
        uint64_t ns = lg_now_ns() - before;
        longest = ns > longest ? ns : longest;
        known |= r.of[LG_MEASURE_TEMPERATURE].known;
        test_nap(1);
    }
    REQUIRE(known);
    REQUIRE(longest < UINT64_C(300000000)); // the machine may be busy, but it is not the 400 ms
    REQUIRE(!lg_sensors_refresh(s, 50));
    REQUIRE(lg_sensors_refresh(s, 5000));
    nvml_mode(&t, "ok");
    lg_sensors_close(s);
    tree_remove(&t, ".");
}

struct reader {
    struct lg_sensors *s;
    pthread_t thread;
    int n_known;
};

static void *read_often(void *user)
{
    struct reader *reader = user;
    char text[512];
    for (int i = 0; i < 300; i++) {
        struct lg_readings r;
        struct lg_energy_total total;
        if (i % 50 == 0)
            lg_sensors_refresh(reader->s, 1000);
        lg_sensors_read(reader->s, &r);
        lg_sensors_energy(reader->s, &total);
        lg_sensors_describe(reader->s, text, sizeof(text));
        reader->n_known += r.of[LG_MEASURE_TEMPERATURE].known;
        REQUIRE(!r.of[LG_MEASURE_TEMPERATURE].known || r.of[LG_MEASURE_TEMPERATURE].value == 61);
        test_nap(i % 10 == 0);
    }
    return NULL;
}

static void test_threads(bool on_call)
{
    struct tree t = amdgpu_tree();
    struct lg_device_info info = test_gpu(LG_DEVICE_DISCRETE);
    struct lg_sensors_options options = options_of(&t, &info);
    struct reader readers[4] = {0};
    options.on_call = on_call;
    options.period_ms = 1;
    struct lg_sensors *s = open_sensors(&options);
    for (int i = 0; i < 4; i++) {
        readers[i].s = s;
        REQUIRE_INT(pthread_create(&readers[i].thread, NULL, read_often, &readers[i]), ==, 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(readers[i].thread, NULL);
        REQUIRE(readers[i].n_known > 200);
    }
    lg_sensors_close(s);
    for (int i = 0; i < 20; i++) { // at whatever moment they are closed
        s = open_sensors(&options);
        test_nap(i % 4);
        lg_sensors_close(s);
    }
    lg_sensors_close(NULL);
    tree_remove(&t, ".");
}

static int count_asked(void *user, uint64_t now_ns, struct lg_readings *out)
{
    atomic_int *n = user;
    lg_reading_set(out, LG_MEASURE_TEMPERATURE, 50, now_ns, "host");
    ++*n;
    return 0;
}

/** Nobody is asked while nobody reads, and soon again when somebody does. */
static void test_rest(void)
{
    struct tree t = tree_new();
    struct lg_device_info info = test_gpu(LG_DEVICE_DISCRETE);
    struct lg_sensors_options options = options_of(&t, &info);
    struct lg_readings r;
    atomic_int n = 0;
    options.on_call = false;
    options.host = count_asked;
    options.host_user = &n;
    options.period_ms = 5;
    options.rest_ms = 50;
    options.stale_ms = 1000;
    struct lg_sensors *s = open_sensors(&options);
    test_nap(500);
    int rested = n;
    test_nap(200);
    REQUIRE_INT(n, ==, rested);
    lg_sensors_read(s, &r);
    for (int i = 0; i < 2000 && n == rested; i++)
        test_nap(1);
    REQUIRE_INT(n, >, rested);
    lg_sensors_close(s);
    tree_remove(&t, ".");
}

int main(int argc, char **argv)
{
    REQUIRE_INT(argc, ==, 2);
    nvml_path = argv[1];
    test_slow();
    test_rest();
    test_threads(false);
    test_threads(true);
    return 0;
}
