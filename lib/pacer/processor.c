/* SPDX-License-Identifier: MIT
 *
 * The processor, for the CPU device, for drivers that run on it, and for GPUs on the same die where these
 * tell less: its temperature from hwmon or a thermal zone, its power from RAPL, its clocks from cpufreq; and
 * the machine's memory.
 */
#include <stdio.h>
#include <string.h>

#include "pacer/source.h"

enum {
    MAX_PLACES = 8, // whose temperatures are looked at; the hottest counts
    MAX_PACKAGES = 8,
    MAX_POLICIES = 16, // of clocks
    MAX_NAMES = 64,
    MAX_TRIPS = 12,
};

struct place {
    char dir[192]; // from the root
    char file[32];
};

struct package {
    char dir[96];
    double range;  // the counter begins anew there
    double last;   // microjoules; negative: not read
    double joules; // since it was read first
};

struct processor {
    char root[LG_SYSFS_PATH];
    bool is_device;     // clocks and memory are the device's too
    const char *sensor; // "coretemp"
    struct place places[MAX_PLACES];
    uint32_t n_places;
    struct package packages[MAX_PACKAGES];
    uint32_t n_packages;
    uint64_t energy_ns; // when it was read last
    struct lg_meter meter;
    char policies[MAX_POLICIES][LG_SYSFS_NAME];
    uint32_t n_policies;
    double limit, critical; // degrees, of a thermal zone; 0: unknown
    double n_throttled;     // negative: not read
};

#define N(table) (sizeof(table) / sizeof(*(table)))

static bool read_number(const struct processor *p, const char *dir, const char *file, double *out)
{
    char path[LG_SYSFS_PATH];
    return lg_sysfs_path(path, sizeof(path), p->root, dir) && lg_sysfs_number(path, file, out);
}

static bool read_text(const struct processor *p, const char *dir, const char *file, char *out, size_t size)
{
    char path[LG_SYSFS_PATH];
    return lg_sysfs_path(path, sizeof(path), p->root, dir) && lg_sysfs_text(path, file, out, size);
}

static uint32_t list(const struct processor *p, const char *dir, const char *prefix,
                     char (*out)[LG_SYSFS_NAME], uint32_t max)
{
    char path[LG_SYSFS_PATH];
    return lg_sysfs_path(path, sizeof(path), p->root, dir) ? lg_sysfs_list(path, prefix, out, max) : 0;
}

/* ---- temperature ------------------------------------------------------------------------------ */

/* Drivers that measure processors, and what they call the temperature of all of it; NULL: the first is. */
static const struct {
    const char *driver, *label;
} monitors[] = {
    {"coretemp", "Package id"}, {"k10temp", "Tdie"},   {"k10temp", "Tctl"},
    {"zenpower", "Tdie"},       {"cpu_thermal", NULL}, {"cpu", NULL},
};

/* Thermal zones of processors; others of a machine are those of its board, its disks, its battery. */
static const char *const zones[] = {"x86_pkg_temp", "cpu-thermal", "cpu_thermal",
                                    "cpu0-thermal", "soc-thermal", "soc_thermal"};

static void add_place(struct processor *p, const char *dir, const char *file)
{
    char text[64];
    struct place *to = &p->places[p->n_places];
    if (p->n_places == MAX_PLACES || strlen(dir) >= sizeof(to->dir) ||
        !read_text(p, dir, file, text, sizeof(text)))
        return;
    snprintf(to->dir, sizeof(to->dir), "%s", dir);
    snprintf(to->file, sizeof(to->file), "%s", file);
    p->n_places++;
}

static void add_channel(struct processor *p, const char *dir, const char *label)
{
    char file[32], text[64];
    for (int i = 1; i <= 4; i++) {
        snprintf(file, sizeof(file), "temp%d_label", i);
        if (label &&
            (!read_text(p, dir, file, text, sizeof(text)) || strncmp(text, label, strlen(label)) != 0))
            continue;
        snprintf(file, sizeof(file), "temp%d_input", i);
        add_place(p, dir, file);
        return;
    }
}

static void find_monitors(struct processor *p)
{
    char names[MAX_NAMES][LG_SYSFS_NAME], dir[128], text[64];
    uint32_t n = list(p, "sys/class/hwmon", "hwmon", names, MAX_NAMES);
    for (size_t m = 0; m < N(monitors) && !p->n_places; m++) {
        for (uint32_t i = 0; i < n; i++) {
            if (lg_sysfs_path(dir, sizeof(dir), "sys/class/hwmon", names[i]) &&
                read_text(p, dir, "name", text, sizeof(text)) && strcmp(text, monitors[m].driver) == 0)
                add_channel(p, dir, monitors[m].label);
        }
        p->sensor = p->n_places ? monitors[m].driver : NULL;
    }
}

