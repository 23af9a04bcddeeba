/* SPDX-License-Identifier: MIT
 *
 * Sensors that are files, on made-up trees: what they tell is read as it is meant, and what is missing,
 * stale, absurd or gone is unknown.
 */
#define LLMGPU_EXPERIMENTAL
#include "llmgpu/pacer.h"

#include "heap.h"
#include "sensors.h"

/* ---- text ------------------------------------------------------------------------------------- */

static void test_numbers(void)
{
    static const struct {
        const char *text;
        double value;
    } good[] = {
        {"0", 0},
        {"45000\n", 45000},
        {" 12.5 ", 12.5},
        {"-5", -5},
        {"-0.25", -0.25},
        {"007", 7},
        {"123456789012345678", 123456789012345678.0},
    };
    static const char *const bad[] = {
        "",
        " ",
        "\n",
        "-",
        ".",
        "1.",
        ".5",
        "1,5",
        "1e3",
        "nan",
        "inf",
        "0x10",
        "12abc",
        "1 2",
        "--1",
        "+1",
        "N/A",
        "99999999999999999999",
        "1.0000000000000000000001",
        "\xff",
    };
    double value;
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
        REQUIRE(lg_parse_number(good[i].text, strlen(good[i].text), &value));
        REQUIRE(value == good[i].value);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        REQUIRE(!lg_parse_number(bad[i], strlen(bad[i]), &value));
    REQUIRE(!lg_parse_number("1\0", 2, &value));

    uint64_t bits;
    REQUIRE(lg_parse_hex(" 0x00000000000000aF ", 20, &bits) && bits == 0xaf);
    static const char *const no_hex[] = {"", "0x", "10", "0xg", "0x10000000000000000", "x1"};
    for (size_t i = 0; i < sizeof(no_hex) / sizeof(*no_hex); i++)
        REQUIRE(!lg_parse_hex(no_hex[i], strlen(no_hex[i]), &bits));

    REQUIRE(lg_sysfs_line("A: 1\nMemTotal:  16 kB\nMemTotalX: 3\n", "MemTotal", &value) && value == 16);
    REQUIRE(!lg_sysfs_line("MemTotalX: 3\n", "MemTotal", &value));
    REQUIRE(!lg_sysfs_line("MemTotal:\n", "MemTotal", &value));
    REQUIRE(lg_amdgpu_max_clock("0: 500Mhz\n1: 2581Mhz *\n2: 900Mhz\n", &value) && value == 2581);
    REQUIRE(!lg_amdgpu_max_clock("0: 500\nMhz\n:\n", &value));

    struct lg_pci pci;
    char text[LG_PCI_TEXT];
    REQUIRE(lg_parse_uevent("DRIVER=amdgpu\nPCI_SLOT_NAME=0001:af:1f.7\nX=1\n", &pci));
    lg_pci_format(&pci, text);
    REQUIRE_STR(text, "0001:af:1f.7");
    static const char *const no_pci[] = {"",
                                         "0000:01:00",
                                         "0000:01:20.0",
                                         "0000:01:00.8",
                                         "000000000:01:00.0",
                                         "0000:01:00.0x",
                                         "0000:100:00.0",
                                         "::.",
                                         "0000:-1:00.0"};
    for (size_t i = 0; i < sizeof(no_pci) / sizeof(*no_pci); i++)
        REQUIRE(!lg_pci_parse(no_pci[i], &pci));
}

