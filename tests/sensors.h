/* SPDX-License-Identifier: MIT
 * What tests of sensors share: sensors of a made-up tree, and what is known of them. */
#ifndef LG_TESTS_SENSORS_H
#define LG_TESTS_SENSORS_H

#include <time.h>

#include "pacer/source.h"
#include "trees.h"
#include "util/clock.h"

#define PCI "sys/bus/pci/devices/0000:01:00.0"

static inline void test_nap(long ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

static inline struct lg_device_info test_gpu(enum lg_device_kind kind)
{
    return (struct lg_device_info){.kind = kind, .pci = {.known = true, .bus = 1}};
}

/** Sensors of a tree without a thread, and without what lies outside of it. */
static inline struct lg_sensors_options options_of(const struct tree *t, const struct lg_device_info *device)
{
    return (struct lg_sensors_options){
        .device = device, .root = t->root, .nvml = "", .smi = "", .on_call = true};
}

static inline struct lg_sensors *open_sensors(const struct lg_sensors_options *options)
{
    static struct lg_env env;
    struct lg_sensors *s;
    if (!env.alloc)
        lg_env_init(&env);
    REQUIRE_INT(lg_sensors_open(&env, options, &s), ==, 0);
    return s;
}

/** What is known now. */
static inline struct lg_readings ask(struct lg_sensors *s)
{
    struct lg_readings r;
    lg_sensors_refresh(s, 2000);
    lg_sensors_read(s, &r);
    for (int i = 0; i < LG_N_MEASURES; i++) {
        REQUIRE(r.of[i].source);
        REQUIRE(r.of[i].known || r.of[i].value == 0);
        REQUIRE(!r.of[i].known || (*r.of[i].source && r.of[i].at_ns && r.of[i].at_ns <= lg_now_ns()));
    }
    return r;
}

#define REQUIRE_KNOWN(readings, measure, expected, from)                    \
    do {                                                                    \
        const struct lg_reading *r_ = &(readings).of[LG_MEASURE_##measure]; \
        REQUIRE(r_->known);                                                 \
        REQUIRE(fabs(r_->value - (expected)) < 1e-6);                       \
        REQUIRE_STR(r_->source, from);                                      \
    } while (0)

#define REQUIRE_UNKNOWN(readings, measure) REQUIRE(!(readings).of[LG_MEASURE_##measure].known)

static inline int n_known(const struct lg_readings *r)
{
    int n = 0;
    for (int i = 0; i < LG_N_MEASURES; i++)
        n += r->of[i].known;
    return n;
}

/** A card of AMD there. */
static inline struct tree amdgpu_tree(void)
{
    struct tree t = tree_new();
    static const char hwmon[] = PCI "/hwmon/hwmon3";
    tree_put(&t, PCI "/uevent", "DRIVER=amdgpu\nPCI_SLOT_NAME=0000:01:00.0");
    tree_put(&t, "sys/class/drm/card0/device/uevent", "DRIVER=amdgpu\nPCI_SLOT_NAME=0000:01:00.0");
    tree_put(&t, "sys/class/drm/card0-DP-1/status", "connected");
    tree_put(&t, PCI "/gpu_busy_percent", "97");
    tree_put(&t, PCI "/mem_info_vram_used", "2147483648");
    tree_put(&t, PCI "/mem_info_vram_total", "17163091968");
    tree_put(&t, PCI "/pp_dpm_sclk", "0: 500Mhz\n1: 1200Mhz *\n2: 2581Mhz");
    tree_put_in(&t, hwmon, "name", "amdgpu");
    tree_put_in(&t, hwmon, "temp1_label", "edge");
    tree_put_in(&t, hwmon, "temp1_input", "61000");
    tree_put_in(&t, hwmon, "temp1_crit", "100000");
    tree_put_in(&t, hwmon, "temp1_emergency", "105000");
    tree_put_in(&t, hwmon, "temp2_label", "junction");
    tree_put_in(&t, hwmon, "temp2_input", "74000");
    tree_put_in(&t, hwmon, "temp2_crit", "110000");
    tree_put_in(&t, hwmon, "temp3_label", "mem");
    tree_put_in(&t, hwmon, "temp3_input", "70000");
    tree_put_in(&t, hwmon, "power1_average", "187500000");
    tree_put_in(&t, hwmon, "power1_cap", "293000000");
    tree_put_in(&t, hwmon, "freq1_input", "1987000000");
    return t;
}

/** How the made-up library behaves. */
static inline void nvml_mode(const struct tree *t, const char *mode)
{
    char path[1024];
    tree_put(t, "nvml.mode", mode);
    tree_path(t, "nvml.mode", path);
    if (!getenv("FAKE_NVML") || strcmp(getenv("FAKE_NVML"), path) != 0) // another thread may be reading it
        REQUIRE_INT(setenv("FAKE_NVML", path, 1), ==, 0);
}

#endif
