/* SPDX-License-Identifier: MIT
 *
 * Sensors of NVIDIA's cards, with a made-up library (one of today, and one that is old) and a made-up
 * nvidia-smi, which the arguments name: what these tell is read as it is meant, and what is missing, absurd
 * or gone is unknown.
 */
#include <errno.h>
#include <sys/wait.h>

#include "sensors.h"

static const char *nvml_path, *old_nvml_path;
static char *smi_path;

/* ---- NVIDIA's library ------------------------------------------------------------------------- */

static void test_nvml(void)
{
    struct tree t = tree_new();
    struct lg_device_info info = test_gpu(LG_DEVICE_DISCRETE);
    struct lg_sensors_options options = options_of(&t, &info);
    options.nvml = nvml_path;
    options.smi = smi_path;
    nvml_mode(&t, "ok");
    struct lg_sensors *s = open_sensors(&options);
    struct lg_readings r = ask(s);
    REQUIRE_KNOWN(r, TEMPERATURE, 61, "nvml");
    REQUIRE_KNOWN(r, TEMPERATURE_LIMIT, 93, "nvml");
    REQUIRE_KNOWN(r, TEMPERATURE_CRITICAL, 96, "nvml");
    REQUIRE_KNOWN(r, POWER, 87.25, "nvml");
    REQUIRE_KNOWN(r, POWER_LIMIT, 125, "nvml");
    REQUIRE_KNOWN(r, CLOCK, 1785, "nvml");
    REQUIRE_KNOWN(r, CLOCK_MAX, 2130, "nvml");
    REQUIRE_KNOWN(r, THROTTLE, LG_THROTTLE_POWER | LG_THROTTLE_THERMAL, "nvml");
    REQUIRE_KNOWN(r, BUSY, 0.98, "nvml");
    REQUIRE_KNOWN(r, MEMORY_USED, 0x1p30, "nvml");
    REQUIRE_KNOWN(r, MEMORY_TOTAL, 6 * 0x1p30, "nvml");
    REQUIRE(r.of[LG_MEASURE_ENERGY].known);

    // What it counts is what was used; it is not made of the power that it tells beside.
    struct lg_energy_total before, after;
    double joules;
    lg_sensors_energy(s, &before);
    test_nap(100);
    ask(s);
    lg_sensors_energy(s, &after);
    after = lg_energy_between(&before, &after);
    REQUIRE(lg_energy_per(&after, 10, 10, &joules) && fabs(joules - 100) < 5);

    static const char *const useless[] = {"unsupported", "absurd", "lost 0"};
    for (size_t i = 0; i < sizeof(useless) / sizeof(*useless); i++) {
        nvml_mode(&t, useless[i]);
        r = ask(s);
        for (int m = 0; m < LG_N_MEASURES;
             m++) // that it is 400% busy and full twice is not taken, but its size is
            REQUIRE(!r.of[m].known || (i == 1 && (m == LG_MEASURE_MEMORY_TOTAL || m == LG_MEASURE_THROTTLE)));
        nvml_mode(&t, "ok");
        if (i < 2) {
            r = ask(s);
            REQUIRE_KNOWN(r, TEMPERATURE, 61, "nvml");
        }
    }
    lg_sensors_close(s);

    nvml_mode(&t, "lost 2"); // after the second
    s = open_sensors(&options);
    for (int i = 0; i < 5; i++) {
        r = ask(s);
        REQUIRE_INT(r.of[LG_MEASURE_TEMPERATURE].known, ==, i < 2);
        REQUIRE_INT(r.of[LG_MEASURE_POWER].known, ==, i < 2);
    }
    lg_sensors_close(s);
    tree_remove(&t, ".");
}