static void test_ranges(void)
{
    struct lg_readings r = {0};
    static const double bad[] = {-41, 151, NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        REQUIRE(!lg_reading_set(&r, LG_MEASURE_TEMPERATURE, bad[i], 1, "x"));
    REQUIRE(!lg_reading_set(&r, LG_MEASURE_POWER, -0.1, 1, "x"));
    REQUIRE(!lg_reading_set(&r, LG_MEASURE_POWER, 10001, 1, "x"));
    REQUIRE_INT(n_known(&r), ==, 0);
    REQUIRE(lg_reading_set(&r, LG_MEASURE_TEMPERATURE, -40, 1, "x"));
    REQUIRE(!lg_reading_set(&r, LG_MEASURE_TEMPERATURE, 20, 2, "y")); // the first source counts
    REQUIRE_KNOWN(r, TEMPERATURE, -40, "x");
    for (int i = 0; i < LG_N_MEASURES; i++)
        REQUIRE(lg_measures[i].name && lg_measures[i].unit && lg_measures[i].min < lg_measures[i].max);
}

static void test_meter(void)
{
    struct lg_meter m = {0};
    double watts;
    const uint64_t s = 1000000000;
    REQUIRE(!lg_meter_power(&m, 100, s, &watts));
    REQUIRE(lg_meter_power(&m, 150, 2 * s, &watts) && watts == 50);
    REQUIRE(lg_meter_power(&m, 151, 2 * s + 1000, &watts) && watts == 50); // too near to tell
    REQUIRE(!lg_meter_power(&m, 90, 3 * s, &watts));                       // it began anew
    REQUIRE(lg_meter_power(&m, 91, 4 * s, &watts) && watts == 1);
    REQUIRE(!lg_meter_power(&m, 200, 20 * s, &watts)); // nobody knows when
}

/* ---- files of GPUs ---------------------------------------------------------------------------- */

static void test_amdgpu(void)
{
    struct tree t = amdgpu_tree();
    struct lg_device_info info = test_gpu(LG_DEVICE_DISCRETE);
    struct lg_sensors_options options = options_of(&t, &info);
    struct lg_sensors *s = open_sensors(&options);
    struct lg_readings r = ask(s);
    REQUIRE_KNOWN(r, TEMPERATURE, 61, "amdgpu");
    REQUIRE_KNOWN(r, HOTSPOT, 74, "amdgpu");
    REQUIRE_KNOWN(r, MEMORY_TEMPERATURE, 70, "amdgpu");
    REQUIRE_KNOWN(r, TEMPERATURE_LIMIT, 100, "amdgpu");
    REQUIRE_KNOWN(r, TEMPERATURE_CRITICAL, 105, "amdgpu");
    REQUIRE_KNOWN(r, POWER, 187.5, "amdgpu");
    REQUIRE_KNOWN(r, POWER_LIMIT, 293, "amdgpu");
    REQUIRE_KNOWN(r, CLOCK, 1987, "amdgpu");
    REQUIRE_KNOWN(r, CLOCK_MAX, 2581, "amdgpu");
    REQUIRE_KNOWN(r, BUSY, 0.97, "amdgpu");
    REQUIRE_KNOWN(r, MEMORY_USED, 2147483648.0, "amdgpu");
    REQUIRE_KNOWN(r, MEMORY_TOTAL, 17163091968.0, "amdgpu");
    REQUIRE_INT(n_known(&r), ==, 12);

    // Each goes bad in its own way, and comes back.
    static const char *const temperature = PCI "/hwmon/hwmon3/temp1_input";
    static const char *const bad[] = {"", "hot", "151000", "-41000", "61000 C", "4294967295", "\n\n"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        tree_put(&t, temperature, bad[i]);
        r = ask(s);
        REQUIRE_UNKNOWN(r, TEMPERATURE);
        REQUIRE_STR(r.of[LG_MEASURE_TEMPERATURE].source, "amdgpu"); // that it was
        REQUIRE_KNOWN(r, POWER, 187.5, "amdgpu");
    }
    tree_put_bytes(&t, temperature, "", 0);
    r = ask(s);
    REQUIRE_UNKNOWN(r, TEMPERATURE);
    tree_put_bytes(&t, temperature,
                   "61\0"
                   "000",
                   6);
    r = ask(s);
    REQUIRE_UNKNOWN(r, TEMPERATURE);
    tree_put(&t, PCI "/hwmon/hwmon3/power1_average", "-1");
    tree_put(&t, PCI "/mem_info_vram_used", "17163091969"); // more than there is
    r = ask(s);
    REQUIRE_UNKNOWN(r, POWER);
    REQUIRE_UNKNOWN(r, MEMORY_USED);
    tree_put(&t, temperature, "62000");
    r = ask(s);
    REQUIRE_KNOWN(r, TEMPERATURE, 62, "amdgpu");

    // It is gone, as a card that was pulled out or a driver that was unloaded.
    tree_remove(&t, PCI "/hwmon");
    r = ask(s);
    REQUIRE_UNKNOWN(r, TEMPERATURE);
    REQUIRE_UNKNOWN(r, CLOCK);
    tree_remove(&t, PCI);
    r = ask(s);
    REQUIRE_INT(n_known(&r), ==, 0);
    lg_sensors_close(s);
    tree_remove(&t, ".");
}

/** What is an error to read: a folder, and a file that may not be read. */
static void test_unreadable(void)
{
    struct tree t = amdgpu_tree();
    char path[1024];
    tree_remove(&t, PCI "/hwmon/hwmon3/power1_average");
    tree_put(&t, PCI "/hwmon/hwmon3/power1_average/x", "1"); // read() fails on a folder
    tree_path(&t, PCI "/hwmon/hwmon3/freq1_input", path);
    REQUIRE_INT(chmod(path, 0), ==, 0);
    tree_path(&t, PCI "/hwmon/hwmon3/power1_cap", path);
    tree_remove(&t, PCI "/hwmon/hwmon3/power1_cap");
    REQUIRE_INT(mkfifo(path, 0644), ==, 0); // nobody writes to it
    struct lg_device_info info = test_gpu(LG_DEVICE_DISCRETE);
    struct lg_sensors_options options = options_of(&t, &info);
    struct lg_sensors *s = open_sensors(&options);
    struct lg_readings r = ask(s);
    REQUIRE_KNOWN(r, TEMPERATURE, 61, "amdgpu");
    REQUIRE_UNKNOWN(r, POWER);
    REQUIRE_UNKNOWN(r, POWER_LIMIT);
    if (geteuid() != 0)
        REQUIRE_UNKNOWN(r, CLOCK);
    lg_sensors_close(s);
    tree_remove(&t, ".");
}

/** The device is found by its place on the bus, or as the only one there is. */
static void test_place(void)
{
    struct tree t = amdgpu_tree();
    struct lg_device_info info = test_gpu(LG_DEVICE_DISCRETE);
    struct lg_sensors_options options = options_of(&t, &info);
    info.pci.bus = 2;
    struct lg_sensors *s = open_sensors(&options);
    struct lg_readings r = ask(s);
    REQUIRE_INT(n_known(&r), ==, 0);
    lg_sensors_close(s);

    info.pci.known = false;
    s = open_sensors(&options);
    r = ask(s);
    REQUIRE_INT(n_known(&r), ==, 0);
    lg_sensors_close(s);

    options.any_gpu = true;
    s = open_sensors(&options);
    r = ask(s);
    REQUIRE_KNOWN(r, TEMPERATURE, 61, "amdgpu");
    lg_sensors_close(s);

    tree_put(&t, "sys/class/drm/card1/device/uevent", "DRIVER=i915\nPCI_SLOT_NAME=0000:00:02.0");
    s = open_sensors(&options);
    r = ask(s);
    REQUIRE_INT(n_known(&r), ==, 0); // either could be it
    lg_sensors_close(s);
    tree_remove(&t, ".");
}

/** A card with a junction and no edge is held by that. */
static void test_no_edge(void)
{
    struct tree t = amdgpu_tree();
    for (const char *const *name = (const char *const[]){"label", "input", "crit", "emergency", NULL}; *name;
         name++) {
        char file[64];
        snprintf(file, sizeof(file), PCI "/hwmon/hwmon3/temp1_%s", *name);
        tree_remove(&t, file);
    }
    struct lg_device_info info = test_gpu(LG_DEVICE_DISCRETE);
    struct lg_sensors_options options = options_of(&t, &info);
    struct lg_sensors *s = open_sensors(&options);
    struct lg_readings r = ask(s);
    REQUIRE_KNOWN(r, TEMPERATURE, 74, "amdgpu");
    REQUIRE_KNOWN(r, TEMPERATURE_LIMIT, 110, "amdgpu");
    REQUIRE_UNKNOWN(r, TEMPERATURE_CRITICAL);
    lg_sensors_close(s);
    tree_remove(&t, ".");
}

static void test_i915(void)
{
    struct tree t = tree_new();
    static const char gt[] = PCI "/drm/card1/gt/gt0", hwmon[] = PCI "/hwmon/hwmon5";
    tree_put(&t, PCI "/uevent", "DRIVER=i915\nPCI_SLOT_NAME=0000:01:00.0");
    tree_put_in(&t, hwmon, "name", "i915");
    tree_put_in(&t, hwmon, "energy1_input", "5000000");
    tree_put_in(&t, hwmon, "power1_max", "150000000");
    tree_put_in(&t, gt, "rps_act_freq_mhz", "1950");
    tree_put_in(&t, gt, "rps_RP0_freq_mhz", "2400");
    tree_put_in(&t, gt, "throttle_reason_status", "0");
    tree_put_in(&t, gt, "throttle_reason_pl1", "0");
    tree_put_in(&t, gt, "throttle_reason_thermal", "0");
    tree_put_in(&t, gt, "throttle_reason_vr_tdc", "0");
    tree_put_in(&t, gt, "rps_min_freq_mhz", "300");
    struct lg_device_info info = test_gpu(LG_DEVICE_DISCRETE);
    struct lg_sensors_options options = options_of(&t, &info);
    struct lg_sensors *s = open_sensors(&options);
    struct lg_readings r = ask(s);
    REQUIRE_KNOWN(r, ENERGY, 5, "i915");
    REQUIRE_KNOWN(r, POWER, 0, "i915"); // the counter stood still from one reading to the next
    REQUIRE_KNOWN(r, POWER_LIMIT, 150, "i915");
    REQUIRE_KNOWN(r, CLOCK, 1950, "i915");
    REQUIRE_KNOWN(r, CLOCK_MAX, 2400, "i915");
    REQUIRE_KNOWN(r, THROTTLE, 0, "i915");
    REQUIRE_UNKNOWN(r, TEMPERATURE);

    uint64_t before = r.of[LG_MEASURE_ENERGY].at_ns;
    test_nap(60);
    tree_put_in(&t, hwmon, "energy1_input", "15000000");
    tree_put_in(&t, gt, "throttle_reason_status", "1");
    tree_put_in(&t, gt, "throttle_reason_thermal", "1");
    tree_put_in(&t, gt, "throttle_reason_vr_tdc", "1");
    r = ask(s);
    double seconds = (double)(r.of[LG_MEASURE_ENERGY].at_ns - before) * 1e-9;
    REQUIRE_KNOWN(r, POWER, 10 / seconds, "i915");
    REQUIRE_KNOWN(r, THROTTLE, LG_THROTTLE_THERMAL | LG_THROTTLE_POWER, "i915");

    // A reason that nobody has heard of, and one that cannot be read.
    tree_put_in(&t, gt, "throttle_reason_thermal", "0");
    tree_put_in(&t, gt, "throttle_reason_vr_tdc", "0");
    r = ask(s);
    REQUIRE_KNOWN(r, THROTTLE, LG_THROTTLE_OTHER, "i915");
    tree_put_in(&t, gt, "throttle_reason_status", "0");
    tree_put_in(&t, gt, "throttle_reason_pl1", "?");
    r = ask(s);
    REQUIRE_UNKNOWN(r, THROTTLE);
    lg_sensors_close(s);
    tree_remove(&t, ".");
}

static void test_xe(void)
{
    struct tree t = tree_new();
    static const char freq[] = PCI "/tile0/gt0/freq0", hwmon[] = PCI "/hwmon/hwmon2";
    tree_put_in(&t, hwmon, "name", "xe");
    tree_put_in(&t, hwmon, "temp2_label", "pkg");
    tree_put_in(&t, hwmon, "temp2_input", "52000");
    tree_put_in(&t, hwmon, "temp2_crit", "100000");
    tree_put_in(&t, hwmon, "temp3_label", "vram");
    tree_put_in(&t, hwmon, "temp3_input", "58000");
    tree_put_in(&t, hwmon, "energy1_input", "7250000");
    tree_put_in(&t, hwmon, "power1_max", "0"); // no limit is set
    tree_put_in(&t, freq, "act_freq", "2050");
    tree_put_in(&t, freq, "rp0_freq", "2850");
    tree_put_in(&t, freq, "throttle/status", "1");
    tree_put_in(&t, freq, "throttle/reason_pl2", "1");
    tree_put_in(&t, freq, "throttle/reason_prochot", "0");
    tree_put_in(&t, freq, "throttle/uevent", "x");
    struct lg_device_info info = test_gpu(LG_DEVICE_DISCRETE);
    struct lg_sensors_options options = options_of(&t, &info);
    struct lg_sensors *s = open_sensors(&options);
    struct lg_readings r = ask(s);
    REQUIRE_KNOWN(r, TEMPERATURE, 52, "xe");
    REQUIRE_KNOWN(r, TEMPERATURE_LIMIT, 100, "xe");
    REQUIRE_KNOWN(r, MEMORY_TEMPERATURE, 58, "xe");
    REQUIRE_KNOWN(r, ENERGY, 7.25, "xe");
    REQUIRE_UNKNOWN(r, POWER_LIMIT);
    REQUIRE_KNOWN(r, CLOCK, 2050, "xe");
    REQUIRE_KNOWN(r, CLOCK_MAX, 2850, "xe");
    REQUIRE_KNOWN(r, THROTTLE, LG_THROTTLE_POWER, "xe");
    lg_sensors_close(s);
    tree_remove(&t, ".");
}

static void test_nouveau(void)
{
    struct tree t = tree_new();
    static const char hwmon[] = PCI "/hwmon/hwmon1";
    tree_put_in(&t, hwmon, "name", "nouveau");
    tree_put_in(&t, hwmon, "temp1_input", "48000");
    tree_put_in(&t, hwmon, "temp1_max", "95000");
    tree_put_in(&t, hwmon, "temp1_crit", "105000");
    tree_put_in(&t, hwmon, "temp1_emergency", "135000");
    tree_put_in(&t, hwmon, "power1_input", "42000000");
    struct lg_device_info info = test_gpu(LG_DEVICE_DISCRETE);
    info.vendor = LG_VENDOR_NVIDIA;
    struct lg_sensors_options options = options_of(&t, &info);
    options.smi = "/bin/true"; // is not started, as the card is measured
    struct lg_sensors *s = open_sensors(&options);
    struct lg_readings r = ask(s);
    char text[1024];
    REQUIRE_KNOWN(r, TEMPERATURE, 48, "nouveau");
    REQUIRE_KNOWN(r, TEMPERATURE_LIMIT, 95, "nouveau");
    REQUIRE_KNOWN(r, TEMPERATURE_CRITICAL, 135, "nouveau");
    REQUIRE_KNOWN(r, POWER, 42, "nouveau");
    REQUIRE_INT(n_known(&r), ==, 4);
    lg_sensors_describe(s, text, sizeof(text));
    REQUIRE(strstr(text, "nvml: not used: ") && strstr(text, "hwmon: used\n"));
    REQUIRE(strstr(text, "nvidia-smi: not used: another source"));
    lg_sensors_close(s);

    tree_put_in(&t, hwmon, "name", "somebody"); // whose files mean who knows what
    s = open_sensors(&options);
    lg_sensors_read(s, &r);
    REQUIRE_UNKNOWN(r, TEMPERATURE_LIMIT);
    lg_sensors_close(s);
    tree_remove(&t, ".");
}

/* ---- files of processors ---------------------------------------------------------------------- */

static struct tree intel_tree(void)
{
    struct tree t = tree_new();
    tree_put(&t, "sys/class/hwmon/hwmon0/name", "nvme");
    tree_put(&t, "sys/class/hwmon/hwmon0/temp1_input", "39850");
    for (int i = 0; i < 2; i++) {
        char dir[64], label[32];
        snprintf(dir, sizeof(dir), "sys/class/hwmon/hwmon%d", i + 1);
        snprintf(label, sizeof(label), "Package id %d", i);
        tree_put_in(&t, dir, "name", "coretemp");
        tree_put_in(&t, dir, "temp1_label", label);
        tree_put_in(&t, dir, "temp1_input", i ? "66000" : "63000");
        tree_put_in(&t, dir, "temp1_max", "84000");
        tree_put_in(&t, dir, "temp1_crit", "100000");
        tree_put_in(&t, dir, "temp2_label", "Core 0");
        tree_put_in(&t, dir, "temp2_input", "80000");
        snprintf(dir, sizeof(dir), "sys/class/powercap/intel-rapl:%d", i);
        snprintf(label, sizeof(label), "package-%d", i);
        tree_put_in(&t, dir, "name", label);
        tree_put_in(&t, dir, "energy_uj", i ? "1000000" : "262143000000");
        tree_put_in(&t, dir, "max_energy_range_uj", "262143328850");
        tree_put_in(&t, dir, "constraint_0_power_limit_uw", "65000000");
        snprintf(dir, sizeof(dir), "sys/devices/system/cpu/cpufreq/policy%d", i);
        tree_put_in(&t, dir, "scaling_cur_freq", i ? "3000000" : "3400000");
        tree_put_in(&t, dir, "cpuinfo_max_freq", "5100000");
    }
    tree_put(&t, "sys/class/powercap/intel-rapl:0:0/name", "core");
    tree_put(&t, "sys/class/powercap/intel-rapl:0:0/energy_uj", "5");
    tree_put(&t, "sys/class/powercap/intel-rapl:2/name", "psys");
    tree_put(&t, "sys/class/powercap/intel-rapl:2/energy_uj", "77");
    tree_put(&t, "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count", "17");
    tree_put(&t, "proc/meminfo", "MemTotal:       16000 kB\nMemFree: 1 kB\nMemAvailable:   4000 kB");
    return t;
}

static void test_intel_cpu(void)
{
    struct tree t = intel_tree();
    struct lg_device_info info = {.kind = LG_DEVICE_CPU};
    struct lg_sensors_options options = options_of(&t, &info);
    struct lg_sensors *s = open_sensors(&options);
    struct lg_readings r = ask(s);
    REQUIRE_KNOWN(r, TEMPERATURE, 66, "coretemp");
    REQUIRE_KNOWN(r, TEMPERATURE_LIMIT, 100, "coretemp");
    REQUIRE_UNKNOWN(r, TEMPERATURE_CRITICAL);
    REQUIRE_KNOWN(r, POWER, 0, "rapl");
    REQUIRE_KNOWN(r, POWER_LIMIT, 130, "rapl");
    REQUIRE_KNOWN(r, ENERGY, 0, "rapl");
    REQUIRE_KNOWN(r, CLOCK, 3200, "cpufreq");
    REQUIRE_KNOWN(r, CLOCK_MAX, 5100, "cpufreq");
    REQUIRE_KNOWN(r, THROTTLE, 0, "thermal_throttle");
    REQUIRE_KNOWN(r, MEMORY_USED, 12000 * 1024, "meminfo");
    REQUIRE_KNOWN(r, MEMORY_TOTAL, 16000 * 1024, "meminfo");
    REQUIRE_UNKNOWN(r, ON_BATTERY);

    // One counter begins anew, at its range; the processor was too hot.
    uint64_t before = r.of[LG_MEASURE_ENERGY].at_ns;
    test_nap(60);
    tree_put(&t, "sys/class/powercap/intel-rapl:0/energy_uj", "1671150");
    tree_put(&t, "sys/class/powercap/intel-rapl:1/energy_uj", "2000000");
    tree_put(&t, "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count", "18");
    r = ask(s);
    double seconds = (double)(r.of[LG_MEASURE_ENERGY].at_ns - before) * 1e-9;
    REQUIRE_KNOWN(r, ENERGY, 3, "rapl");
    REQUIRE_KNOWN(r, POWER, 3 / seconds, "rapl");
    REQUIRE_KNOWN(r, THROTTLE, LG_THROTTLE_THERMAL, "thermal_throttle");

    // A counter that cannot be read, as it is where one is not root.
    tree_put(&t, "sys/class/powercap/intel-rapl:1/energy_uj", "");
    tree_put(&t, "sys/class/hwmon/hwmon2/temp1_input", "nothing");
    tree_put(&t, "proc/meminfo", "MemTotal: many");
    r = ask(s);
    REQUIRE_UNKNOWN(r, ENERGY);
    REQUIRE_UNKNOWN(r, POWER);
    REQUIRE_UNKNOWN(r, TEMPERATURE); // it could be the hottest
    REQUIRE_UNKNOWN(r, MEMORY_TOTAL);
    tree_put(&t, "sys/class/powercap/intel-rapl:1/energy_uj", "9000000");
    r = ask(s);
    REQUIRE_KNOWN(r, ENERGY, 0, "rapl"); // counts from here
    lg_sensors_close(s);

    info.kind = LG_DEVICE_DISCRETE; // is not on the processor
    s = open_sensors(&options);
    r = ask(s);
    REQUIRE_INT(n_known(&r), ==, 0);
    lg_sensors_close(s);
    info.kind = LG_DEVICE_INTEGRATED; // is, with clocks and memory of its own
    s = open_sensors(&options);
    r = ask(s);
    REQUIRE_UNKNOWN(r, TEMPERATURE);
    REQUIRE_KNOWN(r, POWER, 0, "rapl");
    REQUIRE_UNKNOWN(r, CLOCK);
    REQUIRE_UNKNOWN(r, MEMORY_TOTAL);
    lg_sensors_close(s);
    tree_remove(&t, ".");
}

static void test_other_cpus(void)
{
    struct lg_device_info info = {.kind = LG_DEVICE_SOFTWARE};
    struct tree amd = tree_new();
    tree_put(&amd, "sys/class/hwmon/hwmon4/name", "k10temp");
    tree_put(&amd, "sys/class/hwmon/hwmon4/temp1_label", "Tctl");
    tree_put(&amd, "sys/class/hwmon/hwmon4/temp1_input", "71500");
    struct lg_sensors_options options = options_of(&amd, &info);
    struct lg_sensors *s = open_sensors(&options);
    struct lg_readings r = ask(s);
    REQUIRE_KNOWN(r, TEMPERATURE, 71.5, "k10temp");
    REQUIRE_INT(n_known(&r), ==, 1);
    lg_sensors_close(s);
    tree_put(&amd, "sys/class/hwmon/hwmon4/temp2_label", "Tdie");
    tree_put(&amd, "sys/class/hwmon/hwmon4/temp2_input", "61500"); // without what is added for the fans
    s = open_sensors(&options);
    r = ask(s);
    REQUIRE_KNOWN(r, TEMPERATURE, 61.5, "k10temp");
    lg_sensors_close(s);
    tree_remove(&amd, ".");

    struct tree arm = tree_new();
    static const char board[] = "sys/class/thermal/thermal_zone0", zone[] = "sys/class/thermal/thermal_zone1";
    tree_put_in(&arm, board, "type", "acpitz");
    tree_put_in(&arm, board, "temp", "27800");
    tree_put_in(&arm, zone, "type", "cpu-thermal");
    tree_put_in(&arm, zone, "temp", "58433");
    tree_put_in(&arm, zone, "trip_point_0_type", "passive");
    tree_put_in(&arm, zone, "trip_point_0_temp", "85000");
    tree_put_in(&arm, zone, "trip_point_1_type", "critical");
    tree_put_in(&arm, zone, "trip_point_1_temp", "110000");
    tree_put_in(&arm, zone, "trip_point_2_type", "passive");
    tree_put_in(&arm, zone, "trip_point_2_temp", "-274000"); // not set
    options = options_of(&arm, &info);
    s = open_sensors(&options);
    r = ask(s);
    REQUIRE_KNOWN(r, TEMPERATURE, 58.433, "thermal");
    REQUIRE_KNOWN(r, TEMPERATURE_LIMIT, 85, "thermal");
    REQUIRE_KNOWN(r, TEMPERATURE_CRITICAL, 110, "thermal");
    REQUIRE_INT(n_known(&r), ==, 3);
    lg_sensors_close(s);
    tree_remove(&arm, ".");

    struct tree empty = tree_new();
    options = options_of(&empty, &info);
    s = open_sensors(&options);
    r = ask(s);
    REQUIRE_INT(n_known(&r), ==, 0);
    lg_sensors_close(s);
    tree_remove(&empty, ".");
}

static void test_battery(void)
{
    static const struct {
        const char *battery, *mains; // status, online; NULL: it has none
        int expected;                // -1: unknown
    } cases[] = {
        {"Discharging", "0", 1},  {"Charging", "1", 0},  {"Full", "1", 0},    {"Not charging", "1", 0},
        {"Discharging", NULL, 1}, {"Unknown", NULL, -1}, {"Unknown", "1", 0}, {NULL, "1", 0},
        {NULL, "0", -1},          {"", NULL, -1},
    };
    struct lg_device_info info = test_gpu(LG_DEVICE_DISCRETE);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct tree t = tree_new();
        tree_put(&t, "sys/class/power_supply/hidpp_battery_0/type", "Battery"); // a mouse's
        tree_put(&t, "sys/class/power_supply/hidpp_battery_0/scope", "Device");
        tree_put(&t, "sys/class/power_supply/hidpp_battery_0/status", "Discharging");
        if (cases[i].battery) {
            tree_put(&t, "sys/class/power_supply/BAT0/type", "Battery");
            tree_put(&t, "sys/class/power_supply/BAT0/status", cases[i].battery);
        }
        if (cases[i].mains) {
            tree_put(&t, "sys/class/power_supply/AC/type", "Mains");
            tree_put(&t, "sys/class/power_supply/AC/online", cases[i].mains);
        }
        struct lg_sensors_options options = options_of(&t, &info);
        struct lg_sensors *s = open_sensors(&options);
        struct lg_readings r = ask(s);
        if (cases[i].expected < 0)
            REQUIRE_UNKNOWN(r, ON_BATTERY);
        else
            REQUIRE_KNOWN(r, ON_BATTERY, cases[i].expected, "battery");
        lg_sensors_close(s);
        tree_remove(&t, ".");
    }
}

