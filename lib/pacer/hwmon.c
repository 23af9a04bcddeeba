/* SPDX-License-Identifier: MIT
 *
 * GPUs whose Linux drivers tell what they measure in files: amdgpu, i915, xe and nouveau. Which files there
 * are is found out once; each is opened anew for each reading, as any may go away.
 */
#include <stdio.h>
#include <string.h>

#include "pacer/source.h"

enum { MAX_FILES = 32, MAX_CHANNELS = 8, MAX_REASONS = 32 };

/* A file with a number; the first of a measure that has one counts. */
struct file {
    uint8_t measure;
    double scale;   // from its unit to ours
    char path[192]; // from the device's folder
};

struct hwmon {
    char device[LG_SYSFS_PATH];
    const char *driver; // "amdgpu"
    struct file files[MAX_FILES];
    uint32_t n_files;
    bool levels;        // amdgpu's list of clocks is there
    char throttle[192]; // folder of files reason_* or throttle_reason_*; "": none
    struct lg_meter meter;
};

static const char *const drivers[] = {"amdgpu", "i915", "xe", "nouveau"};

/* Of all drivers: what one does not have is not there. */
struct known {
    enum lg_measure measure;
    double scale;
    const char *file;
};

static const struct known hwmon_files[] = {
    {LG_MEASURE_POWER, 1e-6, "power1_average"},
    {LG_MEASURE_POWER, 1e-6, "power1_input"},
    {LG_MEASURE_POWER_LIMIT, 1e-6, "power1_cap"},
    {LG_MEASURE_POWER_LIMIT, 1e-6, "power1_max"},
    {LG_MEASURE_ENERGY, 1e-6, "energy1_input"},
    {LG_MEASURE_ENERGY, 1e-6, "energy2_input"}, // xe: the chip alone
    {LG_MEASURE_CLOCK, 1e-6, "freq1_input"},
};

static const struct known card_files[] = {
    {LG_MEASURE_CLOCK, 1, "gt/gt0/rps_act_freq_mhz"},
    {LG_MEASURE_CLOCK, 1, "gt_act_freq_mhz"},
    {LG_MEASURE_CLOCK_MAX, 1, "gt/gt0/rps_RP0_freq_mhz"},
    {LG_MEASURE_CLOCK_MAX, 1, "gt_RP0_freq_mhz"},
};

static const struct known device_files[] = {
    {LG_MEASURE_CLOCK, 1, "tile0/gt0/freq0/act_freq"},
    {LG_MEASURE_CLOCK_MAX, 1, "tile0/gt0/freq0/rp0_freq"},
    {LG_MEASURE_BUSY, 1e-2, "gpu_busy_percent"},
    {LG_MEASURE_MEMORY_USED, 1, "mem_info_vram_used"},
    {LG_MEASURE_MEMORY_TOTAL, 1, "mem_info_vram_total"},
};

/* What a place on the device is called, and the measure that its temperature is. */
static const struct {
    const char *label;
    enum lg_measure measure;
} places[] = {
    {"", LG_MEASURE_TEMPERATURE},           {"edge", LG_MEASURE_TEMPERATURE},
    {"pkg", LG_MEASURE_TEMPERATURE},        {"junction", LG_MEASURE_HOTSPOT},
    {"mem", LG_MEASURE_MEMORY_TEMPERATURE}, {"vram", LG_MEASURE_MEMORY_TEMPERATURE},
};

#define N(table) (sizeof(table) / sizeof(*(table)))

/* ---- text ------------------------------------------------------------------------------------- */

bool lg_amdgpu_max_clock(const char *text, double *out)
{
    bool found = false;
    for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        size_t len = strcspn(line, "\n"), colon = strcspn(line, ":\n");
        if (colon == len)
            continue;
        const char *value = line + colon + 1;
        double mhz;
        size_t n = strcspn(value, "M\n");
        if (strncmp(value + n, "Mhz", 3) != 0 || !lg_parse_number(value, n, &mhz))
            continue;
        if (!found || mhz > *out)
            *out = mhz;
        found = true;
    }
    return found;
}

/* ---- finding ---------------------------------------------------------------------------------- */

/* Adds a file to those that are read, if it is there. */
static bool add_file(struct hwmon *h, enum lg_measure measure, double scale, const char *folder,
                     const char *file)
{
    char text[LG_SYSFS_TEXT];
    if (h->n_files == MAX_FILES)
        return false;
    struct file *f = &h->files[h->n_files];
    if (!lg_sysfs_path(f->path, sizeof(f->path), folder, file) ||
        !lg_sysfs_text(h->device, f->path, text, sizeof(text)))
        return false;
    f->measure = (uint8_t)measure;
    f->scale = scale;
    h->n_files++;
    return true;
}

static void add_known(struct hwmon *h, const struct known *table, size_t n, const char *folder)
{
    for (size_t i = 0; i < n; i++)
        add_file(h, table[i].measure, table[i].scale, folder, table[i].file);
}