/** Whatever is wrong with it, nothing is known, and it is said why. */
static void test_no_nvml(void)
{
    struct tree t = tree_new();
    const struct {
        const char *path, *mode, *why;
        uint32_t vendor;
        uint8_t bus;
        bool unknown_place;
    } cases[] = {
        {"/nowhere/libnvidia-ml.so.1", "ok", "nvml: not used: /nowhere/libnvidia-ml.so.1 cannot be loaded\n",
         0, 1, false},
        {"libm.so.6", "ok", "nvml: not used: libm.so.6 lacks nvml", 0, 1, false},
        {nvml_path, "fails", "nvml: not used: nvmlInit_v2() answers 999\n", 0, 1, false},
        {nvml_path, "none", "nvml: not used: it knows no device at 0000:01:00.0\n", 0, 1, false},
        {nvml_path, "ok", "nvml: not used: it knows no device at 0000:07:00.0\n", LG_VENDOR_NVIDIA, 7, false},
        {nvml_path, "ok", "nvml: not used: the device is not NVIDIA's\n", 0x1002, 1, false},
        {nvml_path, "ok", "nvml: not used: where the device is on the bus is not known\n", 0, 1, true},
        {"", "ok", "nvml: not used: it is not to be used\n", 0, 1, false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct lg_device_info info = test_gpu(LG_DEVICE_DISCRETE);
        info.vendor = cases[i].vendor;
        info.pci.bus = cases[i].bus;
        info.pci.known = !cases[i].unknown_place;
        struct lg_sensors_options options = options_of(&t, &info);
        char text[1024];
        options.nvml = cases[i].path;
        nvml_mode(&t, cases[i].mode);
        struct lg_sensors *s = open_sensors(&options);
        struct lg_readings r = ask(s);
        REQUIRE_INT(n_known(&r), ==, 0);
        REQUIRE_INT(lg_sensors_describe(s, text, sizeof(text)), ==, strlen(text));
        REQUIRE(strstr(text, cases[i].why) == text);
        lg_sensors_close(s);
    }
    nvml_mode(&t, "ok");

    struct lg_device_info info = test_gpu(LG_DEVICE_DISCRETE); // an old one knows less
    struct lg_sensors_options options = options_of(&t, &info);
    options.nvml = old_nvml_path;
    struct lg_sensors *s = open_sensors(&options);
    struct lg_readings r = ask(s);
    REQUIRE_KNOWN(r, TEMPERATURE, 61, "nvml");
    REQUIRE_UNKNOWN(r, TEMPERATURE_LIMIT);
    REQUIRE_UNKNOWN(r, POWER_LIMIT);
    REQUIRE_UNKNOWN(r, CLOCK_MAX);
    REQUIRE_UNKNOWN(r, ENERGY);
    lg_sensors_close(s);
    tree_remove(&t, ".");
}

static void test_throttle_bits(void)
{
    static const struct {
        uint64_t bits;
        uint32_t expected;
    } cases[] = {
        {0, 0},
        {0x1, 0},
        {0x2, 0},
        {0x10, 0},
        {0x100, 0},
        {0x4, LG_THROTTLE_POWER},
        {0x80, LG_THROTTLE_POWER},
        {0x20, LG_THROTTLE_THERMAL},
        {0x40, LG_THROTTLE_THERMAL},
        {0x48, LG_THROTTLE_THERMAL},
        {0x8, LG_THROTTLE_OTHER},
        {0x64, LG_THROTTLE_THERMAL | LG_THROTTLE_POWER},
        {UINT64_C(1) << 63, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        REQUIRE_INT(lg_nvidia_throttle(cases[i].bits), ==, cases[i].expected);
}

/* ---- nvidia-smi ------------------------------------------------------------------------------- */

/** The program in the tree, in a mode. */
static const char *smi_in(const struct tree *t, const char *mode)
{
    static char path[1024];
    tree_path(t, "nvidia-smi", path);
    unlink(path);
    REQUIRE_INT(symlink(smi_path, path), ==, 0);
    tree_put(t, "nvidia-smi.mode", mode);
    return path;
}

/** How often it was started, and with which arguments at last. */
static int smi_starts(const struct tree *t, char last[1024])
{
    char path[1024];
    int n = 0;
    tree_path(t, "nvidia-smi.log", path);
    FILE *f = fopen(path, "r");
    while (f && fgets(last, 1024, f))
        n++;
    if (f)
        fclose(f);
    return n;
}

static struct lg_sensors *open_smi(const struct tree *t, const char *mode)
{
    struct lg_device_info info = test_gpu(LG_DEVICE_DISCRETE);
    struct lg_sensors_options options = options_of(t, &info);
    options.smi = smi_in(t, mode);
    return open_sensors(&options);
}

/** No child is left, dead or alive. */
static void require_childless(void)
{
    REQUIRE(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
}

static void test_smi(void)
{
    struct tree t = tree_new();
    char last[1024];
    struct lg_sensors *s = open_smi(&t, "ok");
    struct lg_readings r = ask(s);
    REQUIRE_KNOWN(r, TEMPERATURE, 54, "nvidia-smi");
    REQUIRE_KNOWN(r, POWER, 33.5, "nvidia-smi");
    REQUIRE_KNOWN(r, POWER_LIMIT, 120, "nvidia-smi");
    REQUIRE_KNOWN(r, CLOCK, 1200, "nvidia-smi");
    REQUIRE_KNOWN(r, CLOCK_MAX, 2100, "nvidia-smi");
    REQUIRE_KNOWN(r, BUSY, 0.97, "nvidia-smi");
    REQUIRE_KNOWN(r, MEMORY_USED, 0x1p30, "nvidia-smi");
    REQUIRE_KNOWN(r, MEMORY_TOTAL, 6 * 0x1p30, "nvidia-smi");
    REQUIRE_KNOWN(r, THROTTLE, LG_THROTTLE_THERMAL, "nvidia-smi");
    for (int i = 0; i < 20; i++) {
        ask(s);
        test_nap(5);
    }
    r = ask(s);
    REQUIRE(lg_reading_age_ms(&r.of[LG_MEASURE_TEMPERATURE], lg_now_ns()) < 500);
    REQUIRE_INT(smi_starts(&t, last), ==, 1); // one process for all readings
    REQUIRE(strstr(last, "--id=0000:01:00.0 ") == last && strstr(last, " -lms 500\n"));
    lg_sensors_close(s);
    require_childless();
    tree_remove(&t, ".");
}

/** Fields that are not there, values that cannot be, and no end of either. */
static void test_smi_garbage(void)
{
    static const char *const modes[] = {"na", "absurd", "garbage"};
    for (size_t i = 0; i < sizeof(modes) / sizeof(*modes); i++) {
        struct tree t = tree_new();
        struct lg_sensors *s = open_smi(&t, modes[i]);
        for (int k = 0; k < 10; k++) {
            struct lg_readings r;
            lg_sensors_refresh(s, 20);
            lg_sensors_read(s, &r);
            REQUIRE_UNKNOWN(r, TEMPERATURE);
            REQUIRE_UNKNOWN(r, POWER);
            REQUIRE_UNKNOWN(r, MEMORY_USED);
            REQUIRE_UNKNOWN(r, THROTTLE);
            for (int m = 0; m < LG_N_MEASURES; m++)
                REQUIRE(!r.of[m].known || (i == 0 && m == LG_MEASURE_BUSY) ||
                        (i == 1 && m == LG_MEASURE_MEMORY_TOTAL));
        }
        lg_sensors_close(s);
        require_childless();
        tree_remove(&t, ".");
    }

    struct lg_readings r = {0};
    static const char short_line[] = "54, 33";
    lg_smi_parse(short_line, strlen(short_line), 7, &r);
    REQUIRE_INT(n_known(&r), ==, 2);
    REQUIRE_INT(r.of[LG_MEASURE_POWER].at_ns, ==, 7);
}

static void test_smi_pieces(void)
{
    struct tree t = tree_new();
    struct lg_sensors *s = open_smi(&t, "halves");
    bool first = false, second = false;
    for (int i = 0; i < 200 && !(first && second); i++) {
        struct lg_readings r;
        lg_sensors_refresh(s, 0);
        lg_sensors_read(s, &r);
        const struct lg_reading *power = &r.of[LG_MEASURE_POWER];
        REQUIRE(!power->known || power->value == 33.5 || power->value == 34);
        first |= power->known && power->value == 33.5;
        second |= power->known && power->value == 34;
        test_nap(5);
    }
    REQUIRE(first && second);
    lg_sensors_close(s);
    tree_remove(&t, ".");
}

/** It ends, and is started again a few times; what it told is not known any more. */
static void test_smi_ends(void)
{
    struct tree t = tree_new();
    char last[1024];
    struct lg_sensors *s = open_smi(&t, "once");
    struct lg_readings r;
    test_nap(100);
    lg_sensors_refresh(s, 0);
    lg_sensors_read(s, &r);
    REQUIRE_UNKNOWN(r, TEMPERATURE);
    uint64_t end = lg_now_ns() + UINT64_C(9000000000);
    for (int n = 0; n < 6 && lg_now_ns() < end;) {
        lg_sensors_refresh(s, 0);
        n = smi_starts(&t, last);
        test_nap(50);
    }
    for (int i = 0; i < 30; i++) {
        lg_sensors_refresh(s, 0);
        test_nap(50);
    }
    REQUIRE_INT(smi_starts(&t, last), ==, 6);
    lg_sensors_read(s, &r);
    REQUIRE_INT(n_known(&r), ==, 0);
    REQUIRE(lg_sensors_refresh(s, 0)); // nothing more is to come
    lg_sensors_close(s);
    require_childless();
    tree_remove(&t, ".");
}

/** Older and newer programs name a field otherwise, or do not know it. */
static void test_smi_fields(void)
{
    static const struct {
        const char *mode;
        bool knows_throttle;
    } cases[] = {{"new", true}, {"bare", false}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct tree t = tree_new();
        struct lg_sensors *s = open_smi(&t, cases[i].mode);
        REQUIRE(lg_sensors_refresh(s, 8000));
        struct lg_readings r;
        lg_sensors_read(s, &r);
        REQUIRE_KNOWN(r, TEMPERATURE, 54, "nvidia-smi");
        REQUIRE_INT(r.of[LG_MEASURE_THROTTLE].known, ==, cases[i].knows_throttle);
        lg_sensors_close(s);
        require_childless();
        tree_remove(&t, ".");
    }

    struct tree t = tree_new();
    char text[1024];
    struct lg_sensors *s = open_smi(&t, "nothing"); // it hangs
    struct lg_readings r;
    uint64_t before = lg_now_ns();
    REQUIRE(!lg_sensors_refresh(s, 300));
    lg_sensors_read(s, &r);
    REQUIRE_INT(n_known(&r), ==, 0);
    lg_sensors_close(s);
    REQUIRE(lg_now_ns() - before < UINT64_C(3000000000));
    require_childless();

    struct lg_device_info info = test_gpu(LG_DEVICE_DISCRETE);
    struct lg_sensors_options options = options_of(&t, &info);
    options.smi = "/nowhere/nvidia-smi";
    s = open_sensors(&options);
    ask(s);
    lg_sensors_describe(s, text, sizeof(text));
    REQUIRE(strstr(text, "nvidia-smi: not used: there is no such program\n"));
    lg_sensors_close(s);
    tree_remove(&t, ".");
}

int main(int argc, char **argv)
{
    REQUIRE_INT(argc, ==, 4);
    nvml_path = argv[1];
    old_nvml_path = argv[2];
    smi_path = realpath(argv[3], NULL); // a link leads to it from elsewhere
    REQUIRE(smi_path);
    test_nvml();
    test_no_nvml();
    test_throttle_bits();
    test_smi();
    test_smi_garbage();
    test_smi_pieces();
    test_smi_ends();
    test_smi_fields();
    free(smi_path);
    return 0;
}