/* ---- the handle ------------------------------------------------------------------------------- */

static int host_tells(void *user, uint64_t now_ns, struct lg_readings *out)
{
    const int *answer = user;
    lg_reading_set(out, LG_MEASURE_TEMPERATURE, 33, now_ns, "host");
    lg_reading_set(out, LG_MEASURE_POWER, NAN, now_ns, "host");
    return *answer;
}

static void test_host(void)
{
    struct tree t = amdgpu_tree();
    struct lg_device_info info = test_gpu(LG_DEVICE_DISCRETE);
    struct lg_sensors_options options = options_of(&t, &info);
    int answer = 0;
    options.host = host_tells;
    options.host_user = &answer;
    struct lg_sensors *s = open_sensors(&options);
    struct lg_readings r = ask(s);
    REQUIRE_KNOWN(r, TEMPERATURE, 33, "host"); // before all others
    REQUIRE_KNOWN(r, POWER, 187.5, "amdgpu");  // who know what it does not
    answer = LLMGPU_E_IO;
    r = ask(s);
    REQUIRE_KNOWN(r, TEMPERATURE, 61, "amdgpu");
    lg_sensors_close(s);
    tree_remove(&t, ".");
}

/** What was measured too long ago is unknown, and tells how long ago that was. */
static void test_stale(void)
{
    struct tree t = amdgpu_tree();
    struct lg_device_info info = test_gpu(LG_DEVICE_DISCRETE);
    struct lg_sensors_options options = options_of(&t, &info);
    options.period_ms = 60000;
    options.stale_ms = 100;
    struct lg_sensors *s = open_sensors(&options);
    struct lg_readings r = ask(s);
    REQUIRE_KNOWN(r, TEMPERATURE, 61, "amdgpu");
    uint64_t at = r.of[LG_MEASURE_TEMPERATURE].at_ns;
    test_nap(150);
    lg_sensors_read(s, &r);
    REQUIRE_INT(n_known(&r), ==, 0);
    REQUIRE_INT(r.of[LG_MEASURE_TEMPERATURE].at_ns, ==, at);
    REQUIRE(lg_reading_age_ms(&r.of[LG_MEASURE_TEMPERATURE], lg_now_ns()) >= 150);
    r = ask(s);
    REQUIRE_KNOWN(r, TEMPERATURE, 61, "amdgpu");
    lg_sensors_close(s);
    tree_remove(&t, ".");
}