/* At which temperatures a zone is slowed down and turned off. */
static void read_trips(struct processor *p, const char *dir)
{
    for (int i = 0; i < MAX_TRIPS; i++) {
        char file[32], type[32];
        double value;
        snprintf(file, sizeof(file), "trip_point_%d_type", i);
        if (!read_text(p, dir, file, type, sizeof(type)))
            continue;
        snprintf(file, sizeof(file), "trip_point_%d_temp", i);
        if (!read_number(p, dir, file, &value) || value <= 0)
            continue;
        double *to = strcmp(type, "passive") == 0    ? &p->limit
                     : strcmp(type, "critical") == 0 ? &p->critical
                                                     : NULL;
        if (to && (*to == 0 || value * 1e-3 < *to))
            *to = value * 1e-3;
    }
}

static void find_zones(struct processor *p)
{
    char names[MAX_NAMES][LG_SYSFS_NAME], dir[128], text[64];
    uint32_t n = list(p, "sys/class/thermal", "thermal_zone", names, MAX_NAMES);
    for (size_t z = 0; z < N(zones) && !p->n_places; z++) {
        for (uint32_t i = 0; i < n; i++) {
            if (!lg_sysfs_path(dir, sizeof(dir), "sys/class/thermal", names[i]) ||
                !read_text(p, dir, "type", text, sizeof(text)) || strcmp(text, zones[z]) != 0)
                continue;
            add_place(p, dir, "temp");
            read_trips(p, dir);
        }
        p->sensor = p->n_places ? "thermal" : NULL;
    }
}

/* The hottest of all places; one that does not tell could be the hottest. */
static void read_temperature(struct processor *p, uint64_t now_ns, struct lg_readings *out)
{
    double hottest = 0, limit = 0;
    bool known = p->n_places;
    for (uint32_t i = 0; i < p->n_places; i++) {
        const struct place *at = &p->places[i];
        char file[40];
        double value;
        known &= read_number(p, at->dir, at->file, &value) && value > -40e3 && value < 150e3;
        if (!known)
            return;
        if (i == 0 || value > hottest)
            hottest = value;
        snprintf(file, sizeof(file), "%.*s_crit", (int)strcspn(at->file, "_"), at->file);
        if (strncmp(at->file, "temp_", 5) != 0 && read_number(p, at->dir, file, &value) &&
            (limit == 0 || value < limit))
            limit = value;
    }
    if (!known)
        return;
    lg_reading_set(out, LG_MEASURE_TEMPERATURE, hottest * 1e-3, now_ns, p->sensor);
    lg_reading_set(out, LG_MEASURE_TEMPERATURE_LIMIT, limit ? limit * 1e-3 : p->limit, now_ns, p->sensor);
    lg_reading_set(out, LG_MEASURE_TEMPERATURE_CRITICAL, p->critical, now_ns, p->sensor);
}

/* ---- power ------------------------------------------------------------------------------------ */

static void find_packages(struct processor *p)
{
    char names[MAX_NAMES][LG_SYSFS_NAME], text[64];
    uint32_t n = list(p, "sys/class/powercap", "intel-rapl:", names, MAX_NAMES);
    for (uint32_t i = 0; i < n && p->n_packages < MAX_PACKAGES; i++) {
        struct package *to = &p->packages[p->n_packages];
        if (strchr(strchr(names[i], ':') + 1, ':') || // a part of a package
            !lg_sysfs_path(to->dir, sizeof(to->dir), "sys/class/powercap", names[i]))
            continue;
        if (!read_text(p, to->dir, "name", text, sizeof(text)) || strncmp(text, "package", 7) != 0)
            continue;
        if (!read_number(p, to->dir, "max_energy_range_uj", &to->range) || to->range < 0)
            to->range = 0;
        to->last = -1;
        p->n_packages++;
    }
}

/* Counts on; false when it cannot be read. *anew is set when it may have begun anew more often than once, or
 * was not read before. */
static bool count_energy(const struct processor *p, struct package *package, double seconds, bool *anew)
{
    double value;
    if (!read_number(p, package->dir, "energy_uj", &value) || value < 0) {
        package->last = -1;
        return false;
    }
    double last = package->last, diff = value - last;
    package->last = value;
    if (diff < 0)
        diff += package->range;
    *anew |= last < 0 || diff < 0 || (package->range > 0 && seconds * 1e9 >= package->range); // of a kilowatt
    package->joules += diff * 1e-6;
    return true;
}