static void add_channel(struct hwmon *h, enum lg_measure measure, const char *folder, int channel,
                        const char *what)
{
    char file[32];
    snprintf(file, sizeof(file), "temp%d_%s", channel, what);
    add_file(h, measure, 1e-3, folder, file);
}

/* A temperature, and its limits if it is the one that is held. */
static void add_temperature(struct hwmon *h, enum lg_measure measure, const char *folder, int channel)
{
    add_channel(h, measure, folder, channel, "input");
    if (measure != LG_MEASURE_TEMPERATURE)
        return;
    // nouveau slows down at `max`; the others do at `crit`, and where they have a `max` it is a wish.
    add_channel(h, LG_MEASURE_TEMPERATURE_LIMIT, folder, channel,
                strcmp(h->driver, "nouveau") == 0 ? "max" : "crit");
    add_channel(h, LG_MEASURE_TEMPERATURE_CRITICAL, folder, channel, "emergency");
}

static bool has_measure(const struct hwmon *h, enum lg_measure measure)
{
    for (uint32_t i = 0; i < h->n_files; i++)
        if (h->files[i].measure == measure)
            return true;
    return false;
}

static void add_temperatures(struct hwmon *h, const char *folder)
{
    int hotspot = 0;
    for (int channel = 1; channel <= MAX_CHANNELS; channel++) {
        char file[160], label[32] = "";
        snprintf(file, sizeof(file), "%s/temp%d_label", folder, channel);
        lg_sysfs_text(h->device, file, label, sizeof(label));
        for (size_t i = 0; i < N(places); i++) {
            if (strcmp(label, places[i].label) != 0 || has_measure(h, places[i].measure))
                continue;
            add_temperature(h, places[i].measure, folder, channel);
            if (places[i].measure == LG_MEASURE_HOTSPOT)
                hotspot = channel;
        }
    }
    if (hotspot && !has_measure(h, LG_MEASURE_TEMPERATURE)) // there are cards that have no edge
        add_temperature(h, LG_MEASURE_TEMPERATURE, folder, hotspot);
}

/* The table's driver of that name. */
static bool take_driver(struct hwmon *h, const char *name)
{
    for (size_t i = 0; i < N(drivers); i++) {
        if (strcmp(name, drivers[i]) != 0)
            continue;
        h->driver = drivers[i];
        return true;
    }
    return false;
}

/* The first folder in the device's folder `inside` that begins so. */
static bool find_folder(struct hwmon *h, const char *inside, const char *prefix, char *out, size_t size)
{
    char path[LG_SYSFS_PATH], names[4][LG_SYSFS_NAME];
    if (!lg_sysfs_path(path, sizeof(path), h->device, inside) ||
        !lg_sysfs_list(path, prefix, names, N(names)))
        return false;
    return lg_sysfs_path(out, size, inside, names[0]);
}

static void find_driver(struct hwmon *h, const char *folder)
{
    char text[LG_SYSFS_TEXT], file[160];
    if (*folder && lg_sysfs_path(file, sizeof(file), folder, "name") &&
        lg_sysfs_text(h->device, file, text, sizeof(text)) && take_driver(h, text))
        return;
    if (!lg_sysfs_text(h->device, "uevent", text, sizeof(text)) || strncmp(text, "DRIVER=", 7) != 0)
        return;
    text[strcspn(text, "\n")] = '\0';
    take_driver(h, text + 7);
}

/* The folder that tells why clocks are low. */
static void find_throttle(struct hwmon *h, const char *card)
{
    static const char *const of_xe[] = {"tile0/gt0/freq0/throttle", "gt0/freq0/throttle"};
    char path[LG_SYSFS_PATH], name[1][LG_SYSFS_NAME], text[8];
    for (size_t i = 0; i < N(of_xe); i++) {
        if (!lg_sysfs_path(path, sizeof(path), of_xe[i], "status") ||
            !lg_sysfs_text(h->device, path, text, sizeof(text)))
            continue;
        snprintf(h->throttle, sizeof(h->throttle), "%s", of_xe[i]);
        return;
    }
    char folder[160];
    if (*card && lg_sysfs_path(folder, sizeof(folder), card, "gt/gt0") &&
        lg_sysfs_path(path, sizeof(path), h->device, folder) &&
        lg_sysfs_list(path, "throttle_reason_", name, 1))
        snprintf(h->throttle, sizeof(h->throttle), "%s", folder);
}

static bool find_files(struct hwmon *h)
{
    char folder[128] = "", card[128] = "", text[LG_SYSFS_TEXT];
    find_folder(h, "hwmon", "hwmon", folder, sizeof(folder));
    find_folder(h, "drm", "card", card, sizeof(card));
    find_driver(h, folder);
    if (!h->driver)
        return false;
    if (*folder) {
        add_temperatures(h, folder);
        add_known(h, hwmon_files, N(hwmon_files), folder);
    }
    if (*card)
        add_known(h, card_files, N(card_files), card);
    add_known(h, device_files, N(device_files), ".");
    h->levels = lg_sysfs_text(h->device, "pp_dpm_sclk", text, sizeof(text));
    find_throttle(h, card);
    return h->n_files || h->levels || *h->throttle;
}

