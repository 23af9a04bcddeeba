/* SPDX-License-Identifier: MIT
 *
 * A source of measurements. What it does not find on this machine is no failure: it is not there, and the
 * next is asked.
 */
#ifndef LG_PACER_SOURCE_H
#define LG_PACER_SOURCE_H

#include "pacer/sensor.h"
#include "pacer/sysfs.h"

/** Where the device is, and where the sources are. */
struct lg_place {
    enum lg_device_kind kind;
    uint32_t vendor; // of PCI; 0: unknown
    struct lg_pci pci;
    char *root;       // never NULL
    char *nvml, *smi; // NULL: the usual; "": none
};

enum { LG_VENDOR_NVIDIA = 0x10de };

enum { LG_SOURCE_WHY = 160 }; // bytes of a sentence

struct lg_source_ops {
    const char *name;
    bool of_device;   // measures the device itself; others the machine around it
    bool last_resort; // opened only where no other of the device is
    /**
     * NULL where the source does not know the device, and then says why: a sentence without a full stop. What
     * is opened keeps no pointer to the place.
     */
    void *(*open)(struct lg_env *env, const struct lg_place *place, char why[LG_SOURCE_WHY]);
    void (*read)(void *source, uint64_t now_ns, struct lg_readings *out);
    /** Whether it will know more when it is asked again soon; NULL: no. */
    bool (*is_pending)(const void *source);
    void (*close)(struct lg_env *env, void *source);
};

/** What this system has, in the order of trust; NULL behind the last. */
extern const struct lg_source_ops *const lg_sources[];

extern const struct lg_source_ops lg_source_nvml, lg_source_hwmon, lg_source_smi, lg_source_processor,
    lg_source_battery;

/** From a counter of energy to power: the mean between two readings that lie near one another. */
struct lg_meter {
    double joules;
    uint64_t at_ns; // 0: not read yet
    double watts;   // the mean before
    bool told;      // there was one
};

/** Reads the counter; false when there is no mean yet. */
bool lg_meter_power(struct lg_meter *meter, double joules, uint64_t at_ns, double *watts);

/** NVIDIA's bits for why clocks are low as lg_throttle. */
uint32_t lg_nvidia_throttle(uint64_t reasons);

/* ---- smi.c, the text ---- */

/** One line of nvidia-smi's answer; what is not a number is unknown. */
void lg_smi_parse(const char *line, size_t len, uint64_t at_ns, struct lg_readings *out);

/* ---- hwmon.c, the text ---- */

/** The largest frequency of amdgpu's list of levels, "1: 1800Mhz *", in MHz. */
bool lg_amdgpu_max_clock(const char *text, double *out);

/* ---- place.c ---- */

/** The place of a GPU from its file uevent. */
bool lg_parse_uevent(const char *text, struct lg_pci *out);
/** The only GPU below a root, which may have several cards; unknown where there is none, or more. */
struct lg_pci lg_place_only_gpu(const char *root);

#endif