static void test_no_memory(void)
{
    struct tree t = amdgpu_tree();
    struct lg_device_info info = test_gpu(LG_DEVICE_DISCRETE);
    struct lg_sensors_options options = options_of(&t, &info);
    bool complete = false;
    tree_put(&t, "sys/class/power_supply/AC/type", "Mains");
    for (uint64_t fail_at = 1; !complete; fail_at++) {
        struct test_heap heap;
        struct lg_env env;
        struct lg_sensors *s;
        struct lg_readings r;
        test_heap_env(&env, &heap, fail_at);
        int rc = lg_sensors_open(&env, &options, &s);
        REQUIRE(rc == 0 || (rc == LLMGPU_E_NOMEM && *env.error && !s));
        if (rc == 0)
            lg_sensors_read(s, &r);
        complete = heap.n < fail_at;
        REQUIRE(!complete || n_known(&r) == 12);
        lg_sensors_close(s);
        REQUIRE_INT(heap.live, ==, 0);
        REQUIRE_INT(fail_at, <, 20);
    }
    char root[2000];
    memset(root, 'x', sizeof(root));
    root[sizeof(root) - 1] = '\0';
    struct lg_env env;
    struct lg_sensors *s;
    lg_env_init(&env);
    options.root = root;
    REQUIRE_INT(lg_sensors_open(&env, &options, &s), ==, LLMGPU_E_INVALID);
    tree_remove(&t, ".");
}