static void read_energy(struct processor *p, uint64_t now_ns, struct lg_readings *out)
{
    double joules = 0, limit = 0, value, watts;
    bool known = p->n_packages, limited = known, anew = false;
    double seconds = p->energy_ns ? (double)(now_ns - p->energy_ns) * 1e-9 : 0;
    for (uint32_t i = 0; i < p->n_packages; i++) {
        struct package *package = &p->packages[i];
        known &= count_energy(p, package, seconds, &anew);
        limited &= read_number(p, package->dir, "constraint_0_power_limit_uw", &value);
        limit += limited ? value * 1e-6 : 0;
    }
    p->energy_ns = now_ns;
    for (uint32_t i = 0; i < p->n_packages; i++) {
        if (anew) // who counts on sees that it is less
            p->packages[i].joules = 0;
        joules += p->packages[i].joules;
    }
    if (limited)
        lg_reading_set(out, LG_MEASURE_POWER_LIMIT, limit, now_ns, "rapl");
    if (!known)
        return;
    lg_reading_set(out, LG_MEASURE_ENERGY, joules, now_ns, "rapl");
    if (lg_meter_power(&p->meter, joules, now_ns, &watts))
        lg_reading_set(out, LG_MEASURE_POWER, watts, now_ns, "rapl");
}

/* ---- clocks and memory ------------------------------------------------------------------------ */

static void read_clocks(const struct processor *p, uint64_t now_ns, struct lg_readings *out)
{
    double sum = 0, max = 0, value;
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->n_policies; i++) {
        char dir[128];
        if (!lg_sysfs_path(dir, sizeof(dir), "sys/devices/system/cpu/cpufreq", p->policies[i]))
            continue;
        if (read_number(p, dir, "scaling_cur_freq", &value) && value > 0) {
            sum += value;
            n++;
        }
        if (read_number(p, dir, "cpuinfo_max_freq", &value) && value > max)
            max = value;
    }
    if (n)
        lg_reading_set(out, LG_MEASURE_CLOCK, sum / n * 1e-3, now_ns, "cpufreq");
    if (max > 0)
        lg_reading_set(out, LG_MEASURE_CLOCK_MAX, max * 1e-3, now_ns, "cpufreq");
}

/* The kernel counts how often a package was too hot; what it counted in between was now. */
static void read_throttle(struct processor *p, uint64_t now_ns, struct lg_readings *out)
{
    double value, last = p->n_throttled;
    bool known =
        read_number(p, "sys/devices/system/cpu/cpu0/thermal_throttle", "package_throttle_count", &value);
    p->n_throttled = known ? value : -1;
    if (known && last >= 0)
        lg_reading_set(out, LG_MEASURE_THROTTLE, value != last ? LG_THROTTLE_THERMAL : 0, now_ns,
                       "thermal_throttle");
}

static void read_memory(const struct processor *p, uint64_t now_ns, struct lg_readings *out)
{
    char text[LG_SYSFS_TEXT];
    double total, available;
    if (!read_text(p, "proc", "meminfo", text, sizeof(text)) || !lg_sysfs_line(text, "MemTotal", &total) ||
        !lg_sysfs_line(text, "MemAvailable", &available))
        return;
    lg_reading_set(out, LG_MEASURE_MEMORY_USED, (total - available) * 1024, now_ns, "meminfo");
    lg_reading_set(out, LG_MEASURE_MEMORY_TOTAL, total * 1024, now_ns, "meminfo");
}

/* ---- the source ------------------------------------------------------------------------------- */

static void *processor_open(struct lg_env *env, const struct lg_place *place, char why[LG_SOURCE_WHY])
{
    bool is_device = place->kind == LG_DEVICE_CPU || place->kind == LG_DEVICE_SOFTWARE;
    if (!is_device && place->kind != LG_DEVICE_INTEGRATED) {
        snprintf(why, LG_SOURCE_WHY, "the device is not on the processor");
        return NULL;
    }
    struct processor *p = lg_alloc(env, sizeof(*p));
    if (!p)
        return NULL;
    p->is_device = is_device;
    p->n_throttled = -1;
    memcpy(p->root, place->root, strlen(place->root) + 1);
    find_monitors(p);
    if (!p->n_places)
        find_zones(p);
    find_packages(p);
    p->n_policies = list(p, "sys/devices/system/cpu/cpufreq", "policy", p->policies, MAX_POLICIES);
    return p;
}

static void processor_read(void *source, uint64_t now_ns, struct lg_readings *out)
{
    struct processor *p = source;
    read_temperature(p, now_ns, out);
    read_energy(p, now_ns, out);
    if (!p->is_device)
        return;
    read_throttle(p, now_ns, out);
    read_clocks(p, now_ns, out);
    read_memory(p, now_ns, out);
}

static bool processor_is_pending(const void *source)
{
    const struct processor *p = source;
    return p->n_packages && p->packages[0].last >= 0 && !p->meter.told;
}

static void processor_close(struct lg_env *env, void *source)
{
    lg_free(env, source);
}

const struct lg_source_ops lg_source_processor = {
    .name = "processor",
    .open = processor_open,
    .read = processor_read,
    .is_pending = processor_is_pending,
    .close = processor_close,
};