static void *hwmon_open(struct lg_env *env, const struct lg_place *place, char why[LG_SOURCE_WHY])
{
    char id[LG_PCI_TEXT], folder[LG_PCI_TEXT + 32];
    if (!place->pci.known) {
        snprintf(why, LG_SOURCE_WHY, "where the device is on the bus is not known");
        return NULL;
    }
    struct hwmon *h = lg_alloc(env, sizeof(*h));
    if (!h)
        return NULL;
    lg_pci_format(&place->pci, id);
    snprintf(folder, sizeof(folder), "sys/bus/pci/devices/%s", id);
    if (!lg_sysfs_path(h->device, sizeof(h->device), place->root, folder) || !find_files(h)) {
        snprintf(why, LG_SOURCE_WHY, "the driver of %s tells nothing in files", id);
        lg_free(env, h);
        return NULL;
    }
    return h;
}

/* ---- reading ---------------------------------------------------------------------------------- */

/* What a reason is about, by its name: all drivers call them after the limits, and new ones come. */
static uint32_t reason_of(const char *name)
{
    static const char *const thermal[] = {"therm", "prochot", "ratl"};
    static const char *const power[] = {"pl1", "pl2", "pl4", "tdc", "icc", "brk", "power", "psys"};
    for (size_t i = 0; i < N(thermal); i++)
        if (strstr(name, thermal[i]))
            return LG_THROTTLE_THERMAL;
    for (size_t i = 0; i < N(power); i++)
        if (strstr(name, power[i]))
            return LG_THROTTLE_POWER;
    return LG_THROTTLE_OTHER;
}

/* Known is that it throttles, or that nothing says so and all was read. */
static void read_throttle(const struct hwmon *h, uint64_t now_ns, struct lg_readings *out)
{
    char path[LG_SYSFS_PATH], names[MAX_REASONS][LG_SYSFS_NAME];
    uint32_t reasons = 0, n_read = 0;
    bool all = true, status = false;
    if (!*h->throttle || !lg_sysfs_path(path, sizeof(path), h->device, h->throttle))
        return;
    bool of_i915 = strcmp(h->driver, "i915") == 0;
    uint32_t n = lg_sysfs_list(path, of_i915 ? "throttle_reason_" : "", names, MAX_REASONS);
    for (uint32_t i = 0; i < n; i++) {
        double value;
        bool is_status = strstr(names[i], "status");
        if (!is_status && !strstr(names[i], "reason_"))
            continue;
        bool read = lg_sysfs_number(path, names[i], &value) && (value == 0 || value == 1);
        all &= read;
        n_read += read;
        if (read && is_status)
            status = value != 0;
        else if (read && value != 0)
            reasons |= reason_of(names[i]);
    }
    if (status && !reasons)
        reasons = LG_THROTTLE_OTHER;
    if (n_read && (all || reasons))
        lg_reading_set(out, LG_MEASURE_THROTTLE, reasons, now_ns, h->driver);
}

static void hwmon_read(void *source, uint64_t now_ns, struct lg_readings *out)
{
    struct hwmon *h = source;
    char text[LG_SYSFS_TEXT];
    double value, watts;
    for (uint32_t i = 0; i < h->n_files; i++) {
        const struct file *f = &h->files[i];
        if (out->of[f->measure].known || !lg_sysfs_number(h->device, f->path, &value))
            continue;
        lg_reading_set(out, f->measure, value * f->scale, now_ns, h->driver);
    }
    const struct lg_reading *energy = &out->of[LG_MEASURE_ENERGY];
    if (energy->source == h->driver && energy->known &&
        lg_meter_power(&h->meter, energy->value, now_ns, &watts))
        lg_reading_set(out, LG_MEASURE_POWER, watts, now_ns, h->driver);
    if (h->levels && lg_sysfs_text(h->device, "pp_dpm_sclk", text, sizeof(text)) &&
        lg_amdgpu_max_clock(text, &value))
        lg_reading_set(out, LG_MEASURE_CLOCK_MAX, value, now_ns, h->driver);
    read_throttle(h, now_ns, out);
}

static bool hwmon_is_pending(const void *source)
{
    const struct hwmon *h = source;
    return has_measure(h, LG_MEASURE_ENERGY) && !has_measure(h, LG_MEASURE_POWER) && !h->meter.told;
}

static void hwmon_close(struct lg_env *env, void *source)
{
    lg_free(env, source);
}

const struct lg_source_ops lg_source_hwmon = {
    .name = "hwmon",
    .of_device = true,
    .open = hwmon_open,
    .read = hwmon_read,
    .is_pending = hwmon_is_pending,
    .close = hwmon_close,
};