/* ---- what hosts see --------------------------------------------------------------------------- */

static int host_reads(void *user, llmgpu_reading *out)
{
    int *n = user;
    out->temperature = (llmgpu_measure){.value = 44, .age = 0.25, .known = 1};
    out->power = (llmgpu_measure){.value = 5001, .known = 1};              // no card takes that much
    out->clock = (llmgpu_measure){.value = 1000, .age = -1, .known = 1};   // from the future
    out->hotspot = (llmgpu_measure){.value = 50, .age = 1e12, .known = 1}; // from before there were clocks
    return ++*n > 1000000;
}

static llmgpu_reading read_public(llmgpu_sensors *s)
{
    llmgpu_reading r;
    REQUIRE_INT(llmgpu_sensors_read(s, &r, sizeof(r)), ==, 0);
    return r;
}

static void test_public(void)
{
    struct tree t = amdgpu_tree();
    llmgpu_sensor_params p;
    llmgpu_sensors *s;
    llmgpu_energy energy;
    char text[1024];
    size_t len;
    int n_asked = 0;
    REQUIRE_INT(llmgpu_sensor_params_init(&p, sizeof(p)), ==, 0);
    p.root = t.root;
    p.every_ms = 10;
    REQUIRE_INT(llmgpu_sensors_open(&s, &p), ==, 0); // the tree's only GPU
    llmgpu_reading r = read_public(s);
    REQUIRE(r.temperature.known && r.temperature.value == 61 && r.temperature.age < 5);
    REQUIRE_STR(r.temperature.source, "amdgpu");
    REQUIRE(r.hotspot.value == 74 && r.memory_temperature.value == 70 && r.temperature_limit.value == 100);
    REQUIRE(r.temperature_critical.value == 105 && r.power.value == 187.5 && r.power_limit.value == 293);
    REQUIRE(r.clock.value == 1987 && r.clock_max.value == 2581 && r.busy.value == 0.97);
    REQUIRE(r.memory_used.value == 0x1p31 && r.memory_total.value == 17163091968.0);
    REQUIRE(!r.throttle.known && !r.energy.known && !r.on_battery.known && !r.energy.source[0]);

    // Power that stays gives energy.
    REQUIRE_INT(llmgpu_sensors_energy(s, &energy, sizeof(energy)), ==, 0);
    llmgpu_energy begin = energy;
    for (int i = 0; i < 200 && energy.span_us - begin.span_us < 200000; i++) {
        test_nap(10);
        REQUIRE_INT(llmgpu_sensors_energy(s, &energy, sizeof(energy)), ==, 0);
    }
    double seconds = (double)(energy.known_us - begin.known_us) * 1e-6;
    REQUIRE(seconds >= 0.15);
    REQUIRE(fabs(energy.joules - begin.joules - 187.5 * seconds) < 0.01);

    REQUIRE_INT(llmgpu_sensors_describe(s, NULL, 0, &len), ==, LLMGPU_E_RANGE);
    REQUIRE_INT(llmgpu_sensors_describe(s, text, sizeof(text), &len), ==, 0);
    REQUIRE_INT(strlen(text), ==, len);
    REQUIRE(strstr(text, "hwmon: used\n") && strstr(text, "nvml: not used: it is not to be used\n"));
    tree_remove(&t, PCI);
    for (int i = 0; i < 500 && r.temperature.known; i++) {
        test_nap(10);
        r = read_public(s);
    }
    REQUIRE(!r.temperature.known && r.temperature.value == 0 && !r.temperature.source[0]);
    llmgpu_sensors_free(s);

    p.pci = "0000:01:00.0";
    p.host = host_reads;
    p.host_user = &n_asked;
    REQUIRE_INT(llmgpu_sensors_open(&s, &p), ==, 0);
    r = read_public(s);
    REQUIRE(r.temperature.known && r.temperature.value == 44 && r.temperature.age >= 0.25);
    REQUIRE_STR(r.temperature.source, "host");
    REQUIRE(!r.power.known && !r.clock.known && !r.hotspot.known);
    llmgpu_sensors_free(s);
    REQUIRE_INT(n_asked, >, 0);

    p.pci = "0000:01:00";
    REQUIRE_INT(llmgpu_sensors_open(&s, &p), ==, LLMGPU_E_INVALID);
    REQUIRE(!s);
    p.pci = NULL;
    p.device = "vulkan:77";
    REQUIRE_INT(llmgpu_sensors_open(&s, &p), ==, LLMGPU_E_NO_DEVICE);
    p.device = "cpu";
    p.every_ms = 0;
    REQUIRE_INT(llmgpu_sensors_open(&s, &p), ==, LLMGPU_E_INVALID);
    tree_remove(&t, ".");
}

