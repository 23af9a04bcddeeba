/* SPDX-License-Identifier: MIT
 *
 * What is measured of a device: its temperature, power, clocks and so on, each from the first source that
 * knows it. What no source knows is unknown: there are no values in its place.
 *
 * Thread-safety: any thread may read. A thread of the handle's own asks the sources, so that one that is slow
 * or hangs keeps nobody waiting; it asks as long as somebody reads, and sleeps otherwise. The host's function
 * is called on it.
 */
#ifndef LG_PACER_SENSOR_H
#define LG_PACER_SENSOR_H

#include <stdbool.h>
#include <stdint.h>

#include "device/device.h"
#include "pacer/energy.h"

/** The units are those of lg_measures. */
enum lg_measure {
    LG_MEASURE_TEMPERATURE,          // of the die
    LG_MEASURE_HOTSPOT,              // the hottest place of the die, where it is told beside that
    LG_MEASURE_MEMORY_TEMPERATURE,   // of the device's memory
    LG_MEASURE_TEMPERATURE_LIMIT,    // from here on the device slows itself down
    LG_MEASURE_TEMPERATURE_CRITICAL, // and here it, or the machine, turns off
    LG_MEASURE_POWER,                // of the board where it is told, else of the chip
    LG_MEASURE_POWER_LIMIT,          // that is in force
    LG_MEASURE_CLOCK,                // of the cores
    LG_MEASURE_CLOCK_MAX,
    LG_MEASURE_THROTTLE, // why it is slower than it could be: lg_throttle, 0: it is not
    LG_MEASURE_BUSY,     // of the time
    LG_MEASURE_MEMORY_USED,
    LG_MEASURE_MEMORY_TOTAL,
    LG_MEASURE_ENERGY,     // used since some time in the past; a counter that only grows
    LG_MEASURE_ON_BATTERY, // 1: the machine is running on it
    LG_N_MEASURES,
};

/** Reasons, or'ed. */
enum lg_throttle {
    LG_THROTTLE_THERMAL = 1,
    LG_THROTTLE_POWER = 2, // a limit of power or current
    LG_THROTTLE_OTHER = 4, // what the source says no more of
};

/** A measure's name, unit and what its values can be; others are garbage. */
struct lg_measure_info {
    const char *name; // "temperature limit"
    const char *unit; // "C", "W", "MHz", "bytes", "J"; "" for shares, bits and truths
    double min, max;
};

extern const struct lg_measure_info lg_measures[LG_N_MEASURES];

struct lg_reading {
    double value;       // 0 unless known
    uint64_t at_ns;     // when it was measured, by lg_now_ns(); 0: never
    const char *source; // of those that measured it the last one: "nvml", "amdgpu"; "" before any did
    bool known;
};

struct lg_readings {
    struct lg_reading of[LG_N_MEASURES];
};

/** Takes a value if the measure can have it and nobody told it before; whether it did. */
bool lg_reading_set(struct lg_readings *readings, enum lg_measure measure, double value, uint64_t at_ns,
                    const char *source);

/** Milliseconds since it was measured. */
static inline double lg_reading_age_ms(const struct lg_reading *reading, uint64_t now_ns)
{
    return now_ns > reading->at_ns ? (double)(now_ns - reading->at_ns) * 1e-6 : 0;
}

/**
 * The host's own sensors, asked before all others. What it knows it gives by lg_reading_set().
 *
 * @return 0, or a negative code: then nothing of it counts
 */
typedef int lg_sensors_host_fn(void *user, uint64_t now_ns, struct lg_readings *out);

struct lg_sensors_options {
    const struct lg_device_info *device; // whose; read while opening
    bool any_gpu; // if its place is unknown, it is the only GPU of the machine, where there is one
    lg_sensors_host_fn *host; // NULL: none
    void *host_user;
    const char *root;   // under which /sys and /proc lie; NULL: ""
    const char *nvml;   // name or path of NVIDIA's management library; NULL: the system's; "": none
    const char *smi;    // path of nvidia-smi; NULL: where systems have it; "": none
    uint32_t period_ms; // between two readings; 0: 500
    uint32_t stale_ms;  // what is older is unknown; 0: 5000
    uint32_t rest_ms; // after which the thread sleeps when nobody reads; 0: 10000
    bool on_call;       // no thread: lg_sensors_read() asks the sources itself when the period is over
};

struct lg_sensors;

/** Returns before any source is opened, which the thread does. LLMGPU_E_NOMEM. */
int lg_sensors_open(struct lg_env *env, const struct lg_sensors_options *options, struct lg_sensors **out);
/** NULL is allowed. Waits for the source that is being asked. */
void lg_sensors_close(struct lg_sensors *sensors);

/** What was measured last; never waits for a source (but in the mode on_call). */
void lg_sensors_read(struct lg_sensors *sensors, struct lg_readings *out);
/** Waits until all that will be known is measured once more; false when it takes longer than that. */
bool lg_sensors_refresh(struct lg_sensors *sensors, uint32_t timeout_ms);
/** What was used up since the sensors were opened; two of these make a difference. Never waits. */
void lg_sensors_energy(struct lg_sensors *sensors, struct lg_energy_total *out);
/** A line for each source, in the order of trust: whether it is used, or why not. The bytes that these are,
 * as snprintf. */
size_t lg_sensors_describe(struct lg_sensors *sensors, char *out, size_t size);

#endif