/** This machine's own: whatever it has, it is within reason. */
static void test_here(void)
{
    static const enum lg_device_kind kinds[] = {LG_DEVICE_CPU, LG_DEVICE_SOFTWARE, LG_DEVICE_INTEGRATED,
                                                LG_DEVICE_DISCRETE};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
        struct lg_device_info info = {.kind = kinds[i]};
        struct lg_sensors_options options = {.device = &info, .any_gpu = true};
        struct lg_sensors *s = open_sensors(&options);
        struct lg_readings r = ask(s);
        for (int m = 0; m < LG_N_MEASURES; m++)
            if (r.of[m].known)
                printf("%-20s %g %s (%s)\n", lg_measures[m].name, r.of[m].value, lg_measures[m].unit,
                       r.of[m].source);
        lg_sensors_close(s);
    }
}

/** What reading costs who waits for it, and a round of the thread. */
static void print_costs(void)
{
    struct tree t = amdgpu_tree();
    struct lg_device_info info = test_gpu(LG_DEVICE_DISCRETE);
    struct lg_sensors_options options = options_of(&t, &info);
    struct lg_sensors *s = open_sensors(&options);
    struct lg_readings r;
    ask(s);
    uint64_t begin = lg_now_ns();
    for (int i = 0; i < 100000; i++)
        lg_sensors_read(s, &r);
    double read_ns = (double)(lg_now_ns() - begin) / 100000;
    begin = lg_now_ns();
    for (int i = 0; i < 200; i++)
        lg_sensors_refresh(s, 0);
    printf("a reading takes %.0f ns, a round of amdgpu's files %.0f us\n", read_ns,
           (double)(lg_now_ns() - begin) / 200e3);
    lg_sensors_close(s);
    tree_remove(&t, ".");
}

int main(void)
{
    test_numbers();
    test_ranges();
    test_meter();
    test_amdgpu();
    test_unreadable();
    test_place();
    test_no_edge();
    test_i915();
    test_xe();
    test_nouveau();
    test_intel_cpu();
    test_other_cpus();
    test_battery();
    test_host();
    test_stale();
    test_no_memory();
    test_public();
    test_here();
    print_costs();
    return 0;
}
